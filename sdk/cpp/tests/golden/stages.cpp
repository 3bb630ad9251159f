#include <doctest/doctest.h>

#include <cmath>
#include <cstdio>
#include <filesystem>

#include "numbers.hpp"
#include "resize.hpp"
#include "support/cases.hpp"

namespace {

using namespace medsam_edge;
using support::Npy;

template <typename T>
View<T> view_of(const Npy& image) {
    const int channels = image.shape.size() > 2 ? 3 : 1;
    const auto width = static_cast<std::size_t>(image.shape[1]);
    return {image.as<T>(), width * static_cast<std::size_t>(channels), static_cast<int>(image.shape[0]),
            static_cast<int>(width), channels};
}

bool shrinks(const Npy& image, const Npy& small) {
    return small.shape[0] <= image.shape[0] && small.shape[1] <= image.shape[1];
}

template <typename T>
std::vector<T> resized(const Npy& image, const Npy& small) {
    return resize(view_of<T>(image), static_cast<int>(small.shape[0]), static_cast<int>(small.shape[1]),
                  shrinks(image, small));
}

}  // namespace

TEST_CASE("resized images are OpenCV's, 8 bits by bytes, floats within 1e-4") {
    const std::string folder = support::golden() + "/resized/";
    int count = 0;
    float largest = 0;
    for (; std::filesystem::exists(folder + std::to_string(count) + "_image.npy"); ++count) {
        CAPTURE(count);
        const Npy image = support::load(folder + std::to_string(count) + "_image.npy");
        const Npy small = support::load(folder + std::to_string(count) + "_small.npy");
        if (image.type == Type::u8) {
            CHECK(resized<std::uint8_t>(image, small) == small.bytes);
        } else {
            const std::vector<float> found = resized<float>(image, small);
            for (std::size_t i = 0; i < found.size(); ++i) {
                largest = std::max(largest, std::abs(found[i] - small.as<float>()[i]));
            }
        }
    }
    CHECK(count >= 100);
    CHECK(largest < 1e-4F);
    std::printf("%d images; floats differ by %g at most\n", count, static_cast<double>(largest));
}

TEST_CASE("halves are NumPy's") {
    const Npy values = support::load(support::golden() + "/halves/floats.npy");
    const Npy halves = support::load(support::golden() + "/halves/halves.npy");
    std::size_t wrong = 0;
    for (std::size_t i = 0; i < values.count(); ++i) {
        wrong += half_of_float(values.as<float>()[i]) == halves.as<std::uint16_t>()[i] ? 0U : 1U;
    }
    CHECK(wrong == 0);
    for (std::uint32_t half = 0; half < 0x10000; ++half) {
        const float value = float_of_half(static_cast<std::uint16_t>(half));
        if (!std::isnan(value)) { CHECK(half_of_float(value) == half); }
    }
}
