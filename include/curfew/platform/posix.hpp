// The socket calls of POSIX systems: Linux, macOS, the BSDs and their relatives.
//
// Every call is made without blocking, retries EINTR, never raises SIGPIPE, and returns the
// system's error number (0: it succeeded) instead of setting errno. What only Linux has is used
// where it exists; CURFEW_POSIX_ONLY builds the replacements on Linux too, so that they are tested.
#pragma once

#include <arpa/inet.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <limits>
#include <system_error>

#define CURFEW_HAS_POLL 1
#define CURFEW_HAS_SELECT 1
#if defined(__linux__) && !defined(CURFEW_POSIX_ONLY)
#define CURFEW_HAS_EPOLL 1
#if __has_include(<linux/io_uring.h>)
#include <linux/version.h>
#if LINUX_VERSION_CODE >= KERNEL_VERSION(5, 13, 0)  // of the headers, which lack too much before
#define CURFEW_HAS_IO_URING 1
#endif
#endif
#if __has_include(<linux/errqueue.h>)
#include <linux/errqueue.h>
#define CURFEW_HAS_ERROR_QUEUE 1
#endif
#include <sys/eventfd.h>
#endif

#include "../config.hpp"
#include "std_chrono.hpp"
#include "types.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew::platform {

using socket_handle = int;
inline constexpr socket_handle invalid_socket = -1;

/// Buffers that one call moves at most; longer lists are continued by the next call.
inline constexpr std::size_t max_buffers = 16;

inline std::error_code error_code(int error) noexcept { return {error, std::system_category()}; }

inline constexpr int already_in_progress = EINPROGRESS;
inline constexpr int too_many_descriptors = EMFILE;
inline constexpr int message_too_long = EMSGSIZE;
inline constexpr int broken_pipe = EPIPE;
inline constexpr int already_connected = EISCONN;
inline constexpr int bad_descriptor = EBADF;
inline constexpr int out_of_memory = ENOMEM;

inline bool would_block(int error) noexcept { return error == EAGAIN || error == EWOULDBLOCK; }

inline bool interrupted(int error) noexcept { return error == EINTR; }

/// True for what `accept` says about a connection that died in the queue, or about the network it
/// came from: the listener is fine and the next connection may be too (accept(2), "Error
/// handling").
inline bool accept_may_go_on(int error) noexcept {
    switch (error) {
    case ECONNABORTED:
    case EPROTO:
    case ENETDOWN:
    case ENOPROTOOPT:
    case EHOSTUNREACH:
    case ENETUNREACH:
#ifdef EHOSTDOWN
    case EHOSTDOWN:
#endif
#ifdef ENONET
    case ENONET:
#endif
        return true;
    default:
        return false;
    }
}

namespace detail {

template <class Call>
int retrying(Call call) noexcept {
    while (call() < 0)
        if (errno != EINTR) return errno;
    return 0;
}

template <class Call>
transfer transferring(Call call) noexcept {
    for (;;) {
        const auto n = call();
        if (n >= 0) return {static_cast<std::size_t>(n), 0};
        if (errno != EINTR) return {0, errno};
    }
}

struct native_address {
    sockaddr_storage storage;
    socklen_t size = sizeof(sockaddr_storage);

