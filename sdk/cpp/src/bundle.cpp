#include "bundle.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <system_error>
#include <utility>

#include "errors.hpp"
#include "json.hpp"
#include "sha256.hpp"

namespace medsam_edge {
namespace {

constexpr std::array<const char*, 4> kModelFiles = {"encoder.xml", "encoder.bin", "decoder.xml", "decoder.bin"};
constexpr std::uintmax_t kLargestFile = std::uintmax_t{2} << 30U;
constexpr std::uintmax_t kLargestManifest = std::uintmax_t{1} << 20U;
constexpr int kSchema = 3;

using Kind = Json::Kind;

struct Field {
    const char* name;
    const char* expected;
    std::array<Kind, 3> kinds;
};

constexpr std::array<Kind, 3> only(Kind kind) { return {kind, kind, kind}; }

constexpr std::array<Field, 17> kFields = {{
    {"architecture", "str", only(Kind::string)},
    {"image_size", "int", only(Kind::integer)},
    {"files", "dict", only(Kind::object)},
    {"encoder_precision", "str", only(Kind::string)},
    {"decoder_precision", "str", only(Kind::string)},
    {"reach", "int", only(Kind::integer)},
    {"openvino", "str", only(Kind::string)},
    {"source_sha256", "str", only(Kind::string)},
    {"context", "float", {Kind::real, Kind::integer, Kind::null}},
    {"ellipse", "float", {Kind::real, Kind::integer, Kind::integer}},
    {"prompts", "list", only(Kind::array)},
    {"classes", "list", only(Kind::array)},
    {"calibration", "dict", only(Kind::object)},
    {"checks", "dict", only(Kind::object)},
    {"accuracy", "dict", only(Kind::object)},
    {"latency", "dict", only(Kind::object)},
    {"schema", "int", only(Kind::integer)},
}};

std::string read(const std::string& folder, const char* name, std::uintmax_t largest) {
    const std::string path = folder + "/" + name;
    std::error_code error;
    const auto status = std::filesystem::status(path, error);
    if (error || !std::filesystem::exists(status)) {
        fail(Code::bundle, "bundle: cannot read %s: %s", path.c_str(),
             error ? error.message().c_str() : "no such file");
    }
    if (!std::filesystem::is_regular_file(status)) {  // a pipe or a device may have no end
        fail(Code::bundle, "bundle: %s is not a file", path.c_str());
    }
    const std::uintmax_t size = std::filesystem::file_size(path, error);
    if (error) { fail(Code::bundle, "bundle: cannot read %s: %s", path.c_str(), error.message().c_str()); }
    if (size > largest) { fail(Code::bundle, "bundle: %s is larger than %ju bytes", path.c_str(), largest); }
    std::string content(static_cast<std::size_t>(size), '\0');
    const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "rb"), std::fclose);
    if (!file || std::fread(content.data(), 1, content.size(), file.get()) != content.size()) {
        fail(Code::bundle, "bundle: cannot read %s", path.c_str());
    }
    return content;
}

/// Bundles of schema 2 lack these fields; their values are those of a network of boxes.
void as_schema_3(Json& values) {
    if (values["schema"].kind != Kind::integer || values["schema"].number != 2) { return; }
    Json zero;
    zero.kind = Kind::integer;
    Json box;
    box.kind = Kind::string;
    box.string = "box";
    Json prompts;
    prompts.kind = Kind::array;
    prompts.array = {box};
    values.object.emplace("context", Json());
    values.object.emplace("ellipse", zero);
    values.object.emplace("prompts", prompts);
    values.object["schema"].number = kSchema;
}

void check_fields(const Json& values, const std::string& where) {
    for (const Field& field : kFields) {
        const Kind kind = values[field.name].kind;
        if (std::find(field.kinds.begin(), field.kinds.end(), kind) == field.kinds.end()) {
            fail(Code::bundle, "bundle: %s: expected %s to be a %s", where.c_str(), field.name, field.expected);
        }
    }
    for (const auto& [name, value] : values.object) {
        const auto same = [&own = name](const Field& field) { return own == field.name; };
        if (std::none_of(kFields.begin(), kFields.end(), same)) {
            fail(Code::bundle, "bundle: %s: unknown field %.60s", where.c_str(), name.c_str());
        }
    }
    for (const char* name : kModelFiles) {
        if (values["files"][name].kind != Kind::string) {
            fail(Code::bundle, "bundle: %s: no sha256 of %s", where.c_str(), name);
        }
    }
}

