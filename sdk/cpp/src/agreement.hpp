// Objects that were followed along all three axes: a voxel is an object's if two of the three masks have it.
// See sdk/medsam_edge/inference/agreement.py.
#pragma once

#include <vector>

#include "sweeps.hpp"

namespace medsam_edge {

/// Change the masks of each object's way along axis 0, on the slices where it was looked for, to what is agreed on.
/// Logits and scores stay those of that way.
void agree(std::vector<std::vector<Track>>& ways);

}  // namespace medsam_edge
