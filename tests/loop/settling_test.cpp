#include <curfew/loop/settling.hpp>

#include <doctest/doctest.h>

#include <system_error>

#include <curfew/curfew.hpp>

#include "support/reactors.hpp"
#include "support/watched_reactor.hpp"

using namespace curfew;
using namespace std::chrono_literals;
using test::watched;

REACTOR_TEST("only a run that is to last settles in its thread, and it moves out at its end") {
    watched own(kind);
    own.log->keep_waits = false;
    const auto last = [&own](bool fail) {
        own.ctx.spawn([](bool throws) -> task<> {
            for (int i = 0; i < CURFEW_SETTLE_AFTER + 200; ++i) co_await yield();
            if (throws) detail::raise(std::make_error_code(std::errc::io_error), "at the end");
        }(fail));
    };
    last(false);
    CHECK(own.ctx.run_for(1h) > CURFEW_SETTLE_AFTER);
    last(false);
    while (own.ctx.poll() > 0) {}
    last(false);
    while (own.ctx.run_one() > 0) {}
    CHECK(own.log->settled == 0);
    if (CURFEW_SETTLE_AFTER > 0) own.ctx.run();
    CHECK(own.log->settled == 0);

    last(false);
    own.ctx.run();
    CHECK(own.log->settled == 1);
    CHECK(own.log->unsettled == 1);
    // One within the other: it is the outermost that moves out.
    last(false);
    own.ctx.post([&] {
        last(false);
        own.ctx.run();
        CHECK(own.log->settled == 2);
        own.ctx.run_one();
        CHECK(own.log->unsettled == 1);
    });
    own.ctx.run();
    CHECK(own.log->settled == 2);
    CHECK(own.log->unsettled == 2);
#if CURFEW_EXCEPTIONS
    last(true);
    CHECK_THROWS_AS(own.ctx.run(), std::system_error);
    CHECK(own.log->settled == 3);
    CHECK(own.log->unsettled == 3);
#endif
}
