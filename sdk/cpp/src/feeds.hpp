// The decoder's inputs, and the memory they lie in.
#pragma once

#include <list>
#include <vector>

#include "engine.hpp"
#include "predictor.hpp"

namespace medsam_edge {

class Feeds {
public:
    /// An array that outlives this.
    void add(const char* name, const Array& array) {
        feeds_.push_back({name, array.type, array.shape, array.bytes.data()});
    }
    void add(const char* name, Shape shape, std::vector<float> values) {
        floats_.push_back(std::move(values));
        feeds_.push_back({name, Type::f32, std::move(shape), floats_.back().data()});
    }
    void add(const char* name, Shape shape, std::vector<std::int64_t> values) {
        whole_.push_back(std::move(values));
        feeds_.push_back({name, Type::i64, std::move(shape), whole_.back().data()});
    }
    [[nodiscard]] const std::vector<Feed>& all() const { return feeds_; }

private:
    std::vector<Feed> feeds_;
    std::list<std::vector<float>> floats_;
    std::list<std::vector<std::int64_t>> whole_;
};

/// Boxes, cells and, where the model takes them, clicks and mask prompts of some objects that are alike.
void add_prompts(Feeds& feeds, const NetworkPrompts& prompts, const std::vector<std::size_t>& objects,
                 const Windows& windows, const Manifest& manifest);

}  // namespace medsam_edge
