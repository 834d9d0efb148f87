// How requests get to the kernel: in the entries of a ring, which the kernel takes when it is
// entered. Those that find none, or have to wait for another reason, queue.
#pragma once

#include "../../platform/platform.hpp"

#if defined(CURFEW_HAS_IO_URING)

#include <cstddef>
#include <cstdint>

#include "entries.hpp"
#include "request_table.hpp"
#include "ring.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew::detail::uring {

inline constexpr std::chrono::nanoseconds no_time{0};

/// Bounded turns: how many bytes the kernel may copy each time it is entered.
///
/// It copies what is to be written when it takes the requests, and what is to be read if that has
/// arrived by then: up to `fair_size` for each. A turn that collects many of them would not notice
/// how long that is going to take. So what exceeds this is held back, in its order, for the next
/// waits: 2,500 connections that move 64 KiB at a time make a sleep late by 1.4 ms instead of 5 (99
/// of 100; where nothing is copied together more gets through, as it stays in the caches).
///
/// What arrives for reads that wait already is copied when the kernel is entered, too: for 20 of
/// them at a time in the ring of one thread (see `ring`), which is not bounded by bytes, and for
/// all of them in the other one.
class copy_budget {
public:
    /// Whether what may be copied has to wait.
    bool is_spent() const noexcept { return used_ >= allowed_; }

    /// The same for what has waited.
    bool is_spent_for_queued() const noexcept { return used_ >= most; }

    void use(std::size_t bytes) noexcept { used_ += bytes; }

    /// The kernel is entered.
    void renew() noexcept { used_ = 0; }

    /// While any wait, all others wait behind them: else they might be overtaken for ever.
    void some_wait() noexcept { allowed_ = 0; }
    void none_waits() noexcept { allowed_ = most; }

private:
    static constexpr std::size_t most = std::size_t{512} << 10;

    std::size_t used_ = 0;
    std::size_t allowed_ = most;
};

class submissions {
public:
    submissions(unsigned entries, ring::users by) noexcept : ring_(entries, by) {}
    submissions(const submissions&) = delete;
    submissions& operator=(const submissions&) = delete;

    /// Why it could not be made (the system's error number); 0 if it was.
    int error() const noexcept { return ring_.error() ? ring_.error() : waker_.error(); }

    /// From any thread: the watch over the waker ends a wait in the kernel.
    void wake() noexcept { waker_.signal(); }

    /// Submits a single transfer. False: that takes longer, see `start`.
    CURFEW_HOT bool start_single(operation& op) noexcept {
        if (!table_.has_room() || budget_.is_spent()) [[unlikely]]
            return false;
        io_uring_sqe* const entry = ring_.next_entry();
        if (!entry) [[unlikely]]
            return false;
        const request_id id = table_.take(op);
        table_[id].state = request_state::submitted_single;
        entry->user_data = id;
        budget_.use(fill_transfer(*entry, op, *op.buffers));
        return true;
    }

    /// Submits any operation, or queues it. False: there is no memory for it.
    CURFEW_COLD bool start(operation& op) noexcept {
        if (!table_.make_room(op)) return false;
        const request_id id = table_.take(op);
        table_.take_message(id);
        submit(id);
        return true;
    }

    /// Whether a wait is to be prepared: see `submit_queued` and `must_not_wait`.
    CURFEW_HOT bool has_extra_work() const noexcept {
        return extra_work_ != 0 || !table_.queue_is_empty();
    }

    /// Submits what is queued. False if some of that has to wait for the kernel to be entered.
    bool submit_queued() noexcept {
        if (extra_work_ & watch_the_waker) watch_waker();
        while (!table_.queue_is_empty()) {
            const request_state first = table_[table_.first_in_queue()].state;
            if (first == request_state::ended_in_queue) {
                table_.dequeue();
            } else if (first == request_state::queued && budget_.is_spent_for_queued()) {
                return false;
            } else if (io_uring_sqe* const entry = ring_.next_entry()) {
                submit_first(*entry);
            } else if (enter(no_time) || ring_.unsubmitted()) {
                return false;  // it wants completions to be taken, or is short of memory
            }
        }
        budget_.none_waits();
        return !(extra_work_ & watch_the_waker);  // there may have been no entry for it
    }

    /// Cancellations are queued before all else.
    bool has_queued_cancellations() const noexcept {
        return !table_.queue_is_empty() &&
               table_[table_.first_in_queue()].state != request_state::queued;
    }

    bool has_unsubmitted() const noexcept { return ring_.unsubmitted() != 0; }

    /// Whether the kernel would do anything if it were entered and did not wait.
    CURFEW_HOT bool has_work_for_kernel() const noexcept {
        return ring_.unsubmitted() != 0 || ring_.has_due_work();
    }

