#include "cache.hpp"

#include <utility>

namespace medsam_edge {

std::shared_ptr<const Encoded> Cache::get(std::string_view key) {
    const std::scoped_lock lock(mutex_);
    const auto found = by_key_.find(key);
    if (found == by_key_.end()) { return nullptr; }
    items_.splice(items_.begin(), items_, found->second);
    return found->second->value;
}

void Cache::put(std::string key, std::shared_ptr<const Encoded> value) {
    const std::scoped_lock lock(mutex_);
    if (const auto found = by_key_.find(key); found != by_key_.end()) { drop(found->second); }
    Item item{std::move(key), std::move(value)};
    if (item.bytes() > budget_) { return; }
    used_ += item.bytes();
    items_.push_front(std::move(item));
    by_key_.emplace(items_.front().key, items_.begin());
    while (used_ > budget_) { drop(std::prev(items_.end())); }
}

std::size_t Cache::used_bytes() const {
    const std::scoped_lock lock(mutex_);
    return used_;
}

void Cache::drop(std::list<Item>::iterator item) {
    by_key_.erase(item->key);
    used_ -= item->bytes();
    items_.erase(item);
}

}  // namespace medsam_edge
