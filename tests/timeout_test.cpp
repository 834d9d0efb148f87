// Limits: the table of the two policies and its guarantees.
#include <curfew/timeout.hpp>

#include <array>
#include <chrono>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "support/counted.hpp"
#include "support/crowd.hpp"
#include "support/effort.hpp"
#include "support/loop.hpp"
#include "support/small_stack.hpp"
#include "support/watched_reactor.hpp"

using namespace test;

namespace {

std::string text(const auto& buffer, std::size_t size) {
    return std::string(reinterpret_cast<const char*>(buffer.data()), size);
}

// Both of CPython's cases: a server that accepts, waits past the client's limit, and sends.
struct slow_server {
    blocking_listener listener;
    int send_error = -1;
    std::string heard;
    int receive_error = -1;
    std::thread thread;

    explicit slow_server(std::chrono::milliseconds delay)
        : thread([this, delay] {
              auto peer = listener.accept();
              std::this_thread::sleep_for(delay);
              send_error = peer.send("done!");
              auto got = peer.receive();
              heard = got.bytes;
              receive_error = got.error;
          }) {}
    ~slow_server() {
        if (thread.joinable()) thread.join();
    }
};

}  // namespace

REACTOR_TEST("without a limit the client gets what a slow server sends") {
    slow_server server(50ms);
    run(kind, [&](io_context& ctx) -> task<> {
        tcp::socket client(ctx);
        (co_await client.connect(server.listener.endpoint())).value();
        std::array<char, 16> buffer;
        auto [ec, n] = co_await client.read_some(buffer);
        CHECK_FALSE(ec);
        CHECK(text(buffer, n) == "done!");
    });
}

REACTOR_TEST("after a limit with `cancel` the server's send succeeds and the client reads it") {
    slow_server server(60ms);
    run(kind, [&](io_context& ctx) -> task<> {
        tcp::socket client(ctx);
        (co_await client.connect(server.listener.endpoint())).value();
        std::array<char, 16> buffer;
        auto [ec, n] = co_await with_timeout(client.read_some(buffer), 10ms);
        CHECK(ec == errc::timed_out);
        CHECK(n == 0);
        auto [late, m] = co_await client.read_some(buffer);
        CHECK_FALSE(late);
        CHECK(text(buffer, m) == "done!");
        CHECK((co_await write_all(client, "thanks")).ok());
        client.shutdown(shutdown_how::send);
    });
    server.thread.join();
    CHECK(server.send_error == 0);
    CHECK(server.heard == "thanks");
}

REACTOR_TEST("after a limit with `close` the server sees a reset and the socket is closed") {
    slow_server server(60ms);
    run(kind, [&](io_context& ctx) -> task<> {
        tcp::socket client(ctx);
        (co_await client.connect(server.listener.endpoint())).value();
        std::array<char, 16> buffer;
        auto [ec, n] = co_await with_timeout(client.read_some(buffer), 10ms, on_timeout::close);
        CHECK(ec == errc::timed_out);
        CHECK_FALSE(client.is_open());
        CHECK((co_await client.read_some(buffer)).error() == errc::closed);
        CHECK((co_await write_all(client, "x")).error() == errc::closed);
        CHECK((co_await client.wait(readable)).error() == errc::closed);
        CHECK(client.no_delay(true).error() == errc::closed);
        CHECK(client.local_endpoint().is_unspecified());
    });
    server.thread.join();
    CHECK(server.send_error == native::connection_reset);
}

