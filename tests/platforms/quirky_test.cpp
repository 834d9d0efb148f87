// What a console may do to select and poll, each alone and all together.
#include <array>
#include <chrono>
#include <memory>
#include <string>
#include <thread>

#include <curfew/reactor/wait_for_one.hpp>

#include "support/victims.hpp"

using namespace test;

namespace {

/// While it lives, the console has these quirks only.
class only {
public:
    explicit only(unsigned which) { console::set_quirks(which); }
    ~only() { console::set_quirks(before_); }
    only(const only&) = delete;
    only& operator=(const only&) = delete;

private:
    unsigned before_ = console::quirks();
};

/// Waits that happen within 100 ms in a loop with nothing to do.
std::size_t waits_of_an_idle_loop(io_context& ctx) {
    const auto before = console::waits();
    ctx.run_for(100ms);
    return console::waits() - before;
}

// A rest lasts 16 ms in the end, and is a wait of its own.
constexpr std::size_t few_waits = 40;

}  // namespace

REACTOR_TEST("each quirk alone: a hundred peers reset theirs, nobody else notices") {
    for (unsigned quirk = 1; quirk < console::all_quirks; quirk <<= 1) {
        CAPTURE(quirk);
        const only this_one(quirk);
        check_victims(kind, 30);
        const only with_failures(quirk | console::failing_waits);
        check_victims(kind, 30);
    }
}

REACTOR_TEST("what was ready in the last wait is not taken for what is ready in this one") {
    const only this_one(console::untouched_revents);
    run(kind, [&](io_context& ctx) -> task<> {
        blocking_listener listener;
        auto [other, other_peer] = co_await test::connect(ctx, listener);
        auto [half, half_peer] = co_await test::connect(ctx, listener);
        auto [trigger, trigger_peer] = co_await test::connect(ctx, listener);
        const auto read_all = [](tcp::socket& s) -> task<result<std::size_t>> {
            std::array<char, 8> buffer;
            co_return co_await with_timeout(read_exactly(s, buffer), 10s);
        };
        auto others = ctx.spawn(read_all(other));
        auto halves = ctx.spawn(read_all(half));
        // The next wait marks two sockets. The one goes on waiting; the other goes, and the wait
        // after that marks the third.
        ctx.post([&one = half_peer, &two = trigger_peer] {
            CHECK(one.send("half") == 0);
            CHECK(two.send("go") == 0);
        });
        std::array<char, 8> buffer;
        CHECK((co_await trigger.read_some(buffer)).value() == 2);
        CHECK(other_peer.send("are you?") == 0);
        CHECK((co_await others).value() == 8);
        CHECK(half_peer.send("rest") == 0);
        CHECK((co_await halves).value() == 8);
    });
}

REACTOR_TEST("the error of one is seen although others are ready all the time") {
    const only these(console::failing_waits | console::no_pollerr);
    run(kind, [&](io_context& ctx) -> task<> {
        blocking_listener listener;
        auto [busy, busy_peer] = co_await test::connect(ctx, listener);
        auto [victim, victim_peer] = co_await test::connect(ctx, listener);
        bool over = false;
        auto reading = ctx.spawn([](tcp::socket& s, blocking_socket& peer, bool& end) -> task<> {
            std::array<char, 1> one;
            while (!end) {  // what one read leaves makes the next wait succeed
                CHECK(peer.send("xx") == 0);
                (co_await s.wait(readable)).value();
                (co_await s.read_some(one)).value();
                co_await yield();
            }
        }(busy, busy_peer, over));
        ctx.post([&peer = victim_peer] { peer.reset(); });
        std::array<char, 8> buffer;
        CHECK((co_await with_timeout(victim.read_some(buffer), 10s)).error() ==
              std::errc::connection_reset);
        over = true;
        co_await reading;
    });
}

