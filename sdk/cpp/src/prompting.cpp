#include "prompting.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "errors.hpp"

namespace medsam_edge {
namespace {

constexpr double kMarginAround = 0.1;  // of the sides of what `box_around` holds
constexpr double kNarrowing = 0.5;     // of a box towards its ends, to the section of the inscribed ellipsoid
constexpr double kMargin = 3;          // network pixels by which a mask's box grows before it prompts the next slice

/// The box with its sides shortened, around its middle, towards the ends of the object.
Box4 narrowed(const Box4& box, double along) {
    const double share = 1 - kNarrowing * (1 - std::sqrt(std::max(0.0, 1 - along * along)));
    Box4 result{};
    for (std::size_t axis = 0; axis < 2; ++axis) {
        const float middle = (box[axis] + box[axis + 2]) / 2;
        const double half = (box[axis + 2] - box[axis]) / 2 * share;
        result[axis] = static_cast<float>(middle - half);
        result[axis + 2] = static_cast<float>(middle + half);
    }
    return result;
}

/// The mask's box and `margin` on each side, cut by `bound`; `bound` itself if nothing is left.
Box4 grown(const CroppedMask& mask, double margin, const Box4& bound) {
    const std::array<std::int64_t, 2> low = {mask.left, mask.top};
    const std::array<std::int64_t, 2> high = {mask.left + mask.width, mask.top + mask.height};
    Box4 result{};
    for (std::size_t axis = 0; axis < 2; ++axis) {
        const auto cut = [&](double edge) {
            return static_cast<float>(
                std::min(std::max<double>(edge, bound[axis]), static_cast<double>(bound[axis + 2])));
        };
        result[axis] = cut(static_cast<double>(low.at(axis)) - margin);
        result[axis + 2] = cut(static_cast<double>(high.at(axis)) + margin);
    }
    return result[0] < result[2] && result[1] < result[3] ? result : bound;
}

}  // namespace

Box4 moved(const Box4& box, const Rectangle& view) {
    const auto left = static_cast<float>(view.left);
    const auto top = static_cast<float>(view.top);
    return {box[0] - left, box[1] - top, box[2] - left, box[3] - top};
}

std::vector<NetworkClick> clicks_in(const Rectangle& view, const Clicks& clicks, const Geometry& geometry) {
    std::vector<NetworkClick> result;
    for (const Click& click : clicks) {
        const Point point = {static_cast<float>(click.x) - static_cast<float>(view.left),
                             static_cast<float>(click.y) - static_cast<float>(view.top)};
        result.push_back({geometry.point_to_network(point), click.label});
    }
    return result;
}

Clicks clicks_on(const Clicks& clicks, std::int64_t slice, const Grid& grid) {
    Clicks result;
    for (const Click& click : clicks) {
        const std::array<double, 3> point = {click.x, click.y, click.z};
        if (static_cast<std::int64_t>(point.at(grid.along())) == slice) {
            result.push_back({point.at(grid.across()), point.at(grid.down()), click.label, 0});
        }
    }
    return result;
}

Plane prior_of(const std::vector<float>& mask, const Geometry& geometry) {
    return {0, 0, geometry.size, geometry.size, geometry.mask_to_network(mask)};
}

std::vector<float> mask_in(const CroppedMask& mask, const Rectangle& view) {
    std::vector<float> plane(static_cast<std::size_t>(view.height() * view.width()));
    const std::int64_t bottom = std::min(mask.top + mask.height, view.bottom);
    const std::int64_t right = std::min(mask.left + mask.width, view.right);
    for (std::int64_t y = std::max(mask.top, view.top); y < bottom; ++y) {
        for (std::int64_t x = std::max(mask.left, view.left); x < right; ++x) {
            const std::uint8_t own = mask.pixels[static_cast<std::size_t>((y - mask.top) * mask.width + x - mask.left)];
            plane[static_cast<std::size_t>((y - view.top) * view.width() + x - view.left)] = own;
        }
    }
    return plane;
}

Box4 box_around(const CroppedMask& mask, const Clicks& clicks, std::int64_t height, std::int64_t width) {
    constexpr double kFar = std::numeric_limits<double>::infinity();
    std::array<double, 2> low = {kFar, kFar};
    std::array<double, 2> high = {-kFar, -kFar};
    const auto hold = [&](double x, double y) {
        low = {std::min(low[0], x), std::min(low[1], y)};
        high = {std::max(high[0], x), std::max(high[1], y)};
    };
    for (const Click& click : clicks) {
        if (click.label != 1) { continue; }
        hold(click.x, click.y);
        hold(click.x + 1, click.y + 1);
    }
    if (!mask.empty()) {
        hold(static_cast<double>(mask.left), static_cast<double>(mask.top));
        hold(static_cast<double>(mask.left + mask.width), static_cast<double>(mask.top + mask.height));
    }
    if (low[0] == kFar) {
        fail(Code::input, "points: expected a click on an object whose mask is empty, got none on it");
    }
    const std::array<double, 2> limit = {static_cast<double>(width), static_cast<double>(height)};
    Box4 result{};
    for (std::size_t axis = 0; axis < 2; ++axis) {
        const double margin = kMarginAround * (high.at(axis) - low.at(axis));
        result[axis] = static_cast<float>(std::max(low.at(axis) - margin, 0.0));
        result[axis + 2] = static_cast<float>(std::min(high.at(axis) + margin, limit.at(axis)));
    }
    return result;
}

Box4 next_box(const CroppedMask& mask, const Following& following, const Geometry& geometry) {
    const Box4 whole = {0, 0, static_cast<float>(geometry.width), static_cast<float>(geometry.height)};
    const Box4 box = following.bounded ? narrowed(following.box, following.along) : following.box;
    const Box4 bound = following.bounded ? box : whole;
    return geometry.box_to_network(mask.empty() ? box : grown(mask, kMargin / geometry.scale(), bound));
}

View<std::uint8_t> view_of(const Display& display, const Grid& grid, std::int64_t slice, const Rectangle& where,
                           std::vector<std::uint8_t>& scratch) {
    const auto channels = static_cast<std::size_t>(display.channels);
    const auto height = static_cast<int>(where.height());
    const auto width = static_cast<int>(where.width());
    if (grid.axis == 2) {  // pixels of a row are not side by side
        scratch.clear();
        for (std::int64_t y = where.top; y < where.bottom; ++y) {
            for (std::int64_t x = where.left; x < where.right; ++x) {
                scratch.push_back(display.pixels[grid.at(slice, y, x)]);
            }
        }
        return {scratch.data(), static_cast<std::size_t>(width), height, width, 1};
    }
    const auto step = static_cast<std::size_t>(grid.axis == 0 ? grid.width : grid.height * grid.width) * channels;
    return {display.pixels.data() + grid.at(slice, where.top, where.left) * channels, step, height, width,
            display.channels};
}

}  // namespace medsam_edge
