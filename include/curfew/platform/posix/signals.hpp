// POSIX signals: taken over while somebody wants to be told of them, and given back.
#pragma once

#include <signal.h>

#include <atomic>
#include <cerrno>
#include <cstdint>

#include "../signal_records.hpp"
#include "system.hpp"

CURFEW_SYSTEM_HEADER

#define CURFEW_HAS_SIGNALS 1

namespace curfew::platform {

namespace detail {

using signal_action = struct sigaction;

/// What is known of one signal.
struct taken_signal {
    unsigned users = 0;      // records that want it
    signal_action before{};  // what it did before it was taken over
    /// Somebody else had taken it over when we were to give it back, and what they will restore is
    /// our handler, which passes on to `before`. If we take it over from them meanwhile, `before`
    /// is theirs, and this one `beneath` waits for that.
    std::atomic<bool> covered{false};
    bool has_beneath = false;
    signal_action beneath{};
};

/// What a program has once: see config.hpp about modules.
struct signal_table {
    static constexpr int count = 64;
    signal_records records;
    void (*handler)(int, siginfo_t*, void*) = nullptr;  // the one that all modules install
    taken_signal of[count + 1]{};
};

CURFEW_STATE signal_table& all_signals() noexcept;

#if CURFEW_STATE_IS_HERE
inline namespace v0_1 {
CURFEW_SHARED inline constinit signal_table signal_table_of_all{};
}

CURFEW_STATE signal_table& all_signals() noexcept { return signal_table_of_all; }
#endif

inline bool calls(const signal_action& action, void (*handler)(int, siginfo_t*, void*)) noexcept {
    return (action.sa_flags & SA_SIGINFO) && action.sa_sigaction == handler;
}

/// What becomes of a signal that nobody in this process wants to be told of.
struct unwanted_signal {
    bool is_lost = false;     // it comes from whoever was there before, who has called our handler
    bool given_back = false;  // to them
    signal_action before{};
};

/// It means what it meant before: in a child that has a copy of the list; and where somebody else
/// has taken the signal over later than we did, and still calls our handler. In a handler.
///
/// Who is about to want the signal waits for this, with a record in the list already (see
/// watch_signals). So what is given back here is not theirs, and nobody writes to `before`.
inline void give_back_unwanted(signal_table& all, int number, unwanted_signal& that) noexcept {
    const signal_action& before = that.before = all.of[number].before;
    signal_action now{};
    ::sigaction(number, nullptr, &now);
    if (calls(now, all.handler)) {
        ::sigaction(number, &before, nullptr);
        all.of[number].covered = false;
        that.given_back = true;
    } else {
        that.is_lost = (before.sa_flags & SA_SIGINFO) == (now.sa_flags & SA_SIGINFO) &&
                       before.sa_handler == now.sa_handler;
    }
}

inline void pass_on(const unwanted_signal& that, int number, siginfo_t* info,
                    void* context) noexcept {
    if (that.is_lost) return;
    if (that.before.sa_flags & SA_SIGINFO) {
        that.before.sa_sigaction(number, info, context);
    } else if (that.before.sa_handler == SIG_DFL) {
        if (that.given_back) ::raise(number);  // when this handler has returned
    } else if (that.before.sa_handler != SIG_IGN) {
        that.before.sa_handler(number);
    }
}

inline void on_signal(int number, siginfo_t* info, void* context) noexcept {
    const int error = errno;
    signal_table& all = all_signals();
    unwanted_signal that;
    if (!all.records.tell(number, ::getpid(), [&] { give_back_unwanted(all, number, that); }))
        pass_on(that, number, info, context);
    errno = error;
}

/// Returns the system's error number.
inline int take_over(signal_table& all, int number) noexcept {
    signal_action now{};
    if (::sigaction(number, nullptr, &now) < 0) return errno;
    if (!all.handler) all.handler = &on_signal;
    if (calls(now, all.handler)) return 0;
    taken_signal& taken = all.of[number];
    taken.has_beneath = taken.covered;
    if (taken.has_beneath) taken.beneath = taken.before;
    taken.before = now;
    signal_action ours{};
    ours.sa_sigaction = all.handler;
    // Calls of others are not disturbed by it, as far as the system can repeat them.
    ours.sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK;
    sigemptyset(&ours.sa_mask);
    return ::sigaction(number, &ours, nullptr) < 0 ? errno : 0;
}

/// Unless somebody else has taken it over since.
inline void give_back(signal_table& all, int number) noexcept {
    taken_signal& taken = all.of[number];
    signal_action now{};
    ::sigaction(number, nullptr, &now);
    taken.covered = !calls(now, all.handler) || taken.has_beneath;
    if (!calls(now, all.handler)) return;
    ::sigaction(number, &taken.before, nullptr);
    if (taken.has_beneath) taken.before = taken.beneath;
    taken.has_beneath = false;
}

/// Calls `act` with each number of a record, until it says false.
template <class Act>
void for_each_number(const signal_record& record, Act act) {
    for (int number = 1; number <= signal_table::count; ++number)
        if (record.numbers >> (number - 1) & 1 && !act(number)) break;
}

/// What a program is told of its own mistakes: a handler that returns would be called again at once.
inline bool is_own_mistake(int number) noexcept {
    return number == SIGSEGV || number == SIGBUS || number == SIGFPE || number == SIGILL;
}

}  // namespace detail

/// Whether signals of this number can be watched.
inline bool can_watch_signal(int number) noexcept {
    return number >= 1 && number <= detail::signal_table::count && !detail::is_own_mistake(number);
}

/// From here on `record` is told of its signals, and nobody else is. Returns the system's error
/// number; then nothing has changed.
inline int watch_signals(signal_record& record) noexcept {
    detail::signal_table& all = detail::all_signals();
    record.process = ::getpid();
    const detail::signal_records::guard locked(all.records, record.process);
    // Before its signals are taken over: none of them finds nobody, and none that has found nobody
    // gives back what is taken over from here on.
    all.records.add(record);
    all.records.wait_for_handlers();
    int error = 0;
    int failed = 0;
    detail::for_each_number(record, [&](int number) {
        error = detail::take_over(all, number);
        if (error)
            failed = number;
        else
            ++all.of[number].users;
        return !error;
    });
    if (!error) return 0;
    detail::for_each_number(record, [&](int number) {
        if (number == failed) return false;
        if (--all.of[number].users == 0) detail::give_back(all, number);
        return true;
    });
    all.records.remove(record);
    return error;
}

/// When this returns, `record` is told nothing any more. With the last who wanted them, signals mean
/// what they meant before.
inline void forget_signals(signal_record& record) noexcept {
    detail::signal_table& all = detail::all_signals();
    const detail::signal_records::guard locked(all.records, ::getpid());
    detail::for_each_number(record, [&](int number) {
        if (--all.of[number].users == 0) detail::give_back(all, number);
        return true;
    });
    all.records.remove(record);
}

}  // namespace curfew::platform
