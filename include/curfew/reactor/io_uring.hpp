// Linux: io_uring. A proactor: the kernel does the whole operation, and tells when it is done.
#pragma once

#include "../platform/platform.hpp"

#if defined(CURFEW_HAS_IO_URING)

#include <new>
#include <utility>

#include "../core/plain_array.hpp"
#include "attempt.hpp"
#include "io_uring_ring.hpp"
#include "reactor.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew {

/// What is started or cancelled is collected and handed to the kernel in one system call, with the
/// next `wait`. Nothing is tried before: with a turn's operations in one call, a call for each
/// costs more than it saves. Datagrams are the exception: one for which there is room is sent at
/// once, as many tasks may share a socket; and with one that was received others may have come,
/// which are taken at once, and not one in each turn.
///
/// The kernel copies within that call: all that is written, and what is there to be read. So no
/// more of it is submitted at a time than a turn has time for; the rest is held back, in its order,
/// for the next waits. (What arrives for reads that wait already is copied by at most 20 of them in
/// one call, in the ring of one thread that is described below.)
///
/// Errors: those of the system calls that the operations stand for. Cancellation: by a request that
/// names the operation (IORING_OP_ASYNC_CANCEL). Whatever comes of it is told by the operation's
/// own completion: a transfer that was done, or a connection that was accepted, is delivered.
///
/// A context may run in one thread after the other, and end in a third, so the ring is bound to
/// none. The kernel completes requests in the thread that submitted them: other calls that block
/// there may be interrupted for it (EINTR), as by a signal handler. So the first thing that another
/// thread does is to watch the waker itself, and to ask for all that is in flight: what comes back
/// is submitted again. (The thread before gives it back when it is in the kernel the next time, or
/// interrupted by the clock, and when it ends the kernel cancels what it has submitted.)
///
/// While the loop is settled in a thread (see `reactor::settle`) there is another ring, of that
/// thread's own, which interrupts nothing (Linux 6.1). Requests move from ring to ring by
/// cancelling them in one, and submitting to the other what has not come to its end by that.
class io_uring_reactor final : public reactor {
public:
    /// How many requests may wait to be submitted before the kernel is called for them.
    static constexpr unsigned default_entries = 256;

    /// `entries`: how many operations are submitted in one system call at the most; with none there
    /// is no ring (EINVAL).
    explicit io_uring_reactor(unsigned entries = default_entries) noexcept
        : entries_(entries), ring_(entries, detail::ring::users::any_thread),
          error_(ring_.error() ? ring_.error() : waker_.error()) {}

    ~io_uring_reactor() override {
        for (const slot& each : slots_) {
            CURFEW_ASSERT(!each.op);
            delete each.letter;  // of one that was still queued
        }
        while (envelopes_) delete std::exchange(envelopes_, envelopes_->next);
    }

    /// Why the reactor could not be made (the system's error number); 0 if it was. Containers often
    /// forbid io_uring (EPERM, ENOSYS), as does the sysctl kernel.io_uring_disabled.
    int error() const noexcept override { return error_; }

    std::string_view name() const noexcept override { return "io_uring"; }

    bool start(operation& op) noexcept override {
        if (!op.single_transfer || free_ == none || to_copy_ >= may_copy_) [[unlikely]]
            return start_rest(op);
        io_uring_sqe* const entry = ring_.next_entry();
        if (!entry) [[unlikely]]
            return start_rest(op);
        const std::uint32_t index = take_slot(op);
        slots_[index].submitted = slots_[index].simple = true;
        entry->user_data = index;
        describe_transfer(op, *op.buffers, *entry);
        return false;
    }

    void cancel(operation& op, completions& done) noexcept override {
        // A connection attempt cannot be taken back; its socket is of no use any more.
        if (op.kind == operation_kind::connect)
            close(*op.socket, close_mode::graceful, done);
        else
            end(op, done);
    }

    /// One that is held back has not even been tried yet.
    bool complete_if_ready(operation& op, completions& done) noexcept override {
        const std::uint32_t index = slot_of(op);
        slot& own = slots_[index];
        if (own.submitted || own.poll || op.kind == operation_kind::connect || !detail::attempt(op))
            return false;
        own.op = nullptr;  // it leaves the queue when it is its turn
        done.push(op);
        return true;
    }

    /// The kernel's requests hold on to the socket, which would keep the peer from noticing, and a
    /// port busy: so they are cancelled and reaped first. (Should one be busy in a thread of the
    /// kernel's, or have been submitted by another thread, which ends it when that one is next in
    /// the kernel, it is reaped later, and the socket ends with it.) The descriptor's number may be
    /// reused at once: requests look at it only when the kernel takes them.
    void close(socket_state& socket, close_mode how, completions& done) noexcept override {
        const platform::socket_handle handle = socket.handle;
        if (how == close_mode::abortive && socket.is_open()) platform::reset_on_close(handle);
        end_all(socket, outcome::closed, done);
        if (is_pending_on(socket)) {
            if (is_gathering_ && handle != platform::invalid_socket &&
                gathered_.try_push_back(handle))
                return;
            bring_back(&socket, done);
        }
        if (handle != platform::invalid_socket) platform::close(handle);
    }