REACTOR_TEST("a limit fires in a loop that always finds something to do") {
    for (const auto time : {0ms, 2ms}) {
        io_context ctx(kind);
        bool end = false;
        ctx.spawn([](io_context& own, bool& stop) -> task<> {
            auto [client, server] = co_await connect(own);
            std::array<char, 8> buffer;
            for (int i = 0; i < 1'000'000 && !stop; ++i) {
                (co_await client.write_some("x")).value();
                (co_await with_timeout(server.read_some(buffer), 1h)).value();
                own.now();  // somebody may ask for the time in every turn
            }
            CHECK(stop);
        }(ctx, end));
        ctx.block_on([](io_context& own, std::chrono::milliseconds limit, bool& fired) -> task<> {
            auto [client, server] = co_await connect(own);
            std::array<char, 8> buffer;
            const auto start = std::chrono::steady_clock::now();
            auto [ec, n] = co_await with_timeout(client.read_some(buffer), limit);
            CHECK(ec == errc::timed_out);
            CHECK(std::chrono::steady_clock::now() - start >= limit);
            fired = true;
        }(ctx, time, end));
        CHECK(end);
        ctx.run();
    }
}

REACTOR_TEST("a limit that does not expire leaves the result alone") {
    run(kind, [&](io_context& ctx) -> task<> {
        auto [client, server] = co_await test::connect(ctx);
        std::array<char, 16> buffer;
        (co_await write_all(server, "early")).value();
        auto [ec, n] = co_await with_timeout(client.read_some(buffer), 10s);
        CHECK_FALSE(ec);
        CHECK(text(buffer, n) == "early");
        ctx.spawn([](tcp::socket& peer) -> task<> {
            (void)co_await sleep_for(5ms);
            (co_await write_all(peer, "later")).value();
        }(server));
        auto [ec2, m] = co_await with_timeout(client.read_some(buffer), 10s, on_timeout::close);
        CHECK_FALSE(ec2);
        CHECK(text(buffer, m) == "later");
        CHECK(client.is_open());
        CHECK_FALSE(ctx.next_deadline().has_value());
    });
}

REACTOR_TEST("zero and negative limits give one try") {
    const honest_system now;
    run(kind, [&](io_context& ctx) -> task<> {
        auto [client, server] = co_await test::connect(ctx);
        std::array<char, 16> buffer;
        CHECK((co_await with_timeout(client.read_some(buffer), 0s)).error() == errc::timed_out);
        CHECK((co_await with_timeout(client.read_some(buffer), -1h)).error() == errc::timed_out);
        CHECK((co_await with_deadline(client.read_some(buffer), clock::now() - 1h)).error() ==
              errc::timed_out);
        CHECK(
            (co_await with_deadline(client.read_some(buffer), clock::time_point::min())).error() ==
            errc::timed_out);
        (co_await write_all(server, "there")).value();
        auto [ec, n] = co_await with_timeout(client.read_some(buffer), -1s);
        CHECK_FALSE(ec);
        CHECK(text(buffer, n) == "there");
        (co_await write_all(server, "again")).value();
        auto [ec2, m] = co_await with_timeout(client.read_some(buffer), 0s);
        CHECK_FALSE(ec2);
        CHECK(text(buffer, m) == "again");
    });
}

REACTOR_TEST("a task under a zero limit runs until it would have to wait") {
    const honest_system now;
    run(kind, [&](io_context& ctx) -> task<> {
        auto [client, server] = co_await test::connect(ctx);
        (co_await write_all(server, "ab")).value();
        std::string seen;
        auto reader = [&]() -> task<result<>> {
            std::array<char, 1> one;
            for (;;) {
                auto [ec, n] = co_await client.read_some(one);
                if (ec) co_return ec;
                seen += one[0];
            }
        };
        CHECK((co_await with_timeout(reader(), 0s)).error() == errc::timed_out);
        CHECK(seen ==
              (kind == reactor_kind::io_uring ? "a" : "ab"));  // each waits for its completion
    });
}

REACTOR_TEST("limits that are longer than the clock can count never fire") {
    run(kind, [&](io_context& ctx) -> task<> {
        auto [client, server] = co_await test::connect(ctx);
        (void)co_await sleep_for(0s);
        std::array<char, 16> buffer;
        ctx.spawn([](tcp::socket& peer) -> task<> {
            (void)co_await sleep_for(5ms);
            (co_await write_all(peer, "x")).value();
        }(server));
        auto [ec, n] = co_await with_deadline(
            with_timeout(with_timeout(client.read_some(buffer), std::chrono::hours::max()),
                         std::chrono::duration<double>(1e300)),
            clock::time_point::max());
        CHECK_FALSE(ec);
    });
}

