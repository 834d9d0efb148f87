// select(2): the oldest interface, for platforms that have nothing else.
#pragma once

#include <vector>

#include "readiness.hpp"

namespace curfew {

/// Watches descriptors below `FD_SETSIZE` only; operations on others fail with
/// `std::errc::too_many_files_open`.
class select_reactor final : public detail::readiness_reactor {
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
    int error() const noexcept { return waker_.error() ? waker_.error() : error_; }

    std::string_view name() const noexcept override { return "select"; }

    int wait(std::chrono::nanoseconds time, completions& done) noexcept override {
        platform::select_set readable = readable_;
        platform::select_set writable = writable_;
        platform::select_set failed = connecting_;  // where some systems report a failed connect
        int ready = 0;
        const int error = platform::select(highest_, readable, writable, failed, time, ready);
        if (platform::is_bad_descriptor(error)) return end_bad_descriptors(done);
        if (error) return platform::is_interruption(error) ? 0 : error;
        if (ready == 0) return 0;
        if (readable.has(waker_.handle())) waker_.drain();
        // From the back: one that is no longer wanted is replaced by the last one, which has been
        // looked at already.
        for (std::size_t i = sockets_.size(); i-- > 0;) {
            socket_state& socket = *sockets_[i];
            const platform::socket_handle handle = socket.handle;
            const bool both = failed.has(handle);
            const bool reads = both || readable.has(handle);
            const bool writes = both || writable.has(handle);
            if (reads) on_readable(socket, done);
            if (writes) on_writable(socket, done);
            if (reads || writes) unwatch(socket);
        }
        return 0;
    }

    void wake() noexcept override { waker_.signal(); }

protected:
    int watch(const operation& op) noexcept override {
        socket_state& socket = *op.socket;
        if (!platform::select_set::can_hold(socket.handle)) return platform::too_many_descriptors;
        if (socket.slot == 0) {
            sockets_.push_back(&socket);
            socket.slot = static_cast<std::uint32_t>(sockets_.size());
            if (socket.handle > highest_) highest_ = socket.handle;
        }
        if (op.waits_for(readiness::readable)) readable_.add(socket.handle);
        if (op.waits_for(readiness::writable)) writable_.add(socket.handle);
        if (op.kind == operation_kind::connect) connecting_.add(socket.handle);
        return 0;
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
        sockets_.back()->slot = socket.slot;
        sockets_[socket.slot - 1] = sockets_.back();
        sockets_.pop_back();
        socket.slot = 0;
        if (socket.handle < highest_) return;
        highest_ = waker_.handle();
        for (const socket_state* each : sockets_)
            if (each->handle > highest_) highest_ = each->handle;
    }

private:
    /// One bad descriptor fails the whole call: those whose it is get the error, the others go on.
    int end_bad_descriptors(completions& done) noexcept {
        bool found = false;
        for (std::size_t i = sockets_.size(); i-- > 0;) {
            socket_state& socket = *sockets_[i];
            if (!platform::is_closed(socket.handle)) continue;
            found = true;
            on_bad_descriptor(socket, done);
            unwatch(socket);
        }
        return found ? 0 : platform::bad_descriptor;
    }

    platform::waker waker_;
    int error_ = 0;
    platform::socket_handle highest_ = platform::invalid_socket;
    platform::select_set readable_;
    platform::select_set writable_;
    platform::select_set connecting_;
    std::vector<socket_state*> sockets_;  // `slot` is the index + 1
};

}  // namespace curfew