    void release(socket_state& socket, completions& done) noexcept override {
        detail::forget_what_is_left(socket);
        end_all(socket, outcome::canceled, done);
        if (is_pending_on(socket)) bring_back(&socket, done);
    }

    /// The requests on all sockets that are closed meanwhile are cancelled and reaped in one call.
    void begin_closes() noexcept override { is_gathering_ = true; }

    void end_closes(completions& done) noexcept override {
        is_gathering_ = false;
        if (gathered_.size() == 0) return;
        bring_back(nullptr, done);
        for (const platform::socket_handle each : gathered_) platform::close(each);
        gathered_.clear();
    }

    int wait(std::chrono::nanoseconds time, completions& done) noexcept override {
        const bool changes = ring_.changes_threads();
        if (changes || unusual_ || first_ != none || --waits_until_trim_ == 0) [[unlikely]] {
            if (error_) return error_;
            if (!prepare_wait(changes, done)) time = std::chrono::nanoseconds::zero();
        }
        int error = 0;
        if (time.count() <= 0 && ring_.unsubmitted() == 0 && !ring_.has_due_work()) {
            deliver(done);  // the kernel has nothing to add
        } else {
            error = enter(time);
            deliver(done);
            while (ring_.has_overflown() && enter(no_time) == 0) deliver(done);
            // Newer kernels do 20 pieces of that at a time (IO_LOCAL_TW_DEFAULT_MAX in Linux's
            // io_uring/tw.h), and none if a signal has ended the wait. (In the ring of no thread
            // what is due may be another thread's.)
            if ((is_settled_ && ring_.has_due_work()) || first_ != none) done.more_may_follow();
        }
        unusual_ &= ~returns_at_once;  // whoever calls this looks what for
        return is_failure(error) ? error : 0;
    }

    void wake() noexcept override { waker_.signal(); }

    bool settle(completions& done) noexcept override {
        if (is_settled_ || error_ || !ring_.is_recent()) return true;
        if (ring_.changes_threads()) leave_thread(done);
        if (in_flight() > most_to_move) return false;
        detail::ring own(entries_, detail::ring::users::one_thread);
        if (own.error()) return true;  // an older kernel, or no descriptor to be had
        // What another thread has submitted comes back when that one enters the kernel: it is
        // submitted here then, and the next attempt finds nothing but this thread's.
        if (!take_back(done)) return false;
        shared_ = std::exchange(ring_, std::move(own));
        ring_.changes_threads();  // there was none before
        is_settled_ = true;
        return true;
    }

    void unsettle(completions& done) noexcept override {
        if (!is_settled_) return;
        // This thread has submitted all there is, so it all comes, unless the kernel is short of
        // memory. From a ring that works no more nothing comes: the next `wait` will say so.
        while (!take_back(done))
            if (is_failure(enter(no_time))) return;
        ring_ = std::exchange(shared_, {});
        is_settled_ = false;
    }

private:
    static constexpr std::uint32_t none = ~std::uint32_t{0};
    /// Each takes two or three microseconds, in which the loop does nothing else. (More of them are
    /// as fast in the other ring.)
    static constexpr std::uint32_t most_to_move = 500;
    static constexpr std::size_t most_to_copy = std::size_t{1} << 19;  // bytes
    static constexpr std::uint32_t most_to_ask_back = 64;
    static constexpr std::uint32_t first_trim = 1024;  // waits

    /// The system's description of an operation with an address, or with several buffers. It lives
    /// until the completion is there, as some of it is written by the kernel.
    struct envelope {
        platform::detail::buffer_vector buffers{nullptr, 0, 0};
        platform::detail::native_address address;
        msghdr header;
        envelope* next = nullptr;
    };

    /// What is known of a pending operation. One that is `queued` has found no room among the
    /// entries: for itself or, if it has been `submitted`, for its cancellation.
    struct slot {
        operation* op = nullptr;  // null: free, or to be free once it is not queued any more
        envelope* letter = nullptr;
        std::uint32_t next = none;  // in the queue, or in the list of the free
        bool queued = false;
        bool submitted = false;
        bool simple = false;  // as a single transfer, and nothing else of what is here holds
        bool poll = false;    // wait until it can go on before trying (again)
        bool closed = false;  // its socket was closed meanwhile
        // What is ready for an error that nobody takes (see socket_state::error_told) would be
        // polled and tried without end:
        bool only_error = false;  // the last poll has found nothing but an error
        bool rests = false;       // does nothing for a while
    };

