// select(2): the oldest interface, for platforms that have nothing else.
#pragma once

#include "../platform/platform.hpp"

#if defined(CURFEW_HAS_SELECT)

#include "sanitizing.hpp"

namespace curfew {

/// Watches only descriptors that a set of the system can hold (on POSIX systems, those below
/// `FD_SETSIZE`); operations on others fail with `std::errc::too_many_files_open`.
class select_reactor final : public detail::sanitizing_reactor {
public:
    select_reactor() {
        if (waker_.error()) return;
        if (!platform::select_set::can_hold(waker_.handle())) {
            error_ = platform::too_many_descriptors;
            return;
        }
        readable_.add(waker_.handle());
        highest_ = waker_.handle();
    }

    /// Why the reactor could not be made (the system's error number); 0 if it was.
    int error() const noexcept override { return waker_.error() ? waker_.error() : error_; }

    std::string_view name() const noexcept override { return "select"; }

    int wait(std::chrono::nanoseconds time, completions& done) noexcept override {
        const auto marks_of = [&](platform::socket_handle handle) -> marks {
            const bool reads = found_readable_.has(handle);
            const bool writes = found_writable_.has(handle);
            const bool fails = found_failed_.has(handle);
            return {reads + writes + fails, reads || fails, writes || fails};
        };
        return sanitized_wait(
            time, done,
            [&](std::chrono::nanoseconds limit, int& ready) {
                found_readable_ = readable_;
                found_writable_ = writable_;
                found_failed_ = connecting_;  // where some systems report a failed connect
                return platform::select(highest_, found_readable_, found_writable_, found_failed_,
                                        limit, ready);
            },
            [&] { return marks_of(waker_.handle()); },
            [&](const socket_state& socket) { return marks_of(socket.handle); });
    }

protected:
    int watch(const operation& op) noexcept override {
        socket_state& socket = *op.socket;
        if (!platform::select_set::can_hold(socket.handle)) return platform::too_many_descriptors;
        if (socket.slot == 0) {
            enlist(socket);
            socket.tells_again = true;
            if (highest_ < socket.handle) highest_ = socket.handle;
        }
        const bool added = (!op.waits_for(readiness::readable) || readable_.add(socket.handle)) &&
                           (!op.waits_for(readiness::writable) || writable_.add(socket.handle)) &&
                           (op.kind != operation_kind::connect || connecting_.add(socket.handle));
        if (added) return 0;
        unwatch(socket);  // but for what was pending before
        return platform::out_of_memory;
    }

    void unwatch(socket_state& socket) noexcept override {
        if (socket.slot == 0) return;
        if (!socket.reader && !socket.writer) return forget(socket);
        if (!socket.reader) readable_.remove(socket.handle);
        if (!socket.writer) writable_.remove(socket.handle);
        if (!socket.writer || socket.writer->kind != operation_kind::connect)
            connecting_.remove(socket.handle);
    }

    void forget(socket_state& socket) noexcept override {
        if (socket.slot == 0) return;
        readable_.remove(socket.handle);
        writable_.remove(socket.handle);
        connecting_.remove(socket.handle);
        delist(socket);
        if (socket.handle != highest_) return;
        highest_ = waker_.handle();
        for (const socket_state* each : sockets_)
            if (highest_ < each->handle) highest_ = each->handle;
    }

private:
    int error_ = 0;
    platform::socket_handle highest_ = platform::invalid_socket;
    platform::select_set readable_;
    platform::select_set writable_;
    platform::select_set connecting_;
    platform::select_set found_readable_;  // what the last call has made of them
    platform::select_set found_writable_;
    platform::select_set found_failed_;
};

}  // namespace curfew

#endif
