#include "support/npy.hpp"

#include <fstream>
#include <iterator>
#include <map>
#include <stdexcept>

namespace support {
namespace {

using medsam_edge::Type;

const std::map<std::string, Type>& types() {
    static const std::map<std::string, Type> known = {{"|b1", Type::boolean}, {"|u1", Type::u8},  {"|i1", Type::i8},
                                                      {"<u2", Type::u16},     {"<i2", Type::i16}, {"<u4", Type::u32},
                                                      {"<i4", Type::i32},     {"<u8", Type::u64}, {"<i8", Type::i64},
                                                      {"<f2", Type::f16},     {"<f4", Type::f32}, {"<f8", Type::f64}};
    return known;
}

std::string between(const std::string& text, const std::string& begin, char end) {
    const std::size_t from = text.find(begin) + begin.size();
    return text.substr(from, text.find(end, from) - from);
}

}  // namespace

std::size_t Npy::count() const {
    std::size_t product = 1;
    for (const std::int64_t side : shape) { product *= static_cast<std::size_t>(side); }
    return product;
}

Npy load(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    if (!file) { return {}; }
    const std::string content{std::istreambuf_iterator<char>(file), {}};
    const auto length = static_cast<std::size_t>(static_cast<unsigned char>(content.at(8)) |
                                                 static_cast<unsigned char>(content.at(9)) << 8);
    const std::string header = content.substr(10, length);
    if (header.find("'fortran_order': False") == std::string::npos) {
        throw std::runtime_error(path + ": expected C order");
    }
    Npy array;
    array.type = types().at(between(header, "'descr': '", '\''));
    std::string sides = between(header, "'shape': (", ')');
    while (sides.find_first_of("0123456789") != std::string::npos) {
        std::size_t used = 0;
        array.shape.push_back(std::stoll(sides, &used));
        sides = sides.substr(std::min(sides.size(), sides.find_first_of(',', used) == std::string::npos
                                                        ? sides.size()
                                                        : sides.find(',', used) + 1));
    }
    array.bytes.assign(content.begin() + static_cast<std::ptrdiff_t>(10 + length), content.end());
    return array;
}

}  // namespace support
