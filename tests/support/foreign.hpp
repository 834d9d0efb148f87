// Coroutine types and awaitables that know nothing of curfew, as programs have their own.
#pragma once

#include <coroutine>
#include <exception>
#include <optional>
#include <utility>
#include <vector>

namespace test {

/// Begins at once, belongs to nobody, frees itself at its end. What leaves it goes to who resumed
/// it, and leaves the frame behind.
struct detached {
    struct promise_type {
        detached get_return_object() const noexcept { return {}; }
        std::suspend_never initial_suspend() const noexcept { return {}; }
        std::suspend_never final_suspend() const noexcept { return {}; }
        void return_void() const noexcept {}
        void unhandled_exception() const { std::rethrow_exception(std::current_exception()); }
    };
};

/// Tells the handle of the coroutine that awaits it, which goes on.
struct handle_to {
    std::coroutine_handle<>& place;
    bool await_ready() const noexcept { return false; }
    bool await_suspend(std::coroutine_handle<> self) const noexcept {
        place = self;
        return false;
    }
    void await_resume() const noexcept {}
};

/// A lazy task with symmetric transfer, like cppcoro's.
template <class T>
class foreign_task {
public:
    struct promise_type {
        std::optional<T> value;
        std::coroutine_handle<> continuation;

        struct final_awaiter {
            bool await_ready() const noexcept { return false; }
            std::coroutine_handle<>
            await_suspend(std::coroutine_handle<promise_type> ended) const noexcept {
                return ended.promise().continuation;
            }
            void await_resume() const noexcept {}
        };

        foreign_task get_return_object() noexcept {
            return foreign_task(std::coroutine_handle<promise_type>::from_promise(*this));
        }
        std::suspend_always initial_suspend() const noexcept { return {}; }
        final_awaiter final_suspend() const noexcept { return {}; }
        void return_value(T result) { value = std::move(result); }
        void unhandled_exception() const noexcept { std::terminate(); }
    };

    foreign_task(foreign_task&& other) noexcept : frame_(std::exchange(other.frame_, nullptr)) {}
    ~foreign_task() {
        if (frame_) frame_.destroy();
    }

    bool await_ready() const noexcept { return false; }
    std::coroutine_handle<> await_suspend(std::coroutine_handle<> parent) noexcept {
        frame_.promise().continuation = parent;
        return frame_;
    }
    T await_resume() { return std::move(*frame_.promise().value); }

private:
    explicit foreign_task(std::coroutine_handle<promise_type> frame) noexcept : frame_(frame) {}
    std::coroutine_handle<promise_type> frame_;
};

/// Suspends all who await it until `set`, which resumes them one after the other, right there.
class foreign_event {
public:
    struct awaiter {
        foreign_event& event;
        bool await_ready() const noexcept { return event.is_set_; }
        void await_suspend(std::coroutine_handle<> waiter) { event.waiters_.push_back(waiter); }
        void await_resume() const noexcept {}
    };
    awaiter operator co_await() noexcept { return {*this}; }

    void set() {
        is_set_ = true;
        for (const auto each : std::exchange(waiters_, {})) each.resume();
    }

private:
    bool is_set_ = false;
    std::vector<std::coroutine_handle<>> waiters_;
};

}  // namespace test
