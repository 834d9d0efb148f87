// What became of datagrams that were sent: Linux keeps it with the socket.
#pragma once

#include <cstddef>
#include <cstring>

#include "../types.hpp"
#include "addresses.hpp"
#include "errors.hpp"
#include "options.hpp"
#include "system.hpp"
#include "transfer.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew::platform {

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

}  // namespace curfew::platform
