// The queue of what is to be resumed: first in, first out, intrusive.
#pragma once

#include <coroutine>
#include <cstddef>

#include "../config.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew {

struct fiber;

namespace detail {

/// What can be queued: a suspended coroutine of a fiber; with no coroutine, a suspension that goes
/// on by itself (see suspension_type::go_on), and with no fiber either, a function.
///
/// It stands in one queue at the most. A function of another thread stands in the loop's `inbox`,
/// and then in a queue; a suspension stands in none while it waits, and in one from its completion
/// until it goes on; a fiber's `turn` stands in one until the fiber begins, and while a cancellation
/// visits the fiber, in a fiber_list. In which order a loop has its queues is said in
/// loop/queues.hpp.
struct ready_node {
    std::coroutine_handle<> waiter;
    ready_node* next;
    fiber* owner;
    ready_node* before;
};

/// A ring, closed by a node of the queue's own: so a node can be taken out wherever it stands, and
/// whoever does that need not know in which queue.
class ready_queue {
public:
    ready_queue() noexcept { clear(); }
    ready_queue(const ready_queue&) = delete;
    ready_queue& operator=(const ready_queue&) = delete;

    bool empty() const noexcept { return ends_.next == &ends_; }

    void push(ready_node& node) noexcept {
        ready_node* const last = ends_.before;
        node.next = &ends_;
        node.before = last;
        last->next = &node;
        ends_.before = &node;
    }

    /// Null when empty.
    ready_node* pop() noexcept {
        ready_node* const node = ends_.next;
        if (node == &ends_) return nullptr;
        remove(*node);
        return node;
    }

    /// Appends all nodes of `other`, which is empty afterwards.
    void append(ready_queue& other) noexcept {
        if (other.empty()) [[likely]]
            return;
        ends_.before->next = other.ends_.next;
        other.ends_.next->before = ends_.before;
        other.ends_.before->next = &ends_;
        ends_.before = other.ends_.before;
        other.clear();
    }

    /// Appends all but the first `kept` nodes to `other`; looks at those.
    void append_rest_to(ready_queue& other, std::size_t kept) noexcept {
        ready_node* first = ends_.next;
        for (; kept > 0 && first != &ends_; --kept) first = first->next;
        if (first == &ends_) return;
        ready_node* const last = ends_.before;
        first->before->next = &ends_;
        ends_.before = first->before;
        first->before = other.ends_.before;
        first->before->next = first;
        last->next = &other.ends_;
        other.ends_.before = last;
    }

    /// Takes out a node that stands in some queue.
    static void remove(ready_node& node) noexcept {
        node.before->next = node.next;
        node.next->before = node.before;
    }

    template <class Look>
    void for_each(Look look) const {
        for (const ready_node* node = ends_.next; node != &ends_; node = node->next) look(*node);
    }

private:
    void clear() noexcept { ends_.next = ends_.before = &ends_; }

    ready_node ends_;  // its `next` is the first node, and `before` it is the last
};

}  // namespace detail
}  // namespace curfew
