// Stored values → the 8-bit image that the network was trained on: see sdk/medsam_edge/intensity.py.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "medsam_edge/medsam_edge.hpp"

namespace medsam_edge {

struct Display {
    std::int64_t depth;  ///< 0 for a picture
    std::int64_t height;
    std::int64_t width;
    int channels;
    std::vector<std::uint8_t> pixels;
};

/// Check an image, map it to 8 bits, and warn of CT values that cannot be HU.
std::shared_ptr<const Display> to_display(const Image& image, std::optional<Modality> modality,
                                          std::optional<IntensityWindow> window, std::vector<std::string>& warnings);

}  // namespace medsam_edge
