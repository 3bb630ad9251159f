#include "picture.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include "tiles.hpp"

namespace medsam_edge {
namespace {

Box4 flat(const std::array<float, 6>& box) { return {box[0], box[1], box[3], box[4]}; }

std::vector<Box4> flat(const std::vector<std::array<float, 6>>& boxes) {
    std::vector<Box4> result;
    for (const auto& box : boxes) { result.push_back(flat(box)); }
    return result;
}

/// The prompts of the objects that are looked for in a view, in network pixels.
NetworkPrompts prompts_in(const Tile& tile, const CheckedPrompts& asked, const Geometry& geometry) {
    NetworkPrompts prompts;
    for (std::size_t number = 0; number < tile.objects.size(); ++number) {
        const std::size_t object = tile.objects[number];
        prompts.boxes.push_back(geometry.box_to_network(moved(flat(asked.boxes[object]), tile.place)));
        prompts.clicks.push_back(clicks_in(tile.place, asked.clicks[object], geometry));
        if (asked.priors) { prompts.priors[number] = prior_of(asked.priors->part(object, 0, tile.place), geometry); }
    }
    return prompts;
}

/// An object's mask in a view → in the image.
Found found_in(const Rectangle& view, Decoded& decoded, std::size_t number, bool keep_logits) {
    Found found{std::move(decoded.masks[number]), std::move(decoded.logits[number]), decoded.scores[number]};
    if (!found.mask.empty()) {
        found.mask.top += view.top;
        found.mask.left += view.left;
    }
    if (!keep_logits) { found.logits = {}; }
    found.logits.view = {view.top, view.left, view.bottom, view.right};
    return found;
}

Result begun(const Display& display, const CheckedPrompts& asked) {
    Result result;
    result.height = display.height;
    result.width = display.width;
    for (std::size_t index = 0; index < asked.boxes.size(); ++index) {
        result.objects.push_back({asked.boxes[index], 0, asked.clicks[index], {}});
    }
    return result;
}

void decode_tile(const Predictor& predictor, const Embedding& embedding, const Tile& tile, const CheckedPrompts& asked,
                 bool keep_logits, Result& result) {
    Decoded decoded = predictor.decode(embedding, prompts_in(tile, asked, embedding.geometry));
    for (std::size_t number = 0; number < tile.objects.size(); ++number) {
        Object& object = result.objects[tile.objects[number]];
        object.score = decoded.scores[number];
        object.slices[0] = found_in(tile.place, decoded, number, keep_logits);
    }
    add(result.timings, embedding.timings);
    add(result.timings, decoded.timings);
}

}  // namespace

Result decode_picture(const Predictor& predictor, const Embedding& embedding, const Prompts& prompts) {
    std::vector<std::string> warnings = embedding.warnings;
    const Grid grid{0, embedding.geometry.height, embedding.geometry.width};
    const CheckedPrompts asked = check_prompts(prompts, grid, warnings);
    predictor.check(asked);
    Result result = begun(*embedding.display, asked);
    Tile whole{{0, 0, grid.height, grid.width}, {}};
    for (std::size_t index = 0; index < asked.boxes.size(); ++index) { whole.objects.push_back(index); }
    decode_tile(predictor, embedding, whole, asked, true, result);
    const ClassPrompt prompt = embedding.class_prompt();
    result.modality = prompt.modality;
    result.modality_confidence = prompt.confidence;
    result.warnings = std::move(warnings);
    result.display = embedding.display;
    return result;
}

Result segment_picture(const Predictor& predictor, const Image& image, const Prompts& prompts, const Options& options) {
    Stopwatch watch;
    std::vector<std::string> warnings;
    const auto display = to_display(image, options.modality, options.window, warnings);
    const Grid grid{0, image.height, image.width};
    const CheckedPrompts asked = check_prompts(prompts, grid, warnings);
    predictor.check(asked);
    const auto tiles =
        tiles_of(flat(asked.boxes), grid.height, grid.width, predictor.model().manifest.image_size, options.detail);
    Result result = begun(*display, asked);
    result.timings.prepare_ms = watch.lap();
    std::vector<std::uint8_t> scratch;
    ClassPrompt prompt{options.modality, std::nullopt};
    const bool part = std::any_of(tiles.begin(), tiles.end(), [](const Tile& tile) { return tile.is_part; });
    if (!options.modality && !predictor.model().manifest.classes.empty() && part) {
        const Rectangle all{0, 0, grid.height, grid.width};  // a tile is of the modality that the whole picture is
        const Embedding whole = predictor.embed(view_of(*display, grid, 0, all, scratch), std::nullopt);
        prompt = whole.class_prompt();
        add(result.timings, whole.timings);
    }
    for (const Tile& tile : tiles) {
        const Embedding embedding = predictor.embed(view_of(*display, grid, 0, tile.place, scratch), prompt.modality);
        decode_tile(predictor, embedding, tile, asked, options.keep_logits, result);
        if (!prompt.modality) { prompt = embedding.class_prompt(); }  // then there is one view, the whole picture
    }
    result.modality = prompt.modality;
    result.modality_confidence = prompt.confidence;
    result.warnings = std::move(warnings);
    result.display = display;
    return result;
}

Result refine_picture(const Predictor& predictor, const Result& result, const std::vector<Clicks>& more) {
    Result refined = result;
    refined.timings = {};
    const Grid grid{0, result.height, result.width};
    std::vector<std::uint8_t> scratch;
    for (std::size_t index = 0; index < more.size(); ++index) {
        if (more[index].empty()) { continue; }
        Object& object = refined.objects[index];
        const Found former = object.slices.at(0);
        object.clicks.insert(object.clicks.end(), more[index].begin(), more[index].end());
        const auto [top, left, bottom, right] = former.logits.view;
        const Rectangle view{top, left, bottom, right};
        const Embedding embedding = predictor.embed(view_of(*result.display, grid, 0, view, scratch), result.modality);
        const Box4 box = std::isnan(object.box[0]) ? box_around(former.mask, object.clicks, grid.height, grid.width)
                                                   : flat(object.box);
        const bool kept = !former.logits.halves.empty();
        NetworkPrompts prompts;
        prompts.boxes = {embedding.geometry.box_to_network(moved(box, view))};
        prompts.clicks = {clicks_in(view, object.clicks, embedding.geometry)};
        prompts.priors[0] = kept ? plane_of(former.logits) : prior_of(mask_in(former.mask, view), embedding.geometry);
        Decoded decoded = predictor.decode(embedding, prompts);
        object.score = decoded.scores[0];
        object.slices[0] = found_in(view, decoded, 0, kept);
        add(refined.timings, embedding.timings);
        add(refined.timings, decoded.timings);
    }
    return refined;
}

}  // namespace medsam_edge
