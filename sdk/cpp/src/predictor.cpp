#include "predictor.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include "errors.hpp"
#include "feeds.hpp"
#include "numbers.hpp"

namespace medsam_edge {
namespace {

constexpr std::size_t kBatch = 4;     // boxes decoded at once
constexpr std::size_t kCells = 4096;  // that windows decoded at once have together

/// The output of that name and shape, in float32; Error(bundle) where there is none.
const Array& output(const std::map<std::string, Array>& outputs, const char* name, const Shape& shape) {
    const auto found = outputs.find(name);
    if (found == outputs.end() || found->second.type != Type::f32 || found->second.shape != shape) {
        fail(Code::bundle, "bundle: %s of its network is of another type or shape than the manifest says", name);
    }
    return found->second;
}

std::shared_ptr<const Encoded> encoded_by(const Model& model, const std::vector<float>& planes) {
    const auto side = static_cast<std::size_t>(model.manifest.image_size);
    std::map<std::string, Array> outputs =
        model.encoder->infer({{"image", Type::f32, {1, 3, side, side}, planes.data()}});
    auto encoded = std::make_shared<Encoded>();
    if (const std::size_t classes = model.manifest.classes.size(); classes > 0) {
        const float* scores = output(outputs, "class_scores", {1, classes}).values();
        encoded->class_scores.assign(scores, scores + classes);
    }
    encoded->embedding = std::move(outputs.at("embedding"));
    return encoded;
}

std::string key_of(const std::vector<std::uint8_t>& pixels, int height, int channels) {
    std::string key = text("%d %d ", height, channels);
    key.append(pixels.begin(), pixels.end());
    return key;
}

}  // namespace

ClassPrompt Embedding::class_prompt() const {
    if (modality || classes.empty()) { return {modality, std::nullopt}; }
    const auto& scores = encoded->class_scores;
    const auto likeliest = static_cast<std::size_t>(std::max_element(scores.begin(), scores.end()) - scores.begin());
    return {classes[likeliest], scores[likeliest]};
}

double Stopwatch::lap() {
    const auto now = std::chrono::steady_clock::now();
    const double ms = std::chrono::duration<double, std::milli>(now - last_).count();
    last_ = now;
    return ms;
}

void add(Timings& sum, const Timings& more) {
    sum.prepare_ms += more.prepare_ms;
    sum.encode_ms += more.encode_ms;
    sum.decode_ms += more.decode_ms;
    sum.restore_ms += more.restore_ms;
}

Plane plane_of(const Logits& logits) {
    Plane plane{logits.top, logits.left, logits.height, logits.width, {}};
    plane.values.resize(logits.halves.size());
    std::transform(logits.halves.begin(), logits.halves.end(), plane.values.begin(), float_of_half);
    return plane;
}

void drop_values(Logits& logits) {
    const auto view = logits.view;
    logits = {};
    logits.view = view;
}

Embedding Predictor::embed(const View<std::uint8_t>& image, std::optional<Modality> modality) const {
    Stopwatch watch;
    Embedding embedding;
    embedding.geometry = {image.height, image.width, model_.manifest.image_size};
    embedding.modality = modality;
    embedding.model = model_.identity;
    embedding.classes = model_.manifest.classes;
    const Geometry& geometry = embedding.geometry;
    const std::vector<std::uint8_t> small = geometry.resized(image);
    std::string key = key_of(small, geometry.new_height(), image.channels);
    embedding.encoded = cache_.get(key);
    if (!embedding.encoded) {
        const auto planes =
            to_planes(small, geometry.new_height(), geometry.new_width(), image.channels, geometry.size);
        embedding.timings.prepare_ms = watch.lap();
        embedding.encoded = encoded_by(model_, planes);
        cache_.put(std::move(key), embedding.encoded);
        embedding.timings.encode_ms = watch.lap();
    }
    embedding.timings.prepare_ms += watch.lap();
    return embedding;
}

void Predictor::check(const CheckedPrompts& asked) const {
    if (model_.manifest.all_prompts) { return; }
    if (asked.any_clicks()) { fail(Code::input, "points: the model takes box prompts, got points"); }
    if (asked.priors) { fail(Code::input, "prior: the model takes box prompts, got mask"); }
}

Decoded Predictor::decode(const Embedding& embedding, const NetworkPrompts& prompts) const {
    Decoded decoded;
    decoded.masks.resize(prompts.size());
    decoded.logits.resize(prompts.size());
    decoded.scores.resize(prompts.size());
    for (const Batch& batch : batches(prompts)) { decode_batch(embedding, prompts, batch, decoded); }
    return decoded;
}

void Predictor::decode_batch(const Embedding& embedding, const NetworkPrompts& prompts, const Batch& batch,
                             Decoded& decoded) const {
    Stopwatch watch;
    Feeds feeds;
    feeds.add("embedding", embedding.encoded->embedding);
    if (const ClassPrompt prompt = embedding.class_prompt(); prompt.modality && !model_.manifest.classes.empty()) {
        feeds.add("classes", {1, model_.manifest.classes.size()}, model_.one_hot(*prompt.modality));
    }
    add_prompts(feeds, prompts, batch.objects, batch.windows, model_.manifest);
    const std::size_t count = batch.objects.size();
    const std::size_t cells = batch.windows.size();
    const std::map<std::string, Array> outputs = model_.decoder->infer(feeds.all());
    decoded.timings.decode_ms += watch.lap();
    const float* logits = output(outputs, "logits", {count, cells, kCell, kCell}).values();
    const float* scores = output(outputs, "scores", {count}).values();
    for (std::size_t i = 0; i < count; ++i) {
        const std::vector<float> pixels = batch.windows.pixels(logits + i * cells * kCell * kCell);
        const int rows = batch.windows.rows * kCell;
        const int columns = batch.windows.columns * kCell;
        const std::int64_t top = batch.windows.top[i] * kCell;
        const std::int64_t left = batch.windows.left[i] * kCell;
        const std::size_t object = batch.objects[i];
        decoded.masks[object] = embedding.geometry.mask_to_image(pixels.data(), rows, columns, static_cast<int>(top),
                                                                 static_cast<int>(left));
        Logits& own = decoded.logits[object];
        own = {top, left, rows, columns, {}, {}};
        own.halves.resize(pixels.size());
        std::transform(pixels.begin(), pixels.end(), own.halves.begin(), half_of_float);
        decoded.scores[object] = scores[i];
    }
    decoded.timings.restore_ms += watch.lap();
}

/// Objects can be decoded together that have as many clicks, and all or none a box.
std::vector<Predictor::Batch> Predictor::batches(const NetworkPrompts& prompts) const {
    const auto whole = static_cast<float>(model_.manifest.image_size);
    std::map<std::pair<std::size_t, bool>, std::vector<std::size_t>> kinds;
    std::vector<Box4> boxes = prompts.boxes;
    for (std::size_t object = 0; object < prompts.size(); ++object) {
        const bool boxed = !std::isnan(boxes[object][0]);
        const std::size_t clicks = prompts.clicks.empty() ? 0 : prompts.clicks[object].size();
        kinds[{clicks, !boxed}].push_back(object);
        if (!boxed) { boxes[object] = {0, 0, whole, whole}; }
    }
    std::vector<Batch> result;
    for (const auto& [kind, alike] : kinds) { add_batches(result, alike, boxes); }
    return result;
}

void Predictor::add_batches(std::vector<Batch>& result, const std::vector<std::size_t>& alike,
                            const std::vector<Box4>& boxes) const {
    const Manifest& manifest = model_.manifest;
    const auto own_boxes = [&](const std::vector<std::size_t>& objects) {
        std::vector<Box4> own;
        for (const std::size_t object : objects) { own.push_back(boxes[object]); }
        return own;
    };
    if (manifest.context) {
        for (const WindowGroup& group : window_groups(own_boxes(alike), *manifest.context, model_.side())) {
            const std::size_t step = std::max(kBatch, kCells / group.windows.size());
            for (std::size_t begin = 0; begin < group.indices.size(); begin += step) {
                Batch batch{{}, group.windows.part(begin, begin + step)};
                for (std::size_t i = begin; i < begin + batch.windows.count(); ++i) {
                    batch.objects.push_back(alike[group.indices[i]]);
                }
                result.push_back(std::move(batch));
            }
        }
        return;
    }
    std::vector<std::size_t> by_area = alike;  // similar areas: the largest box decides the size
    const auto place = [&](std::size_t object) {
        const Box4& box = boxes[object];
        return std::pair((box[2] - box[0]) * (box[3] - box[1]), object);
    };
    std::sort(by_area.begin(), by_area.end(), [&](std::size_t a, std::size_t b) { return place(a) < place(b); });
    for (std::size_t begin = 0; begin < by_area.size(); begin += kBatch) {
        const std::size_t end = std::min(begin + kBatch, by_area.size());
        std::vector<std::size_t> objects(by_area.begin() + static_cast<std::ptrdiff_t>(begin),
                                         by_area.begin() + static_cast<std::ptrdiff_t>(end));
        Windows windows = touched(own_boxes(objects), static_cast<float>(manifest.reach), manifest.image_size);
        result.push_back({std::move(objects), std::move(windows)});
    }
}

}  // namespace medsam_edge
