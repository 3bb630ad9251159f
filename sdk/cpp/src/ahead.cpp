#include "ahead.hpp"

#include <system_error>

namespace medsam_edge {
namespace {

constexpr std::size_t kAheadPerThread = 2;

}  // namespace

Ahead::Ahead(Embed embed, Next next, int threads) : embed_(std::move(embed)), next_(std::move(next)) {
    threads_.reserve(static_cast<std::size_t>(threads));
    try {
        for (int i = 0; i < threads; ++i) {
            threads_.emplace_back([this] { work(); });
        }
    } catch (const std::system_error&) {  // NOLINT(bugprone-empty-catch): as many as the system gives
    }
}

Ahead::~Ahead() {
    {
        const std::scoped_lock lock(mutex_);
        ended_ = true;
        tasks_.clear();
    }
    changed_.notify_all();
    for (std::thread& thread : threads_) { thread.join(); }
}

void Ahead::work() {
    for (;;) {
        std::packaged_task<Embedding()> task;
        {
            std::unique_lock lock(mutex_);
            changed_.wait(lock, [this] { return ended_ || !tasks_.empty(); });
            if (ended_) { return; }
            task = std::move(tasks_.front());
            tasks_.pop_front();
        }
        task();
    }
}

std::optional<std::pair<std::int64_t, Embedding>> Ahead::get() {
    if (threads_.empty()) {
        const auto slice = next_();
        if (!slice) { return std::nullopt; }
        return std::pair(*slice, embed_(*slice));
    }
    while (waiting_.size() <= kAheadPerThread * threads_.size()) {
        const auto slice = next_();
        if (!slice) { break; }
        std::packaged_task<Embedding()> task([this, z = *slice] { return embed_(z); });
        waiting_.emplace_back(*slice, task.get_future());
        {
            const std::scoped_lock lock(mutex_);
            tasks_.push_back(std::move(task));
        }
        changed_.notify_one();
    }
    if (waiting_.empty()) { return std::nullopt; }
    auto first = std::move(waiting_.front());
    waiting_.pop_front();
    return std::pair(first.first, first.second.get());
}

}  // namespace medsam_edge