    static constexpr std::chrono::nanoseconds no_time{0};
    static constexpr __kernel_timespec rest_time{0, 10'000'000};

    // What a completion belongs to: a slot, whose request it is or (`of_cancel`) the cancellation
    // of that; or a watch over the waker, with its number.
    //
    // A slot has one request at a time, and is free when that is complete. A cancellation may be
    // taken by the kernel, or its completion by this, when there is another request in the slot by
    // then: one that is not to end is submitted again, and one that is to end is what is meant.
    static constexpr std::uint64_t of_cancel = std::uint64_t{1} << 63;
    static constexpr std::uint64_t of_taking_back = of_cancel | std::uint64_t{1} << 61;
    static constexpr std::uint64_t of_waker = of_cancel | std::uint64_t{1} << 62;

    // Bits of `unusual_`:
    static constexpr unsigned is_unwatched = 1;  // nobody watches the waker
    /// A wake-up, or completions, were seen outside of a wait: the next one has that to report.
    static constexpr unsigned returns_at_once = 2;
    static constexpr unsigned asks_back = 4;  // see `to_ask_back_`

    static std::uint32_t slot_of(const operation& op) noexcept {
        CURFEW_ASSERT(op.progress == operation::state::pending);
        return op.reactor_data;
    }

    // Slots ------------------------------------------------------------------------------------

    /// Sees that there is a free slot, and an envelope for an operation that needs one. False:
    /// there is no memory for it.
    CURFEW_COLD bool make_room(const operation& op) noexcept {
        if (free_ == none) {
            if (!slots_.try_push_back({})) return false;
            free_ = static_cast<std::uint32_t>(slots_.size() - 1);
        }
        if (needs_envelope(op) && !envelopes_) envelopes_ = new (std::nothrow) envelope;
        return envelopes_ || !needs_envelope(op);
    }

    static bool needs_envelope(const operation& op) noexcept {
        if (is_transfer(op)) return op.buffer_count != 1;
        return op.kind != operation_kind::accept && op.kind != operation_kind::wait &&
               op.kind != operation_kind::call;
    }

    CURFEW_HOT std::uint32_t take_slot(operation& op) noexcept {
        const std::uint32_t index = std::exchange(free_, slots_[free_].next);
        slots_[index].op = &op;
        op.reactor_data = index;
        return index;
    }

    void free_slot(std::uint32_t index) noexcept {
        slot& freed = slots_[index];
        CURFEW_ASSERT(!freed.op && !freed.queued);
        freed.submitted = freed.poll = freed.closed = freed.simple = false;
        freed.only_error = freed.rests = false;
        freed.next = std::exchange(free_, index);
        if (envelope* const letter = std::exchange(freed.letter, nullptr)) [[unlikely]]
            letter->next = std::exchange(envelopes_, letter);
    }

    /// Gives back what a peak has left behind. All that is in use has a request in flight when a
    /// wait begins, so that what is idle then was not needed in this turn.
    CURFEW_COLD void trim() noexcept {
        constexpr std::uint32_t spare = 64;
        std::uint32_t used = 0;
        std::uint32_t with_envelope = 0;
        std::uint32_t end = 0;  // of those in use
        for (std::uint32_t i = 0; i < slots_.size(); ++i) {
            if (is_free(slots_[i])) continue;
            ++used;
            with_envelope += slots_[i].letter != nullptr;
            end = i + 1;
        }
        envelope** rest = &envelopes_;
        for (std::uint32_t n = 2 * with_envelope + spare; *rest && n > 0; --n)
            rest = &(*rest)->next;
        while (envelope* const idle = *rest) {
            *rest = idle->next;
            delete idle;
        }
        std::uint32_t room = 2 * used + spare;
        if (2 * room < slots_.size()) {
            if (room < end) room = end;
            slots_.shrink(room);
            // The first ones are to be used first, so that the last ones can be given back.
            free_ = none;
            for (std::uint32_t i = room; i-- > 0;)
                if (is_free(slots_[i])) slots_[i].next = std::exchange(free_, i);
            if (to_ask_back_ > room) to_ask_back_ = room;
        }
        waits_until_trim_ = first_trim + static_cast<std::uint32_t>(slots_.size() / 4);
    }

    static bool is_free(const slot& each) noexcept { return !each.op && !each.queued; }

    void enqueue(std::uint32_t index) noexcept {
        slot& added = slots_[index];
        CURFEW_ASSERT(!added.queued);
        added.queued = true;
        added.simple = false;
        added.next = none;
        (last_ == none ? first_ : slots_[last_].next) = index;
        last_ = index;
        may_copy_ = 0;
    }

    /// What expires together has mostly been submitted in that order, and the kernel looks through
    /// long lists for what it is to cancel, the youngest first.
    void enqueue_first(std::uint32_t index) noexcept {
        if (first_ == none) return enqueue(index);
        slots_[index].queued = true;
        slots_[index].next = std::exchange(first_, index);
    }

