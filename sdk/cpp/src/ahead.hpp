// Slices encoded in threads before they are decoded.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <future>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "predictor.hpp"

namespace medsam_edge {

/// Gives the embeddings of slices in their order, while threads encode the next ones. At most two a thread wait. With
/// no threads, the caller's encodes. An exception of `embed` is thrown where its slice would come.
class Ahead {
public:
    using Embed = std::function<Embedding(std::int64_t)>;
    /// The next slice that is wanted; asked for in the caller's thread.
    using Next = std::function<std::optional<std::int64_t>()>;

    Ahead(Embed embed, Next next, int threads);
    ~Ahead();
    Ahead(const Ahead&) = delete;
    Ahead& operator=(const Ahead&) = delete;

    std::optional<std::pair<std::int64_t, Embedding>> get();

private:
    void work();

    Embed embed_;
    Next next_;
    std::vector<std::thread> threads_;
    std::deque<std::pair<std::int64_t, std::future<Embedding>>> waiting_;
    std::deque<std::packaged_task<Embedding()>> tasks_;
    std::mutex mutex_;
    std::condition_variable changed_;
    bool ended_ = false;
};

}  // namespace medsam_edge
