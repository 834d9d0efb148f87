// What is no socket, and read and written as files are: pipes, terminals, regular files.
#pragma once

#include <cerrno>
#include <cstddef>

#include "../types.hpp"
#include "errors.hpp"
#include "sockets.hpp"
#include "system.hpp"
#include "transfer.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew::platform {

/// A pipe, whose ends do not block; after an error there is none.
inline int open_pipe(socket_handle& reader, socket_handle& writer) noexcept {
    int ends[2];
#if defined(__linux__) && !defined(CURFEW_POSIX_ONLY)
    if (::pipe2(ends, O_NONBLOCK | O_CLOEXEC) < 0) return errno;
#else
    if (::pipe(ends) < 0) return errno;
    for (const int each : ends) {
        const int error = detail::prepare_file(each);
        if (!error) continue;
        platform::close(ends[0]);
        platform::close(ends[1]);
        return error;
    }
#endif
    reader = ends[0];
    writer = ends[1];
    return 0;
}

/// Takes in a descriptor from elsewhere, and makes it non-blocking (for all who share it) and
/// closed on exec.
inline int adopt_file(socket_handle handle) noexcept { return detail::prepare_file(handle); }

/// A descriptor of the same file that leaves all as it is that others see of it: whether it blocks
/// stays as it was. It is closed on exec, and none of the three that belong to every process.
inline int share_file(socket_handle handle, socket_handle& duplicate) noexcept {
    const int made = ::fcntl(handle, F_DUPFD_CLOEXEC, 3);
    if (made < 0) return errno;
    duplicate = made;
    return 0;
}

inline constexpr int standard_input_number = 0;

/// Reads from a file that does not block, or from one where that takes no time worth mentioning, as
/// regular ones. (From what blocks use `read_shared`.)
inline transfer read_file(socket_handle handle, const buffer* list, std::size_t size) noexcept {
    detail::buffer_vector buffers(list, size, 0);
    return detail::transferring(
        [&] { return ::readv(handle, buffers.entries, static_cast<int>(buffers.count)); });
}

namespace detail {

inline bool is_regular(socket_handle handle) noexcept {
    struct stat about;
    return ::fstat(handle, &about) == 0 && (S_ISREG(about.st_mode) || S_ISBLK(about.st_mode));
}

}  // namespace detail

/// Reads from a file that may block, since others have it too, only what is there: `would_block` if
/// that is nothing. Linux can be told not to wait in the call itself, but for terminals. There, and
/// elsewhere, it is asked first whether there is something: then a read takes that and does not
/// wait for more, unless somebody else was quicker to take it.
inline transfer read_shared(socket_handle handle, const buffer* list, std::size_t size) noexcept {
#if defined(RWF_NOWAIT) && !defined(CURFEW_POSIX_ONLY)
    detail::buffer_vector buffers(list, size, 0);
    const transfer got = detail::transferring([&] {
        return ::preadv2(handle, buffers.entries, static_cast<int>(buffers.count), -1, RWF_NOWAIT);
    });
    // What is not in memory yet of a regular file is as good as there. Any other error may be this
    // call's (EOPNOTSUPP of terminals; whatever a sandbox says): the plain one tells.
    if (!got.error || (would_block(got.error) && !detail::is_regular(handle))) return got;
#endif
    pollfd asked{handle, POLLIN, 0};
    int ready = 0;
    if (const int error = detail::retrying([&] { return ready = ::poll(&asked, 1, 0); }))
        return {0, error};
    if (ready == 0) return {0, EAGAIN};
    return read_file(handle, list, size);
}

namespace detail {

/// Keeps SIGPIPE, which a write raises in the thread that calls it, from being delivered. One that
/// was pending before is left; one that came of this is taken away.
class sigpipe_guard {
public:
    sigpipe_guard() noexcept {
        sigemptyset(&sigpipe_);  // (A macro on some systems, as the other ones here.)
        sigaddset(&sigpipe_, SIGPIPE);
        ::pthread_sigmask(SIG_BLOCK, &sigpipe_, &before_);
        was_pending_ = sigismember(&before_, SIGPIPE) == 1 && is_pending();
    }
    ~sigpipe_guard() {
        int number = 0;
        // It is this thread's own, and was raised before the write returned; or it is ignored.
        if (was_raised_ && !was_pending_ && is_pending()) ::sigwait(&sigpipe_, &number);
        ::pthread_sigmask(SIG_SETMASK, &before_, nullptr);
    }
    sigpipe_guard(const sigpipe_guard&) = delete;
    sigpipe_guard& operator=(const sigpipe_guard&) = delete;

    void was_raised() noexcept { was_raised_ = true; }

private:
    static bool is_pending() noexcept {
        sigset_t pending;
        ::sigpending(&pending);
        return sigismember(&pending, SIGPIPE) == 1;
    }

    sigset_t sigpipe_;
    sigset_t before_;
    bool was_pending_ = false;
    bool was_raised_ = false;
};

}  // namespace detail

/// Writes to a file that does not block. `broken_pipe`, and no signal, if nobody reads.
inline transfer write_file(socket_handle handle, const buffer* list, std::size_t size) noexcept {
    detail::buffer_vector buffers(list, size, 0);
    const auto count = static_cast<int>(buffers.count);
#if defined(F_SETNOSIGPIPE)  // which `prepare_file` has set
    return detail::transferring([&] { return ::writev(handle, buffers.entries, count); });
#else
    detail::sigpipe_guard guard;
    const transfer put =
        detail::transferring([&] { return ::writev(handle, buffers.entries, count); });
    if (put.error == EPIPE) guard.was_raised();
    return put;
#endif
}

}  // namespace curfew::platform
