// poll(2): every POSIX system has it.
#pragma once

#include <vector>

#include "readiness.hpp"

namespace curfew {

class poll_reactor final : public detail::readiness_reactor {
public:
    poll_reactor() {
        entries_.push_back({waker_.handle(), platform::poll_in, 0});
        sockets_.push_back(nullptr);
    }

    /// Why the reactor could not be made (the system's error number); 0 if it was.
    int error() const noexcept { return waker_.error(); }

    std::string_view name() const noexcept override { return "poll"; }

    int wait(std::chrono::nanoseconds time, completions& done) noexcept override {
        int ready = 0;
        const int error = platform::poll(entries_.data(), entries_.size(), time, ready);
        if (error) return platform::is_interruption(error) ? 0 : error;
        // From the back: an entry that is no longer wanted is replaced by the last one, which has
        // been looked at already.
        for (std::size_t i = entries_.size(); ready > 0 && i-- > 0;) {
            const short events = entries_[i].revents;
            if (!events) continue;
            --ready;
            if (i == 0) {
                waker_.drain();
                continue;
            }
            socket_state& socket = *sockets_[i];
            if (events & platform::poll_invalid) {
                on_bad_descriptor(socket, done);
            } else {
                if (events & (platform::poll_in | platform::poll_problem))
                    on_readable(socket, done);
                if (events & (platform::poll_out | platform::poll_problem))
                    on_writable(socket, done);
            }
            unwatch(socket);
        }
        return 0;
    }

    void wake() noexcept override { waker_.signal(); }

protected:
    int watch(const operation& op) noexcept override {
        socket_state& socket = *op.socket;
        if (socket.slot == 0) {
            socket.slot = static_cast<std::uint32_t>(entries_.size());
            entries_.push_back({socket.handle, 0, 0});
            sockets_.push_back(&socket);
        }
        short& events = entries_[socket.slot].events;
        if (op.waits_for(readiness::readable)) events |= platform::poll_in;
        if (op.waits_for(readiness::writable)) events |= platform::poll_out;
        return 0;
    }

    void unwatch(socket_state& socket) noexcept override {
        if (socket.slot == 0) return;
        if (const short events = wanted(socket))
            entries_[socket.slot].events = events;
        else
            forget(socket);
    }

    void forget(socket_state& socket) noexcept override {
        if (socket.slot == 0) return;
        entries_[socket.slot] = entries_.back();
        sockets_[socket.slot] = sockets_.back();
        sockets_[socket.slot]->slot = socket.slot;
        entries_.pop_back();
        sockets_.pop_back();
        socket.slot = 0;
    }

private:
    static short wanted(const socket_state& socket) noexcept {
        short events = 0;
        if (socket.reader) events |= platform::poll_in;
        if (socket.writer) events |= platform::poll_out;
        return events;
    }

    platform::waker waker_;
    std::vector<platform::poll_entry> entries_;  // the first is the waker's
    std::vector<socket_state*> sockets_;         // whose entry each is; `slot` is the index
};

}  // namespace curfew
