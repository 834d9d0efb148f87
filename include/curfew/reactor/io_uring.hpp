// Linux: io_uring. A proactor: the kernel does the whole operation, and tells when it is done.
#pragma once

#include "../platform/platform.hpp"

#if defined(CURFEW_HAS_IO_URING)

#include <utility>

#include "../core/plain_array.hpp"
#include "attempt.hpp"
#include "io_uring_ring.hpp"
#include "reactor.hpp"

namespace curfew {

/// What is started or cancelled is collected and handed to the kernel in one system call, with the
/// next `wait`. Nothing is tried before: with a turn's operations in one call, a call for each
/// costs more than it saves.
///
/// Errors: those of the system calls that the operations stand for. Cancellation: by a request that
/// names the operation (IORING_OP_ASYNC_CANCEL). Whatever comes of it is told by the operation's
/// own completion: a transfer that was done, or a connection that was accepted, is delivered.
///
/// A context may run in one thread after the other, and end in a third, so the ring is bound to
/// none. When a thread ends, the kernel cancels what it has submitted; that is submitted again. The
/// kernel completes requests in the thread that submitted them: other calls that block there may be
/// interrupted for it (EINTR), as by a signal handler. While the loop is settled in a thread (see
/// `reactor::settle`) there is another ring, of that thread's own, which interrupts nothing (Linux
/// 6.1). Requests move from ring to ring by cancelling them in one, and submitting to the other
/// what has not come to its end by that.
class io_uring_reactor final : public reactor {
public:
    static constexpr unsigned default_entries = 256;

    /// `entries`: how many operations are submitted in one system call at the most.
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
        if (!op.plain || free_ == none || first_ != none) [[unlikely]]
            return start_rest(op);
        io_uring_sqe* const entry = ring_.next_entry();
        if (!entry) [[unlikely]]
            return start_rest(op);
        const std::uint32_t index = take_slot(op);
        slots_[index].submitted = slots_[index].simple = true;
        entry->user_data = identity(index);
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

    /// The kernel's requests hold on to the socket, which would keep the peer from noticing, and a
    /// port busy: so they are cancelled and reaped first. (Should one be busy in a thread of the
    /// kernel's, or have been submitted by another thread, which ends it when that one is next in
    /// the kernel, it is reaped later, and the socket ends with it.) The descriptor's number may be
    /// reused at once: requests look at it only when the kernel takes them.
    void close(socket_state& socket, close_mode how, completions& done) noexcept override {
        const platform::socket_handle handle = socket.handle;
        if (how == close_mode::abortive && socket.is_open()) platform::reset_on_close(handle);
        end_all(socket, outcome::closed, done);
        if (handle != platform::invalid_socket) platform::close(handle);
    }

    void release(socket_state& socket, completions& done) noexcept override {
        end_all(socket, outcome::canceled, done);
    }

    int wait(std::chrono::nanoseconds time, completions& done) noexcept override {
        if (!(waker_is_watched_ && first_ == none) && !submit_queued()) [[unlikely]]
            time = std::chrono::nanoseconds::zero();
        if (time.count() <= 0 && ring_.unsubmitted() == 0 && !ring_.has_due_work()) {
            deliver(done);  // the kernel has nothing to add
            return 0;
        }
        const int error = ring_.enter(time);
        deliver(done);
        while (ring_.has_overflown() && ring_.enter(std::chrono::nanoseconds::zero()) == 0)
            deliver(done);
        // Newer kernels do 20 pieces of that at a time (IO_LOCAL_TW_DEFAULT_MAX in Linux's
        // io_uring/tw.h), and none if a signal has ended the wait.
        if (ring_.has_due_work()) done.more_may_follow();
        return is_failure(error) ? error : 0;
    }

    void wake() noexcept override { waker_.signal(); }

    bool settle(completions& done) noexcept override {
        if (is_settled_ || !ring_.is_recent()) return true;
        if (in_flight() > most_to_move) return false;
        detail::ring own(entries_, detail::ring::users::one_thread);
        if (own.error()) return true;  // an older kernel, or no descriptor to be had
        // What another thread has submitted comes back when that one enters the kernel: it is
        // submitted here then, and the next attempt finds nothing but this thread's.
        if (!take_back(done)) return false;
        shared_ = std::exchange(ring_, std::move(own));
        is_settled_ = true;
        return true;
    }

