// Sleeping, and giving way.
#pragma once

#include <coroutine>

#include "core/time.hpp"
#include "io_context.hpp"
#include "loop/loop.hpp"
#include "platform/std_chrono.hpp"
#include "result.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew {

namespace detail {

/// A suspension that ends by itself or by cancellation.
class pause : suspension {
public:
    enum class kind { after, at, next_turn, next_tick };

    pause(kind how, ticks time, manual_time* on) noexcept : how_(how), timer_(time), time_(on) {}
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
        static void on_expiry(timer_node& node, limit_report* asked) noexcept {
            if (!asked) static_cast<timer&>(node).self->end(false);
        }
    };

    bool begin(fiber& self, std::coroutine_handle<> coroutine) noexcept {
        loop& own = loop_for(self);
        waiter = coroutine;
        owner = &self;
        own.check_thread();
        if (self.cancelled()) {
            canceled_ = true;
            if (!share_is_used_up()) return false;
            how_ = kind::next_turn;
        }
        since = own.recent();
        self.waiting = this;
        type = &type_of(how_);
        if (how_ == kind::next_turn) {
            own.defer(*this);
        } else if (how_ == kind::next_tick) {
            timer_.self = this;
            own.arm_for_tick(timer_);
        } else {
            timer_.self = this;
            arm(own);
        }
        return true;
    }

    static const suspension_type& type_of(kind how) noexcept {
        static constexpr suspension_type sleeping{
            [](suspension& self, cancellation&) noexcept {
                static_cast<pause&>(self).end(true);
                return true;
            },
            [](const suspension& self, wait_report& report) noexcept {
                const auto& sleep = static_cast<const pause&>(self);
                report.what = "sleep";
                report.until = sleep.timer_.deadline;
                if (sleep.time_ && sleep.timer_.armed()) report.now = sleep.time_->now;
            },
        };
        static constexpr suspension_type giving_way{
            [](suspension&, cancellation&) noexcept { return true; },
            [](const suspension&, wait_report& report) noexcept { report.what = "next turn"; },
        };
        static constexpr suspension_type until_tick{
            sleeping.interrupt,
            [](const suspension&, wait_report& report) noexcept { report.what = "next tick"; },
            false,
            true,
        };
        return how == kind::next_turn ? giving_way : how == kind::next_tick ? until_tick : sleeping;
    }

    void arm(loop& own) noexcept {
        if (time_) {
            if (how_ == kind::after) timer_.deadline += time_->now;
            time_->wheel.arm(timer_);
        } else if (how_ == kind::after) {
            own.arm_after(timer_);
        } else {
            own.arm_at(timer_);
        }
    }

    /// Whoever comes first, the timer (or tick) or the cancellation, ends the pause; the other one
    /// finds it ended: both run in the loop's thread.
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
    manual_time* time_;  // null: the loop's
};

/// Gives way to all else that is ready. A coroutine that runs somewhere else than in its loop is
/// posted there.
class giving_way : suspension {
public:
    giving_way() noexcept : arrival_(*this) {}
    giving_way(const giving_way&) = delete;
    giving_way& operator=(const giving_way&) = delete;
    ~giving_way() {
        if (posted_) owner->loop->withdraw(arrival_);
    }

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
    /// Runs in the loop's thread.
    struct arrival : posted_function {
        giving_way& of;
        explicit arrival(giving_way& whole) noexcept : of(whole) {
            run = [](posted_function& self, bool wanted) {
                giving_way& arrived = static_cast<arrival&>(self).of;
                arrived.posted_ = false;
                arrived.canceled_ = arrived.owner->cancelled();
                if (wanted) arrived.owner->loop->resume(arrived);
            };
        }
    };

    bool begin(fiber& self, std::coroutine_handle<> coroutine) noexcept {
        loop& own = loop_for(self);
        waiter = coroutine;
        owner = &self;
        if (!own.runs_here()) [[unlikely]] {
            // From here on the coroutine may run there, and all this be gone.
            posted_ = true;
            own.post(arrival_);
            return true;
        }
        canceled_ = self.cancelled();
        if (canceled_ && !share_is_used_up()) return false;
        static constexpr suspension_type kind{
            [](suspension&, cancellation&) noexcept { return true; },
            [](const suspension&, wait_report& report) noexcept { report.what = "next turn"; },
        };
        type = &kind;
        since = own.recent();
        self.waiting = this;
        own.defer(*this);
        return true;
    }

    bool posted_ = false;
    bool canceled_ = false;
    arrival arrival_;
};

/// What `yield` returns.
class [[nodiscard("yield does nothing until it is awaited")]] turn_request {
public:
    giving_way operator co_await() const noexcept { return giving_way(); }
};

/// What `sleep_for` and its kind return.
class [[nodiscard("a sleep does nothing until it is awaited")]] pause_request {
public:
    using kind = pause::kind;
    pause_request(kind how, ticks time = 0, manual_time* on = nullptr) noexcept
        : how_(how), time_(time), on_(on) {}
    pause operator co_await() const noexcept { return pause(how_, time_, on_); }

private:
    kind how_;
    ticks time_;
    manual_time* on_;
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

/// Chosen when the argument is wrong: says what is expected.
template <class Time>
detail::pause_request sleep_for(const Time&) noexcept {
    return {detail::pause::kind::after, detail::not_a_duration<Time>()};
}
template <class Time>
detail::pause_request sleep_until(const Time&) noexcept {
    return {detail::pause::kind::at, detail::not_a_time_point<Time>()};
}

/// Lets everything else that is ready go first; with `io_context::poll`, ends this slice of the
/// task. `canceled`, at once, in a cancelled task.
///
/// In a task that code of another library has resumed outside its loop, in another thread say, it
/// brings the task back: it goes on in the loop's next turn. Before it has done so it may not wait
/// for anything else.
inline detail::turn_request yield() noexcept { return {}; }

/// Suspends the task until the program calls `io_context::poll`, `poll_for` or `poll_until` again:
/// until the next frame. `run` and its kind tick nothing; one without an end whose tasks all wait
/// for a tick, themselves or through the tasks that they await, ends the program with a message.
/// Yields a `result<>` that may be ignored.
///
/// Cancellation: `canceled`, without a tick.
inline detail::pause_request next_tick() noexcept { return detail::pause::kind::next_tick; }

}  // namespace curfew
