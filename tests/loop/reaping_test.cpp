#include <curfew/loop/reaping.hpp>

#include <doctest/doctest.h>

#include <array>
#include <memory>
#include <utility>

#include <curfew/curfew.hpp>

#include "support/command_reactor.hpp"

using namespace curfew;
using namespace std::chrono_literals;
using test::command_reactor;

namespace {

/// Notes, when the frame that it is in is destroyed, what the reactor has not let go of by then.
struct witness {
    command_reactor& reactor;
    int& frames;
    ~witness() {
        CHECK(reactor.pending.empty());
        ++frames;
    }
};

task<> read(tcp::socket& socket, command_reactor& reactor, int& frames) {
    const witness at_end{reactor, frames};
    std::array<std::byte, 10> buffer;
    (void)co_await socket.read_some(buffer);
    FAIL_CHECK("it is destroyed where it waits");
}

/// A reactor that takes some waits to let go of what was cancelled.
struct slow_context {
    command_reactor* const reactor = new command_reactor;
    io_context ctx{std::unique_ptr<curfew::reactor>(reactor)};
    int waits = 0;

    slow_context() {
        reactor->cancel_at_once = false;
        reactor->in_wait = [this](command_reactor&, completions& done) { look(done); };
    }

    void look(completions& done) {
        if (!reactor->cancelled.empty() && ++waits % 3 == 0)
            reactor->complete(*reactor->cancelled.back(), done, outcome::canceled, 0);
        reactor->in_wait = [this](command_reactor&, completions& to) { look(to); };
    }
};

}  // namespace

TEST_CASE("the system is done: a context that ends waits for that before it destroys a frame") {
    int frames = 0;
    {
        slow_context slow;
        tcp::socket socket = test::open_socket(slow.ctx);
        tcp::socket other = test::open_socket(slow.ctx);
        slow.ctx.spawn(read(socket, *slow.reactor, frames));
        slow.ctx.spawn(read(other, *slow.reactor, frames));
        slow.ctx.poll();
        CHECK(slow.reactor->pending.size() == 2);
        CHECK(frames == 0);
    }
    CHECK(frames == 2);
}

#if CURFEW_EXCEPTIONS  // block_on says that it was stopped
TEST_CASE(
    "the system is done: a task that is destroyed waits for that, and nobody runs meanwhile") {
    slow_context slow;
    int frames = 0;
    int steps = 0;
    tcp::socket socket = test::open_socket(slow.ctx);
    slow.ctx.spawn([](int& count) -> task<> {
        for (;;) {
            ++count;
            if (const auto [ec] = co_await yield(); ec) break;
        }
    }(steps));
    int at_end = 0;
    slow.ctx.spawn([](io_context& ctx) -> task<> {
        co_await yield();
        ctx.stop();
    }(slow.ctx));
    CHECK_THROWS(slow.ctx.block_on(
        [](tcp::socket& from, command_reactor& reactor, int& count, int& now, int& then) -> task<> {
            struct note_steps {
                int& from;
                int& to;
                ~note_steps() { to = from; }
            } const last{now, then};
            co_await read(from, reactor, count);
        }(socket, *slow.reactor, frames, steps, at_end)));
    CHECK(frames == 1);
    CHECK(slow.waits >= 3);
    CHECK(at_end == steps);
}
#endif
