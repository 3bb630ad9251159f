// The cells around boxes that are decoded: see `Windows` and `window_groups` in sdk/medsam_edge/geometry.py.
#pragma once

#include <cstdint>
#include <vector>

#include "geometry.hpp"

namespace medsam_edge {

/// Logits within the network's square: rows top .. top + height, columns left .. left + width.
struct Plane {
    std::int64_t top = 0, left = 0, height = 0, width = 0;
    std::vector<float> values;
};

/// Equally large parts of the embedding's grid, one around each box; all in cells.
struct Windows {
    int side = 0;  ///< of the grid
    std::vector<std::int64_t> top;
    std::vector<std::int64_t> left;
    int rows = 0;
    int columns = 0;

    static Windows whole(int side, std::size_t count);
    [[nodiscard]] std::size_t count() const { return top.size(); }
    [[nodiscard]] std::size_t size() const {
        return static_cast<std::size_t>(rows) * static_cast<std::size_t>(columns);
    }
    /// (count, rows·columns) positions in the embedding, row by row.
    [[nodiscard]] std::vector<std::int64_t> cells() const;
    [[nodiscard]] Windows part(std::size_t begin, std::size_t end) const;
    /// Write a mask prompt in the cells of one window, (rows·columns, 4, 4) within ±kMaskLimit.
    void cut(std::size_t index, const Plane& known, float* target) const;
    /// (rows·columns, 4, 4) logits of one window's cells → its (4·rows, 4·columns) pixels.
    [[nodiscard]] std::vector<float> pixels(const float* cells) const;
};

struct WindowGroup {
    std::vector<std::size_t> indices;
    Windows windows;
};

/// The windows that a decoder with `context` reads, boxes with windows of equal size together.
std::vector<WindowGroup> window_groups(const std::vector<Box4>& boxes, double context, int side);

/// All cells that a box grown by `reach` network pixels touches, in the largest's size.
Windows touched(const std::vector<Box4>& boxes, float reach, int size);

}  // namespace medsam_edge
