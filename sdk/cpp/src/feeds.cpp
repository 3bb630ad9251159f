#include "feeds.hpp"

#include <algorithm>
#include <cmath>

namespace medsam_edge {
namespace {

constexpr std::int64_t kPadding = -1;  // SAM's labels of points
constexpr std::int64_t kTopLeft = 2;
constexpr std::int64_t kBottomRight = 3;

/// Clicks come before the corners of the box; where there is no box, a point of padding stands for it.
void add_points(Feeds& feeds, const NetworkPrompts& prompts, const std::vector<std::size_t>& objects) {
    std::vector<float> points;
    std::vector<std::int64_t> labels;
    for (const std::size_t object : objects) {
        if (!prompts.clicks.empty()) {
            for (const NetworkClick& click : prompts.clicks[object]) {
                points.insert(points.end(), click.point.begin(), click.point.end());
                labels.push_back(click.label);
            }
        }
        const Box4& box = prompts.boxes[object];
        if (std::isnan(box[0])) {
            points.insert(points.end(), {0, 0});
            labels.push_back(kPadding);
        } else {
            points.insert(points.end(), box.begin(), box.end());
            labels.insert(labels.end(), {kTopLeft, kBottomRight});
        }
    }
    const std::size_t each = labels.size() / objects.size();
    feeds.add("points", {objects.size(), each, 2}, std::move(points));
    feeds.add("point_labels", {objects.size(), each}, std::move(labels));
}

void add_priors(Feeds& feeds, const NetworkPrompts& prompts, const std::vector<std::size_t>& objects,
                const Windows& windows) {
    std::vector<float> given;
    for (const std::size_t object : objects) { given.push_back(prompts.priors.count(object) > 0 ? 1.0F : 0.0F); }
    const bool any = std::find(given.begin(), given.end(), 1.0F) != given.end();
    const std::size_t cells = any ? windows.size() : 1;
    std::vector<float> prior(objects.size() * cells * kCell * kCell);
    for (std::size_t i = 0; i < objects.size(); ++i) {
        const auto own = prompts.priors.find(objects[i]);
        if (own != prompts.priors.end()) { windows.cut(i, own->second, prior.data() + i * cells * kCell * kCell); }
    }
    feeds.add("prior", {objects.size(), cells, kCell, kCell}, std::move(prior));
    feeds.add("has_prior", {objects.size()}, std::move(given));
}

}  // namespace

void add_prompts(Feeds& feeds, const NetworkPrompts& prompts, const std::vector<std::size_t>& objects,
                 const Windows& windows, const Manifest& manifest) {
    std::vector<float> boxes;
    for (const std::size_t object : objects) {
        for (const float edge : prompts.boxes[object]) { boxes.push_back(std::isnan(edge) ? 0 : edge); }
    }
    feeds.add("boxes", {objects.size(), 4}, std::move(boxes));
    feeds.add("cells", {objects.size(), windows.size()}, windows.cells());
    if (!manifest.all_prompts) { return; }
    add_points(feeds, prompts, objects);
    add_priors(feeds, prompts, objects,
               manifest.context ? windows : Windows::whole(manifest.image_size / kCell, objects.size()));
}

}  // namespace medsam_edge
