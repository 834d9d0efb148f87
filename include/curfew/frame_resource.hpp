// Where coroutine frames come from: which resource, and what it has done so far.
#pragma once

#include <cstddef>

#include "config.hpp"
#include "core/frame_memory.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew {

/// Free lists by size, like those that each thread has by default, but the program's own: for one
/// context, say, whose memory is to be counted, or given back when it ends.
///
/// For one thread at a time, and so are the frames made from it. It must outlive them: declare it
/// before the context.
///
/// ```cpp
/// frame_pool pool;
/// io_context ctx;
/// ctx.frames(&pool);
/// ```
class frame_pool final : public frame_resource {
public:
    /// Empty.
    frame_pool() noexcept { lists_.open(); }

    /// All blocks must have come back.
    ~frame_pool() override {
        lists_.close();
        CURFEW_ASSERT(counters().bytes_held == 0);
    }

    void* allocate(std::size_t bytes) override { return lists_.allocate(bytes); }

    void deallocate(void* block, std::size_t bytes) noexcept override {
        if (!lists_.keep(block, bytes)) lists_.release(block, bytes);
    }

    /// What has gone through it.
    frame_counters counters() const noexcept { return lists_.counters(); }

    /// Returns all blocks that wait for their next use to the system. (Without it they wait until
    /// the pool ends; no more than 1,024 of each size do.)
    void trim() noexcept { lists_.trim(); }

private:
    detail::free_lists lists_;
};

/// What has gone through the free lists that the calling thread uses by default.
inline frame_counters this_thread_frame_counters() noexcept {
    return detail::this_thread_frames().lists.counters();
}

/// While it lives, coroutine frames that are made in this thread come from `from`; null: from the
/// thread's own free lists. For tasks that are made outside a running context, which brings its
/// own (see `io_context::frames`).
///
/// ```cpp
/// frame_resource_scope use(&pool);
/// ctx.spawn(listen(ctx));
/// ```
/// In a coroutine, end it before the next `co_await`: it would hold for whoever runs meanwhile.
class [[nodiscard]] frame_resource_scope {
public:
    /// Begins; what was chosen before is chosen again at its end.
    explicit frame_resource_scope(frame_resource* from) noexcept
        : outer_(detail::this_thread_frames().chosen) {
        detail::this_thread_frames().chosen = from;
    }
    ~frame_resource_scope() { detail::this_thread_frames().chosen = outer_; }
    frame_resource_scope(const frame_resource_scope&) = delete;
    frame_resource_scope& operator=(const frame_resource_scope&) = delete;

private:
    frame_resource* outer_;
};

}  // namespace curfew