REACTOR_TEST("limits on connect, accept, wait, sleep and receive_from") {
    run(kind, [&](io_context& ctx) -> task<> {
        // A listener whose queue is full neither accepts nor refuses.
        blocking_listener unused;
        tcp::acceptor full(ctx);
        full.listen(any_port(), {.backlog = 0}).value();
        std::vector<tcp::socket> waiting;
        bool timed_out = false;
        for (int i = 0; i < 10 && !timed_out; ++i) {
            waiting.emplace_back(ctx);
            auto [ec] = co_await with_timeout(waiting.back().connect(full.local_endpoint()), 20ms);
            timed_out = ec == errc::timed_out;
            if (timed_out) CHECK_FALSE(waiting.back().is_open());
        }
        CHECK(timed_out);

        tcp::acceptor acceptor(ctx);
        acceptor.listen(any_port()).value();
        CHECK((co_await with_timeout(acceptor.accept(), 2ms)).error() == errc::timed_out);
        tcp::socket client(ctx);
        (co_await client.connect(acceptor.local_endpoint())).value();
        auto [ec, server] = co_await with_timeout(acceptor.accept(), 10s);
        CHECK_FALSE(ec);
        CHECK(server.remote_endpoint() == client.local_endpoint());
        CHECK((co_await with_timeout(acceptor.accept(), 2ms, on_timeout::close)).error() ==
              errc::timed_out);
        CHECK((co_await acceptor.accept()).error() == errc::closed);

        CHECK((co_await with_timeout(client.wait(readable), 2ms)).error() == errc::timed_out);
        CHECK((co_await with_timeout(client.wait(writable), 10s)).ok());
        CHECK((co_await with_timeout(sleep_for(10s), 2ms)).error() == errc::timed_out);
        CHECK((co_await with_timeout(sleep_for(1ms), 10s)).ok());

        udp::socket udp(ctx);
        udp.bind(any_port()).value();
        std::array<char, 16> buffer;
        ip::endpoint sender;
        CHECK((co_await with_timeout(udp.receive_from(buffer, sender), 2ms)).error() ==
              errc::timed_out);
        CHECK((co_await udp.send_to("self", udp.local_endpoint())).value() == 4);
        CHECK((co_await with_timeout(udp.receive_from(buffer, sender), 10s)).value() == 4);
        CHECK(sender == udp.local_endpoint());
    });
}

REACTOR_TEST("a timed-out write_all says how many bytes went, and the rest can follow") {
    run(kind, [&](io_context& ctx) -> task<> {
        blocking_listener listener;
        auto [socket, peer] = co_await test::connect(ctx, listener);
        socket.send_buffer_size(64 * 1024);
        std::string data(8 << 20, ' ');  // more than the system's buffers hold
        for (std::size_t i = 0; i < data.size(); ++i) data[i] = static_cast<char>(i * 7 / 3);
        auto [ec, sent] = co_await with_timeout(write_all(socket, data), 20ms);
        CHECK(ec == errc::timed_out);
        CHECK(sent > 0);
        CHECK(sent < data.size());
        std::string received;
        std::thread reader([&, &from = peer] { received = from.receive_all(data.size()).bytes; });
        auto [ec2, rest] = co_await write_all(socket, std::string_view(data).substr(sent));
        CHECK_FALSE(ec2);
        CHECK(sent + rest == data.size());
        reader.join();
        CHECK((received == data));
    });
}

