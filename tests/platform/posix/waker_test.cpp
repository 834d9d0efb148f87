// The waker is used by signal handlers, too.
#if !defined(_WIN32) && !defined(TEST_PLATFORM_QUIRKY)

#include <curfew/platform/platform.hpp>  // which is posix.hpp here

#include <cerrno>

#include "support/fatal.hpp"
#include "support/loop.hpp"

using namespace test;

#if TEST_HAS_SIGNALS
REACTOR_TEST("stop() leaves errno alone, however often it is called") {
    io_context ctx(kind);
    for (int i = 0; i < 20'000; ++i) {
        errno = 77;
        ctx.stop();
        if (errno != 77) break;
    }
    CHECK(errno == 77);
    ctx.run();
}
#endif

#endif
