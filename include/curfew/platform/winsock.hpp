// The socket calls of Windows: Winsock 2.
//
// Every call is made without blocking and returns the error number of WSAGetLastError() (0: it
// succeeded). Winsock is started with the first socket, once, and never ended: other threads may
// use it until the process is gone.
#pragma once

#if defined(_WINSOCKAPI_) && !defined(_WINSOCK2API_)
#error "curfew: <windows.h> has brought in Winsock 1; include curfew, or <winsock2.h>, before it"
#endif

// The lean part of <windows.h>, which <winsock2.h> includes, without macros named `min` and `max`.
// A program that includes <windows.h> itself, before or after, gets all that it always gets.
#if !defined(_WINDOWS_)
#if !defined(WIN32_LEAN_AND_MEAN)
#define WIN32_LEAN_AND_MEAN
#define CURFEW_DEFINED_LEAN
#endif
#if !defined(NOMINMAX)
#define NOMINMAX
#define CURFEW_DEFINED_NOMINMAX
#endif
#endif
#include <winsock2.h>
// After it:
#include <mswsock.h>
#include <ws2tcpip.h>
#if defined(CURFEW_DEFINED_LEAN)  // then it may be included again, for the rest
#undef WIN32_LEAN_AND_MEAN
#undef CURFEW_DEFINED_LEAN
#undef _WINDOWS_
#undef _INC_WINDOWS
#endif
#if defined(CURFEW_DEFINED_NOMINMAX)
#undef NOMINMAX
#undef CURFEW_DEFINED_NOMINMAX
#endif

#include <algorithm>
#include <climits>
#include <cstddef>
#include <cstring>
#include <new>
#include <string>
#include <system_error>

#if defined(_MSC_VER)
#pragma comment(lib, "ws2_32.lib")
#pragma comment(lib, "iphlpapi.lib")
#endif

#define CURFEW_HAS_POLL 1
#define CURFEW_HAS_SELECT 1
#define CURFEW_HAS_IOCP 1
// There is nothing else that `select` and `WSAPoll` wait for.
#define CURFEW_LOOPBACK_WAKER 1

// GCC's threads free `thread_local` variables before they run their destructors here.
#if defined(__GNUC__) && !defined(__clang__)
#define CURFEW_EMULATED_THREAD_LOCAL 1
#endif

#include "../config.hpp"
#include "handle_set.hpp"
#include "std_chrono.hpp"
#include "types.hpp"

// <netioapi.h> would bring in much more. (ULONG WINAPI if_nametoindex(PCSTR), iphlpapi.)
extern "C" __declspec(dllimport) unsigned long __stdcall if_nametoindex(const char* name);

CURFEW_SYSTEM_HEADER

namespace curfew::platform {

using socket_handle = SOCKET;
inline constexpr socket_handle invalid_socket = INVALID_SOCKET;

/// Buffers that one call moves at most; longer lists are continued by the next call.
inline constexpr std::size_t max_buffers = 16;

// Errors ------------------------------------------------------------------------------------------

namespace detail {

/// The system's category, except that it knows what Winsock's numbers mean: GCC's library does not
/// compare them with `std::errc`.
class winsock_category final : public std::error_category {
public:
    constexpr winsock_category() noexcept = default;

    const char* name() const noexcept override { return "system"; }

    std::string message(int number) const override {
        return std::system_category().message(number);
    }

