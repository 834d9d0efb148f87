// Fibers and cancel scopes: who is cancelled when.
//
// A fiber is one line of execution: a spawned task, or a branch of a combination, with all that it
// awaits. It knows the innermost cancel scope it is in and the one thing it is suspended in. Fibers
// form a tree: those that were started within a scope of another stand in a nursery of that scope.
// Cancelling a scope marks it, the scopes inside it and those of the fibers in its nurseries, and
// interrupts what they wait for; everything that is started in a marked scope ends at once. A
// shield is a scope that is not marked from outside.
//
// Trees, and chains of fibers that wait for each other, may be a million deep. So nothing here
// calls itself for each level: who goes through them keeps a list of the fibers that are left to
// visit.
#pragma once

#include <coroutine>
#include <cstdint>
#include <utility>

#include "operation.hpp"
#include "ready_queue.hpp"
#include "socket_reference.hpp"
#include "timer_wheel.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew {

/// What happens to a socket when a limit on one of its operations expires.
enum class on_timeout : std::uint8_t {
    cancel,  ///< the operation is cancelled; the socket stays open and usable
    close,   ///< the socket is closed abortively: the peer gets a RST
};

namespace detail {

class loop;
struct nursery;
struct promise_base;

/// Why a scope is cancelled.
enum class cancel_cause : std::uint8_t {
    none,    ///< it is not
    around,  ///< because a scope around it is
    itself,  ///< it was cancelled itself, whatever has become of those around it since
};

struct cancel_scope {
    cancel_scope* parent = nullptr;  // that of a fiber's root is the scope its nursery is in
    nursery* nurseries = nullptr;    // fibers that live within this scope
    const timer_node* limit = nullptr;
    bool shield = false;
    cancel_cause cause = cancel_cause::none;
    /// Something in it has ended with `canceled` because it is cancelled.
    bool cut_short = false;
    /// Scopes around it learn that from whoever awaits the end of what is in it.
    bool keeps_to_itself = false;

    bool cancelled() const noexcept { return cause != cancel_cause::none; }
    bool cancelled_itself() const noexcept { return cause == cancel_cause::itself; }
    bool cut_short_by_itself() const noexcept { return cut_short && cancelled_itself(); }
    bool cut_short_from_around() const noexcept { return cut_short && !cancelled_itself(); }

    /// As it is entered within one that is cancelled, or not.
    void begin_within(bool cancelled_one) noexcept {
        cause = cancelled_one && !shield ? cancel_cause::around : cancel_cause::none;
    }
    void cancel_itself() noexcept { cause = cancel_cause::itself; }
    void cancel_from_around() noexcept {
        if (!cancelled()) cause = cancel_cause::around;
    }
};

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

/// Says that what runs in a scope is about a socket: when a limit around it that closes expires, the
/// socket is aborted, whatever is waited for then. It stands in the scope's list of nurseries, as one
/// without fibers, so that scopes about which nothing is said keep nothing for it.
struct socket_name : nursery, socket_reference {
    socket_name* next_reached;  // by a cancellation
    void (*abort)(socket_name&) noexcept;

    socket_name(socket_state& named, void (*how)(socket_name&) noexcept) noexcept
        : socket_reference(named), abort(how) {
        names_socket = true;
    }
};

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

/// A cancellation on its way through the tree.
class cancellation {
public:
    /// With `abort` it aborts the sockets of pending operations.
    explicit cancellation(bool abort) noexcept : abort_(abort) {}
    cancellation(const cancellation&) = delete;
    cancellation& operator=(const cancellation&) = delete;
    ~cancellation() { carry_out(); }

    bool aborts() const noexcept { return abort_; }

    /// `self` is cancelled because the scope it lives in is.
    void add(fiber& self) noexcept;
    void add(nursery& all) noexcept;

    /// `self` is cancelled itself.
    void add_itself(fiber& self) noexcept;

    /// In `outer` and all inside it. Interrupts what the fiber waits for, if that is inside.
    void reach(fiber& self, cancel_scope& outer) noexcept;

private:
    /// It has just been marked.
    void visit(fiber& self) noexcept;
    void carry_out() noexcept;

    const bool abort_;
    fiber_list left_;  // marked, and not yet reached
    socket_name* named_ = nullptr;  // in what it has reached; with `abort_`
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
    void cancel(detail::cancel_scope& outer, bool abort = false) noexcept {
        if (outer.cancelled() || being_destroyed) return;
        outer.cancel_itself();
        detail::cancellation(abort).reach(*this, outer);
    }

    /// Something has ended with `canceled` because the innermost scope is cancelled. (Above a scope
    /// that knows it all do: in a chain of scopes each looks at its own.)
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

inline void cancellation::add(fiber& self) noexcept {
    // What waits in a fiber that is about to be destroyed has been interrupted already, and the
    // scopes that it was in may be gone.
    if (self.root.cancelled() || self.being_destroyed) return;
    self.cancel_root_from_around();
    visit(self);
}

inline void cancellation::add_itself(fiber& self) noexcept {
    if (self.root.cancelled() || self.being_destroyed) return;
    self.cancel_root_itself();
    visit(self);
}

inline void cancellation::visit(fiber& self) noexcept {
    // Others, such as one that has not begun yet, have nothing inside that could be reached.
    if (self.has_begun() && (self.waiting || self.scope != &self.root || self.root.nurseries))
        left_.push(self);
}

inline void cancellation::add(nursery& all) noexcept {
    if (all.shielded) return;
    if (abort_ && all.names_socket) {
        auto& name = static_cast<socket_name&>(all);
        name.next_reached = std::exchange(named_, &name);
    }
    for (fiber* each = all.first; each; each = each->next) add(*each);
}

inline void cancellation::reach(fiber& self, cancel_scope& outer) noexcept {
    cancel_scope* first = self.scope;  // the innermost that is reached
    for (auto* each = self.scope; each != &outer; each = each->parent)
        if (each->shield) first = each->parent;
    for (auto* each = first; each != outer.parent; each = each->parent) {
        each->cancel_from_around();
        if (each == self.scope) self.in_cancelled = true;
        for (auto* inside = each->nurseries; inside; inside = inside->next) add(*inside);
    }
    if (first == self.scope && self.waiting) self.waiting->type->interrupt(*self.waiting, *this);
}

inline void cancellation::carry_out() noexcept {
    while (fiber* const next = left_.pop()) reach(*next, next->root);
    // Last, so that operations have been asked to end before, and say why they did.
    for (; named_; named_ = named_->next_reached) named_->abort(*named_);
}

inline void nursery::attach(cancel_scope& to) noexcept {
    detach();
    scope = &to;
    next = to.nurseries;
    if (next) next->link = &next;
    to.nurseries = this;
    link = &to.nurseries;
    for (fiber* each = first; each; each = each->next) each->root.parent = scope;
    if (to.cancelled()) cancellation(false).add(*this);
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

inline void nursery::cancel_each(bool abort) noexcept {
    cancellation each_of_them(abort);
    for (fiber* each = first; each; each = each->next) each_of_them.add_itself(*each);
}

}  // namespace detail
}  // namespace curfew
