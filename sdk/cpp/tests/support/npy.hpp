// NumPy's files.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "medsam_edge/medsam_edge.hpp"

namespace support {

struct Npy {
    medsam_edge::Type type = medsam_edge::Type::u8;
    std::vector<std::int64_t> shape;
    std::vector<std::uint8_t> bytes;

    template <typename Value>
    [[nodiscard]] const Value* as() const {
        return reinterpret_cast<const Value*>(bytes.data());
    }
    [[nodiscard]] std::size_t count() const;
    [[nodiscard]] bool empty() const { return shape.empty(); }
};

/// A .npy file in C order; an empty array where there is no such file.
Npy load(const std::string& path);

}  // namespace support
