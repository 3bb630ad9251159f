#include "numbers.hpp"

#include <algorithm>

namespace medsam_edge {

std::size_t size_of(Type type) {
    switch (type) {
        case Type::u16:
        case Type::i16:
        case Type::f16:
            return 2;
        case Type::u32:
        case Type::i32:
        case Type::f32:
            return 4;
        case Type::u64:
        case Type::i64:
        case Type::f64:
            return 8;
        case Type::boolean:
        case Type::u8:
        case Type::i8:
            break;
    }
    return 1;
}

void floats(const void* data, Type type, std::size_t begin, std::size_t count, float* target) {
    if (type == Type::f16) {
        const auto* values = static_cast<const std::uint16_t*>(data) + begin;
        std::transform(values, values + count, target, float_of_half);
        return;
    }
    if (type == Type::boolean) {
        const auto* values = static_cast<const std::uint8_t*>(data) + begin;
        std::transform(values, values + count, target, [](std::uint8_t value) { return value != 0 ? 1.0F : 0.0F; });
        return;
    }
    with_type(data, type, [&](const auto* values) {
        std::transform(values + begin, values + begin + count, target,
                       [](auto value) { return static_cast<float>(value); });
    });
}

}  // namespace medsam_edge