    std::uint32_t dequeue() noexcept {
        const std::uint32_t index = first_;
        first_ = slots_[index].next;
        if (first_ == none) {
            last_ = none;
            may_copy_ = most_to_copy;
        }
        slots_[index].queued = false;
        return index;
    }

    // Ending operations ------------------------------------------------------------------------

    /// Asks a pending operation, which has a reason, to end.
    void end(operation& op, completions& done) noexcept {
        const std::uint32_t index = slot_of(op);
        slots_[index].simple = false;
        if (!slots_[index].submitted) return finish(index, done, outcome::canceled);
        if (!slots_[index].queued) submit(index);
    }

    /// Asks what is pending on a socket to end, which has no handle from now on. Who caused it, if
    /// anybody, is resumed first.
    void end_all(socket_state& socket, outcome why, completions& done) noexcept {
        socket.handle = platform::invalid_socket;
        socket.worth_trying = 0;
        socket.blocked_exact_reads = 0;
        socket.reports_remaining = false;
        socket.reactor_data = 0;
        operation* first = socket.reader;
        operation* second = socket.writer == first ? nullptr : socket.writer;
        if (second && second->reason != outcome::success) std::swap(first, second);
        for (operation* op : {first, second}) {
            if (!op) continue;
            if (op->reason == outcome::success) op->reason = why;
            slots_[slot_of(*op)].closed = why == outcome::closed;
            end(*op, done);
        }
    }

    static bool is_pending_on(const socket_state& socket) noexcept {
        return socket.reader || socket.writer;
    }

    /// Has the kernel end what it was asked to end: on `socket`, or on all. A wake-up that is seen
    /// by this is left to the next `wait`.
    void bring_back(const socket_state* socket, completions& done) noexcept {
        if (ring_.changes_threads()) leave_thread(done);
        int error = 0;
        do {  // once, unless the kernel is short of memory, or does what is due piece by piece
            submit_queued();
            error = enter(no_time);
            deliver(done);
        } while ((ring_.unsubmitted() || has_queued_cancellations() ||
                  (is_settled_ && (!socket || is_pending_on(*socket)) && ring_.has_due_work())) &&
                 !is_failure(error));
    }

    /// (They come before all others.)
    bool has_queued_cancellations() const noexcept {
        return first_ != none && (!slots_[first_].op || slots_[first_].submitted);
    }

    /// The kernel has nothing to do with the operation any more.
    void finish(std::uint32_t index, completions& done, outcome how, int error = 0) noexcept {
        slot& finished = slots_[index];
        operation& op = *std::exchange(finished.op, nullptr);
        if (!finished.queued) free_slot(index);
        op.finish(how, error);
        done.push(op);
    }

    // Submitting -------------------------------------------------------------------------------

    /// Submits an operation or, if it has been, its cancellation: fills in an entry, which the
    /// kernel takes with the next `enter`. It is queued if all entries are in use, or if it may
    /// make the kernel copy and that has enough to copy; so nothing is ever dropped. From then on
    /// what may make it copy queues behind it, or it might be overtaken for ever. (Others may
    /// overtake: no operation depends on another, and each `wait` finds entries for all of them.)
    void submit(std::uint32_t index) noexcept {
        const bool cancels = slots_[index].submitted;
        const bool later = is_moving_ || is_gathering_ || (!cancels && to_copy_ >= may_copy_);
        if (io_uring_sqe* const entry = later ? nullptr : ring_.next_entry())
            describe(index, *entry);
        else if (cancels)
            enqueue_first(index);
        else
            enqueue(index);
    }

    /// Hands the kernel what is submitted, and waits up to `time` for a completion.
    CURFEW_HOT int enter(std::chrono::nanoseconds time) noexcept {
        to_copy_ = 0;
        return ring_.enter(time);
    }

    CURFEW_COLD bool start_rest(operation& op) noexcept {
        if (error_) return detail::completed(op, outcome::system, error_);
        if (op.kind == operation_kind::connect && detail::open_to_connect(op)) return true;
        if (op.kind == operation_kind::send_to && detail::attempt(op)) return true;
        if (op.kind == operation_kind::send_to && op.buffer_count > platform::max_buffers)
            return detail::completed(op, outcome::system, platform::message_too_long);
        if (!make_room(op)) {
            if (op.kind == operation_kind::connect)
                platform::close(std::exchange(op.socket->handle, platform::invalid_socket));
            return detail::completed(op, outcome::system, platform::out_of_memory);
        }
        const std::uint32_t index = take_slot(op);
        if (needs_envelope(op)) slots_[index].letter = std::exchange(envelopes_, envelopes_->next);
        submit(index);
        return false;
    }

