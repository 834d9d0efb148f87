// Several datagrams, on platforms that have no call for that: one after the other.
#pragma once

#include <cstddef>

#include "platform.hpp"

CURFEW_SYSTEM_HEADER

#if !defined(CURFEW_HAS_MANY_DATAGRAMS)

namespace curfew::platform {

/// Sends the first of these datagrams, as many as there is room for. How many have gone; an error
/// if that is none: what stops a later one is found by the next call.
inline transfer send_many(socket_handle handle, datagram* list, std::size_t size) noexcept {
    for (std::size_t i = 0; i < size; ++i) {
        const transfer sent = platform::send_to(handle, list[i].bytes, 1, list[i].peer);
        if (sent.error) return {i, i == 0 ? sent.error : 0};
    }
    return {size, 0};
}

/// Receives what has come, as many datagrams at the most. How many; an error if that is none: one
/// that follows is what became of an earlier datagram, and told to nobody.
inline transfer receive_many(socket_handle handle, datagram* list, std::size_t size) noexcept {
    for (std::size_t i = 0; i < size; ++i) {
        const transfer got = platform::receive_from(handle, list[i].bytes, 1, list[i].peer);
        list[i].was_cut = got.error == message_too_long;
        if (got.error && !list[i].was_cut) return {i, i == 0 ? got.error : 0};
        list[i].count = got.count;
    }
    return {size, 0};
}

}  // namespace curfew::platform

#endif
