// Pictures: each box is decoded in the view that shows it large enough; all masks go into one result.
// See sdk/medsam_edge/inference/picture.py.
#pragma once

#include "prompting.hpp"

namespace medsam_edge {

Result decode_picture(const Predictor& predictor, const Embedding& embedding, const Prompts& prompts);
Result segment_picture(const Predictor& predictor, const Image& image, const Prompts& prompts, const Options& options);
/// `more` are checked clicks, one row for each object.
Result refine_picture(const Predictor& predictor, const Result& result, const std::vector<Clicks>& more);

}  // namespace medsam_edge
