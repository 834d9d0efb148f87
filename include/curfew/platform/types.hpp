// The plain records in which the library and a platform header speak to each other.
#pragma once

#include <cstddef>
#include <cstdint>

#include "../config.hpp"
#include "std_chrono.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew::platform {

/// Returned in place of a system's error number by functions that the platform has nothing for. The
/// library makes `errc::not_supported` of it.
inline constexpr int unsupported = -1;

/// A wait without an end.
inline constexpr std::chrono::nanoseconds unlimited = std::chrono::nanoseconds::max();

/// Contiguous bytes, not owned.
struct buffer {
    std::byte* data = nullptr;
    std::size_t size = 0;
};

/// `local`: sockets of this machine alone, whose names are paths.
enum class family : std::uint8_t { unspecified, v4, v6, local };

/// An address and port without the system's layout: `bytes` in network order (4 or 16 of them),
/// `port` and `scope` in the machine's own order.
struct socket_address {
    platform::family family = platform::family::unspecified;
    std::uint16_t port = 0;
    std::uint32_t scope = 0;
    std::uint8_t bytes[16] = {};

    friend bool operator==(const socket_address&, const socket_address&) = default;
};

/// The name of a local socket. Its family makes a `socket_address` recognisable as the beginning of
/// one of these, so it passes for one wherever an address is passed on; where one is to be filled
/// in, the family it has before says that there is room for a name.
struct local_name : socket_address {
    std::uint8_t size = 0;  // of the text; 0: there is no name
    /// A path without the zero behind it; or an abstract name, with a zero before it.
    char text[107] = {};

    local_name() noexcept { family = family::local; }
};

enum class transport : std::uint8_t { stream, datagram };

/// Who is at the other end of a local connection, as the system has noted it. -1: it does not tell.
struct credentials {
    std::int64_t process = -1;
    std::int64_t user = -1;
    std::int64_t group = -1;
};

/// Why a name was not found. `other`: an error of the system's that is not about names.
enum class name_error : std::uint8_t {
    none,
    host_not_found,
    no_data,
    try_again,
    failed,
    service_not_found,
    other,
};

/// What became of a look-up.
struct name_lookup {
    name_error why = name_error::none;
    int error = 0;  // the system's number, with `other`
};

/// What a transfer call did: `count` bytes when `error` is 0, else the system's error number.
struct transfer {
    std::size_t count = 0;
    int error = 0;
};

/// Which way a datagram has come, or is to go.
struct datagram_path {
    socket_address peer;         // who has sent it, or is to get it
    socket_address local;        // where to answer from; unspecified: that is not known
    socket_address destination;  // that it was sent to: `local`, a group, or a broadcast address
    std::uint32_t interface_index = 0;
    std::uint8_t traffic_class = 0;  // of one that has come: DSCP, and ECN in the lowest two bits
};

/// One of several datagrams.
struct datagram {
    const buffer* bytes = nullptr;
    socket_address* peer = nullptr;  // the receiver (null: the connected peer), or to be filled in
    std::size_t count = 0;           // of bytes that have come
    bool was_cut = false;            // there were more
};

/// What the library hands over of those at once.
inline constexpr std::size_t datagrams_at_once = 32;

/// What became of a datagram that was sent.
struct queued_error {
    int error = 0;            // the system's number
    socket_address receiver;  // that it was sent to
    socket_address reporter;  // who says so: the receiver, or somebody on the way
    std::uint32_t mtu = 0;    // what would have passed, with message_too_long
};

enum class shutdown_side : std::uint8_t { receive, send, both };

/// The socket options that the library knows, named once for all platforms.
enum class option : std::uint8_t {
    no_delay,
    keep_alive,
    reuse_address,
    reuse_port,
    broadcast,
    v6_only,
    receive_buffer_size,
    send_buffer_size,
    // Of IP's two versions, each of which may have a name of its own for it:
    hops,
    traffic_class,
    dont_fragment,
    multicast_loop,
    multicast_hops,
    multicast_interface,
};

}  // namespace curfew::platform
