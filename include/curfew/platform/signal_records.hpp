// Who is to be told of which signals, as signal handlers can read it: without locks.
//
// Records stand in one list. A handler, or several at a time in several threads, walks through it;
// who takes a record out waits until none of them can still see it. Handlers count themselves in
// one of two places, in turn: who waits has those that come from then on count in the other one, so
// that a storm of signals does not keep it waiting.
#pragma once

#include <atomic>
#include <cstdint>

#include "../config.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew::platform {

/// Somebody who is to be told of signals. It stays where it is, from `watch_signals` to
/// `forget_signals`.
struct signal_record {
    /// Which: bit n - 1 stands for signal n.
    std::uint64_t numbers = 0;
    /// One has come. Called in a signal handler, or in a thread of the system's: it may do what is
    /// permitted there, and no more.
    void (*arrived)(signal_record&, int number) noexcept = nullptr;

    // The list's own:
    long process = 0;  // who made it, and not a child that has a copy
    std::atomic<signal_record*> next{nullptr};
};

namespace detail {

class signal_records {
public:
    constexpr signal_records() noexcept = default;
    signal_records(const signal_records&) = delete;
    signal_records& operator=(const signal_records&) = delete;

    /// Who changes the list, or what signals do, holds this; handlers do not. `process` identifies
    /// the one that runs: in a child of another, which had more threads, what these were doing will
    /// never be done.
    class guard {
    public:
        guard(signal_records& all, long process) noexcept : all_(all) {
            if (all.process_.exchange(process) != process) {
                all.locked_ = false;
                all.seen_by_[0] = all.seen_by_[1] = 0;
            }
            while (all.locked_.exchange(true)) {}
        }
        ~guard() { all_.locked_ = false; }
        guard(const guard&) = delete;
        guard& operator=(const guard&) = delete;

    private:
        signal_records& all_;
    };

    void add(signal_record& record) noexcept {
        record.next = first_.load();
        first_ = &record;
    }

    /// From here on nobody tells the record anything any more.
    void remove(signal_record& record) noexcept {
        std::atomic<signal_record*>* link = &first_;
        while (signal_record* const each = link->load()) {
            if (each == &record) *link = record.next.load();
            link = &each->next;
        }
        wait_for_handlers();
    }

    /// From here on every handler knows the list as it is now.
    void wait_for_handlers() noexcept {
        // Whoever counts there from now on does: they look at the period once more when they are
        // counted.
        const unsigned period = period_.fetch_add(1);
        while (seen_by_[period % 2] != 0) {}
    }

    /// Tells all of this process who want to know. If there are none it calls `otherwise`, and
    /// returns false; whoever waits for handlers waits for that, too. (In a handler.)
    template <class Otherwise>
    bool tell(int number, long process, Otherwise otherwise) noexcept {
        unsigned period;
        for (;;) {
            period = period_;
            ++seen_by_[period % 2];
            if (period_ == period) break;
            --seen_by_[period % 2];
        }
        bool told = false;
        for (signal_record* each = first_; each; each = each->next) {
            if (each->process != process || !(each->numbers >> (number - 1) & 1)) continue;
            each->arrived(*each, number);
            told = true;
        }
        if (!told) otherwise();
        --seen_by_[period % 2];
        return told;
    }

private:
    std::atomic<signal_record*> first_{nullptr};
    std::atomic<unsigned> period_{0};
    std::atomic<int> seen_by_[2]{};  // handlers that are at it, by the period in which they began
    std::atomic<bool> locked_{false};
    std::atomic<long> process_{0};

    static_assert(std::atomic<signal_record*>::is_always_lock_free &&
                      std::atomic<int>::is_always_lock_free,
                  "signal handlers must not wait for each other");
};

}  // namespace detail
}  // namespace curfew::platform
