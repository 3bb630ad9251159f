#include "agreement.hpp"

#include <algorithm>
#include <array>
#include <limits>

namespace medsam_edge {
namespace {

constexpr int kNeeded = 2;

using Voxel = std::array<std::int64_t, 3>;  // z, y, x

Voxel voxel_of(std::size_t axis, std::int64_t slice, std::int64_t row, std::int64_t column) {
    if (axis == 0) { return {slice, row, column}; }
    if (axis == 1) { return {row, slice, column}; }
    return {row, column, slice};
}

/// Votes for each voxel of the part of the volume where any mask is.
struct Votes {
    Voxel low{};
    Voxel high{};
    std::vector<std::uint8_t> counts;

    [[nodiscard]] std::size_t at(const Voxel& voxel) const {
        const std::int64_t plane = (voxel[0] - low[0]) * (high[1] - low[1]) + voxel[1] - low[1];
        return static_cast<std::size_t>(plane * (high[2] - low[2]) + voxel[2] - low[2]);
    }
};

Votes votes_of(const std::vector<std::vector<Track>>& ways, std::size_t object) {
    Votes votes;
    votes.low.fill(std::numeric_limits<std::int64_t>::max());
    for (std::size_t axis = 0; axis < ways.size(); ++axis) {
        for (const auto& [slice, found] : ways[axis][object].found) {
            const CroppedMask& mask = found.mask;
            if (mask.empty()) { continue; }
            const Voxel first = voxel_of(axis, slice, mask.top, mask.left);
            const Voxel last = voxel_of(axis, slice, mask.top + mask.height - 1, mask.left + mask.width - 1);
            for (std::size_t side = 0; side < 3; ++side) {
                votes.low.at(side) = std::min(votes.low.at(side), first.at(side));
                votes.high.at(side) = std::max(votes.high.at(side), last.at(side) + 1);
            }
        }
    }
    std::size_t size = 1;
    for (std::size_t side = 0; side < 3; ++side) {
        size *= static_cast<std::size_t>(std::max<std::int64_t>(votes.high.at(side) - votes.low.at(side), 0));
    }
    votes.counts.resize(size);
    for (std::size_t axis = 0; axis < ways.size(); ++axis) {
        for (const auto& [slice, found] : ways[axis][object].found) {
            const CroppedMask& mask = found.mask;
            for (std::int64_t y = 0; y < mask.height; ++y) {
                for (std::int64_t x = 0; x < mask.width; ++x) {
                    const std::size_t place = votes.at(voxel_of(axis, slice, mask.top + y, mask.left + x));
                    votes.counts[place] += mask.pixels[static_cast<std::size_t>(y * mask.width + x)];
                }
            }
        }
    }
    return votes;
}

/// What is agreed on, on slice z along an axis.
CroppedMask agreed(const Votes& votes, std::size_t axis, std::int64_t z) {
    if (z < votes.low.at(axis) || z >= votes.high.at(axis)) { return {}; }
    const std::size_t down = axis == 0 ? 1 : 0;
    const std::size_t across = axis == 2 ? 1 : 2;
    const auto there = [&](std::int64_t y, std::int64_t x) {
        return votes.counts[votes.at(voxel_of(axis, z, y, x))] >= kNeeded;
    };
    std::int64_t top = votes.high.at(down);
    std::int64_t left = votes.high.at(across);
    std::int64_t bottom = 0;
    std::int64_t right = 0;
    for (std::int64_t y = votes.low.at(down); y < votes.high.at(down); ++y) {
        for (std::int64_t x = votes.low.at(across); x < votes.high.at(across); ++x) {
            if (there(y, x)) {
                top = std::min(top, y);
                left = std::min(left, x);
                bottom = std::max(bottom, y + 1);
                right = std::max(right, x + 1);
            }
        }
    }
    if (bottom == 0) { return {}; }
    CroppedMask mask{top, left, bottom - top, right - left, {}};
    for (std::int64_t y = top; y < bottom; ++y) {
        for (std::int64_t x = left; x < right; ++x) { mask.pixels.push_back(there(y, x) ? 1 : 0); }
    }
    return mask;
}

}  // namespace

void agree(std::vector<std::vector<Track>>& ways) {
    for (std::size_t object = 0; object < ways.front().size(); ++object) {
        const Votes votes = votes_of(ways, object);
        for (std::size_t axis = 0; axis < ways.size(); ++axis) {
            for (auto& [z, found] : ways[axis][object].found) {
                found.mask = agreed(votes, axis, z);
                drop_values(found.logits);
            }
        }
    }
}

}  // namespace medsam_edge
