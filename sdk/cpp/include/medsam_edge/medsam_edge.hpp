// Segment medical images on a CPU from boxes, clicks and masks: the C++ interface. `medsam_edge.h` is the C one.
//
// An image is encoded once (slow) and decoded as often as prompts change (fast); `segment` does both, for pictures and
// for volumes slice by slice. Masks are those of the Python sdk on the same machine.
//
// Coordinates: pixel (row i, column j) covers [j, j + 1) × [i, i + 1); the far edges of boxes are exclusive.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace medsam_edge {

/// What went wrong; the numbers are those of `medsam_status` in medsam_edge.h.
enum class Code {
    input = 1,      ///< an argument
    box = 2,        ///< a box prompt
    modality = 3,   ///< none of the eleven, or none of the model's classes
    image = 4,      ///< an image's shape, type, size or values
    bundle = 5,     ///< a bundle is missing, incomplete, tampered with or too new, or its networks fail
    cancelled = 6,  ///< the progress callback asked to stop
    memory = 7,     ///< not enough memory
    internal = 8,   ///< a fault of this library
};

/// The only exception that this library throws. The message names the argument, what was expected and what came.
class Error : public std::runtime_error {
public:
    Error(Code code, const std::string& message) : std::runtime_error(message), code_(code) {}
    [[nodiscard]] Code code() const { return code_; }

private:
    Code code_;
};

enum class Modality { ct, mr, pet, us, xray, dermoscopy, endoscopy, fundus, microscopy, oct, mammography };

/// The name of a modality, as bundles and the Python sdk write it.
const char* name_of(Modality modality);

/// The modality of a name or alias; only letters and digits count, in any case. Error(modality) for another one.
Modality parse_modality(std::string_view name);

enum class Type { boolean, u8, i8, u16, i16, u32, i32, u64, i64, f16, f32, f64 };

/// Pixels that the caller owns, contiguous, row by row. They are read during the call only.
struct Image {
    const void* data = nullptr;
    Type type = Type::u8;    ///< u8 is display-ready; other types go through the modality's intensity rule
    std::int64_t depth = 0;  ///< slices of a volume; 0 for a picture
    std::int64_t height = 0;
    std::int64_t width = 0;
    std::int64_t channels = 1;  ///< 1 grey, or 3 RGB, side by side; volumes are grey
};

/// (level, width) in the image's own units, HU for CT.
struct IntensityWindow {
    double level;
    double width;
};

/// A CT window by name: soft-tissue, lung, brain, bone or liver. Error(input) for another name, for a modality that is
/// neither CT nor unknown, and for 8-bit images, which are not in HU.
IntensityWindow ct_window(std::string_view name, std::optional<Modality> modality, Type type);

struct Box {
    double x0, y0, x1, y1;
    double z0 = 0, z1 = 1;  ///< of a volume; not looked at in pictures
};

/// A pixel or voxel that was clicked: label 1 on the object, 0 on the background; -1 is padding and dropped.
struct Click {
    double x, y;
    int label = 1;
    double z = 0;
};

/// Masks to start from, each of the image's shape. Whole numbers and booleans are masks, floats probabilities in 0..1.
struct Prior {
    const void* data = nullptr;
    Type type = Type::boolean;
    std::size_t count = 0;   ///< of masks, one for each object; not looked at for a label map
    bool label_map = false;  ///< one array for all objects, whole numbers: value i is object i, from 1
};

struct Prompts {
    std::optional<std::vector<Box>> boxes;  ///< none where there are clicks alone
    std::optional<std::vector<std::vector<Click>>>
        clicks;  ///< for each object; rows may be empty where there are boxes
    std::optional<Prior> prior;
};

enum class Overlap { later, score };
enum class Detail { automatic, image, crop };

/// For `Options::axis`: along each of the three; a voxel is an object's if two of three masks have it. Where the
/// network takes mask prompts, this mask prompts each slice along each axis once more, and the three vote again.
constexpr int kAllAxes = 3;

/// As the keywords of the Python sdk's `segment`, of the same names.
struct Options {
    std::optional<Modality> modality;  ///< chooses the intensity rule and the class prompt
    std::optional<IntensityWindow> window;
    Detail detail = Detail::automatic;
    int axis = 0;     ///< of a volume, along which slices are taken: 0 axial, 1 coronal, 2 sagittal; or `kAllAxes`
    int streams = 1;  ///< threads that encode slices ahead
    bool stop_when_empty = false;
    bool follow = false;  ///< boxes lie on one slice of their objects
    bool keep_logits = true;
    std::function<bool(std::int64_t done, std::int64_t total)> progress;  ///< false cancels
};

