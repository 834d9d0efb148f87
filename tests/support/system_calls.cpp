#include "system_calls.hpp"

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

namespace {
std::atomic<std::size_t> count{0};
}

std::size_t test::system_calls() { return count; }

#define WRAP(result, name, parameters, arguments)                                                  \
    extern "C" result __real_##name parameters;                                                    \
    extern "C" result __wrap_##name parameters;                                                    \
    extern "C" result __wrap_##name parameters {                                                   \
        ++count;                                                                                   \
        return __real_##name arguments;                                                            \
    }

WRAP(ssize_t, recv, (int fd, void* data, size_t size, int flags), (fd, data, size, flags))
WRAP(ssize_t, send, (int fd, const void* data, size_t size, int flags), (fd, data, size, flags))
WRAP(ssize_t, recvmsg, (int fd, msghdr* message, int flags), (fd, message, flags))
WRAP(ssize_t, sendmsg, (int fd, const msghdr* message, int flags), (fd, message, flags))
WRAP(int, poll, (pollfd * entries, nfds_t size, int time), (entries, size, time))
WRAP(int, pselect,
     (int size, fd_set* r, fd_set* w, fd_set* e, const timespec* time, const sigset_t* mask),
     (size, r, w, e, time, mask))
WRAP(ssize_t, read, (int fd, void* data, size_t size), (fd, data, size))
WRAP(ssize_t, write, (int fd, const void* data, size_t size), (fd, data, size))
#if defined(__linux__)
WRAP(int, ppoll, (pollfd * entries, nfds_t size, const timespec* time, const sigset_t* mask),
     (entries, size, time, mask))
WRAP(int, epoll_wait, (int fd, epoll_event* events, int size, int time), (fd, events, size, time))
WRAP(int, epoll_pwait2,
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