    void unsettle(completions& done) noexcept override {
        if (!is_settled_) return;
        // This thread has submitted all there is, so it all comes, unless the kernel is short of
        // memory. From a ring that works no more nothing comes: the next `wait` will say so.
        while (!take_back(done))
            if (is_failure(ring_.enter(std::chrono::nanoseconds::zero()))) return;
        ring_ = std::exchange(shared_, {});
        is_settled_ = false;
    }

private:
    static constexpr std::uint32_t none = ~std::uint32_t{0};
    /// Each takes two or three microseconds, in which the loop does nothing else. (More of them are
    /// as fast in the other ring.)
    static constexpr std::uint32_t most_to_move = 500;

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
        /// Part of the completion's identity. A new one for each submission: what is said of an
        /// earlier one, or asked of it, never concerns a later one in the same slot.
        std::uint32_t generation = 0;
        std::uint32_t next = none;  // in the queue, or in the list of the free
        bool queued = false;
        bool submitted = false;
        bool simple = false;  // as a `plain` transfer, and nothing else of what is here holds
        bool poll = false;    // wait until it can go on before trying (again)
        bool closed = false;  // its socket was closed meanwhile
    };

    // What a completion belongs to: a generation, a slot, and whether it is of a cancellation.
    static constexpr std::uint64_t of_waker = ~std::uint64_t{0};
    static constexpr std::uint64_t of_taking_back = of_waker - 1;
    static constexpr std::uint64_t of_cancel = std::uint64_t{1} << 63;
    static constexpr std::uint32_t generations = 1u << 31;

    std::uint64_t identity(std::uint32_t index) const noexcept {
        return std::uint64_t{slots_[index].generation % generations} << 32 | index;
    }

    static std::uint32_t slot_of(const operation& op) noexcept {
        CURFEW_ASSERT(op.progress == operation::state::pending);
        return static_cast<std::uint32_t>(op.error);
    }

    // Slots ------------------------------------------------------------------------------------

    CURFEW_COLD void add_slot() noexcept {
        free_ = static_cast<std::uint32_t>(slots_.size());
        slots_.push_back({});
    }

    CURFEW_HOT std::uint32_t take_slot(operation& op) noexcept {
        const std::uint32_t index = std::exchange(free_, slots_[free_].next);
        slots_[index].op = &op;
        op.error = static_cast<int>(index);
        return index;
    }

    void free_slot(std::uint32_t index) noexcept {
        slot& freed = slots_[index];
        CURFEW_ASSERT(!freed.op && !freed.queued);
        ++freed.generation;
        freed.submitted = freed.poll = freed.closed = freed.simple = false;
        freed.next = std::exchange(free_, index);
        if (envelope* const letter = std::exchange(freed.letter, nullptr)) [[unlikely]]
            letter->next = std::exchange(envelopes_, letter);
    }

    void enqueue(std::uint32_t index) noexcept {
        slot& added = slots_[index];
        CURFEW_ASSERT(!added.queued);
        added.queued = true;
        added.simple = false;
        added.next = none;
        (last_ == none ? first_ : slots_[last_].next) = index;
        last_ = index;
    }

    std::uint32_t dequeue() noexcept {
        const std::uint32_t index = first_;
        first_ = slots_[index].next;
        if (first_ == none) last_ = none;
        slots_[index].queued = false;
        return index;
    }

    // Ending operations ------------------------------------------------------------------------

    /// Asks a pending operation, which has a reason, to end.
    void end(operation& op, completions& done) noexcept {
        const std::uint32_t index = slot_of(op);
        if (!slots_[index].submitted) return finish(index, done, outcome::canceled);
        if (!slots_[index].queued) submit(index);
    }

