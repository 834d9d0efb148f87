// Chooses the platform header: the only files that include the system's socket headers.
//
// A port to another system is one more header like posix.hpp; a program names it with
// CURFEW_PLATFORM_HEADER (with its quotes or angle brackets) and the library uses nothing else.
#pragma once

#if defined(CURFEW_PLATFORM_HEADER)
#include CURFEW_PLATFORM_HEADER
#elif defined(_WIN32)
#include "winsock.hpp"
#else
#include "posix.hpp"
#endif

#if defined(CURFEW_LOOPBACK_WAKER)  // the platform header has no waker of its own
#include "loopback_waker.hpp"
#endif
