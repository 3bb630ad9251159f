// The way of objects through the slices of a volume: sweeps up and down, and corrections that spread.
// See sdk/medsam_edge/inference/sweeps.py.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <vector>

#include "prompting.hpp"
#include "tiles.hpp"

namespace medsam_edge {

/// One object on its way through the slices first .. last, both included.
struct Track {
    std::int64_t first = 0;
    std::int64_t middle = 0;  ///< the slice on which its box is the prompt
    std::int64_t last = 0;
    Box4 box{};            ///< on a slice, in pixels of the slice; NaN where there is none
    std::int64_t low = 0;  ///< first and last slice of its box; `first` and `last` change where it ends
    std::int64_t high = 0;
    std::map<std::int64_t, Clicks> clicks;  ///< by slice, x, y of the slice
    const Priors* given = nullptr;          ///< the caller's mask prompt on each slice
    std::size_t object = 0;                 ///< its number in `given`
    std::map<std::int64_t, Found> found;    ///< by slice, masks in pixels of the slice

    [[nodiscard]] bool boxed() const;
    [[nodiscard]] bool alive(std::int64_t z, bool upward) const;
    /// Go no further than slice z; from the middle slice, in neither direction.
    void end(std::int64_t z);
};

/// One for each object. Error(box) for a box to follow from that is not on one slice.
std::vector<Track> tracks_of(const CheckedPrompts& asked, const Grid& grid, bool follow);

/// What all sweeps of a volume share.
struct Volume {
    const Predictor& predictor;
    const Display& display;
    Grid grid;
    std::optional<Modality> modality;
    const Options& options;
    bool follow;
};

/// Both sweeps over one view of all slices, for the objects that are looked for in it.
class Sweeps {
public:
    Sweeps(const Volume& volume, const Rectangle& view, std::vector<Track*> tracks, Timings& timings)
        : volume_(volume), view_(view), tracks_(std::move(tracks)), timings_(timings) {}

    /// The slices of the sweep upwards, or downwards.
    [[nodiscard]] std::vector<std::int64_t> order(bool upward) const;
    /// One sweep, after `done` of `total` slices.
    void go(const std::vector<std::int64_t>& order, bool upward, std::int64_t done, std::int64_t total);
    /// Decode each object anew on every slice where it has a mask, prompted by that mask and the box around it.
    void again(std::int64_t done, std::int64_t total);
    /// Decode a slice with clicks again, then follow the object both ways, up to slices that a person has shaped.
    void correct(Track& track, std::int64_t z);

private:
    /// An object to decode on a slice, and the slice whose mask prompts it; none where its way begins.
    struct Step {
        Track* track;
        std::optional<std::int64_t> before;
    };

    [[nodiscard]] std::vector<Track*> alive(std::int64_t z, bool upward) const;
    void report(std::int64_t done, std::int64_t total) const;
    [[nodiscard]] Embedding embed(std::int64_t z) const;
    [[nodiscard]] std::optional<std::int64_t> source(const Track& track, std::int64_t z, std::int64_t direction) const;
    [[nodiscard]] bool ended(const Track& track, std::int64_t z) const;
    void segment(std::int64_t z, const Embedding& embedding, const std::vector<Step>& steps);
    [[nodiscard]] Box4 box(const Step& step, std::int64_t z, const Geometry& geometry) const;
    [[nodiscard]] std::optional<Plane> prior(const Step& step, std::int64_t z, const Geometry& geometry) const;

    const Volume& volume_;
    Rectangle view_;
    std::vector<Track*> tracks_;
    Timings& timings_;
};

}  // namespace medsam_edge
