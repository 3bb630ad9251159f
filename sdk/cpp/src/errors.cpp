#include "errors.hpp"

#include <cstdarg>
#include <cstdio>

namespace medsam_edge {
namespace {

std::string formatted(const char* format, std::va_list arguments) {
    std::va_list again;
    va_copy(again, arguments);
    const int length = std::vsnprintf(nullptr, 0, format, again);
    va_end(again);
    std::string result(length > 0 ? static_cast<std::size_t>(length) : 0, '\0');
    std::vsnprintf(result.data(), result.size() + 1, format, arguments);
    return result;
}

}  // namespace

std::string text(const char* format, ...) {
    std::va_list arguments;
    va_start(arguments, format);
    std::string result = formatted(format, arguments);
    va_end(arguments);
    return result;
}

void fail(Code code, const char* format, ...) {
    std::va_list arguments;
    va_start(arguments, format);
    const std::string message = formatted(format, arguments);
    va_end(arguments);
    throw Error(code, message);
}

}  // namespace medsam_edge
