// game_clock: the time of a game, which can be paused, slowed, and moved a step at a time.
#pragma once

#include <optional>

#include "core/fiber.hpp"
#include "core/timer_wheel.hpp"
#include "platform/std_chrono.hpp"
#include "sleep.hpp"
#include "timeout.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew {

/// The time of a game. It stands still until the program moves it, once a frame: by a step of its
/// own (`advance`), or by the time that has really passed (`update`). Sleeps and limits on it end
/// in the next `poll` after that. Time limits of the network belong on the wire's clock: plain
/// `with_timeout`.
///
/// ```cpp
/// game_clock game;
/// ctx.spawn(door(game));           // co_await game.sleep_for(3s); close();
/// while (playing) {
///     game.update();               // or, for a fixed step, game.advance(16'666'667ns)
///     ctx.poll_for(2ms);
/// }
/// ```
/// It belongs to one thread. It must live as long as something sleeps on it; what still does when
/// it is destroyed waits until it is cancelled.
class game_clock {
public:
    /// What the standard asks of a clock.
    using duration = std::chrono::nanoseconds;
    /// The same.
    using rep = duration::rep;
    /// The same.
    using period = duration::period;
    /// The same.
    using time_point = std::chrono::time_point<game_clock, duration>;
    /// The same.
    static constexpr bool is_steady = true;

    game_clock() = default;
    game_clock(const game_clock&) = delete;
    game_clock& operator=(const game_clock&) = delete;

    /// The time in the game; it begins at zero.
    time_point now() const noexcept { return time_point(duration(time_.now)); }

    /// Moves the clock by `step` of real time, at most `max_step()`, times `scale()`; not at all
    /// while it is paused. Returns by how much the time in the game has moved.
    template <class Rep, class Period>
    duration advance(std::chrono::duration<Rep, Period> step) noexcept {
        return move(detail::to_ticks(step));
    }

    /// `advance` by the real time since the last `update`; the first one only starts to count.
    duration update() noexcept {
        const detail::ticks real = detail::ticks_now();
        const detail::ticks step = last_update_ == detail::endless ? 0 : real - last_update_;
        last_update_ = real;
        return move(step);
    }

    /// The game's time stands still, whatever `advance` and `update` are told.
    void pause() noexcept { paused_ = true; }
    /// The game's time goes on.
    void resume() noexcept { paused_ = false; }
    /// Whether it stands still.
    bool paused() const noexcept { return paused_; }

    /// How fast the game's time passes: 1 is real time, 0.5 half as fast. Not negative.
    void scale(double factor) noexcept {
        CURFEW_ASSERT(factor >= 0);
        scale_ = factor;
    }
    /// How fast it passes.
    double scale() const noexcept { return scale_; }

    /// The longest step of real time that counts, so that a hitch or a breakpoint is not made up
    /// for all at once. There is no limit at first.
    template <class Rep, class Period>
    void max_step(std::chrono::duration<Rep, Period> step) noexcept {
        max_step_ = detail::to_ticks(step);
    }
    /// The longest step that counts.
    duration max_step() const noexcept { return duration(max_step_); }

    /// Like the free functions of these names, on this clock.
    template <class Rep, class Period>
    detail::sleep_request sleep_for(std::chrono::duration<Rep, Period> time) noexcept {
        return {detail::sleep_request::kind::after, detail::to_ticks(time), &time_};
    }
    /// Sleeps until a point of the game's time.
    template <class Duration>
    detail::sleep_request
    sleep_until(std::chrono::time_point<game_clock, Duration> point) noexcept {
        return {detail::sleep_request::kind::at, detail::to_ticks(point.time_since_epoch()), &time_};
    }
    /// A limit on the game's time: `curfew::with_timeout` says the rest.
    template <class Awaitable, class Rep, class Period>
    auto with_timeout(Awaitable&& awaitable, std::chrono::duration<Rep, Period> time,
                      on_timeout policy = on_timeout::cancel) {
        static_assert(detail::checked_cancellable<Awaitable>);
        return detail::limited<Awaitable, detail::limit_kind::manual>(
            static_cast<Awaitable&&>(awaitable), {{&time_}, detail::to_ticks(time), policy});
    }

    /// Chosen when an argument is wrong: says what is expected.
    template <class Time>
    detail::sleep_request sleep_for(const Time&) noexcept {
        return {detail::sleep_request::kind::after, detail::not_a_duration<Time>()};
    }
    template <class Time>
    detail::sleep_request sleep_until(const Time&) noexcept {
        return {detail::sleep_request::kind::at, detail::not_a_time_point<Time>()};
    }
    template <class Time>
    duration advance(const Time&) noexcept {
        return duration(detail::not_a_duration<Time>());
    }
    template <class Awaitable, class Time>
    Awaitable&& with_timeout(Awaitable&& awaitable, const Time&, on_timeout = on_timeout::cancel) {
        static_cast<void>(detail::not_a_duration<Time>());
        return static_cast<Awaitable&&>(awaitable);
    }

    /// When the earliest sleep or limit on this clock ends; nothing if there is none.
    std::optional<time_point> next_deadline() noexcept {
        const detail::ticks earliest = time_.wheel.earliest();
        if (earliest == detail::endless) return std::nullopt;
        return time_point(duration(earliest));
    }

private:
    duration move(detail::ticks step) noexcept {
        const detail::ticks room = detail::longest - time_.now;
        detail::ticks whole = paused_ ? 0 : step < max_step_ ? step : max_step_;
        if (!paused_ && scale_ != 1.0) {
            const double exact = static_cast<double>(whole) * scale_ + fraction_;
            whole = exact < static_cast<double>(room) ? static_cast<detail::ticks>(exact) : room;
            fraction_ = whole < room ? exact - static_cast<double>(whole) : 0.0;
        }
        if (whole > room) whole = room;
        time_.now += whole;
        time_.wheel.expire(time_.now);
        return duration(whole);
    }

    detail::manual_time time_;
    double scale_ = 1.0;
    double fraction_ = 0.0;  // of a nanosecond, so that many small steps lose nothing
    detail::ticks max_step_ = detail::longest;
    detail::ticks last_update_ = detail::endless;  // there was none
    bool paused_ = false;
};

}  // namespace curfew
