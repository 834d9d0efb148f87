// Functions for a loop to call, in the order in which they were posted, each of which can be taken
// back in a few steps however many there are.
#pragma once

#include "../config.hpp"
#include "ready_queue.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew::detail {

/// A function for the loop to call, posted from any thread. `run` disposes of it, having called it
/// or, when the loop ends before it comes to that, without.
struct posted_function : ready_node {
    void (*run)(posted_function&, bool call) = nullptr;
    ready_node** link = nullptr;  // what points at it in a posted_queue; null while it is in none
    posted_function() noexcept { owner = nullptr; }
};

/// Owns none of them.
class posted_queue {
public:
    posted_queue() = default;
    posted_queue(const posted_queue&) = delete;
    posted_queue& operator=(const posted_queue&) = delete;

    bool empty() const noexcept { return head_ == nullptr; }

    template <class Look>
    void for_each(Look look) const {
        for (const ready_node* node = head_; node; node = node->next) look(*node);
    }

    void push(posted_function& function) noexcept {
        function.next = nullptr;
        function.link = end_;
        *end_ = &function;
        end_ = &function.next;
    }

    /// Null when empty.
    posted_function* pop() noexcept {
        auto* const oldest = static_cast<posted_function*>(head_);
        if (oldest) remove(*oldest);
        return oldest;
    }

    /// Takes it out if it is in the queue.
    void remove(posted_function& function) noexcept {
        if (!function.link) return;
        *function.link = function.next;
        if (function.next)
            static_cast<posted_function&>(*function.next).link = function.link;
        else
            end_ = function.link;
        function.link = nullptr;
    }

private:
    ready_node* head_ = nullptr;
    ready_node** end_ = &head_;
};

}  // namespace curfew::detail
