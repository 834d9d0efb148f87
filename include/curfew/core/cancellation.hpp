// Who is cancelled when.
//
// Cancelling a scope marks it, the scopes inside it and those of the fibers in its nurseries, up to
// shields, and interrupts what they wait for. Trees, and chains of fibers that wait for each other,
// may be a million deep. So nothing here calls itself for each level: a cancellation keeps a list
// of the fibers that are left to visit.
#pragma once

#include <utility>

#include "fiber.hpp"
#include "socket_name.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew {

namespace detail {

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
    fiber_list left_;               // marked, and not yet reached
    socket_name* named_ = nullptr;  // in what it has reached; with `abort_`
};

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

inline void nursery::cancel_each(bool abort) noexcept {
    cancellation each_of_them(abort);
    for (fiber* each = first; each; each = each->next) each_of_them.add_itself(*each);
}

}  // namespace detail

inline void fiber::cancel(detail::cancel_scope& outer, bool abort) noexcept {
    if (outer.cancelled() || being_destroyed) return;
    outer.cancel_itself();
    detail::cancellation(abort).reach(*this, outer);
}

}  // namespace curfew