    /// What is seldom due before a wait; `changes`: it is another thread's than the last one was.
    /// False: it is not the time to wait.
    CURFEW_COLD bool prepare_wait(bool changes, completions& done) noexcept {
        if (changes) leave_thread(done);
        if (waits_until_trim_ == 0) trim();
        if (unusual_ & asks_back) ask_some_back(done);
        const bool all_submitted = submit_queued();
        return all_submitted && !(unusual_ & (returns_at_once | asks_back));
    }

    /// The loop goes on in this thread, and depends on nothing that the thread before does: this
    /// one watches the waker from now on, and asks for all that is in flight.
    CURFEW_COLD void leave_thread(completions& done) noexcept {
        if (!(unusual_ & is_unwatched)) {
            // This watch may go on until the thread before is in the kernel; it has told all that
            // it is needed for, as a watch over a waker that was woken begins by saying so.
            ask_back(of_waker | watch_, done);
            unusual_ |= is_unwatched;
        }
        to_ask_back_ = static_cast<std::uint32_t>(slots_.size());
        unusual_ |= asks_back;
    }

    /// A few with each wait: it takes two or three microseconds for each, in which the loop does
    /// nothing else. Requests that this thread has submitted meanwhile come back as well, and are
    /// submitted once more.
    CURFEW_COLD void ask_some_back(completions& done) noexcept {
        for (std::uint32_t asked = 0; to_ask_back_ > 0 && asked < most_to_ask_back;) {
            if (!is_in_flight(slots_[--to_ask_back_])) continue;
            ask_back(to_ask_back_, done);
            ++asked;
        }
        if (to_ask_back_ == 0) unusual_ &= ~asks_back;
    }

    /// Finds entries for what is queued. False if the kernel does not take enough of them now: then
    /// it is not the time to wait.
    bool submit_queued() noexcept {
        if (unusual_ & is_unwatched) watch_waker();
        while (first_ != none) {
            if (!slots_[first_].op) {  // ended before it came to this
                free_slot(dequeue());
            } else if (to_copy_ >= most_to_copy && !slots_[first_].submitted) {
                return false;  // the rest comes with the next waits
            } else if (io_uring_sqe* const entry = ring_.next_entry()) {
                describe(dequeue(), *entry);
            } else if (enter(no_time) || ring_.unsubmitted()) {
                return false;  // it wants completions to be taken, or is short of memory
            }
        }
        return !(unusual_ & is_unwatched);  // there may have been no entry for it
    }

    /// Takes from the kernel what it has, the watch over the waker too: what is not complete is
    /// queued. False: not yet all of it.
    ///
    /// One by one: a single request to cancel all, which there is, makes the kernel look at all
    /// that it has already cancelled before each of them.
    CURFEW_COLD bool take_back(completions& done) noexcept {
        is_moving_ = true;
        if (!(unusual_ & is_unwatched)) ask_back(of_waker | watch_, done);
        for (std::uint32_t i = 0; i < slots_.size(); ++i)
            if (is_in_flight(slots_[i])) ask_back(i, done);
        // In a ring of this thread's own some of what is due is done each time, not all of it
        // (since Linux 6.14).
        std::uint32_t at = 0;
        while (!all_is_back(at) && enter_and_deliver(done) > 0) {}
        is_moving_ = false;
        if (!all_is_back(at)) return false;
        to_ask_back_ = 0;
        unusual_ &= ~asks_back;
        return true;
    }

    /// Moves `at` on to the first slot of which the kernel has something. (While requests move,
    /// none is submitted: what was back before is still back.)
    bool all_is_back(std::uint32_t& at) const noexcept {
        while (at < slots_.size() && !is_in_flight(slots_[at])) ++at;
        return at == slots_.size() && (unusual_ & is_unwatched) && ring_.unsubmitted() == 0;
    }

    void ask_back(std::uint64_t whom, completions& done) noexcept {
        io_uring_sqe* entry = ring_.next_entry();
        if (!entry) {
            if (enter_and_deliver(done) > 0) unusual_ |= returns_at_once;
            entry = ring_.next_entry();
        }
        if (!entry) return;  // the kernel takes none; so this does not come back now
        entry->opcode = IORING_OP_ASYNC_CANCEL;
        entry->fd = -1;
        entry->addr = whom;
        entry->user_data = of_taking_back;
    }

    /// Returns how many completions it has found.
    unsigned enter_and_deliver(completions& done) noexcept {
        enter(no_time);
        return deliver(done);
    }

    static bool is_in_flight(const slot& each) noexcept { return each.op && each.submitted; }

    std::uint32_t in_flight() const noexcept {
        std::uint32_t count = 0;
        for (const slot& each : slots_) count += is_in_flight(each);
        return count;
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
        unusual_ &= ~is_unwatched;
    }

