#include <array>
#include <cctype>
#include <utility>

#include "errors.hpp"

namespace medsam_edge {
namespace {

constexpr std::array<const char*, 11> kNames = {"CT",        "MR",     "PET",        "US",  "XRay",       "Dermoscopy",
                                                "Endoscopy", "Fundus", "Microscopy", "OCT", "Mammography"};

constexpr std::array<std::pair<std::string_view, Modality>, 20> kAliases = {{
    {"mri", Modality::mr},
    {"ultrasound", Modality::us},
    {"sonography", Modality::us},
    {"cr", Modality::xray},
    {"dx", Modality::xray},
    {"radiography", Modality::xray},
    {"pt", Modality::pet},
    {"mammo", Modality::mammography},
    {"mg", Modality::mammography},
    {"microscope", Modality::microscopy},
    {"histology", Modality::microscopy},
    {"pathology", Modality::microscopy},
    {"sm", Modality::microscopy},
    {"dermatology", Modality::dermoscopy},
    {"skin", Modality::dermoscopy},
    {"colonoscopy", Modality::endoscopy},
    {"es", Modality::endoscopy},
    {"op", Modality::fundus},
    {"retina", Modality::fundus},
    {"opt", Modality::oct},
}};

std::string key(std::string_view name) {
    std::string result;
    for (const char letter : name) {
        const auto code = static_cast<unsigned char>(letter);
        if (std::isalnum(code) != 0) { result.push_back(static_cast<char>(std::tolower(code))); }
    }
    return result;
}

}  // namespace

const char* name_of(Modality modality) { return kNames.at(static_cast<std::size_t>(modality)); }

Modality parse_modality(std::string_view name) {
    const std::string wanted = key(name);
    for (std::size_t index = 0; index < kNames.size(); ++index) {
        if (wanted == key(kNames[index])) { return static_cast<Modality>(index); }
    }
    for (const auto& [alias, modality] : kAliases) {
        if (wanted == alias) { return modality; }
    }
    std::string known;
    for (const char* own : kNames) { known += (known.empty() ? "" : ", ") + std::string(own); }
    fail(Code::modality, "modality: expected one of %s, got '%.60s'", known.c_str(), std::string(name).c_str());
}

}  // namespace medsam_edge
