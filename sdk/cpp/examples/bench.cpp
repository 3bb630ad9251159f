// Latency of a bundle: medians of encoding a picture anew, of decoding boxes on it, and of a whole call.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <exception>
#include <functional>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

#include "images.hpp"

namespace {

using Clock = std::chrono::steady_clock;

struct Setup {
    std::string bundle;
    std::string image;  // a file; a made picture where empty
    int boxes = 1;
    int rounds = 20;
    int threads = 0;
};

examples::File made_picture() {
    examples::File file;
    std::uint32_t state = 1;
    for (int i = 0; i < 256 * 256; ++i) {
        state = state * 1664525U + 1013904223U;
        file.bytes.push_back(static_cast<std::uint8_t>(state >> 24U));
    }
    file.image = {file.bytes.data(), medsam_edge::Type::u8, 0, 256, 256};
    return file;
}

/// Equal boxes on a grid.
std::vector<medsam_edge::Box> boxes_on(const medsam_edge::Image& image, int count) {
    int across = 1;
    while (across * across < count) { ++across; }
    const double width = static_cast<double>(image.width) / across;
    const double height = static_cast<double>(image.height) / across;
    std::vector<medsam_edge::Box> boxes;
    for (int i = 0; i < count; ++i) {
        const double x = i % across * width;
        const double y = static_cast<double>(i / across) * height;  // NOLINT(bugprone-integer-division): the row
        boxes.push_back({x + 0.2 * width, y + 0.2 * height, x + 0.8 * width, y + 0.8 * height});
    }
    return boxes;
}

double median_ms(int rounds, const std::function<void()>& work) {
    std::vector<double> times;
    for (int i = 0; i < rounds; ++i) {
        const auto start = Clock::now();
        work();
        times.push_back(std::chrono::duration<double, std::milli>(Clock::now() - start).count());
    }
    std::nth_element(times.begin(), times.begin() + rounds / 2, times.end());
    return times[static_cast<std::size_t>(rounds) / 2];
}

void run(const Setup& setup) {
    const examples::File file =
        setup.image.empty() ? made_picture() : examples::parse_image(examples::read_file(setup.image));
    medsam_edge::SegmenterSettings settings;
    settings.num_threads = setup.threads;
    settings.cache_bytes = 0;
    const auto start = Clock::now();
    const medsam_edge::Segmenter segmenter(setup.bundle, settings);
    const double load_ms = std::chrono::duration<double, std::milli>(Clock::now() - start).count();
    medsam_edge::Prompts prompts;
    prompts.boxes = boxes_on(file.image, setup.boxes);
    const auto embedding = segmenter.embed(file.image);
    static_cast<void>(segmenter.decode(*embedding, prompts));  // the first calls are slower
    std::printf("{\"load_ms\": %.1f", load_ms);
    std::printf(", \"embed_ms\": %.2f",
                median_ms(setup.rounds, [&] { static_cast<void>(segmenter.embed(file.image)); }));
    std::printf(", \"decode_ms\": %.2f",
                median_ms(setup.rounds, [&] { static_cast<void>(segmenter.decode(*embedding, prompts)); }));
    std::printf(", \"segment_ms\": %.2f",
                median_ms(setup.rounds, [&] { static_cast<void>(segmenter.segment(file.image, prompts)); }));
    std::printf(", \"boxes\": %d, \"rounds\": %d}\n", setup.boxes, setup.rounds);
}

Setup parse(int count, char** values) {
    Setup setup;
    const std::map<std::string, int*> numbers = {
        {"--boxes", &setup.boxes}, {"--rounds", &setup.rounds}, {"--threads", &setup.threads}};
    for (int i = 1; i < count; ++i) {
        const std::string name = values[i];
        const char* value = i + 1 < count ? values[i + 1] : "";
        if (const auto number = numbers.find(name); number != numbers.end()) {
            *number->second = std::stoi(value);
            ++i;
        } else if (name == "--image") {
            setup.image = value;
            ++i;
        } else {
            setup.bundle = name;
        }
    }
    if (setup.bundle.empty() || setup.boxes < 1 || setup.rounds < 1 || setup.threads < 0) {
        throw std::invalid_argument("expected a bundle, and positive numbers");
    }
    return setup;
}

}  // namespace

int main(int count, char** values) {
    Setup setup;
    try {
        setup = parse(count, values);
    } catch (const std::logic_error&) {
        std::fprintf(stderr, "bench BUNDLE [--image PNM] [--boxes N] [--rounds N] [--threads N]\n");
        return 2;
    }
    try {
        run(setup);
        return 0;
    } catch (const std::exception& error) {
        std::fprintf(stderr, "%s\n", error.what());
        return 1;
    }
}