    void describe(std::uint32_t index, io_uring_sqe& entry) noexcept {
        slot& next = slots_[index];
        const operation& op = *next.op;
        entry.user_data = index;
        if (next.submitted || next.poll || !is_transfer(op) || op.buffer_count != 1)
            return describe_rest(next, entry);
        next.submitted = true;
        describe_transfer(op, {op.buffers->data + op.offset, op.buffers->size - op.offset}, entry);
    }

    CURFEW_HOT void describe_transfer(const operation& op, platform::buffer buffer,
                                      io_uring_sqe& entry) noexcept {
        entry.fd = op.socket->handle;
        entry.addr = reinterpret_cast<std::uintptr_t>(buffer.data);
        entry.len = static_cast<std::uint32_t>(buffer.size < detail::fair_size ? buffer.size
                                                                               : detail::fair_size);
        if (op.kind == operation_kind::read) {
            entry.opcode = IORING_OP_RECV;
            entry.ioprio = poll_first(op);
            if (entry.ioprio == 0) to_copy_ += entry.len;
        } else {
            entry.opcode = IORING_OP_SEND;
            entry.msg_flags = platform::detail::send_flags;
            to_copy_ += entry.len;
        }
    }

    static bool is_transfer(const operation& op) noexcept {
        return op.kind == operation_kind::read || op.kind == operation_kind::write;
    }

    /// What is known to be empty need not be tried before the kernel waits.
    static std::uint16_t poll_first(const operation& op) noexcept {
        return static_cast<std::uint16_t>(op.socket->reactor_data);
    }

    CURFEW_COLD void describe_rest(slot& next, io_uring_sqe& entry) noexcept {
        if (std::exchange(next.submitted, true)) {
            entry.opcode = IORING_OP_ASYNC_CANCEL;
            entry.fd = -1;
            entry.addr = entry.user_data;
            entry.user_data |= of_cancel;
            if (ring_.is_recent()) entry.flags = detail::ring_skip_success;
            return;
        }
        const operation& op = *next.op;
        entry.fd = op.socket->handle;
        if (next.rests) {
            entry.opcode = IORING_OP_TIMEOUT;
            entry.fd = -1;
            entry.addr = reinterpret_cast<std::uintptr_t>(&rest_time);
            entry.len = 1;
        } else if (next.poll || op.kind == operation_kind::wait ||
                   op.kind == operation_kind::call) {
            entry.opcode = IORING_OP_POLL_ADD;
            entry.poll_events = events_for(op);
        } else if (op.kind == operation_kind::accept) {
            entry.opcode = IORING_OP_ACCEPT;
            entry.accept_flags = SOCK_NONBLOCK | SOCK_CLOEXEC;
        } else if (op.kind == operation_kind::connect) {
            envelope& letter = *next.letter;
            letter.address = platform::detail::to_native(*op.address);
            entry.opcode = IORING_OP_CONNECT;
            entry.addr = reinterpret_cast<std::uintptr_t>(letter.address.get());
            entry.off = letter.address.size;
        } else {
            describe_message(next, entry);
        }
    }

    static std::uint16_t events_for(const operation& op) noexcept {
        int events = 0;
        if (op.waits_for(readiness::readable) && op.kind != operation_kind::connect)
            events |= POLLIN;
        if (op.waits_for(readiness::writable)) events |= POLLOUT;
        return static_cast<std::uint16_t>(events);
    }

    /// Datagrams, and transfers with several buffers.
    void describe_message(slot& from, io_uring_sqe& entry) noexcept {
        const operation& op = *from.op;
        envelope& letter = *from.letter;
        if (is_transfer(op)) {
            const detail::portion next(op, detail::fair_size);
            letter.buffers = {next.list, next.count, next.skip};
            if (op.kind == operation_kind::write || poll_first(op) == 0) to_copy_ += next.size;
        } else {
            letter.buffers = {op.buffers, op.buffer_count, 0};
        }
        platform::detail::native_address* address = nullptr;
        if (!is_transfer(op) && op.address) {
            address = &letter.address;
            letter.address.size = sizeof letter.address.storage;
        }
        if (op.kind == operation_kind::read || op.kind == operation_kind::receive_from) {
            entry.opcode = IORING_OP_RECVMSG;
            if (op.kind == operation_kind::read) entry.ioprio = poll_first(op);
        } else {
            entry.opcode = IORING_OP_SENDMSG;
            entry.msg_flags = platform::detail::send_flags;
            if (address) *address = platform::detail::to_native(*op.address);
        }
        letter.header = platform::detail::message(letter.buffers, address);
        entry.addr = reinterpret_cast<std::uintptr_t>(&letter.header);
        entry.len = 1;
    }

    // Completing -------------------------------------------------------------------------------

