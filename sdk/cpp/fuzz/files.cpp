#include <stdexcept>
#include <string>

#include "images.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    try {
        const auto file = examples::parse_image(std::string(reinterpret_cast<const char*>(data), size));
        if (file.image.data != file.bytes.data() || file.bytes.empty()) { __builtin_trap(); }
    } catch (const std::runtime_error&) {}
    return 0;
}
