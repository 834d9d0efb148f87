// The clock, rests, and how calls are told how long they may wait.
#pragma once

#include <cstdint>
#include <limits>

#include "../std_chrono.hpp"
#include "../types.hpp"
#include "system.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew::platform {

/// The time of `std::chrono::steady_clock`.
inline std::chrono::nanoseconds steady_now() noexcept {
#if defined(__linux__)
    // What it reads in both of Linux's standard libraries, without the way through them.
    timespec now;
    ::clock_gettime(CLOCK_MONOTONIC, &now);
    return std::chrono::seconds(now.tv_sec) + std::chrono::nanoseconds(now.tv_nsec);
#else
    return std::chrono::steady_clock::now().time_since_epoch();
#endif
}

namespace detail {

inline timespec to_timespec(std::chrono::nanoseconds time) noexcept {
    const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(time);
    return {static_cast<decltype(timespec::tv_sec)>(seconds.count()),
            static_cast<decltype(timespec::tv_nsec)>((time - seconds).count())};
}

/// What a single call waits at the most: a day, after which the loop waits again.
inline std::chrono::nanoseconds bounded(std::chrono::nanoseconds time) noexcept {
    constexpr std::chrono::nanoseconds day = std::chrono::hours(24);
    return time < day ? time : day;
}

/// Milliseconds, rounded up so that a wait is never too short; -1 for `unlimited`.
inline int to_milliseconds(std::chrono::nanoseconds time) noexcept {
    if (time == unlimited) return -1;
    const auto ms = (static_cast<std::uint64_t>(time.count()) + 999'999) / 1'000'000;
    constexpr int most = std::numeric_limits<int>::max();
    return ms < most ? static_cast<int>(ms) : most;
}

}  // namespace detail

/// Does nothing for that long, or less.
inline void pause(std::chrono::nanoseconds time) noexcept {
    const timespec limit = detail::to_timespec(detail::bounded(time));
    ::nanosleep(&limit, nullptr);
}

}  // namespace curfew::platform
