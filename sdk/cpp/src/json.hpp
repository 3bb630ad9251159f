// A strict reader of JSON (RFC 8259) for manifests.
#pragma once

#include <map>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace medsam_edge {

struct JsonError : std::runtime_error {
    using std::runtime_error::runtime_error;
};

struct Json {
    enum class Kind { null, boolean, integer, real, string, array, object };

    Kind kind = Kind::null;
    double number = 0;  ///< of numbers; 1 for true
    std::string string;
    std::vector<Json> array;
    std::map<std::string, Json> object;  ///< of equal names the last counts

    /// The member of that name, or null.
    [[nodiscard]] const Json& operator[](const std::string& name) const;
};

/// Throws JsonError where `text` is no JSON, or nested more than 64 deep.
Json parse_json(std::string_view text);

}  // namespace medsam_edge
