// The clock of limits and sleeps, and durations that never overflow.
#pragma once

#include <cstdint>
#include <limits>
#include <ratio>
#include <type_traits>

#include "../platform/platform.hpp"
#include "../platform/std_chrono.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew {

/// The clock of all limits and sleeps: monotonic. Its points in time are those of
/// `std::chrono::steady_clock`, whose `now` says the same; only in a simulation it does not: there
/// this clock is the simulated host's.
struct clock {
    using time_point =
        std::chrono::steady_clock::time_point;  ///< What the standard asks of a clock.
    using duration = time_point::duration;      ///< The same.
    using rep = duration::rep;                  ///< The same.
    using period = duration::period;            ///< The same.
    static constexpr bool is_steady = true;     ///< The same.

    /// The time.
    static time_point now() noexcept {
        return time_point(std::chrono::duration_cast<duration>(platform::steady_now()));
    }
};

namespace detail {

/// A point in time of `clock`, in any unit.
template <class Duration>
using point_in_time = std::chrono::time_point<clock::time_point::clock, Duration>;

using ticks = std::int64_t;  // nanoseconds
inline constexpr ticks endless = std::numeric_limits<ticks>::max();
/// The longest duration, 146 years: it can be added to any time of the clock.
inline constexpr ticks longest = endless / 2;

/// Nanoseconds of any duration: rounded up, so that a limit is never early; what is negative is
/// nothing, what is too long is `most`.
template <class Rep, class Period>
constexpr ticks to_ticks(std::chrono::duration<Rep, Period> time, ticks most = longest) noexcept {
    using scale = std::ratio_divide<Period, std::nano>;
    if (!(time.count() > Rep(0))) return 0;
    if constexpr (std::is_integral_v<Rep> && scale::den == 1) {
        if (static_cast<std::uintmax_t>(time.count()) >
            static_cast<std::uintmax_t>(most / scale::num))
            return most;
        return static_cast<ticks>(time.count()) * scale::num;
    } else {
        const auto exact = static_cast<long double>(time.count()) * scale::num / scale::den;
        if (exact >= static_cast<long double>(most)) return most;
        const auto whole = static_cast<ticks>(exact);
        return static_cast<long double>(whole) < exact ? whole + 1 : whole;
    }
}

inline ticks ticks_now() noexcept { return platform::steady_now().count(); }

/// Ticks of a point in time; points before the clock's epoch are long past, and stay so.
template <class Duration>
constexpr ticks to_ticks(point_in_time<Duration> point) noexcept {
    return to_ticks(point.time_since_epoch(), endless);
}

constexpr clock::time_point to_time_point(ticks t) noexcept {
    return clock::time_point(
        std::chrono::duration_cast<clock::duration>(std::chrono::nanoseconds(t)));
}

// For the overloads that are chosen when an argument is no time of the kind that is expected: they
// fail to compile, and say what is.

template <class>
inline constexpr bool always_false = false;

template <class Time>
constexpr ticks not_a_duration() noexcept {
    static_assert(always_false<Time>,
                  "curfew: this takes a duration, with its unit: 500ms, say, with "
                  "`using namespace std::chrono_literals`");
    return 0;
}

template <class Time>
constexpr ticks not_a_time_point() noexcept {
    static_assert(always_false<Time>,
                  "curfew: this takes a point in time of its clock: curfew::clock::now() + 500ms, "
                  "say (which is the steady one), or of a game_clock its own");
    return 0;
}

}  // namespace detail
}  // namespace curfew
