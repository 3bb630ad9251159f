/* Segment medical images on a CPU from boxes, clicks and masks: the C interface, for other languages to bind.
 *
 * - Every function returns a status; `medsam_last_error` says more. No exception leaves the library.
 * - Handles are opaque. What `*_create`, `medsam_embed`, `medsam_decode`, `medsam_segment` and `medsam_refine` give
 * belongs to the caller, who destroys it once; destroying NULL does nothing. Embeddings and results outlive their
 * segmenter.
 * - Every pointer that is passed in belongs to the caller and is read during the call only. Pointers that a handle
 * gives belong to the handle and live as long as it does. Buffers that are filled belong to the caller.
 * - A segmenter, an embedding and a result may be used by many threads at once.
 * - Structures begin with `size`: set it to sizeof of the structure, the rest to 0, then what you need. Later versions
 *   append fields. Arrays are contiguous, in C order.
 * - Pixel (row i, column j) covers [j, j + 1) x [i, i + 1); far edges of boxes are exclusive. */
#ifndef MEDSAM_EDGE_H
#define MEDSAM_EDGE_H

#include <stddef.h>
#include <stdint.h>

#ifdef _WIN32
#define MEDSAM_API __declspec(dllexport)
#else
#define MEDSAM_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

typedef enum {
    MEDSAM_OK = 0,
    MEDSAM_INPUT_ERROR = 1,    /* an argument */
    MEDSAM_BOX_ERROR = 2,      /* a box prompt */
    MEDSAM_MODALITY_ERROR = 3, /* none of the eleven, or none of the model's classes */
    MEDSAM_IMAGE_ERROR = 4,    /* an image's shape, type, size or values */
    MEDSAM_BUNDLE_ERROR = 5,   /* a bundle is missing, incomplete, tampered with or too new, or its networks fail */
    MEDSAM_CANCELLED = 6,      /* the progress callback asked to stop */
    MEDSAM_MEMORY_ERROR = 7,   /* not enough memory */
    MEDSAM_INTERNAL_ERROR = 8  /* a fault of this library */
} medsam_status;

typedef enum {
    MEDSAM_BOOL = 0, /* one byte, 0 false */
    MEDSAM_U8,       /* display-ready; other types go through the modality's intensity rule */
    MEDSAM_I8,
    MEDSAM_U16,
    MEDSAM_I16,
    MEDSAM_U32,
    MEDSAM_I32,
    MEDSAM_U64,
    MEDSAM_I64,
    MEDSAM_F16,
    MEDSAM_F32,
    MEDSAM_F64
} medsam_type;

typedef enum { MEDSAM_DETAIL_AUTO = 0, MEDSAM_DETAIL_IMAGE = 1, MEDSAM_DETAIL_CROP = 2 } medsam_detail;
typedef enum { MEDSAM_LATER = 0, MEDSAM_SCORE = 1 } medsam_overlap;

typedef struct medsam_segmenter medsam_segmenter;
typedef struct medsam_embedding medsam_embedding;
typedef struct medsam_result medsam_result;

typedef struct {
    size_t size;
    const char* device;    /* OpenVINO's name; NULL for CPU */
    int32_t num_threads;   /* of one inference; 0 for OpenVINO's choice */
    int32_t no_cache;      /* 1: keep no embeddings */
    uint64_t cache_bytes;  /* budget for embeddings kept by content; 0 for 1 GiB */
    const char* cache_dir; /* for compiled models; its content is trusted; NULL for none */
} medsam_settings;

typedef struct {
    size_t size;
    const void* data;
    int32_t type;     /* of medsam_type */
    int32_t channels; /* 1 grey, 3 RGB side by side; 0 counts as 1 */
    int64_t depth;    /* slices of a volume (D, H, W); 0 for a picture (H, W) or (H, W, 3) */
    int64_t height;
    int64_t width;
} medsam_image;

typedef struct {
    size_t size;
    size_t count;                /* of objects */
    const double* boxes;         /* count x 4: x0, y0, x1, y1; of a volume count x 6: x0, y0, z0, x1, y1, z1; or NULL */
    const double* points;        /* all clicks one after the other: x, y; of a volume x, y, z; or NULL */
    const int32_t* point_labels; /* of each click: 1 on the object, 0 on the background, -1 padding */
    const size_t* point_counts;  /* count: clicks of each object; with points only */
    const void* prior;           /* masks to start from: count x the image's shape, or one label map; or NULL */
    int32_t prior_type;          /* of medsam_type: whole numbers and booleans are masks, floats probabilities */
    int32_t prior_is_label_map;  /* 1: one array of whole numbers, value i is object i, from 1 */
} medsam_prompts;