    std::error_condition default_error_condition(int number) const noexcept override {
        static constexpr struct {
            int number;
            std::errc condition;
        } known[] = {
            {WSAEINTR, std::errc::interrupted},
            {WSAEBADF, std::errc::bad_file_descriptor},
            {WSAEACCES, std::errc::permission_denied},
            {WSAEFAULT, std::errc::bad_address},
            {WSAEINVAL, std::errc::invalid_argument},
            {WSAEMFILE, std::errc::too_many_files_open},
            {WSAEWOULDBLOCK, std::errc::operation_would_block},
            {WSAEINPROGRESS, std::errc::operation_in_progress},
            {WSAEALREADY, std::errc::connection_already_in_progress},
            {WSAENOTSOCK, std::errc::not_a_socket},
            {WSAEDESTADDRREQ, std::errc::destination_address_required},
            {WSAEMSGSIZE, std::errc::message_size},
            {WSAEPROTOTYPE, std::errc::wrong_protocol_type},
            {WSAENOPROTOOPT, std::errc::no_protocol_option},
            {WSAEPROTONOSUPPORT, std::errc::protocol_not_supported},
            {WSAEOPNOTSUPP, std::errc::operation_not_supported},
            {WSAEAFNOSUPPORT, std::errc::address_family_not_supported},
            {WSAEADDRINUSE, std::errc::address_in_use},
            {WSAEADDRNOTAVAIL, std::errc::address_not_available},
            {WSAENETDOWN, std::errc::network_down},
            {WSAENETUNREACH, std::errc::network_unreachable},
            {WSAENETRESET, std::errc::network_reset},
            {WSAECONNABORTED, std::errc::connection_aborted},
            {WSAECONNRESET, std::errc::connection_reset},
            {WSAENOBUFS, std::errc::no_buffer_space},
            {WSAEISCONN, std::errc::already_connected},
            {WSAENOTCONN, std::errc::not_connected},
            {WSAESHUTDOWN, std::errc::broken_pipe},
            {WSAETIMEDOUT, std::errc::timed_out},
            {WSAECONNREFUSED, std::errc::connection_refused},
            {WSAENAMETOOLONG, std::errc::filename_too_long},
            {WSAEHOSTUNREACH, std::errc::host_unreachable},
            {WSA_OPERATION_ABORTED, std::errc::operation_canceled},
            {ERROR_NETNAME_DELETED, std::errc::connection_reset},
            {ERROR_SEM_TIMEOUT, std::errc::timed_out},
            {ERROR_NOT_SUPPORTED, std::errc::not_supported},
        };
        for (const auto& each : known)
            if (each.number == number) return each.condition;
        return std::system_category().default_error_condition(number);
    }

    /// Also equal to the same number in the system's own category.
    bool equivalent(const std::error_code& code, int condition) const noexcept override {
        return code.value() == condition &&
               (code.category() == *this || code.category() == std::system_category());
    }
};

CURFEW_STATE const std::error_category& winsock_errors() noexcept;

#if CURFEW_STATE_IS_HERE
/// Never destroyed, so that static destructors may still look at errors.
union immortal_winsock_category {
    winsock_category category;
    constexpr immortal_winsock_category() noexcept : category() {}
    ~immortal_winsock_category() {}
};

inline constinit const immortal_winsock_category the_winsock_category;

CURFEW_STATE const std::error_category& winsock_errors() noexcept {
    return the_winsock_category.category;
}
#endif

}  // namespace detail

inline std::error_code error_code(int error) noexcept {
#if defined(_MSVC_STL_VERSION)  // its category knows Winsock's numbers
    return {error, std::system_category()};
#else
    return {error, detail::winsock_errors()};
#endif
}

inline constexpr int already_in_progress = WSAEINPROGRESS;
inline constexpr int too_many_descriptors = WSAEMFILE;
inline constexpr int message_too_long = WSAEMSGSIZE;
inline constexpr int broken_pipe = ERROR_BROKEN_PIPE;
inline constexpr int already_connected = WSAEISCONN;
inline constexpr int bad_descriptor = WSAENOTSOCK;
inline constexpr int out_of_memory = WSA_NOT_ENOUGH_MEMORY;

inline bool would_block(int error) noexcept { return error == WSAEWOULDBLOCK; }

inline bool interrupted(int error) noexcept { return error == WSAEINTR; }

/// True for what `accept` says about a connection that died in the queue: the listener is fine.
/// (AcceptEx says ERROR_NETNAME_DELETED where `accept` says WSAECONNRESET.)
inline bool accept_may_go_on(int error) noexcept {
    return error == WSAECONNRESET || error == WSAECONNABORTED || error == ERROR_NETNAME_DELETED;
}

namespace detail {

inline int last_error() noexcept {
    const int error = ::WSAGetLastError();
    return error == WSAESHUTDOWN ? broken_pipe : error;  // which every library maps
}

/// The error number of a call that returns SOCKET_ERROR if it has failed.
inline int error_of(int result) noexcept { return result == SOCKET_ERROR ? last_error() : 0; }

/// Starts Winsock, once; the error number.
inline int start_winsock() noexcept {
    static const int error = [] {
        WSADATA data;
        return ::WSAStartup(MAKEWORD(2, 2), &data);
    }();
    return error;
}

struct native_address {
    sockaddr_storage storage;
    int size = sizeof(sockaddr_storage);

