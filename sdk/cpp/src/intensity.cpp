#include "intensity.hpp"

#include <algorithm>
#include <array>
#include <cfloat>
#include <cmath>
#include <utility>

#include "errors.hpp"
#include "numbers.hpp"

namespace medsam_edge {
namespace {

constexpr IntensityWindow kSoftTissue = {40, 400};
constexpr std::array<std::pair<const char*, IntensityWindow>, 5> kWindows = {{
    {"soft-tissue", kSoftTissue},
    {"lung", {-600, 1500}},
    {"brain", {40, 80}},
    {"bone", {400, 1800}},
    {"liver", {30, 150}},
}};
constexpr float kHighestAir = -200;  // HU
constexpr float kLowestAir = -1024;
constexpr double kLowestStored = -32768;  // of the 16 bits in which CT is stored
constexpr double kHighestStored = 32767;
constexpr std::array<float, 2> kAir = {-1100, -900};
constexpr std::array<float, 2> kTissue = {-200, 200};
constexpr double kShare = 0.02;  // of the pixels that air and water have at least in what is taken for CT
constexpr double kPaddingShare = 0.005;
constexpr double kPaddingGap = 0.1;
constexpr std::int64_t kLarge = 1 << 20;  // pixels from which on every fourth row and column is looked at
constexpr std::int64_t kLargestSide = 1 << 20;
constexpr std::int64_t kMostValues = std::int64_t{1} << 36U;

/// Values low .. high, which are shown as 0 .. 255.
struct Range {
    double low;
    double high;
};

std::size_t plane_size(const Image& image) {
    return static_cast<std::size_t>(image.height) * static_cast<std::size_t>(image.width) *
           static_cast<std::size_t>(image.channels);
}

std::size_t planes_of(const Image& image) { return static_cast<std::size_t>(std::max<std::int64_t>(image.depth, 1)); }

void check_shape(const Image& image) {
    const auto fits = [](std::int64_t side) { return side >= 1 && side <= kLargestSide; };
    const bool sides = fits(image.height) && fits(image.width) && (image.depth == 0 || fits(image.depth));
    const bool channels = image.channels == 1 || (image.channels == 3 && image.depth == 0);
    if (!sides || !channels) {
        fail(Code::image,
             "image: expected (H, W), (H, W, 3) or (D, H, W), sides 1 to %lld, got %lldx%lldx%lld of %lld channels",
             static_cast<long long>(kLargestSide), static_cast<long long>(image.depth),
             static_cast<long long>(image.height), static_cast<long long>(image.width),
             static_cast<long long>(image.channels));
    }
    const std::int64_t plane = image.height * image.width * image.channels;
    if (plane > kMostValues / std::max<std::int64_t>(image.depth, 1)) {
        fail(Code::image, "image: expected at most 2^36 values, got more");
    }
    if (image.type < Type::boolean || image.type > Type::f64) {
        fail(Code::image, "image: expected a type of `Type`, got %d", static_cast<int>(image.type));
    }
    if (image.data == nullptr) { fail(Code::image, "image: expected pixels, got a null pointer"); }
}

/// One plane of an image as finite floats.
void finite_floats(const Image& image, std::size_t plane, std::vector<float>& values) {
    values.resize(plane_size(image));
    floats(image.data, image.type, plane * values.size(), values.size(), values.data());
    if (is_float(image.type) && !std::all_of(values.begin(), values.end(), [](float v) { return std::isfinite(v); })) {
        fail(Code::image, "image: expected finite values, got NaN or infinity");
    }
}

void stretch(const std::vector<float>& values, Range range, std::uint8_t* target) {
    if (!(range.high - range.low <= FLT_MAX)) {
        fail(Code::image, "image: expected values less than 3.4e38 apart, got %g to %g", range.low, range.high);
    }
    const auto low = static_cast<float>(range.low);
    const auto high = static_cast<float>(range.high);
    const auto extent = static_cast<float>(std::max(range.high - range.low, static_cast<double>(FLT_MIN)));
    std::transform(values.begin(), values.end(), target, [=](float value) {
        return to_byte((std::min(std::max(value, low), high) - low) / extent * 255.0F);
    });
}

/// Values that leave 0–255 are stretched from minimum to maximum; floats up to 2 are shares of 255, clipped at 1.
void show_color(const Image& image, std::uint8_t* target) {
    std::vector<float> values;
    finite_floats(image, 0, values);
    const auto [low, high] = std::minmax_element(values.begin(), values.end());
    if (*low < 0 || *high > 255) {
        stretch(values, {*low, *high}, target);
    } else if (is_float(image.type) && *high <= 2) {
        std::transform(values.begin(), values.end(), target,
                       [](float v) { return to_byte(std::min(v, 1.0F) * 255.0F); });
    } else {
        std::transform(values.begin(), values.end(), target, to_byte);
    }
}

/// As numpy.percentile interpolates: values in float32, weights in double precision.
double percentile(std::vector<float>& values, double share) {
    const double position = static_cast<double>(values.size() - 1) * share;
    const auto index = static_cast<std::size_t>(position);
    const auto at = values.begin() + static_cast<std::ptrdiff_t>(index);
    std::nth_element(values.begin(), at, values.end());
    const float below = *at;
    const float above = index + 1 < values.size() ? *std::min_element(at + 1, values.end()) : below;
    const double weight = position - static_cast<double>(index);
    const float difference = above - below;
    return weight < 0.5 ? below + difference * weight : above - difference * (1 - weight);
}

/// The values above the smallest, if that one is a padding value; else all.
void drop_padding(std::vector<float>& values, float smallest) {
    const auto count = static_cast<double>(values.size());
    const auto padded = std::count_if(values.begin(), values.end(), [&](float value) { return !(value > smallest); });
    const auto share = static_cast<double>(padded);
    if (smallest == 0 || share < kPaddingShare * count || share == count) { return; }
    double second = HUGE_VAL;
    double highest = -HUGE_VAL;
    for (const float value : values) {
        if (value > smallest) { second = std::min(second, static_cast<double>(value)); }
        highest = std::max(highest, static_cast<double>(value));
    }
    if (second - static_cast<double>(smallest) > kPaddingGap * (highest - second)) {
        values.erase(std::remove_if(values.begin(), values.end(), [&](float value) { return !(value > smallest); }),
                     values.end());
    }
}

/// The 0.5 and 99.5 percentiles of the non-zero values without padding; 0, 0 if there are none.
Range percentiles(const Image& image) {
    std::vector<float> nonzero;
    std::vector<float> values;
    nonzero.reserve(plane_size(image) * planes_of(image));
    for (std::size_t plane = 0; plane < planes_of(image); ++plane) {
        finite_floats(image, plane, values);
        std::copy_if(values.begin(), values.end(), std::back_inserter(nonzero), [](float value) { return value != 0; });
    }
    if (nonzero.empty()) { return {0, 0}; }
    const float smallest = std::min(*std::min_element(nonzero.begin(), nonzero.end()), 0.0F);
    drop_padding(nonzero, smallest);
    const double low = percentile(nonzero, 0.5 / 100);
    const double high = percentile(nonzero, 99.5 / 100);
    // if all non-zero values are equal, the object must not turn black
    return {low == high ? static_cast<double>(smallest) : low, high};
}

void show_grey(const Image& image, std::optional<IntensityWindow> window, std::uint8_t* target) {
    const Range range =
        window ? Range{window->level - window->width / 2, window->level + window->width / 2} : percentiles(image);
    std::vector<float> values;
    for (std::size_t plane = 0; plane < planes_of(image); ++plane, target += values.size()) {
        finite_floats(image, plane, values);
        stretch(values, range, target);
        for (std::size_t i = 0; !window && i < values.size(); ++i) {
            if (values[i] == 0) { target[i] = 0; }
        }
    }
}

/// Whether values can only be HU: many as of air, many as of tissue, and no spread below air.
bool looks_like_ct(const Image& image) {
    const bool with_sign = image.type == Type::i16 || image.type == Type::i32 || image.type == Type::i64;
    if (!with_sign && !is_float(image.type)) { return false; }
    const std::size_t step = plane_size(image) * planes_of(image) > kLarge ? 4 : 1;
    const auto width = static_cast<std::size_t>(image.width);
    std::vector<float> seen;
    std::vector<float> values(plane_size(image));
    for (std::size_t plane = 0; plane < planes_of(image); ++plane) {
        floats(image.data, image.type, plane * values.size(), values.size(), values.data());
        for (std::size_t row = 0; row < static_cast<std::size_t>(image.height); row += step) {
            for (std::size_t column = 0; column < width; column += step) {
                seen.push_back(values[row * width + column]);
            }
        }
    }
    const auto [least, most] = std::minmax_element(seen.begin(), seen.end());
    const float low = *least;
    if (!(kLowestStored <= low && low <= kAir[1] && *most <= kHighestStored)) { return false; }
    std::size_t air = 0;
    std::size_t tissue = 0;
    std::size_t below = 0;  // all but one padding value
    for (const float value : seen) {
        if (value >= kAir[0] && value <= kAir[1]) { ++air; }
        if (value >= kTissue[0] && value <= kTissue[1]) { ++tissue; }
        if (value < kAir[0] && value > low) { ++below; }
    }
    const double needed = kShare * static_cast<double>(seen.size());
    return static_cast<double>(std::min(air, tissue)) >= needed && static_cast<double>(below) < needed;
}

void check_window(const IntensityWindow& window, const Image& image) {
    if (image.channels == 3) { fail(Code::input, "window: expected none for a colour image"); }
    const double reach = std::abs(window.level) + window.width;
    if (!(window.width > 0) || !(reach < FLT_MAX)) {
        fail(Code::input, "window: expected (level, width) with a positive width, got (%g, %g)", window.level,
             window.width);
    }
}

void warn_of_values(const Image& image, std::vector<std::string>& warnings) {
    float low = FLT_MAX;
    float high = -FLT_MAX;
    float lowest = FLT_MAX;  // but for padding
    std::vector<float> values;
    for (std::size_t plane = 0; plane < planes_of(image); ++plane) {
        finite_floats(image, plane, values);
        for (const float value : values) {
            low = std::min(low, value);
            high = std::max(high, value);
            if (value >= kLowestAir) { lowest = std::min(lowest, value); }
        }
    }
    lowest = std::min(lowest, high);
    if (low < kLowestStored || high > kHighestStored) {
        warnings.push_back(text("image: CT values range from %g to %g; expected -32768 to 32767 HU", low, high));
    } else if (lowest >= kHighestAir) {
        warnings.push_back(
            text("image: CT values range from %g to %g; expected air below %g HU; were they windowed, scaled, "
                 "or never converted to HU?",
                 low, high, kHighestAir));
    }
}

}  // namespace

IntensityWindow ct_window(std::string_view name, std::optional<Modality> modality, Type type) {
    for (const auto& [own, window] : kWindows) {
        if (own != name) { continue; }
        if (modality && *modality != Modality::ct) {
            fail(Code::input, "window: '%s' is for CT, the image is %s; expected (level, width)", own,
                 name_of(*modality));
        }
        if (type == Type::u8) {
            fail(Code::input, "window: '%s' is in HU, but the image is uint8; expected none or (level, width)", own);
        }
        return window;
    }
    fail(Code::input, "window: expected (level, width) or one of soft-tissue, lung, brain, bone, liver, got '%.60s'",
         std::string(name).c_str());
}

std::shared_ptr<const Display> to_display(const Image& image, std::optional<Modality> modality,
                                          std::optional<IntensityWindow> window, std::vector<std::string>& warnings) {
    check_shape(image);
    if (window) { check_window(*window, image); }
    auto display = std::make_shared<Display>();
    display->depth = image.depth;
    display->height = image.height;
    display->width = image.width;
    display->channels = static_cast<int>(image.channels);
    const std::size_t count = plane_size(image) * planes_of(image);
    if (image.type == Type::u8 && !window) {
        const auto* bytes = static_cast<const std::uint8_t*>(image.data);
        display->pixels.assign(bytes, bytes + count);
        return display;
    }
    display->pixels.resize(count);
    if (image.channels == 3) {
        show_color(image, display->pixels.data());
        return display;
    }
    const bool seen_as_ct = !modality && !window && looks_like_ct(image);
    if (seen_as_ct) {
        warnings.emplace_back(
            "image: its values are those of CT in HU, so it is shown as CT; give the modality: ct, or which other one "
            "it is");
    }
    const bool ct = modality == Modality::ct || seen_as_ct;
    show_grey(image, window || !ct ? window : std::optional(kSoftTissue), display->pixels.data());
    if (modality == Modality::ct && image.type != Type::u8) { warn_of_values(image, warnings); }
    return display;
}

}  // namespace medsam_edge
