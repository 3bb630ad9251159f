// An image and boxes → a label map.
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <stdexcept>
#include <string>
#include <vector>

#include "images.hpp"

namespace {

constexpr const char* kUsage =
    "segment BUNDLE IMAGE -o LABELS --box X0,Y0,X1,Y1 [--box …]\n"
    "  IMAGE   PNM (P5, P6) or NIfTI-1 (.nii); a volume takes --box X0,Y0,Z0,X1,Y1,Z1, far edges exclusive\n"
    "  LABELS  PGM, or NIfTI-1 for a volume: 0 background, 1 the first box\n"
    "  --modality NAME  --window NAME  --threads N  --follow  --no-tiles\n";

struct Arguments {
    std::vector<std::string> files;
    std::string output;
    std::vector<std::vector<double>> boxes;
    std::string window;
    medsam_edge::Options options;
    medsam_edge::SegmenterSettings settings;
};

std::vector<double> numbers(const std::string& text) {
    std::vector<double> result;
    const char* at = text.c_str();
    for (char* end = nullptr; *at != '\0'; at = *end == ',' ? end + 1 : end) {
        result.push_back(std::strtod(at, &end));
        if (end == at || (*end != ',' && *end != '\0')) {
            throw std::invalid_argument("--box: expected numbers, got " + text);
        }
    }
    return result;
}

Arguments parse(int count, char** values) {
    Arguments arguments;
    for (int i = 1; i < count; ++i) {
        const std::string name = values[i];
        const auto value = [&] {
            if (i + 1 >= count) { throw std::invalid_argument(name + ": expected a value"); }
            return std::string(values[++i]);
        };
        if (name == "-o") {
            arguments.output = value();
        } else if (name == "--box") {
            arguments.boxes.push_back(numbers(value()));
        } else if (name == "--modality") {
            arguments.options.modality = medsam_edge::parse_modality(value());
        } else if (name == "--window") {
            arguments.window = value();
        } else if (name == "--threads") {
            arguments.settings.num_threads = std::stoi(value());
        } else if (name == "--follow") {
            arguments.options.follow = true;
        } else if (name == "--no-tiles") {
            arguments.options.detail = medsam_edge::Detail::image;
        } else if (name[0] == '-') {
            throw std::invalid_argument("unknown option " + name);
        } else {
            arguments.files.push_back(name);
        }
    }
    if (arguments.files.size() != 2 || arguments.output.empty()) {
        throw std::invalid_argument("expected a bundle, an image and -o");
    }
    return arguments;
}

std::vector<medsam_edge::Box> boxes_of(const Arguments& arguments, bool volume) {
    std::vector<medsam_edge::Box> boxes;
    for (const std::vector<double>& own : arguments.boxes) {
        if (own.size() != (volume ? 6 : 4)) {
            throw std::invalid_argument(volume ? "--box: a volume takes six numbers"
                                               : "--box: a picture takes four numbers");
        }
        boxes.push_back(volume ? medsam_edge::Box{own[0], own[1], own[3], own[4], own[2], own[5]}
                               : medsam_edge::Box{own[0], own[1], own[2], own[3]});
    }
    return boxes;
}

void run(Arguments& arguments) {
    const examples::File file = examples::parse_image(examples::read_file(arguments.files[1]));
    if (!arguments.window.empty()) {
        arguments.options.window =
            medsam_edge::ct_window(arguments.window, arguments.options.modality, file.image.type);
    }
    const medsam_edge::Segmenter segmenter(arguments.files[0], arguments.settings);
    medsam_edge::Prompts prompts;
    prompts.boxes = boxes_of(arguments, file.image.depth > 0);
    const medsam_edge::Result result = segmenter.segment(file.image, prompts, arguments.options);
    for (const std::string& warning : result.warnings) { std::fprintf(stderr, "warning: %s\n", warning.c_str()); }
    std::vector<std::uint16_t> labels(result.size());
    result.label_map(labels.data());
    examples::write_labels(arguments.output, file, labels);
    for (const medsam_edge::Object& object : result.objects) {
        std::printf("%.3f\n", static_cast<double>(object.score));
    }
}

}  // namespace

int main(int count, char** values) {
    Arguments arguments;
    try {
        arguments = parse(count, values);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "%s\n%s", error.what(), kUsage);
        return 2;
    }
    try {
        run(arguments);
        return 0;
    } catch (const std::exception& error) {
        std::fprintf(stderr, "%s\n", error.what());
        return 1;
    }
}
