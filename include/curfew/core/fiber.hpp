// Fibers and cancel scopes: who is cancelled when.
//
// A fiber is one line of execution: a spawned task with all that it awaits. It knows the
// innermost cancel scope it is in and the one thing it is suspended in. Cancelling a scope marks
// it and the scopes inside it, and interrupts what the fiber waits for; everything that is started
// in a marked scope ends at once. A shield is a scope that is not marked from outside.
#pragma once

#include <coroutine>
#include <cstdint>

#include "operation.hpp"
#include "timer_wheel.hpp"

namespace curfew {

/// What happens to a socket when a limit on one of its operations expires.
enum class on_timeout : std::uint8_t {
    cancel,  ///< the operation is cancelled; the socket stays open and usable
    close,   ///< the socket is closed abortively: the peer gets a RST
};

namespace detail {

class loop;

struct cancel_scope {
    cancel_scope* parent = nullptr;
    bool shield = false;
    bool cancelled = false;  // by itself or by a scope around it
    bool origin = false;     // by itself
    bool noticed = false;    // something in it has ended with `canceled` because of that
};

}  // namespace detail

struct fiber {
    detail::cancel_scope* scope = &root;    // the innermost
    detail::suspension* waiting = nullptr;  // null while it runs or is ready to
    detail::loop* loop = nullptr;
    void (*ended)(fiber&) noexcept = nullptr;  // its first coroutine has come to its end
    detail::cancel_scope root;

    fiber() = default;
    fiber(const fiber&) = delete;
    fiber& operator=(const fiber&) = delete;

    bool cancelled() const noexcept { return scope->cancelled; }

    /// Enters a scope; it must be left in the reverse order.
    void enter(detail::cancel_scope& inner) noexcept {
        inner.parent = scope;
        inner.cancelled = !inner.shield && scope->cancelled;
        scope = &inner;
    }

    void leave(detail::cancel_scope& inner) noexcept {
        CURFEW_ASSERT(scope == &inner);
        scope = inner.parent;
    }

    /// Cancels `outer`, one of the scopes the fiber is in, and what is inside it up to a shield.
    void cancel(detail::cancel_scope& outer, bool abort = false) noexcept {
        if (outer.cancelled) return;
        outer.origin = true;
        detail::cancel_scope* first = scope;  // the innermost that is reached
        for (auto* each = scope; each != &outer; each = each->parent)
            if (each->shield) first = each->parent;
        for (auto* each = first; each != outer.parent; each = each->parent) each->cancelled = true;
        if (first == scope && waiting) waiting->interrupt(*waiting, abort);
    }

    /// Something has ended with `canceled` because the innermost scope is cancelled.
    void notice() noexcept {
        for (auto* each = scope; each && each->cancelled; each = each->parent) {
            each->noticed = true;
            if (each->origin) break;
        }
    }
};

}  // namespace curfew
