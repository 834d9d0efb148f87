// Windows: I/O completion ports. A proactor: the system does the whole operation, and tells when it
// is done.
#pragma once

#include "../platform/platform.hpp"

#if defined(CURFEW_HAS_IOCP)

#include <cstddef>
#include <new>
#include <utility>

#include "attempt.hpp"
#include "iocp_port.hpp"
#include "reactor.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew {

/// Connects, accepts and receives are overlapped calls. What a cancelled overlapped *send* has
/// moved is not known, so there is none: a write is tried without blocking and, if there is no
/// room, waits until there is. So the position in the stream is exact after every cancellation, as
/// on all other reactors.
///
/// Errors: those of the calls. Cancellation: CancelIoEx. Whatever comes of it is told by the
/// operation's own completion: bytes that had come, or a connection that was accepted, are
/// delivered. No socket is closed in good order before its operations have been reaped, since the
/// peer might get a RST for them; so it may be closed a little after `close` has returned.
///
/// A handle is tied to the reactor's port by its first operation that has to wait. `release` unties
/// it, on Windows 8.1 and later; elsewhere only this reactor can take it in again.
class iocp_reactor final : public reactor {
public:
    iocp_reactor() noexcept : reactor(tries::first) {}

    ~iocp_reactor() override {
        for (std::size_t i = 0; i < chunks_made_; ++i) {
            for (std::size_t j = 0; j < size_of_chunk(i); ++j) CURFEW_ASSERT(!chunks_[i][j].op);
            delete[] chunks_[i];
        }
    }

    /// Why the reactor could not be made (the system's error number); 0 if it was.
    int error() const noexcept override { return port_.error(); }

    std::string_view name() const noexcept override { return "iocp"; }

    bool start(operation& op) noexcept override {
        if (op.kind == operation_kind::connect && detail::open_to_connect(op)) return true;
        if (op.kind == operation_kind::connect && op.address->family == platform::family::local)
            return connect_local(op);
        if (const int error = attach(*op.socket)) return fail(op, error);
        packet* const with = take(op);
        if (!with) return fail(op, platform::out_of_memory);
        if (!run(*with)) return false;
        give_back(*with);
        return true;
    }

    void cancel(operation& op, completions& done) noexcept override {
        // A connection attempt cannot be taken back; its socket is of no use any more.
        if (op.kind == operation_kind::connect)
            close(*op.socket, close_mode::graceful, done);
        else
            cancel(packet_of(op));
    }

    void close(socket_state& socket, close_mode how, completions& done) noexcept override {
        const platform::socket_handle handle = socket.handle;
        const bool connecting = socket.writer && socket.writer->kind == operation_kind::connect;
        if (how == close_mode::abortive && socket.is_open()) platform::reset_on_close(handle);
        end_all(socket, outcome::closed);
        if (handle == platform::invalid_socket) return;
        if (how == close_mode::graceful && !connecting && (socket.reader || socket.writer)) {
            look(0, done);
            if (close_when_reaped(socket, handle)) return;
        }
        platform::close(handle);
    }

    void release(socket_state& socket, completions& done) noexcept override {
        const platform::socket_handle handle = socket.handle;
        const bool attached = socket.reactor_data != detached;
        end_all(socket, outcome::canceled);
        // What is pending is reported to this port or to none. CancelIoEx takes no time, so the
        // bound is only for a driver that ignores it.
        for (DWORD ms = 0; ms < 100 && (socket.reader || socket.writer); ++ms) look(ms, done);
        // (Without memory to remember it this reactor takes it in no more than others do.)
        if (attached && !detail::completion_port::detach(handle)) tied_.add(handle);
    }

    int wait(std::chrono::nanoseconds time, completions& done) noexcept override {
        bool more = false;
        const int error = port_.reap(
            time, more, [&](OVERLAPPED& each, DWORD count) { deliver(each, count, done); });
        if (more) done.more_may_follow();
        if (std::exchange(transfer_continues_, false)) done.transfer_continues();
        return error;
    }

    void wake() noexcept override { port_.wake(); }

private:
    // What `socket_state::reactor_data` says.
    static constexpr std::uint32_t detached = 0;
    static constexpr std::uint32_t reports_all = 1;
    static constexpr std::uint32_t skips_success = 2;  // what succeeds at once is not reported

    static constexpr DWORD accept_address_size = sizeof(sockaddr_storage) + 16;  // see AcceptEx

