// The golden vectors, as tests/sdk/cpp/golden.py writes them.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "json.hpp"
#include "medsam_edge/medsam_edge.hpp"
#include "support/npy.hpp"

namespace support {

/// Folder of the golden vectors.
std::string golden();

struct Case {
    std::string name;
    std::string folder;
    medsam_edge::Json json;
    Npy pixels;
    Npy prior_values;
    medsam_edge::Image image;
    medsam_edge::Prompts prompts;
    medsam_edge::Options options;
    std::vector<std::vector<medsam_edge::Click>> further;  ///< clicks of a correction, where there is one

    [[nodiscard]] Npy array(const std::string& stage) const { return load(folder + "/" + stage + ".npy"); }
};

/// Their names.
std::vector<std::string> case_names();
std::unique_ptr<Case> load_case(const std::string& name);

/// One for each bundle, made when first asked for; two threads.
const medsam_edge::Segmenter& segmenter_of(const std::string& bundle);

/// What the case asks for, with its correction.
medsam_edge::Result result_of(const Case& own);

}  // namespace support
