#include "prompts.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "errors.hpp"
#include "numbers.hpp"

namespace medsam_edge {
namespace {

constexpr float kNone = std::numeric_limits<float>::quiet_NaN();
constexpr std::size_t kMostObjects = 1 << 20;

using Corner = std::array<double, 3>;

/// x, y, z as far as the image has them.
std::string listed(const Corner& first, const Corner& second, std::size_t sides) {
    std::string shown = "(";
    for (const Corner* corner : {&first, &second}) {
        for (std::size_t i = 0; i < sides; ++i) { shown += text(shown.size() > 1 ? ", %g" : "%g", corner->at(i)); }
    }
    return shown + ")";
}

std::string extent(const Grid& grid) {
    std::string sides = text("%lldx%lld", static_cast<long long>(grid.width), static_cast<long long>(grid.height));
    if (grid.is_volume()) { sides += text("x%lld", static_cast<long long>(grid.depth)); }
    return sides + (grid.is_volume() ? " volume" : " image");
}

/// One box as used: clipped, as float32. `clipped` is set where it reached outside.
std::array<float, 6> checked_box(std::size_t index, const Box& box, const Grid& grid, bool& clipped) {
    const std::size_t sides = grid.is_volume() ? 3 : 2;
    const Corner low = {box.x0, box.y0, grid.is_volume() ? box.z0 : 0};
    const Corner high = {box.x1, box.y1, grid.is_volume() ? box.z1 : 1};
    const Corner limit = {static_cast<double>(grid.width), static_cast<double>(grid.height),
                          grid.is_volume() ? static_cast<double>(grid.depth) : 1};
    const std::string shown = listed(low, high, sides);
    std::array<float, 6> used{};
    bool meets = true;
    bool swapped = false;
    bool flat = false;
    for (std::size_t i = 0; i < 3; ++i) {
        if (!std::isfinite(low.at(i)) || !std::isfinite(high.at(i))) {
            fail(Code::box, "boxes[%zu]: expected finite numbers, got %s", index, shown.c_str());
        }
        used.at(i) = static_cast<float>(std::min(std::max(low.at(i), 0.0), limit.at(i)));
        used.at(i + 3) = static_cast<float>(std::min(std::max(high.at(i), 0.0), limit.at(i)));
        meets = meets && high.at(i) > 0 && low.at(i) < limit.at(i);
        swapped = swapped || low.at(i) > high.at(i);
        flat = flat || low.at(i) == high.at(i);
        clipped = clipped || low.at(i) < 0 || high.at(i) > limit.at(i);
    }
    for (std::size_t i = 0; i < 3; ++i) { flat = flat || (meets && used.at(i) == used.at(i + 3)); }
    if (swapped) {
        fail(Code::box, "boxes[%zu]: expected x0 < x1 and y0 < y1%s, got swapped corners %s", index,
             grid.is_volume() ? " and z0 < z1" : "", shown.c_str());
    }
    if (flat) {
        fail(Code::box, "boxes[%zu]: expected a box with %s, got %s", index, grid.is_volume() ? "a volume" : "an area",
             shown.c_str());
    }
    if (!meets) {
        fail(Code::box, "boxes[%zu]: expected a box that meets the %s, got %s", index, extent(grid).c_str(),
             shown.c_str());
    }
    return used;
}

std::vector<std::array<float, 6>> checked_boxes(const std::vector<Box>& boxes, const Grid& grid,
                                                std::vector<std::string>& warnings) {
    std::vector<std::array<float, 6>> used;
    std::string outside;
    for (std::size_t index = 0; index < boxes.size(); ++index) {
        bool clipped = false;
        used.push_back(checked_box(index, boxes[index], grid, clipped));
        if (clipped && outside.size() < 200) { outside += text(outside.empty() ? "%zu" : ", %zu", index); }
    }
    if (!outside.empty()) {
        warnings.push_back(
            text("boxes [%s] reach outside the %s and were clipped", outside.c_str(), extent(grid).c_str()));
    }
    return used;
}

std::vector<Clicks> checked_clicks(const std::vector<Clicks>& rows, const Grid& grid) {
    std::vector<Clicks> found;
    for (std::size_t index = 0; index < rows.size(); ++index) {
        Clicks& own = found.emplace_back();
        for (const Click& click : rows[index]) {
            if (click.label < -1 || click.label > 1) {
                fail(Code::input, "point_labels[%zu]: expected 1, 0 or -1, got %d", index, click.label);
            }
            if (click.label == -1) { continue; }
            const double z = grid.is_volume() ? click.z : 0;
            const bool inside = click.x >= 0 && click.x < static_cast<double>(grid.width) && click.y >= 0 &&
                                click.y < static_cast<double>(grid.height) && z >= 0 &&
                                z < static_cast<double>(grid.shape()[0]);
            if (!inside) {  // NaN is not, either
                fail(Code::input, "points[%zu]: expected pixels inside the %s, got (%g, %g, %g)", index,
                     extent(grid).c_str(), click.x, click.y, z);
            }
            own.push_back({std::floor(click.x), std::floor(click.y), click.label, std::floor(z)});
        }
    }
    return found;
}

template <typename Value>
bool probable(const Value* values, std::size_t count) {
    return std::all_of(values, values + count, [](Value value) { return value >= 0 && value <= 1; });
}

void check_labels(const Prior& prior, std::size_t count, const Grid& grid) {
    if (is_float(prior.type) || prior.type == Type::boolean) {
        fail(Code::input, "prior: expected a label map of whole numbers");
    }
    with_type(prior.data, prior.type, [&](const auto* labels) {
        const bool fits = std::all_of(labels, labels + grid.size(), [count](auto label) {
            return !(label < 0) && static_cast<unsigned long long>(label) <= count;
        });
        if (!fits) { fail(Code::input, "prior: expected labels 0 to %zu, one for each box, got another", count); }
    });
}

void check_probabilities(const Prior& prior, std::size_t count, const Grid& grid) {
    std::vector<float> plane(static_cast<std::size_t>(grid.width));
    for (std::size_t begin = 0; begin < grid.size() * count; begin += plane.size()) {
        if (prior.type == Type::f64) {
            const auto* own = static_cast<const double*>(prior.data) + begin;
            if (probable(own, plane.size())) { continue; }
        } else {
            floats(prior.data, prior.type, begin, plane.size(), plane.data());
            if (probable(plane.data(), plane.size())) { continue; }
        }
        fail(Code::input, "prior: expected probabilities from 0 to 1, got another");
    }
}

void check_prior(const Prior& prior, std::size_t count, const Grid& grid) {
    if (prior.data == nullptr && (count > 0 || prior.label_map)) {
        fail(Code::input, "prior: expected masks, got a null pointer");
    }
    if (prior.type < Type::boolean || prior.type > Type::f64) {
        fail(Code::input, "prior: expected a type of `Type`, got %d", static_cast<int>(prior.type));
    }
    if (!prior.label_map && prior.count != count) {
        fail(Code::input, "prior: expected %zu masks, one for each object, got %zu", count, prior.count);
    }
    if (prior.label_map) {
        check_labels(prior, count, grid);
    } else if (is_float(prior.type)) {
        check_probabilities(prior, count, grid);
    }
}

}  // namespace

std::vector<float> Priors::part(std::size_t object, std::int64_t slice, const Rectangle& where) const {
    std::vector<float> values;
    values.reserve(static_cast<std::size_t>(where.height() * where.width()));
    const std::size_t first = prior_.label_map ? 0 : object * grid_.size();
    for (std::int64_t y = where.top; y < where.bottom; ++y) {
        for (std::int64_t x = where.left; x < where.right; ++x) {
            const std::size_t at = first + grid_.at(slice, y, x);
            float value = 0;
            if (is_float(prior_.type)) {
                floats(prior_.data, prior_.type, at, 1, &value);
            } else {
                value = with_type(prior_.data, prior_.type, [&](const auto* own) {
                    const bool is = prior_.label_map ? static_cast<std::size_t>(own[at]) == object + 1 : own[at] != 0;
                    return is ? 1.0F : 0.0F;
                });
            }
            values.push_back(value);
        }
    }
    return values;
}

bool Priors::any(std::size_t object, std::int64_t slice) const {
    const std::vector<float> whole = part(object, slice, {0, 0, grid_.rows(), grid_.columns()});
    return std::any_of(whole.begin(), whole.end(), [](float value) { return value != 0; });
}

bool CheckedPrompts::any_clicks() const {
    return std::any_of(clicks.begin(), clicks.end(), [](const Clicks& own) { return !own.empty(); });
}

CheckedPrompts check_prompts(const Prompts& prompts, const Grid& grid, std::vector<std::string>& warnings) {
    if ((prompts.boxes ? prompts.boxes->size() : 0) > kMostObjects ||
        (prompts.clicks ? prompts.clicks->size() : 0) > kMostObjects) {
        fail(Code::input, "boxes: expected at most %zu objects", kMostObjects);
    }
    CheckedPrompts checked;
    if (prompts.clicks) { checked.clicks = checked_clicks(*prompts.clicks, grid); }
    if (prompts.boxes) {
        checked.boxes = checked_boxes(*prompts.boxes, grid, warnings);
    } else if (prompts.clicks) {
        checked.boxes.assign(checked.clicks.size(), {kNone, kNone, kNone, kNone, kNone, kNone});
    } else {
        fail(Code::box, "boxes: expected a list of boxes, got none, and there are no points");
    }
    const std::size_t count = checked.boxes.size();
    if (prompts.clicks && checked.clicks.size() != count) {
        fail(Code::input, "points: expected a row for each of %zu boxes, got %zu", count, checked.clicks.size());
    }
    const auto none = [](const Clicks& own) { return own.empty(); };
    if (!prompts.boxes && std::any_of(checked.clicks.begin(), checked.clicks.end(), none)) {
        fail(Code::input, "points: expected a click on each object where there are no boxes");
    }
    checked.clicks.resize(count);
    if (prompts.prior) {
        check_prior(*prompts.prior, count, grid);
        checked.priors.emplace(*prompts.prior, grid);
    }
    return checked;
}

std::vector<Clicks> check_clicks(const std::vector<Clicks>& clicks, std::size_t count, const Grid& grid) {
    if (clicks.size() != count) {
        fail(Code::input, "points: expected a row for each of %zu objects, got %zu", count, clicks.size());
    }
    return checked_clicks(clicks, grid);
}

}  // namespace medsam_edge
