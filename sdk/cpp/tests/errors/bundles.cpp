// Hostile bundles give Error(bundle) and nothing else.
#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>

#include "bundle.hpp"
#include "engine.hpp"
#include "sha256.hpp"
#include "support/cases.hpp"

namespace {

using namespace medsam_edge;
namespace fs = std::filesystem;

std::string read(const fs::path& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

void write(const fs::path& path, const std::string& content) { std::ofstream(path, std::ios::binary) << content; }

/// A copy of the tiny bundle, deleted at the end.
struct Copy {
    Copy() : folder(fs::temp_directory_path() / ("medsam_edge_" + std::to_string(std::random_device{}()))) {
        fs::copy(support::golden() + "/bundles/tiny", folder);
    }
    ~Copy() {
        std::error_code ignored;
        fs::remove_all(folder, ignored);
    }
    Copy(const Copy&) = delete;
    Copy& operator=(const Copy&) = delete;

    [[nodiscard]] std::string manifest() const { return read(folder / "manifest.json"); }
    /// Put a file in, with its hash in the manifest.
    void put(const std::string& name, const std::string& content) const {
        std::string text = manifest();
        const std::string before = sha256(read(folder / name));
        text.replace(text.find(before), before.size(), sha256(content));
        write(folder / "manifest.json", text);
        write(folder / name, content);
    }
    fs::path folder;
};

Code code_of(const std::string& folder) {
    try {
        const Segmenter segmenter(folder);
    } catch (const Error& error) {
        CHECK(std::string(error.what()).rfind("bundle: ", 0) == 0);
        return error.code();
    }
    return Code{};
}

std::string replaced(std::string text, const std::string& from, const std::string& to) {
    const std::size_t at = text.find(from);
    REQUIRE(at != std::string::npos);
    return text.replace(at, from.size(), to);
}

}  // namespace

TEST_CASE("a bundle loads as it is, and not when a file is missing, another or cut") {
    CHECK(code_of(support::golden() + "/bundles/tiny") == Code{});
    CHECK(code_of("/no/such/folder") == Code::bundle);
    CHECK(code_of(std::string("a\0b", 3)) == Code::bundle);
    for (const char* name : {"encoder.xml", "encoder.bin", "decoder.xml", "decoder.bin", "manifest.json"}) {
        CAPTURE(name);
        const Copy copy;
        const std::string content = read(copy.folder / name);
        write(copy.folder / name, content.substr(0, content.size() / 2));
        CHECK(code_of(copy.folder.string()) == Code::bundle);
        fs::remove(copy.folder / name);
        CHECK(code_of(copy.folder.string()) == Code::bundle);
        fs::create_directory(copy.folder / name);
        CHECK(code_of(copy.folder.string()) == Code::bundle);
    }
}

TEST_CASE("every field of a manifest is checked") {
    const Copy copy;
    const std::string text = copy.manifest();
    CHECK(parse_manifest(text, "").image_size == 64);
    CHECK(parse_manifest(replaced(text, "\"schema\": 3", "\"schema\": 2"), "").image_size == 64);
    const std::vector<std::pair<std::string, std::string>> changes = {
        {"\"schema\": 3", "\"schema\": 1"},
        {"\"schema\": 3", "\"schema\": true"},
        {"\"image_size\": 64", "\"image_size\": 63"},
        {"\"image_size\": 64", "\"image_size\": 1e9"},
        {"\"image_size\": 64", "\"image_size\": \"64\""},
        {"\"reach\": 8", "\"reach\": 65"},
        {"\"reach\": 8", "\"reach\": -1"},
        {"\"ellipse\": 0.0", "\"ellipse\": 101"},
        {"\"ellipse\": 0.0", "\"ellipse\": null"},
        {"\"context\": null", "\"context\": -0.1"},
        {"\"classes\": []", "\"classes\": [\"CT\", \"CT\"]"},
        {"\"classes\": []", "\"classes\": [\"sonar\"]"},
        {"\"classes\": []", "\"classes\": [7]"},
        {"\"prompts\": [\n    \"box\"\n  ]", "\"prompts\": [\"points\"]"},
        {"\"files\": {", "\"files\": {}, \"more\": {"},
        {"\"encoder.xml\": \"", "\"other.xml\": \""},
        {"\"checks\": {}", "\"checks\": []"},
        {"\"openvino\": \"", "\"openvino\": 7, \"old\": \""},
    };
    for (const auto& [from, to] : changes) {
        CAPTURE(to);
        CHECK_THROWS_AS(static_cast<void>(parse_manifest(replaced(text, from, to), "")), Error);
    }
}

TEST_CASE("networks that are not what the manifest says are refused, or fail with a code when they run") {
    {
        const Copy copy;
        write(copy.folder / "manifest.json", replaced(copy.manifest(), "\"openvino\": \"20", "\"openvino\": \"90"));
        CHECK(code_of(copy.folder.string()) == Code::bundle);
    }
    {
        const Copy copy;
        write(copy.folder / "manifest.json", replaced(copy.manifest(), "\"classes\": []", "\"classes\": [\"CT\"]"));
        CHECK(code_of(copy.folder.string()) == Code::bundle);
    }
    {
        const Copy copy;  // the encoder twice
        copy.put("decoder.xml", read(copy.folder / "encoder.xml"));
        copy.put("decoder.bin", read(copy.folder / "encoder.bin"));
        CHECK(code_of(copy.folder.string()) == Code::bundle);
    }
    for (const char* content : {"", "<net>", "<?xml version=\"1.0\"?><net name=\"x\" version=\"11\"></net>"}) {
        const Copy copy;
        copy.put("encoder.xml", content);
        CHECK(code_of(copy.folder.string()) == Code::bundle);
    }
    {
        const Copy copy;  // the square is twice as large as the network's
        write(copy.folder / "manifest.json", replaced(copy.manifest(), "\"image_size\": 64", "\"image_size\": 128"));
        const Segmenter segmenter(copy.folder.string());
        const std::vector<std::uint8_t> pixels(100);
        Prompts prompts;
        prompts.boxes = {{1, 1, 9, 9}};
        try {
            static_cast<void>(segmenter.segment({pixels.data(), Type::u8, 0, 10, 10}, prompts));
            FAIL("expected an error");
        } catch (const Error& error) { CHECK(error.code() == Code::bundle); }
    }
}

TEST_CASE("mutated manifests and graphs give error codes only") {
    std::mt19937 random(0);
    const auto below = [&](std::size_t limit) {
        return std::uniform_int_distribution<std::size_t>(0, limit - 1)(random);
    };
    const auto mutate = [&](std::string text) {
        for (std::size_t i = 0; i <= below(3); ++i) {
            const std::size_t at = below(text.size());
            switch (below(4)) {
                case 0:
                    text[at] = static_cast<char>(below(256));
                    break;
                case 1:
                    text.erase(at, 1 + below(20));
                    break;
                case 2:
                    text.insert(at, text.substr(below(text.size()), below(30)));
                    break;
                default:
                    text[at] = "0123456789-e.\"[]{}"[below(18)];
            }
        }
        return text;
    };
    const Copy copy;
    const std::string manifest = copy.manifest();
    for (int i = 0; i < 3000; ++i) {
        try {
            static_cast<void>(parse_manifest(mutate(manifest), "folder"));
        } catch (const Error& error) { CHECK(error.code() == Code::bundle); }
    }
    const std::string graph = read(copy.folder / "decoder.xml");
    for (int i = 0; i < 60; ++i) {
        copy.put("decoder.xml", mutate(graph));
        const Code code = code_of(copy.folder.string());
        CHECK((code == Code::bundle || code == Code{}));
    }
}
