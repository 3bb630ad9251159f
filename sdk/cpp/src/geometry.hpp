// How an image lies in the network's square: see sdk/medsam_edge/geometry.py.
#pragma once

#include <array>
#include <cstdint>
#include <utility>
#include <vector>

#include "medsam_edge/medsam_edge.hpp"
#include "resize.hpp"

namespace medsam_edge {

constexpr int kCell = 4;         ///< network pixels along a side of one position of the embedding
constexpr float kMaskLimit = 8;  ///< largest absolute logit of a mask prompt

using Box4 = std::array<float, 4>;   ///< x0, y0, x1, y1; NaN where there is none
using Point = std::array<float, 2>;  ///< x, y

/// Rows top .. bottom and columns left .. right of an image.
struct Rectangle {
    std::int64_t top, left, bottom, right;
    [[nodiscard]] std::int64_t height() const { return bottom - top; }
    [[nodiscard]] std::int64_t width() const { return right - left; }
    bool operator==(const Rectangle& other) const {
        return top == other.top && left == other.left && bottom == other.bottom && right == other.right;
    }
};

struct Geometry {
    std::int64_t height;
    std::int64_t width;
    int size;  ///< side of the network's square

    [[nodiscard]] double scale() const;
    [[nodiscard]] int new_height() const;
    [[nodiscard]] int new_width() const;
    /// (new_height, new_width, channels): what the network sees of the image.
    [[nodiscard]] std::vector<std::uint8_t> resized(const View<std::uint8_t>& image) const;
    [[nodiscard]] Box4 box_to_network(const Box4& box) const;
    /// A pixel x, y → the network pixel whose centre is where its own is.
    [[nodiscard]] Point point_to_network(const Point& point) const;
    /// (height, width) probabilities, or 0 and 1 → (size, size) logits within ±kMaskLimit.
    [[nodiscard]] std::vector<float> mask_to_network(const std::vector<float>& mask) const;
    /// A window of logits (rows, columns) whose first row and column in the square are top and left → the mask.
    [[nodiscard]] CroppedMask mask_to_image(const float* logits, int rows, int columns, int top, int left) const;

private:
    [[nodiscard]] std::pair<double, double> ratio() const;  ///< network pixels per image pixel, across and down
};

/// Min-max a resized image and pad it with zeros: (3, size, size) in [0, 1].
std::vector<float> to_planes(const std::vector<std::uint8_t>& image, int height, int width, int channels, int size);

}  // namespace medsam_edge
