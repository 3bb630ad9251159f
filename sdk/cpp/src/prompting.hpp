// Prompts in one view: from pixels of the image to those of the network, and what prompts the next slice.
// See sdk/medsam_edge/inference/prompting.py and propagation.py.
#pragma once

#include <vector>

#include "predictor.hpp"

namespace medsam_edge {

/// The box moved into a view that begins at the corner.
Box4 moved(const Box4& box, const Rectangle& view);

/// Clicks as x, y of a slice of the image → in network pixels of a view.
std::vector<NetworkClick> clicks_in(const Rectangle& view, const Clicks& clicks, const Geometry& geometry);

/// The clicks on a slice, as x, y of the slice.
Clicks clicks_on(const Clicks& clicks, std::int64_t slice, const Grid& grid);

/// A mask in the view → a mask prompt.
Plane prior_of(const std::vector<float>& mask, const Geometry& geometry);

/// A mask, cut to the rows and columns of a view, as 0 and 1.
std::vector<float> mask_in(const CroppedMask& mask, const Rectangle& view);

/// Around a mask and the clicks on its object, a little larger, in an image of height × width.
Box4 box_around(const CroppedMask& mask, const Clicks& clicks, std::int64_t height, std::int64_t width);

/// How a mask prompts the next slice.
struct Following {
    Box4 box{};           ///< the user's, in pixels of the view
    double along = 0;     ///< where the slice lies in that box: 0 in the middle, ±1 at its ends
    bool bounded = true;  ///< the box holds the whole object, so that no slice's box need be larger
};

/// The next slice's box in network pixels; `mask`, of the slice before, is in pixels of the view.
Box4 next_box(const CroppedMask& mask, const Following& following, const Geometry& geometry);

/// Rows and columns of a slice of the display; `scratch` holds them where they do not lie side by side.
View<std::uint8_t> view_of(const Display& display, const Grid& grid, std::int64_t slice, const Rectangle& where,
                           std::vector<std::uint8_t>& scratch);

}  // namespace medsam_edge
