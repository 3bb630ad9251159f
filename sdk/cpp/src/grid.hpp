// A volume as slices along one axis; a picture is its own only slice.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace medsam_edge {

struct Grid {
    std::int64_t depth;  ///< 0 for a picture
    std::int64_t height;
    std::int64_t width;
    int axis = 0;

    [[nodiscard]] bool is_volume() const { return depth > 0; }
    [[nodiscard]] std::array<std::int64_t, 3> shape() const { return {is_volume() ? depth : 1, height, width}; }
    [[nodiscard]] std::int64_t slices() const { return shape().at(static_cast<std::size_t>(axis)); }
    [[nodiscard]] std::int64_t rows() const { return shape().at(axis == 0 ? 1 : 0); }
    [[nodiscard]] std::int64_t columns() const { return shape().at(axis == 2 ? 1 : 2); }
    [[nodiscard]] std::size_t size() const {
        const auto [d, h, w] = shape();
        return static_cast<std::size_t>(d) * static_cast<std::size_t>(h) * static_cast<std::size_t>(w);
    }
    /// Position of a pixel of a slice in the whole.
    [[nodiscard]] std::size_t at(std::int64_t slice, std::int64_t row, std::int64_t column) const {
        const std::int64_t z = axis == 0 ? slice : row;
        const std::int64_t x = axis == 2 ? slice : column;
        const std::int64_t y = std::array{row, slice, column}.at(static_cast<std::size_t>(axis));
        return static_cast<std::size_t>((z * height + y) * width + x);
    }
    /// Which of x, y, z lies across a slice, down a slice, and along the axis.
    [[nodiscard]] std::size_t across() const { return axis == 2 ? 1 : 0; }
    [[nodiscard]] std::size_t down() const { return axis == 0 ? 1 : 2; }
    [[nodiscard]] std::size_t along() const { return static_cast<std::size_t>(2 - axis); }
};

}  // namespace medsam_edge
