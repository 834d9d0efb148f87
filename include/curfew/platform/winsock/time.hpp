// The clock, rests, and how calls are told how long they may wait.
#pragma once

#include <algorithm>

#include "../std_chrono.hpp"
#include "../types.hpp"
#include "system.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew::platform {

/// The time of `std::chrono::steady_clock`.
inline std::chrono::nanoseconds steady_now() noexcept {
    return std::chrono::steady_clock::now().time_since_epoch();
}

namespace detail {

/// Milliseconds, rounded up so that a wait is never too short, and a day at the most; INFINITE for
/// `unlimited`. (The system's clock ticks every 15.6 ms unless somebody has it tick faster, and a
/// wait may be that much longer.)
inline DWORD to_milliseconds(std::chrono::nanoseconds time) noexcept {
    if (time == unlimited) return INFINITE;
    constexpr std::chrono::nanoseconds zero{}, most = std::chrono::hours(24);
    return static_cast<DWORD>(
        std::chrono::ceil<std::chrono::milliseconds>(std::clamp(time, zero, most)).count());
}

}  // namespace detail

/// Does nothing for that long, a tick of the system's clock more, or less.
inline void pause(std::chrono::nanoseconds time) noexcept {
    ::Sleep(
        detail::to_milliseconds(std::min<std::chrono::nanoseconds>(time, std::chrono::hours(1))));
}

}  // namespace curfew::platform
