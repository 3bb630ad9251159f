// What pictures and volumes share: encode one 8-bit image, decode prompts on one embedding.
// See sdk/medsam_edge/inference/predictor.py.
#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cache.hpp"
#include "engine.hpp"
#include "geometry.hpp"
#include "intensity.hpp"
#include "prompts.hpp"
#include "windows.hpp"

namespace medsam_edge {

/// The modality that prompts a network with classes, and its probability where it was recognised.
struct ClassPrompt {
    std::optional<Modality> modality;
    std::optional<float> confidence;
};

class Embedding {
public:
    std::shared_ptr<const Encoded> encoded;
    Geometry geometry{};
    std::optional<Modality> modality;  ///< as told
    std::string model;                 ///< identity of the bundle that made it
    std::vector<Modality> classes;
    Timings timings;
    std::shared_ptr<const Display> display;  ///< where a caller made it
    std::vector<std::string> warnings;

    [[nodiscard]] ClassPrompt class_prompt() const;
};

/// A click in network pixels.
struct NetworkClick {
    Point point;
    std::int64_t label;
};

/// What the decoder is asked for on one embedding, in network pixels; one of each for each object.
struct NetworkPrompts {
    std::vector<Box4> boxes;
    std::vector<std::vector<NetworkClick>> clicks;
    std::map<std::size_t, Plane> priors;  ///< by number of the object

    [[nodiscard]] std::size_t size() const { return boxes.size(); }
};

/// Masks in pixels of the embedded image, and what they were made of.
struct Decoded {
    std::vector<CroppedMask> masks;
    std::vector<float> scores;
    std::vector<Logits> logits;
    Timings timings;
};

class Stopwatch {
public:
    /// Milliseconds since the last lap.
    double lap();

private:
    std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

void add(Timings& sum, const Timings& more);

/// A model and the embeddings it has made. Safe to use from many threads.
class Predictor {
public:
    Predictor(Model model, std::size_t cache_bytes) : model_(std::move(model)), cache_(cache_bytes) {}

    [[nodiscard]] Embedding embed(const View<std::uint8_t>& image, std::optional<Modality> modality) const;
    [[nodiscard]] Decoded decode(const Embedding& embedding, const NetworkPrompts& prompts) const;
    /// Error(input) for prompts that the model does not take.
    void check(const CheckedPrompts& asked) const;
    [[nodiscard]] const Model& model() const { return model_; }

private:
    struct Batch {
        std::vector<std::size_t> objects;
        Windows windows;
    };

    [[nodiscard]] std::vector<Batch> batches(const NetworkPrompts& prompts) const;
    void add_batches(std::vector<Batch>& result, const std::vector<std::size_t>& alike,
                     const std::vector<Box4>& boxes) const;
    void decode_batch(const Embedding& embedding, const NetworkPrompts& prompts, const Batch& batch,
                      Decoded& decoded) const;

    Model model_;
    mutable Cache cache_;
};

/// Logits as a result keeps them → as a mask prompt.
Plane plane_of(const Logits& logits);

/// Of logits that are not kept, only where they lie stays.
void drop_values(Logits& logits);

}  // namespace medsam_edge
