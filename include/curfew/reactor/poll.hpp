// poll(2): every POSIX system has it.
#pragma once

#include "../platform/platform.hpp"

#if defined(CURFEW_HAS_POLL)

#include <string_view>

#include "../core/completions.hpp"
#include "../core/operation.hpp"
#include "../core/plain_array.hpp"
#include "../core/socket_state.hpp"
#include "sanitizing.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew {

/// `poll`, or `WSAPoll` on Windows: all sockets with pending operations are named in each wait.
class poll_reactor final : public detail::sanitizing_reactor {
public:
    poll_reactor() { entries_.push_back({waker_.handle(), platform::poll_in, 0}); }

    /// Why the reactor could not be made (the system's error number); 0 if it was.
    int error() const noexcept override { return waker_.error(); }

    std::string_view name() const noexcept override { return "poll"; }

    int wait(std::chrono::nanoseconds time, completions& done) noexcept override {
        return sanitized_wait(
            time, done,
            [&](std::chrono::nanoseconds limit, int& ready) {
                for (platform::poll_entry& each : entries_) each.revents = 0;
                return platform::poll(entries_.data(), entries_.size(), limit, ready);
            },
            [&] { return marks_of(entries_[0]); },
            [&](const socket_state& socket) { return marks_of(entries_[socket.reactor_data]); });
    }

protected:
    int watch(const operation& op) noexcept override {
        socket_state& socket = *op.socket;
        if (socket.reactor_data == 0) {
            if (!entries_.reserve(entries_.size() + 1) || !enlist(socket))
                return platform::out_of_memory;
            entries_.push_back({socket.handle, 0, 0});
        }
        if (is_ignored(socket)) return 0;
        short& events = entries_[socket.reactor_data].events;
        if (op.waits_for(readiness::readable)) events |= platform::poll_in;
        if (op.waits_for(readiness::writable)) events |= platform::poll_out;
        return 0;
    }

    void unwatch(socket_state& socket) noexcept override {
        if (socket.reactor_data == 0) return;
        const short events = wanted(socket);
        if (events == 0)
            forget(socket);
        else if (!is_ignored(socket))
            entries_[socket.reactor_data].events = events;
    }

    /// `poll` reports errors without being asked: one that is ignored is none of its business. (Its
    /// place is taken by the waker, asked for nothing.)
    void ignore(socket_state& socket) noexcept override {
        entries_[socket.reactor_data] = {waker_.handle(), 0, 0};
    }

    bool notice(socket_state& socket) noexcept override {
        entries_[socket.reactor_data] = {socket.handle, wanted(socket), 0};
        return true;
    }

    bool forget(socket_state& socket) noexcept override {
        if (socket.reactor_data == 0) return true;
        entries_[socket.reactor_data] = entries_.back();
        entries_.pop_back();
        delist(socket);
        return true;
    }

private:
    static marks marks_of(const platform::poll_entry& entry) noexcept {
        const short events = entry.revents;
        const bool problem = events & platform::poll_problem;
        return {events != 0, problem || (events & platform::poll_in),
                problem || (events & platform::poll_out), (events & platform::poll_invalid) != 0};
    }

    static short wanted(const socket_state& socket) noexcept {
        short events = 0;
        if (socket.reader) events |= platform::poll_in;
        if (socket.writer) events |= platform::poll_out;
        return events;
    }

    /// The waker's, then one for each of `sockets_`.
    detail::plain_array<platform::poll_entry> entries_;
};

}  // namespace curfew

#endif
