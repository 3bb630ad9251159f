#pragma once

#include <string>

namespace medsam_edge {

/// The hash of FIPS 180-4, as 64 lower-case hexadecimal digits.
std::string sha256(const std::string& content);

}  // namespace medsam_edge
