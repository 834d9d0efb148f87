// An awaitable in a cancel scope of its own: what limits on tasks, shields and cancel_on are made
// of.
#pragma once

#include <coroutine>
#include <type_traits>

#include "../core/awaiter.hpp"
#include "../core/cancel_scope.hpp"
#include "../core/cancellation.hpp"
#include "../loop/loop.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew::detail {

/// Runs an awaitable in a cancel scope of its own.
template <class Awaitable>
class scoped {
public:
    explicit scoped(Awaitable&& awaitable)
        : inner_(awaiter_of(static_cast<Awaitable&&>(awaitable))) {}
    scoped(const scoped&) = delete;
    scoped& operator=(const scoped&) = delete;

    cancel_scope scope;
    fiber* self = nullptr;

    template <class Promise>
    void enter(std::coroutine_handle<Promise> coroutine) noexcept {
        static_assert(std::is_base_of_v<promise_base, Promise>,
                      "curfew: limits on tasks, shielded and cancel_on are awaited in a "
                      "curfew::task; other coroutine types have nothing that could be cancelled");
        self = &fiber_of(coroutine);
        loop_for(*self).check_thread();
        self->enter(scope);
    }

    template <class Promise>
    bool suspend(std::coroutine_handle<Promise> coroutine) {
        struct leaver {
            scoped* all;
            ~leaver() {
                if (all) all->self->leave(all->scope);
            }
        } leave{this};
        const bool suspended = suspend_in(inner_, coroutine);
        leave.all = nullptr;
        return suspended;
    }

    decltype(auto) resume() {
        struct leaver {
            scoped& all;
            ~leaver() { all.self->leave(all.scope); }
        } const leave{*this};
        return inner_.await_resume();  // may still note that it was cancelled in this scope
    }

private:
    awaiter_of_t<Awaitable> inner_;
};

}  // namespace curfew::detail
