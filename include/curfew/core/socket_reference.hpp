// A reference to a socket from what may outlive it.
#pragma once

#include "socket_state.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew::detail {

/// Refers to the record of a socket for as long as there is one: it follows a socket object that is
/// moved, and is empty when that is destroyed. All that refer to one socket stand in a list of its,
/// so neither end costs more than what it ends.
struct socket_reference {
    socket_state* socket = nullptr;  // null: there is none, or it is gone
    socket_reference* next_of_socket;
    socket_reference** link_of_socket;

    socket_reference() noexcept {}
    explicit socket_reference(socket_state& to) noexcept { refer(to); }
    socket_reference(const socket_reference&) = delete;
    socket_reference& operator=(const socket_reference&) = delete;
    ~socket_reference() { forget(); }

    void refer(socket_state& to) noexcept {
        forget();
        if (to.placeholder) return;
        socket = &to;
        next_of_socket = to.references;
        if (next_of_socket) next_of_socket->link_of_socket = &next_of_socket;
        link_of_socket = &to.references;
        to.references = this;
    }

    void forget() noexcept {
        if (!socket) return;
        *link_of_socket = next_of_socket;
        if (next_of_socket) next_of_socket->link_of_socket = link_of_socket;
        socket = nullptr;
    }

    /// The socket object is gone, and its record will be.
    static void forget_all(socket_state& gone) noexcept {
        while (gone.references) gone.references->forget();
    }
};

}  // namespace curfew::detail
