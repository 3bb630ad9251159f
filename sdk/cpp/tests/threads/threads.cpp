// Sixteen threads on one segmenter give the bits of one.
#include <doctest/doctest.h>

#include <atomic>
#include <functional>
#include <random>
#include <string>
#include <thread>

#include "support/cases.hpp"

namespace {

using namespace medsam_edge;

constexpr unsigned kThreads = 16;
constexpr int kCalls = 100;

/// Every part of a result that a data race could change.
std::string bits(const Result& result) {
    std::string all;
    const auto add = [&all](const auto* data, std::size_t count) {
        all.append(reinterpret_cast<const char*>(data), count * sizeof *data);
    };
    for (const Object& object : result.objects) {
        add(object.box.data(), object.box.size());
        add(&object.score, 1);
        for (const auto& [z, found] : object.slices) {
            add(&z, 1);
            add(&found.mask.top, 1);
            add(&found.mask.left, 1);
            add(found.mask.pixels.data(), found.mask.pixels.size());
            add(found.logits.halves.data(), found.logits.halves.size());
        }
    }
    return all;
}

struct Work {
    std::vector<std::uint8_t> pixels;
    std::shared_ptr<const Embedding> embedding;
    std::function<std::string()> call;
};

/// Calls of each kind: `segment`, `decode`, `segment` of a volume. The cache has room for two embeddings.
std::vector<std::unique_ptr<Work>> works(const Segmenter& segmenter) {
    std::mt19937 random(1);
    std::vector<std::unique_ptr<Work>> all;
    for (std::int64_t i = 0; i < 24; ++i) {
        const std::int64_t height = 30 + 3 * i;
        const std::int64_t width = 100 - 2 * i;
        const std::int64_t depth = i % 6 == 0 ? 4 : 0;
        auto& own = *all.emplace_back(std::make_unique<Work>());
        for (std::int64_t j = 0; j < std::max<std::int64_t>(depth, 1) * height * width; ++j) {
            own.pixels.push_back(static_cast<std::uint8_t>(random()));
        }
        const Image image{own.pixels.data(), Type::u8, depth, height, width};
        Prompts prompts;
        prompts.boxes.emplace();
        for (std::int64_t j = 0; j < i % 4; ++j) {
            prompts.boxes->push_back({static_cast<double>(j), 2, 20.0 + static_cast<double>(5 * j), 25, 0, 4});
        }
        if (depth == 0 && i % 2 == 0) {
            own.embedding = segmenter.embed(image);
            own.call = [&segmenter, &own, prompts] { return bits(segmenter.decode(*own.embedding, prompts)); };
        } else {
            Options options;
            options.streams = 2;
            own.call = [&segmenter, image, prompts, options] {
                return bits(segmenter.segment(image, prompts, options));
            };
        }
    }
    return all;
}

}  // namespace

TEST_CASE("sixteen threads give the bits of one") {
    SegmenterSettings settings;
    settings.num_threads = 2;
    settings.cache_bytes = 2 * 13000;
    const Segmenter segmenter(support::golden() + "/bundles/tiny", settings);
    const auto all = works(segmenter);
    std::vector<std::string> serial;
    for (const auto& own : all) { serial.push_back(own->call()); }
    CHECK(serial[3].size() > 1000);
    std::atomic<int> wrong = 0;
    std::atomic<unsigned> ready = 0;
    std::vector<std::thread> threads;
    for (unsigned thread = 0; thread < kThreads; ++thread) {
        threads.emplace_back([&, thread] {
            std::mt19937 random(thread);
            ++ready;
            while (ready < kThreads) { std::this_thread::yield(); }
            for (int i = 0; i < kCalls; ++i) {
                const std::size_t index = random() % all.size();
                wrong += all[index]->call() == serial[index] ? 0 : 1;
            }
        });
    }
    for (std::thread& thread : threads) { thread.join(); }
    CHECK(wrong == 0);
}