    /// Hands the kernel what is submitted, and waits up to `time` for a completion. Returns the
    /// system's error number.
    CURFEW_HOT int enter(std::chrono::nanoseconds time) noexcept {
        budget_.renew();
        return ring_.enter(time);
    }

    /// Completions are left in the kernel, which found no room for them.
    bool has_overflown() const noexcept { return ring_.has_overflown(); }

    /// Between these two no cancellation is submitted.
    void begin_gathering() noexcept { is_gathering_ = true; }
    void end_gathering() noexcept { is_gathering_ = false; }
    bool is_gathering() const noexcept { return is_gathering_; }

    /// Gives back memory that a peak has left behind; returns in how many waits to do so again.
    CURFEW_COLD request_id trim() noexcept {
        table_.trim();
        return waits_between_trims + table_.size() / 4;
    }
    static constexpr request_id waits_between_trims = 1024;

    /// A wake-up, or completions, were seen outside of a wait, which the next one has to report.
    bool must_not_wait() const noexcept { return extra_work_ & (return_at_once | ask_back); }

    /// A wait ends.
    CURFEW_HOT void note_return() noexcept { extra_work_ &= ~return_at_once; }

protected:
    // Bits of `extra_work_`: what the next wait is to do besides.
    static constexpr unsigned watch_the_waker = 1;
    static constexpr unsigned return_at_once = 2;
    static constexpr unsigned ask_back = 4;  // see movable_requests

    /// Submits the next step of a request, which is new or was with the kernel. It is queued if all
    /// entries are in use, or if the kernel may copy for it and has enough to copy; so nothing is
    /// ever dropped. (Others may overtake it: no operation depends on another.)
    void submit(request_id id) noexcept {
        const bool later = is_moving_ || (budget_.is_spent() && copies_at_once(table_[id]));
        if (io_uring_sqe* const entry = later ? nullptr : ring_.next_entry()) {
            fill_entry(*entry, id);
        } else {
            table_.enqueue(id);
            budget_.some_wait();
        }
    }

    /// Submits the cancellation of a request that the kernel has.
    void cancel(request_id id) noexcept {
        const bool later = is_moving_ || is_gathering_;
        if (io_uring_sqe* const entry = later ? nullptr : ring_.next_entry())
            fill_cancellation_of(*entry, id);
        else
            table_.enqueue_cancellation(id);
    }

    /// Whether nobody watches the waker.
    bool is_unwatched() const noexcept { return extra_work_ & watch_the_waker; }

    /// What stands for the watch over the waker that was begun last.
    std::uint64_t watch() const noexcept { return of_waker | watch_; }

    ring ring_;
    request_table table_;
    unsigned extra_work_ = watch_the_waker;
    bool is_moving_ = false;  // what comes back is not to be submitted to this ring

private:
    static bool copies_at_once(const request& next) noexcept {
        const operation& op = *next.op;
        return next.next_step == request::step::operation && is_transfer(op) &&
               (op.kind == operation_kind::write || poll_first(op) == 0);
    }

    void submit_first(io_uring_sqe& entry) noexcept {
        const request_id id = table_.dequeue();
        if (table_[id].state == request_state::queued)
            fill_entry(entry, id);
        else
            fill_cancellation_of(entry, id);
    }

    void fill_entry(io_uring_sqe& entry, request_id id) noexcept {
        entry.user_data = id;
        table_[id].state = request_state::submitted;
        budget_.use(fill(entry, table_[id]));
    }

    void fill_cancellation_of(io_uring_sqe& entry, request_id id) noexcept {
        fill_cancellation(entry, id);
        entry.user_data = of_cancellation | id;
        if (ring_.is_recent()) entry.flags = ring_skip_success;
        table_[id].state = request_state::submitted;
    }

    /// One entry stays for good and reports every signal; so nobody has to drain the waker. If it
    /// was signalled before, ever, that is reported at once: what came between two watches is not
    /// missed.
    CURFEW_COLD void watch_waker() noexcept {
        io_uring_sqe* const entry = ring_.next_entry();
        if (!entry) return;
        entry->opcode = IORING_OP_POLL_ADD;
        entry->fd = waker_.handle();
        entry->len = IORING_POLL_ADD_MULTI;
        entry->poll_events = POLLIN;
        entry->user_data = of_waker | ++watch_;
        extra_work_ &= ~watch_the_waker;
    }

    platform::waker waker_;
    copy_budget budget_;
    bool is_gathering_ = false;
    std::uint32_t watch_ = 0;  // the number of the last watch over the waker
};

}  // namespace curfew::detail::uring

#endif
