// OpenCV's resize, restated: INTER_AREA to shrink, INTER_LINEAR to enlarge. 8-bit results equal cv2's by bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace medsam_edge {

/// Rows of an image that somebody else owns: `height` × `width` × `channels`, `stride` values from row to row.
template <typename T>
struct View {
    const T* data;
    std::size_t stride;
    int height;
    int width;
    int channels;

    [[nodiscard]] const T* row(int index) const { return data + static_cast<std::size_t>(index) * stride; }
};

/// (height, width, channels) values, row by row. Shrinks over areas where `area` is set, which is for sizes no larger
/// than the image's, else interpolates bilinearly.
template <typename T>
std::vector<T> resize(const View<T>& image, int height, int width, bool area);

}  // namespace medsam_edge
