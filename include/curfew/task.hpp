// task<T>: a coroutine that starts when it is awaited.
#pragma once

#include <concepts>
#include <coroutine>
#include <type_traits>
#include <utility>

#include "core/promise.hpp"
#include "core/trampoline.hpp"
#include "loop/loop.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew {
namespace detail {

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

}  // namespace detail

/// A lazy coroutine: it runs when it is awaited (once) or given to `io_context::spawn`.
///
/// ```cpp
/// task<int> answer() { co_return 42; }
/// task<> ask() { int n = co_await answer(); }
/// ```
/// An exception that leaves the coroutine comes out of the `co_await`. Chains of tasks that await
/// each other use no stack, however long they are: neither when they run and end, nor when they are
/// cancelled, nor when they are destroyed where they are suspended, which happens from the
/// innermost outwards. A task that is never awaited never runs; destroying one frees its frame.
///
/// Cancellation: what the task awaits ends with `errc::canceled`; the task decides what to do then.
template <class T>
class [[nodiscard("a task runs only when it is awaited or spawned")]] task {
public:
    using promise_type = detail::promise<T>;
    using value_type = T;

    /// None.
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
