// The C interface over the C++ one: pointers are checked, exceptions become codes.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <exception>
#include <limits>
#include <memory>
#include <new>
#include <string>
#include <utility>

#include "errors.hpp"
#include "medsam_edge/medsam_edge.h"
#include "version.hpp"

struct medsam_segmenter {
    medsam_edge::Segmenter own;
};
struct medsam_embedding {
    std::shared_ptr<const medsam_edge::Embedding> own;
};
struct medsam_result {
    medsam_edge::Result own;
};

namespace {

using namespace medsam_edge;

std::string& last_error() {
    thread_local std::string message;
    return message;
}

medsam_status failed(medsam_status status, const char* message) noexcept {
    try {
        last_error() = message;
    } catch (...) {  // NOLINT(bugprone-empty-catch): no memory for the message, the status must do
    }
    return status;
}

/// Run what may throw.
template <typename Work>
medsam_status guarded(Work work) noexcept {
    try {
        work();
        return MEDSAM_OK;
    } catch (const Error& error) {
        return failed(static_cast<medsam_status>(error.code()), error.what());
    } catch (const std::bad_alloc&) {
        return failed(MEDSAM_MEMORY_ERROR, "not enough memory");
    } catch (const std::length_error&) {
        return failed(MEDSAM_MEMORY_ERROR, "not enough memory");
    } catch (const std::exception& error) { return failed(MEDSAM_INTERNAL_ERROR, error.what()); } catch (...) {
        return failed(MEDSAM_INTERNAL_ERROR, "unknown exception");
    }
}

template <typename Pointer>
void expect(Pointer pointer, const char* name) {
    if (pointer == nullptr) { fail(Code::input, "%s: expected a pointer, got NULL", name); }
}

/// A structure of the caller's, which may be an older, shorter one; fields that it lacks are 0.
template <typename Structure>
Structure whole(const Structure* given, const char* name) {
    Structure result{};
    if (given == nullptr) { return result; }
    if (given->size < sizeof(std::size_t) || given->size > sizeof(Structure)) {
        fail(Code::input, "%s: expected size %zu or less, set to sizeof, got %zu", name, sizeof(Structure),
             given->size);
    }
    std::memcpy(&result, given, given->size);
    return result;
}

Image image_of(const medsam_image* given) {
    expect(given, "image");
    const medsam_image image = whole(given, "image");
    return {image.data,  static_cast<Type>(image.type),           image.depth, image.height,
            image.width, image.channels == 0 ? 1 : image.channels};
}

std::vector<std::vector<Click>> clicks_of(const medsam_prompts& given, bool volume) {
    expect(given.point_labels, "point_labels");
    expect(given.point_counts, "point_counts");
    std::vector<std::vector<Click>> clicks(given.count);
    const double* point = given.points;
    const std::int32_t* label = given.point_labels;
    for (std::size_t index = 0; index < given.count; ++index) {
        for (std::size_t i = 0; i < given.point_counts[index]; ++i, point += volume ? 3 : 2, ++label) {
            clicks[index].push_back({point[0], point[1], *label, volume ? point[2] : 0});
        }
    }
    return clicks;
}

Prompts prompts_of(const medsam_prompts* pointer, bool volume) {
    expect(pointer, "prompts");
    const medsam_prompts given = whole(pointer, "prompts");
    Prompts prompts;
    if (given.boxes != nullptr) {
        std::vector<Box>& boxes = prompts.boxes.emplace();
        for (std::size_t index = 0; index < given.count; ++index) {
            const double* box = given.boxes + index * (volume ? 6 : 4);
            boxes.push_back(volume ? Box{box[0], box[1], box[3], box[4], box[2], box[5]}
                                   : Box{box[0], box[1], box[2], box[3]});
        }
    }
    if (given.points != nullptr) { prompts.clicks = clicks_of(given, volume); }
    if (given.boxes == nullptr && given.points == nullptr && given.count == 0) { prompts.boxes.emplace(); }
    if (given.prior != nullptr) {
        prompts.prior =
            Prior{given.prior, static_cast<Type>(given.prior_type), given.count, given.prior_is_label_map != 0};
    }
    return prompts;
}

Options options_of(const medsam_options* pointer, Type type) {
    const medsam_options given = whole(pointer, "options");
    Options options;
    if (given.modality != nullptr) { options.modality = parse_modality(given.modality); }
    if (given.window != nullptr) {
        options.window = ct_window(given.window, options.modality, type);
    } else if (given.window_width != 0) {
        options.window = IntensityWindow{given.window_level, given.window_width};
    }
    if (given.detail < MEDSAM_DETAIL_AUTO || given.detail > MEDSAM_DETAIL_CROP) {
        fail(Code::input, "detail: expected one of medsam_detail, got %d", static_cast<int>(given.detail));
    }
    options.detail = static_cast<Detail>(given.detail);
    options.axis = given.axis;
    options.streams = given.streams;
    options.stop_when_empty = given.stop_when_empty != 0;
    options.follow = given.follow != 0;
    options.keep_logits = given.drop_logits == 0;
    if (given.progress != nullptr) {
        options.progress = [call = given.progress, user = given.user](std::int64_t done, std::int64_t total) {
            return call(done, total, user) != 0;
        };
    }
    return options;
}

const Object& object_of(const medsam_result* result, std::size_t index) {
    expect(result, "result");
    if (index >= result->own.objects.size()) {
        fail(Code::input, "index: expected a number below %zu, got %zu", result->own.objects.size(), index);
    }
    return result->own.objects[index];
}

void check_length(const medsam_result* result, const void* target, std::size_t length) {
    expect(result, "result");
    expect(target, "target");
    if (length != result->own.size()) {
        fail(Code::input, "length: expected %zu, got %zu", result->own.size(), length);
    }
}

}  // namespace