REACTOR_TEST("a failure that does not say why is not taken for what went wrong before") {
    const only this_one(console::unexplained_failures);
    run(kind, [](io_context&) -> task<> {
        for (int i = 0; i < 40; ++i) {
            console::last_error() = console::error::inval;
            CHECK((co_await sleep_for(100us)).ok());
        }
    });
}

REACTOR_TEST("a look that is interrupted is made again") {
    const only none(0);
    io_context ctx(kind);
    auto pair = ctx.block_on(test::connect(ctx));
    auto reading = ctx.spawn([](tcp::socket& s) -> task<> {
        std::array<char, 8> buffer;
        (co_await s.read_some(buffer)).value();
    }(pair.client));
    ctx.poll();
    ctx.block_on(
        [](tcp::socket& s) -> task<> { (co_await write_all(s, "x")).value(); }(pair.server));
    for (const int error : {console::error::intr, console::error::nomem}) {
        console::fail_waits(error, error == console::error::intr ? 3 : 1);
        ctx.poll();
        CHECK(reading.done());
    }
}

REACTOR_TEST("a wait without descriptors is never made") {
    const only this_one(console::empty_waits_fail);
    run(kind, [](io_context&) -> task<> { CHECK((co_await sleep_for(2ms)).ok()); });
}

REACTOR_TEST("an error that no operation takes makes no spin, and stops nobody") {
    const only none(0);
    io_context ctx(kind);
    blocking_listener listener;
    auto stuck = ctx.block_on(test::connect(ctx, listener));
    auto other = ctx.block_on(test::connect(ctx, listener));
    console::stick_error(static_cast<int>(stuck.socket.native_handle()), console::error::connreset);
    std::array<char, 8> buffer;
    auto reading = ctx.spawn([](tcp::socket& s, std::span<char> b) -> task<result<std::size_t>> {
        co_return co_await s.read_some(b);
    }(stuck.socket, buffer));
    victim echoing;
    ctx.spawn(echo_until_error(std::move(other.socket), echoing));
    const auto lone = console::lone_waits();
    CHECK(waits_of_an_idle_loop(ctx) < few_waits);

    CHECK(console::lone_waits() > lone + 2);  // it rests with an ear for its waker

    // Limits and posts come through, and so does the other connection.
    ctx.block_on([]() -> task<> {
        const auto start = clock::now();
        CHECK((co_await sleep_for(5ms)).ok());
        CHECK(clock::now() - start >= 5ms);
        // No rest is longer than what is left until then.
        (void)console::longest_lone_wait();
        for (int i = 0; i < 20; ++i) CHECK((co_await sleep_for(2ms)).ok());
        CHECK(console::longest_lone_wait() <= 2);
    }());
    std::thread peer([&] {
        for (int i = 0; i < 20; ++i) {
            CHECK(other.peer.send("are you?") == 0);
            CHECK(other.peer.receive_all(8).bytes == "are you?");
        }
        ctx.post([&] { ctx.stop(); });
    });
    ctx.run();
    peer.join();
    CHECK(echoing.rounds == 20);
    CHECK_FALSE(echoing.end);
    CHECK(waits_of_an_idle_loop(ctx) < few_waits);  // with nothing left in the waker

    // The one with the error is none the worse for it.
    CHECK_FALSE(reading.done());
    CHECK(stuck.peer.send("hello") == 0);
    CHECK(ctx.block_on([](auto& handle) -> task<result<std::size_t>> {
                 co_return co_await handle;
             }(reading))
              .value() == 5);
}

