// Logits of a window → the mask in the image: bilinear, half-pixel centres, cut at zero, cropped.
#include <algorithm>
#include <cmath>

#include "geometry.hpp"

namespace medsam_edge {
namespace {

constexpr float kOutside = -10;  ///< logit of what is not decoded

/// Interpolation along one axis, of the image pixels from `start` on that some network pixels can reach.
struct Axis {
    std::int64_t start;
    int low;                 ///< the first network pixel that is read
    int high;                ///< the one after the last
    std::vector<int> below;  ///< of each image pixel, from `low`
    std::vector<int> above;
    std::vector<float> weight;  ///< of `above`

    /// For the network pixels first .. last of `small`, and an image of `large` pixels.
    Axis(int first, int last, int small, std::int64_t large) {
        const double ratio = static_cast<double>(large) / small;
        start = std::max<std::int64_t>(0, static_cast<std::int64_t>(std::floor((first - 0.5) * ratio - 0.5)));
        auto stop = std::min(large, static_cast<std::int64_t>(std::ceil((last + 1.5) * ratio + 0.5)));
        stop = std::max(stop, start + 1);
        const double step = small / static_cast<double>(large);
        for (std::int64_t index = start; index < stop; ++index) {
            const double source = std::min(std::max((static_cast<double>(index) + 0.5) * step - 0.5, 0.0),
                                           static_cast<double>(small - 1));
            below.push_back(static_cast<int>(source));
            above.push_back(std::min(below.back() + 1, small - 1));
            weight.push_back(static_cast<float>(source - below.back()));
        }
        low = below.front();
        high = above.back() + 1;
        for (int& own : below) { own -= low; }
        for (int& own : above) { own -= low; }
    }

    [[nodiscard]] std::size_t size() const { return weight.size(); }
};

/// A (rows, columns) part of the square, of which only a window is known.
class Part {
public:
    Part(const Axis& down, const Axis& across)
        : top_(down.low),
          left_(across.low),
          rows_(down.high - down.low),
          columns_(across.high - across.low),
          values_(static_cast<std::size_t>(rows_) * static_cast<std::size_t>(columns_), kOutside) {}

    void fill(const float* logits, int stride, const Rectangle& known) {
        const int begin = std::max(static_cast<int>(known.left), left_);
        const int end = std::min(static_cast<int>(known.right), left_ + columns_);
        const int bottom = std::min(static_cast<int>(known.bottom), top_ + rows_);
        for (int y = std::max(static_cast<int>(known.top), top_); y < bottom && begin < end; ++y) {
            const float* source = logits + (y - known.top) * stride + (begin - known.left);
            std::copy(source, source + (end - begin), row(y - top_) + (begin - left_));
        }
    }

    float* row(int y) { return values_.data() + static_cast<std::size_t>(y) * static_cast<std::size_t>(columns_); }
    [[nodiscard]] int rows() const { return rows_; }

private:
    int top_, left_, rows_, columns_;
    std::vector<float> values_;
};

/// (part rows, image columns).
std::vector<float> widened(Part& part, const Axis& across) {
    std::vector<float> wide(static_cast<std::size_t>(part.rows()) * across.size());
    for (int y = 0; y < part.rows(); ++y) {
        const float* source = part.row(y);
        float* target = wide.data() + static_cast<std::size_t>(y) * across.size();
        for (std::size_t x = 0; x < across.size(); ++x) {
            const float weight = across.weight[x];
            target[x] = source[across.below[x]] * (1 - weight) + source[across.above[x]] * weight;
        }
    }
    return wide;
}

/// One byte an image pixel of both axes: whether it is positive.
std::vector<std::uint8_t> positive(const std::vector<float>& wide, const Axis& down, std::size_t columns) {
    std::vector<std::uint8_t> mask(down.size() * columns);
    for (std::size_t y = 0; y < down.size(); ++y) {
        const float* below = wide.data() + static_cast<std::size_t>(down.below[y]) * columns;
        const float* above = wide.data() + static_cast<std::size_t>(down.above[y]) * columns;
        const float second = down.weight[y];
        const float first = 1 - second;
        std::uint8_t* target = mask.data() + y * columns;
        for (std::size_t x = 0; x < columns; ++x) {
            target[x] = static_cast<std::uint8_t>(below[x] * first + above[x] * second > 0);
        }
    }
    return mask;
}

/// The rows and columns of a plane that hold anything but 0, as far edges too; empty where none does.
Rectangle extent(const std::uint8_t* plane, std::size_t rows, std::size_t columns) {
    Rectangle found{static_cast<std::int64_t>(rows), static_cast<std::int64_t>(columns), 0, 0};
    for (std::size_t y = 0; y < rows; ++y) {
        const std::uint8_t* row = plane + y * columns;
        const auto* begin = std::find_if(row, row + columns, [](std::uint8_t own) { return own != 0; });
        if (begin == row + columns) { continue; }
        const std::uint8_t* end = row + columns;
        while (end[-1] == 0) { --end; }
        found.top = std::min(found.top, static_cast<std::int64_t>(y));
        found.bottom = static_cast<std::int64_t>(y) + 1;
        found.left = std::min(found.left, static_cast<std::int64_t>(begin - row));
        found.right = std::max(found.right, static_cast<std::int64_t>(end - row));
    }
    return found;
}

CroppedMask trimmed(std::int64_t top, std::int64_t left, const std::vector<std::uint8_t>& mask, std::size_t columns) {
    const Rectangle found = extent(mask.data(), mask.size() / columns, columns);
    if (found.bottom == 0) { return {}; }
    CroppedMask result{top + found.top, left + found.left, found.height(), found.width(), {}};
    result.pixels.reserve(static_cast<std::size_t>(result.height * result.width));
    for (std::int64_t y = found.top; y < found.bottom; ++y) {
        const std::uint8_t* row = mask.data() + static_cast<std::size_t>(y) * columns;
        result.pixels.insert(result.pixels.end(), row + found.left, row + found.right);
    }
    return result;
}

}  // namespace

CroppedMask Geometry::mask_to_image(const float* logits, int rows, int columns, int top, int left) const {
    const int inside_rows = std::min(rows, std::max(0, new_height() - top));  // the padding is cut off
    const int inside_columns = std::min(columns, std::max(0, new_width() - left));
    std::vector<std::uint8_t> above_zero;
    above_zero.reserve(static_cast<std::size_t>(inside_rows) * static_cast<std::size_t>(inside_columns));
    for (int y = 0; y < inside_rows; ++y) {
        const float* row = logits + static_cast<std::ptrdiff_t>(y) * columns;
        for (int x = 0; x < inside_columns; ++x) { above_zero.push_back(static_cast<std::uint8_t>(row[x] > 0)); }
    }
    const Rectangle found =
        extent(above_zero.data(), static_cast<std::size_t>(inside_rows), static_cast<std::size_t>(inside_columns));
    if (found.bottom == 0) { return {}; }
    const Axis down(static_cast<int>(found.top) + top, static_cast<int>(found.bottom) - 1 + top, new_height(), height);
    const Axis across(static_cast<int>(found.left) + left, static_cast<int>(found.right) - 1 + left, new_width(),
                      width);
    Part part(down, across);
    part.fill(logits, columns, {top, left, top + inside_rows, left + inside_columns});
    return trimmed(down.start, across.start, positive(widened(part, across), down, across.size()), across.size());
}

}  // namespace medsam_edge