    sockaddr* get() noexcept { return reinterpret_cast<sockaddr*>(&storage); }
};

inline native_address to_native(const socket_address& from) noexcept {
    native_address to;
    if (from.family == family::v4) {
        sockaddr_in in{};
        in.sin_family = AF_INET;
        in.sin_port = htons(from.port);
        std::memcpy(&in.sin_addr, from.bytes, 4);
        std::memcpy(&to.storage, &in, sizeof in);
        to.size = sizeof in;
    } else {
        sockaddr_in6 in{};
        in.sin6_family = AF_INET6;
        in.sin6_port = htons(from.port);
        in.sin6_scope_id = from.scope;
        std::memcpy(&in.sin6_addr, from.bytes, 16);
        std::memcpy(&to.storage, &in, sizeof in);
        to.size = sizeof in;
    }
    return to;
}

inline socket_address from_native(const native_address& from) noexcept {
    socket_address to;
    if (from.size < sizeof(sa_family_t)) return to;
    if (from.storage.ss_family == AF_INET) {
        sockaddr_in in;
        std::memcpy(&in, &from.storage, sizeof in);
        to.family = family::v4;
        to.port = ntohs(in.sin_port);
        std::memcpy(to.bytes, &in.sin_addr, 4);
    } else if (from.storage.ss_family == AF_INET6) {
        sockaddr_in6 in;
        std::memcpy(&in, &from.storage, sizeof in);
        to.family = family::v6;
        to.port = ntohs(in.sin6_port);
        to.scope = in.sin6_scope_id;
        std::memcpy(to.bytes, &in.sin6_addr, 16);
    }
    return to;
}

/// The system's description of a list of buffers, of which the first `skip` bytes are done. Never
/// empty: POSIX has sendmsg() and recvmsg() fail without a buffer, even for an empty datagram.
struct buffer_vector {
    iovec entries[max_buffers];
    std::size_t count = 0;

