/* The C interface from C, by the shared library alone. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "medsam_edge/medsam_edge.h"

#define CHECK(condition)                                                                      \
    do {                                                                                      \
        if (!(condition)) {                                                                   \
            fprintf(stderr, "line %d: %s (%s)\n", __LINE__, #condition, medsam_last_error()); \
            exit(1);                                                                          \
        }                                                                                     \
    } while (0)

static int stop(int64_t done, int64_t total, void* user) {
    (void)total;
    *(int64_t*)user = done;
    return done < 3;
}

static void check_picture(const medsam_segmenter* segmenter) {
    uint8_t pixels[50 * 60];
    for (int i = 0; i < 50 * 60; ++i) pixels[i] = (uint8_t)(i * 7 % 251);
    const double boxes[] = {5, 6, 40, 30, -3, 0, 20, 20};
    medsam_image image = {sizeof image, pixels, MEDSAM_U8, 1, 0, 50, 60};
    medsam_prompts prompts;
    memset(&prompts, 0, sizeof prompts);
    prompts.size = sizeof prompts;
    prompts.count = 2;
    prompts.boxes = boxes;
    medsam_result* result = NULL;
    medsam_result* decoded = NULL;
    medsam_embedding* embedding = NULL;
    CHECK(medsam_segment(segmenter, &image, &prompts, NULL, &result) == MEDSAM_OK);
    CHECK(medsam_embed(segmenter, &image, NULL, &embedding) == MEDSAM_OK);
    CHECK(medsam_decode(segmenter, embedding, &prompts, &decoded) == MEDSAM_OK);
    CHECK(medsam_result_count(result) == 2 && medsam_result_size(result) == 50 * 60);
    uint8_t full[50 * 60];
    uint8_t other[50 * 60];
    for (size_t index = 0; index < 2; ++index) {
        size_t slices = 0, area = 0;
        medsam_mask mask;
        CHECK(medsam_result_full_mask(result, index, full, sizeof full) == MEDSAM_OK);
        CHECK(medsam_result_full_mask(decoded, index, other, sizeof other) == MEDSAM_OK);
        CHECK(memcmp(full, other, sizeof full) == 0);
        CHECK(medsam_result_slices(result, index, &slices) == MEDSAM_OK && slices == 1);
        CHECK(medsam_result_mask(result, index, 0, &mask) == MEDSAM_OK);
        for (int64_t y = 0; y < mask.height; ++y)
            for (int64_t x = 0; x < mask.width; ++x)
                area += mask.pixels[y * mask.width + x] && full[(mask.top + y) * 60 + mask.left + x];
        size_t expected = 0;
        for (size_t i = 0; i < sizeof full; ++i) expected += full[i];
        CHECK(area == expected);
    }
    uint16_t labels[50 * 60];
    float box[6], score = -1, confidence = 0;
    CHECK(medsam_result_label_map(result, MEDSAM_LATER, labels, 50 * 60) == MEDSAM_OK);
    CHECK(medsam_result_object(result, 1, box, &score) == MEDSAM_OK && box[0] == 0 && box[3] == 20 && score >= 0);
    CHECK(medsam_result_warnings(result) == 1 && strstr(medsam_result_warning(result, 0), "boxes [1] reach outside"));
    CHECK(medsam_result_modality(result, &confidence) == NULL && isnan(confidence));
    CHECK(medsam_result_label_map(result, 9, labels, 50 * 60) == MEDSAM_INPUT_ERROR);
    CHECK(medsam_result_label_map(result, MEDSAM_LATER, labels, 7) == MEDSAM_INPUT_ERROR);
    CHECK(medsam_result_object(result, 2, box, &score) == MEDSAM_INPUT_ERROR);
    CHECK(strcmp(medsam_last_error(), "index: expected a number below 2, got 2") == 0);
    medsam_result_destroy(decoded);
    prompts.points = boxes;
    CHECK(medsam_segment(segmenter, &image, &prompts, NULL, &decoded) == MEDSAM_INPUT_ERROR && decoded == NULL);
    image.size = 1000;
    CHECK(medsam_segment(segmenter, &image, &prompts, NULL, &decoded) == MEDSAM_INPUT_ERROR);
    CHECK(medsam_segment(segmenter, NULL, &prompts, NULL, &decoded) == MEDSAM_INPUT_ERROR);
    CHECK(medsam_segment(segmenter, &image, &prompts, NULL, NULL) == MEDSAM_INPUT_ERROR);
    medsam_result_destroy(result);
    medsam_embedding_destroy(embedding);
}

static void check_volume(const medsam_segmenter* segmenter) {
    uint8_t voxels[8 * 20 * 30];
    for (int i = 0; i < 8 * 20 * 30; ++i) voxels[i] = (uint8_t)(i * 11 % 253);
    const double box[] = {3, 3, 0, 20, 15, 8};
    int64_t reached = 0;
    medsam_image image = {sizeof image, voxels, MEDSAM_U8, 1, 8, 20, 30};
    medsam_prompts prompts;
    memset(&prompts, 0, sizeof prompts);
    prompts.size = sizeof prompts;
    prompts.count = 1;
    prompts.boxes = box;
    medsam_options options;
    memset(&options, 0, sizeof options);
    options.size = sizeof options;
    medsam_result* result = NULL;
    CHECK(medsam_segment(segmenter, &image, &prompts, &options, &result) == MEDSAM_OK);
    size_t slices = 0;
    CHECK(medsam_result_slices(result, 0, &slices) == MEDSAM_OK && slices == 8);
    medsam_timings timings;
    CHECK(medsam_result_timings(result, &timings) == MEDSAM_OK && timings.decode_ms > 0);
    medsam_result_destroy(result);
    options.progress = stop;
    options.user = &reached;
    CHECK(medsam_segment(segmenter, &image, &prompts, &options, &result) == MEDSAM_CANCELLED && reached == 3);
    options.progress = NULL;
    options.modality = "sonar";
    CHECK(medsam_segment(segmenter, &image, &prompts, &options, &result) == MEDSAM_MODALITY_ERROR);
}

int main(int count, char** arguments) {
    CHECK(count == 2);
    medsam_segmenter* segmenter = NULL;
    medsam_settings settings;
    memset(&settings, 0, sizeof settings);
    settings.size = sizeof settings;
    settings.num_threads = 2;
    CHECK(medsam_segmenter_create("no such folder", NULL, &segmenter) == MEDSAM_BUNDLE_ERROR && segmenter == NULL);
    CHECK(medsam_segmenter_create(arguments[1], &settings, &segmenter) == MEDSAM_OK);
    check_picture(segmenter);
    check_volume(segmenter);
    medsam_segmenter_destroy(segmenter);
    medsam_segmenter_destroy(NULL);
    puts(medsam_version());
    return 0;
}
