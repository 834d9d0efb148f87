// Requests that move from thread to thread, and from ring to ring.
//
// A context may run in one thread after the other, and end in a third, so its ring is bound to
// none. The kernel completes requests in the thread that submitted them: other calls that block
// there may be interrupted for it (EINTR), as by a signal handler. So the first thing that another
// thread does is to watch the waker itself, and to ask for all that is in flight: what comes back
// is submitted again. (The thread before gives it back when it is in the kernel the next time, or
// interrupted by the clock, and when it ends the kernel cancels what it has submitted.)
//
// While the loop is settled in a thread (see reactor::settle) there is another ring, of that
// thread's own, which interrupts nothing (Linux 6.1). Requests move from ring to ring by cancelling
// them in one, and submitting to the other what has not come to its end by that.
#pragma once

#include "../../platform/platform.hpp"

#if defined(CURFEW_HAS_IO_URING)

#include <cstdint>
#include <utility>

#include "../../core/socket_state.hpp"
#include "requests.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew::detail::uring {

class movable_requests : public requests {
public:
    explicit movable_requests(unsigned entries) noexcept
        : requests(entries, ring::users::any_thread), entries_(entries) {}

    /// Says that the calling thread uses them from now on. True: it was another one until now,
    /// which is to be left (`leave_thread`).
    CURFEW_HOT bool changes_threads() noexcept { return ring_.changes_threads(); }

    /// The loop goes on in this thread, and depends on nothing that the thread before does: this
    /// one watches the waker from now on, and asks for all that is in flight.
    CURFEW_COLD void leave_thread(completions& done) noexcept {
        if (!is_unwatched()) {
            // This watch may go on until the thread before is in the kernel; it has told all that
            // it is needed for, as a watch over a waker that was woken begins by saying so.
            take_back(watch(), done);
            extra_work_ |= watch_the_waker;
        }
        to_ask_back_ = table_.size();
        extra_work_ |= ask_back;
    }

    /// Does what is seldom due before a wait. False: it is not the time to wait.
    CURFEW_COLD bool prepare_wait(completions& done) noexcept {
        if (extra_work_ & ask_back) take_some_back(done);
        const bool all_submitted = submit_queued();
        return all_submitted && !(extra_work_ & (return_at_once | ask_back));
    }

    /// Has the kernel end what it was asked to end: on `socket`, or on all. A wake-up that is seen
    /// by this is left to the next wait.
    void reap_cancelled(const socket_state* socket, completions& done) noexcept {
        if (changes_threads()) leave_thread(done);
        int error = 0;
        do {  // once, unless the kernel is short of memory, or does what is due piece by piece
            submit_queued();
            error = enter(no_time);
            deliver(done);
        } while ((has_unsubmitted() || has_queued_cancellations() ||
                  (is_settled_ && (!socket || socket->reader || socket->writer) &&
                   ring_.has_due_work())) &&
                 !is_failure(error));
    }

    /// After a wait: whether another one may find more that is there.
    CURFEW_HOT bool more_may_follow() const noexcept {
        // Newer kernels do 20 pieces of what is due at a time (IO_LOCAL_TW_DEFAULT_MAX in Linux's
        // io_uring/tw.h), and none if a signal has ended the wait. (In the ring of no thread what
        // is due may be another thread's.)
        return (is_settled_ && ring_.has_due_work()) || !table_.queue_is_empty();
    }

    /// See reactor::settle and reactor::unsettle.
    bool settle(completions& done) noexcept {
        if (is_settled_ || error() || !ring_.is_recent()) return true;
        if (changes_threads()) leave_thread(done);
        if (table_.in_flight() > most_to_move) return false;
        ring own(entries_, ring::users::one_thread);
        if (own.error()) return true;  // an older kernel, or no descriptor to be had
        // What another thread has submitted comes back when that one enters the kernel: it is
        // submitted here then, and the next attempt finds nothing but this thread's.
        if (!take_all_back(done)) return false;
        shared_ = std::exchange(ring_, std::move(own));
        changes_threads();  // there was none before
        is_settled_ = true;
        return true;
    }

    void unsettle(completions& done) noexcept {
        if (!is_settled_) return;
        // This thread has submitted all there is, so it all comes, unless the kernel is short of
        // memory. From a ring that works no more nothing comes: the next wait will say so.
        while (!take_all_back(done))
            if (is_failure(enter(no_time))) return;
        ring_ = std::exchange(shared_, {});
        is_settled_ = false;
    }

private:
    /// Each takes two or three microseconds, in which the loop does nothing else. (More of them are
    /// as fast in the other ring.)
    static constexpr request_id most_to_move = 500;
    static constexpr request_id most_to_ask_back = 64;

    /// Takes from the kernel what it has, the watch over the waker too: what is not complete is
    /// queued. False: not yet all of it.
    ///
    /// One by one: a single request to cancel all, which there is, makes the kernel look at all
    /// that it has already cancelled before each of them.
    CURFEW_COLD bool take_all_back(completions& done) noexcept {
        is_moving_ = true;
        if (!is_unwatched()) take_back(watch(), done);
        for (request_id id = 0; id < table_.size(); ++id)
            if (table_[id].is_in_flight()) take_back(id, done);
        // In a ring of this thread's own some of what is due is done each time, not all of it
        // (since Linux 6.14).
        request_id at = 0;
        while (!all_is_back(at) && enter_and_deliver(done) > 0) {}
        is_moving_ = false;
        if (!all_is_back(at)) return false;
        to_ask_back_ = 0;
        extra_work_ &= ~ask_back;
        return true;
    }

    /// Moves `at` on to the first request of which the kernel has something. (While requests move,
    /// none is submitted: what was back before is still back.)
    bool all_is_back(request_id& at) const noexcept {
        while (at < table_.size() && !table_[at].is_in_flight()) ++at;
        return at == table_.size() && is_unwatched() && !has_unsubmitted();
    }

    /// A few with each wait: it takes two or three microseconds for each, in which the loop does
    /// nothing else. Requests that this thread has submitted meanwhile come back as well, and are
    /// submitted once more.
    CURFEW_COLD void take_some_back(completions& done) noexcept {
        if (to_ask_back_ > table_.size()) to_ask_back_ = table_.size();  // it was trimmed
        for (request_id asked = 0; to_ask_back_ > 0 && asked < most_to_ask_back;) {
            if (!table_[--to_ask_back_].is_in_flight()) continue;
            take_back(to_ask_back_, done);
            ++asked;
        }
        if (to_ask_back_ == 0) extra_work_ &= ~ask_back;
    }

    /// Cancels what goes on in the kernel, without a reason to end.
    void take_back(std::uint64_t whom, completions& done) noexcept {
        io_uring_sqe* entry = ring_.next_entry();
        if (!entry) {
            if (enter_and_deliver(done) > 0) extra_work_ |= return_at_once;
            entry = ring_.next_entry();
        }
        if (!entry) return;  // the kernel takes none; so this does not come back now
        fill_cancellation(*entry, whom);
        entry->user_data = of_taking_back;
    }

    /// Returns how many completions it has found.
    unsigned enter_and_deliver(completions& done) noexcept {
        enter(no_time);
        return deliver(done);
    }

    const unsigned entries_;
    ring shared_;  // the one of no thread, while settled
    bool is_settled_ = false;
    /// Of the requests before this one, what is in flight may be another thread's.
    request_id to_ask_back_ = 0;
};

}  // namespace curfew::detail::uring

#endif
