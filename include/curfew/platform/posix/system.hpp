// The headers of a POSIX system, what there is of it, and what a socket is to it.
#pragma once

#include <arpa/inet.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <cstddef>

#define CURFEW_HAS_POLL 1
#define CURFEW_HAS_SELECT 1
#define CURFEW_HAS_LOCAL 1
#define CURFEW_HAS_SOCKADDR 1
#define CURFEW_HAS_FILES 1
#if defined(__linux__) && !defined(CURFEW_POSIX_ONLY)
#define CURFEW_HAS_EPOLL 1
#if __has_include(<linux/io_uring.h>)
#include <linux/version.h>
#if LINUX_VERSION_CODE >= KERNEL_VERSION(5, 13, 0)  // of the headers, which lack too much before
#define CURFEW_HAS_IO_URING 1
#endif
#endif
#if __has_include(<linux/errqueue.h>)
#include <linux/errqueue.h>
#define CURFEW_HAS_ERROR_QUEUE 1
#endif
#include <sys/eventfd.h>
#endif

#include "../../config.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew::platform {

using socket_handle = int;
inline constexpr socket_handle invalid_socket = -1;

/// Buffers that one call moves at most; longer lists are continued by the next call.
inline constexpr std::size_t max_buffers = 16;

}  // namespace curfew::platform
