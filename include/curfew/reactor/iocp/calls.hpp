// The calls that iocp makes for each operation, and what their end means for it.
#pragma once

#include "../../platform/platform.hpp"

#if defined(CURFEW_HAS_IOCP)

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>

#include "../../core/outcome.hpp"
#include "../../core/socket_state.hpp"
#include "../attempt.hpp"
#include "packets.hpp"
#include "system_calls.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew::detail::iocp {

// What the reactor keeps of a socket (`reactor_data`).
inline constexpr std::uint32_t detached = 0;
inline constexpr std::uint32_t reports_all = 1;
inline constexpr std::uint32_t skips_success = 2;  // what succeeds at once is not reported

class calls {
public:
    /// Begins the call that the operation needs next. Returns the error number, which is
    /// WSA_IO_PENDING if a completion will tell the rest.
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

    /// A call has ended. True: so has the operation; else it is to go on.
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

    /// The Winsock error of a completion that has failed.
    CURFEW_COLD static int error_of(packet& with) noexcept {
        if (with.closed) return WSA_OPERATION_ABORTED;  // the handle may be somebody else's
        DWORD count = 0;
        DWORD flags = 0;
        return ::WSAGetOverlappedResult(with.handle, &with, &count, FALSE, &flags)
                   ? 0
                   : platform::detail::last_error();
    }

    /// ConnectEx is not for local sockets, and a plain connect of those does not wait.
    CURFEW_COLD static bool connect_local(operation& op) noexcept {
        if (const int error = platform::connect(op.socket->handle, *op.address))
            return fail(op, error);
        op.socket->set_worth_trying(readiness::readable | readiness::writable);
        return completed(op, outcome::success);
    }

    /// Completes an operation that has failed. A connect has no socket then.
    static bool fail(operation& op, int error) noexcept {
        if (op.kind == operation_kind::connect) forget(*op.socket, true);
        return completed(op, outcome::system, error);
    }

    /// The socket has no handle any more.
    static void forget(socket_state& socket, bool close) noexcept {
        if (close) platform::close(socket.handle);
        socket.handle = platform::invalid_socket;
        socket.reactor_data = detached;
        socket.worth_trying = 0;
    }

private:
    static platform::detail::buffer_vector all_buffers(const operation& op) noexcept {
        return {op.buffers, op.buffer_count, 0};
    }
    static platform::detail::buffer_vector next_buffers(const operation& op) noexcept {
        const portion next(op, fair_size);
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
        if (const int error = find_extension(with.handle, WSAID_ACCEPTEX, accept_ex_)) return error;
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
        if (const int error = find_extension(with.handle, WSAID_CONNECTEX, connect_ex_))
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

    /// Waits until the socket is ready.
    static int begin_poll(packet& with) noexcept {
        if (!nt().device_io_control_file) return WSAEOPNOTSUPP;
        const operation& op = *with.op;
        with.poll = {};
        with.poll.timeout.QuadPart = INT64_MAX;
        with.poll.count = 1;
        with.poll.sockets[0].handle = reinterpret_cast<HANDLE>(with.handle);
        with.poll.sockets[0].events = afd_poll::closed_here |
                                      (op.waits_for(readiness::readable) ? afd_poll::readable : 0) |
                                      (op.waits_for(readiness::writable) ? afd_poll::writable : 0);
        with.Internal = static_cast<ULONG_PTR>(nt_pending);
        const nt_status status = nt().device_io_control_file(
            reinterpret_cast<HANDLE>(with.handle), nullptr, nullptr, &with, &with.Internal,
            afd_poll::control_code, &with.poll, sizeof with.poll, &with.poll, sizeof with.poll);
        if (status == nt_pending) return WSA_IO_PENDING;
        if (status >= 0) return 0;
        with.Internal = static_cast<ULONG_PTR>(status);
        return error_of(with);
    }

    /// An operation that was asked to end does not go on.
    static bool ended(operation& op) noexcept {
        return op.reason != outcome::success && completed(op, outcome::canceled);
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
            return completed(op, outcome::eof);
        if (op.buffer_count == 1) note_read(*op.socket, count < op.buffers->size - op.offset);
        if (op.advance(count)) [[likely]]
            return completed(op, outcome::success);
        return ended(op);
    }

    static bool has_received(packet& with, int error, DWORD count) noexcept {
        operation& op = *with.op;
        if (error && error != platform::message_too_long) return failed(op, error);
        if (op.address) platform::detail::store(with.address, *op.address);
        op.socket->set_worth_trying(readiness::readable);
        op.transferred = count;
        if (!error) return completed(op, outcome::success);
        op.transferred = all_buffers(op).bytes;
        op.reason = outcome::success;  // too late: it has taken the datagram
        return completed(op, outcome::system, error);
    }

    bool has_accepted(packet& with, int error) noexcept {
        operation& op = *with.op;
        const platform::socket_handle made = std::exchange(with.accepted, platform::invalid_socket);
        if (error || with.closed) {  // a closed acceptor accepts nothing
            if (made != platform::invalid_socket) platform::close(made);
            if (platform::accept_may_go_on(error)) return ended(op);
            return error ? failed(op, error) : completed(op, outcome::closed);
        }
        // Else it would not know its addresses, nor how to shut down.
        ::setsockopt(made, SOL_SOCKET, SO_UPDATE_ACCEPT_CONTEXT,
                     reinterpret_cast<const char*>(&with.handle), sizeof with.handle);
        note_peer(with);
        op.socket->set_worth_trying(readiness::readable);
        op.accepted = made;
        return completed(op, outcome::success);
    }

    /// Says who has connected, which AcceptEx tells, also if they are gone.
    void note_peer(packet& with) noexcept {
        if (!with.op->peer ||
            find_extension(with.handle, WSAID_GETACCEPTEXSOCKADDRS, accept_ex_addresses_))
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
        return completed(op, outcome::success);
    }

    /// A wait for the socket to be ready has ended.
    static bool is_ready(operation& op, int error) noexcept {
        if (error) return failed(op, error);
        if (op.kind == operation_kind::wait) return completed(op, outcome::success);
        if (ended(op)) return true;
        op.socket->set_worth_trying(op.interest);
        if (attempt(op)) return true;
        op.socket->set_dry(op.interest);
        return false;
    }

    LPFN_ACCEPTEX accept_ex_ = nullptr;
    LPFN_GETACCEPTEXSOCKADDRS accept_ex_addresses_ = nullptr;
    LPFN_CONNECTEX connect_ex_ = nullptr;
};

}  // namespace curfew::detail::iocp

#endif
