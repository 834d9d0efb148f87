// Sleeping, and giving way.
#pragma once

#include <chrono>
#include <coroutine>

#include "core/time.hpp"
#include "io_context.hpp"
#include "loop.hpp"
#include "result.hpp"

namespace curfew {

namespace detail {

/// The loop that a fiber's sleeps belong to.
inline loop& loop_for(const fiber& self) noexcept {
    if (self.loop) return *self.loop;
    fatal("sleeping outside a running io_context");
}

/// A suspension that ends by itself or by cancellation.
class pause : suspension {
public:
    enum class kind { after, at, next_turn };

    pause(kind how, ticks time) noexcept : how_(how), timer_(time) {}
    pause(const pause&) = delete;
    pause& operator=(const pause&) = delete;

    bool await_ready() const noexcept { return false; }

    template <class Promise>
    bool await_suspend(std::coroutine_handle<Promise> coroutine) noexcept {
        return begin(fiber_of(coroutine), coroutine);
    }

    optional_result await_resume() const noexcept {
        if (!canceled_) return {};
        owner->notice();
        return errc::canceled;
    }

private:
    struct timer : timer_node {
        pause* self = nullptr;
        explicit timer(ticks time) noexcept : timer_node(&on_expiry, time) {}
        static void on_expiry(timer_node& node) noexcept {
            pause& self = *static_cast<timer&>(node).self;
            self.end(false);
        }
    };

    bool begin(fiber& self, std::coroutine_handle<> coroutine) noexcept {
        loop& own = loop_for(self);
        waiter = coroutine;
        owner = &self;
        if (self.cancelled()) {
            canceled_ = true;
            if (!share_is_used_up()) return false;
            how_ = kind::next_turn;
        }
        self.waiting = this;
        if (how_ == kind::next_turn) {
            own.defer(*this);
            interrupt = [](suspension&, bool) noexcept {};
            return true;
        }
        interrupt = [](suspension& sleeping, bool) noexcept {
            static_cast<pause&>(sleeping).end(true);
        };
        timer_.self = this;
        if (how_ == kind::after)
            own.arm_after(timer_);
        else
            own.arm_at(timer_);
        return true;
    }

    /// Whoever comes first, the timer or the cancellation, ends the pause; the other one finds it
    /// ended: both run in the loop's thread.
    void end(bool canceled) noexcept {
        if (ended_) return;
        ended_ = true;
        canceled_ = canceled;
        timer_.disarm();
        owner->loop->make_ready(*this);
    }

    kind how_;
    bool ended_ = false;
    bool canceled_ = false;
    timer timer_;
};

/// What `sleep_for` and its kind return.
class [[nodiscard("a sleep does nothing until it is awaited")]] pause_request {
public:
    using kind = pause::kind;
    pause_request(kind how, ticks time) noexcept : how_(how), time_(time) {}
    pause operator co_await() const noexcept { return pause(how_, time_); }

private:
    kind how_;
    ticks time_;
};

}  // namespace detail

/// Suspends the task for at least that long; with zero or less, until the loop's next turn.
/// Yields a `result<>` that may be ignored: `canceled` when it was cut short.
template <class Rep, class Period>
detail::pause_request sleep_for(std::chrono::duration<Rep, Period> time) noexcept {
    return {detail::pause::kind::after, detail::to_ticks(time)};
}

/// Suspends the task until `point` or a little later.
template <class Duration>
detail::pause_request sleep_until(std::chrono::time_point<clock, Duration> point) noexcept {
    return {detail::pause::kind::at, detail::to_ticks(point)};
}

/// Lets everything else that is ready go first; with `io_context::poll`, ends this slice of the
/// task. `canceled`, at once, in a cancelled task.
inline detail::pause_request yield() noexcept { return {detail::pause::kind::next_turn, 0}; }

}  // namespace curfew
