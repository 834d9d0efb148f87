// The queue of what is to be resumed: first in, first out, intrusive.
#pragma once

#include <coroutine>
#include <cstddef>

#include "../config.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew {

struct fiber;

namespace detail {

/// What can be queued: a suspended coroutine of a fiber, or (with no coroutine) a function.
struct ready_node {
    std::coroutine_handle<> waiter;
    ready_node* next;
    fiber* owner;
};

class ready_queue {
public:
    ready_queue() = default;
    ready_queue(const ready_queue&) = delete;
    ready_queue& operator=(const ready_queue&) = delete;

    bool empty() const noexcept { return head_ == nullptr; }

    void push(ready_node& node) noexcept {
        node.next = nullptr;
        *end_ = &node;
        end_ = &node.next;
    }

    /// Before all others.
    void push_first(ready_node& node) noexcept {
        node.next = head_;
        if (!head_) end_ = &node.next;
        head_ = &node;
    }

    /// Null when empty.
    ready_node* pop() noexcept {
        ready_node* node = head_;
        if (!node) return nullptr;
        head_ = node->next;
        if (!head_) [[likely]]
            end_ = &head_;
        return node;
    }

    /// Puts all of `other` at the end.
    void append(ready_queue& other) noexcept {
        if (other.empty()) [[likely]]
            return;
        *end_ = other.head_;
        end_ = other.end_;
        other.head_ = nullptr;
        other.end_ = &other.head_;
    }

    /// Takes out one node if it is queued here; looks at all that stand before it.
    void remove(ready_node& node) noexcept {
        for (ready_node** at = &head_; *at; at = &(*at)->next) {
            if (*at != &node) continue;
            *at = node.next;
            if (!node.next) end_ = at;
            return;
        }
    }

    /// Takes out all nodes of which `unwanted` is true; looks at every one.
    template <class Predicate>
    void remove_if(Predicate unwanted) noexcept {
        ready_node** at = &head_;
        while (ready_node* const node = *at)
            if (unwanted(*node))
                *at = node->next;
            else
                at = &node->next;
        end_ = at;
    }

    template <class Look>
    void for_each(Look look) const {
        for (const ready_node* node = head_; node; node = node->next) look(*node);
    }

private:
    ready_node* head_ = nullptr;
    ready_node** end_ = &head_;
};

}  // namespace detail
}  // namespace curfew