const char* medsam_last_error(void) { return last_error().c_str(); }

const char* medsam_version(void) { return version(); }

medsam_status medsam_segmenter_create(const char* bundle, const medsam_settings* settings, medsam_segmenter** out) {
    return guarded([&] {
        expect(out, "out");
        *out = nullptr;
        expect(bundle, "bundle");
        const medsam_settings given = whole(settings, "settings");
        SegmenterSettings own;
        if (given.device != nullptr) { own.device = given.device; }
        own.num_threads = given.num_threads;
        if (given.cache_bytes > 0) { own.cache_bytes = static_cast<std::size_t>(given.cache_bytes); }
        if (given.no_cache != 0) { own.cache_bytes = 0; }
        if (given.cache_dir != nullptr) { own.cache_dir = given.cache_dir; }
        *out = new medsam_segmenter{Segmenter(bundle, own)};
    });
}

void medsam_segmenter_destroy(medsam_segmenter* segmenter) { delete segmenter; }

medsam_status medsam_embed(const medsam_segmenter* segmenter, const medsam_image* image, const medsam_options* options,
                           medsam_embedding** out) {
    return guarded([&] {
        expect(out, "out");
        *out = nullptr;
        expect(segmenter, "segmenter");
        const Image own = image_of(image);
        *out = new medsam_embedding{segmenter->own.embed(own, options_of(options, own.type))};
    });
}

medsam_status medsam_decode(const medsam_segmenter* segmenter, const medsam_embedding* embedding,
                            const medsam_prompts* prompts, medsam_result** out) {
    return guarded([&] {
        expect(out, "out");
        *out = nullptr;
        expect(segmenter, "segmenter");
        expect(embedding, "embedding");
        *out = new medsam_result{segmenter->own.decode(*embedding->own, prompts_of(prompts, false))};
    });
}

void medsam_embedding_destroy(medsam_embedding* embedding) { delete embedding; }