    buffer_vector(const buffer* list, std::size_t size, std::size_t skip) noexcept {
        for (std::size_t i = 0; i < size && count < max_buffers; ++i) {
            if (list[i].size > skip) entries[count++] = {list[i].data + skip, list[i].size - skip};
            skip = 0;
        }
        if (count == 0) entries[count++] = {nullptr, 0};
    }
};

inline msghdr message(buffer_vector& buffers, native_address* address) noexcept {
    msghdr header{};
    header.msg_iov = buffers.entries;
    header.msg_iovlen = static_cast<decltype(header.msg_iovlen)>(buffers.count);
    if (address) {
        header.msg_name = address->get();
        header.msg_namelen = address->size;
    }
    return header;
}

#if defined(MSG_NOSIGNAL) && !defined(CURFEW_POSIX_ONLY)
inline constexpr int send_flags = MSG_NOSIGNAL;
#elif defined(SO_NOSIGPIPE)
inline constexpr int send_flags = 0;
#else
// POSIX.1-2008 has MSG_NOSIGNAL; a system with neither needs a platform header of its own.
inline constexpr int send_flags = MSG_NOSIGNAL;
#endif

// The library's calls never block, not even where somebody who shares the descriptor (a child
// process, a duplicate) has cleared its O_NONBLOCK, which belongs to them all. It matters for what
// has no such flag: connect and accept.
#if defined(MSG_DONTWAIT)
inline constexpr int no_wait = MSG_DONTWAIT;
#else
inline constexpr int no_wait = 0;
#endif

inline int set_flag(socket_handle handle, int level, int name, int value) noexcept {
    return ::setsockopt(handle, level, name, &value, sizeof value) < 0 ? errno : 0;
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
#ifdef SO_REUSEPORT
    case option::reuse_port:
        return {SOL_SOCKET, SO_REUSEPORT};
#else
    case option::reuse_port:
        return no_option;
#endif
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

/// Puts a descriptor made without flags into the state that all of curfew's have: it never
/// blocks, child processes do not inherit it, and it raises no SIGPIPE.
inline int prepare(socket_handle handle) noexcept {
    const int flags = ::fcntl(handle, F_GETFL, 0);
    if (flags < 0 || ::fcntl(handle, F_SETFL, flags | O_NONBLOCK) < 0) return errno;
    if (::fcntl(handle, F_SETFD, FD_CLOEXEC) < 0) return errno;
#ifdef SO_NOSIGPIPE
    set_flag(handle, SOL_SOCKET, SO_NOSIGPIPE, 1);
#endif
    return 0;
}

}  // namespace detail

/// Closes a descriptor. Whatever it returns, the descriptor is gone: on Linux even after EINTR, on
/// FreeBSD also after ECONNRESET (close(2) of both).
inline void close(socket_handle handle) noexcept { ::close(handle); }

inline int open(family which, transport type, socket_handle& handle) noexcept {
    const int domain = which == family::v4   ? AF_INET
                       : which == family::v6 ? AF_INET6
                                             : AF_UNSPEC;  // refused by the system
    const int kind = type == transport::stream ? SOCK_STREAM : SOCK_DGRAM;
#if defined(SOCK_NONBLOCK) && !defined(CURFEW_POSIX_ONLY)
    handle = ::socket(domain, kind | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    return handle < 0 ? errno : 0;
#else
    handle = ::socket(domain, kind, 0);
    if (handle < 0) return errno;
    if (const int error = detail::prepare(handle)) {
        platform::close(handle);
        handle = invalid_socket;
        return error;
    }
    return 0;
#endif
}

/// Takes in a descriptor from elsewhere: checks that it is a socket of this type, and makes it
/// non-blocking (for all who share it), closed on exec (this descriptor alone) and silent where
/// SIGPIPE is concerned (SO_NOSIGPIPE, where there is that). After an error it is as it was, except
/// perhaps for the first of these.
inline int adopt(socket_handle handle, transport type) noexcept {
    int kind = 0;
    socklen_t size = sizeof kind;
    if (::getsockopt(handle, SOL_SOCKET, SO_TYPE, &kind, &size) < 0) return errno;
    if (kind != (type == transport::stream ? SOCK_STREAM : SOCK_DGRAM)) return EPROTOTYPE;
    return detail::prepare(handle);
}

/// True if a read from this stream that falls short of its buffer has taken all there was, as with
/// TCP. Other streams end a read where something else begins: a local one where descriptors or
/// credentials are attached, TLS in the kernel at each of its records (once it is switched on).
inline bool is_tcp(socket_handle handle) noexcept {
#if defined(SO_PROTOCOL) && !defined(CURFEW_POSIX_ONLY)
    int protocol = 0;
    socklen_t size = sizeof protocol;
    if (::getsockopt(handle, SOL_SOCKET, SO_PROTOCOL, &protocol, &size) < 0) return false;
    if (protocol != IPPROTO_TCP) return false;
#if defined(TCP_ULP)
    char upper_layer[16];
    size = sizeof upper_layer;
    if (::getsockopt(handle, IPPROTO_TCP, TCP_ULP, upper_layer, &size) == 0 && size > 0)
        return false;
#endif
    return true;
#else
    detail::native_address own;
    if (::getsockname(handle, own.get(), &own.size) < 0) return false;
    return own.storage.ss_family == AF_INET || own.storage.ss_family == AF_INET6;
#endif
}

/// Makes the coming `close` reset the connection. Errors do not matter: a socket that cannot
/// linger has no connection to reset.
inline void reset_on_close(socket_handle handle) noexcept {
    const linger abortive{1, 0};
    ::setsockopt(handle, SOL_SOCKET, SO_LINGER, &abortive, sizeof abortive);
}

/// Lets a port be listened on while old connections linger there: the coming `bind` does not mind
/// them.
inline void allow_lingering(socket_handle handle) noexcept {
    detail::set_flag(handle, SOL_SOCKET, SO_REUSEADDR, 1);
}

inline int bind(socket_handle handle, const socket_address& address) noexcept {
    auto native = detail::to_native(address);
    return ::bind(handle, native.get(), native.size) < 0 ? errno : 0;
}

inline int listen(socket_handle handle, int backlog) noexcept {
    return ::listen(handle, backlog) < 0 ? errno : 0;
}

inline constexpr int max_backlog = SOMAXCONN;

/// 0: connected. `connect_pending(error)`: under way.
inline int connect(socket_handle handle, const socket_address& address) noexcept {
    auto native = detail::to_native(address);
    return ::connect(handle, native.get(), native.size) < 0 ? errno : 0;
}

/// An interrupted connect goes on by itself (POSIX, connect()), so EINTR means pending too.
inline bool connect_pending(int error) noexcept { return error == EINPROGRESS || error == EINTR; }

/// After `connect` was pending and the socket became writable: 0 connected, `connect_pending` not
/// yet (the wake-up was spurious), else why it failed.
inline int connect_result(socket_handle handle) noexcept {
    int error = 0;
    socklen_t size = sizeof error;
    if (::getsockopt(handle, SOL_SOCKET, SO_ERROR, &error, &size) < 0) return errno;
    if (error) return error;
    detail::native_address peer;
    if (::getpeername(handle, peer.get(), &peer.size) == 0) return 0;
    return errno == ENOTCONN ? EINPROGRESS : errno;
}

/// Leaves in `*peer`, if that is not null, who has connected: also if they are gone by now. POSIX
/// has no flag that keeps this call from blocking: on a listener that somebody else has made
/// blocking it waits for a connection, if there is none (any more).
inline int accept(socket_handle listener, socket_handle& handle, socket_address* peer) noexcept {
    detail::native_address address;
    sockaddr* const native = peer ? address.get() : nullptr;
    socklen_t* const size = peer ? &address.size : nullptr;
#if defined(SOCK_NONBLOCK) && !defined(CURFEW_POSIX_ONLY)
    const int error = detail::retrying([&] {
        return handle = ::accept4(listener, native, size, SOCK_NONBLOCK | SOCK_CLOEXEC);
    });
    if (error) return error;
#else
    if (const int error =
            detail::retrying([&] { return handle = ::accept(listener, native, size); }))
        return error;
    if (const int error = detail::prepare(handle)) {
        platform::close(handle);
        handle = invalid_socket;
        return error;
    }
#endif
    if (peer) *peer = detail::from_native(address);
    return 0;
}

/// Receives into one buffer. The number of bytes (0: end of stream), or the negated error number;
/// an interrupted call is not repeated.
CURFEW_HOT inline std::ptrdiff_t receive(socket_handle handle, std::byte* data,
                                         std::size_t size) noexcept {
    const auto n = ::recv(handle, data, size, detail::no_wait);
    if (n > 0) [[likely]]
        return n;
    return n == 0 ? 0 : -errno;
}

CURFEW_HOT inline std::ptrdiff_t send(socket_handle handle, const std::byte* data,
                                      std::size_t size) noexcept {
    const auto n = ::send(handle, data, size, detail::send_flags | detail::no_wait);
    if (n > 0) [[likely]]
        return n;
    return n == 0 ? 0 : -errno;
}

/// Receives into `list[0].data + skip` and what follows.
inline transfer receive(socket_handle handle, const buffer* list, std::size_t size,
                        std::size_t skip) noexcept {
    detail::buffer_vector buffers(list, size, skip);
    msghdr header = detail::message(buffers, nullptr);
    return detail::transferring([&] { return ::recvmsg(handle, &header, detail::no_wait); });
}

#if defined(TCP_INQ) && defined(TCP_CM_INQ) && !defined(CURFEW_POSIX_ONLY)
#define CURFEW_TELLS_WHAT_IS_LEFT 1

/// From now on each `recvmsg` also tells how many bytes it has left behind; 1 where the end of the
/// stream is all there is (Linux 4.18; tcp_inq_hint in its net/ipv4/tcp.c). An error with older
/// kernels, and for what is no TCP.
inline int tell_what_is_left(socket_handle handle, bool on) noexcept {
    return detail::set_flag(handle, IPPROTO_TCP, TCP_INQ, on);
}

/// `receive` on such a socket: sets `nothing_left` to true where the system says that no byte, and
/// no end of the stream, is left behind; to false where it is not known.
inline transfer receive(socket_handle handle, const buffer* list, std::size_t size,
                        std::size_t skip, bool& nothing_left) noexcept {
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))];
    detail::buffer_vector buffers(list, size, skip);
    msghdr header = detail::message(buffers, nullptr);
    const transfer got = detail::transferring([&] {
        header.msg_control = control;
        header.msg_controllen = sizeof control;
        return ::recvmsg(handle, &header, detail::no_wait);
    });
    nothing_left = false;
    if (got.error) return got;
    const cmsghdr* const told = CMSG_FIRSTHDR(&header);
    if (told && told->cmsg_level == IPPROTO_TCP && told->cmsg_type == TCP_CM_INQ) {
        int left;
        std::memcpy(&left, CMSG_DATA(told), sizeof left);
        nothing_left = left == 0;
    }
    return got;
}
#endif

