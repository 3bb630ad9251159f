// What is wrong with an image, prompts or options is named.
#include <doctest/doctest.h>

#include <array>
#include <cmath>
#include <functional>
#include <limits>

#include "support/cases.hpp"

namespace {

using namespace medsam_edge;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

const Segmenter& tiny() { return support::segmenter_of(support::golden() + "/bundles/tiny"); }

std::string packaged() {
    const auto one = support::load_case("packaged_prompt_prior");
    return one->json["bundle"].string;
}

/// "CODE message" of what a call throws.
std::string thrown(const std::function<void()>& work) {
    try {
        work();
    } catch (const Error& error) { return std::to_string(static_cast<int>(error.code())) + " " + error.what(); }
    return "nothing";
}

struct Picture {
    std::vector<std::uint8_t> pixels = std::vector<std::uint8_t>(20 * 30, 7);
    Image image{pixels.data(), Type::u8, 0, 20, 30};
};

Prompts box(double x0, double y0, double x1, double y1) {
    Prompts prompts;
    prompts.boxes = {{x0, y0, x1, y1}};
    return prompts;
}

void expect(const Prompts& prompts, const std::string& message, const Segmenter& segmenter) {
    const Picture picture;
    CAPTURE(message);
    const std::string found = thrown([&] { static_cast<void>(segmenter.segment(picture.image, prompts)); });
    CHECK(found.substr(0, message.size()) == message);
}

}  // namespace

TEST_CASE("boxes") {
    expect(box(1, 1, kNan, 5), "2 boxes[0]: expected finite numbers, got (1, 1, nan, 5)", tiny());
    expect(box(5, 1, 2, 5), "2 boxes[0]: expected x0 < x1 and y0 < y1, got swapped corners (5, 1, 2, 5)", tiny());
    expect(box(5, 1, 5, 5), "2 boxes[0]: expected a box with an area, got (5, 1, 5, 5)", tiny());
    expect(box(5, 1, 5 + 1e-12, 5), "2 boxes[0]: expected a box with an area", tiny());
    expect(box(30, 1, 40, 5), "2 boxes[0]: expected a box that meets the 30x20 image, got (30, 1, 40, 5)", tiny());
    expect({}, "2 boxes: expected a list of boxes, got none, and there are no points", tiny());
    const Picture picture;
    const Result result = tiny().segment(picture.image, box(-5, 1, 10, 50));
    CHECK(result.warnings == std::vector<std::string>{"boxes [0] reach outside the 30x20 image and were clipped"});
    CHECK(result.objects[0].box == std::array<float, 6>{0, 1, 0, 10, 20, 1});
}

TEST_CASE("clicks and masks") {
    const Segmenter& all = support::segmenter_of(packaged());
    Prompts prompts = box(1, 1, 9, 9);
    prompts.clicks = {{{5, 5}}};
    expect(prompts, "1 points: the model takes box prompts, got points", tiny());
    expect(prompts, "nothing", all);
    prompts.clicks = {{{5, 5}}, {{6, 6}}};
    expect(prompts, "1 points: expected a row for each of 1 boxes, got 2", all);
    prompts.clicks = {{{5, 20}}};
    expect(prompts, "1 points[0]: expected pixels inside the 30x20 image, got (5, 20, 0)", all);
    prompts.clicks = {{{5, kNan}}};
    expect(prompts, "1 points[0]: expected pixels inside", all);
    prompts.clicks = {{{5, 5, 2}}};
    expect(prompts, "1 point_labels[0]: expected 1, 0 or -1, got 2", all);
    prompts.boxes.reset();
    prompts.clicks = {{{5, 5, -1}}};
    expect(prompts, "1 points: expected a click on each object where there are no boxes", all);
    prompts = box(1, 1, 9, 9);
    std::vector<float> shares(20 * 30, 1.5F);
    prompts.prior = {shares.data(), Type::f32, 1};
    expect(prompts, "1 prior: expected probabilities from 0 to 1", all);
    shares.assign(shares.size(), std::numeric_limits<float>::quiet_NaN());
    expect(prompts, "1 prior: expected probabilities from 0 to 1", all);
    prompts.prior->count = 2;
    expect(prompts, "1 prior: expected 1 masks, one for each object, got 2", all);
    std::vector<std::int32_t> labels(20 * 30, 2);
    prompts.prior = {labels.data(), Type::i32, 0, true};
    expect(prompts, "1 prior: expected labels 0 to 1", all);
    labels.assign(labels.size(), -1);
    expect(prompts, "1 prior: expected labels 0 to 1", all);
    prompts.prior = {nullptr, Type::u8, 1};
    expect(prompts, "1 prior: expected masks, got a null pointer", all);
    prompts.boxes = std::vector<Box>{};
    prompts.prior = {nullptr, Type::u8, 0};
    expect(prompts, "nothing", all);
    prompts.prior->label_map = true;
    expect(prompts, "1 prior: expected masks, got a null pointer", all);
}