    static constexpr int most_calls = 2;  // of an operation that goes on, in its turn

    /// The system's record of an operation. It lives until the operation's completion has been
    /// reaped, whatever becomes of the socket, and then serves the next one.
    struct packet : OVERLAPPED {
        operation* op = nullptr;  // null: free
        packet* next = nullptr;   // in the list of the free
        std::uint32_t index = 0;
        bool closed = false;      // its socket was closed meanwhile
        bool closing = false;     // `handle` is to be closed when nothing is pending there any more
        packet* other = nullptr;  // what is, too
        platform::socket_handle handle = platform::invalid_socket;
        platform::socket_handle accepted = platform::invalid_socket;
        DWORD flags = 0;
        union {
            platform::detail::native_address address;
            char accept_addresses[2 * accept_address_size];
            detail::afd_poll poll;
        };

        packet() noexcept : OVERLAPPED{}, address() {}
    };

    // Packets ----------------------------------------------------------------------------------

    // They never move: each chunk is as large as all those before it, and one more.

    static constexpr std::size_t size_of_chunk(std::size_t which) noexcept {
        return smallest_chunk << which;
    }
    static constexpr std::size_t begin_of_chunk(std::size_t which) noexcept {
        return size_of_chunk(which) - smallest_chunk;
    }

    /// Null: there is no memory.
    packet* take(operation& op) noexcept {
        if (!free_ && !add_chunk()) return nullptr;
        packet* const taken = std::exchange(free_, free_->next);
        taken->op = &op;
        taken->handle = op.socket->handle;
        op.reactor_data = taken->index;
        return taken;
    }

    CURFEW_COLD bool add_chunk() noexcept {
        if (chunks_made_ == most_chunks) return false;
        const std::size_t size = size_of_chunk(chunks_made_);
        packet* const made = new (std::nothrow) packet[size];
        if (!made) return false;
        for (std::size_t i = 0; i < size; ++i) {
            made[i].index = static_cast<std::uint32_t>(begin_of_chunk(chunks_made_) + i);
            made[i].next = i + 1 < size ? &made[i + 1] : nullptr;
        }
        chunks_[chunks_made_++] = made;
        free_ = made;
        return true;
    }

    packet& packet_of(const operation& op) noexcept {
        CURFEW_ASSERT(op.progress == operation::state::pending);
        const std::size_t index = op.reactor_data;
        std::size_t which = 0;
        while (index >= begin_of_chunk(which + 1)) ++which;
        return chunks_[which][index - begin_of_chunk(which)];
    }

    operation& give_back(packet& with) noexcept {
        if (with.closing) [[unlikely]]
            close_last(with);
        with.closed = false;
        with.next = std::exchange(free_, &with);
        operation& op = *std::exchange(with.op, nullptr);
        if (op.socket->handle != with.handle) op.socket->worth_trying = 0;  // closed meanwhile
        return op;
    }

    // Sockets ----------------------------------------------------------------------------------

    int attach(socket_state& socket) noexcept {
        if (socket.reactor_data != detached) return 0;
        // Of datagrams, what has succeeded at once may be reported all the same (Microsoft's
        // knowledge base, 2568167).
        bool skip = socket.type == platform::transport::stream;
        const int error = port_.attach(socket.handle, skip);
        const bool was_ours = tied_.has(socket.handle);
        tied_.remove(socket.handle);
        if (error && !(was_ours && error == ERROR_INVALID_PARAMETER)) return error;
        socket.reactor_data = skip ? skips_success : reports_all;
        return 0;
    }

    static bool fail(operation& op, int error) noexcept {
        if (op.kind == operation_kind::connect) forget(*op.socket, true);
        return detail::completed(op, outcome::system, error);
    }

    static void forget(socket_state& socket, bool close) noexcept {
        if (close) platform::close(socket.handle);
        socket.handle = platform::invalid_socket;
        socket.reactor_data = detached;
        socket.worth_trying = 0;
    }

    /// Asks an operation to end. If it is about to complete by itself (ERROR_NOT_FOUND), or even
    /// has, its packet comes all the same, or is there: it is reaped once in any case, and not
    /// used for another operation before.
    static void cancel(packet& with) noexcept {
        ::CancelIoEx(reinterpret_cast<HANDLE>(with.handle), &with);
    }