inline transfer send(socket_handle handle, const buffer* list, std::size_t size,
                     std::size_t skip) noexcept {
    detail::buffer_vector buffers(list, size, skip);
    msghdr header = detail::message(buffers, nullptr);
    return detail::transferring(
        [&] { return ::sendmsg(handle, &header, detail::send_flags | detail::no_wait); });
}

/// Receives one datagram; `message_too_long` with the count that fitted when it was cut.
inline transfer receive_from(socket_handle handle, const buffer* list, std::size_t size,
                             socket_address* sender) noexcept {
    detail::buffer_vector buffers(list, size, 0);
    detail::native_address address;
    msghdr header;
    transfer got = detail::transferring([&] {
        header = detail::message(buffers, &address);
        return ::recvmsg(handle, &header, detail::no_wait);
    });
    if (got.error) return got;
    address.size = header.msg_namelen;
    if (sender) *sender = detail::from_native(address);
    if (header.msg_flags & MSG_TRUNC) got.error = message_too_long;
    return got;
}

/// Sends one datagram, to the connected peer if there is no receiver.
inline transfer send_to(socket_handle handle, const buffer* list, std::size_t size,
                        const socket_address* receiver) noexcept {
    if (size > max_buffers) return {0, message_too_long};
    detail::buffer_vector buffers(list, size, 0);
    detail::native_address address;
    if (receiver) address = detail::to_native(*receiver);
    msghdr header = detail::message(buffers, receiver ? &address : nullptr);
    return detail::transferring(
        [&] { return ::sendmsg(handle, &header, detail::send_flags | detail::no_wait); });
}

