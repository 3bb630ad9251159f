// Run a bundle by OpenVINO. No other file knows it.
#pragma once

#include <condition_variable>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "bundle.hpp"

namespace medsam_edge {

using Shape = std::vector<std::size_t>;

/// What a network gave. The type is f16 or f32.
struct Array {
    Type type = Type::f32;
    Shape shape;
    std::vector<std::uint8_t> bytes;

    [[nodiscard]] const float* values() const { return reinterpret_cast<const float*>(bytes.data()); }
};

/// An input, which somebody else owns: f16, f32 or i64.
struct Feed {
    const char* name;
    Type type;
    Shape shape;
    const void* data;
};

/// One part of a model: named arrays in, named arrays out. Safe to call from many threads.
class Network {
public:
    virtual ~Network() = default;
    /// Run it once. Error(bundle) where it fails or gives values that are neither f16 nor f32.
    [[nodiscard]] virtual std::map<std::string, Array> infer(const std::vector<Feed>& feeds) const = 0;
};

/// An encoder and a decoder that belong together; `bundle.hpp` says what they take.
struct Model {
    std::unique_ptr<const Network> encoder;
    std::unique_ptr<const Network> decoder;
    Manifest manifest;
    std::string identity;

    [[nodiscard]] int side() const { return manifest.image_size / 4; }  ///< of the embedding's grid
    /// The decoder's class prompt; Error(modality) for none of the model's classes.
    [[nodiscard]] std::vector<float> one_hot(Modality modality) const;
};

/// Compile a verified bundle. Error(bundle) where that fails, or where its ports differ from the manifest.
Model load_model(Bundle bundle, const SegmenterSettings& settings);

}  // namespace medsam_edge
