// What a caller asks for, checked, in pixels of the image: see sdk/medsam_edge/prompts.py and boxes.py.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <vector>

#include "geometry.hpp"
#include "grid.hpp"

namespace medsam_edge {

using Clicks = std::vector<Click>;

/// Masks to start from, in memory of the caller.
class Priors {
public:
    Priors(const Prior& prior, const Grid& grid) : prior_(prior), grid_(grid) {}

    /// Rows and columns of an object's mask on one slice, as probabilities.
    [[nodiscard]] std::vector<float> part(std::size_t object, std::int64_t slice, const Rectangle& where) const;
    [[nodiscard]] bool any(std::size_t object, std::int64_t slice) const;

private:
    Prior prior_;
    Grid grid_;
};

/// One of each for each object.
struct CheckedPrompts {
    std::vector<std::array<float, 6>> boxes;  ///< x0, y0, z0, x1, y1, z1 inside the image; NaN where there is none
    std::vector<Clicks> clicks;               ///< whole pixels, without padding
    std::optional<Priors> priors;

    [[nodiscard]] bool any_clicks() const;
};

/// Check prompts in an image; Error(box) or Error(input) says what is wrong. `grid` has the slices of the image.
CheckedPrompts check_prompts(const Prompts& prompts, const Grid& grid, std::vector<std::string>& warnings);

/// The clicks on `count` objects that are known already; the rest of `check_prompts`.
std::vector<Clicks> check_clicks(const std::vector<Clicks>& clicks, std::size_t count, const Grid& grid);

}  // namespace medsam_edge
