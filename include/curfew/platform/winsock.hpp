// The socket calls of Windows: Winsock 2.
//
// Every call is made without blocking and returns the error number of WSAGetLastError() (0: it
// succeeded). Winsock is started with the first socket, once, and never ended: other threads may
// use it until the process is gone.
#pragma once

#include "winsock/system.hpp"
// After it, so that what it defines for the system's headers is taken back whole:
#include "winsock/addresses.hpp"
#include "winsock/errors.hpp"
#include "winsock/local.hpp"
#include "winsock/multicast.hpp"
#include "winsock/options.hpp"
#include "winsock/resolve.hpp"
#include "winsock/signals.hpp"
#include "winsock/sockets.hpp"
#include "winsock/threads.hpp"
#include "winsock/time.hpp"
#include "winsock/transfer.hpp"
#include "winsock/waiting.hpp"

CURFEW_SYSTEM_HEADER
