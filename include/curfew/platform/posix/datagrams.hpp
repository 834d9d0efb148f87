// Which way datagrams come and go, and several of them with one call.
#pragma once

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "../types.hpp"
#include "addresses.hpp"
#include "errors.hpp"
#include "options.hpp"
#include "system.hpp"
#include "transfer.hpp"

// (macOS and Linux; the BSDs, but for NetBSD, have other names for it with IPv4.)
#if defined(IP_PKTINFO) && defined(IPV6_PKTINFO) && defined(IPV6_RECVPKTINFO)
#define CURFEW_HAS_PATHS 1
#endif
#if defined(CURFEW_HAS_EPOLL)
#define CURFEW_HAS_MANY_DATAGRAMS 1
#endif

CURFEW_SYSTEM_HEADER

namespace curfew::platform {

#if defined(CURFEW_HAS_PATHS)

namespace detail {

struct v6_packet_info {  // RFC 3542's in6_pktinfo, which headers show with _GNU_SOURCE alone
    in6_addr address;
    unsigned interface_index;
};

inline bool is_multicast(const socket_address& address) noexcept {
    return address.family == family::v6 ? address.bytes[0] == 0xff
                                        : address.bytes[0] >= 224 && address.bytes[0] < 240;
}

/// What a call is told beside the bytes, or tells.
struct control_space {
    alignas(cmsghdr) char bytes[256];

    template <class Value>
    void attach(msghdr& header, int level, int type, const Value& value) noexcept {
        std::memset(bytes, 0, CMSG_SPACE(sizeof value));
        header.msg_control = bytes;
        header.msg_controllen =
            static_cast<decltype(header.msg_controllen)>(CMSG_SPACE(sizeof value));
        cmsghdr* const attached = CMSG_FIRSTHDR(&header);
        attached->cmsg_level = level;
        attached->cmsg_type = type;
        attached->cmsg_len = static_cast<decltype(attached->cmsg_len)>(CMSG_LEN(sizeof value));
        std::memcpy(CMSG_DATA(attached), &value, sizeof value);
    }
};

template <class Value>
bool read_control(const cmsghdr& from, int level, int type, Value& value) noexcept {
    if (from.cmsg_level != level || from.cmsg_type != type ||
        from.cmsg_len < CMSG_LEN(sizeof value))
        return false;
    std::memcpy(&value, CMSG_DATA(&from), sizeof value);
    return true;
}

inline void read_path(const cmsghdr& from, datagram_path& path) noexcept {
    in_pktinfo v4;
    v6_packet_info v6;
    unsigned char byte;
    int number;
    if (read_control(from, IPPROTO_IP, IP_PKTINFO, v4)) {
        path.local.family = path.destination.family = family::v4;
        std::memcpy(path.local.bytes, &v4.ipi_spec_dst, 4);
        std::memcpy(path.destination.bytes, &v4.ipi_addr, 4);
        path.interface_index = static_cast<std::uint32_t>(v4.ipi_ifindex);
    } else if (read_control(from, IPPROTO_IPV6, IPV6_PKTINFO, v6)) {
        path.destination.family = family::v6;
        std::memcpy(path.destination.bytes, &v6.address, 16);
        if (!is_multicast(path.destination)) path.local = path.destination;
        path.interface_index = static_cast<std::uint32_t>(v6.interface_index);
#if defined(IPV6_TCLASS)
    } else if (read_control(from, IPPROTO_IPV6, IPV6_TCLASS, number)) {
        path.traffic_class = static_cast<std::uint8_t>(number);
#endif
#if defined(IP_RECVTOS)
    } else if (read_control(from, IPPROTO_IP, IP_RECVTOS, byte) ||
               read_control(from, IPPROTO_IP, IP_TOS, byte)) {
        path.traffic_class = byte;
#endif
    }
}

}  // namespace detail

/// Whether the system tells of each datagram which way it has come.
inline int tell_paths(socket_handle handle, bool on) noexcept {
    const bool v4 = local_address(handle).family == family::v4;
#if defined(IP_RECVTOS)
    detail::set_flag(handle, IPPROTO_IP, IP_RECVTOS, on);
#endif
#if defined(IPV6_RECVTCLASS)
    if (!v4) detail::set_flag(handle, IPPROTO_IPV6, IPV6_RECVTCLASS, on);
#endif
    return v4 ? detail::set_flag(handle, IPPROTO_IP, IP_PKTINFO, on)
              : detail::set_flag(handle, IPPROTO_IPV6, IPV6_RECVPKTINFO, on);
}

/// `receive_from`, and which way the datagram has come, as far as the system tells.
inline transfer receive_path(socket_handle handle, const buffer* list, std::size_t size,
                             datagram_path& path) noexcept {
    detail::buffer_vector buffers(list, size, 0);
    detail::native_address address;
    detail::control_space control;
    msghdr header;
    transfer got = detail::transferring([&] {
        header = detail::message(buffers, &address);
        header.msg_control = control.bytes;
        header.msg_controllen = sizeof control.bytes;
        return ::recvmsg(handle, &header, detail::no_wait);
    });
    path = {};
    if (got.error) return got;
    address.size = header.msg_namelen;
    path.peer = detail::from_native(address);
    for (cmsghdr* each = CMSG_FIRSTHDR(&header); each; each = CMSG_NXTHDR(&header, each))
        detail::read_path(*each, path);
    if (header.msg_flags & MSG_TRUNC) got.error = message_too_long;
    return got;
}

/// `send_to`, from `path.local`, and through that interface if there is one.
inline transfer send_path(socket_handle handle, const buffer* list, std::size_t size,
                          const datagram_path& path) noexcept {
    if (size > max_buffers) return {0, message_too_long};
    detail::buffer_vector buffers(list, size, 0);
    detail::native_address address = detail::to_native(path.peer);
    msghdr header = detail::message(buffers, &address);
    detail::control_space control;
    const bool has_local = path.local.family != family::unspecified;
    if (has_local && path.local.family != path.peer.family) return {0, EINVAL};
    if (path.peer.family == family::v4 && (has_local || path.interface_index != 0)) {
        in_pktinfo from{};
        from.ipi_ifindex = static_cast<decltype(from.ipi_ifindex)>(path.interface_index);
        std::memcpy(&from.ipi_spec_dst, path.local.bytes, 4);
        control.attach(header, IPPROTO_IP, IP_PKTINFO, from);
    } else if (path.peer.family == family::v6 && (has_local || path.interface_index != 0)) {
        detail::v6_packet_info from{};
        from.interface_index = path.interface_index;
        std::memcpy(&from.address, path.local.bytes, 16);
        control.attach(header, IPPROTO_IPV6, IPV6_PKTINFO, from);
    }
    return detail::transferring(
        [&] { return ::sendmsg(handle, &header, detail::send_flags | detail::no_wait); });
}

#endif

#if defined(CURFEW_HAS_MANY_DATAGRAMS)

namespace detail {

/// The system's description of some datagrams.
struct datagram_headers {
    mmsghdr all[datagrams_at_once];
    iovec bytes[datagrams_at_once];
    native_address addresses[datagrams_at_once];

