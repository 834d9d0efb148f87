// Linux: io_uring. A proactor: the kernel does the whole operation, and tells when it is done.
//
// Here is what the loop asks of it. The folder io_uring/ has, from the kernel up:
//   ring.hpp              the raw ring: system calls, and queues in memory that the kernel shares
//   request_table.hpp     what is known of each pending operation
//   entries.hpp           what is asked of the kernel for each operation
//   submissions.hpp       how requests get to the kernel, and how much of them at a time
//   requests.hpp          what becomes of them
//   movable_requests.hpp  how they move from thread to thread
#pragma once

#include "../platform/platform.hpp"

#if defined(CURFEW_HAS_IO_URING)

#include <cstdint>
#include <string_view>
#include <utility>

#include "../core/outcome.hpp"
#include "../core/plain_array.hpp"
#include "attempt.hpp"
#include "io_uring/movable_requests.hpp"
#include "reactor.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew {

/// What is started or cancelled is collected and handed to the kernel in one system call, with the
/// next `wait`. Nothing is tried before: with a turn's operations in one call, a call for each
/// costs more than it saves. Datagrams are the exception: one for which there is room is sent at
/// once, as many tasks may share a socket; and with one that was received others may have come,
/// which are taken at once, and not one in each turn.
///
/// The kernel copies within that call: see `copy_budget`.
///
/// Errors: those of the system calls that the operations stand for. Cancellation: by a request that
/// names the operation (IORING_OP_ASYNC_CANCEL). Whatever comes of it is told by the operation's
/// own completion: a transfer that was done, or a connection that was accepted, is delivered.
///
/// A context may run in one thread after the other: see movable_requests.hpp.
class io_uring_reactor final : public reactor {
public:
    /// How many requests may wait to be submitted before the kernel is called for them.
    static constexpr unsigned default_entries = 256;

    /// `entries`: how many operations are submitted in one system call at the most; with none there
    /// is no ring (EINVAL).
    explicit io_uring_reactor(unsigned entries = default_entries) noexcept
        : requests_(entries), error_(requests_.error()) {}

    /// Why the reactor could not be made (the system's error number); 0 if it was. Containers often
    /// forbid io_uring (EPERM, ENOSYS), as does the sysctl kernel.io_uring_disabled.
    int error() const noexcept override { return error_; }

    std::string_view name() const noexcept override { return "io_uring"; }

    bool start(operation& op) noexcept override {
        if (op.single_transfer && requests_.start_single(op)) [[likely]]
            return false;
        return start_rest(op);
    }

    void cancel(operation& op, completions& done) noexcept override {
        // A connection attempt cannot be taken back; its socket is of no use any more.
        if (op.kind == operation_kind::connect)
            close(*op.socket, close_mode::graceful, done);
        else
            requests_.end(op, done);
    }

    bool complete_if_ready(operation& op, completions& done) noexcept override {
        return requests_.complete_if_ready(op, done);
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
        if (socket.reader || socket.writer) {
            if (requests_.is_gathering() && handle != platform::invalid_socket &&
                gathered_.try_push_back(handle))
                return;
            requests_.reap_cancelled(&socket, done);
        }
        if (handle != platform::invalid_socket) platform::close(handle);
    }

    void release(socket_state& socket, completions& done) noexcept override {
        detail::forget_what_is_left(socket);
        end_all(socket, outcome::canceled, done);
        if (socket.reader || socket.writer) requests_.reap_cancelled(&socket, done);
    }

    /// The requests on all sockets that are closed meanwhile are cancelled and reaped in one call.
    void begin_closes() noexcept override { requests_.begin_gathering(); }

    void end_closes(completions& done) noexcept override {
        requests_.end_gathering();
        if (gathered_.size() == 0) return;
        requests_.reap_cancelled(nullptr, done);
        for (const platform::socket_handle each : gathered_) platform::close(each);
        gathered_.clear();
    }

    int wait(std::chrono::nanoseconds time, completions& done) noexcept override {
        const bool changes = requests_.changes_threads();
        if (changes || requests_.has_extra_work() || --waits_until_trim_ == 0) [[unlikely]] {
            if (error_) return error_;
            if (changes) requests_.leave_thread(done);
            if (waits_until_trim_ == 0) waits_until_trim_ = requests_.trim();
            if (!requests_.prepare_wait(done)) time = detail::uring::no_time;
        }
        int error = 0;
        if (time.count() <= 0 && !requests_.has_work_for_kernel()) {
            requests_.deliver(done);  // the kernel has nothing to add
        } else {
            error = requests_.enter(time);
            requests_.deliver(done);
            while (requests_.has_overflown() && requests_.enter(detail::uring::no_time) == 0)
                requests_.deliver(done);
            if (requests_.more_may_follow()) done.more_may_follow();
        }
        requests_.note_return();  // whoever calls this looks what for
        return detail::uring::is_failure(error) ? error : 0;
    }

    void wake() noexcept override { requests_.wake(); }

    bool settle(completions& done) noexcept override { return requests_.settle(done); }
    void unsettle(completions& done) noexcept override { requests_.unsettle(done); }

private:
    CURFEW_COLD bool start_rest(operation& op) noexcept {
        if (error_) return detail::completed(op, outcome::system, error_);
        detail::check_start(op);
        if (op.kind == operation_kind::connect && detail::open_to_connect(op)) return true;
        if (op.kind == operation_kind::send_to && detail::attempt(op)) return true;
        if (requests_.start(op)) return false;
        if (op.kind == operation_kind::connect)
            platform::close(std::exchange(op.socket->handle, platform::invalid_socket));
        return detail::completed(op, outcome::system, platform::out_of_memory);
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
            if (why == outcome::closed)
                requests_.end_closed(*op, done);
            else
                requests_.end(*op, done);
        }
        detail::check_closed(socket);
    }

    detail::uring::movable_requests requests_;
    int error_;
    std::uint32_t waits_until_trim_ = detail::uring::requests::waits_between_trims;
    detail::plain_array<platform::socket_handle> gathered_;  // to be closed
};

}  // namespace curfew

#endif
