// Sleeping, and giving way.
#pragma once

#include <coroutine>

#include "core/suspension.hpp"
#include "core/time.hpp"
#include "core/timer_list.hpp"
#include "core/timer_wheel.hpp"
#include "io_context.hpp"
#include "loop/loop.hpp"
#include "loop/queues.hpp"
#include "platform/std_chrono.hpp"
#include "result.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew {

namespace detail {

/// What a sleep and a yield have in common.
class cuttable_wait : protected suspension {
public:
    cuttable_wait(const cuttable_wait&) = delete;
    cuttable_wait& operator=(const cuttable_wait&) = delete;

    bool await_ready() const noexcept { return false; }

    optional_result await_resume() const noexcept {
        if (!canceled_) return {};
        owner->note_cut_short();
        return errc::canceled;
    }

protected:
    cuttable_wait() = default;

    loop& note_waiter(fiber& self, std::coroutine_handle<> coroutine) noexcept {
        loop& own = loop_for(self);
        waiter = coroutine;
        owner = &self;
        return own;
    }

    /// In a cancelled fiber it ends at once, unless that one has had its share of the turn.
    bool ends_at_once() noexcept {
        canceled_ = owner->cancelled();
        return canceled_ && !share_is_used_up();
    }

    void suspend(loop& own, const suspension_type& how) noexcept {
        type = &how;
        since = own.recent();
        owner->waiting = this;
    }

    void suspend_until_next_turn(loop& own) noexcept {
        static constexpr suspension_type until_next_turn{
            [](suspension&, cancellation&) noexcept { return true; },
            [](const suspension&, wait_report& report) noexcept { report.what = "next turn"; },
        };
        suspend(own, until_next_turn);
        own.defer(*this);
    }

    bool canceled_ = false;
};

/// Ends by itself or by cancellation.
class sleep_awaiter : cuttable_wait {
public:
    enum class kind { after, at, until_tick };

    sleep_awaiter(kind how, ticks time, manual_time* on) noexcept
        : how_(how), timer_(time), time_(on) {}

    using cuttable_wait::await_ready;
    using cuttable_wait::await_resume;

    template <class Promise>
    bool await_suspend(std::coroutine_handle<Promise> coroutine) noexcept {
        return begin(fiber_of(coroutine), coroutine);
    }

private:
    struct timer : timer_node {
        sleep_awaiter* self = nullptr;
        explicit timer(ticks time) noexcept : timer_node(&on_expiry, time) {}
        static void on_expiry(timer_node& node, limit_report* asked) noexcept {
            if (!asked) static_cast<timer&>(node).self->end(false);
        }
    };

    bool begin(fiber& self, std::coroutine_handle<> coroutine) noexcept {
        loop& own = note_waiter(self, coroutine);
        own.check_thread();
        if (ends_at_once()) return false;
        if (canceled_) {
            suspend_until_next_turn(own);
            return true;
        }
        suspend(own, how_ == kind::until_tick ? until_tick : sleeping);
        timer_.self = this;
        arm(own);
        return true;
    }

    static bool interrupt(suspension& self, cancellation&) noexcept {
        static_cast<sleep_awaiter&>(self).end(true);
        return true;
    }
    static void describe(const suspension& self, wait_report& report) noexcept {
        const auto& sleep = static_cast<const sleep_awaiter&>(self);
        report.what = "sleep";
        report.until = sleep.timer_.deadline;
        if (sleep.time_ && sleep.timer_.armed()) report.now = sleep.time_->now;
    }
    static void describe_tick(const suspension&, wait_report& report) noexcept {
        report.what = "next tick";
    }
    static constexpr suspension_type sleeping{&interrupt, &describe};
    static constexpr suspension_type until_tick{&interrupt, &describe_tick, false, true};

    void arm(loop& own) noexcept {
        if (how_ == kind::until_tick) {
            own.arm_for_tick(timer_);
        } else if (time_) {
            if (how_ == kind::after) timer_.deadline += time_->now;
            time_->wheel.arm(timer_);
        } else if (how_ == kind::after) {
            own.arm_after(timer_);
        } else {
            own.arm_at(timer_);
        }
    }

