#include "windows.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>

namespace medsam_edge {
namespace {

constexpr std::array<int, 6> kSides = {16, 20, 24, 32, 48, 64};  // of windows, in cells
constexpr double kLeastContext = 16;                             // network pixels on each side of a box

/// First cell and number of cells along one axis.
struct Span {
    std::int64_t first;
    int count;
};

Span window_along(double low, double high, double context, int side) {
    const double extent = (high - low) + 2 * std::max(context * (high - low), kLeastContext);
    int count = side;
    for (const int own : kSides) {
        if (own < side && own >= extent / kCell) {
            count = own;
            break;
        }
    }
    const double first = std::floor((low + high) / (2 * kCell) - count / 2.0 + 0.5);
    return {static_cast<std::int64_t>(std::min(std::max(first, 0.0), static_cast<double>(side - count))), count};
}

}  // namespace

Windows Windows::whole(int side, std::size_t count) {
    const std::vector<std::int64_t> corner(count, 0);
    return {side, corner, corner, side, side};
}

std::vector<std::int64_t> Windows::cells() const {
    std::vector<std::int64_t> result;
    result.reserve(count() * size());
    for (std::size_t index = 0; index < count(); ++index) {
        for (std::int64_t y = top[index]; y < top[index] + rows; ++y) {
            for (std::int64_t x = left[index]; x < left[index] + columns; ++x) { result.push_back(y * side + x); }
        }
    }
    return result;
}

Windows Windows::part(std::size_t begin, std::size_t end) const {
    const auto first = static_cast<std::ptrdiff_t>(begin);
    const auto last = static_cast<std::ptrdiff_t>(std::min(end, count()));
    return {
        side, {top.begin() + first, top.begin() + last}, {left.begin() + first, left.begin() + last}, rows, columns};
}

void Windows::cut(std::size_t index, const Plane& known, float* target) const {
    std::fill(target, target + size() * kCell * kCell, -kMaskLimit);
    const std::int64_t down = top[index] * kCell;
    const std::int64_t across = left[index] * kCell;
    const std::int64_t bottom = std::min(known.top + known.height, down + static_cast<std::int64_t>(rows) * kCell);
    const std::int64_t right = std::min(known.left + known.width, across + static_cast<std::int64_t>(columns) * kCell);
    for (std::int64_t y = std::max(known.top, down); y < bottom; ++y) {
        for (std::int64_t x = std::max(known.left, across); x < right; ++x) {
            const float value = known.values[static_cast<std::size_t>((y - known.top) * known.width + x - known.left)];
            const std::int64_t row = y - down;
            const std::int64_t column = x - across;
            const std::int64_t cell = row / kCell * columns + column / kCell;
            target[(cell * kCell + row % kCell) * kCell + column % kCell] =
                std::min(std::max(value, -kMaskLimit), kMaskLimit);
        }
    }
}

std::vector<float> Windows::pixels(const float* cells) const {
    std::vector<float> result;
    result.reserve(size() * kCell * kCell);
    for (int row = 0; row < rows * kCell; ++row) {
        for (int column = 0; column < columns; ++column) {
            const float* cell =
                cells + (static_cast<std::ptrdiff_t>(row / kCell * columns + column) * kCell + row % kCell) * kCell;
            result.insert(result.end(), cell, cell + kCell);
        }
    }
    return result;
}

std::vector<WindowGroup> window_groups(const std::vector<Box4>& boxes, double context, int side) {
    std::map<std::pair<int, int>, WindowGroup> groups;  // by columns, rows: small windows first
    for (std::size_t index = 0; index < boxes.size(); ++index) {
        const Box4& box = boxes[index];
        const Span across = window_along(box[0], box[2], context, side);
        const Span down = window_along(box[1], box[3], context, side);
        WindowGroup& group = groups[{across.count, down.count}];
        group.indices.push_back(index);
        group.windows.side = side;
        group.windows.rows = down.count;
        group.windows.columns = across.count;
        group.windows.top.push_back(down.first);
        group.windows.left.push_back(across.first);
    }
    std::vector<WindowGroup> result;
    for (auto& [sides, group] : groups) { result.push_back(std::move(group)); }
    return result;
}

Windows touched(const std::vector<Box4>& boxes, float reach, int size) {
    const int side = size / kCell;
    Windows windows;
    windows.side = side;
    for (const Box4& box : boxes) {
        std::array<std::int64_t, 2> low{};
        std::array<std::int64_t, 2> high{};
        for (std::size_t axis = 0; axis < 2; ++axis) {
            const float first = std::floor((box[axis] - reach) / kCell);
            low[axis] = static_cast<std::int64_t>(std::min(std::max(first, 0.0F), static_cast<float>(side - 1)));
            const float last = std::ceil((box[axis + 2] + reach) / kCell);
            high[axis] = static_cast<std::int64_t>(
                std::min(std::max(last, static_cast<float>(low[axis] + 1)), static_cast<float>(side)));
        }
        windows.left.push_back(low[0]);
        windows.top.push_back(low[1]);
        windows.columns = std::max(windows.columns, static_cast<int>(high[0] - low[0]));
        windows.rows = std::max(windows.rows, static_cast<int>(high[1] - low[1]));
    }
    for (std::int64_t& own : windows.left) { own = std::min<std::int64_t>(own, side - windows.columns); }
    for (std::int64_t& own : windows.top) { own = std::min<std::int64_t>(own, side - windows.rows); }
    return windows;
}

}  // namespace medsam_edge