REACTOR_TEST(
    "waits that always fail, for a reason that is nobody's, make no spin and stop nobody") {
    const only none(0);
    for (const int error : {console::error::nomem, console::error::nobufs, console::error::again,
                            console::error::badf, console::error::notsock, console::error::intr,
                            console::error::hostunreach, console::error::notconn, 4711, 0}) {
        CAPTURE(error);
        io_context ctx(kind);
        auto pair = ctx.block_on(test::connect(ctx));
        victim echoing;
        ctx.spawn(echo_until_error(std::move(pair.server), echoing));
        auto echo = [](tcp::socket& client) -> task<> {
            std::array<char, 8> buffer;
            CHECK((co_await with_timeout(client.read_some(buffer), 5ms)).error() ==
                  errc::timed_out);
            (co_await write_all(client, "are you?")).value();
            CHECK((co_await with_timeout(read_exactly(client, buffer), 10s)).value() == 8);
        };
        console::fail_waits(error, -1);
        CHECK(waits_of_an_idle_loop(ctx) < 2 * few_waits);
        ctx.block_on(echo(pair.client));
        console::fail_waits(error, 5);
        ctx.block_on(echo(pair.client));
        console::fail_waits(0, 0);
        CHECK(echoing.rounds == 2);
        CHECK_FALSE(echoing.end);
    }
}

REACTOR_TEST("a wait for readiness is not told of failures that are nobody's") {
    const only none(0);
    run(kind, [&](io_context& ctx) -> task<> {
        auto [client, server] = co_await test::connect(ctx);
        for (const int error :
             {console::error::nomem, console::error::nobufs, console::error::again,
              console::error::badf, console::error::notsock, console::error::intr, 0}) {
            CAPTURE(error);
            console::fail_waits(error, 5);
            CHECK((co_await with_timeout(client.wait(readable), 40ms)).error() == errc::timed_out);
            console::fail_waits(error, 5);
            (co_await write_all(server, "x")).value();
            CHECK((co_await with_timeout(client.wait(readable), 10s)).ok());
            std::array<char, 8> buffer;
            CHECK((co_await client.read_some(buffer)).value() == 1);
        }
        console::fail_waits(0, 0);
    });
}

TEST_CASE("a signal that cannot be sent at once is sent all the same") {
    platform::waker waker;
    for (const int error : {console::error::nobufs, console::error::nomem, console::error::intr}) {
        console::fail_sends(error, 3);
        waker.signal();
        int ready = 0;
        const only none(0);
        detail::wait_for_one(waker.handle(), readiness::readable, 10s, ready);
        CHECK(ready == 1);
        waker.drain();
    }
}

#if CURFEW_EXCEPTIONS
REACTOR_TEST("what is wrong with the call itself is the loop's own failure, and run() says so") {
    const only none(0);
    for (const int error : {console::error::inval, console::error::fault, console::error::perm}) {
        io_context ctx(kind);
        ctx.spawn([]() -> task<> { (void)co_await sleep_for(1h); }());
        console::fail_waits(error, 1);
        std::error_code reported;
        try {
            ctx.run();
        } catch (const std::system_error& e) {
            reported = e.code();
        }
        CHECK(reported == platform::error_code(error));
    }
}
#endif

REACTOR_TEST("a refused connect is told apart from the others, whoever is asked first") {
    run(kind, [&](io_context& ctx) -> task<> {
        auto [client, server] = co_await test::connect(ctx);
        auto reading = ctx.spawn([](tcp::socket& s) -> task<result<std::size_t>> {
            std::array<char, 8> buffer;
            co_return co_await read_exactly(s, buffer);
        }(client));
        for (int i = 0; i < 20; ++i) {
            tcp::socket refused(ctx);
            CHECK((co_await refused.connect(closed_port())).error() ==
                  std::errc::connection_refused);
            CHECK_FALSE(refused.is_open());
        }
        (co_await write_all(server, "are you?")).value();
        CHECK((co_await reading).value() == 8);
    });
}

TEST_CASE("the console's errors are the standard's conditions, and say what they are") {
    const auto reset = platform::error_code(console::error::connreset);
    CHECK(reset == std::errc::connection_reset);
    CHECK(reset.message() == std::make_error_code(std::errc::connection_reset).message());
    CHECK(std::string(reset.category().name()) == "console");
    CHECK(platform::error_code(console::error::again) == std::errc::operation_would_block);
    CHECK(platform::error_code(4711).message() == "console error 4711");
}