typedef struct {
    size_t size;
    const char*
        modality; /* CT, MR, PET, US, XRay, Dermoscopy, Endoscopy, Fundus, Microscopy, OCT, Mammography; or NULL */
    const char* window;  /* of CT: soft-tissue, lung, brain, bone, liver; or NULL */
    double window_level; /* with window_width > 0: an intensity window in the image's own units */
    double window_width;
    int32_t detail;  /* of medsam_detail */
    int32_t axis;    /* of a volume: 0 axial, 1 coronal, 2 sagittal, 3 all: what two of three masks agree on */
    int32_t streams; /* threads that encode slices ahead */
    int32_t stop_when_empty;
    int32_t follow;      /* boxes lie on one slice of their objects */
    int32_t drop_logits; /* 1: keep none, which saves memory; corrections then go on from masks */
    int (*progress)(int64_t done, int64_t total,
                    void* user); /* after each slice, in the caller's thread; 0 cancels; or NULL */
    void* user;
} medsam_options;

/* The mask of one object on one slice: rows top .. top + height, columns left .. left + width; 0 x 0 where empty. */
typedef struct {
    int64_t slice, top, left, height, width;
    const uint8_t* pixels; /* height x width, 0 or 1; belongs to the result */
    float score;           /* the network's own estimate of the mask's IoU */
} medsam_mask;

typedef struct {
    double prepare_ms, encode_ms, decode_ms, restore_ms;
} medsam_timings;

/* What went wrong in this thread's last call that failed; belongs to the library, until the thread's next failure. */
MEDSAM_API const char* medsam_last_error(void);
/* The library's version, and OpenVINO's. */
MEDSAM_API const char* medsam_version(void);

/* Load and verify a bundle: a folder. `settings` may be NULL. */
MEDSAM_API medsam_status medsam_segmenter_create(const char* bundle, const medsam_settings* settings,
                                                 medsam_segmenter** out);
MEDSAM_API void medsam_segmenter_destroy(medsam_segmenter* segmenter);

/* Encode a picture (slow, once), then decode it as often as prompts change (fast). `options` may be NULL. */
MEDSAM_API medsam_status medsam_embed(const medsam_segmenter* segmenter, const medsam_image* image,
                                      const medsam_options* options, medsam_embedding** out);
MEDSAM_API medsam_status medsam_decode(const medsam_segmenter* segmenter, const medsam_embedding* embedding,
                                       const medsam_prompts* prompts, medsam_result** out);
MEDSAM_API void medsam_embedding_destroy(medsam_embedding* embedding);

/* Both for a picture, small objects in tiles; of a volume every slice that a box reaches. `options` may be NULL. */
MEDSAM_API medsam_status medsam_segment(const medsam_segmenter* segmenter, const medsam_image* image,
                                        const medsam_prompts* prompts, const medsam_options* options,
                                        medsam_result** out);
/* Correct a result by the clicks of `prompts`, one row for each of its objects; the rest of `prompts` is not looked at.
 */
MEDSAM_API medsam_status medsam_refine(const medsam_segmenter* segmenter, const medsam_result* result,
                                       const medsam_prompts* prompts, medsam_result** out);
MEDSAM_API void medsam_result_destroy(medsam_result* result);

MEDSAM_API size_t medsam_result_count(const medsam_result* result);
/* Values of a mask or label map of the whole image: H*W, or D*H*W. */
MEDSAM_API size_t medsam_result_size(const medsam_result* result);
/* Its box as used, x0, y0, z0, x1, y1, z1 (NaN where there was none), and its score. */
MEDSAM_API medsam_status medsam_result_object(const medsam_result* result, size_t index, float box[6], float* score);
/* Slices on which an object was looked for: 1 for a picture. */
MEDSAM_API medsam_status medsam_result_slices(const medsam_result* result, size_t index, size_t* count);
/* The object on the `number`th of them. */
MEDSAM_API medsam_status medsam_result_mask(const medsam_result* result, size_t index, size_t number,
                                            medsam_mask* mask);
/* Fill `length` bytes, as many as medsam_result_size: 1 on the object, 0 elsewhere. */
MEDSAM_API medsam_status medsam_result_full_mask(const medsam_result* result, size_t index, uint8_t* target,
                                                 size_t length);
/* Fill `length` values, as many as medsam_result_size: 0 background, 1 the first object. `overlap` is of
 * medsam_overlap: who owns a pixel of several masks, the later object or the one of the higher score. */
MEDSAM_API medsam_status medsam_result_label_map(const medsam_result* result, int32_t overlap, uint16_t* target,
                                                 size_t length);
/* The modality as told or recognised, NULL where unknown; its probability where it was recognised, else NaN. */
MEDSAM_API const char* medsam_result_modality(const medsam_result* result, float* confidence);
MEDSAM_API medsam_status medsam_result_timings(const medsam_result* result, medsam_timings* timings);
MEDSAM_API size_t medsam_result_warnings(const medsam_result* result);
/* NULL where there is no such warning. */
MEDSAM_API const char* medsam_result_warning(const medsam_result* result, size_t number);

#ifdef __cplusplus
}
#endif

#endif
