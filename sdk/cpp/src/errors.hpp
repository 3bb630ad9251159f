// Errors and texts of messages.
#pragma once

#include <string>

#include "medsam_edge/medsam_edge.hpp"

namespace medsam_edge {

/// printf into a string.
[[gnu::format(printf, 1, 2)]] std::string text(const char* format, ...);

[[noreturn, gnu::format(printf, 2, 3)]] void fail(Code code, const char* format, ...);

}  // namespace medsam_edge