/// A mask's rows top .. top + height and columns left .. left + width, one byte a pixel, 0 or 1; 0 × 0 where empty.
struct CroppedMask {
    std::int64_t top = 0, left = 0, height = 0, width = 0;
    std::vector<std::uint8_t> pixels;
    [[nodiscard]] bool empty() const { return height == 0; }
};

/// What the decoder gave, in half precision, for a window of the network's square that shows a part of the image.
struct Logits {
    std::int64_t top = 0, left = 0, height = 0, width = 0;
    std::vector<std::uint16_t> halves;
    std::array<std::int64_t, 4> view{};  ///< top, left, bottom, right in the image
};

/// One object on one slice.
struct Found {
    CroppedMask mask;
    Logits logits;
    float score = 0;  ///< the network's own estimate of the mask's IoU
};

struct Object {
    std::array<float, 6> box{};  ///< x0, y0, z0, x1, y1, z1 as used, clipped; NaN where there was none
    float score = 0;             ///< of a volume, the mean over its slices
    std::vector<Click> clicks;
    std::map<std::int64_t, Found> slices;  ///< by position along the axis; a picture has slice 0 only
};

struct Timings {
    double prepare_ms = 0, encode_ms = 0, decode_ms = 0, restore_ms = 0;
};

struct Display;  ///< the 8-bit image, as a result and an embedding keep it

/// The objects in the order of their prompts.
struct Result {
    std::int64_t depth = 0, height = 0, width = 0;  ///< depth 0 for a picture
    int axis = 0;
    bool follow = false;
    std::vector<Object> objects;
    std::optional<Modality> modality;          ///< as told, or as recognised by a network with class prompts
    std::optional<float> modality_confidence;  ///< where it was recognised
    Timings timings;
    std::vector<std::string> warnings;
    std::shared_ptr<const Display> display;

    /// Pixels of a label map: H·W, or D·H·W.
    [[nodiscard]] std::size_t size() const;
    /// Write the mask of an object, one byte a pixel, over `size()` bytes. Error(input) where there is no such object.
    void mask(std::size_t index, std::uint8_t* target) const;
    /// Write 0 background, 1..N the objects, over `size()` values. Error(input) for more than 65535 objects.
    void label_map(std::uint16_t* target, Overlap overlap = Overlap::later) const;
    /// The 8-bit image as it was shown, H·W·channels or D·H·W bytes.
    [[nodiscard]] const std::vector<std::uint8_t>& shown() const;
};

/// An encoded picture: immutable, safe to share between threads. See `Segmenter::embed`.
class Embedding;

struct SegmenterSettings {
    std::string device = "CPU";
    int num_threads = 0;                                 ///< of one inference; 0 for OpenVINO's choice
    std::size_t cache_bytes = std::size_t{1024} << 20U;  ///< budget for embeddings kept by content; 0 keeps none
    std::string cache_dir;                               ///< for compiled models; trusted; empty for none
};

/// A model ready to segment. Make one and share it: every method may be called from many threads at once.
class Segmenter {
public:
    /// Load and verify a bundle. Error(bundle) where it is missing, damaged, tampered with or cannot be compiled.
    explicit Segmenter(const std::string& bundle, const SegmenterSettings& settings = {});
    ~Segmenter();
    Segmenter(const Segmenter&) = delete;
    Segmenter& operator=(const Segmenter&) = delete;

    /// Encode a picture, or find the embedding of the same pixels in the cache.
    [[nodiscard]] std::shared_ptr<const Embedding> embed(const Image& image, const Options& options = {}) const;
    /// Segment what prompts hold, in the whole picture. Error(input) for an embedding of another model.
    [[nodiscard]] Result decode(const Embedding& embedding, const Prompts& prompts) const;
    /// `embed`, then `decode`, small objects in tiles; of a volume every slice that a box reaches.
    [[nodiscard]] Result segment(const Image& image, const Prompts& prompts, const Options& options = {}) const;
    /// Correct a result by clicks, one row for each of its objects; what was not clicked on stays as it is.
    [[nodiscard]] Result refine(const Result& result, const std::vector<std::vector<Click>>& clicks) const;

    [[nodiscard]] int image_size() const;          ///< side of the network's square, in pixels
    [[nodiscard]] std::string identity() const;    ///< sha256 of the manifest
    [[nodiscard]] bool takes_all_prompts() const;  ///< clicks and masks too, not boxes alone

private:
    struct Parts;
    std::unique_ptr<const Parts> parts_;
};

}  // namespace medsam_edge