    unsigned deliver(completions& done) noexcept {
        return ring_.reap([&](const io_uring_cqe& completion) {
            if (completion.res <= 0 || completion.user_data >= of_cancel) [[unlikely]]
                return deliver_rest(completion, done);
            const auto index = static_cast<std::uint32_t>(completion.user_data);
            slot& from = slots_[index];
            CURFEW_ASSERT(completion.user_data == index && from.op && from.submitted);
            if (!from.simple) [[unlikely]]
                return succeeded(index, completion, done);
            operation& op = *std::exchange(from.op, nullptr);
            from.submitted = from.simple = false;
            from.next = std::exchange(free_, index);
            op.transferred = static_cast<std::size_t>(completion.res);
            op.finish(outcome::success);
            if (op.kind == operation_kind::read) {
                note_what_is_left(*op.socket, completion);
                done.push_read(op, *op.socket);
            } else {
                done.push_write(op, *op.socket);
            }
        });
    }

    /// Says in the socket's `reactor_data` how its next read is to be submitted.
    CURFEW_HOT void note_what_is_left(socket_state& socket,
                                      const io_uring_cqe& completion) const noexcept {
        const bool empty = !(completion.flags & detail::ring_socket_nonempty);
        socket.reactor_data = empty && ring_.is_recent() ? detail::ring_poll_first : 0;
    }

    CURFEW_COLD void deliver_rest(const io_uring_cqe& completion, completions& done) noexcept {
        if (completion.user_data == of_taking_back) return;
        if (completion.user_data >= of_waker) {
            if (completion.res > 0) unusual_ |= returns_at_once;
            // The thread that submitted it has ended, completions had no room, or the thread, or
            // the ring, changes. (An earlier watch says so when there is another one already.)
            if (!(completion.flags & IORING_CQE_F_MORE) &&
                completion.user_data == (of_waker | watch_))
                unusual_ |= is_unwatched;
            return;
        }
        const auto index = static_cast<std::uint32_t>(completion.user_data);
        if (index >= slots_.size()) return;  // of a cancellation, whose slot has been given back
        const slot& about = slots_[index];
        if (completion.user_data & of_cancel) {
            // Not found, and still not complete: it was between two stations in the kernel.
            if (completion.res < 0 && about.op && about.op->reason != outcome::success &&
                about.submitted && !about.queued)
                submit(index);
            return;
        }
        CURFEW_ASSERT(completion.user_data == index && about.op && about.submitted);
        if (completion.res < 0)
            failed(index, -completion.res, done);
        else
            succeeded(index, completion, done);
    }

    CURFEW_COLD void succeeded(std::uint32_t index, const io_uring_cqe& completion,
                               completions& done) noexcept {
        slot& from = slots_[index];
        operation& op = *from.op;
        if (from.poll || !is_transfer(op)) return rest_succeeded(index, completion.res, done);
        if (op.kind == operation_kind::read) {
            if (completion.res == 0) [[unlikely]]
                return finish(index, done, outcome::eof);
            note_what_is_left(*op.socket, completion);
        }
        if (!op.advance(static_cast<std::size_t>(completion.res))) [[unlikely]]
            return go_on(index, done);
        finish(index, done, outcome::success);
    }

    CURFEW_COLD void rest_succeeded(std::uint32_t index, int value, completions& done) noexcept {
        slot& from = slots_[index];
        operation& op = *from.op;
        if (op.kind == operation_kind::connect)
            return connected(index, from.poll ? platform::connect_result(op.socket->handle) : 0,
                             done);
        if (op.kind == operation_kind::call) return may_call(index, value, done);
        if (from.poll || op.kind == operation_kind::wait) return polled(index, value, done);
        if (op.kind == operation_kind::receive_from)
            return received(index, static_cast<std::size_t>(value), done);
        if (op.kind == operation_kind::send_to) op.transferred = static_cast<std::size_t>(value);
        if (op.kind == operation_kind::accept) return accepted(index, value, done);
        finish(index, done, outcome::success);
    }

    CURFEW_COLD void accepted(std::uint32_t index, int value, completions& done) noexcept {
        operation& op = *slots_[index].op;
        // An accept may have won against its cancellation, but a closed acceptor accepts nothing.
        if (slots_[index].closed) {
            platform::close(value);
            return finish(index, done, outcome::closed);
        }
        op.accepted = value;
        socket_state& socket = *op.socket;
        finish(index, done, outcome::success);
        // Others may have arrived with it: they are taken at once, without a turn for each.
        socket.set_worth_trying(readiness::readable);
    }

    void polled(std::uint32_t index, int events, completions& done) noexcept {
        slot& from = slots_[index];
        const operation& op = *from.op;
        from.only_error = !(events & events_for(op));
        if (op.kind != operation_kind::wait) return go_on(index, done);
        const bool was_told = op.socket->error_told;
        op.socket->error_told = from.only_error;
        if (was_told && from.only_error) return go_on(index, done, false, true);
        finish(index, done, outcome::success);
    }

