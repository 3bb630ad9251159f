#include "images.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <memory>
#include <stdexcept>

namespace examples {
namespace {

using medsam_edge::Type;

constexpr std::size_t kNiftiHeader = 352;
constexpr long long kLongestSide = 1 << 20;
constexpr long long kMostBytes = 1LL << 34;

[[noreturn]] void fail(const std::string& message) { throw std::runtime_error(message); }

/// The next number of a PNM header, after blanks and comments.
long long header_number(const std::string& content, std::size_t& at) {
    while (at < content.size() && (std::strchr(" \t\r\n", content[at]) != nullptr || content[at] == '#')) {
        if (content[at] == '#') { at = std::min(content.find('\n', at), content.size() - 1); }
        ++at;
    }
    long long value = 0;
    std::size_t digits = 0;
    for (; at < content.size() && content[at] >= '0' && content[at] <= '9' && digits < 9; ++at, ++digits) {
        value = 10 * value + (content[at] - '0');
    }
    if (digits == 0) { fail("PNM: expected a number in the header"); }
    return value;
}

File parse_pnm(const std::string& content) {
    std::size_t at = 2;
    const long long width = header_number(content, at);
    const long long height = header_number(content, at);
    const long long most = header_number(content, at);
    ++at;  // one blank
    if (width < 1 || height < 1 || width > kLongestSide || height > kLongestSide || most < 1 || most > 65535) {
        fail("PNM: expected sides from 1 to 2^20 and values to 65535");
    }
    const long long channels = content[1] == '6' ? 3 : 1;
    const long long size = most > 255 ? 2 : 1;
    const auto bytes = static_cast<std::size_t>(width * height * channels * size);
    if (at > content.size() || content.size() - at < bytes) { fail("PNM: cut off"); }
    File file;
    file.bytes.assign(content.begin() + static_cast<std::ptrdiff_t>(at),
                      content.begin() + static_cast<std::ptrdiff_t>(at + bytes));
    if (size == 2) {  // big-endian
        for (std::size_t i = 0; i < bytes; i += 2) {
            const auto value = static_cast<std::uint16_t>(file.bytes[i] << 8 | file.bytes[i + 1]);
            std::memcpy(&file.bytes[i], &value, sizeof value);
        }
    }
    file.image = {file.bytes.data(), size == 2 ? Type::u16 : Type::u8, 0, height, width, channels};
    return file;
}

template <typename Value>
Value at(const std::string& content, std::size_t offset) {
    Value value;
    std::memcpy(&value, content.data() + offset, sizeof value);
    return value;
}

Type nifti_type(std::int16_t code, std::size_t& size) {
    struct Known {
        int code;
        std::size_t size;
        Type type;
    };
    static constexpr std::array<Known, 10> kKnown = {{{2, 1, Type::u8},
                                                      {4, 2, Type::i16},
                                                      {8, 4, Type::i32},
                                                      {16, 4, Type::f32},
                                                      {64, 8, Type::f64},
                                                      {256, 1, Type::i8},
                                                      {512, 2, Type::u16},
                                                      {768, 4, Type::u32},
                                                      {1024, 8, Type::i64},
                                                      {1280, 8, Type::u64}}};
    for (const Known& known : kKnown) {
        if (known.code == code) {
            size = known.size;
            return known.type;
        }
    }
    fail("NIfTI: expected real grey values");
}

/// Values × slope + intercept in float32, as the header says.
void rescale(File& file, std::size_t count, float slope, float intercept) {
    std::vector<std::uint8_t> scaled(count * sizeof(float));
    const auto apply = [&](auto zero) {
        for (std::size_t i = 0; i < count; ++i) {
            auto value = zero;
            std::memcpy(&value, &file.bytes[i * sizeof value], sizeof value);
            const auto result = static_cast<float>(static_cast<double>(value) * static_cast<double>(slope) +
                                                   static_cast<double>(intercept));
            std::memcpy(&scaled[i * sizeof result], &result, sizeof result);
        }
    };
    switch (file.image.type) {
        case Type::i8:
            apply(std::int8_t{});
            break;
        case Type::u16:
            apply(std::uint16_t{});
            break;
        case Type::i16:
            apply(std::int16_t{});
            break;
        case Type::u32:
            apply(std::uint32_t{});
            break;
        case Type::i32:
            apply(std::int32_t{});
            break;
        case Type::u64:
            apply(std::uint64_t{});
            break;
        case Type::i64:
            apply(std::int64_t{});
            break;
        case Type::f32:
            apply(float{});
            break;
        case Type::f64:
            apply(double{});
            break;
        default:
            apply(std::uint8_t{});
    }
    file.bytes = std::move(scaled);
    file.image.type = Type::f32;
}

File parse_nifti(const std::string& content) {
    const auto sides = at<std::array<std::int16_t, 8>>(content, 40);
    if (sides[0] < 2 || sides[0] > 7) { fail("NIfTI: expected two or three dimensions"); }
    for (int i = 4; i <= sides[0]; ++i) {
        if (sides.at(static_cast<std::size_t>(i)) > 1) { fail("NIfTI: expected two or three dimensions"); }
    }
    const long long width = sides[1];
    const long long height = sides[2];
    const long long depth = sides[0] > 2 ? sides[3] : 1;
    if (width < 1 || height < 1 || depth < 1) { fail("NIfTI: expected positive sides"); }
    std::size_t size = 0;
    const Type type = nifti_type(at<std::int16_t>(content, 70), size);
    if (width * height * depth > kMostBytes / static_cast<long long>(size)) { fail("NIfTI: too large"); }
    const auto count = static_cast<std::size_t>(width * height * depth);
    const auto offset = at<float>(content, 108);
    if (!(offset >= 352 && offset < 1e9F) ||
        content.size() - kNiftiHeader < static_cast<std::size_t>(offset) - kNiftiHeader ||
        content.size() - static_cast<std::size_t>(offset) < count * size) {
        fail("NIfTI: cut off, or its pixels are elsewhere");
    }
    const auto begin = content.begin() + static_cast<std::ptrdiff_t>(offset);
    File file;
    file.nifti = content.substr(0, kNiftiHeader);
    file.bytes.assign(begin, begin + static_cast<std::ptrdiff_t>(count * size));
    file.image = {file.bytes.data(), type, depth, height, width, 1};
    const auto slope = at<float>(content, 112);
    const auto intercept = at<float>(content, 116);
    const bool plain = slope == 0 || (slope == 1 && intercept == 0);
    if (!plain && std::isfinite(slope) && std::isfinite(intercept)) { rescale(file, count, slope, intercept); }
    file.image.data = file.bytes.data();
    return file;
}

void write_file(const std::string& path, const std::string& content) {
    const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "wb"), std::fclose);
    if (!file || std::fwrite(content.data(), 1, content.size(), file.get()) != content.size() ||
        std::fflush(file.get()) != 0) {
        fail("cannot write " + path);
    }
}

}  // namespace

