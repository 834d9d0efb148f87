// What comes to a loop from other threads: functions to call, and the wish that it stops.
#pragma once

#include <atomic>
#include <cstdint>
#include <utility>

#include "../config.hpp"
#include "ready_queue.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew::detail {

/// A stack without locks, and one bit, in one word: so that a turn of the loop looks at one word
/// for all of it. `push` and `stop` may be called in any thread, the rest in the loop's.
///
/// No wake-up is lost: only who finds the inbox empty wakes the loop. Whoever comes later finds
/// what the loop has not taken yet, and who came first has woken it or is about to; a reactor
/// remembers that it was woken. And no node is mistaken for another one (ABA): who pushes never
/// looks into the one on top, and the loop takes all of them at once.
class inbox {
public:
    /// As far as one look can tell.
    CURFEW_HOT bool empty() const noexcept { return word_.load(std::memory_order_relaxed) == 0; }

    /// Does not own the node, which stays in its place until it has been taken. True: there was
    /// nothing before it, so the loop has to be woken.
    bool push(ready_node& node) noexcept {
        std::uintptr_t before = word_.load(std::memory_order_relaxed);
        std::uintptr_t after;
        do {
            node.next = newest_in(before);
            after = reinterpret_cast<std::uintptr_t>(&node) | (before & stop_bit);
        } while (!word_.compare_exchange_weak(before, after, std::memory_order_release,
                                              std::memory_order_relaxed));
        return before == 0;
    }

    /// In a signal handler too. The loop has to be woken in any case.
    void stop() noexcept { word_.fetch_or(stop_bit, std::memory_order_release); }

    bool stop_asked_for() const noexcept {
        return word_.load(std::memory_order_relaxed) & stop_bit;
    }

    /// Appends all that was pushed, the oldest first. True if it is to stop.
    CURFEW_COLD bool take(ready_queue& to) noexcept {
        if (empty()) return false;
        const std::uintptr_t word = word_.exchange(0, std::memory_order_acquire);
        ready_node* newest = newest_in(word);
        ready_node* oldest = nullptr;
        while (newest) {
            ready_node* const next = newest->next;
            newest->next = oldest;
            oldest = newest;
            newest = next;
        }
        while (oldest) to.push(*std::exchange(oldest, oldest->next));
        return word & stop_bit;
    }

private:
    static constexpr std::uintptr_t stop_bit = 1;
    static_assert(alignof(ready_node) > stop_bit, "no node has an address with this bit");

    static ready_node* newest_in(std::uintptr_t word) noexcept {
        return reinterpret_cast<ready_node*>(word & ~stop_bit);
    }

    std::atomic<std::uintptr_t> word_{0};
};

}  // namespace curfew::detail
