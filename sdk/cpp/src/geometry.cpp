#include "geometry.hpp"

#include <algorithm>
#include <cmath>

namespace medsam_edge {
namespace {

int scaled(std::int64_t side, double scale) {
    return std::max(1, static_cast<int>(std::floor(static_cast<double>(side) * scale + 0.5)));
}

}  // namespace

double Geometry::scale() const { return static_cast<double>(size) / static_cast<double>(std::max(height, width)); }

int Geometry::new_height() const { return scaled(height, scale()); }

int Geometry::new_width() const { return scaled(width, scale()); }

std::pair<double, double> Geometry::ratio() const {
    return {new_width() / static_cast<double>(width), new_height() / static_cast<double>(height)};
}

std::vector<std::uint8_t> Geometry::resized(const View<std::uint8_t>& image) const {
    return resize(image, new_height(), new_width(), scale() <= 1);
}

Box4 Geometry::box_to_network(const Box4& box) const {
    const auto [across, down] = ratio();
    return {static_cast<float>(box[0] * across), static_cast<float>(box[1] * down), static_cast<float>(box[2] * across),
            static_cast<float>(box[3] * down)};
}

Point Geometry::point_to_network(const Point& point) const {
    const auto [across, down] = ratio();
    return {static_cast<float>((point[0] + 0.5F) * across - 0.5), static_cast<float>((point[1] + 0.5F) * down - 0.5)};
}

std::vector<float> Geometry::mask_to_network(const std::vector<float>& mask) const {
    const View<float> view{mask.data(), static_cast<std::size_t>(width), static_cast<int>(height),
                           static_cast<int>(width), 1};
    const std::vector<float> small = resize(view, new_height(), new_width(), scale() < 1);
    const auto side = static_cast<std::size_t>(size);
    std::vector<float> plane(side * side, -kMaskLimit);
    const auto columns = static_cast<std::size_t>(new_width());
    for (std::size_t i = 0; i < small.size(); ++i) {
        const float share = std::min(std::max(small[i], 0.0F), 1.0F);  // 0 and 1 are infinite logits
        const float logit = std::log(share) - std::log1p(-share);
        plane[i / columns * side + i % columns] = std::min(std::max(logit, -kMaskLimit), kMaskLimit);
    }
    return plane;
}

std::vector<float> to_planes(const std::vector<std::uint8_t>& image, int height, int width, int channels, int size) {
    const auto [low, high] = std::minmax_element(image.begin(), image.end());
    std::array<float, 256> table{};
    const float extent = *high > *low ? static_cast<float>(*high - *low) : 1e-8F;
    for (int value = *low; value <= *high; ++value) {
        table[static_cast<std::size_t>(value)] = static_cast<float>(value - *low) / extent;
    }
    const auto side = static_cast<std::size_t>(size);
    std::vector<float> planes(3 * side * side);
    for (std::size_t c = 0; c < 3; ++c) {
        for (std::size_t y = 0; y < static_cast<std::size_t>(height); ++y) {
            const auto step = static_cast<std::size_t>(channels);
            const std::uint8_t* source =
                image.data() + y * static_cast<std::size_t>(width) * step + (step == 3 ? c : 0);
            float* target = planes.data() + (c * side + y) * side;
            for (std::size_t x = 0; x < static_cast<std::size_t>(width); ++x) { target[x] = table[source[x * step]]; }
        }
    }
    return planes;
}

}  // namespace medsam_edge