#if defined(CURFEW_HAS_ERROR_QUEUE)

/// Whether the system keeps the errors that datagrams meet in a queue of the socket's (ip(7),
/// IP_RECVERR).
inline int queue_errors(socket_handle handle, bool on) noexcept {
    const int error = detail::set_flag(handle, IPPROTO_IP, IP_RECVERR, on);
    // A socket for IPv6 has two queues in one, if it sends to IPv4, too.
    const int error_v6 = detail::set_flag(handle, IPPROTO_IPV6, IPV6_RECVERR, on);
    return error && error_v6 ? error : 0;
}

/// Takes the first of the queued errors; `would_block` if there is none. `list` gets the beginning
/// of the datagram that met it.
inline transfer receive_error(socket_handle handle, const buffer* list, std::size_t size,
                              queued_error& told) noexcept {
    alignas(cmsghdr) char control[256];
    detail::buffer_vector buffers(list, size, 0);
    detail::native_address receiver;
    msghdr header;
    const transfer got = detail::transferring([&] {
        header = detail::message(buffers, &receiver);
        header.msg_control = control;
        header.msg_controllen = sizeof control;
        return ::recvmsg(handle, &header, MSG_ERRQUEUE | detail::no_wait);
    });
    told = {};
    if (got.error) return got;
    receiver.size = header.msg_namelen;
    told.receiver = detail::from_native(receiver);
    for (const cmsghdr* each = CMSG_FIRSTHDR(&header); each;
         each = CMSG_NXTHDR(&header, const_cast<cmsghdr*>(each))) {
        const bool is_v4 = each->cmsg_level == IPPROTO_IP && each->cmsg_type == IP_RECVERR;
        const bool is_v6 = each->cmsg_level == IPPROTO_IPV6 && each->cmsg_type == IPV6_RECVERR;
        if (!is_v4 && !is_v6) continue;
        sock_extended_err described;
        std::memcpy(&described, CMSG_DATA(each), sizeof described);
        told.error = static_cast<int>(described.ee_errno);
        told.mtu = described.ee_errno == EMSGSIZE ? described.ee_info : 0;
        detail::native_address reporter;  // stands behind it; unspecified if this machine did it
        reporter.size = is_v4 ? sizeof(sockaddr_in) : sizeof(sockaddr_in6);
        if (CMSG_LEN(sizeof described + reporter.size) > each->cmsg_len) continue;
        std::memcpy(&reporter.storage, CMSG_DATA(each) + sizeof described, reporter.size);
        told.reporter = detail::from_native(reporter);
    }
    return got;
}

