#include <string_view>

#include "bundle.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    try {
        static_cast<void>(medsam_edge::parse_manifest({reinterpret_cast<const char*>(data), size}, "folder"));
    } catch (const medsam_edge::Error& error) {
        if (error.code() != medsam_edge::Code::bundle) { __builtin_trap(); }
    }
    return 0;
}