medsam_status medsam_segment(const medsam_segmenter* segmenter, const medsam_image* image,
                             const medsam_prompts* prompts, const medsam_options* options, medsam_result** out) {
    return guarded([&] {
        expect(out, "out");
        *out = nullptr;
        expect(segmenter, "segmenter");
        const Image own = image_of(image);
        *out = new medsam_result{
            segmenter->own.segment(own, prompts_of(prompts, own.depth > 0), options_of(options, own.type))};
    });
}

medsam_status medsam_refine(const medsam_segmenter* segmenter, const medsam_result* result,
                            const medsam_prompts* prompts, medsam_result** out) {
    return guarded([&] {
        expect(out, "out");
        *out = nullptr;
        expect(segmenter, "segmenter");
        expect(result, "result");
        expect(prompts, "prompts");
        const medsam_prompts given = whole(prompts, "prompts");
        expect(given.points, "points");
        *out = new medsam_result{segmenter->own.refine(result->own, clicks_of(given, result->own.depth > 0))};
    });
}

void medsam_result_destroy(medsam_result* result) { delete result; }

size_t medsam_result_count(const medsam_result* result) { return result == nullptr ? 0 : result->own.objects.size(); }

size_t medsam_result_size(const medsam_result* result) { return result == nullptr ? 0 : result->own.size(); }

medsam_status medsam_result_object(const medsam_result* result, size_t index, float box[6], float* score) {
    return guarded([&] {
        const Object& object = object_of(result, index);
        if (box != nullptr) { std::copy(object.box.begin(), object.box.end(), box); }
        if (score != nullptr) { *score = object.score; }
    });
}

medsam_status medsam_result_slices(const medsam_result* result, size_t index, size_t* count) {
    return guarded([&] {
        expect(count, "count");
        *count = object_of(result, index).slices.size();
    });
}

medsam_status medsam_result_mask(const medsam_result* result, size_t index, size_t number, medsam_mask* mask) {
    return guarded([&] {
        expect(mask, "mask");
        const Object& object = object_of(result, index);
        if (number >= object.slices.size()) {
            fail(Code::input, "number: expected a slice below %zu, got %zu", object.slices.size(), number);
        }
        const auto& [slice, found] = *std::next(object.slices.begin(), static_cast<std::ptrdiff_t>(number));
        const CroppedMask& own = found.mask;
        *mask = {slice, own.top, own.left, own.height, own.width, own.pixels.data(), found.score};
    });
}

medsam_status medsam_result_full_mask(const medsam_result* result, size_t index, uint8_t* target, size_t length) {
    return guarded([&] {
        check_length(result, target, length);
        result->own.mask(index, target);
    });
}

medsam_status medsam_result_label_map(const medsam_result* result, int32_t overlap, uint16_t* target, size_t length) {
    return guarded([&] {
        check_length(result, target, length);
        if (overlap != MEDSAM_LATER && overlap != MEDSAM_SCORE) {
            fail(Code::input, "overlap: expected one of medsam_overlap, got %d", static_cast<int>(overlap));
        }
        result->own.label_map(target, static_cast<Overlap>(overlap));
    });
}

const char* medsam_result_modality(const medsam_result* result, float* confidence) {
    const bool known = result != nullptr && result->own.modality.has_value();
    if (confidence != nullptr) {
        *confidence = known ? result->own.modality_confidence.value_or(std::nanf("")) : std::nanf("");
    }
    return known ? name_of(*result->own.modality) : nullptr;
}

medsam_status medsam_result_timings(const medsam_result* result, medsam_timings* timings) {
    return guarded([&] {
        expect(result, "result");
        expect(timings, "timings");
        const Timings& own = result->own.timings;
        *timings = {own.prepare_ms, own.encode_ms, own.decode_ms, own.restore_ms};
    });
}

size_t medsam_result_warnings(const medsam_result* result) {
    return result == nullptr ? 0 : result->own.warnings.size();
}

const char* medsam_result_warning(const medsam_result* result, size_t number) {
    return number < medsam_result_warnings(result) ? result->own.warnings[number].c_str() : nullptr;
}
