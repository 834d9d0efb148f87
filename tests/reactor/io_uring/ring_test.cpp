// The raw ring.
#include <curfew/reactor/io_uring/ring.hpp>

#if defined(CURFEW_HAS_IO_URING)

#include "support/loop.hpp"

using namespace test;

TEST_CASE("a ring has as many entries as the system allows, however many are asked for") {
    for (const unsigned entries : {~0u, 1u << 28, (1u << 28) + 1}) {
        const detail::uring::ring large(entries, detail::uring::ring::users::any_thread);
        CHECK(large.error() == 0);
    }
}

#endif