REACTOR_TEST("a timed-out read_exactly keeps and counts what had come") {
    run(kind, [&](io_context& ctx) -> task<> {
        auto [client, server] = co_await test::connect(ctx);
        std::array<char, 10> buffer{};
        (co_await write_all(server, "0123")).value();
        auto [ec, n] = co_await with_timeout(read_exactly(client, buffer), 5ms);
        CHECK(ec == errc::timed_out);
        CHECK(text(buffer, n) == "0123");
        (co_await write_all(server, "456789")).value();
        auto [ec2, m] = co_await read_exactly(client, std::span(buffer).subspan(n));
        CHECK_FALSE(ec2);
        CHECK(text(buffer, 10) == "0123456789");
    });
}

REACTOR_TEST("`close` around a task aborts the socket that is pending in it, and cancels sleeps") {
    run(kind, [&](io_context& ctx) -> task<> {
        blocking_listener listener;
        auto [socket, peer] = co_await test::connect(ctx, listener);
        auto [other, other_peer] = co_await test::connect(ctx, listener);
        std::array<char, 16> buffer;
        auto session = [&, &s = socket]() -> task<result<std::size_t>> {
            co_return co_await s.read_some(buffer);
        };
        auto [ec, n] = co_await with_timeout(session(), 2ms, on_timeout::close);
        CHECK(ec == errc::timed_out);
        CHECK_FALSE(socket.is_open());
        CHECK(peer.receive().error == native::error_after_reset());

        auto sleeper = []() -> task<result<>> { co_return co_await sleep_for(10s); };
        CHECK((co_await with_timeout(sleeper(), 2ms, on_timeout::close)).error() ==
              errc::timed_out);
        CHECK(other.is_open());
        (co_await write_all(other, "fine")).value();
        CHECK(other_peer.receive().bytes == "fine");
    });
}

REACTOR_TEST("`close` around a task that reads and writes one socket says canceled to both") {
    run(kind, [&](io_context& ctx) -> task<> {
        blocking_listener listener;
        const std::string much(64 << 20, 'x');
        for (const bool write_first : {false, true}) {
            auto [socket, peer] = co_await test::connect(ctx, listener);
            std::array<char, 16> buffer;
            std::error_code read, written;
            const auto session = [&, &s = socket]() -> task<result<>> {
                if (write_first) {
                    auto [w, r] = co_await when_all(write_all(s, much), s.read_some(buffer));
                    written = w.ec, read = r.ec;
                } else {
                    auto [r, w] = co_await when_all(s.read_some(buffer), write_all(s, much));
                    written = w.ec, read = r.ec;
                }
                co_return written;
            };
            auto [ec] = co_await with_timeout(session(), 5ms, on_timeout::close);
            CHECK(ec == errc::timed_out);
            CHECK(read == errc::canceled);
            CHECK(written == errc::canceled);
            CHECK_FALSE(socket.is_open());
        }
    });
}

REACTOR_TEST("a T that is no result becomes result<T>") {
    run(kind, [&](io_context& ctx) -> task<> {
        auto quick = []() -> task<int> { co_return 7; };
        auto slow = []() -> task<int> {
            (void)co_await sleep_for(10s);
            co_return 8;
        };
        auto nothing = []() -> task<> { (void)co_await sleep_for(10s); };
        auto [ec, value] = co_await with_timeout(quick(), 10s);
        CHECK_FALSE(ec);
        CHECK(value == 7);
        auto [ec2, late] = co_await with_timeout(slow(), 2ms);
        CHECK(ec2 == errc::timed_out);
        CHECK(late == 8);
        auto [ec3] = co_await with_timeout(nothing(), 2ms);
        CHECK(ec3 == errc::timed_out);
        CHECK((co_await with_timeout(ctx.spawn(quick()), 10s)).value() == 7);
        CHECK((co_await with_timeout(ctx.spawn(slow()), 2ms)).error() == errc::timed_out);
    });
}

