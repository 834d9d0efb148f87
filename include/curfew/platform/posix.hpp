// The socket calls of POSIX systems: Linux, macOS, the BSDs and their relatives.
//
// Every call is made without blocking, retries EINTR, never raises SIGPIPE, and returns the
// system's error number (0: it succeeded) instead of setting errno. What only Linux has is used
// where it exists; CURFEW_POSIX_ONLY builds the replacements on Linux too, so that they are tested.
#pragma once

#include "posix/addresses.hpp"
#include "posix/datagrams.hpp"
#include "posix/error_queue.hpp"
#include "posix/errors.hpp"
#include "posix/files.hpp"
#include "posix/local.hpp"
#include "posix/multicast.hpp"
#include "posix/options.hpp"
#include "posix/resolve.hpp"
#include "posix/signals.hpp"
#include "posix/sockets.hpp"
#include "posix/system.hpp"
#include "posix/threads.hpp"
#include "posix/time.hpp"
#include "posix/transfer.hpp"
#include "posix/waiting.hpp"
#include "posix/waker.hpp"

CURFEW_SYSTEM_HEADER
