// What every task's coroutine carries: its promise, through which its fiber finds the tasks that
// await each other, and where in the source they wait.
#pragma once

#include <concepts>
#include <coroutine>
#include <exception>
#include <type_traits>
#include <utility>

#include "../platform/std_memory.hpp"
#include "awaiter.hpp"
#include "call_site.hpp"
#include "cancellation.hpp"
#include "frame_memory.hpp"
#include "trampoline.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew {

template <class T = void>
class task;

namespace detail {

/// What all promises of tasks have in common.
struct promise_base : recycled {
    fiber* owner = nullptr;          // whose line of execution this is; set when it starts
    promise_base* caller = nullptr;  // of the task that awaits it; null: it is the fiber's first
    std::coroutine_handle<>* held_by = nullptr;  // where the owner of the frame keeps its handle
#if CURFEW_EXCEPTIONS
    std::exception_ptr exception;
#else
    static inline const std::exception_ptr exception;  // there are none
#endif
#if CURFEW_SOURCE_LOCATIONS
    call_site where{};  // its last co_await
#endif

    struct final_awaiter {
        bool await_ready() const noexcept { return false; }
        template <class Promise>
        void await_suspend(std::coroutine_handle<Promise> ended) const noexcept {
            promise_base& promise = ended.promise();
            if (promise_base* const goes_on = promise.caller) {
                promise.owner->innermost = goes_on;
                transfer_to(*goes_on->held_by);
            } else {
                promise.owner->end();
            }
        }
        void await_resume() const noexcept {}
    };

    std::suspend_always initial_suspend() const noexcept { return {}; }
    final_awaiter final_suspend() const noexcept { return {}; }

    /// Notes where in the source a task is suspended, for `io_context::dump`.
    template <class Awaitable>
    CURFEW_HOT auto await_transform(Awaitable&& awaitable
#if CURFEW_SOURCE_LOCATIONS
                                    ,
                                    call_site at = CURFEW_CALL_SITE
#endif
    ) {
        static_assert(detail::awaitable<Awaitable>,
                      "curfew: this cannot be awaited; operations, tasks, join_handles and "
                      "combinations of them can");
#if CURFEW_SOURCE_LOCATIONS
        where = at;
#endif
        return transformed(static_cast<Awaitable&&>(awaitable));
    }

    void unhandled_exception() noexcept {
#if CURFEW_EXCEPTIONS
        exception = std::current_exception();
#endif
    }

    bool failed() const noexcept { return exception != nullptr; }

    [[noreturn]] CURFEW_COLD void no_value() const noexcept {
        constexpr const char* mistake =
            "a task has ended without the value that it is to return: co_return is missing after "
            "its last co_await";
#if CURFEW_SOURCE_LOCATIONS
        fatal_at(where, mistake);
#else
        fatal(mistake);
#endif
    }

    void rethrow() {
#if CURFEW_EXCEPTIONS
        if (exception) std::rethrow_exception(exception);
#endif
    }
};

/// The fiber of coroutines that belong to no loop. It is suspended in nothing, and nobody cancels
/// it.
inline constinit fiber no_fiber{};

/// Ends the program because of a mistake in what runs; says where the task's last `co_await` is, if
/// it is one.
[[noreturn]] CURFEW_COLD inline void fatal_in([[maybe_unused]] const fiber& self,
                                              const char* mistake) noexcept {
#if CURFEW_SOURCE_LOCATIONS
    if (self.innermost) fatal_at(self.innermost->where, mistake);
#endif
    fatal(mistake);
}
[[noreturn]] CURFEW_COLD inline void fatal_here(const char* mistake) noexcept {
    const fiber* const self = this_thread().current;
    fatal_in(self ? *self : no_fiber, mistake);
}

/// Destroys the coroutines of a fiber where they are suspended, the innermost first: so each finds
/// alive what is around it, and none destroys another one within itself, which would take stack for
/// each of them. Whoever owned them then holds nothing. The fiber's first is spared on request.
inline void destroy_frames(promise_base* innermost, bool first_too = true) noexcept {
    while (innermost && (innermost->caller || first_too)) {
        promise_base* const caller = innermost->caller;
        std::exchange(*innermost->held_by, nullptr).destroy();
        innermost = caller;
    }
}

/// The promise of a `task<T>`: keeps what it returns.
template <class T>
struct promise final : promise_base {
    // A union, so that T need not be default-constructible.
    union {
        std::remove_const_t<T> stored;
    };
    bool has_value = false;

    promise() noexcept {}
    ~promise() {
        if (has_value) std::destroy_at(std::addressof(stored));
    }

    task<T> get_return_object() noexcept;

    template <class U = T>
    requires std::convertible_to<U&&, T>
    void return_value(U&& value) {
        ::new (static_cast<void*>(std::addressof(stored))) T(std::forward<U>(value));
        has_value = true;
    }

    /// What it has returned.
    std::remove_const_t<T>& value() noexcept {
        if (!has_value) [[unlikely]]
            no_value();
        return stored;
    }

    T take() {
        rethrow();
        return std::move(value());
    }
};

template <class T>
struct promise<T&> final : promise_base {
    T* stored = nullptr;

    task<T&> get_return_object() noexcept;
    void return_value(T& value) noexcept { stored = std::addressof(value); }
    T& take() {
        rethrow();
        if (!stored) [[unlikely]]
            no_value();
        return *stored;
    }
};

template <>
struct promise<void> final : promise_base {
    task<void> get_return_object() noexcept;
    void return_void() const noexcept {}
    void take() { rethrow(); }
};

}  // namespace detail
}  // namespace curfew