    /// Asks all that is pending on a socket to end; it has no handle from now on. Who caused it, if
    /// anybody, is asked first.
    void end_all(socket_state& socket, outcome why) noexcept {
        forget(socket, false);
        operation* first = socket.reader;
        operation* second = socket.writer == first ? nullptr : socket.writer;
        if (second && second->reason != outcome::success) std::swap(first, second);
        for (operation* op : {first, second}) {
            if (!op) continue;
            if (op->reason == outcome::success) op->reason = why;
            packet& with = packet_of(*op);
            with.closed = why == outcome::closed;
            cancel(with);
        }
    }

    /// False: nothing is pending there.
    bool close_when_reaped(socket_state& socket, platform::socket_handle handle) noexcept {
        packet* const reader = socket.reader ? &packet_of(*socket.reader) : nullptr;
        packet* const writer = socket.writer ? &packet_of(*socket.writer) : nullptr;
        for (packet* each : {reader, writer})
            if (each) {
                each->closing = true;
                each->other = reader && writer && reader != writer
                                  ? (each == reader ? writer : reader)
                                  : nullptr;
                CURFEW_ASSERT(each->handle == handle);
            }
        return reader || writer;
    }

    CURFEW_COLD static void close_last(packet& with) noexcept {
        with.closing = false;
        if (packet* const other = std::exchange(with.other, nullptr))
            other->other = nullptr;
        else
            platform::close(with.handle);
    }

    // Doing ------------------------------------------------------------------------------------

    /// Has the system do the operation, or what is left of it. True: it is complete.
    bool run(packet& with) noexcept {
        for (int calls = 0;; ++calls) {
            DWORD count = 0;
            const int error = begin(with, count);
            if (error == WSA_IO_PENDING) return false;
            if (!error && with.op->socket->reactor_data != skips_success)
                return false;  // it is reported
            // Its turn is over: that is reported, too.
            if (!error && calls == most_calls && port_.post(with, count)) {
                transfer_continues_ = true;
                return false;
            }
            if (conclude(with, error, count)) return true;
        }
    }

    /// Returns the error number, which is WSA_IO_PENDING if a completion will tell the rest.
    int begin(packet& with, DWORD& count) noexcept {
        static_cast<OVERLAPPED&>(with) = {};
        switch (with.op->kind) {
        case operation_kind::read:
        case operation_kind::receive_from:
            return begin_receive(with, count);
        case operation_kind::accept:
            return begin_accept(with);
        case operation_kind::connect:
            return begin_connect(with);
        case operation_kind::write:
        case operation_kind::send_to:
        case operation_kind::wait:
        case operation_kind::call:
            break;
        }
        return begin_poll(with);
    }

    static platform::detail::buffer_vector all_buffers(const operation& op) noexcept {
        return {op.buffers, op.buffer_count, 0};
    }
    static platform::detail::buffer_vector next_buffers(const operation& op) noexcept {
        const detail::portion next(op, detail::fair_size);
        return {next.list, next.count, next.skip};
    }

    static int begin_receive(packet& with, DWORD& count) noexcept {
        const operation& op = *with.op;
        // The system has read this description when the call returns (WSARecv, "Remarks").
        const bool reads = op.kind == operation_kind::read;
        platform::detail::buffer_vector buffers = reads ? next_buffers(op) : all_buffers(op);
        with.flags = 0;
        if (reads || !op.address)
            return platform::detail::error_of(::WSARecv(with.handle, buffers.entries, buffers.count,
                                                        &count, &with.flags, &with, nullptr));
        with.address.size = sizeof with.address.storage;
        return platform::detail::error_of(::WSARecvFrom(with.handle, buffers.entries, buffers.count,
                                                        &count, &with.flags, with.address.get(),
                                                        &with.address.size, &with, nullptr));
    }

    int begin_accept(packet& with) noexcept {
        if (const int error = detail::find_extension(with.handle, WSAID_ACCEPTEX, accept_ex_))
            return error;
        // (What is not TCP's is a local socket here.)
        const platform::family family = with.op->ignore_short_reads
                                            ? platform::family::local
                                            : platform::local_address(with.handle).family;
        if (const int error = platform::open(family, platform::transport::stream, with.accepted))
            return error;
        DWORD received = 0;
        return accept_ex_(with.handle, with.accepted, with.accept_addresses, 0, accept_address_size,
                          accept_address_size, &received, &with)
                   ? 0
                   : platform::detail::last_error();
    }

