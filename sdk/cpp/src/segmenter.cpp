#include <algorithm>
#include <numeric>
#include <utility>

#include "errors.hpp"
#include "grid.hpp"
#include "picture.hpp"
#include "volume.hpp"

namespace medsam_edge {
namespace {

constexpr std::size_t kMostLabels = 65535;
constexpr int kMostStreams = 64;

void check_settings(const SegmenterSettings& settings) {
    if (settings.num_threads < 0 || settings.num_threads > 4096) {
        fail(Code::input, "num_threads: expected a positive number, or 0 for OpenVINO's choice, got %d",
             settings.num_threads);
    }
}

void check_options(const Options& options) {
    if (options.axis < 0 || options.axis > kAllAxes) {
        fail(Code::input, "axis: expected 0, 1, 2, or 3 for all, got %d", options.axis);
    }
    if (options.streams < 0 || options.streams > kMostStreams) {
        fail(Code::input, "streams: expected a whole number from 0 to 64, got %d", options.streams);
    }
    if (options.modality && (*options.modality < Modality::ct || *options.modality > Modality::mammography)) {
        fail(Code::modality, "modality: expected one of the eleven, got number %d",
             static_cast<int>(*options.modality));
    }
}

/// Before anything is encoded: a modality must be a class of a network with class prompts.
void check_modality(const Model& model, const Options& options) {
    check_options(options);
    if (options.modality && !model.manifest.classes.empty()) { static_cast<void>(model.one_hot(*options.modality)); }
}

template <typename Value>
void paint(const Result& result, std::size_t index, Value value, Value* target) {
    const Grid grid{result.depth, result.height, result.width, result.axis};
    for (const auto& [z, found] : result.objects[index].slices) {
        const CroppedMask& mask = found.mask;
        for (std::int64_t y = 0; y < mask.height; ++y) {
            for (std::int64_t x = 0; x < mask.width; ++x) {
                if (mask.pixels[static_cast<std::size_t>(y * mask.width + x)] != 0) {
                    target[grid.at(z, mask.top + y, mask.left + x)] = value;
                }
            }
        }
    }
}

}  // namespace

std::size_t Result::size() const { return Grid{depth, height, width, axis}.size(); }

void Result::mask(std::size_t index, std::uint8_t* target) const {
    if (index >= objects.size()) {
        fail(Code::input, "index: expected a number below %zu, got %zu", objects.size(), index);
    }
    std::fill(target, target + size(), std::uint8_t{0});
    paint<std::uint8_t>(*this, index, 1, target);
}

void Result::label_map(std::uint16_t* target, Overlap overlap) const {
    if (objects.size() > kMostLabels) {
        fail(Code::input, "boxes: expected at most %zu in a label map, got %zu", kMostLabels, objects.size());
    }
    std::fill(target, target + size(), std::uint16_t{0});
    std::vector<std::size_t> order(objects.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    if (overlap == Overlap::score) {
        const auto place = [this](std::size_t index) { return std::pair(objects[index].score, index); };
        std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return place(a) < place(b); });
    }
    for (const std::size_t index : order) { paint(*this, index, static_cast<std::uint16_t>(index + 1), target); }
}

const std::vector<std::uint8_t>& Result::shown() const { return display->pixels; }

struct Segmenter::Parts {
    Parts(Model model, std::size_t cache_bytes) : predictor(std::move(model), cache_bytes) {}
    Predictor predictor;
};

Segmenter::Segmenter(const std::string& bundle, const SegmenterSettings& settings) {
    check_settings(settings);
    parts_ = std::make_unique<const Parts>(load_model(load_bundle(bundle), settings), settings.cache_bytes);
}

Segmenter::~Segmenter() = default;

std::shared_ptr<const Embedding> Segmenter::embed(const Image& image, const Options& options) const {
    const Predictor& predictor = parts_->predictor;
    check_modality(predictor.model(), options);
    if (image.depth != 0) { fail(Code::image, "image: expected (H, W) or (H, W, 3); `segment` takes volumes"); }
    Stopwatch watch;
    std::vector<std::string> warnings;
    const auto display = to_display(image, options.modality, options.window, warnings);
    const double prepare_ms = watch.lap();
    std::vector<std::uint8_t> scratch;
    const View<std::uint8_t> view =
        view_of(*display, {0, image.height, image.width}, 0, {0, 0, image.height, image.width}, scratch);
    auto embedding = std::make_shared<Embedding>(predictor.embed(view, options.modality));
    embedding->timings.prepare_ms += prepare_ms;
    embedding->display = display;
    embedding->warnings = std::move(warnings);
    return embedding;
}

Result Segmenter::decode(const Embedding& embedding, const Prompts& prompts) const {
    if (embedding.model != parts_->predictor.model().identity) {
        fail(Code::input, "embedding: made by another model than the one that is to decode it");
    }
    return decode_picture(parts_->predictor, embedding, prompts);
}

Result Segmenter::segment(const Image& image, const Prompts& prompts, const Options& options) const {
    check_modality(parts_->predictor.model(), options);
    return (image.depth > 0 ? segment_volume : segment_picture)(parts_->predictor, image, prompts, options);
}

Result Segmenter::refine(const Result& result, const std::vector<std::vector<Click>>& clicks) const {
    const Predictor& predictor = parts_->predictor;
    CheckedPrompts asked;
    asked.clicks =
        check_clicks(clicks, result.objects.size(), {result.depth, result.height, result.width, result.axis});
    predictor.check(asked);
    Result refined = (result.depth > 0 ? refine_volume : refine_picture)(predictor, result, asked.clicks);
    refined.warnings.clear();
    return refined;
}

int Segmenter::image_size() const { return parts_->predictor.model().manifest.image_size; }

std::string Segmenter::identity() const { return parts_->predictor.model().identity; }

bool Segmenter::takes_all_prompts() const { return parts_->predictor.model().manifest.all_prompts; }

}  // namespace medsam_edge
