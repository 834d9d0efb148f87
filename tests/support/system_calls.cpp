#include "system_calls.hpp"

#include <utility>

test::mishaps& test::next_mishaps() {
    static mishaps next;
    return next;
}

#if defined(_WIN32)

std::size_t test::system_calls() { return 0; }

#else

#include <poll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <unistd.h>

#if defined(__linux__)
#include <sys/epoll.h>
#include <sys/syscall.h>
#endif

#include <atomic>
#include <cerrno>
#include <cstdlib>

namespace {

std::atomic<std::size_t> count{0};

bool is_interrupted(bool may_block) {
    if (!may_block || !test::next_mishaps().instead_of_a_wait) return false;
    std::exchange(test::next_mishaps().instead_of_a_wait, nullptr)();
    errno = EINTR;
    return true;
}

bool is_refused(int error) {
    errno = error;
    return error != 0;
}

bool may_block(const timespec* time) { return !time || time->tv_sec || time->tv_nsec; }

}  // namespace

std::size_t test::system_calls() { return count; }

// `fails` is a condition under which the call ends with -1 instead, with errno set.
#define WRAP(result, name, parameters, arguments)                                                  \
    WRAP_OR(false, result, name, parameters, arguments)
#define WRAP_OR(fails, result, name, parameters, arguments)                                        \
    extern "C" result __real_##name parameters;                                                    \
    extern "C" result __wrap_##name parameters;                                                    \
    extern "C" result __wrap_##name parameters {                                                   \
        ++count;                                                                                   \
        if (fails) return -1;                                                                      \
        return __real_##name arguments;                                                            \
    }

extern "C" void* __real_realloc(void* block, size_t size);
extern "C" void* __wrap_realloc(void* block, size_t size);
extern "C" void* __wrap_realloc(void* block, size_t size) {
    return test::next_mishaps().no_memory_to_grow ? nullptr : __real_realloc(block, size);
}

WRAP(ssize_t, recv, (int fd, void* data, size_t size, int flags), (fd, data, size, flags))
WRAP(ssize_t, send, (int fd, const void* data, size_t size, int flags), (fd, data, size, flags))
WRAP(ssize_t, recvmsg, (int fd, msghdr* message, int flags), (fd, message, flags))
WRAP(ssize_t, sendmsg, (int fd, const msghdr* message, int flags), (fd, message, flags))
WRAP_OR(is_interrupted(time != 0), int, poll, (pollfd * entries, nfds_t size, int time),
        (entries, size, time))
WRAP_OR(is_interrupted(may_block(time)), int, pselect,
        (int size, fd_set* r, fd_set* w, fd_set* e, const timespec* time, const sigset_t* mask),
        (size, r, w, e, time, mask))
WRAP(ssize_t, read, (int fd, void* data, size_t size), (fd, data, size))
WRAP(ssize_t, write, (int fd, const void* data, size_t size), (fd, data, size))
#if defined(__linux__)
WRAP_OR(is_interrupted(may_block(time)), int, ppoll,
        (pollfd * entries, nfds_t size, const timespec* time, const sigset_t* mask),
        (entries, size, time, mask))
WRAP_OR(is_interrupted(time != 0), int, epoll_wait,
        (int fd, epoll_event* events, int size, int time), (fd, events, size, time))
WRAP_OR(is_refused(test::next_mishaps().pwait2_fails_with) || is_interrupted(may_block(time)), int,
        epoll_pwait2,
        (int fd, epoll_event* events, int size, const timespec* time, const sigset_t* mask),
        (fd, events, size, time, mask))
WRAP(int, epoll_ctl, (int fd, int op, int other, epoll_event* event), (fd, op, other, event))

void (*test::before_io_uring_enter)(int) = nullptr;

extern "C" long __real_syscall(long number, long a, long b, long c, long d, long e, long f);
extern "C" long __wrap_syscall(long number, long a, long b, long c, long d, long e, long f);
extern "C" long __wrap_syscall(long number, long a, long b, long c, long d, long e, long f) {
    ++count;
#if defined(__NR_io_uring_enter)
    if (number == __NR_io_uring_enter && test::before_io_uring_enter)
        test::before_io_uring_enter(static_cast<int>(a));
#endif
    return __real_syscall(number, a, b, c, d, e, f);
}
#endif

#endif