    int begin_connect(packet& with) noexcept {
        if (const int error = detail::find_extension(with.handle, WSAID_CONNECTEX, connect_ex_))
            return error;
        // It wants a socket that is bound; one that is already says WSAEINVAL.
        platform::socket_address any;
        any.family = with.op->address->family;
        if (const int error = platform::bind(with.handle, any); error && error != WSAEINVAL)
            return error;
        with.address = platform::detail::to_native(*with.op->address);
        return connect_ex_(with.handle, with.address.get(), with.address.size, nullptr, 0, nullptr,
                           &with)
                   ? 0
                   : platform::detail::last_error();
    }

    /// ConnectEx is not for local sockets, and a plain connect of those does not wait.
    CURFEW_COLD static bool connect_local(operation& op) noexcept {
        if (const int error = platform::connect(op.socket->handle, *op.address))
            return fail(op, error);
        op.socket->set_worth_trying(readiness::readable | readiness::writable);
        return detail::completed(op, outcome::success);
    }

    /// Waits until the socket is ready.
    static int begin_poll(packet& with) noexcept {
        if (!detail::nt().device_io_control_file) return WSAEOPNOTSUPP;
        const operation& op = *with.op;
        with.poll = {};
        with.poll.timeout.QuadPart = INT64_MAX;
        with.poll.count = 1;
        with.poll.sockets[0].handle = reinterpret_cast<HANDLE>(with.handle);
        with.poll.sockets[0].events =
            detail::afd_poll::closed_here |
            (op.waits_for(readiness::readable) ? detail::afd_poll::readable : 0) |
            (op.waits_for(readiness::writable) ? detail::afd_poll::writable : 0);
        with.Internal = static_cast<ULONG_PTR>(detail::nt_pending);
        const detail::nt_status status = detail::nt().device_io_control_file(
            reinterpret_cast<HANDLE>(with.handle), nullptr, nullptr, &with, &with.Internal,
            detail::afd_poll::control_code, &with.poll, sizeof with.poll, &with.poll,
            sizeof with.poll);
        if (status == detail::nt_pending) return WSA_IO_PENDING;
        if (status >= 0) return 0;
        with.Internal = static_cast<ULONG_PTR>(status);
        return error_of(with);
    }

    // Completing -------------------------------------------------------------------------------

    void deliver(OVERLAPPED& reported, DWORD count, completions& done) noexcept {
        auto& with = static_cast<packet&>(reported);
        const bool failed = static_cast<detail::nt_status>(with.Internal) < 0;
        if (conclude(with, failed ? error_of(with) : 0, count) || run(with))
            done.push(give_back(with));
    }

    /// Delivers what has completed while a socket is closed or released.
    void look(DWORD ms, completions& done) noexcept {
        port_.look(ms, [&](OVERLAPPED& each, DWORD count) { deliver(each, count, done); });
    }

    /// The Winsock error of a completion that has failed.
    CURFEW_COLD static int error_of(packet& with) noexcept {
        if (with.closed) return WSA_OPERATION_ABORTED;  // the handle may be somebody else's
        DWORD count = 0;
        DWORD flags = 0;
        return ::WSAGetOverlappedResult(with.handle, &with, &count, FALSE, &flags)
                   ? 0
                   : platform::detail::last_error();
    }

    /// A call of an operation's has ended. True: so has the operation; else it is to go on.
    bool conclude(packet& with, int error, DWORD count) noexcept {
        switch (with.op->kind) {
        case operation_kind::read:
            return has_read(*with.op, error, count);
        case operation_kind::receive_from:
            return has_received(with, error, count);
        case operation_kind::accept:
            return has_accepted(with, error);
        case operation_kind::connect:
            return has_connected(*with.op, error);
        case operation_kind::write:
        case operation_kind::send_to:
        case operation_kind::wait:
        case operation_kind::call:
            break;
        }
        return is_ready(*with.op, error);
    }

    /// An operation that was asked to end does not go on.
    static bool ended(operation& op) noexcept {
        return op.reason != outcome::success && detail::completed(op, outcome::canceled);
    }

    /// A failure. False: it says nothing of the operation, which is to be done again. (Nobody has
    /// cancelled it but the system, when the thread that had begun it ended.)
    CURFEW_COLD static bool failed(operation& op, int error) noexcept {
        if (ended(op)) return true;
        return error != WSA_OPERATION_ABORTED && detail::failed(op, outcome::system, error);
    }

