// The sdk's stages, one after the other: display and input equal by bytes, floats within kTolerance, masks equal but
// where the interpolated logit is within it.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>

#include "bundle.hpp"
#include "engine.hpp"
#include "numbers.hpp"
#include "predictor.hpp"
#include "prompting.hpp"
#include "support/cases.hpp"

namespace {

using namespace medsam_edge;
using support::Npy;

constexpr float kTolerance = 0.02F;

/// How far all that was compared was equal by bits, for the report.
struct Tally {
    std::size_t compared = 0;
    std::size_t equal = 0;
    float largest = 0;

    void add(float found, float expected) {
        ++compared;
        equal += found == expected ? 1U : 0U;
        largest = std::max(largest, std::abs(found - expected));
    }
};

/// The logit of an image pixel, interpolated from a window of the square.
float logit_at(const Logits& logits, std::int64_t row, std::int64_t column, int size) {
    const auto [top, left, bottom, right] = logits.view;
    const Geometry geometry{bottom - top, right - left, size};
    const auto source = [](std::int64_t at, int small, std::int64_t large) {
        return std::clamp((static_cast<double>(at) + 0.5) * small / static_cast<double>(large) - 0.5, 0.0, small - 1.0);
    };
    const double y = source(row - top, geometry.new_height(), geometry.height);
    const double x = source(column - left, geometry.new_width(), geometry.width);
    const auto value = [&](double at_y, double at_x) {
        const auto i = static_cast<std::int64_t>(at_y) - logits.top;
        const auto j = static_cast<std::int64_t>(at_x) - logits.left;
        const bool inside = i >= 0 && i < logits.height && j >= 0 && j < logits.width;
        return inside
                   ? static_cast<double>(float_of_half(logits.halves[static_cast<std::size_t>(i * logits.width + j)]))
                   : -10.0;
    };
    const double dy = y - std::floor(y);
    const double dx = x - std::floor(x);
    return static_cast<float>((value(y, x) * (1 - dx) + value(y, x + 1) * dx) * (1 - dy) +
                              (value(y + 1, x) * (1 - dx) + value(y + 1, x + 1) * dx) * dy);
}

/// Label maps, where all masks are equal.
void check_labels(const support::Case& own, const Result& result) {
    const Npy expected = own.array("labels");
    REQUIRE(expected.count() == 2 * result.size());
    std::vector<std::uint16_t> labels(result.size());
    for (const Overlap overlap : {Overlap::later, Overlap::score}) {
        result.label_map(labels.data(), overlap);
        const auto* other = expected.as<std::uint16_t>() + (overlap == Overlap::score ? labels.size() : 0);
        CHECK(std::equal(labels.begin(), labels.end(), other));
    }
}

void check_masks(const support::Case& own, const Result& result, int size) {
    const Npy expected = own.array("masks");
    REQUIRE(expected.count() == result.objects.size() * result.size());
    std::vector<std::uint8_t> mask(result.size());
    bool equal = true;
    const Grid grid{result.depth, result.height, result.width, result.axis};
    for (std::size_t index = 0; index < result.objects.size(); ++index) {
        result.mask(index, mask.data());
        const std::uint8_t* other = expected.bytes.data() + index * mask.size();
        if (std::equal(mask.begin(), mask.end(), other)) { continue; }
        equal = false;
        for (const auto& [z, found] : result.objects[index].slices) {
            for (std::int64_t y = 0; y < grid.rows(); ++y) {
                for (std::int64_t x = 0; x < grid.columns(); ++x) {
                    const std::size_t at = grid.at(z, y, x);
                    if (mask[at] == other[at]) { continue; }
                    REQUIRE(!found.logits.halves.empty());
                    CHECK(std::abs(logit_at(found.logits, y, x, size)) < kTolerance);
                }
            }
        }
    }
    if (equal) { check_labels(own, result); }
}

void check_objects(const support::Case& own, const Result& result, Tally& tally) {
    REQUIRE(result.objects.size() == own.json["scores"].array.size());
    for (std::size_t index = 0; index < result.objects.size(); ++index) {
        const auto& used = own.json["used"].array[index].array;
        const std::size_t sides = used.size() / 2;
        for (std::size_t i = 0; i < used.size(); ++i) {
            const float found = result.objects[index].box.at(i < sides ? i : i - sides + 3);
            if (used[i].kind == Json::Kind::null) {
                CHECK(std::isnan(found));
            } else {
                CHECK(found == static_cast<float>(used[i].number));
            }
        }
        const auto score = static_cast<float>(own.json["scores"].array[index].number);
        CHECK(result.objects[index].score == doctest::Approx(score).epsilon(0.001));
    }
    std::size_t slices = 0;
    for (const Object& object : result.objects) { slices += object.slices.size(); }
    REQUIRE(slices == own.json["found"].array.size());
    for (const Json& expected : own.json["found"].array) {
        const auto index = static_cast<std::size_t>(expected["object"].number);
        const auto z = static_cast<std::int64_t>(expected["slice"].number);
        const Found& found = result.objects[index].slices.at(z);
        CHECK(found.score == doctest::Approx(expected["score"].number).epsilon(0.001));
        for (std::size_t i = 0; i < 4; ++i) {
            CHECK(static_cast<double>(found.logits.view.at(i)) == expected["view"].array[i].number);
        }
        const Npy logits = own.array("logits_" + std::to_string(index) + "_" + std::to_string(z));
        REQUIRE(logits.count() * (logits.empty() ? 0 : 1) == found.logits.halves.size());
        for (std::size_t i = 0; i < found.logits.halves.size(); ++i) {
            tally.add(float_of_half(found.logits.halves[i]), float_of_half(logits.as<std::uint16_t>()[i]));
        }
    }
}

/// Display, network input and embedding of the first view.
void check_input(const support::Case& own, const Result& result, Tally& tally) {
    const Npy display = own.array("display");
    CHECK(result.shown() == display.bytes);
    if (result.objects.empty()) { return; }
    const Json& first = own.json["found"].array.at(0);
    const auto& place = first["view"].array;
    const auto side = [&](std::size_t i) { return static_cast<std::int64_t>(place[i].number); };
    const Rectangle where{side(0), side(1), side(2), side(3)};
    const Bundle bundle = load_bundle(own.json["bundle"].string);
    const Grid grid{result.depth, result.height, result.width, result.axis};
    std::vector<std::uint8_t> scratch;
    const auto view = view_of(*result.display, grid, static_cast<std::int64_t>(first["slice"].number), where, scratch);
    const Geometry geometry{view.height, view.width, bundle.manifest.image_size};
    const auto planes =
        to_planes(geometry.resized(view), geometry.new_height(), geometry.new_width(), view.channels, geometry.size);
    const Npy input = own.array("input");
    REQUIRE(input.count() == planes.size());
    CHECK(std::memcmp(input.bytes.data(), planes.data(), input.bytes.size()) == 0);
    const Npy embedding = own.array("embedding");
    static std::map<std::string, std::unique_ptr<Predictor>> predictors;
    auto& predictor = predictors[bundle.identity];
    if (!predictor) {
        SegmenterSettings settings;
        settings.num_threads = 2;
        predictor = std::make_unique<Predictor>(load_model(bundle, settings), 0);
    }
    const Embedding found = predictor->embed(view, std::nullopt);
    const Array& features = found.encoded->embedding;
    REQUIRE(features.type == embedding.type);
    REQUIRE(features.bytes.size() == embedding.bytes.size());
    std::vector<float> values(embedding.count());
    std::vector<float> expected(values.size());
    floats(features.bytes.data(), features.type, 0, values.size(), values.data());
    floats(embedding.bytes.data(), embedding.type, 0, values.size(), expected.data());
    for (std::size_t i = 0; i < values.size(); ++i) { tally.add(values[i], expected[i]); }
}

}  // namespace

TEST_CASE("every stage is the sdk's") {
    const auto names = support::case_names();
    REQUIRE(names.size() > 50);
    Tally embeddings;
    Tally logits;
    for (const std::string& name : names) {
        CAPTURE(name);
        const auto own = support::load_case(name);
        const Result result = support::result_of(*own);
        check_input(*own, result, embeddings);
        check_objects(*own, result, logits);
        CHECK(embeddings.largest < kTolerance);
        CHECK(logits.largest < kTolerance);
        check_masks(*own, result, support::segmenter_of(own->json["bundle"].string).image_size());
        const Json& modality = own->json["modality_found"];
        CHECK((result.modality ? name_of(*result.modality) : "") ==
              (modality.kind == Json::Kind::string ? modality.string : ""));
    }
    std::printf(
        "%zu cases; embeddings: %zu of %zu values equal by bits, largest difference %g; logits: %zu of %zu, %g\n",
        names.size(), embeddings.equal, embeddings.compared, static_cast<double>(embeddings.largest), logits.equal,
        logits.compared, static_cast<double>(logits.largest));
}
