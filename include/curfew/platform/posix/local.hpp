// What only local sockets can: pairs, knowing the peer, and handing descriptors over.
#pragma once

#include <cerrno>
#include <cstddef>
#include <cstring>

#include "../types.hpp"
#include "addresses.hpp"
#include "errors.hpp"
#include "sockets.hpp"
#include "system.hpp"
#include "transfer.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew::platform {

/// The names of both ends of a local socket; without a name (`size` 0) where there is none.
inline local_name own_name(socket_handle handle) noexcept {
    local_name name;
    detail::native_address address;
    if (::getsockname(handle, address.get(), &address.size) == 0) detail::store(address, name);
    return name;
}

inline local_name peer_name(socket_handle handle) noexcept {
    local_name name;
    detail::native_address address;
    if (::getpeername(handle, address.get(), &address.size) == 0) detail::store(address, name);
    return name;
}

/// Two sockets that are connected with each other; after an error there are none.
inline int open_pair(transport type, socket_handle& first, socket_handle& second) noexcept {
    const int kind = type == transport::stream ? SOCK_STREAM : SOCK_DGRAM;
    int ends[2];
#if defined(SOCK_NONBLOCK) && !defined(CURFEW_POSIX_ONLY)
    if (::socketpair(AF_UNIX, kind | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) < 0) return errno;
#else
    if (::socketpair(AF_UNIX, kind, 0, ends) < 0) return errno;
    for (const int each : ends) {
        const int error = detail::prepare(each);
        if (!error) continue;
        platform::close(ends[0]);
        platform::close(ends[1]);
        return error;
    }
#endif
    first = ends[0];
    second = ends[1];
    return 0;
}

/// Removes the name of a local socket. One that is a path is a file, which outlives the socket; one
/// that is no socket stays (ENOTSOCK).
inline int remove_name(const local_name& name) noexcept {
    if (name.size == 0 || name.size >= sizeof(sockaddr_un::sun_path)) return EINVAL;
    if (name.text[0] == 0) return 0;  // it has gone with its socket
    char path[sizeof name.text + 1] = {};
    std::memcpy(path, name.text, name.size);
    struct stat about;
    if (::lstat(path, &about) < 0) return errno;
    if (!S_ISSOCK(about.st_mode)) return ENOTSOCK;
    return ::unlink(path) < 0 ? errno : 0;
}

/// Who was at the other end when the connection (or the pair) was made.
inline int peer_credentials(socket_handle handle, credentials& peer) noexcept {
    peer = {};
#if defined(__linux__)
#if defined(SO_PEERCRED)
    struct {  // Linux' struct ucred, which headers show to those alone who define _GNU_SOURCE
        pid_t process;
        uid_t user;
        gid_t group;
    } told{};
    socklen_t size = sizeof told;
    if (::getsockopt(handle, SOL_SOCKET, SO_PEERCRED, &told, &size) < 0) return errno;
    if (told.process == 0 && told.user == static_cast<uid_t>(-1)) return ENOTCONN;
    peer = {told.process, told.user, told.group};
    return 0;
#else
    static_cast<void>(handle);
    return unsupported;
#endif
#elif defined(__APPLE__) || defined(__FreeBSD__) || defined(__OpenBSD__) || defined(__NetBSD__) || \
    defined(__DragonFly__)
    uid_t user;
    gid_t group;
    if (::getpeereid(handle, &user, &group) < 0) return errno;
    peer.user = user;
    peer.group = group;
#if defined(LOCAL_PEERPID) && defined(SOL_LOCAL)
    pid_t process;
    socklen_t size = sizeof process;
    if (::getsockopt(handle, SOL_LOCAL, LOCAL_PEERPID, &process, &size) == 0)
        peer.process = process;
#endif
    return 0;
#else
    static_cast<void>(handle);
    return unsupported;
#endif
}

/// Descriptors that one message takes at the most (Linux' SCM_MAX_FD).
inline constexpr std::size_t max_descriptors = 253;

namespace detail {

struct descriptor_space {
    alignas(cmsghdr) char bytes[CMSG_SPACE(max_descriptors * sizeof(int))];

    void attach_to(msghdr& header, std::size_t size) noexcept {
        header.msg_control = bytes;
        header.msg_controllen = static_cast<decltype(header.msg_controllen)>(size);
    }
};

#if defined(MSG_CMSG_CLOEXEC) && !defined(CURFEW_POSIX_ONLY)
inline constexpr int close_on_exec = MSG_CMSG_CLOEXEC;
#else
inline constexpr int close_on_exec = 0;
#endif

}  // namespace detail

/// Sends, to the connected peer, with descriptors attached: the peer gets duplicates of them with
/// the first byte. Without a byte they would go nowhere, or (a datagram) alone.
inline transfer send_with(socket_handle handle, const buffer* list, std::size_t size,
                          const socket_handle* descriptors, std::size_t count) noexcept {
    if (count > max_descriptors) return {0, EINVAL};
    if (size > max_buffers) return {0, message_too_long};
    detail::buffer_vector buffers(list, size, 0);
    msghdr header = detail::message(buffers, nullptr);
    detail::descriptor_space space;
    if (count > 0) {
        const std::size_t bytes = count * sizeof(int);
        space.attach_to(header, CMSG_SPACE(bytes));
        std::memset(space.bytes, 0, CMSG_SPACE(bytes));
        cmsghdr* const attached = CMSG_FIRSTHDR(&header);
        attached->cmsg_level = SOL_SOCKET;
        attached->cmsg_type = SCM_RIGHTS;
        attached->cmsg_len = static_cast<decltype(attached->cmsg_len)>(CMSG_LEN(bytes));
        std::memcpy(CMSG_DATA(attached), descriptors, bytes);
    }
    return detail::transferring(
        [&] { return ::sendmsg(handle, &header, detail::send_flags | detail::no_wait); });
}

/// Receives, and with it the descriptors that are attached to what is received: `count` of them,
/// all closed on exec. `descriptors` has room for `max_descriptors`. `message_too_long` with the
/// count of bytes where a datagram, or the list of descriptors, was cut; then what is missing is
/// lost, and the descriptors that did come are in the list.
inline transfer receive_with(socket_handle handle, const buffer* list, std::size_t size,
                             socket_handle* descriptors, std::size_t& count) noexcept {
    count = 0;
    detail::buffer_vector buffers(list, size, 0);
    msghdr header;
    detail::descriptor_space space;
    transfer got = detail::transferring([&] {
        header = detail::message(buffers, nullptr);
        space.attach_to(header, sizeof space.bytes);
        return ::recvmsg(handle, &header, detail::no_wait | detail::close_on_exec);
    });
    if (got.error) return got;
    for (cmsghdr* each = CMSG_FIRSTHDR(&header); each; each = CMSG_NXTHDR(&header, each)) {
        if (each->cmsg_level != SOL_SOCKET || each->cmsg_type != SCM_RIGHTS) continue;
        const std::size_t here = (each->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (std::size_t i = 0; i < here; ++i) {
            int one;
            std::memcpy(&one, CMSG_DATA(each) + i * sizeof one, sizeof one);
            if (detail::close_on_exec == 0) ::fcntl(one, F_SETFD, FD_CLOEXEC);
            if (count < max_descriptors)
                descriptors[count++] = one;
            else
                platform::close(one);
        }
    }
    if (header.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) got.error = message_too_long;
    return got;
}

}  // namespace curfew::platform
