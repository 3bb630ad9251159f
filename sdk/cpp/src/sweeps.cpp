#include "sweeps.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include "ahead.hpp"
#include "errors.hpp"

namespace medsam_edge {
namespace {

constexpr double kUnchanged = 0.98;  // DSC of two masks from which on a correction need not go further

double area(const CroppedMask& mask) {
    return static_cast<double>(std::count(mask.pixels.begin(), mask.pixels.end(), std::uint8_t{1}));
}

bool nearly_equal(const CroppedMask& one, const CroppedMask& other) {
    if (one.empty() || other.empty()) { return one.empty() && other.empty(); }
    const std::vector<float> there = mask_in(other, {one.top, one.left, one.top + one.height, one.left + one.width});
    double both = 0;
    for (std::size_t i = 0; i < there.size(); ++i) { both += static_cast<float>(one.pixels[i]) * there[i]; }
    return 2 * both >= kUnchanged * (area(one) + area(other));
}

}  // namespace

bool Track::boxed() const { return !std::isnan(box[0]); }

bool Track::alive(std::int64_t z, bool upward) const {
    return upward ? middle <= z && z <= last : first <= z && z < middle;
}

void Track::end(std::int64_t z) {
    if (z >= middle) { last = z; }
    if (z <= middle) { first = z; }
}

std::vector<Track> tracks_of(const CheckedPrompts& asked, const Grid& grid, bool follow) {
    std::vector<Track> tracks;
    for (std::size_t index = 0; index < asked.boxes.size(); ++index) {
        const std::array<float, 6>& box = asked.boxes[index];
        Track track;
        track.object = index;
        track.given = asked.priors ? &*asked.priors : nullptr;
        track.box = {box.at(grid.across()), box.at(grid.down()), box.at(grid.across() + 3), box.at(grid.down() + 3)};
        for (const Click& click : asked.clicks[index]) {
            const std::array<double, 3> point = {click.x, click.y, click.z};
            const auto z = static_cast<std::int64_t>(point.at(grid.along()));
            track.clicks[z] = clicks_on(asked.clicks[index], z, grid);
        }
        if (!track.boxed()) {
            track.low = track.high = track.clicks.begin()->first;
        } else {
            track.low = std::min(static_cast<std::int64_t>(std::floor(box.at(grid.along()))), grid.slices() - 1);
            track.high = std::max(static_cast<std::int64_t>(std::ceil(box.at(grid.along() + 3))) - 1, track.low);
        }
        track.middle = (track.low + track.high) / 2;
        if (follow && track.low != track.high) {
            fail(Code::box, "boxes[%zu]: expected a box on one slice along axis %d, got %lld to %lld", index, grid.axis,
                 static_cast<long long>(track.low), static_cast<long long>(track.high));
        }
        if (follow) {
            track.low = 0;
            track.high = grid.slices() - 1;
        }
        track.first = track.low;
        track.last = track.high;
        tracks.push_back(std::move(track));
    }
    return tracks;
}

std::vector<std::int64_t> Sweeps::order(bool upward) const {
    std::set<std::int64_t> slices;
    for (const Track* track : tracks_) {
        const std::int64_t begin = upward ? track->middle : track->first;
        const std::int64_t end = upward ? track->last + 1 : track->middle;
        for (std::int64_t z = begin; z < end; ++z) { slices.insert(z); }
    }
    std::vector<std::int64_t> result(slices.begin(), slices.end());
    if (!upward) { std::reverse(result.begin(), result.end()); }
    return result;
}

void Sweeps::go(const std::vector<std::int64_t>& order, bool upward, std::int64_t done, std::int64_t total) {
    std::size_t at = 0;
    const auto next = [&]() -> std::optional<std::int64_t> {
        while (at < order.size()) {  // an object may end before its slice's turn comes
            const std::int64_t z = order[at++];
            if (!alive(z, upward).empty()) { return z; }
        }
        return std::nullopt;
    };
    Ahead ahead([this](std::int64_t z) { return embed(z); }, next, volume_.options.streams);
    while (auto encoded = ahead.get()) {
        const auto& [z, embedding] = *encoded;
        std::vector<Step> steps;
        for (Track* track : alive(z, upward)) { steps.push_back({track, source(*track, z, z - track->middle)}); }
        if (!steps.empty()) { segment(z, embedding, steps); }  // else all ended while this slice was encoded ahead
        for (const Step& step : steps) {
            if (ended(*step.track, z)) { step.track->end(z); }
        }
        report(std::find(order.begin(), order.end(), z) - order.begin() + 1 + done, total);
    }
}

void Sweeps::again(std::int64_t done, std::int64_t total) {
    const auto masked = [](const Track& track, std::int64_t z) {
        const auto found = track.found.find(z);
        return found != track.found.end() && !found->second.mask.empty();
    };
    std::set<std::int64_t> wanted;
    for (const Track* track : tracks_) {
        for (const auto& [z, found] : track->found) {
            if (!found.mask.empty()) { wanted.insert(z); }
        }
    }
    auto at = wanted.begin();
    const auto next = [&] { return at == wanted.end() ? std::nullopt : std::optional(*at++); };
    Ahead ahead([this](std::int64_t z) { return embed(z); }, next, volume_.options.streams);
    while (auto encoded = ahead.get()) {
        const auto& [z, embedding] = *encoded;
        std::vector<Step> steps;
        for (Track* track : tracks_) {
            if (masked(*track, z)) { steps.push_back({track, z}); }
        }
        segment(z, embedding, steps);
        report(++done, total);
    }
}

void Sweeps::report(std::int64_t done, std::int64_t total) const {
    if (volume_.options.progress && !volume_.options.progress(done, total)) {
        fail(Code::cancelled, "progress: asked to stop after %lld of %lld slices", static_cast<long long>(done),
             static_cast<long long>(total));
    }
}

std::vector<Track*> Sweeps::alive(std::int64_t z, bool upward) const {
    std::vector<Track*> result;
    std::copy_if(tracks_.begin(), tracks_.end(), std::back_inserter(result),
                 [&](const Track* own) { return own->alive(z, upward); });
    return result;
}

Embedding Sweeps::embed(std::int64_t z) const {
    std::vector<std::uint8_t> scratch;
    return volume_.predictor.embed(view_of(volume_.display, volume_.grid, z, view_, scratch), volume_.modality);
}

/// It is the slice before; if that is empty and the object is followed, the one before it.
std::optional<std::int64_t> Sweeps::source(const Track& track, std::int64_t z, std::int64_t direction) const {
    if (direction == 0) { return std::nullopt; }
    const std::int64_t step = direction > 0 ? 1 : -1;
    const auto further = track.found.find(z - 2 * step);
    const bool skips = volume_.follow && track.found.at(z - step).mask.empty() && further != track.found.end() &&
                       !further->second.mask.empty();
    return skips ? z - 2 * step : z - step;
}

/// Whether an object goes no further than slice z: after an empty slice if asked for, after two if followed.
bool Sweeps::ended(const Track& track, std::int64_t z) const {
    if (!track.found.at(z).mask.empty()) { return false; }
    if (volume_.options.stop_when_empty || !volume_.follow) { return volume_.options.stop_when_empty; }
    return z == track.middle || track.found.at(z > track.middle ? z - 1 : z + 1).mask.empty();
}

void Sweeps::segment(std::int64_t z, const Embedding& embedding, const std::vector<Step>& steps) {
    NetworkPrompts prompts;
    for (const Step& step : steps) {
        const auto clicks = step.track->clicks.find(z);
        prompts.boxes.push_back(box(step, z, embedding.geometry));
        prompts.clicks.push_back(
            clicks_in(view_, clicks == step.track->clicks.end() ? Clicks{} : clicks->second, embedding.geometry));
        if (auto own = prior(step, z, embedding.geometry)) {
            prompts.priors[prompts.boxes.size() - 1] = std::move(*own);
        }
    }
    Decoded decoded = volume_.predictor.decode(embedding, prompts);
    add(timings_, embedding.timings);
    add(timings_, decoded.timings);
    for (std::size_t number = 0; number < steps.size(); ++number) {
        Found& found = steps[number].track->found[z];
        found = {std::move(decoded.masks[number]), std::move(decoded.logits[number]), decoded.scores[number]};
        if (!found.mask.empty()) {
            found.mask.top += view_.top;
            found.mask.left += view_.left;
        }
        found.logits.view = {view_.top, view_.left, view_.bottom, view_.right};
    }
}

/// In network pixels: the box on the middle slice, elsewhere what follows from the mask before.
Box4 Sweeps::box(const Step& step, std::int64_t z, const Geometry& geometry) const {
    const Track& track = *step.track;
    if (!step.before) { return geometry.box_to_network(moved(track.box, view_)); }
    const CroppedMask& mask = track.found.at(*step.before).mask;
    const bool own = *step.before == z;
    const auto clicks = track.clicks.find(z);
    if (own && clicks != track.clicks.end()) {  // a correction: the box holds the mask and the clicks on the object
        const Box4 around = box_around(mask, clicks->second, volume_.grid.rows(), volume_.grid.columns());
        return geometry.box_to_network(moved(around, view_));
    }
    const CroppedMask in_view{mask.top - view_.top, mask.left - view_.left, mask.height, mask.width, {}};
    const double along =  // its own mask says how wide it is
        own ? 0 : static_cast<double>(2 * z - track.low - track.high) / static_cast<double>(track.high - track.low + 1);
    return next_box(in_view, {moved(track.box, view_), along, !volume_.follow}, geometry);
}

std::optional<Plane> Sweeps::prior(const Step& step, std::int64_t z, const Geometry& geometry) const {
    const Track& track = *step.track;
    if (track.given != nullptr && track.given->any(track.object, z)) {
        return prior_of(track.given->part(track.object, z, view_), geometry);
    }
    if (!step.before || !volume_.predictor.model().manifest.all_prompts) { return std::nullopt; }
    const Found& before = track.found.at(*step.before);
    if (before.mask.empty()) { return std::nullopt; }
    const bool here = before.logits.view == std::array{view_.top, view_.left, view_.bottom, view_.right};
    if (here && !before.logits.halves.empty()) { return plane_of(before.logits); }
    return prior_of(mask_in(before.mask, view_), geometry);
}

void Sweeps::correct(Track& track, std::int64_t z) {
    const auto again = [&](std::int64_t at, std::optional<std::int64_t> before) {
        segment(at, embed(at), {{&track, before}});
    };
    again(z, track.found.count(z) > 0 ? std::optional(z) : std::nullopt);
    const auto shaped = [&](std::int64_t at) {
        return track.clicks.count(at) > 0 || (volume_.follow && track.boxed() && at == track.middle);
    };
    for (const std::int64_t step : {1, -1}) {
        bool ended = false;
        for (std::int64_t at = z + step; track.first <= at && at <= track.last && !shaped(at) && !ended; at += step) {
            const auto known = track.found.find(at);
            const std::optional<CroppedMask> former =
                known == track.found.end() ? std::nullopt : std::optional(known->second.mask);
            again(at, source(track, at, step));
            const CroppedMask& mask = track.found.at(at).mask;
            const bool unchanged = former && nearly_equal(*former, mask);
            ended = unchanged || (volume_.follow && mask.empty() && track.found.at(at - step).mask.empty());
        }
    }
}

}  // namespace medsam_edge
