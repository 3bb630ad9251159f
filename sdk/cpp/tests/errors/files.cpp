// The readers of the examples refuse what is cut or mutated.
#include <doctest/doctest.h>

#include <cstring>
#include <random>
#include <stdexcept>
#include <string>

#include "images.hpp"

namespace {

std::string nifti() {
    std::string content(352 + 2 * 3 * 4 * 2, '\0');
    const auto set = [&content](std::size_t at, auto value) { std::memcpy(&content[at], &value, sizeof value); };
    set(0, std::int32_t{348});
    const std::int16_t sides[] = {3, 4, 3, 2};
    for (std::size_t i = 0; i < 4; ++i) { set(40 + 2 * i, sides[i]); }
    set(70, std::int16_t{4});
    set(108, 352.0F);
    set(112, 2.0F);
    set(116, -1024.0F);
    content.replace(344, 3, "n+1");
    set(352, std::int16_t{500});
    return content;
}

}  // namespace

TEST_CASE("images are read") {
    const auto grey = examples::parse_image("P5 # a comment\n3 2\n255\nabcdef");
    CHECK(grey.image.height == 2);
    CHECK(std::string(grey.bytes.begin(), grey.bytes.end()) == "abcdef");
    const auto deep = examples::parse_image(std::string("P5 1 1 65535\n\x01\x02", 15));
    CHECK(static_cast<const std::uint16_t*>(deep.image.data)[0] == 258);
    CHECK(examples::parse_image("P6 1 1 255\nabc").image.channels == 3);
    const auto volume = examples::parse_image(nifti());
    CHECK(volume.image.depth == 2);
    CHECK(volume.image.type == medsam_edge::Type::f32);
    CHECK(static_cast<const float*>(volume.image.data)[0] == 500 * 2 - 1024);
}

TEST_CASE("what is cut or mutated is refused or read, and never worse") {
    std::mt19937 random(0);
    for (const std::string& whole : {std::string("P5 3 2 255\nabcdef"), nifti()}) {
        for (std::size_t length = 0; length < whole.size(); ++length) {
            CHECK_THROWS_AS(static_cast<void>(examples::parse_image(whole.substr(0, length))), std::runtime_error);
        }
        for (int i = 0; i < 20000; ++i) {
            std::string content = whole;
            for (int change = 0; change < 3; ++change) {
                content[random() % std::min<std::size_t>(content.size(), 352)] = static_cast<char>(random());
            }
            try {
                const auto file = examples::parse_image(content);
                CHECK(file.image.data == file.bytes.data());
            } catch (const std::runtime_error&) {}
        }
    }
}
