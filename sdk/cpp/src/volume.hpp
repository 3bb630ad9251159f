// Volumes: from each box's middle slice outwards, every slice prompted by the mask of the slice before.
// See sdk/medsam_edge/inference/volume.py.
#pragma once

#include "prompting.hpp"

namespace medsam_edge {

Result segment_volume(const Predictor& predictor, const Image& image, const Prompts& prompts, const Options& options);
/// `more` are checked clicks, one row for each object.
Result refine_volume(const Predictor& predictor, const Result& result, const std::vector<Clicks>& more);

}  // namespace medsam_edge