#if CURFEW_EXCEPTIONS
REACTOR_TEST("exceptions pass through a limit") {
    run(kind, [&](io_context&) -> task<> {
        auto broken = []() -> task<int> {
            co_await yield();
            throw std::runtime_error("broken");
        };
        auto by_value = []() -> task<int> {
            (co_await sleep_for(10s)).value();
            co_return 9;
        };
        bool caught = false;
        try {
            (void)co_await with_timeout(broken(), 10s);
        } catch (const std::runtime_error& error) {
            caught = std::string(error.what()) == "broken";
        }
        CHECK(caught);
        // `canceled` thrown by value() because the limit expired is that limit's timed_out.
        CHECK((co_await with_timeout(by_value(), 2ms)).error() == errc::timed_out);
    });
}
#endif

REACTOR_TEST("of a task that yields an error code the limit's error and the task's stand apart") {
    struct subject {
        static task<std::error_code> fail() { co_return errc::eof; }
        static task<std::error_code> wait() { co_return (co_await sleep_for(1h)).ec; }
        static task<errc> name() { co_return errc::closed; }
    };
    run(kind, [](io_context&) -> task<> {
        const auto in_time = co_await with_timeout(subject::fail(), 1h);
        CHECK_FALSE(in_time.ec);
        CHECK(in_time.data == errc::eof);
        const auto [late, its] = co_await with_timeout(subject::wait(), 1ms);
        CHECK(late == errc::timed_out);
        CHECK(its == errc::canceled);
        const auto [ec, name] = co_await with_timeout(subject::name(), 1h);
        CHECK_FALSE(ec);
        CHECK(name == errc::closed);
    });
}

REACTOR_TEST("what yields no result says canceled when a limit around its own has cut it short") {
    run(kind, [&](io_context&) -> task<> {
        const auto nothing = []() -> task<> { (void)co_await sleep_for(10s); };
        const auto number = []() -> task<int> {
            (void)co_await sleep_for(10s);
            co_return 8;
        };
        std::error_code first;
        result<int> second;
        const auto both = [&]() -> task<result<>> {
            first = (co_await with_timeout(nothing(), 10s)).ec;
            second = co_await with_timeout(number(), 10s);
            co_return first;
        };
        CHECK((co_await with_timeout(both(), 2ms)).error() == errc::timed_out);
        CHECK(first == errc::canceled);
        CHECK(second.error() == errc::canceled);
        CHECK(second.data == 8);
    });
}

