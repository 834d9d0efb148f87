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

enum class family : std::uint8_t { unspecified, v4, v6 };

/// An address and port without the system's layout: `bytes` in network order (4 or 16 of them),
/// `port` and `scope` in the machine's own order.
struct socket_address {
    platform::family family = platform::family::unspecified;
    std::uint16_t port = 0;
    std::uint32_t scope = 0;
    std::uint8_t bytes[16] = {};

    friend bool operator==(const socket_address&, const socket_address&) = default;
};

enum class transport : std::uint8_t { stream, datagram };

/// What a transfer call did: `count` bytes when `error` is 0, else the system's error number.
struct transfer {
    std::size_t count = 0;
    int error = 0;
};

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
};

}  // namespace curfew::platform