    static bool has_read(operation& op, int error, DWORD count) noexcept {
        if (error) [[unlikely]]
            return failed(op, error);
        if (count == 0) [[unlikely]]
            return detail::completed(op, outcome::eof);
        if (op.buffer_count == 1)
            detail::note_read(*op.socket, count < op.buffers->size - op.offset);
        if (op.advance(count)) [[likely]]
            return detail::completed(op, outcome::success);
        return ended(op);
    }

    static bool has_received(packet& with, int error, DWORD count) noexcept {
        operation& op = *with.op;
        if (error && error != platform::message_too_long) return failed(op, error);
        if (op.address) platform::detail::store(with.address, *op.address);
        op.socket->set_worth_trying(readiness::readable);
        op.transferred = count;
        if (!error) return detail::completed(op, outcome::success);
        op.transferred = all_buffers(op).bytes;
        op.reason = outcome::success;  // too late: it has taken the datagram
        return detail::completed(op, outcome::system, error);
    }

    bool has_accepted(packet& with, int error) noexcept {
        operation& op = *with.op;
        const platform::socket_handle made = std::exchange(with.accepted, platform::invalid_socket);
        if (error || with.closed) {  // a closed acceptor accepts nothing
            if (made != platform::invalid_socket) platform::close(made);
            if (platform::accept_may_go_on(error)) return ended(op);
            return error ? failed(op, error) : detail::completed(op, outcome::closed);
        }
        // Else it would not know its addresses, nor how to shut down.
        ::setsockopt(made, SOL_SOCKET, SO_UPDATE_ACCEPT_CONTEXT,
                     reinterpret_cast<const char*>(&with.handle), sizeof with.handle);
        note_peer(with);
        op.socket->set_worth_trying(readiness::readable);
        op.accepted = made;
        return detail::completed(op, outcome::success);
    }

    /// Says who has connected, which AcceptEx tells, also if they are gone.
    void note_peer(packet& with) noexcept {
        if (!with.op->peer ||
            detail::find_extension(with.handle, WSAID_GETACCEPTEXSOCKADDRS, accept_ex_addresses_))
            return;
        sockaddr* local = nullptr;
        sockaddr* remote = nullptr;
        int local_size = 0;
        platform::detail::native_address peer;
        accept_ex_addresses_(with.accept_addresses, 0, accept_address_size, accept_address_size,
                             &local, &local_size, &remote, &peer.size);
        if (!remote || peer.size < 0 || peer.size > static_cast<int>(sizeof peer.storage)) return;
        std::memcpy(&peer.storage, remote, static_cast<std::size_t>(peer.size));
        *with.op->peer = platform::detail::from_native(peer);
    }

    static bool has_connected(operation& op, int error) noexcept {
        // Asked to end it has no socket any more, whatever became of the connection.
        if (ended(op)) return true;
        socket_state& socket = *op.socket;
        if (!error)
            error = platform::detail::error_of(
                ::setsockopt(socket.handle, SOL_SOCKET, SO_UPDATE_CONNECT_CONTEXT, nullptr, 0));
        if (error) return fail(op, error);
        socket.set_worth_trying(readiness::readable | readiness::writable);
        return detail::completed(op, outcome::success);
    }

    /// A wait for the socket to be ready has ended.
    static bool is_ready(operation& op, int error) noexcept {
        if (error) return failed(op, error);
        if (op.kind == operation_kind::wait) return detail::completed(op, outcome::success);
        if (ended(op)) return true;
        op.socket->set_worth_trying(op.interest);
        if (detail::attempt(op)) return true;
        op.socket->set_dry(op.interest);
        return false;
    }

    static constexpr std::size_t smallest_chunk = 16;
    static constexpr std::size_t most_chunks = 24;

    detail::completion_port port_;
    packet* chunks_[most_chunks] = {};
    std::size_t chunks_made_ = 0;
    packet* free_ = nullptr;
    bool transfer_continues_ = false;  // an operation's turn was over, and there is more for it
    platform::detail::handle_set<platform::socket_handle> tied_;  // released, and still tied
    LPFN_ACCEPTEX accept_ex_ = nullptr;
    LPFN_GETACCEPTEXSOCKADDRS accept_ex_addresses_ = nullptr;
    LPFN_CONNECTEX connect_ex_ = nullptr;
};

}  // namespace curfew

#endif
