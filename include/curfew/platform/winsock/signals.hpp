// The events of a Windows console, as signals: Ctrl+C is SIGINT, Ctrl+Break SIGBREAK, and the end of
// the window, the session or the system SIGTERM.
#pragma once

#include <csignal>
#include <cstdint>

#include "../signal_records.hpp"
#include "system.hpp"

CURFEW_SYSTEM_HEADER

#define CURFEW_HAS_SIGNALS 1

namespace curfew::platform {

namespace detail {

/// What a program has once: see config.hpp about modules.
struct signal_table {
    signal_records records;
    unsigned users = 0;
    PHANDLER_ROUTINE handler = nullptr;  // the one that is installed
};

CURFEW_STATE signal_table& all_signals() noexcept;

#if CURFEW_STATE_IS_HERE
inline namespace v0_1 {
CURFEW_SHARED inline constinit signal_table signal_table_of_all{};
}

CURFEW_STATE signal_table& all_signals() noexcept { return signal_table_of_all; }
#endif

/// In a thread of the system's. What is not ours goes on to who was there before.
inline BOOL WINAPI on_console_event(DWORD event) noexcept {
    const int number = event == CTRL_C_EVENT       ? SIGINT
                       : event == CTRL_BREAK_EVENT ? SIGBREAK
                                                   : SIGTERM;
    if (!all_signals().records.tell(number, 0, [] {})) return FALSE;
    // The process ends when this returns. It is to end by itself, for which the system gives it five
    // seconds: the end of `main` ends this thread, too.
    if (number == SIGTERM) ::Sleep(INFINITE);
    return TRUE;
}

}  // namespace detail

inline bool can_watch_signal(int number) noexcept {
    return number == SIGINT || number == SIGBREAK || number == SIGTERM;
}

inline int watch_signals(signal_record& record) noexcept {
    detail::signal_table& all = detail::all_signals();
    const detail::signal_records::guard locked(all.records, 0);
    all.records.add(record);
    if (all.users++ > 0) return 0;
    all.handler = &detail::on_console_event;
    if (::SetConsoleCtrlHandler(all.handler, TRUE)) return 0;
    --all.users;
    all.records.remove(record);
    return static_cast<int>(::GetLastError());
}

inline void forget_signals(signal_record& record) noexcept {
    detail::signal_table& all = detail::all_signals();
    const detail::signal_records::guard locked(all.records, 0);
    if (--all.users == 0) ::SetConsoleCtrlHandler(all.handler, FALSE);
    all.records.remove(record);
}

}  // namespace curfew::platform
