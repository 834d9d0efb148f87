// What comes to a loop from other threads, and who may touch it from where.
#pragma once

#include <atomic>

#include "../core/inbox.hpp"
#include "../core/promise.hpp"
#include "../core/trampoline.hpp"
#include "../reactor/reactor.hpp"
#include "queues.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew::detail {

/// A wake-up is never lost: what is posted, and a stop, reach the loop whatever it is doing and
/// whichever thread runs it. That holds because of three things:
///
/// - Who finds the inbox empty wakes the reactor, after the inbox has got what it is about; others
///   need not: until the loop has taken what is there, the first one's wake-up is still to come or
///   has come (see inbox).
/// - A reactor remembers that it was woken until its next `wait`, and nothing else of it takes that
///   away (see reactor::wake).
/// - The loop looks into the inbox before each wait that may block, and not after it: should a
///   wake-up have ended a wait of the reactor's that was for another end, within a `close`, say,
///   then what it was about is found here.
class wake_ups {
public:
    wake_ups(reactor& waits, queues& to) noexcept : reactor_(waits), queues_(to) {}

    // In any thread, and in signal handlers.

    void post(posted_function& function) noexcept {
        if (inbox_.push(function)) reactor_.wake();
    }

    void stop() noexcept {
        inbox_.stop();
        // In the loop's own thread too: a signal handler may run just before the loop begins to
        // wait.
        reactor_.wake();
    }

    // In the loop's.

    /// To be asked before each wait that may block.
    CURFEW_HOT bool none() const noexcept { return inbox_.empty(); }

    /// Makes ready what was posted.
    CURFEW_COLD void take() noexcept {
        if (inbox_.take(queues_.ready)) queues_.slow |= queues::has_stopped;
    }

    /// Asked for, and not taken yet.
    CURFEW_HOT bool stop_asked_for() const noexcept { return inbox_.stop_asked_for(); }

private:
    inbox inbox_;
    reactor& reactor_;
    queues& queues_;
};

/// The thread in which a loop runs: nothing but `wake_ups` may be used in another one meanwhile.
class home_thread {
public:
    /// Null: it does not run.
    const void* identity() const noexcept { return identity_.load(std::memory_order_relaxed); }

    /// Returns what it was before.
    const void* exchange(const void* thread) noexcept {
        const void* const before = identity();
        identity_.store(thread, std::memory_order_relaxed);
        return before;
    }

    /// False if it runs in another thread, as far as one look can tell.
    bool is_this() const noexcept {
        const void* const where = identity();
        return !where || where == identity_of_this_thread();
    }

    /// Fatal if it is used from another thread while it runs, in programs with assertions.
    void check_this_thread() const noexcept {
        CURFEW_ASSERT(
            is_this() &&
            "an io_context that runs in another thread is touched: use post(), or a stop_token");
    }

    /// The frames of its tasks are about to be destroyed, and no coroutine can go on.
    CURFEW_COLD void check_end() const noexcept {
        const void* const where = identity();
        if (!where) return;
        if (where == identity_of_this_thread())
            fatal_here("an io_context is destroyed by a task or function that it runs: stop() it, "
                       "and destroy it when run() has returned");
        fatal("an io_context is destroyed while it runs in another thread: stop() it, and wait "
              "until run() has returned");
    }

private:
    std::atomic<const void*> identity_{nullptr};
};

}  // namespace curfew::detail