    /// Whoever comes first, the timer (or tick) or the cancellation, ends the sleep; the other one
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
    timer timer_;
    manual_time* time_;  // null: the loop's
};

/// Gives way to all else that is ready. A coroutine that runs somewhere else than in its loop is
/// posted there.
class yield_awaiter : cuttable_wait {
public:
    yield_awaiter() noexcept : arrival_(*this) {}
    ~yield_awaiter() {
        if (posted_) owner->loop->withdraw(arrival_);
    }

    using cuttable_wait::await_ready;
    using cuttable_wait::await_resume;

    template <class Promise>
    bool await_suspend(std::coroutine_handle<Promise> coroutine) noexcept {
        return begin(fiber_of(coroutine), coroutine);
    }

private:
    /// Runs in the loop's thread.
    struct arrival : posted_function {
        yield_awaiter& of;
        explicit arrival(yield_awaiter& whole) noexcept : of(whole) {
            run = [](posted_function& self, bool wanted) {
                yield_awaiter& arrived = static_cast<arrival&>(self).of;
                arrived.posted_ = false;
                arrived.canceled_ = arrived.owner->cancelled();
                if (wanted) arrived.owner->loop->resume(arrived);
            };
        }
    };

    bool begin(fiber& self, std::coroutine_handle<> coroutine) noexcept {
        loop& own = note_waiter(self, coroutine);
        if (!own.runs_here()) [[unlikely]] {
            // From here on the coroutine may run there, and all this be gone.
            posted_ = true;
            own.post(arrival_);
            return true;
        }
        if (ends_at_once()) return false;
        suspend_until_next_turn(own);
        return true;
    }

    bool posted_ = false;
    arrival arrival_;
};

/// What `yield` returns.
class [[nodiscard("yield does nothing until it is awaited")]] yield_request {
public:
    yield_awaiter operator co_await() const noexcept { return yield_awaiter(); }
};

/// What `sleep_for` and its kind return.
class [[nodiscard("a sleep does nothing until it is awaited")]] sleep_request {
public:
    using kind = sleep_awaiter::kind;
    sleep_request(kind how, ticks time = 0, manual_time* on = nullptr) noexcept
        : how_(how), time_(time), on_(on) {}
    sleep_awaiter operator co_await() const noexcept { return sleep_awaiter(how_, time_, on_); }

private:
    kind how_;
    ticks time_;
    manual_time* on_;
};

}  // namespace detail

/// Suspends the task for at least that long; with zero or less, until the loop's next turn.
/// Yields a `result<>` that may be ignored: `canceled` when it was cut short.
template <class Rep, class Period>
detail::sleep_request sleep_for(std::chrono::duration<Rep, Period> time) noexcept {
    return {detail::sleep_request::kind::after, detail::to_ticks(time)};
}

/// Suspends the task until `point` or a little later.
template <class Duration>
detail::sleep_request sleep_until(detail::point_in_time<Duration> point) noexcept {
    return {detail::sleep_request::kind::at, detail::to_ticks(point)};
}

/// Chosen when the argument is wrong: says what is expected.
template <class Time>
detail::sleep_request sleep_for(const Time&) noexcept {
    return {detail::sleep_request::kind::after, detail::not_a_duration<Time>()};
}
template <class Time>
detail::sleep_request sleep_until(const Time&) noexcept {
    return {detail::sleep_request::kind::at, detail::not_a_time_point<Time>()};
}

/// Lets everything else that is ready go first; with `io_context::poll`, ends this slice of the
/// task. `canceled`, at once, in a cancelled task.
///
/// In a task that code of another library has resumed outside its loop, in another thread say, it
/// brings the task back: it goes on in the loop's next turn. Before it has done so it may not wait
/// for anything else.
inline detail::yield_request yield() noexcept { return {}; }

/// Suspends the task until the program calls `io_context::poll`, `poll_for` or `poll_until` again:
/// until the next frame. `run` and its kind tick nothing; one without an end whose tasks all wait
/// for a tick, themselves or through the tasks that they await, ends the program with a message.
/// Yields a `result<>` that may be ignored.
///
/// Cancellation: `canceled`, without a tick.
inline detail::sleep_request next_tick() noexcept {
    return detail::sleep_request::kind::until_tick;
}

}  // namespace curfew
