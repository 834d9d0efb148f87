// Receiving and sending, of streams and of datagrams.
#pragma once

#include <cerrno>
#include <cstddef>
#include <cstring>

#include "../types.hpp"
#include "addresses.hpp"
#include "errors.hpp"
#include "options.hpp"
#include "system.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew::platform {

namespace detail {

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

}  // namespace detail

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
    if (sender) detail::store(address, *sender);
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
    if (address.size == 0) return {0, EINVAL};  // no name; it would pass for no receiver
    msghdr header = detail::message(buffers, receiver ? &address : nullptr);
    return detail::transferring(
        [&] { return ::sendmsg(handle, &header, detail::send_flags | detail::no_wait); });
}

}  // namespace curfew::platform
