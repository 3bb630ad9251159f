// Conversions between kinds of numbers, as NumPy makes them.
#pragma once

#include <cstdint>
#include <cstring>

#include "medsam_edge/medsam_edge.hpp"

namespace medsam_edge {

/// Half to even. `value` is from 0 to 255.
inline std::uint8_t to_byte(float value) {
    constexpr float kWhole = 12582912.0F;  // 1.5 · 2^23: at this size floats have no fraction
    return static_cast<std::uint8_t>(static_cast<int>((value + kWhole) - kWhole));
}

inline float float_of_half(std::uint16_t half) {
    const std::uint32_t sign = (half & 0x8000U) << 16U;
    const std::uint32_t magnitude = half & 0x7FFFU;
    std::uint32_t bits = (magnitude << 13U) + (magnitude >= 0x7C00U ? 0x70000000U : 0x38000000U);
    float value = 0;
    if (magnitude < 0x400U) {  // subnormal: counts of 2^-24
        value = static_cast<float>(magnitude) * 0x1p-24F;
        std::memcpy(&bits, &value, sizeof bits);
    }
    bits |= sign;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

/// Half to even; what is too large becomes infinite.
inline std::uint16_t half_of_float(float value) {
    std::uint32_t bits = 0;
    std::memcpy(&bits, &value, sizeof bits);
    const auto sign = static_cast<std::uint16_t>(bits >> 16U & 0x8000U);
    bits &= 0x7FFFFFFFU;
    if (bits > 0x7F800000U) { return static_cast<std::uint16_t>(sign | 0x7E00U); }   // not a number
    if (bits >= 0x477FF000U) { return static_cast<std::uint16_t>(sign | 0x7C00U); }  // 65520 and more
    if (bits < 0x38800000U) {                                                        // subnormal
        float magnitude = 0;
        std::memcpy(&magnitude, &bits, sizeof magnitude);
        magnitude += 0.5F;  // the unit in the last place of 0.5 is 2^-24
        std::memcpy(&bits, &magnitude, sizeof bits);
        return static_cast<std::uint16_t>(sign | (bits - 0x3F000000U));
    }
    bits += 0xC8000FFFU + (bits >> 13U & 1U);
    return static_cast<std::uint16_t>(sign | bits >> 13U);
}

inline bool is_float(Type type) { return type == Type::f16 || type == Type::f32 || type == Type::f64; }

/// Bytes of one value.
std::size_t size_of(Type type);

/// Call `work` with a pointer to `data`'s own type, which is not f16. Booleans are bytes: anything but 0 is true.
template <typename Work>
auto with_type(const void* data, Type type, Work work) {
    switch (type) {
        case Type::i8:
            return work(static_cast<const std::int8_t*>(data));
        case Type::u16:
            return work(static_cast<const std::uint16_t*>(data));
        case Type::i16:
            return work(static_cast<const std::int16_t*>(data));
        case Type::u32:
            return work(static_cast<const std::uint32_t*>(data));
        case Type::i32:
            return work(static_cast<const std::int32_t*>(data));
        case Type::u64:
            return work(static_cast<const std::uint64_t*>(data));
        case Type::i64:
            return work(static_cast<const std::int64_t*>(data));
        case Type::f32:
            return work(static_cast<const float*>(data));
        case Type::f64:
            return work(static_cast<const double*>(data));
        case Type::f16:
        case Type::boolean:
        case Type::u8:
            break;
    }
    return work(static_cast<const std::uint8_t*>(data));
}

/// `count` values from `begin` on as float32.
void floats(const void* data, Type type, std::size_t begin, std::size_t count, float* target);

}  // namespace medsam_edge