TEST_CASE("images") {
    const Picture picture;
    const auto refused = [](const Image& image) {
        return thrown([&] { static_cast<void>(tiny().segment(image, box(1, 1, 5, 5))); }).substr(0, 2);
    };
    Image image = picture.image;
    image.data = nullptr;
    CHECK(refused(image) == "4 ");
    for (const std::int64_t side :
         {std::int64_t{0}, std::int64_t{-1}, std::int64_t{1} << 40, std::numeric_limits<std::int64_t>::max()}) {
        image = picture.image;
        image.height = side;
        CHECK(refused(image) == "4 ");
        image = picture.image;
        image.width = side;
        CHECK(refused(image) == "4 ");
        image = picture.image;
        image.channels = side;
        CHECK(refused(image) == "4 ");
    }
    image = picture.image;
    image.depth = -1;
    CHECK(refused(image) == "4 ");
    image = picture.image;
    image.type = static_cast<Type>(99);
    CHECK(refused(image) == "4 ");
    std::vector<double> values(20 * 30, 1);
    for (const double bad : {kNan, std::numeric_limits<double>::infinity(), 1e300}) {
        values[77] = bad;
        CHECK(refused({values.data(), Type::f64, 0, 20, 30}) == "4 ");
    }
}

TEST_CASE("options, embeddings, indices") {
    const Picture picture;
    const Prompts one = box(1, 1, 9, 9);
    const auto with = [&](const std::function<void(Options&)>& change) {
        Options options;
        change(options);
        return thrown([&] { static_cast<void>(tiny().segment(picture.image, one, options)); });
    };
    CHECK(with([](Options& own) { own.axis = 4; }) == "1 axis: expected 0, 1, 2, or 3 for all, got 4");
    CHECK(with([](Options& own) { own.streams = -1; }) == "1 streams: expected a whole number from 0 to 64, got -1");
    CHECK(with([](Options& own) { own.window = IntensityWindow{40, 0}; }).substr(0, 10) == "1 window: ");
    CHECK(with([](Options& own) { own.window = IntensityWindow{kNan, 10}; }).substr(0, 10) == "1 window: ");
    CHECK(with([](Options& own) { own.modality = static_cast<Modality>(77); }).substr(0, 12) == "3 modality: ");
    CHECK(thrown([] { static_cast<void>(parse_modality("sonar")); }).substr(0, 12) == "3 modality: ");
    CHECK(parse_modality("x-ray") == Modality::xray);
    CHECK(parse_modality("Ultra Sound") == Modality::us);
    CHECK(thrown([] { static_cast<void>(ct_window("lung", Modality::mr, Type::i16)); }).substr(0, 10) == "1 window: ");
    CHECK(thrown([] { static_cast<void>(ct_window("lung", Modality::ct, Type::u8)); }).substr(0, 10) == "1 window: ");
    const Segmenter& other = support::segmenter_of(support::golden() + "/bundles/classes");
    const auto embedding = tiny().embed(picture.image);
    CHECK(thrown([&] { static_cast<void>(other.decode(*embedding, one)); }) ==
          "1 embedding: made by another model than the one that is to decode it");
    Options options;
    options.modality = Modality::pet;
    CHECK(thrown([&] { static_cast<void>(other.embed(picture.image, options)); }) ==
          "3 modality: the model knows CT, MR, US, got PET");
    const Result result = tiny().segment(picture.image, one);
    std::vector<std::uint8_t> mask(result.size());
    CHECK(thrown([&] { result.mask(1, mask.data()); }) == "1 index: expected a number below 1, got 1");
    CHECK(thrown([&] { static_cast<void>(tiny().refine(result, {})); }) ==
          "1 points: expected a row for each of 1 objects, got 0");
    SegmenterSettings settings;
    settings.num_threads = -1;
    CHECK(thrown([&] { const Segmenter segmenter("x", settings); }).substr(0, 15) == "1 num_threads: ");
}

TEST_CASE("values too far apart for floats are refused") {
    const std::vector<float> pixels{-2e38F, -1.9e38F, 1.9e38F, 2e38F, -2e38F, -1.9e38F, 1.9e38F, 2e38F, 0, 0, 1, 1};
    Image image{pixels.data(), Type::f32, 0, 3, 4};
    Prompts prompts;
    prompts.boxes = {{0, 0, 2, 2, 0, 0}};
    CHECK(thrown([&] { static_cast<void>(tiny().segment(image, prompts, {})); }).substr(0, 49) ==
          "4 image: expected values less than 3.4e38 apart, ");
    image.height = image.width = 2;
    image.channels = 3;
    CHECK(thrown([&] { static_cast<void>(tiny().segment(image, prompts, {})); }).substr(0, 49) ==
          "4 image: expected values less than 3.4e38 apart, ");
}

TEST_CASE("a volume's boxes to follow lie on one slice, and progress cancels") {
    const std::vector<std::uint8_t> voxels(6 * 20 * 30, 9);
    const Image volume{voxels.data(), Type::u8, 6, 20, 30};
    Prompts prompts;
    prompts.boxes = {{2, 2, 20, 15, 1, 4}};
    Options options;
    options.follow = true;
    CHECK(thrown([&] { static_cast<void>(tiny().segment(volume, prompts, options)); }) ==
          "2 boxes[0]: expected a box on one slice along axis 0, got 1 to 3");
    options.axis = kAllAxes;
    CHECK(thrown([&] { static_cast<void>(tiny().segment(volume, prompts, options)); }) ==
          "1 axis: all axes need a box around each whole object; name one axis");
    options.axis = 0;
    options.follow = false;
    options.progress = [](std::int64_t done, std::int64_t) { return done < 2; };
    CHECK(thrown([&] { static_cast<void>(tiny().segment(volume, prompts, options)); }) ==
          "6 progress: asked to stop after 2 of 3 slices");
    CHECK(thrown([&] { static_cast<void>(tiny().embed(volume)); }).substr(0, 2) == "4 ");
}
