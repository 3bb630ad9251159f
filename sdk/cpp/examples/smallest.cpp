// The smallest program: a grey disk in memory, one box, the number of pixels found.
#include <cstdio>
#include <vector>

#include "medsam_edge/medsam_edge.hpp"

int main(int count, char** arguments) {
    if (count != 2) { return 2; }
    std::vector<std::uint8_t> pixels;
    for (int y = 0; y < 256; ++y) {
        for (int x = 0; x < 256; ++x) {
            const bool inside = (x - 120) * (x - 120) + (y - 130) * (y - 130) < 50 * 50;
            pixels.push_back(inside ? 180 : 40);
        }
    }
    try {
        const medsam_edge::Segmenter segmenter(arguments[1]);  // the bundle's folder
        medsam_edge::Prompts prompts;
        prompts.boxes = {{70, 80, 170, 180}};  // x0, y0, x1, y1
        medsam_edge::Options options;
        options.modality = medsam_edge::Modality::us;
        const medsam_edge::Result result =
            segmenter.segment({pixels.data(), medsam_edge::Type::u8, 0, 256, 256}, prompts, options);
        std::vector<std::uint8_t> mask(result.size());
        result.mask(0, mask.data());
        int found = 0;
        for (const std::uint8_t pixel : mask) { found += pixel; }
        std::printf("%d pixels, score %.2f\n", found, static_cast<double>(result.objects[0].score));
        return 0;
    } catch (const medsam_edge::Error& error) {
        std::fprintf(stderr, "%s\n", error.what());
        return 1;
    }
}