#endif

inline int shutdown(socket_handle handle, shutdown_side side) noexcept {
    const int how = side == shutdown_side::receive ? SHUT_RD
                    : side == shutdown_side::send  ? SHUT_WR
                                                   : SHUT_RDWR;
    return ::shutdown(handle, how) < 0 ? errno : 0;
}

inline int set_option(socket_handle handle, option which, int value) noexcept {
    const auto native = detail::native_option(which);
    return native.level < 0 ? unsupported
                            : detail::set_flag(handle, native.level, native.name, value);
}

inline int get_option(socket_handle handle, option which, int& value) noexcept {
    const auto native = detail::native_option(which);
    if (native.level < 0) return unsupported;
    socklen_t size = sizeof value;
    return ::getsockopt(handle, native.level, native.name, &value, &size) < 0 ? errno : 0;
}

/// The unspecified address where there is none.
inline socket_address local_address(socket_handle handle) noexcept {
    detail::native_address address;
    if (::getsockname(handle, address.get(), &address.size) < 0) return {};
    return detail::from_native(address);
}

inline socket_address remote_address(socket_handle handle) noexcept {
    detail::native_address address;
    if (::getpeername(handle, address.get(), &address.size) < 0) return {};
    return detail::from_native(address);
}

/// Who the peer is, or was: unlike getpeername, Linux' SO_PEERNAME also tells it of a connection that
/// has been reset.
inline socket_address last_remote_address(socket_handle handle) noexcept {
    const socket_address now = remote_address(handle);
#if defined(SO_PEERNAME) && !defined(CURFEW_POSIX_ONLY)
    if (now.family != family::unspecified) return now;
    detail::native_address address;
    if (::getsockname(handle, address.get(), &address.size) < 0) return now;
    // It is of the same size; an error if there is less of it than was asked for.
    if (::getsockopt(handle, SOL_SOCKET, SO_PEERNAME, &address.storage, &address.size) < 0)
        return now;
    return detail::from_native(address);
#else
    return now;
#endif
}

/// The number of a network interface, for addresses with a scope; 0 if there is none of that name.
inline std::uint32_t interface_index(const char* name) noexcept { return ::if_nametoindex(name); }

// Time and waiting -----------------------------------------------------------------------------

/// The time of `std::chrono::steady_clock`.
inline std::chrono::nanoseconds steady_now() noexcept {
#if defined(__linux__)
    // What it reads in both of Linux's standard libraries, without the way through them.
    timespec now;
    ::clock_gettime(CLOCK_MONOTONIC, &now);
    return std::chrono::seconds(now.tv_sec) + std::chrono::nanoseconds(now.tv_nsec);
#else
    return std::chrono::steady_clock::now().time_since_epoch();
#endif
}

namespace detail {

inline timespec to_timespec(std::chrono::nanoseconds time) noexcept {
    const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(time);
    return {static_cast<decltype(timespec::tv_sec)>(seconds.count()),
            static_cast<decltype(timespec::tv_nsec)>((time - seconds).count())};
}

/// What a single call waits at the most: a day, after which the loop waits again.
inline std::chrono::nanoseconds bounded(std::chrono::nanoseconds time) noexcept {
    constexpr std::chrono::nanoseconds day = std::chrono::hours(24);
    return time < day ? time : day;
}

/// Milliseconds, rounded up so that a wait is never too short; -1 for `unlimited`.
inline int to_milliseconds(std::chrono::nanoseconds time) noexcept {
    if (time == unlimited) return -1;
    const auto ms = (static_cast<std::uint64_t>(time.count()) + 999'999) / 1'000'000;
    constexpr int most = std::numeric_limits<int>::max();
    return ms < most ? static_cast<int>(ms) : most;
}

}  // namespace detail

using poll_entry = pollfd;
inline constexpr short poll_in = POLLIN;
inline constexpr short poll_out = POLLOUT;
/// What `poll` reports without being asked; both directions have to look.
inline constexpr short poll_problem = POLLERR | POLLHUP | POLLNVAL;
inline constexpr short poll_invalid = POLLNVAL;

/// Returns the system's error number and leaves the number of marked entries in `ready`.
inline int poll(poll_entry* entries, std::size_t count, std::chrono::nanoseconds time,
                int& ready) noexcept {
#if defined(__linux__) && !defined(CURFEW_POSIX_ONLY)
    const timespec limit = detail::to_timespec(detail::bounded(time));
    ready =
        ::ppoll(entries, static_cast<nfds_t>(count), time == unlimited ? nullptr : &limit, nullptr);
#else
    ready = ::poll(entries, static_cast<nfds_t>(count), detail::to_milliseconds(time));
#endif
    return ready < 0 ? errno : 0;
}

/// A set of descriptors for `select`.
class select_set {
public:
    static bool can_hold(socket_handle handle) noexcept { return handle < FD_SETSIZE; }

