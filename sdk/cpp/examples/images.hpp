// Readers and writers for the examples: PNM (P5, P6; 8 and 16 bits) and NIfTI-1 (.nii, not packed).
#pragma once

#include <string>
#include <vector>

#include "medsam_edge/medsam_edge.hpp"

namespace examples {

/// An image and the bytes that hold it, and of a NIfTI file its first 352 bytes.
struct File {
    std::vector<std::uint8_t> bytes;
    medsam_edge::Image image;
    std::string nifti;
};

/// An image in memory, by its first bytes. Throws std::runtime_error for anything but a whole PNM or NIfTI-1 image.
File parse_image(const std::string& content);

/// The whole content of a file. Throws std::runtime_error.
std::string read_file(const std::string& path);

/// A label map as the image was: of a picture a PGM of 8 bits, or 16 where labels need them, of a volume NIfTI-1.
void write_labels(const std::string& path, const File& like, const std::vector<std::uint16_t>& labels);

}  // namespace examples
