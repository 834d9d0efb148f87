// What ends a wait from another thread: an event counter, or a pipe.
#pragma once

#include <cerrno>
#include <cstdint>

#include "errors.hpp"
#include "sockets.hpp"
#include "system.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew::platform {

/// Ends a wait from another thread: `signal` makes `handle()` readable until `drain`.
class waker {
public:
    waker() noexcept {
#if defined(CURFEW_HAS_EPOLL)
        ends_[0] = ends_[1] = ::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
        if (ends_[0] < 0) error_ = errno;
#else
        if (::pipe(ends_) < 0) {
            error_ = errno;
            return;
        }
        for (const int end : ends_)
            if (const int error = detail::prepare(end)) error_ = error;
#endif
    }

    ~waker() {
        if (ends_[0] >= 0) platform::close(ends_[0]);
        if (ends_[1] != ends_[0]) platform::close(ends_[1]);
    }

    waker(const waker&) = delete;
    waker& operator=(const waker&) = delete;

    /// Why it could not be made; 0 if it was.
    int error() const noexcept { return error_; }
    socket_handle handle() const noexcept { return ends_[0]; }

    /// From any thread, and from signal handlers, so it leaves errno as it was. A full pipe or
    /// counter is as good as a signal: the reader is awake then.
    void signal() noexcept {
        const int before = errno;
        const std::uint64_t one = 1;
        [[maybe_unused]] const auto n =
            detail::transferring([&] { return ::write(ends_[1], &one, sizeof one); });
        errno = before;
    }

    void drain() noexcept {
        std::uint64_t bytes[16];
        while (detail::transferring([&] { return ::read(ends_[0], bytes, sizeof bytes); }).count ==
               sizeof bytes) {}
    }

private:
    int ends_[2] = {-1, -1};
    int error_ = 0;
};

}  // namespace curfew::platform