    select_set() noexcept { FD_ZERO(&set_); }
    bool add(socket_handle handle) noexcept {
        FD_SET(handle, &set_);
        return true;
    }
    void remove(socket_handle handle) noexcept { FD_CLR(handle, &set_); }
    bool has(socket_handle handle) const noexcept { return FD_ISSET(handle, &set_); }
    fd_set* get() noexcept { return &set_; }

private:
    fd_set set_;
};

/// `highest` is the highest descriptor in any set. Returns the system's error number.
inline int select(socket_handle highest, select_set& readable, select_set& writable,
                  select_set& failed, std::chrono::nanoseconds time, int& ready) noexcept {
    const auto limit = detail::to_timespec(detail::bounded(time));
    ready = ::pselect(highest + 1, readable.get(), writable.get(), failed.get(),
                      time == unlimited ? nullptr : &limit, nullptr);
    return ready < 0 ? errno : 0;
}

/// Forgets the last error, so that one reported without being set is not taken for it.
inline void clear_last_error() noexcept { errno = 0; }

/// True if this descriptor is none.
inline bool is_closed(socket_handle handle) noexcept {
    return ::fcntl(handle, F_GETFD, 0) < 0 && errno == EBADF;
}

/// Does nothing for that long, or less.
inline void pause(std::chrono::nanoseconds time) noexcept {
    const timespec limit = detail::to_timespec(detail::bounded(time));
    ::nanosleep(&limit, nullptr);
}

/// Ends a wait from another thread: `signal` makes `handle()` readable until `drain`.
class waker {
public:
    waker() noexcept {
#if defined(CURFEW_HAS_EPOLL)
        ends_[0] = ends_[1] = ::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
        if (ends_[0] < 0) error_ = errno;
#else
        if (::pipe(ends_) < 0) {
            error_ = errno;
            return;
        }
        for (const int end : ends_)
            if (const int error = detail::prepare(end)) error_ = error;
#endif
    }

    ~waker() {
        if (ends_[0] >= 0) platform::close(ends_[0]);
        if (ends_[1] != ends_[0]) platform::close(ends_[1]);
    }

    waker(const waker&) = delete;
    waker& operator=(const waker&) = delete;

    /// Why it could not be made; 0 if it was.
    int error() const noexcept { return error_; }
    socket_handle handle() const noexcept { return ends_[0]; }

    /// From any thread, and from signal handlers, so it leaves errno as it was. A full pipe or
    /// counter is as good as a signal: the reader is awake then.
    void signal() noexcept {
        const int before = errno;
        const std::uint64_t one = 1;
        [[maybe_unused]] const auto n =
            detail::transferring([&] { return ::write(ends_[1], &one, sizeof one); });
        errno = before;
    }

    void drain() noexcept {
        std::uint64_t bytes[16];
        while (detail::transferring([&] { return ::read(ends_[0], bytes, sizeof bytes); }).count ==
               sizeof bytes) {}
    }

private:
    int ends_[2] = {-1, -1};
    int error_ = 0;
};

}  // namespace curfew::platform
