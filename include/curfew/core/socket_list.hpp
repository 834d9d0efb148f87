// A list of socket records, each of which is in one such list at most.
#pragma once

#include "socket_state.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew::detail {

/// Owns none of them.
class socket_list {
public:
    socket_list() = default;
    socket_list(const socket_list&) = delete;
    socket_list& operator=(const socket_list&) = delete;

    /// The newest, which leads to all others by `next`; null when empty.
    socket_state* first() const noexcept { return first_; }

    void add(socket_state& socket) noexcept {
        socket.next = first_;
        if (first_) first_->link = &socket.next;
        socket.link = &first_;
        first_ = &socket;
    }

    /// Takes it out of the list it is in.
    static void remove(socket_state& socket) noexcept {
        *socket.link = socket.next;
        if (socket.next) socket.next->link = socket.link;
        socket.link = nullptr;
    }

private:
    socket_state* first_ = nullptr;
};

}  // namespace curfew::detail
