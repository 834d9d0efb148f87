// task<T>: a coroutine that starts when it is awaited.
#pragma once

#include <concepts>
#include <coroutine>
#include <exception>
#include <type_traits>
#include <utility>

#include "core/awaiter.hpp"
#include "core/call_site.hpp"
#include "core/fiber.hpp"
#include "core/frame_memory.hpp"
#include "core/trampoline.hpp"
#include "platform/std_memory.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew {

template <class T = void>
class task;

namespace detail {

template <class T>
struct promise;

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

/// What runs tasks takes their frames.
struct task_access {
    /// The frame of a task that is about to run, and that stays its owner.
    template <class T>
    static std::coroutine_handle<promise<T>> begin(const task<T>& work) noexcept {
        work.check_startable();
        return work.frame();
    }
    /// The same, for an owner that destroys it, and that says where it keeps the handle.
    template <class T>
    static std::coroutine_handle<promise<T>> take(task<T>& work) noexcept {
        work.check_startable();
        const auto frame = work.frame();
        work.frame_ = nullptr;
        return frame;
    }
};

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

/// A lazy coroutine: it runs when it is awaited (once) or given to `io_context::spawn`.
///
/// ```cpp
/// task<int> answer() { co_return 42; }
/// task<> ask() { int n = co_await answer(); }
/// ```
/// An exception that leaves the coroutine comes out of the `co_await`. Chains of tasks that await
/// each other use no stack, however long they are: neither when they run and end, nor when they are
/// cancelled, nor when they are destroyed where they are suspended, which happens from the innermost
/// outwards. A task that is never awaited never runs; destroying one frees its frame.
///
/// Cancellation: what the task awaits ends with `errc::canceled`; the task decides what to do then.
template <class T>
class [[nodiscard("a task runs only when it is awaited or spawned")]] task {
public:
    using promise_type = detail::promise<T>;
    using value_type = T;

    task() noexcept = default;
    task(task && other) noexcept { hold(std::exchange(other.frame_, nullptr)); }
    task& operator=(task&& other) noexcept {
        task moved(std::move(other));
        const auto mine = frame_;
        hold(moved.frame_);
        moved.hold(mine);
        return *this;
    }
    ~task() {
        if (frame_) frame_.destroy();
    }

    /// In a task.
    class awaiter {
    public:
        using enable_limits = void;
        explicit awaiter(std::coroutine_handle<promise_type> frame) noexcept : frame_(frame) {}
        bool await_ready() const noexcept { return false; }
        template <std::derived_from<detail::promise_base> Promise>
        void await_suspend(std::coroutine_handle<Promise> parent) noexcept {
            auto& promise = frame_.promise();
            promise.owner = parent.promise().owner;
            promise.caller = &parent.promise();
            promise.owner->innermost = &promise;
            detail::transfer_to(frame_);
        }
        T await_resume() { return frame_.promise().take(); }

    protected:
        std::coroutine_handle<promise_type> frame_;
    };

    /// In a coroutine of any type.
    class any_awaiter : awaiter, detail::guest {
    public:
        using awaiter::await_ready;
        using awaiter::awaiter;
        using typename awaiter::enable_limits;
        template <class Promise>
        void await_suspend(std::coroutine_handle<Promise> parent) {
            if constexpr (std::is_base_of_v<detail::promise_base, Promise>)
                awaiter::await_suspend(parent);
            else
                this->begin(this->frame_, this->frame_.promise(), parent);
        }
        using awaiter::await_resume;
    };

    /// The task stays the owner of its frame and must live until it has ended.
    any_awaiter operator co_await() noexcept {
        check_startable();
        return any_awaiter(frame());
    }
    friend awaiter awaiter_in_task(task& work) noexcept {
        work.check_startable();
        return awaiter(work.frame());
    }

private:
    friend promise_type;
    friend detail::task_access;

    explicit task(std::coroutine_handle<promise_type> frame) noexcept : frame_(frame) {
        frame.promise().held_by = &frame_;
    }

    /// Becomes the owner of a frame, which then knows where its handle is.
    void hold(std::coroutine_handle<> frame) noexcept {
        frame_ = frame;
        if (frame_) this->frame().promise().held_by = &frame_;
    }

    std::coroutine_handle<promise_type> frame() const noexcept {
        return std::coroutine_handle<promise_type>::from_address(frame_.address());
    }

    void check_startable() const noexcept {
        if (!frame_)
            detail::fatal_here("an empty task is awaited: it was moved from or never made");
        if (frame().promise().owner) detail::fatal_here("a task is awaited twice");
    }

    std::coroutine_handle<> frame_;  // of a promise_type
};

namespace detail {

template <class T>
task<T> promise<T>::get_return_object() noexcept {
    return task<T>(std::coroutine_handle<promise>::from_promise(*this));
}

template <class T>
task<T&> promise<T&>::get_return_object() noexcept {
    return task<T&>(std::coroutine_handle<promise>::from_promise(*this));
}

inline task<void> promise<void>::get_return_object() noexcept {
    return task<void>(std::coroutine_handle<promise>::from_promise(*this));
}

/// A function whose call makes a task, such as a lambda that is a coroutine.
template <class Function>
concept makes_task = requires(Function& make) { []<class T>(const task<T>&) {}(make()); };

/// Keeps the function in the frame of a task around its own: a lambda's captures are members of the
/// lambda, and its coroutine only refers to them.
template <class Function>
auto kept(Function make) -> decltype(make()) {
    co_return co_await make();
}

}  // namespace detail
}  // namespace curfew

#include "loop/loop.hpp"  // which defines the guest
