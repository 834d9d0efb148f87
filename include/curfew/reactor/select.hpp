// select(2): the oldest interface, for platforms that have nothing else.
#pragma once

#include "../platform/platform.hpp"

#if defined(CURFEW_HAS_SELECT)

#include <cstddef>
#include <string_view>

#include "../core/completions.hpp"
#include "../core/operation.hpp"
#include "../core/socket_state.hpp"
#include "sanitizing.hpp"

CURFEW_SYSTEM_HEADER

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
                if (highest_may_be_lower_) find_highest();
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
        if (socket.reactor_data == 0) {
            if (is_watched(socket.handle)) disown_watched(socket.handle);
            if (!enlist(socket)) return platform::out_of_memory;
            if (highest_ < socket.handle) highest_ = socket.handle;
        }
        if (is_ignored(socket) || add(op)) return 0;
        unwatch(socket);  // but for what was pending before
        return platform::out_of_memory;
    }

    void unwatch(socket_state& socket) noexcept override {
        if (socket.reactor_data == 0) return;
        if (!socket.reader && !socket.writer) {
            forget(socket);
            return;
        }
        if (!socket.reader) readable_.remove(socket.handle);
        if (!socket.writer) writable_.remove(socket.handle);
        if (!socket.writer || socket.writer->kind != operation_kind::connect)
            connecting_.remove(socket.handle);
    }

    bool forget(socket_state& socket) noexcept override {
        if (socket.reactor_data == 0) return true;
        stop_watching(socket.handle);
        delist(socket);
        return true;
    }

    void ignore(socket_state& socket) noexcept override { remove_from_sets(socket.handle); }

    bool notice(socket_state& socket) noexcept override {
        return (!socket.reader || add(*socket.reader)) && (!socket.writer || add(*socket.writer));
    }

private:
    bool add(const operation& op) noexcept {
        const platform::socket_handle handle = op.socket->handle;
        return (!op.waits_for(readiness::readable) || readable_.add(handle)) &&
               (!op.waits_for(readiness::writable) || writable_.add(handle)) &&
               (op.kind != operation_kind::connect || connecting_.add(handle));
    }

    bool is_watched(platform::socket_handle handle) const noexcept {
        return readable_.has(handle) || writable_.has(handle) || connecting_.has(handle);
    }

    void remove_from_sets(platform::socket_handle handle) noexcept {
        readable_.remove(handle);
        writable_.remove(handle);
        connecting_.remove(handle);
    }

    void stop_watching(platform::socket_handle handle) noexcept {
        remove_from_sets(handle);
        if (handle == highest_) highest_may_be_lower_ = true;
    }

    /// A socket is to be watched by the number of another one.
    CURFEW_COLD void disown_watched(platform::socket_handle handle) noexcept {
        stop_watching(handle);
        for (std::size_t i = sockets_.size(); i-- > 0;) {
            socket_state& socket = *sockets_[i];
            if (socket.handle != handle) continue;
            delist(socket);
            disown(socket);
        }
    }

    /// Looked for before a wait, which costs in proportion to the number of sockets anyway, and not
    /// whenever the highest one goes: many may go in a row, the highest first.
    CURFEW_COLD void find_highest() noexcept {
        highest_ = waker_.handle();
        for (const socket_state* each : sockets_)
            if (highest_ < each->handle) highest_ = each->handle;
        highest_may_be_lower_ = false;
    }

    int error_ = 0;
    platform::socket_handle highest_ = platform::invalid_socket;
    bool highest_may_be_lower_ = false;
    platform::select_set readable_;
    platform::select_set writable_;
    platform::select_set connecting_;
    platform::select_set found_readable_;  // what the last call has made of them
    platform::select_set found_writable_;
    platform::select_set found_failed_;
};

}  // namespace curfew

#endif