    sockaddr* get() noexcept { return reinterpret_cast<sockaddr*>(&storage); }
};

inline native_address to_native(const socket_address& from) noexcept {
    native_address to;
    if (from.family == family::v4) {
        sockaddr_in in{};
        in.sin_family = AF_INET;
        in.sin_port = ::htons(from.port);
        std::memcpy(&in.sin_addr, from.bytes, 4);
        std::memcpy(&to.storage, &in, sizeof in);
        to.size = sizeof in;
    } else {
        sockaddr_in6 in{};
        in.sin6_family = AF_INET6;
        in.sin6_port = ::htons(from.port);
        in.sin6_scope_id = from.scope;
        std::memcpy(&in.sin6_addr, from.bytes, 16);
        std::memcpy(&to.storage, &in, sizeof in);
        to.size = sizeof in;
    }
    return to;
}

inline socket_address from_native(const native_address& from) noexcept {
    socket_address to;
    if (from.size < static_cast<int>(sizeof(sockaddr_in))) return to;
    if (from.storage.ss_family == AF_INET) {
        sockaddr_in in;
        std::memcpy(&in, &from.storage, sizeof in);
        to.family = family::v4;
        to.port = ::ntohs(in.sin_port);
        std::memcpy(to.bytes, &in.sin_addr, 4);
    } else if (from.storage.ss_family == AF_INET6) {
        sockaddr_in6 in;
        std::memcpy(&in, &from.storage, sizeof in);
        to.family = family::v6;
        to.port = ::ntohs(in.sin6_port);
        to.scope = in.sin6_scope_id;
        std::memcpy(to.bytes, &in.sin6_addr, 16);
    }
    return to;
}

/// The system's description of a list of buffers, of which the first `skip` bytes are done. Never
/// empty, so that an empty datagram has a buffer, too.
struct buffer_vector {
    WSABUF entries[max_buffers];
    DWORD count = 0;
    std::size_t bytes = 0;

