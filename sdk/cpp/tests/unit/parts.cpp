// Answers that can be worked out by hand.
#include <doctest/doctest.h>

#include <cmath>
#include <ostream>
#include <string>

#include "cache.hpp"
#include "geometry.hpp"
#include "json.hpp"
#include "prompting.hpp"
#include "sha256.hpp"
#include "tiles.hpp"
#include "windows.hpp"

using namespace medsam_edge;

TEST_CASE("sha256 is that of FIPS 180-4") {
    CHECK(sha256("") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    CHECK(sha256("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    CHECK(sha256("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq") ==
          "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    CHECK(sha256(std::string(1000000, 'a')) == "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST_CASE("json") {
    const Json value = parse_json(R"( {"a": [1, -2.5e1, true, null, "x\n\u00e9\ud83d\ude00"], "b": {}} )");
    CHECK(value["a"].array[0].kind == Json::Kind::integer);
    CHECK(value["a"].array[1].number == -25);
    CHECK(value["a"].array[4].string == "x\n\xc3\xa9\xf0\x9f\x98\x80");
    CHECK(value["b"].kind == Json::Kind::object);
    CHECK(value["c"].kind == Json::Kind::null);
    for (const char* wrong : {"", "{", "[1,]", "{\"a\"}", "01", "1.", "nan", "\"\\x\"", "\"\\ud800\\u0041\"", "1 2",
                              "'a'", "1e999", "\"\n\""}) {
        CAPTURE(wrong);
        CHECK_THROWS_AS(static_cast<void>(parse_json(wrong)), JsonError);
    }
    CHECK_THROWS_AS(static_cast<void>(parse_json(std::string(100000, '['))), JsonError);
}

TEST_CASE("an image twice as wide as high fills the upper half of the square") {
    const Geometry geometry{100, 200, 64};
    CHECK(geometry.new_width() == 64);
    CHECK(geometry.new_height() == 32);
    CHECK(geometry.box_to_network({0, 0, 200, 100}) == Box4{0, 0, 64, 32});
    CHECK(geometry.point_to_network({199.5F, 99.5F}) == Point{63.5F, 31.5F});
}

TEST_CASE("min and max of an image are 0 and 1 of the input, its padding is 0") {
    const std::vector<float> planes = to_planes({10, 20, 30, 20}, 2, 2, 1, 3);
    CHECK(planes.size() == 27);
    CHECK(std::vector<float>(planes.begin(), planes.begin() + 9) ==
          std::vector<float>{0, 0.5F, 0, 1, 0.5F, 0, 0, 0, 0});
    CHECK(to_planes({7, 7}, 1, 2, 1, 2) == std::vector<float>(12, 0.0F));
}

TEST_CASE("a mask in an image of the network's size is where logits are positive") {
    std::vector<float> logits(64, -1);
    logits[3 * 8 + 2] = logits[4 * 8 + 2] = logits[4 * 8 + 5] = 1;
    const CroppedMask mask = Geometry{64, 64, 64}.mask_to_image(logits.data(), 8, 8, 16, 24);
    CHECK(mask.top == 19);
    CHECK(mask.left == 26);
    CHECK(mask.height == 2);
    CHECK(mask.width == 4);
    CHECK(mask.pixels == std::vector<std::uint8_t>{1, 0, 0, 0, 1, 0, 0, 1});
    CHECK(Geometry{64, 64, 64}.mask_to_image(std::vector<float>(64, -1).data(), 8, 8, 0, 0).empty());
    CHECK(Geometry{10, 64, 64}.mask_to_image(logits.data(), 8, 8, 16, 24).empty());  // in the padding
}

TEST_CASE("a window holds the box and its surroundings, inside the grid") {
    const auto groups = window_groups({{100, 100, 120, 110}, {0, 0, 256, 256}, {1, 1, 9, 9}}, 0.5, 64);
    REQUIRE(groups.size() == 2);
    CHECK(groups[0].indices == std::vector<std::size_t>{0, 2});
    CHECK(groups[0].windows.rows == 16);
    CHECK(groups[0].windows.left == std::vector<std::int64_t>{20, 0});  // 110 / 4 - 8 = 19.5 and a half, rounded down
    CHECK(groups[1].windows.rows == 64);
    const Windows cells = touched({{8, 8, 16, 12}}, 0, 64);
    CHECK(cells.cells() == std::vector<std::int64_t>{2 * 16 + 2, 2 * 16 + 3});
}

TEST_CASE("a mask prompt lies in the cells that it covers") {
    const Windows windows{16, {1}, {2}, 1, 2};
    Plane known{5, 9, 1, 1, {3.0F}};
    std::vector<float> cells(32);
    windows.cut(0, known, cells.data());
    CHECK(cells[1 * 4 + 1] == 3);
    CHECK(cells[0] == -8);
    CHECK(windows.pixels(cells.data())[1 * 8 + 1] == 3);
}

TEST_CASE("a small box in a large image is looked for in a tile") {
    const auto tiles = tiles_of({{1000, 1000, 1020, 1020}, {0, 0, 1000, 1000}}, 2048, 2048, 256, Detail::automatic);
    REQUIRE(tiles.size() == 2);
    CHECK(tiles[0].is_part);
    CHECK(tiles[0].place.height() == 256);
    CHECK(!tiles[1].is_part);
    CHECK(tiles_of({{1000, 1000, 1020, 1020}}, 2048, 2048, 256, Detail::image).front().is_part == false);
}

TEST_CASE("towards the ends of an object its box is narrower, and it bounds the next box") {
    const Geometry geometry{256, 256, 256};
    CHECK(next_box({}, {{50, 50, 150, 150}, 1.0, true}, geometry) == Box4{75, 75, 125, 125});
    CroppedMask mask{60, 70, 10, 20, {}};
    CHECK(next_box(mask, {{50, 50, 150, 150}, 0.0, true}, geometry) == Box4{67, 57, 93, 73});
    mask.top = 0;
    CHECK(next_box(mask, {{50, 50, 150, 150}, 0.0, false}, geometry) == Box4{67, 0, 93, 13});
}

TEST_CASE("the least recently used embedding goes first") {
    Cache cache(250);
    const auto make = [] {
        auto value = std::make_shared<Encoded>();
        value->embedding.bytes.resize(99);
        return value;
    };
    cache.put("a", make());
    cache.put("b", make());
    CHECK(cache.get("a").get() != nullptr);
    cache.put("c", make());
    CHECK(cache.get("b").get() == nullptr);
    CHECK(cache.get("a").get() != nullptr);
    CHECK(cache.used_bytes() == 200);
    cache.put("a", make());
    CHECK(cache.used_bytes() == 200);
    cache.put(std::string(300, 'x'), make());
    CHECK(cache.used_bytes() == 200);
}
