// Guests: tasks that coroutines of other libraries await, and the fibers of such coroutines.
#pragma once

#include <coroutine>
#include <type_traits>

#include "../core/cancel_scope.hpp"
#include "../core/cancellation.hpp"
#include "../core/promise.hpp"
#include "../core/trampoline.hpp"
#include "fiber_tree.hpp"
#include "tasks.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew::detail {

/// The fiber of coroutines that are not the library's tasks: that of `waits_in`, the loop of what
/// they wait for, or else the one of the loop that runs.
fiber& outside_fiber(loop* waits_in) noexcept;

/// The fiber that a coroutine belongs to.
template <class Promise>
fiber& fiber_of(std::coroutine_handle<Promise> coroutine,
                [[maybe_unused]] loop* waits_in = nullptr) noexcept {
    if constexpr (std::is_base_of_v<promise_base, Promise>)
        return *coroutine.promise().owner;
    else
        return outside_fiber(waits_in);
}

/// The loop in which a fiber waits for what is not a socket's.
inline loop& loop_for(const fiber& self) noexcept {
    if (self.loop) return *self.loop;
    fatal_in(self, "waiting outside a running io_context: post() or spawn() what waits for more "
                   "than a socket");
}

/// The fiber of a task that a coroutine of another library awaits, its host. Of that one nothing is
/// known but that it waits: it may be destroyed meanwhile, and the task's frame soon after.
struct guest : fiber {
    guest() = default;
    ~guest();

    /// In the loop that runs it begins when it is its turn. Outside of any it begins at once, and
    /// belongs to the loop of the first socket that it uses: nothing else can be waited for before.
    void begin(std::coroutine_handle<> frame, promise_base& promise, std::coroutine_handle<> host);

    std::coroutine_handle<> host;
};

/// Those of a loop. Their frames belong to their hosts: a loop that ends does not destroy them.
class guests {
public:
    guests(loop& own, fiber_tree& all, tasks& others) noexcept
        : loop_(own), tree_(all), tasks_(others) {
        all_.attach(tree_.outside.root);
    }

    /// Begins a task that is not the loop's, unless the loop is about to end.
    void begin(guest& self, std::coroutine_handle<> frame, promise_base& promise) noexcept {
        if (tasks_.loop_ends()) return;
        add(self);
        tasks_.begin(self, frame, promise);
    }

    /// A task that a coroutine of another library has awaited outside of any loop uses a socket of
    /// this one, and is the loop's from here on.
    void adopt(fiber& self) noexcept {
        if (tasks_.loop_ends()) return;
        self.loop = &loop_;
        add(self);
    }

    /// It has come to its end.
    void end(guest& self) noexcept {
        self.leave_home();
        tasks_.count_end();
    }

    /// Its frame is about to be destroyed by others. Groups in it live on: it may not own them.
    void destroy(guest& self) noexcept {
        self.for_each_scope([&](cancel_scope& scope) { tree_.move_groups_out_of(scope); });
        tasks_.destroy(self, false);
        tasks_.count_end();
    }

    /// The loop ends. What they wait for has been ended; they stay suspended, without a loop.
    void forget_all() noexcept {
        while (fiber* const left = all_.first) {
            tree_.move_groups_out_of(*left);
            left->leave_home();
            left->loop = nullptr;
            left->in_cancelled = true;
        }
    }

private:
    void add(fiber& self) noexcept {
        all_.add(self);
        tasks_.count_begin();
    }

    loop& loop_;
    fiber_tree& tree_;
    tasks& tasks_;
    nursery all_;
};

}  // namespace curfew::detail
