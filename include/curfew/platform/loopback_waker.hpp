// A waker for platforms without pipes and event counters: a UDP socket that sends to itself over
// loopback. A platform header that defines CURFEW_LOOPBACK_WAKER gets it; it uses nothing but that
// header's functions.
#pragma once

#include <cstddef>

#include "platform.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew::platform {

/// Ends a wait from another thread: `signal` makes `handle()` readable until `drain`.
class loopback_waker {
public:
    loopback_waker() noexcept { error_ = make(); }
    ~loopback_waker() {
        if (handle_ != invalid_socket) platform::close(handle_);
    }
    loopback_waker(const loopback_waker&) = delete;
    loopback_waker& operator=(const loopback_waker&) = delete;

    /// Why it could not be made; 0 if it was.
    int error() const noexcept { return error_; }
    socket_handle handle() const noexcept { return handle_; }

    /// From any thread. A datagram that finds the buffer full is not missed: whoever reads is awake
    /// then. Any other failure would lose the signal, so it is tried again, for a tenth of a
    /// second.
    void signal() noexcept {
        const std::byte one{1};
        for (int tries = 0; tries < 100; ++tries) {
            const auto n = platform::send(handle_, &one, 1);
            if (n > 0 || platform::would_block(static_cast<int>(-n))) return;
            if (!platform::interrupted(static_cast<int>(-n)))
                platform::pause(std::chrono::milliseconds(1));
        }
    }

    void drain() noexcept {
        std::byte bytes[16];
        for (;;) {
            const auto n = platform::receive(handle_, bytes, sizeof bytes);
            if (n <= 0 && !platform::interrupted(static_cast<int>(-n))) return;
        }
    }

private:
    int make() noexcept {
        if (const int error = platform::open(family::v4, transport::datagram, handle_))
            return error;
        socket_address loopback;
        loopback.family = family::v4;
        loopback.bytes[0] = 127;
        loopback.bytes[3] = 1;
        if (const int error = platform::bind(handle_, loopback)) return error;
        // Connected to itself it takes datagrams from nobody else.
        return platform::connect(handle_, platform::local_address(handle_));
    }

    socket_handle handle_ = invalid_socket;
    int error_ = 0;
};

#if defined(CURFEW_LOOPBACK_WAKER)
using waker = loopback_waker;
#endif

}  // namespace curfew::platform
