// Bytes become an image, prompts and options of the C interface, on a network so small that a call takes little time.
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "medsam_edge/medsam_edge.h"

namespace {

/// Takes values off the bytes; zeros when they are used up.
class Bytes {
public:
    Bytes(const std::uint8_t* data, std::size_t size) : at_(data), left_(size) {}

    template <typename Value>
    Value take() {
        Value value{};
        const std::size_t count = std::min(sizeof value, left_);
        if (count > 0) { std::memcpy(&value, at_, count); }
        at_ += count;
        left_ -= count;
        return value;
    }

    /// Mostly a number near an image's sides, now and then any number at all.
    double number() { return take<std::uint8_t>() < 240 ? take<std::uint8_t>() * 0.5 - 10 : take<double>(); }

private:
    const std::uint8_t* at_;
    std::size_t left_;
};

const medsam_segmenter* segmenter() {
    static const medsam_segmenter* made = [] {
        const char* folder = std::getenv("MEDSAM_EDGE_GOLDEN");
        medsam_settings settings{};
        settings.size = sizeof settings;
        settings.num_threads = 1;
        settings.cache_bytes = 1 << 20;
        medsam_segmenter* own = nullptr;
        const std::string bundle = std::string(folder == nullptr ? "." : folder) + "/bundles/prompted";
        if (medsam_segmenter_create(bundle.c_str(), &settings, &own) != MEDSAM_OK) { std::abort(); }
        return own;
    }();
    return made;
}

struct Given {
    std::vector<std::uint8_t> pixels;
    std::vector<double> boxes, points;
    std::vector<std::int32_t> labels;
    std::vector<std::size_t> counts;
    std::vector<std::uint8_t> prior;
    medsam_image image{};
    medsam_prompts prompts{};
    medsam_options options{};
};

void fill_image(Given& given, Bytes& bytes) {
    given.image.size = sizeof given.image;
    given.image.type = bytes.take<std::uint8_t>() % 13;
    given.image.channels = bytes.take<std::uint8_t>() % 5;
    given.image.depth = bytes.take<std::uint8_t>() % 6;
    given.image.height = bytes.take<std::uint8_t>() % 90;
    given.image.width = bytes.take<std::uint8_t>() % 90;
    given.pixels.resize(static_cast<std::size_t>(std::max<std::int64_t>(given.image.depth, 1) * given.image.height *
                                                 given.image.width * 4 * 8) +
                        8);
    for (std::size_t i = 0; i < std::min<std::size_t>(given.pixels.size(), 256); ++i) {
        given.pixels[i] = bytes.take<std::uint8_t>();
    }
    for (std::size_t i = 256; i < given.pixels.size(); ++i) { given.pixels[i] = given.pixels[i - 251]; }
    given.image.data = given.pixels.data();
}

void fill_prompts(Given& given, Bytes& bytes) {
    const std::size_t sides = given.image.depth > 0 ? 3 : 2;
    medsam_prompts& prompts = given.prompts;
    const auto kinds = bytes.take<std::uint8_t>();
    prompts.size = sizeof prompts;
    prompts.count = bytes.take<std::uint8_t>() % 4;
    for (std::size_t i = 0; i < prompts.count * 2 * sides; ++i) { given.boxes.push_back(bytes.number()); }
    for (std::size_t i = 0; i < prompts.count; ++i) {
        given.counts.push_back(bytes.take<std::uint8_t>() % 3);
        for (std::size_t k = 0; k < given.counts.back(); ++k) {
            given.labels.push_back(bytes.take<std::uint8_t>() % 4 - 1);
            for (std::size_t side = 0; side < sides; ++side) { given.points.push_back(bytes.number()); }
        }
    }
    given.boxes.push_back(0);
    given.points.push_back(0);
    given.labels.push_back(0);
    given.counts.push_back(0);
    if ((kinds & 1U) == 0) { prompts.boxes = given.boxes.data(); }
    if ((kinds & 2U) != 0) {
        prompts.points = given.points.data();
        prompts.point_labels = given.labels.data();
        prompts.point_counts = given.counts.data();
    }
    if ((kinds & 4U) != 0) {
        prompts.prior_type = bytes.take<std::uint8_t>() % 13;
        prompts.prior_is_label_map = bytes.take<std::uint8_t>() % 2;
        given.prior.resize(given.pixels.size() * std::max<std::size_t>(prompts.count, 1));
        for (std::size_t i = 0; i < given.prior.size(); ++i) {
            given.prior[i] = (kinds & 8U) != 0 && i % 3 == 0 ? given.pixels[i % given.pixels.size()] : 0;
        }
        prompts.prior = given.prior.data();
    }
}

void fill_options(Given& given, Bytes& bytes) {
    static const char* const kModalities[] = {nullptr, "CT", "mr", "US", "Fundus", "sonar"};
    static const char* const kWindows[] = {nullptr, nullptr, nullptr, "lung", "bone", "none"};
    medsam_options& options = given.options;
    options.size = sizeof options;
    options.modality = kModalities[bytes.take<std::uint8_t>() % 6];
    options.window = kWindows[bytes.take<std::uint8_t>() % 6];
    options.window_width = bytes.take<std::uint8_t>() % 4 == 0 ? bytes.number() : 0;
    options.window_level = bytes.number();
    options.detail = bytes.take<std::uint8_t>() % 4;
    options.axis = bytes.take<std::uint8_t>() % 5;
    options.streams = bytes.take<std::uint8_t>() % 3;
    options.stop_when_empty = bytes.take<std::uint8_t>() % 2;
    options.follow = bytes.take<std::uint8_t>() % 2;
    options.drop_logits = bytes.take<std::uint8_t>() % 2;
}

void read_result(const medsam_result* result) {
    const std::size_t size = medsam_result_size(result);
    std::vector<std::uint8_t> mask(size);
    std::vector<std::uint16_t> labels(size);
    if (medsam_result_label_map(result, MEDSAM_SCORE, labels.data(), size) != MEDSAM_OK) { std::abort(); }
    for (std::size_t index = 0; index < medsam_result_count(result); ++index) {
        if (medsam_result_full_mask(result, index, mask.data(), size) != MEDSAM_OK) { std::abort(); }
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    Bytes bytes(data, size);
    Given given;
    fill_options(given, bytes);
    fill_image(given, bytes);
    fill_prompts(given, bytes);
    medsam_result* result = nullptr;
    const medsam_status status = medsam_segment(segmenter(), &given.image, &given.prompts, &given.options, &result);
    if (status == MEDSAM_INTERNAL_ERROR || status == MEDSAM_BUNDLE_ERROR ||
        (status == MEDSAM_OK) != (result != nullptr)) {
        std::abort();
    }
    if (result != nullptr) {
        read_result(result);
        medsam_result* refined = nullptr;
        const medsam_status again = medsam_refine(segmenter(), result, &given.prompts, &refined);
        if (again == MEDSAM_INTERNAL_ERROR || again == MEDSAM_BUNDLE_ERROR) { std::abort(); }
        medsam_result_destroy(refined);
    }
    medsam_result_destroy(result);
    return 0;
}
