// The model bundle: see sdk/medsam_edge/networks/bundle.py, which is the contract.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "medsam_edge/medsam_edge.hpp"

namespace medsam_edge {

struct Manifest {
    int image_size = 0;
    std::map<std::string, std::string> files;  ///< sha256 by name
    std::string encoder_precision;
    std::string decoder_precision;
    int reach = 0;
    std::string openvino;  ///< the version that made it; older ones are refused
    std::optional<double> context;
    bool all_prompts = false;  ///< the decoder takes points and masks too
    std::vector<Modality> classes;
};

/// A verified bundle, its files in memory.
struct Bundle {
    Manifest manifest;
    std::map<std::string, std::string> contents;  ///< of the model files, by name
    std::string identity;                         ///< sha256 of the manifest
};

/// Error(bundle) where a file is missing, too large or differs from its hash, or a field is invalid.
Bundle load_bundle(const std::string& folder);

/// Check every field of a manifest; `folder` is for the messages.
Manifest parse_manifest(std::string_view raw, const std::string& folder);

}  // namespace medsam_edge
