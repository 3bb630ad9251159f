#include "tiles.hpp"

#include <algorithm>
#include <cmath>
#include <optional>

namespace medsam_edge {
namespace {

/// Which tiles there are; all sizes but `smallest` are shares of a tile's side.
struct TileRule {
    double largest_box;
    double ratio;  ///< of the sides of a tile and the next smaller one
    double context;
    int smallest;  ///< image pixels; 0 for the network's square
};

constexpr TileRule kAutomatic = {24.0 / 256, 2, 20.0 / 256, 0};
const TileRule kCrop = {1.0 / 4, std::sqrt(2.0), 5.0 / 16, 32};

/// Start of the grid's tile whose middle is nearest to `centre`, moved inside the image.
std::int64_t start(double centre, std::int64_t extent, std::int64_t length, std::int64_t step) {
    const double nearest = std::nearbyint((centre - static_cast<double>(length) / 2) / static_cast<double>(step));
    const std::int64_t begin = static_cast<std::int64_t>(nearest) * step;
    return std::min(std::max<std::int64_t>(begin, 0), std::max<std::int64_t>(extent - length, 0));
}

/// None for the whole image.
std::optional<Rectangle> tile(const Box4& own, std::int64_t height, std::int64_t width, int size,
                              const TileRule& rule) {
    const std::array<double, 4> box = {own[0], own[1], own[2], own[3]};
    const std::int64_t longer = std::max(height, width);
    const double side = std::max(box[2] - box[0], box[3] - box[1]);
    const int smallest = rule.smallest > 0 ? rule.smallest : size;
    const double exponent = std::log(rule.largest_box * static_cast<double>(longer) / side) / std::log(rule.ratio);
    const double halvings = std::ceil(exponent - 1);
    if (halvings < 1 || longer < 2 * static_cast<std::int64_t>(smallest)) { return std::nullopt; }
    const double exact = std::ceil(static_cast<double>(longer) / std::pow(rule.ratio, halvings));
    const std::int64_t length = std::max<std::int64_t>(static_cast<std::int64_t>(exact), smallest);
    const auto step =
        static_cast<std::int64_t>(static_cast<double>(length) * (1 - rule.largest_box - 2 * rule.context));
    const std::int64_t top = start((box[1] + box[3]) / 2, height, length, step);
    const std::int64_t left = start((box[0] + box[2]) / 2, width, length, step);
    return Rectangle{top, left, std::min(top + length, height), std::min(left + length, width)};
}

}  // namespace

std::vector<Tile> tiles_of(const std::vector<Box4>& boxes, std::int64_t height, std::int64_t width, int size,
                           Detail detail) {
    const Rectangle whole{0, 0, height, width};
    std::vector<Tile> result;
    for (std::size_t index = 0; index < boxes.size(); ++index) {
        std::optional<Rectangle> place;
        if (detail != Detail::image && !std::isnan(boxes[index][0])) {
            place = tile(boxes[index], height, width, size, detail == Detail::crop ? kCrop : kAutomatic);
        }
        const Rectangle own = place.value_or(whole);
        const auto same = [&](const Tile& other) { return other.place == own; };
        auto found = std::find_if(result.begin(), result.end(), same);
        if (found == result.end()) { found = result.insert(found, Tile{own, {}, !(own == whole)}); }
        found->objects.push_back(index);
    }
    return result;
}

}  // namespace medsam_edge
