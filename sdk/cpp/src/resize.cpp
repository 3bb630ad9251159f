// The order of operations is OpenCV's, because rounding depends on it: each row first, then rows into rows.
#include "resize.hpp"

#include <algorithm>
#include <array>
#include <cfloat>
#include <cmath>
#include <type_traits>

namespace medsam_edge {
namespace {

constexpr int kWeightOne = 2048;  // 8-bit weights have eleven bits

/// How much of source pixel `from` goes into the target.
struct Share {
    int from;
    float weight;
};

/// Shares by target: those of target i are first[i] .. first[i + 1].
struct Shares {
    std::vector<Share> all;
    std::vector<std::size_t> first;
};

template <typename T>
T rounded(float value) {
    if constexpr (std::is_same_v<T, std::uint8_t>) {
        return static_cast<std::uint8_t>(std::clamp(std::lrint(value), 0L, 255L));  // half to even
    } else {
        return value;
    }
}

double scale_of(int source, int target) { return 1.0 / (static_cast<double>(target) / source); }

/// The source pixels that each target pixel covers, whole or in part.
Shares covering(int source, int target) {
    const double scale = scale_of(source, target);
    constexpr double kNothing = 1e-3;
    Shares shares;
    shares.all.reserve(static_cast<std::size_t>(source) + 2 * static_cast<std::size_t>(target));
    for (int index = 0; index < target; ++index) {
        shares.first.push_back(shares.all.size());
        const double begin = index * scale;
        const double end = begin + scale;
        const double extent = std::min(scale, source - begin);
        const int last = std::min(static_cast<int>(std::floor(end)), source - 1);
        const int whole = std::min(static_cast<int>(std::ceil(begin)), last);
        if (whole - begin > kNothing) {
            shares.all.push_back({whole - 1, static_cast<float>((whole - begin) / extent)});
        }
        for (int from = whole; from < last; ++from) { shares.all.push_back({from, static_cast<float>(1.0 / extent)}); }
        if (end - last > kNothing) {
            shares.all.push_back({last, static_cast<float>(std::min({end - last, 1.0, extent}) / extent)});
        }
    }
    shares.first.push_back(shares.all.size());
    return shares;
}

template <std::size_t kChannels, typename T>
void shrink_row(const T* source, const Shares& across, float* target) {
    const std::size_t width = across.first.size() - 1;
    for (std::size_t x = 0; x < width; ++x) {
        std::array<float, kChannels> sum{};
        for (std::size_t k = across.first[x]; k < across.first[x + 1]; ++k) {
            const Share share = across.all[k];
            const T* pixel = source + static_cast<std::size_t>(share.from) * kChannels;
            for (std::size_t c = 0; c < kChannels; ++c) { sum[c] += static_cast<float>(pixel[c]) * share.weight; }
        }
        std::copy(sum.begin(), sum.end(), target + x * kChannels);
    }
}

template <typename T>
std::vector<T> shrink(const View<T>& image, int height, int width) {
    const Shares down = covering(image.height, height);
    const Shares across = covering(image.width, width);
    const std::size_t values = static_cast<std::size_t>(width) * static_cast<std::size_t>(image.channels);
    std::vector<float> row(values);
    std::vector<float> sum(values);
    std::vector<T> result(static_cast<std::size_t>(height) * values);
    for (int y = 0; y < height; ++y) {
        const std::size_t begin = down.first[static_cast<std::size_t>(y)];
        const std::size_t end = down.first[static_cast<std::size_t>(y) + 1];
        for (std::size_t k = begin; k < end; ++k) {
            const T* source = image.row(down.all[k].from);
            const float weight = down.all[k].weight;
            image.channels == 3 ? shrink_row<3>(source, across, row.data()) : shrink_row<1>(source, across, row.data());
            if (k == begin) {
                for (std::size_t i = 0; i < values; ++i) { sum[i] = weight * row[i]; }
            } else {
                for (std::size_t i = 0; i < values; ++i) { sum[i] += weight * row[i]; }
            }
        }
        std::transform(sum.begin(), sum.end(), result.begin() + static_cast<std::ptrdiff_t>(values) * y, rounded<T>);
    }
    return result;
}

/// Means of blocks of whole pixels: the case that needs no weights.
template <typename T>
std::vector<T> shrink_blocks(const View<T>& image, int height, int width, int down, int across) {
    using Sum = std::conditional_t<std::is_same_v<T, std::uint8_t>, int, float>;
    const auto channels = static_cast<std::size_t>(image.channels);
    const float scale = 1.0F / static_cast<float>(down * across);
    std::vector<T> result;
    result.reserve(static_cast<std::size_t>(height) * static_cast<std::size_t>(width) * channels);
    for (int y = 0; y < height; ++y) {
        for (std::size_t i = 0; i < static_cast<std::size_t>(width) * channels; ++i) {
            const std::size_t left = i / channels * static_cast<std::size_t>(across) * channels + i % channels;
            Sum sum = 0;
            for (int row = 0; row < down; ++row) {
                const T* pixel = image.row(y * down + row) + left;
                for (int column = 0; column < across; ++column, pixel += channels) { sum += *pixel; }
            }
            if constexpr (std::is_same_v<T, std::uint8_t>) {
                const bool halves = down == 2 && across == 2;  // rounded up, not to even
                result.push_back(halves ? static_cast<T>((sum + 2) >> 2) : rounded<T>(static_cast<float>(sum) * scale));
            } else {
                result.push_back(sum * scale);
            }
        }
    }
    return result;
}

/// The two neighbours of each target pixel, and the weight of the second. Beyond an edge, both are the edge.
struct Between {
    std::vector<int> below;
    std::vector<int> above;
    std::vector<float> weight;
};

/// Along rows the weight is zero beyond the edges. Down columns it is kept, as OpenCV keeps it, which rounds
/// differently.
Between neighbours(int source, int target, bool keep_weights) {
    const double scale = scale_of(source, target);
    Between between;
    for (int index = 0; index < target; ++index) {
        const auto position = static_cast<float>((index + 0.5) * scale - 0.5);
        const int below = static_cast<int>(std::floor(position));
        const bool inside = below >= 0 && below < source - 1;
        between.below.push_back(std::clamp(below, 0, source - 1));
        between.above.push_back(std::clamp(below + 1, 0, source - 1));
        between.weight.push_back(inside || keep_weights ? position - static_cast<float>(below) : 0.0F);
    }
    return between;
}

template <typename Value>
Value as_factor(float weight) {
    if constexpr (std::is_same_v<Value, int>) {
        return static_cast<int>(std::lrint(weight * kWeightOne));
    } else {
        return weight;
    }
}

/// One row, interpolated along it: 8-bit values in fixed point, floats as they are.
template <typename T, typename Value>
void enlarge_row(const T* source, const Between& across, std::size_t channels, Value* target) {
    for (std::size_t x = 0; x < across.below.size(); ++x) {
        const T* below = source + static_cast<std::size_t>(across.below[x]) * channels;
        const T* above = source + static_cast<std::size_t>(across.above[x]) * channels;
        const auto first = as_factor<Value>(1.0F - across.weight[x]);
        const auto second = as_factor<Value>(across.weight[x]);
        for (std::size_t c = 0; c < channels; ++c) { target[x * channels + c] = below[c] * first + above[c] * second; }
    }
}

template <typename T>
std::vector<T> enlarge(const View<T>& image, int height, int width) {
    using Value = std::conditional_t<std::is_same_v<T, std::uint8_t>, int, float>;
    const Between down = neighbours(image.height, height, true);
    const Between across = neighbours(image.width, width, false);
    const auto channels = static_cast<std::size_t>(image.channels);
    const std::size_t values = static_cast<std::size_t>(width) * channels;
    std::vector<Value> rows(static_cast<std::size_t>(image.height) * values);
    for (int y = 0; y < image.height; ++y) {
        enlarge_row(image.row(y), across, channels, rows.data() + static_cast<std::size_t>(y) * values);
    }
    std::vector<T> result(static_cast<std::size_t>(height) * values);
    for (std::size_t y = 0; y < static_cast<std::size_t>(height); ++y) {
        const Value* below = rows.data() + static_cast<std::size_t>(down.below[y]) * values;
        const Value* above = rows.data() + static_cast<std::size_t>(down.above[y]) * values;
        T* target = result.data() + y * values;
        if constexpr (std::is_same_v<T, std::uint8_t>) {
            const int first = as_factor<int>(1.0F - down.weight[y]);
            const int second = as_factor<int>(down.weight[y]);
            for (std::size_t i = 0; i < values; ++i) {
                const int sum = ((first * (below[i] >> 4)) >> 16) + ((second * (above[i] >> 4)) >> 16);
                target[i] = static_cast<std::uint8_t>((sum + 2) >> 2);
            }
        } else {
            for (std::size_t i = 0; i < values; ++i) {
                target[i] = below[i] * (1.0F - down.weight[y]) + above[i] * down.weight[y];
            }
        }
    }
    return result;
}

}  // namespace

template <typename T>
std::vector<T> resize(const View<T>& image, int height, int width, bool area) {
    if (!area) { return enlarge(image, height, width); }
    const double down = scale_of(image.height, height);
    const double across = scale_of(image.width, width);
    const int rows = static_cast<int>(std::lrint(down));
    const int columns = static_cast<int>(std::lrint(across));
    if (std::abs(down - rows) < DBL_EPSILON && std::abs(across - columns) < DBL_EPSILON) {
        return shrink_blocks(image, height, width, rows, columns);
    }
    return shrink(image, height, width);
}

template std::vector<std::uint8_t> resize(const View<std::uint8_t>&, int, int, bool);
template std::vector<float> resize(const View<float>&, int, int, bool);

}  // namespace medsam_edge