    buffer_vector(const buffer* list, std::size_t size, std::size_t skip) noexcept {
        constexpr std::size_t most = INT_MAX;  // in all, for a count of bytes that is a DWORD
        for (std::size_t i = 0; i < size && count < max_buffers && bytes < most; ++i) {
            if (list[i].size > skip) {
                const std::size_t length = std::min(list[i].size - skip, most - bytes);
                entries[count++] = {static_cast<ULONG>(length),
                                    reinterpret_cast<char*>(list[i].data + skip)};
                bytes += length;
            }
            skip = 0;
        }
        if (count == 0) entries[count++] = {0, nullptr};
    }
};

inline int set_flag(socket_handle handle, int level, int name, int value) noexcept {
    return error_of(::setsockopt(handle, level, name, reinterpret_cast<const char*>(&value),
                                 static_cast<int>(sizeof value)));
}

struct option_name {
    int level;
    int name;
};

inline constexpr option_name no_option{-1, 0};

/// The system's names of an option; `no_option` where it has none.
inline option_name native_option(option which) noexcept {
    switch (which) {
    case option::no_delay:
        return {IPPROTO_TCP, TCP_NODELAY};
    case option::keep_alive:
        return {SOL_SOCKET, SO_KEEPALIVE};
    case option::reuse_address:
        return {SOL_SOCKET, SO_REUSEADDR};
    case option::reuse_port:
        return no_option;
    case option::broadcast:
        return {SOL_SOCKET, SO_BROADCAST};
    case option::v6_only:
        return {IPPROTO_IPV6, IPV6_V6ONLY};
    case option::receive_buffer_size:
        return {SOL_SOCKET, SO_RCVBUF};
    case option::send_buffer_size:
        return {SOL_SOCKET, SO_SNDBUF};
    }
    return no_option;
}

inline int control(socket_handle handle, DWORD code, BOOL value) noexcept {
    DWORD written = 0;
    return error_of(
        ::WSAIoctl(handle, code, &value, sizeof value, nullptr, 0, &written, nullptr, nullptr));
}

/// Puts a socket into the state that all of curfew's have: calls that are not overlapped do not
/// block, and a UDP socket's receives do not fail because of what became of an earlier datagram of
/// its own (which would hit others than the one that it is about).
inline int prepare(socket_handle handle, transport type) noexcept {
    u_long on = 1;
    if (const int error = error_of(::ioctlsocket(handle, static_cast<long>(FIONBIO), &on)))
        return error;
    if (type == transport::datagram) {
        constexpr DWORD connection_resets = IOC_IN | IOC_VENDOR | 12;  // SIO_UDP_CONNRESET
        constexpr DWORD network_resets = IOC_IN | IOC_VENDOR | 15;     // SIO_UDP_NETRESET
        control(handle, connection_resets, FALSE);
        control(handle, network_resets, FALSE);
    }
    return 0;
}

}  // namespace detail

// Sockets -----------------------------------------------------------------------------------------

inline void close(socket_handle handle) noexcept { ::closesocket(handle); }

inline int open(family which, transport type, socket_handle& handle) noexcept {
    if (const int error = detail::start_winsock()) return error;
    const int domain = which == family::v4   ? AF_INET
                       : which == family::v6 ? AF_INET6
                                             : -1;  // refused by the system; 0 would be its choice
    const bool stream = type == transport::stream;
    const socket_handle made =
        ::WSASocketW(domain, stream ? SOCK_STREAM : SOCK_DGRAM, stream ? IPPROTO_TCP : IPPROTO_UDP,
                     nullptr, 0, WSA_FLAG_OVERLAPPED | WSA_FLAG_NO_HANDLE_INHERIT);
    if (made == INVALID_SOCKET) return detail::last_error();
    if (const int error = detail::prepare(made, type)) {
        platform::close(made);
        return error;
    }
    handle = made;
    return 0;
}

/// Takes in a socket from elsewhere: checks its type and makes it non-blocking. For IOCP it must
/// have been made for overlapped use, as `socket` and WSASocket do, and belong to no port. After
/// an error it is as it was.
inline int adopt(socket_handle handle, transport type) noexcept {
    if (const int error = detail::start_winsock()) return error;
    int kind = 0;
    int size = sizeof kind;
    if (const int error = detail::error_of(
            ::getsockopt(handle, SOL_SOCKET, SO_TYPE, reinterpret_cast<char*>(&kind), &size)))
        return error;
    if (kind != (type == transport::stream ? SOCK_STREAM : SOCK_DGRAM)) return WSAEPROTOTYPE;
    return detail::prepare(handle, type);
}

/// True if a read from this stream that falls short of its buffer has taken all there was.
inline bool is_tcp(socket_handle handle) noexcept {
    WSAPROTOCOL_INFOW info{};
    int size = sizeof info;
    return ::getsockopt(handle, SOL_SOCKET, SO_PROTOCOL_INFOW, reinterpret_cast<char*>(&info),
                        &size) == 0 &&
           info.iProtocol == IPPROTO_TCP;
}

/// Makes the coming `close` reset the connection. Errors do not matter: a socket that cannot
/// linger has no connection to reset.
inline void reset_on_close(socket_handle handle) noexcept {
    const linger abortive{1, 0};
    ::setsockopt(handle, SOL_SOCKET, SO_LINGER, reinterpret_cast<const char*>(&abortive),
                 static_cast<int>(sizeof abortive));
}

/// Windows lets a port be listened on while old connections linger there. Its SO_REUSEADDR would
/// do more: take a port away from somebody who listens on it.
inline void allow_lingering(socket_handle) noexcept {}

inline int bind(socket_handle handle, const socket_address& address) noexcept {
    auto native = detail::to_native(address);
    return detail::error_of(::bind(handle, native.get(), native.size));
}

inline int listen(socket_handle handle, int backlog) noexcept {
    return detail::error_of(::listen(handle, backlog));
}

inline constexpr int max_backlog = SOMAXCONN;

/// 0: connected. `connect_pending(error)`: under way.
inline int connect(socket_handle handle, const socket_address& address) noexcept {
    auto native = detail::to_native(address);
    return detail::error_of(::connect(handle, native.get(), native.size));
}

inline bool connect_pending(int error) noexcept {
    return error == WSAEWOULDBLOCK || error == WSAEINPROGRESS;
}

/// After `connect` was pending and the socket became writable: 0 connected, `connect_pending` not
/// yet (the wake-up was spurious), else why it failed.
inline int connect_result(socket_handle handle) noexcept {
    int error = 0;
    int size = sizeof error;
    if (const int failed = detail::error_of(
            ::getsockopt(handle, SOL_SOCKET, SO_ERROR, reinterpret_cast<char*>(&error), &size)))
        return failed;
    if (error) return error;
    detail::native_address peer;
    const int unknown = detail::error_of(::getpeername(handle, peer.get(), &peer.size));
    return unknown == WSAENOTCONN ? WSAEWOULDBLOCK : unknown;
}

/// Leaves in `*peer`, if that is not null, who has connected.
inline int accept(socket_handle listener, socket_handle& handle, socket_address* peer) noexcept {
    detail::native_address address;
    const socket_handle made =
        ::accept(listener, peer ? address.get() : nullptr, peer ? &address.size : nullptr);
    if (made == INVALID_SOCKET) return detail::last_error();
    ::SetHandleInformation(reinterpret_cast<HANDLE>(made), HANDLE_FLAG_INHERIT, 0);
    if (const int error = detail::prepare(made, transport::stream)) {
        platform::close(made);
        return error;
    }
    if (peer) *peer = detail::from_native(address);
    handle = made;
    return 0;
}

namespace detail {

inline std::ptrdiff_t count_or_error(int n) noexcept { return n >= 0 ? n : -last_error(); }

inline int bounded_size(std::size_t size) noexcept {
    return static_cast<int>(std::min<std::size_t>(size, INT_MAX));
}

}  // namespace detail

/// Receives into one buffer. The number of bytes (0: end of stream), or the negated error number.
CURFEW_HOT inline std::ptrdiff_t receive(socket_handle handle, std::byte* data,
                                         std::size_t size) noexcept {
    return detail::count_or_error(
        ::recv(handle, reinterpret_cast<char*>(data), detail::bounded_size(size), 0));
}

CURFEW_HOT inline std::ptrdiff_t send(socket_handle handle, const std::byte* data,
                                      std::size_t size) noexcept {
    return detail::count_or_error(
        ::send(handle, reinterpret_cast<const char*>(data), detail::bounded_size(size), 0));
}

/// Receives into `list[0].data + skip` and what follows.
inline transfer receive(socket_handle handle, const buffer* list, std::size_t size,
                        std::size_t skip) noexcept {
    detail::buffer_vector buffers(list, size, skip);
    DWORD count = 0;
    DWORD flags = 0;
    const int error = detail::error_of(
        ::WSARecv(handle, buffers.entries, buffers.count, &count, &flags, nullptr, nullptr));
    return {error ? 0 : count, error};
}

inline transfer send(socket_handle handle, const buffer* list, std::size_t size,
                     std::size_t skip) noexcept {
    detail::buffer_vector buffers(list, size, skip);
    DWORD count = 0;
    const int error = detail::error_of(
        ::WSASend(handle, buffers.entries, buffers.count, &count, 0, nullptr, nullptr));
    return {error ? 0 : count, error};
}

/// Receives one datagram; `message_too_long` with the count that fitted when it was cut.
inline transfer receive_from(socket_handle handle, const buffer* list, std::size_t size,
                             socket_address* sender) noexcept {
    detail::buffer_vector buffers(list, size, 0);
    detail::native_address address;
    DWORD count = 0;
    DWORD flags = 0;
    const int error =
        detail::error_of(::WSARecvFrom(handle, buffers.entries, buffers.count, &count, &flags,
                                       address.get(), &address.size, nullptr, nullptr));
    if (error && error != message_too_long) return {0, error};
    if (sender) *sender = detail::from_native(address);
    return {error ? buffers.bytes : count, error};
}

/// Sends one datagram, to the connected peer if there is no receiver.
inline transfer send_to(socket_handle handle, const buffer* list, std::size_t size,
                        const socket_address* receiver) noexcept {
    if (size > max_buffers) return {0, message_too_long};
    detail::buffer_vector buffers(list, size, 0);
    detail::native_address address;
    if (receiver) address = detail::to_native(*receiver);
    DWORD count = 0;
    const int error = detail::error_of(
        receiver ? ::WSASendTo(handle, buffers.entries, buffers.count, &count, 0, address.get(),
                               address.size, nullptr, nullptr)
                 : ::WSASend(handle, buffers.entries, buffers.count, &count, 0, nullptr, nullptr));
    return {error ? 0 : count, error};
}

inline int shutdown(socket_handle handle, shutdown_side side) noexcept {
    const int how = side == shutdown_side::receive ? SD_RECEIVE
                    : side == shutdown_side::send  ? SD_SEND
                                                   : SD_BOTH;
    return detail::error_of(::shutdown(handle, how));
}

inline int set_option(socket_handle handle, option which, int value) noexcept {
    const auto native = detail::native_option(which);
    return native.level < 0 ? unsupported
                            : detail::set_flag(handle, native.level, native.name, value);
}

inline int get_option(socket_handle handle, option which, int& value) noexcept {
    const auto native = detail::native_option(which);
    if (native.level < 0) return unsupported;
    value = 0;  // some options fill in one byte
    int size = sizeof value;
    return detail::error_of(
        ::getsockopt(handle, native.level, native.name, reinterpret_cast<char*>(&value), &size));
}

/// The unspecified address where there is none.
inline socket_address local_address(socket_handle handle) noexcept {
    detail::native_address address;
    if (::getsockname(handle, address.get(), &address.size) != 0) return {};
    return detail::from_native(address);
}

inline socket_address remote_address(socket_handle handle) noexcept {
    detail::native_address address;
    if (::getpeername(handle, address.get(), &address.size) != 0) return {};
    return detail::from_native(address);
}

/// Who the peer is, or was: Windows tells it of a connection that has been reset, too.
inline socket_address last_remote_address(socket_handle handle) noexcept {
    return remote_address(handle);
}

/// The number of a network interface, for addresses with a scope; 0 if there is none of that name.
inline std::uint32_t interface_index(const char* name) noexcept { return ::if_nametoindex(name); }

#if defined(CURFEW_EMULATED_THREAD_LOCAL)
// Threads -----------------------------------------------------------------------------------------

namespace detail {

template <class T>
void WINAPI destroy(void* object) {
    delete static_cast<T*>(object);
}

}  // namespace detail

/// The calling thread's `T`, which the system destroys when the thread ends, by its own record of
/// where it is (FlsAlloc).
template <class T>
T& until_thread_ends() noexcept {
    static const DWORD index = ::FlsAlloc(&detail::destroy<T>);
    auto* mine = static_cast<T*>(::FlsGetValue(index));
    if (!mine) {
        mine = new (std::nothrow) T;
        if (!mine) curfew::detail::fatal("no memory for what a thread keeps");
        ::FlsSetValue(index, mine);
    }
    return *mine;
}
#endif

// Time and waiting --------------------------------------------------------------------------------

/// The time of `std::chrono::steady_clock`.
inline std::chrono::nanoseconds steady_now() noexcept {
    return std::chrono::steady_clock::now().time_since_epoch();
}

namespace detail {

/// Milliseconds, rounded up so that a wait is never too short, and a day at the most; INFINITE for
/// `unlimited`. (The system's clock ticks every 15.6 ms unless somebody has it tick faster, and a
/// wait may be that much longer.)
inline DWORD to_milliseconds(std::chrono::nanoseconds time) noexcept {
    if (time == unlimited) return INFINITE;
    constexpr std::chrono::nanoseconds zero{}, most = std::chrono::hours(24);
    return static_cast<DWORD>(
        std::chrono::ceil<std::chrono::milliseconds>(std::clamp(time, zero, most)).count());
}

}  // namespace detail

/// Forgets the last error, so that one reported without being set is not taken for it.
inline void clear_last_error() noexcept { ::WSASetLastError(0); }

/// True if this is no socket.
inline bool is_closed(socket_handle handle) noexcept {
    int kind = 0;
    int size = sizeof kind;
    return detail::error_of(::getsockopt(handle, SOL_SOCKET, SO_TYPE,
                                         reinterpret_cast<char*>(&kind), &size)) == WSAENOTSOCK;
}

/// Does nothing for that long, a tick of the system's clock more, or less.
inline void pause(std::chrono::nanoseconds time) noexcept {
    ::Sleep(
        detail::to_milliseconds(std::min<std::chrono::nanoseconds>(time, std::chrono::hours(1))));
}

using poll_entry = WSAPOLLFD;
inline constexpr short poll_in = POLLRDNORM;
inline constexpr short poll_out = POLLWRNORM;
/// What `poll` reports without being asked; both directions have to look.
inline constexpr short poll_problem = POLLERR | POLLHUP | POLLNVAL;
inline constexpr short poll_invalid = POLLNVAL;

/// A set of sockets for `select`: unlike FD_SET's, it grows.
class select_set {
public:
    static bool can_hold(socket_handle) noexcept { return true; }