REACTOR_TEST("10,000 limits that expire together all fire") {
    io_context ctx(kind);
    std::size_t expired = 0;
    std::size_t early = 0;
    const auto deadline = clock::now() + 100ms;
    udp::socket socket(ctx);
    for (int i = 0; i < 10'000; ++i)
        ctx.spawn([](std::size_t& count, std::size_t& too_early, clock::time_point when) -> task<> {
            auto [ec] = co_await with_deadline(sleep_for(1h), when);
            if (ec == errc::timed_out) ++count;
            if (clock::now() < when) ++too_early;
        }(expired, early, deadline));
    ctx.run();
    CHECK(expired == 10'000);
    CHECK(early == 0);
}

REACTOR_TEST("limits on hundreds of sockets that expire together leave each of them usable") {
    run(kind, [&](io_context& ctx) -> task<> {
        std::vector<connection> connections;
        for (int i = 0; i < 200; ++i) connections.push_back(co_await test::connect(ctx));
        const auto deadline = clock::now() + 20ms;
        int expired = 0;
        std::vector<join_handle<>> readers;
        for (auto& each : connections)
            readers.push_back(
                ctx.spawn([](tcp::socket& socket, clock::time_point when, int& count) -> task<> {
                    std::array<char, 16> buffer;
                    auto [ec, n] = co_await with_deadline(socket.read_some(buffer), when);
                    if (ec == errc::timed_out && n == 0) ++count;
                }(each.client, deadline, expired)));
        for (auto& reader : readers) co_await reader;
        CHECK(expired == 200);
        int good = 0;
        for (auto& each : connections) {
            std::array<char, 16> buffer;
            (co_await write_all(each.server, "hello")).value();
            auto [ec, n] = co_await each.client.read_some(buffer);
            if (!ec && n == 5) ++good;
            each.client.abort();  // or else the system keeps its port for a minute
        }
        CHECK(good == 200);
    });
}

#if CURFEW_EXCEPTIONS
REACTOR_TEST("a limit around something that throws when it is awaited is left like any other") {
    struct refuses {
        using enable_limits = void;  // it ends at once
        bool await_ready() const noexcept { return false; }
        void await_suspend(std::coroutine_handle<>) const { throw std::runtime_error("no"); }
        int await_resume() const noexcept { return 1; }
    };
    run(kind, [](io_context&) -> task<> {
        bool refused = false;
        try {
            (void)co_await with_timeout(refuses{}, 1h);
        } catch (const std::runtime_error&) {
            refused = true;
        }
        CHECK(refused);
        const auto slept = co_await with_timeout(sleep_for(1ms), 1h);
        CHECK(slept.ok());
    });
}
#endif

REACTOR_TEST("a limit that has cut nothing short says nothing, though its task says canceled") {
    run(kind, [](io_context&) -> task<> {
        game_clock game;
        const auto says = [](game_clock& on, std::error_code what) -> task<result<int>> {
            on.advance(1ms);  // the limit is over
            co_await shielded(yield());
            co_return result<int>{what, 7};
        };
        const auto own = co_await game.with_timeout(says(game, errc::canceled), 1ms);
        CHECK(own.ec == errc::canceled);
        CHECK(own.data == 7);
        CHECK((co_await game.with_timeout(says(game, {}), 1ms)).ok());
        const auto silent = [](game_clock& on) -> task<> {
            on.advance(1ms);
            co_await shielded(yield());
        };
        CHECK((co_await game.with_timeout(silent(game), 1ms)).ok());
        const auto noticing = [](game_clock& on) -> task<result<>> {
            on.advance(1ms);
            co_return co_await yield();
        };
        CHECK((co_await game.with_timeout(noticing(game), 1ms)).ec == errc::timed_out);
    });
}

#if CURFEW_EXCEPTIONS
REACTOR_TEST("a limit that has cut nothing short leaves an exception that says canceled alone") {
    run(kind, [](io_context&) -> task<> {
        game_clock game;
        const auto throws = [](game_clock& on) -> task<int> {
            on.advance(1ms);
            co_await shielded(yield());
            throw std::system_error(errc::canceled);
        };
        std::error_code seen;
        try {
            (void)co_await game.with_timeout(throws(game), 1ms);
        } catch (const std::system_error& error) {
            seen = error.code();
        }
        CHECK(seen == errc::canceled);
    });
}
#endif

// Depth -------------------------------------------------------------------------------------------

namespace {

task<result<int>> deep_limits(std::size_t left, counted alive) {
    if (left == 0) co_return result<int>((co_await sleep_for(1h)).error());
    const auto [ec, below] = co_await with_timeout(deep_limits(left - 1, alive), 1h);
    co_return {ec, below + 1};
}

}  // namespace

REACTOR_TEST("limits around limits are cancelled, and destroyed, without stack") {
    const std::size_t depth = test::scaled(100'000);
    for (const bool cancelled : {false, true}) {
        int alive = 0, levels = 0;
        std::error_code ec;
        const bool ran = test::on_small_stack([&] {
            io_context ctx(kind);
            auto handle = ctx.spawn(deep_limits(depth, counted(alive)));
            ctx.poll();
            if (!cancelled) return;
            handle.cancel();
            const auto end =
                ctx.block_on([](join_handle<result<int>>& joined) -> task<result<int>> {
                    co_return co_await joined;
                }(handle));
            ec = end.ec;
            levels = end.data;
        });
        REQUIRE(ran);
        CHECK(alive == 0);
        if (!cancelled) continue;
        CHECK(ec == errc::canceled);
        CHECK(levels == static_cast<int>(depth));
    }
}