    /// It is ready for a call that the kernel does not make by itself. If that has nothing to do it
    /// is not to be polled and tried without end for an error that nobody takes.
    CURFEW_COLD void may_call(std::uint32_t index, int events, completions& done) noexcept {
        slot& from = slots_[index];
        operation& op = *from.op;
        if (op.reason == outcome::success && detail::attempt_call(op)) {
            from.op = nullptr;
            if (!from.queued) free_slot(index);
            return done.push(op);
        }
        from.only_error = !(events & events_for(op));
        go_on(index, done, true, from.only_error);
    }

    void received(std::uint32_t index, std::size_t count, completions& done) noexcept {
        operation& op = *slots_[index].op;
        envelope& letter = *slots_[index].letter;
        op.transferred = count;
        if (op.address) {
            letter.address.size = letter.header.msg_namelen;
            platform::detail::store(letter.address, *op.address);
        }
        // Others may have arrived with it. (What is left out of these tries is received as this
        // one was.)
        socket_state& socket = *op.socket;
        socket.set_worth_trying(readiness::readable);
        socket.level_triggered = true;
        socket.announced();
        if (!(letter.header.msg_flags & MSG_TRUNC)) return finish(index, done, outcome::success);
        op.reason = outcome::success;  // too late: it has taken the datagram
        finish(index, done, outcome::system, platform::message_too_long);
    }

    CURFEW_COLD void failed(std::uint32_t index, int error, completions& done) noexcept {
        slot& from = slots_[index];
        const operation_kind kind = from.op->kind;
        // Cancelled: by `end`, or because the thread that had submitted it has ended.
        if (error == ECANCELED || platform::interrupted(error) ||
            (kind == operation_kind::accept && platform::accept_may_go_on(error)))
            return go_on(index, done);
        if (kind == operation_kind::connect) return connected(index, error, done);
        // The kernel waits by itself; but not for ever where others take what is there, and before
        // Linux 6.0 not on an acceptor that does not block.
        if (platform::would_block(error)) return go_on(index, done, true, from.only_error);
        if (error == ETIME && from.rests) return go_on(index, done, true);  // it has rested
        from.op->socket->error_told = false;
        finish(index, done, outcome::system, error);
    }

    CURFEW_COLD void connected(std::uint32_t index, int error, completions& done) noexcept {
        operation& op = *slots_[index].op;
        // EALREADY: it was begun by a thread that has ended.
        if (platform::connect_pending(error) || error == EALREADY) return go_on(index, done, true);
        // Asked to end it has no socket any more, whatever became of the connection.
        if (op.reason != outcome::success) return finish(index, done, outcome::canceled);
        if (!error) return finish(index, done, outcome::success);
        // POSIX leaves the state of a socket unspecified after a failed connect: the next attempt
        // gets a new one.
        platform::close(std::exchange(op.socket->handle, platform::invalid_socket));
        finish(index, done, outcome::system, error);
    }

    /// Something is left to do: unless the operation is to end, it is submitted once more.
    void go_on(std::uint32_t index, completions& done, bool poll = false,
               bool rest = false) noexcept {
        slot& again = slots_[index];
        if (again.op->reason != outcome::success) return finish(index, done, outcome::canceled);
        again.submitted = again.simple = false;
        again.poll = poll;
        again.rests = rest;
        submit(index);
    }

    static bool is_failure(int error) noexcept {
        return error && error != ETIME && error != EBUSY && !platform::interrupted(error) &&
               !platform::would_block(error);
    }

    const unsigned entries_;
    detail::ring ring_;    // that is in use
    detail::ring shared_;  // the one of no thread, while settled
    platform::waker waker_;
    int error_;
    unsigned unusual_ = is_unwatched;  // all that a wait need not look at while it is 0
    bool is_settled_ = false;
    /// Bytes that the kernel may copy when it is entered the next time and takes what is submitted:
    /// those of writes, and of reads that it tries at once.
    std::size_t to_copy_ = 0;
    /// How many these may be for one more to be submitted at once; 0 while any are queued.
    std::size_t may_copy_ = most_to_copy;
    bool is_moving_ = false;     // what comes back is not to be submitted to this ring
    bool is_gathering_ = false;  // see `begin_closes`
    std::uint32_t watch_ = 0;    // the number of the last watch over the waker
    /// Of the slots before this one, what is in flight may be another thread's.
    std::uint32_t to_ask_back_ = 0;
    std::uint32_t waits_until_trim_ = first_trim;
    detail::plain_array<slot> slots_;
    detail::plain_array<platform::socket_handle> gathered_;  // to be closed
    envelope* envelopes_ = nullptr;                          // those in no slot
    std::uint32_t free_ = none;                              // the first free slot
    std::uint32_t first_ = none;                             // the queue
    std::uint32_t last_ = none;
};

}  // namespace curfew

#endif