    select_set() noexcept = default;
    select_set(const select_set& other) noexcept { *this = other; }
    /// Without memory for it this is a set that `select` refuses.
    select_set& operator=(const select_set& other) noexcept {
        if (this != &other) complete_ = set_.assign(other.set_) && other.complete_;
        return *this;
    }

    /// False: there is no memory for it.
    bool add(socket_handle handle) noexcept { return set_.add(handle); }
    void remove(socket_handle handle) noexcept { set_.remove(handle); }
    bool has(socket_handle handle) const noexcept { return set_.has(handle); }

    /// Calls `select` with the system's view of three sets. Its result, and its error number.
    friend int system_select(select_set& readable, select_set& writable, select_set& failed,
                             timeval* limit, int& ready) noexcept {
        ready = SOCKET_ERROR;
        for (const select_set* each : {&readable, &writable, &failed})
            if (!each->complete_) return out_of_memory;
        ready = ::select(0, readable.native(), writable.native(), failed.native(), limit);
        const int error = detail::error_of(ready);
        for (select_set* each : {&readable, &writable, &failed}) each->shrink();
        return error;
    }

private:
    // Winsock takes sets of any size: a count, and that many sockets, which begin where the first
    // one is aligned (select, "Remarks" on FD_SETSIZE).
    static_assert(offsetof(fd_set, fd_array) == sizeof(socket_handle));