    /// Ends what is pending on a socket, which has no handle from now on. Who caused it, if
    /// anybody, is resumed first.
    void end_all(socket_state& socket, outcome why, completions& done) noexcept {
        socket.handle = platform::invalid_socket;
        socket.slot = 0;
        operation* first = socket.reader;
        operation* second = socket.writer == first ? nullptr : socket.writer;
        if (second && second->reason != outcome::success) std::swap(first, second);
        for (operation* op : {first, second}) {
            if (!op) continue;
            if (op->reason == outcome::success) op->reason = why;
            slot& ending = slots_[slot_of(*op)];
            ending.closed = why == outcome::closed;
            ending.simple = false;
            end(*op, done);
        }
        if (!socket.reader && !socket.writer) return;
        int error = 0;
        do {  // once, unless the kernel is short of memory, or does what is due piece by piece
            submit_queued();
            error = ring_.enter(std::chrono::nanoseconds::zero());
            deliver(done);
        } while ((ring_.unsubmitted() || first_ != none ||
                  ((socket.reader || socket.writer) && ring_.has_due_work())) &&
                 !is_failure(error));
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
    /// kernel takes with the next `enter`. If all entries are in use, or others wait for one, it is
    /// queued; so nothing is ever dropped, and all remains in order.
    void submit(std::uint32_t index) noexcept {
        io_uring_sqe* const entry = first_ == none && !is_moving_ ? ring_.next_entry() : nullptr;
        if (entry)
            describe(index, *entry);
        else
            enqueue(index);
    }

    CURFEW_COLD bool start_rest(operation& op) noexcept {
        if (op.kind == operation_kind::connect && detail::open_to_connect(op)) return true;
        if (op.kind == operation_kind::send_to && op.buffer_count > platform::max_buffers)
            return detail::completed(op, outcome::system, platform::message_too_long);
        if (free_ == none) add_slot();
        submit(take_slot(op));
        return false;
    }

    /// Finds entries for what is queued. False if the kernel does not take enough of them now: then
    /// it is not the time to wait.
    bool submit_queued() noexcept {
        if (!waker_is_watched_) watch_waker();
        while (first_ != none) {
            if (!slots_[first_].op) {  // ended before it came to this
                free_slot(dequeue());
            } else if (io_uring_sqe* const entry = ring_.next_entry()) {
                describe(dequeue(), *entry);
            } else if (ring_.enter(std::chrono::nanoseconds::zero()) || ring_.unsubmitted()) {
                return false;  // it wants completions to be taken, or is short of memory
            }
        }
        return waker_is_watched_;  // there may have been no entry for it
    }

    /// Takes from the kernel what it has, the watch over the waker too: what is not complete is
    /// queued. False: not yet all of it.
    ///
    /// One by one: a single request to cancel all, which there is, makes the kernel look at all
    /// that it has already cancelled before each of them.
    CURFEW_COLD bool take_back(completions& done) noexcept {
        is_moving_ = true;
        if (waker_is_watched_) ask_back(of_waker, done);
        for (std::uint32_t i = 0; i < slots_.size(); ++i)
            if (is_in_flight(slots_[i])) ask_back(identity(i), done);
        // In a ring of this thread's own some of what is due is done each time, not all of it
        // (since Linux 6.14).
        std::uint32_t at = 0;
        while (!all_is_back(at) && enter_and_deliver(done) > 0) {}
        is_moving_ = false;
        return all_is_back(at);
    }

    /// Moves `at` on to the first slot of which the kernel has something. (While requests move,
    /// none is submitted: what was back before is still back.)
    bool all_is_back(std::uint32_t& at) const noexcept {
        while (at < slots_.size() && !is_in_flight(slots_[at])) ++at;
        return at == slots_.size() && !waker_is_watched_ && ring_.unsubmitted() == 0;
    }

    void ask_back(std::uint64_t whom, completions& done) noexcept {
        io_uring_sqe* entry = ring_.next_entry();
        if (!entry) {
            enter_and_deliver(done);
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
        ring_.enter(std::chrono::nanoseconds::zero());
        return deliver(done);
    }

    static bool is_in_flight(const slot& each) noexcept { return each.op && each.submitted; }

    std::uint32_t in_flight() const noexcept {
        std::uint32_t count = 0;
        for (const slot& each : slots_) count += is_in_flight(each);
        return count;
    }

    /// One entry stays for good and reports every signal; so nobody has to drain the waker.
    CURFEW_COLD void watch_waker() noexcept {
        io_uring_sqe* const entry = ring_.next_entry();
        if (!entry) return;
        entry->opcode = IORING_OP_POLL_ADD;
        entry->fd = waker_.handle();
        entry->len = IORING_POLL_ADD_MULTI;
        entry->poll_events = POLLIN;
        entry->user_data = of_waker;
        waker_is_watched_ = true;
    }

    void describe(std::uint32_t index, io_uring_sqe& entry) noexcept {
        slot& next = slots_[index];
        const operation& op = *next.op;
        entry.user_data = identity(index);
        if (next.submitted || next.poll || !is_transfer(op) || op.buffer_count != 1)
            return describe_rest(next, entry);
        next.submitted = true;
        describe_transfer(op, {op.buffers->data + op.offset, op.buffers->size - op.offset}, entry);
    }

    CURFEW_HOT static void describe_transfer(const operation& op, platform::buffer buffer,
                                             io_uring_sqe& entry) noexcept {
        entry.fd = op.socket->handle;
        entry.addr = reinterpret_cast<std::uintptr_t>(buffer.data);
        entry.len = static_cast<std::uint32_t>(buffer.size < detail::fair_size ? buffer.size
                                                                               : detail::fair_size);
        if (op.kind == operation_kind::read) {
            entry.opcode = IORING_OP_RECV;
            entry.ioprio = poll_first(op);
        } else {
            entry.opcode = IORING_OP_SEND;
            entry.msg_flags = platform::detail::send_flags;
        }
    }

    static bool is_transfer(const operation& op) noexcept {
        return op.kind == operation_kind::read || op.kind == operation_kind::write;
    }

    /// What is known to be empty need not be tried before the kernel waits.
    static std::uint16_t poll_first(const operation& op) noexcept {
        return static_cast<std::uint16_t>(op.socket->slot);
    }

    CURFEW_COLD void describe_rest(slot& next, io_uring_sqe& entry) noexcept {
        if (std::exchange(next.submitted, true)) {
            entry.opcode = IORING_OP_ASYNC_CANCEL;
            entry.fd = -1;
            entry.addr = entry.user_data;
            entry.user_data |= of_cancel;
            return;
        }
        const operation& op = *next.op;
        entry.fd = op.socket->handle;
        if (next.poll || op.kind == operation_kind::wait) {
            entry.opcode = IORING_OP_POLL_ADD;
            entry.poll_events = events_for(op);
        } else if (op.kind == operation_kind::accept) {
            entry.opcode = IORING_OP_ACCEPT;
            entry.accept_flags = SOCK_NONBLOCK | SOCK_CLOEXEC;
        } else if (op.kind == operation_kind::connect) {
            envelope& letter = take_envelope(next);
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
        envelope& letter = take_envelope(from);
        if (is_transfer(op)) {
            const detail::portion next(op, detail::fair_size);
            letter.buffers = {next.list, next.count, next.skip};
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

    envelope& take_envelope(slot& to) noexcept {
        if (!to.letter) {
            if (!envelopes_) envelopes_ = new envelope;
            to.letter = std::exchange(envelopes_, envelopes_->next);
        }
        return *to.letter;
    }

    // Completing -------------------------------------------------------------------------------

    unsigned deliver(completions& done) noexcept {
        return ring_.reap([&](const io_uring_cqe& completion) {
            if (completion.res <= 0 || completion.user_data >= of_cancel) [[unlikely]]
                return deliver_rest(completion, done);
            const auto index = static_cast<std::uint32_t>(completion.user_data);
            slot& from = slots_[index];
            CURFEW_ASSERT(completion.user_data == identity(index) && from.op && from.submitted);
            if (!from.simple) [[unlikely]]
                return succeeded(index, completion, done);
            operation& op = *std::exchange(from.op, nullptr);
            ++from.generation;
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

    /// Says in the socket's `slot` how its next read is to be submitted.
    CURFEW_HOT void note_what_is_left(socket_state& socket,
                                      const io_uring_cqe& completion) const noexcept {
        const bool empty = !(completion.flags & detail::ring_socket_nonempty);
        socket.slot = empty && ring_.is_recent() ? detail::ring_poll_first : 0;
    }

    CURFEW_COLD void deliver_rest(const io_uring_cqe& completion, completions& done) noexcept {
        if (completion.user_data == of_waker) {
            // The thread that submitted it has ended, completions had no room, or the ring is
            // about to change.
            if (!(completion.flags & IORING_CQE_F_MORE)) waker_is_watched_ = false;
            return;
        }
        if (completion.user_data == of_taking_back) return;
        const auto index = static_cast<std::uint32_t>(completion.user_data);
        const slot& about = slots_[index];
        if (completion.user_data & of_cancel) {
            // Not found, and still not complete: it was between two stations in the kernel.
            if (completion.res < 0 && completion.user_data == (identity(index) | of_cancel) &&
                about.op && about.submitted && !about.queued)
                submit(index);
            return;
        }
        CURFEW_ASSERT(completion.user_data == identity(index) && about.op && about.submitted);
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
        if (from.poll) return go_on(index, done);
        if (op.kind == operation_kind::receive_from)
            return received(index, static_cast<std::size_t>(value), done);
        if (op.kind == operation_kind::send_to) op.transferred = static_cast<std::size_t>(value);
        if (op.kind == operation_kind::accept) op.accepted = value;
        // An accept may have won against its cancellation, but a closed acceptor accepts nothing.
        if (op.kind == operation_kind::accept && from.closed) {
            platform::close(value);
            return finish(index, done, outcome::closed);
        }
        finish(index, done, outcome::success);
    }

    void received(std::uint32_t index, std::size_t count, completions& done) noexcept {
        operation& op = *slots_[index].op;
        envelope& letter = *slots_[index].letter;
        op.transferred = count;
        if (op.address) {
            letter.address.size = letter.header.msg_namelen;
            *op.address = platform::detail::from_native(letter.address);
        }
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
        if (platform::would_block(error)) return go_on(index, done, true);
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
    void go_on(std::uint32_t index, completions& done, bool poll = false) noexcept {
        slot& again = slots_[index];
        if (again.op->reason != outcome::success) return finish(index, done, outcome::canceled);
        ++again.generation;
        again.submitted = again.simple = false;
        again.poll = poll;
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
    bool waker_is_watched_ = false;
    bool is_settled_ = false;
    bool is_moving_ = false;  // what comes back is not to be submitted to this ring
    detail::plain_array<slot> slots_;
    envelope* envelopes_ = nullptr;  // those in no slot
    std::uint32_t free_ = none;      // the first free slot
    std::uint32_t first_ = none;     // the queue
    std::uint32_t last_ = none;
};

}  // namespace curfew

#endif
