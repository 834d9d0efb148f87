// Fibers and nurseries: the tree of what runs.
//
// A fiber is one line of execution: a spawned task, or a branch of a combination, with all that it
// awaits. It knows the innermost cancel scope it is in and the one thing it is suspended in. Fibers
// form a tree: those that were started within a scope of another stand in a nursery of that scope.
// What happens when a scope is cancelled stands in cancellation.hpp.
#pragma once

#include <coroutine>
#include <cstdint>

#include "cancel_scope.hpp"
#include "ready_queue.hpp"
#include "suspension.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew {

namespace detail {

class loop;
struct promise_base;

/// Fibers that live within a scope of another fiber: the branches of a combination, the children of
/// a group.
struct nursery {
    cancel_scope* scope = nullptr;
    nursery* next = nullptr;  // the scope's list of nurseries
    nursery** link = nullptr;
    fiber* first = nullptr;    // the newest of the living
    /// For the tasks of a group: called when one of them has ended, and has left the nursery.
    void (*gone)(nursery&) noexcept = nullptr;
    bool holds_tasks = false;  // which were spawned, so that it may outlive the fiber it is in
    bool shielded = false;     // its fibers are not cancelled any more because its scope is
    bool names_socket = false;  // it has no fibers: see socket_name

    nursery() = default;
    nursery(const nursery&) = delete;
    nursery& operator=(const nursery&) = delete;
    ~nursery() { detach(); }

    bool empty() const noexcept { return !first; }

    /// From here on its fibers live within `to`.
    void attach(cancel_scope& to) noexcept;
    void detach() noexcept;

    void add(fiber& child) noexcept;

    /// Cancels its fibers each for itself, whatever happens around them.
    void cancel_each(bool abort = false) noexcept;
};

}  // namespace detail

struct fiber {
    /// Queued until it begins; of a task that was spawned, at its end again.
    detail::ready_node turn{{}, nullptr, this, nullptr};
    detail::cancel_scope* scope = &root;  // the innermost
    detail::loop* loop = nullptr;
    void (*ended)(fiber&) = nullptr;            // called at its end; null afterwards
    detail::promise_base* innermost = nullptr;  // of the tasks that await each other
    detail::nursery* home = nullptr;            // where it stands in the tree
    fiber* next = nullptr;                      // the nursery's list
    fiber** link = nullptr;
    detail::cancel_scope root;
    // What every operation touches stands together.
    detail::suspension* waiting = nullptr;  // null while it runs
    /// What `scope` says. True, too, in a fiber that has no loop yet, so that its first operation
    /// takes the longer way, where it gets one: see guests::adopt.
    bool in_cancelled = false;
    bool being_destroyed = false;  // about to be destroyed where it stands

    constexpr fiber() noexcept = default;
    fiber(const fiber&) = delete;
    fiber& operator=(const fiber&) = delete;
    ~fiber() { leave_home(); }

    /// False: its `turn` is queued.
    bool has_begun() const noexcept { return !waiting || !waiting->type->is_start; }

    bool cancelled() const noexcept {
        CURFEW_ASSERT(in_cancelled == scope->cancelled() || !loop);
        return in_cancelled && scope->cancelled();
    }

    /// Calls `look` on the scopes it is in, from the innermost to its root.
    template <class Look>
    void for_each_scope(Look look) const {
        detail::cancel_scope* each = scope;
        for (; each != &root; each = each->parent) look(*each);
        look(*each);
    }

    /// Enters a scope; it must be left in the reverse order.
    void enter(detail::cancel_scope& inner) noexcept {
        inner.parent = scope;
        inner.begin_within(in_cancelled);
        in_cancelled = inner.cancelled();
        scope = &inner;
    }

    void leave(detail::cancel_scope& inner) noexcept {
        CURFEW_ASSERT(scope == &inner);
        scope = inner.parent;
        in_cancelled = scope->cancelled();
        // A group that was made in this scope and has left it, say by a move of its owner.
        while (inner.nurseries) [[unlikely]] inner.nurseries->attach(*scope);
    }

    /// Its first coroutine has come to its end. (May throw what a coroutine of another library
    /// throws that goes on then.)
    void end() {
        CURFEW_ASSERT(scope == &root);
        // A group that was made in this fiber and has left it.
        while (root.nurseries) [[unlikely]] root.nurseries->attach(*root.parent);
        ended(*this);
    }

    /// Cancels `outer`, one of the scopes the fiber is in, and what is inside it up to a shield.
    void cancel(detail::cancel_scope& outer, bool abort = false) noexcept;

    /// Nesting: the limit that has expired is the one that says `timed_out`, and those inside it
    /// say `canceled`. Something has ended with `canceled` because the innermost scope is
    /// cancelled: that is told to the scopes around it up to the one that was cancelled itself,
    /// whose doing it is, and no further. So of several that are cancelled the innermost says
    /// `timed_out`, and those around it nothing, unless something else in them is cut short. (Above
    /// a scope that knows it all do: in a chain of scopes each looks at its own.)
    void note_cut_short() noexcept {
        for (auto* each = scope; each && each->cancelled() && !each->cut_short;
             each = each->parent) {
            each->cut_short = true;
            if (each->cancelled_itself() || each->keeps_to_itself) break;
        }
    }

    void cancel_root_itself() noexcept {
        root.cancel_itself();
        if (scope == &root) in_cancelled = true;
    }

    /// The scope that it lives in is cancelled.
    void cancel_root_from_around() noexcept {
        root.cancel_from_around();
        if (scope == &root) in_cancelled = true;
    }

    /// It begins to live in a scope that is cancelled, or not.
    void begin_within(bool cancelled_one) noexcept {
        root.begin_within(cancelled_one);
        if (scope == &root) in_cancelled = cancelled_one;
    }

    void leave_home() noexcept {
        if (!link) return;
        *link = next;
        if (next) next->link = link;
        link = nullptr;
        home = nullptr;
    }
};

namespace detail {

/// Some fibers that have begun and have not come to their end: until then their `turn` is in no
/// queue, and links them here.
class fiber_list {
public:
    void push(fiber& self) noexcept;
    /// The one that was pushed last; null when empty.
    fiber* last() const noexcept;
    fiber* pop() noexcept;

private:
    ready_node* last_ = nullptr;
};

inline void fiber_list::push(fiber& self) noexcept {
    self.turn.next = last_;
    last_ = &self.turn;
}

inline fiber* fiber_list::last() const noexcept { return last_ ? last_->owner : nullptr; }

inline fiber* fiber_list::pop() noexcept {
    fiber* const self = last();
    if (self) last_ = last_->next;
    return self;
}

inline void nursery::detach() noexcept {
    if (!link) return;
    *link = next;
    if (next) next->link = link;
    link = nullptr;
    scope = nullptr;
}

inline void nursery::add(fiber& child) noexcept {
    child.home = this;
    child.next = first;
    if (first) first->link = &child.next;
    child.link = &first;
    first = &child;
    child.root.parent = scope;
    child.begin_within(scope && scope->cancelled());
}

}  // namespace detail
}  // namespace curfew
