// Small objects in large images: which part of the image the network sees for each box.
// See sdk/medsam_edge/inference/tiles.py.
#pragma once

#include <vector>

#include "geometry.hpp"

namespace medsam_edge {

struct Tile {
    Rectangle place;
    std::vector<std::size_t> objects;
    bool is_part = false;  ///< smaller than the image
};

/// The parts of a height × width image that any box (in its pixels; NaN where there is none) needs; every object is in
/// exactly one. `size` is the side of the network's square.
std::vector<Tile> tiles_of(const std::vector<Box4>& boxes, std::int64_t height, std::int64_t width, int size,
                           Detail detail);

}  // namespace medsam_edge
