// What kinds of addresses there are.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <iterator>

#include "../../config.hpp"
#include "../../platform/types.hpp"
#include "packet.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew::sim {

/// Any address, as in a `bind`.
inline bool is_unspecified(const address& which) noexcept {
    return std::all_of(std::begin(which.bytes), std::end(which.bytes),
                       [](std::uint8_t each) { return each == 0; });
}
/// An IPv4 address as sockets for IPv6 have it.
inline bool is_mapped(const address& which) noexcept {
    static constexpr std::uint8_t prefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    return which.family == platform::family::v6 &&
           std::memcmp(which.bytes, prefix, sizeof prefix) == 0;
}
inline address unmapped(const address& which) noexcept {
    if (!is_mapped(which)) return which;
    address plain;
    plain.family = platform::family::v4;
    plain.port = which.port;
    std::memcpy(plain.bytes, which.bytes + 12, 4);
    return plain;
}
inline address mapped(const address& which) noexcept {
    address made;
    made.family = platform::family::v6;
    made.port = which.port;
    made.bytes[10] = made.bytes[11] = 0xff;
    std::memcpy(made.bytes + 12, which.bytes, 4);
    return made;
}
inline bool is_loopback(const address& which) noexcept {
    if (which.family == platform::family::v4) return which.bytes[0] == 127;
    return which.bytes[15] == 1 &&
           std::all_of(which.bytes, which.bytes + 15, [](std::uint8_t b) { return b == 0; });
}
inline address loopback_of(platform::family family, std::uint16_t port) noexcept {
    address made;
    made.family = family;
    made.port = port;
    if (family == platform::family::v4) {
        made.bytes[0] = 127;
        made.bytes[3] = 1;
    } else {
        made.bytes[15] = 1;
    }
    return made;
}
inline bool same_host(const address& a, const address& b) noexcept {
    return a.family == b.family && std::memcmp(a.bytes, b.bytes, sizeof a.bytes) == 0;
}

}  // namespace curfew::sim
