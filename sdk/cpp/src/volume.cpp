#include "volume.hpp"

#include <algorithm>
#include <cmath>
#include <deque>
#include <set>
#include <utility>

#include "agreement.hpp"
#include "errors.hpp"
#include "sweeps.hpp"
#include "tiles.hpp"

namespace medsam_edge {
namespace {

double along(const Click& click, const Grid& grid) { return std::array{click.x, click.y, click.z}.at(grid.along()); }

/// The clicks that an object begins with (if it has no box, where it is clicked), and those that correct it.
std::pair<Clicks, Clicks> split(bool boxed, const Clicks& clicks, const Grid& grid) {
    if (boxed || clicks.empty()) { return {{}, clicks}; }
    const auto on = std::find_if(clicks.begin(), clicks.end(), [](const Click& click) { return click.label == 1; });
    const double begin = along(on == clicks.end() ? clicks.front() : *on, grid);
    std::pair<Clicks, Clicks> parts;
    for (const Click& click : clicks) { (along(click, grid) == begin ? parts.first : parts.second).push_back(click); }
    return parts;
}

std::int64_t slices_of(const Sweeps& sweep) {
    return static_cast<std::int64_t>(sweep.order(true).size() + sweep.order(false).size());
}

/// Up and down in every view, one view after the other; gives how many slices that are. Progress is told of `rounds`
/// times as many, for rounds that follow.
std::int64_t run(std::vector<Sweeps>& sweeps, std::int64_t rounds) {
    std::int64_t slices = 0;
    for (const Sweeps& sweep : sweeps) { slices += slices_of(sweep); }
    const std::int64_t total = rounds * slices;
    std::vector<std::pair<std::vector<std::int64_t>, std::vector<std::int64_t>>> orders;
    for (const Sweeps& sweep : sweeps) { orders.emplace_back(sweep.order(true), sweep.order(false)); }
    std::int64_t done = 0;
    for (std::size_t index = 0; index < sweeps.size(); ++index) {
        sweeps[index].go(orders[index].first, true, done, total);
        done += static_cast<std::int64_t>(orders[index].first.size());
        sweeps[index].go(orders[index].second, false, done, total);
        done += static_cast<std::int64_t>(orders[index].second.size());
    }
    return slices;
}

/// The second of two rounds of so many slices: every slice once more, prompted by what was found on it.
void run_again(std::vector<Sweeps>& sweeps, std::int64_t slices) {
    std::int64_t done = slices;
    for (Sweeps& sweep : sweeps) {
        sweep.again(done, 2 * slices);
        done += slices_of(sweep);
    }
}

/// What a result holds of the objects.
void keep(std::vector<Track>& tracks, bool keep_logits, Result& result) {
    for (std::size_t index = 0; index < tracks.size(); ++index) {
        Object& object = result.objects[index];
        double sum = 0;
        for (auto& [z, found] : tracks[index].found) {
            sum += found.score;
            if (!keep_logits) { drop_values(found.logits); }
        }
        object.score = static_cast<float>(sum / static_cast<double>(tracks[index].found.size()));
        object.slices = std::move(tracks[index].found);
    }
}

std::vector<Box4> boxes_of(const std::vector<Track>& tracks) {
    std::vector<Box4> boxes;
    for (const Track& track : tracks) { boxes.push_back(track.box); }
    return boxes;
}

}  // namespace

Result segment_volume(const Predictor& predictor, const Image& image, const Prompts& prompts, const Options& options) {
    Stopwatch watch;
    Result result;
    const auto display = to_display(image, options.modality, options.window, result.warnings);
    const bool all = options.axis == kAllAxes;
    const Grid grid{image.depth, image.height, image.width, all ? 0 : options.axis};
    CheckedPrompts asked = check_prompts(prompts, grid, result.warnings);
    predictor.check(asked);
    result.depth = grid.depth;
    result.height = grid.height;
    result.width = grid.width;
    result.axis = grid.axis;
    result.display = display;
    result.follow = options.follow || (!prompts.boxes && !asked.boxes.empty());
    if (all && result.follow) {
        fail(Code::input, "axis: all axes need a box around each whole object; name one axis");
    }
    if (result.follow && !predictor.model().manifest.all_prompts) {
        result.warnings.emplace_back(
            "follow: the model takes no mask prompts, so that only boxes are followed from slice to slice");
    }
    std::vector<Clicks> later;
    for (std::size_t index = 0; index < asked.boxes.size(); ++index) {
        auto [first, rest] = split(!std::isnan(asked.boxes[index][0]), asked.clicks[index], grid);
        asked.clicks[index] = first;
        later.push_back(std::move(rest));
        result.objects.push_back({asked.boxes[index], 0, std::move(first), {}});
    }
    std::vector<Grid> grids{grid};
    for (int axis = 1; all && axis < kAllAxes; ++axis) { grids.push_back({grid.depth, grid.height, grid.width, axis}); }
    std::vector<std::vector<Track>> ways;
    for (const Grid& own : grids) { ways.push_back(tracks_of(asked, own, result.follow)); }
    std::vector<Track>& tracks = ways.front();
    result.timings.prepare_ms = watch.lap();
    ClassPrompt prompt{options.modality, std::nullopt};
    if (!options.modality && !predictor.model().manifest.classes.empty() && !tracks.empty()) {
        std::vector<std::uint8_t> scratch;
        const Rectangle slice{0, 0, grid.rows(), grid.columns()};
        const Embedding whole =
            predictor.embed(view_of(*display, grid, tracks[0].middle, slice, scratch), std::nullopt);
        prompt = whole.class_prompt();
        add(result.timings, whole.timings);
    }
    result.modality = prompt.modality;
    result.modality_confidence = prompt.confidence;
    std::deque<Volume> volumes;  // sweeps refer to them
    std::vector<Sweeps> sweeps;
    const int size = predictor.model().manifest.image_size;
    for (std::size_t way = 0; way < ways.size(); ++way) {
        const Grid& own = grids[way];
        const Volume& volume =
            volumes.emplace_back(Volume{predictor, *display, own, prompt.modality, options, result.follow});
        for (const Tile& tile : tiles_of(boxes_of(ways[way]), own.rows(), own.columns(), size, options.detail)) {
            std::vector<Track*> objects;
            for (const std::size_t object : tile.objects) { objects.push_back(&ways[way][object]); }
            sweeps.emplace_back(volume, tile.place, std::move(objects), result.timings);
        }
    }
    const bool twice = all && predictor.model().manifest.all_prompts;
    const std::int64_t slices = run(sweeps, twice ? 2 : 1);
    if (all) { agree(ways); }
    if (twice) {
        run_again(sweeps, slices);
        agree(ways);
    }
    keep(tracks, options.keep_logits, result);
    const bool any = std::any_of(later.begin(), later.end(), [](const Clicks& own) { return !own.empty(); });
    return any ? refine_volume(predictor, result, later) : result;
}

Result refine_volume(const Predictor& predictor, const Result& result, const std::vector<Clicks>& more) {
    Result refined = result;
    refined.timings = {};
    const Grid grid{result.depth, result.height, result.width, result.axis};
    CheckedPrompts all;
    bool kept = false;
    for (std::size_t index = 0; index < more.size(); ++index) {
        Object& object = refined.objects[index];
        object.clicks.insert(object.clicks.end(), more[index].begin(), more[index].end());
        all.boxes.push_back(object.box);
        all.clicks.push_back(object.clicks);
        for (const auto& [z, found] : object.slices) { kept = kept || !found.logits.halves.empty(); }
    }
    std::vector<Track> tracks = tracks_of(all, grid, result.follow);
    const Options options{};
    const Volume volume{predictor, *result.display, grid, result.modality, options, result.follow};
    for (std::size_t index = 0; index < more.size(); ++index) {
        Track& track = tracks[index];
        track.found = refined.objects[index].slices;
        if (more[index].empty()) { continue; }
        const auto [top, left, bottom, right] = track.found.begin()->second.logits.view;
        Sweeps sweep(volume, {top, left, bottom, right}, {&track}, refined.timings);
        std::set<std::int64_t> slices;
        for (const Click& click : more[index]) { slices.insert(static_cast<std::int64_t>(along(click, grid))); }
        for (const std::int64_t z : slices) { sweep.correct(track, z); }
    }
    keep(tracks, kept, refined);
    return refined;
}

}  // namespace medsam_edge
