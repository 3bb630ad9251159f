// Objects that were followed along all three axes: a voxel is an object's if two of the three masks have it.
// See sdk/medsam_edge/inference/agreement.py.
#pragma once

#include <vector>

#include "sweeps.hpp"

namespace medsam_edge {

/// Change each object's masks, on all slices where it was looked for, to what is agreed on. Logits are dropped, because
/// they are not those of the new masks. Scores stay.
void agree(std::vector<std::vector<Track>>& ways);

}  // namespace medsam_edge
