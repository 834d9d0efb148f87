// The headers of Winsock, what there is of it, and what a socket is to it.
#pragma once

#if defined(_WINSOCKAPI_) && !defined(_WINSOCK2API_)
#error "curfew: <windows.h> has brought in Winsock 1; include curfew, or <winsock2.h>, before it"
#endif

// The lean part of <windows.h>, which <winsock2.h> includes, without macros named `min` and `max`.
// A program that includes <windows.h> itself, before or after, gets all that it always gets.
#if !defined(_WINDOWS_)
#if !defined(WIN32_LEAN_AND_MEAN)
#define WIN32_LEAN_AND_MEAN
#define CURFEW_DEFINED_LEAN
#endif
#if !defined(NOMINMAX)
#define NOMINMAX
#define CURFEW_DEFINED_NOMINMAX
#endif
#endif
#include <winsock2.h>
// After it:
#include <mswsock.h>
#include <ws2tcpip.h>
#if defined(CURFEW_DEFINED_LEAN)  // then it may be included again, for the rest
#undef WIN32_LEAN_AND_MEAN
#undef CURFEW_DEFINED_LEAN
#undef _WINDOWS_
#undef _INC_WINDOWS
#endif
#if defined(CURFEW_DEFINED_NOMINMAX)
#undef NOMINMAX
#undef CURFEW_DEFINED_NOMINMAX
#endif

#include <cstddef>

#if defined(_MSC_VER)
#pragma comment(lib, "ws2_32.lib")
#pragma comment(lib, "iphlpapi.lib")
#endif

#define CURFEW_HAS_POLL 1
#define CURFEW_HAS_SELECT 1
#define CURFEW_HAS_IOCP 1
#define CURFEW_HAS_LOCAL 1
#define CURFEW_HAS_SOCKADDR 1
// There is nothing else that `select` and `WSAPoll` wait for.
#define CURFEW_LOOPBACK_WAKER 1

// GCC's threads free `thread_local` variables before they run their destructors here.
#if defined(__GNUC__) && !defined(__clang__)
#define CURFEW_EMULATED_THREAD_LOCAL 1
#endif

#include "../../config.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew::platform {

using socket_handle = SOCKET;
inline constexpr socket_handle invalid_socket = INVALID_SOCKET;

/// Buffers that one call moves at most; longer lists are continued by the next call.
inline constexpr std::size_t max_buffers = 16;

}  // namespace curfew::platform