void check_ranges(const Json& values, const std::string& where) {
    const double size = values["image_size"].number;
    if (!(size >= 64 && size <= 4096)) {
        fail(Code::bundle, "bundle: %s: image_size %g is out of range", where.c_str(), size);
    }
    const double reach = values["reach"].number;
    if (!(reach >= 0 && reach <= size)) {
        fail(Code::bundle, "bundle: %s: expected reach from 0 to image_size, got %g", where.c_str(), reach);
    }
    for (const char* name : {"context", "ellipse"}) {
        if (!(values[name].number >= 0 && values[name].number <= 100)) {
            fail(Code::bundle, "bundle: %s: expected %s from 0 to 100, got %g", where.c_str(), name,
                 values[name].number);
        }
    }
}

std::vector<std::string> strings(const Json& array) {
    std::vector<std::string> result;
    for (const Json& item : array.array) { result.push_back(item.kind == Kind::string ? item.string : ""); }
    return result;
}

std::vector<Modality> classes_of(const Json& values, const std::string& where) {
    std::vector<Modality> classes;
    for (const std::string& name : strings(values["classes"])) {
        std::optional<Modality> found;
        for (int index = 0; index <= static_cast<int>(Modality::mammography); ++index) {
            if (name == name_of(static_cast<Modality>(index))) { found = static_cast<Modality>(index); }
        }
        if (!found || std::find(classes.begin(), classes.end(), *found) != classes.end()) {
            fail(Code::bundle, "bundle: %s: expected classes to be distinct modalities, got '%.60s'", where.c_str(),
                 name.c_str());
        }
        classes.push_back(*found);
    }
    return classes;
}

}  // namespace

Manifest parse_manifest(std::string_view raw, const std::string& folder) {
    const std::string where = folder + "/manifest.json";
    Json values;
    try {
        values = parse_json(raw);
    } catch (const JsonError& error) { fail(Code::bundle, "bundle: %s is not JSON: %s", where.c_str(), error.what()); }
    if (values.kind != Kind::object) { fail(Code::bundle, "bundle: %s: expected a JSON object", where.c_str()); }
    as_schema_3(values);
    const Json& schema = values["schema"];
    if (schema.kind != Kind::integer || schema.number != kSchema) {
        fail(Code::bundle, "bundle: %s: expected schema 2 or %d: convert its checkpoint again", folder.c_str(),
             kSchema);
    }
    check_fields(values, where);
    check_ranges(values, where);
    const std::vector<std::string> prompts = strings(values["prompts"]);
    const bool all = prompts == std::vector<std::string>{"box", "points", "mask"};
    if (!all && prompts != std::vector<std::string>{"box"}) {
        fail(Code::bundle, "bundle: %s: expected prompts [box] or [box, points, mask]", folder.c_str());
    }
    Manifest manifest;
    manifest.image_size = static_cast<int>(values["image_size"].number);
    for (const char* name : kModelFiles) { manifest.files[name] = values["files"][name].string; }
    manifest.encoder_precision = values["encoder_precision"].string;
    manifest.decoder_precision = values["decoder_precision"].string;
    manifest.reach = static_cast<int>(values["reach"].number);
    manifest.openvino = values["openvino"].string;
    if (values["context"].kind != Kind::null) { manifest.context = values["context"].number; }
    manifest.all_prompts = all;
    manifest.classes = classes_of(values, where);
    return manifest;
}

Bundle load_bundle(const std::string& folder) {
    if (folder.find('\0') != std::string::npos) { fail(Code::bundle, "bundle: its path holds a null character"); }
    const std::string raw = read(folder, "manifest.json", kLargestManifest);
    Bundle bundle{parse_manifest(raw, folder), {}, sha256(raw)};
    for (const char* name : kModelFiles) {
        std::string content = read(folder, name, kLargestFile);
        if (sha256(content) != bundle.manifest.files[name]) {
            fail(Code::bundle, "bundle: %s/%s differs from its sha256 in the manifest", folder.c_str(), name);
        }
        bundle.contents[name] = std::move(content);
    }
    return bundle;
}

}  // namespace medsam_edge
