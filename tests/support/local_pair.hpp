// A stream that is none of TCP's, and its other end.
#pragma once

#if !defined(_WIN32) && !defined(TEST_PLATFORM_QUIRKY)

#include <sys/socket.h>

#include "support/loop.hpp"

namespace test {

struct local_pair {
    tcp::socket socket;
    blocking_socket peer;
};

inline local_pair make_local_pair(io_context& ctx) {
    int ends[2] = {-1, -1};
    REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
    return {tcp::socket::adopt(ctx, ends[0]).value(), blocking_socket(ends[1])};
}

}  // namespace test

#endif