    fd_set* native() noexcept {
        if (set_.size() == 0) return nullptr;
        const auto count = static_cast<u_int>(set_.size());
        std::memcpy(set_.front(), &count, sizeof count);
        return reinterpret_cast<fd_set*>(set_.front());
    }
    /// To what the system has left in it.
    void shrink() noexcept {
        if (set_.size() == 0) return;
        u_int count = 0;
        std::memcpy(&count, set_.front(), sizeof count);
        set_.keep(count);
    }

    detail::handle_set<socket_handle> set_;
    bool complete_ = true;
};

/// Returns the system's error number. At least one set must not be empty: the system refuses to
/// wait for nothing at all.
inline int select(socket_handle, select_set& readable, select_set& writable, select_set& failed,
                  std::chrono::nanoseconds time, int& ready) noexcept {
    const DWORD ms = detail::to_milliseconds(time);
    timeval limit{static_cast<long>(ms / 1000), static_cast<long>(ms % 1000 * 1000)};
    return system_select(readable, writable, failed, time == unlimited ? nullptr : &limit, ready);
}

namespace detail {

/// Before Windows 10 version 2004 (build 19041), WSAPoll never reports that a connect has failed
/// (WSAPoll, "Remarks"): `select` does, in its third set.
inline bool poll_misses_failed_connects() noexcept {
#if defined(CURFEW_TEST_OLD_WSAPOLL)
    return true;
#else
    static const bool misses = [] {
        using get_version = LONG(WINAPI*)(OSVERSIONINFOW*);
        OSVERSIONINFOW version{};
        version.dwOSVersionInfoSize = sizeof version;
        const HMODULE library = ::GetModuleHandleW(L"ntdll.dll");
        const auto ask = library ? reinterpret_cast<get_version>(reinterpret_cast<void*>(
                                       ::GetProcAddress(library, "RtlGetVersion")))
                                 : nullptr;
        return ask && ask(&version) == 0 && version.dwMajorVersion <= 10 &&
               version.dwBuildNumber < 19041;
    }();
    return misses;
#endif
}

/// Marks the entries whose connect has failed, of those that nothing has been reported about;
/// returns how many they are, or -1 if the call has failed.
inline int mark_failed_connects(poll_entry* entries, std::size_t count) noexcept {
    select_set readable, writable, failed;
    bool any = false;
    for (std::size_t i = 0; i < count; ++i) {
        if (!(entries[i].events & poll_out) || entries[i].revents) continue;
        if (!failed.add(entries[i].fd)) return -1;
        any = true;
    }
    if (!any) return 0;  // which `select` refuses
    timeval now{0, 0};
    int found = 0;
    system_select(readable, writable, failed, &now, found);
    if (found <= 0) return found;
    int marked = 0;
    for (std::size_t i = 0; i < count; ++i) {
        if (entries[i].revents || !failed.has(entries[i].fd)) continue;
        entries[i].revents = POLLERR;
        ++marked;
    }
    return marked;
}

}  // namespace detail

/// Returns the system's error number and leaves the number of marked entries in `ready`.
inline int poll(poll_entry* entries, std::size_t count, std::chrono::nanoseconds time,
                int& ready) noexcept {
    const auto ask = [&](DWORD ms) {
        ready = ::WSAPoll(entries, static_cast<ULONG>(count), static_cast<int>(ms));
    };
    DWORD left = detail::to_milliseconds(time);  // INFINITE is -1, as WSAPoll has it
    const bool might_miss = detail::poll_misses_failed_connects() &&
                            std::any_of(entries, entries + count, [](const poll_entry& each) {
                                return (each.events & poll_out) != 0;
                            });
    if (!might_miss) {
        ask(left);
        return ready < 0 ? detail::last_error() : 0;
    }
    for (;;) {
        constexpr DWORD slice = 10;  // milliseconds between two looks at what it misses
        const DWORD now = std::min(left, slice);
        ask(now);
        if (ready < 0) return detail::last_error();
        ready += std::max(detail::mark_failed_connects(entries, count), 0);
        if (left != INFINITE) left -= now;
        if (ready || left == 0) return 0;
    }
}

}  // namespace curfew::platform