File parse_image(const std::string& content) {
    if (content.size() > 2 && content[0] == 'P' && (content[1] == '5' || content[1] == '6')) {
        return parse_pnm(content);
    }
    if (content.size() >= kNiftiHeader && at<std::int32_t>(content, 0) == 348 && content.compare(344, 3, "n+1") == 0) {
        return parse_nifti(content);
    }
    fail("expected a PNM image (P5 or P6) or a little-endian NIfTI-1 image (.nii)");
}

std::string read_file(const std::string& path) {
    const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "rb"), std::fclose);
    if (!file) { fail("cannot read " + path); }
    std::string content;
    std::array<char, 1 << 16> piece{};
    while (std::feof(file.get()) == 0 && std::ferror(file.get()) == 0) {
        if (content.size() > static_cast<std::size_t>(kMostBytes)) { fail(path + " is too large"); }
        content.append(piece.data(), std::fread(piece.data(), 1, piece.size(), file.get()));
    }
    if (std::ferror(file.get()) != 0) { fail("cannot read " + path); }
    return content;
}

void write_labels(const std::string& path, const File& like, const std::vector<std::uint16_t>& labels) {
    if (like.image.depth > 0) {
        std::string content = like.nifti;
        const auto set = [&content](std::size_t offset, auto value) {
            std::memcpy(&content[offset], &value, sizeof value);
        };
        set(70, std::int16_t{512});  // uint16
        set(72, std::int16_t{16});
        set(108, 352.0F);
        set(112, 0.0F);
        set(116, 0.0F);
        content.replace(348, 4, 4, '\0');
        content.append(reinterpret_cast<const char*>(labels.data()), labels.size() * sizeof(std::uint16_t));
        write_file(path, content);
        return;
    }
    const std::uint16_t most = labels.empty() ? std::uint16_t{0} : *std::max_element(labels.begin(), labels.end());
    std::string content = "P5\n" + std::to_string(like.image.width) + " " + std::to_string(like.image.height) + "\n" +
                          (most > 255 ? "65535" : "255") + "\n";
    for (const std::uint16_t label : labels) {
        if (most > 255) { content.push_back(static_cast<char>(label >> 8)); }
        content.push_back(static_cast<char>(label & 0xFF));
    }
    write_file(path, content);
}

}  // namespace examples
