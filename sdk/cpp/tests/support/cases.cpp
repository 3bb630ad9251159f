#include "support/cases.hpp"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <mutex>
#include <stdexcept>

namespace support {
namespace {

using medsam_edge::Json;

std::string read(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

std::vector<medsam_edge::Box> boxes_of(const Json& rows, bool volume) {
    std::vector<medsam_edge::Box> boxes;
    for (const Json& row : rows.array) {
        const auto at = [&](std::size_t i) { return row.array.at(i).number; };
        boxes.push_back(volume ? medsam_edge::Box{at(0), at(1), at(3), at(4), at(2), at(5)}
                               : medsam_edge::Box{at(0), at(1), at(2), at(3)});
    }
    return boxes;
}

std::vector<std::vector<medsam_edge::Click>> clicks_of(const Json& points, const Json& labels, bool volume) {
    std::vector<std::vector<medsam_edge::Click>> clicks;
    for (std::size_t row = 0; row < points.array.size(); ++row) {
        auto& own = clicks.emplace_back();
        for (std::size_t i = 0; i < points.array[row].array.size(); ++i) {
            const auto& point = points.array[row].array[i].array;
            const int label = static_cast<int>(labels.array.at(row).array.at(i).number);
            own.push_back({point.at(0).number, point.at(1).number, label, volume ? point.at(2).number : 0});
        }
    }
    return clicks;
}

medsam_edge::Image image_of(const Npy& pixels, bool volume) {
    const auto& sides = pixels.shape;
    if (volume) { return {pixels.bytes.data(), pixels.type, sides.at(0), sides.at(1), sides.at(2), 1}; }
    return {pixels.bytes.data(), pixels.type, 0, sides.at(0), sides.at(1), sides.size() > 2 ? sides.at(2) : 1};
}

medsam_edge::Options options_of(const Json& json, medsam_edge::Type type) {
    medsam_edge::Options options;
    const Json& modality = json["modality"];
    if (modality.kind == Json::Kind::string) { options.modality = medsam_edge::parse_modality(modality.string); }
    const Json& window = json["window"];
    if (window.kind == Json::Kind::string) {
        options.window = medsam_edge::ct_window(window.string, options.modality, type);
    }
    if (window.kind == Json::Kind::array) { options.window = {window.array.at(0).number, window.array.at(1).number}; }
    const std::string& detail = json["detail"].string;
    options.detail = detail == "crop"    ? medsam_edge::Detail::crop
                     : detail == "image" ? medsam_edge::Detail::image
                                         : medsam_edge::Detail::automatic;
    const Json& axis = json["axis"];
    options.axis = axis.kind == Json::Kind::string ? medsam_edge::kAllAxes : static_cast<int>(axis.number);
    if (json["streams"].kind == Json::Kind::integer) { options.streams = static_cast<int>(json["streams"].number); }
    options.stop_when_empty = json["stop_when_empty"].number == 1;
    options.follow = json["follow"].number == 1;
    options.keep_logits = json["keep_logits"].kind == Json::Kind::null || json["keep_logits"].number == 1;
    return options;
}

}  // namespace

std::string golden() {
    const char* folder = std::getenv("MEDSAM_EDGE_GOLDEN");  // NOLINT(concurrency-mt-unsafe): nothing sets it
    if (folder == nullptr) {
        throw std::runtime_error("MEDSAM_EDGE_GOLDEN: expected the folder of the golden vectors");
    }
    return folder;
}

std::vector<std::string> case_names() {
    const char* without = std::getenv("MEDSAM_EDGE_GOLDEN_WITHOUT");  // a bundle's name, as cases begin with it
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(golden() + "/cases")) {
        const std::string name = entry.path().filename().string();
        if (without == nullptr || name.rfind(without, 0) != 0) { names.push_back(name); }
    }
    std::sort(names.begin(), names.end());
    return names;
}

std::unique_ptr<Case> load_case(const std::string& name) {
    auto own = std::make_unique<Case>();
    own->name = name;
    own->folder = golden() + "/cases/" + name;
    own->json = medsam_edge::parse_json(read(own->folder + "/case.json"));
    own->pixels = own->array("image");
    own->prior_values = own->array("prior");
    const bool volume = own->json["volume"].number == 1;
    own->image = image_of(own->pixels, volume);
    own->options = options_of(own->json, own->image.type);
    if (own->json["boxes"].kind == Json::Kind::array) { own->prompts.boxes = boxes_of(own->json["boxes"], volume); }
    if (own->json["points"].kind == Json::Kind::array) {
        own->prompts.clicks = clicks_of(own->json["points"], own->json["point_labels"], volume);
    }
    if (!own->prior_values.empty()) {
        const std::size_t sides = volume ? 3 : 2;
        const bool labels = own->prior_values.shape.size() == sides;
        own->prompts.prior = {own->prior_values.bytes.data(), own->prior_values.type,
                              labels ? 0 : static_cast<std::size_t>(own->prior_values.shape[0]), labels};
    }
    own->further = clicks_of(own->json["refine_points"], own->json["refine_point_labels"], volume);
    return own;
}

const medsam_edge::Segmenter& segmenter_of(const std::string& bundle) {
    static std::map<std::string, std::unique_ptr<medsam_edge::Segmenter>> made;
    static std::mutex mutex;
    const std::scoped_lock lock(mutex);
    auto& own = made[bundle];
    if (!own) {
        medsam_edge::SegmenterSettings settings;
        settings.num_threads = 2;
        own = std::make_unique<medsam_edge::Segmenter>(bundle, settings);
    }
    return *own;
}

medsam_edge::Result result_of(const Case& own) {
    const medsam_edge::Segmenter& segmenter = segmenter_of(own.json["bundle"].string);
    medsam_edge::Result result = segmenter.segment(own.image, own.prompts, own.options);
    return own.further.empty() ? result : segmenter.refine(result, own.further);
}

}  // namespace support
