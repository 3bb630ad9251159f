// What the encoder gave, by the pixels that it was given, within a byte budget.
#pragma once

#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "engine.hpp"

namespace medsam_edge {

struct Encoded {
    Array embedding;
    std::vector<float> class_scores;
};

/// Least recently used outputs go first when the budget is exceeded. Safe to use from many threads.
class Cache {
public:
    explicit Cache(std::size_t budget_bytes) : budget_(budget_bytes) {}

    /// The key is the content itself, not its hash: nothing can be taken for something else. Null where unknown.
    [[nodiscard]] std::shared_ptr<const Encoded> get(std::string_view key);
    /// Keep a value; one larger than the whole budget is not kept.
    void put(std::string key, std::shared_ptr<const Encoded> value);
    [[nodiscard]] std::size_t used_bytes() const;

private:
    struct Item {
        std::string key;
        std::shared_ptr<const Encoded> value;
        [[nodiscard]] std::size_t bytes() const { return key.size() + value->embedding.bytes.size(); }
    };

    void drop(std::list<Item>::iterator item);

    std::size_t budget_;
    std::size_t used_ = 0;
    std::list<Item> items_;  // the latest first
    std::unordered_map<std::string_view, std::list<Item>::iterator> by_key_;
    mutable std::mutex mutex_;
};

}  // namespace medsam_edge
