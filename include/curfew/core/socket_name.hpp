// What a scope is about: sockets that a limit on it closes, whatever is waited for in it then.
#pragma once

#include "fiber.hpp"
#include "socket_reference.hpp"
#include "socket_state.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew::detail {

/// Says that what runs in a scope is about a socket: when a limit around it that closes expires,
/// the socket is aborted, whatever is waited for then. It stands in the scope's list of nurseries,
/// as one without fibers, so that scopes about which nothing is said keep nothing for it.
struct socket_name : nursery, socket_reference {
    socket_name* next_reached;  // by a cancellation
    void (*abort)(socket_name&) noexcept;

    socket_name(socket_state& named, void (*how)(socket_name&) noexcept) noexcept
        : socket_reference(named), abort(how) {
        names_socket = true;
    }
};

}  // namespace curfew::detail