    explicit datagram_headers(std::size_t size) noexcept {
        std::memset(static_cast<void*>(all), 0, size * sizeof *all);
    }
    msghdr& describe(std::size_t i, const buffer& each) noexcept {
        bytes[i] = {each.data, each.size};
        all[i].msg_hdr.msg_iov = &bytes[i];
        all[i].msg_hdr.msg_iovlen = 1;
        return all[i].msg_hdr;
    }
    void name(std::size_t i) noexcept {
        all[i].msg_hdr.msg_name = addresses[i].get();
        all[i].msg_hdr.msg_namelen = addresses[i].size;
    }
};

}  // namespace detail

/// Sends the first of these datagrams, as many as there is room for, and no more than
/// `datagrams_at_once`. How many have gone; an error if that is none.
inline transfer send_many(socket_handle handle, datagram* list, std::size_t size) noexcept {
    if (size > datagrams_at_once) size = datagrams_at_once;
    detail::datagram_headers headers(size);
    for (std::size_t i = 0; i < size; ++i) {
        headers.describe(i, *list[i].bytes);
        if (!list[i].peer) continue;
        headers.addresses[i] = detail::to_native(*list[i].peer);
        headers.name(i);
    }
    return detail::transferring([&] {
        return ::sendmmsg(handle, headers.all, static_cast<unsigned>(size),
                          detail::send_flags | detail::no_wait);
    });
}

/// Receives what has come, as many datagrams at the most. How many; an error if that is none.
inline transfer receive_many(socket_handle handle, datagram* list, std::size_t size) noexcept {
    if (size > datagrams_at_once) size = datagrams_at_once;
    detail::datagram_headers headers(size);
    for (std::size_t i = 0; i < size; ++i) {
        headers.describe(i, *list[i].bytes);
        if (list[i].peer) headers.name(i);
    }
    const transfer got = detail::transferring([&] {
        return ::recvmmsg(handle, headers.all, static_cast<unsigned>(size), detail::no_wait,
                          nullptr);
    });
    for (std::size_t i = 0; i < got.count; ++i) {
        list[i].count = headers.all[i].msg_len;
        list[i].was_cut = headers.all[i].msg_hdr.msg_flags & MSG_TRUNC;
        if (!list[i].peer) continue;
        headers.addresses[i].size = headers.all[i].msg_hdr.msg_namelen;
        detail::store(headers.addresses[i], *list[i].peer);
    }
    return got;
}

#endif

}  // namespace curfew::platform
