// What is going to happen in a simulated world, and when. Time is that of the world, in nanoseconds
// since it began; it stands still while anything runs.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include "../../config.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew::sim {

using nanoseconds = std::int64_t;

inline constexpr nanoseconds never = std::numeric_limits<nanoseconds>::max();
inline constexpr nanoseconds microsecond = 1000;
inline constexpr nanoseconds millisecond = 1000 * microsecond;
inline constexpr nanoseconds second = 1000 * millisecond;

/// Something that happens at a time: part of what it happens to. Its memory must last as long as
/// the queue's, also after it has been taken back.
struct event {
    void (*happen)(event&) = nullptr;
    nanoseconds at = never;   // `never`: it is not planned
    std::uint64_t order = 0;  // of those at the same time the one planned first happens first
};

class event_queue {
public:
    /// Plans it, or plans it anew.
    void plan(event& what, nanoseconds at) {
        what.at = at;
        what.order = ++planned_;
        entries_.push_back({at, what.order, &what});
        std::push_heap(entries_.begin(), entries_.end(), later);
        ++plans_since_;
        forget_stale_ones();
    }

    void take_back(event& what) noexcept {
        if (what.at == never) return;
        what.at = never;
        what.order = 0;
    }

    /// When the next one happens; `never` if there is none.
    nanoseconds next_time() noexcept {
        drop_stale_front();
        return entries_.empty() ? never : entries_.front().at;
    }

    /// The next one, which is not planned any more; null if there is none.
    event* take() noexcept {
        drop_stale_front();
        if (entries_.empty()) return nullptr;
        event& first = *entries_.front().what;
        drop_front();
        first.at = never;
        return &first;
    }

    /// Takes another one than the next, which is planned.
    event& take(event& what) noexcept {
        take_back(what);
        return what;
    }

    /// All that are planned, in the order of time.
    std::vector<event*> all() const {
        std::vector<entry> sorted;
        for (const entry& each : entries_)
            if (!is_stale(each)) sorted.push_back(each);
        std::sort(sorted.begin(), sorted.end(),
                  [](const entry& a, const entry& b) { return later(b, a); });
        std::vector<event*> found;
        for (const entry& each : sorted) found.push_back(each.what);
        return found;
    }

private:
    struct entry {
        nanoseconds at;
        std::uint64_t order;
        event* what;
    };

    static bool later(const entry& a, const entry& b) noexcept {
        return a.at != b.at ? a.at > b.at : a.order > b.order;
    }

    /// It has been planned anew, or taken back.
    static bool is_stale(const entry& each) noexcept {
        return each.what->order != each.order || each.what->at == never;
    }

    void drop_front() noexcept {
        std::pop_heap(entries_.begin(), entries_.end(), later);
        entries_.pop_back();
    }

    void drop_stale_front() noexcept {
        while (!entries_.empty() && is_stale(entries_.front())) drop_front();
    }

    /// Now and then, so that there are at most as many of them as of the others.
    void forget_stale_ones() {
        if (entries_.size() < 1024 || plans_since_ < entries_.size() / 2) return;
        plans_since_ = 0;
        std::erase_if(entries_, is_stale);
        std::make_heap(entries_.begin(), entries_.end(), later);
    }

    std::vector<entry> entries_;
    std::uint64_t planned_ = 0;
    std::size_t plans_since_ = 0;  // the stale ones were last forgotten
};

}  // namespace curfew::sim
