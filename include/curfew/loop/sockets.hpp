// The records of a loop's sockets, from open to gone.
//
// A record lives as long as its socket object, and longer where the system still works on one of
// its operations, or may still have events of it.
#pragma once

#include <new>
#include <utility>

#include "../core/frame_memory.hpp"
#include "../core/operation.hpp"
#include "../core/socket_list.hpp"
#include "queues.hpp"
#include "reaping.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew::detail {

class sockets {
public:
    sockets(queues& to, reaper& from) noexcept : queues_(to), reaper_(from) {}

    /// All whose socket objects live: the first one leads to the others by `next`.
    socket_state* first() const noexcept { return living_.first(); }

    socket_state* make(loop& own, platform::transport type, platform::socket_handle handle,
                       frame_resource* from) {
        auto* socket = ::new (take_block(sizeof(socket_state), from)) socket_state;
        socket->loop = &own;
        socket->type = type;
        if (handle != platform::invalid_socket) opened(*socket, handle);
        living_.add(*socket);
        return socket;
    }

    /// The socket has got a handle.
    void opened(socket_state& socket, platform::socket_handle handle) noexcept {
        socket.handle = handle;
        socket.was_open = true;
        ++socket.interruptions;
        socket.lost_with = 0;
        socket.worth_trying = reaper_.reactor->initially_worth_trying();
    }

    /// A closed socket is about to be opened again, and a proactor has yet to reap what was pending
    /// on it (all of which has been asked to end). That moves to a record of its own, which is
    /// freed when nothing is pending there any more: it neither takes a new operation's place nor
    /// writes into the new life when it completes. False: there is no memory for that record.
    CURFEW_COLD bool set_pending_aside(socket_state& socket, frame_resource* from) noexcept {
        for (const operation* each : {socket.reader, socket.writer})
            if (each && each->reason == outcome::success)
                return true;  // which has not, and so keeps the place
        socket_state* const earlier = make_record(from);
        if (!earlier) return false;
        earlier->loop = socket.loop;
        earlier->type = socket.type;
        earlier->reader = std::exchange(socket.reader, nullptr);
        earlier->writer = std::exchange(socket.writer, nullptr);
        for (operation* each : {earlier->reader, earlier->writer})
            if (each) each->socket = earlier;
        drain(*earlier);
        return true;
    }

    /// The socket object is gone; its record goes when nothing is pending on it any more.
    void remove(socket_state& socket) noexcept {
        reaper_.reactor->close(socket, close_mode::graceful, reaper_.done);
        socket_list::remove(socket);
        if (socket.reader || socket.writer)  // a proactor has yet to reap them
            drain(socket);
        else if (socket.system_may_refer)
            kept_.add(socket);
        else
            free(socket);
    }

    /// Frees those that were `remove`d while something was pending, and is no more.
    CURFEW_COLD void free_drained() noexcept {
        for (socket_state* each = draining_.first(); each;) {
            socket_state* const next = each->next;
            if (!each->reader && !each->writer) {
                socket_list::remove(*each);
                free(*each);
            }
            each = next;
        }
        if (!draining_.first()) queues_.slow &= ~queues::has_draining;
    }

    // The end of the loop ----------------------------------------------------------------------

    /// Closes all, and waits until the system is done with every operation.
    void close_all() {
        for (socket_state* each = living_.first(); each; each = each->next)
            reaper_.reactor->close(*each, close_mode::graceful, reaper_.done);
        for (socket_state* each = living_.first(); each; each = each->next)
            reaper_.wait_until_system_is_done(*each);
        for (socket_state* each; (each = draining_.first()); free_drained())
            reaper_.wait_until_system_is_done(*each);
    }

    /// Socket objects that outlive the loop keep their records.
    void forget_all() noexcept {
        while (socket_state* const socket = living_.first()) {
            socket->loop = nullptr;
            socket_list::remove(*socket);
        }
        while (socket_state* const socket = kept_.first()) {
            socket_list::remove(*socket);
            free(*socket);
        }
    }

    static void free(socket_state& socket) noexcept {
        socket.~socket_state();
        give_back(&socket, sizeof(socket_state));
    }

private:
    void drain(socket_state& socket) noexcept {
        draining_.add(socket);
        queues_.slow |= queues::has_draining;
    }

    /// Null: there is no memory.
    static socket_state* make_record(frame_resource* from) noexcept {
#if CURFEW_EXCEPTIONS
        try {
            return ::new (take_block(sizeof(socket_state), from)) socket_state;
        } catch (...) {
            return nullptr;
        }
#else
        return ::new (take_block(sizeof(socket_state), from)) socket_state;
#endif
    }

    socket_list living_;
    socket_list draining_;  // gone while the system still worked on their operations
    socket_list kept_;      // gone, but the system may have events of them until the loop ends
    queues& queues_;
    reaper& reaper_;
};

}  // namespace curfew::detail
