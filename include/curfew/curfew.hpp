// curfew: asynchronous networking with coroutines and time limits. This header includes all of it.
#pragma once

#include "buffer.hpp"
#include "cancel.hpp"
#include "config.hpp"
#include "error.hpp"
#include "game_clock.hpp"
#include "io_context.hpp"
#include "ip/address.hpp"
#include "ip/endpoint.hpp"
#include "join_handle.hpp"
#include "result.hpp"
#include "sleep.hpp"
#include "stream.hpp"
#include "task.hpp"
#include "tcp.hpp"
#include "timeout.hpp"
#include "udp.hpp"
