// What reactors have to prove of operations that are pending in the system: cancellation that comes
// too early or too late, sockets that are closed meanwhile, threads that come and go.
#include <curfew/reactor/reactor.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <list>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "support/counted.hpp"
#include "support/effort.hpp"
#include "support/loop.hpp"

using namespace test;

namespace {

udp::socket bound(io_context& ctx) {
    udp::socket socket(ctx);
    socket.bind(any_port()).value();
    return socket;
}

task<result<std::size_t>> read_into(tcp::socket& socket, std::span<char> buffer) {
    co_return co_await socket.read_some(buffer);
}

/// Until something can be read, by the system's own word.
bool becomes_readable(const tcp::socket& socket) {
    return native::readable(descriptor_of(socket.native_handle()), 10'000);
}

/// Whether operations complete while the loop does not look, so that they may win against what it
/// asks for next. (When it has settled io_uring does nothing then.)
bool completes_meanwhile(reactor_kind kind) {
    return kind == reactor_kind::iocp ||
           (kind == reactor_kind::io_uring && CURFEW_SETTLE_AFTER > 0);
}

}  // namespace

// Cancellation ------------------------------------------------------------------------------------

REACTOR_TEST("200,000 bytes that race with cancellations arrive, each once and in order") {
    run(kind, [](io_context& ctx) -> task<> {
        static const std::size_t total = scaled(200'000);
        blocking_listener listener;
        auto [socket, peer] = co_await test::connect(ctx, listener);
        // A byte and a cancellation in the same turn: a kernel does the read when it is sent.
        auto racer = ctx.spawn([](tcp::socket& s, blocking_socket& p) -> task<> {
            std::mt19937 random(5);
            for (std::size_t sent = 0; sent < total;) {
                for (auto some = random() % 4; some > 0 && sent < total; --some, ++sent) {
                    const char byte = static_cast<char>(sent * 7 + sent / 256);
                    CHECK(p.send({&byte, 1}) == 0);
                }
                if (random() % 2) s.cancel();
                co_await yield();
            }
        }(socket, peer));
        std::mt19937 random(6);
        std::array<char, 64> buffer;
        std::size_t read = 0;
        std::size_t ended_early = 0;
        bool exact = true;
        while (read < total) {
            const auto into = std::span(buffer).first(1 + random() % buffer.size());
            const std::chrono::microseconds limit(random() % 20);
            auto [ec, n] = random() % 2 ? co_await with_timeout(socket.read_some(into), limit)
                                        : co_await with_timeout(read_exactly(socket, into), limit);
            for (std::size_t i = 0; i < n; ++i, ++read)
                exact = exact && into[i] == static_cast<char>(read * 7 + read / 256);
            if (ec == errc::timed_out || ec == errc::canceled)
                ++ended_early;
            else if (ec)
                break;
        }
        co_await racer;
        CHECK(read == total);
        CHECK(exact);
        CHECK(ended_early > total / 200);
    });
}

REACTOR_TEST("a cancellation that comes too late never ends the operation that comes next") {
    run(kind, [kind](io_context& ctx) -> task<> {
        blocking_listener listener;
        auto [socket, peer] = co_await test::connect(ctx, listener);
        std::array<char, 4> buffer;
        int completed = 0;
        for (int i = 0; i < 2'000; ++i) {
            // The byte is there before the request to cancel, and both are seen in the same turn.
            auto meanwhile = ctx.spawn([](tcp::socket& s, blocking_socket& p) -> task<> {
                co_await yield();  // the read has been submitted
                CHECK(p.send("x") == 0);
                s.cancel();
            }(socket, peer));
            const auto first = co_await socket.read_some(buffer);
            co_await meanwhile;
            completed += first.ok();
            if (!first.ok()) {
                REQUIRE(first.ec == errc::canceled);
                REQUIRE((co_await socket.read_some(buffer)).value() == 1);
            }
            // Takes the place of the one that is over, in the very next submission.
            ctx.post([&other = peer] { CHECK(other.send("y") == 0); });
            const auto next = co_await socket.read_some(buffer);
            REQUIRE(next.ok());
            REQUIRE(next.data == 1);
        }
        if (completes_meanwhile(kind)) CHECK(completed > 0);  // or it has shown nothing
    });
}

REACTOR_TEST(
    "when a cancelled read has ended, the kernel touches neither its buffer nor the stream") {
    run(kind, [](io_context& ctx) -> task<> {
        blocking_listener listener;
        auto [socket, peer] = co_await test::connect(ctx, listener);
        for (int i = 0; i < 200; ++i) {
            std::array<char, 4> buffer{};
            ctx.spawn([](tcp::socket& s) -> task<> {
                co_await yield();
                s.cancel();
            }(socket));
            CHECK((co_await socket.read_some(buffer)).ec == errc::canceled);
            CHECK(peer.send("x") == 0);
            CHECK(becomes_readable(socket));
            CHECK(buffer[0] == 0);
            CHECK((co_await with_timeout(socket.read_some(buffer), 5s)).value() == 1);
        }
    });
}

REACTOR_TEST("what is cancelled in the turn in which it began ends, and takes nothing with it") {
    run(kind, [](io_context& ctx) -> task<> {
        std::vector<udp::socket> sockets;
        for (int i = 0; i < 20; ++i) sockets.push_back(bound(ctx));
        for (int round = 0; round < 20; ++round) {
            std::vector<join_handle<result<std::size_t>>> receiving;
            for (auto& each : sockets)
                receiving.push_back(ctx.spawn([](udp::socket& s) -> task<result<std::size_t>> {
                    std::array<char, 4> buffer;
                    co_return co_await s.receive(buffer);
                }(each)));
            ctx.post([&all = sockets] {
                for (auto& each : all) each.cancel();
            });
            for (auto& each : receiving) CHECK((co_await each).ec == errc::canceled);
        }
        for (auto& each : sockets) {
            std::array<char, 4> buffer;
            (co_await each.send_to("x", each.local_endpoint())).value();
            CHECK((co_await with_timeout(each.receive(buffer), 5s)).value() == 1);
        }
    });
}

REACTOR_TEST("an accept that wins against its cancellation delivers the connection") {
    run(kind, [kind](io_context& ctx) -> task<> {
        tcp::acceptor acceptor(ctx);
        acceptor.listen(any_port()).value();
        int won = 0;
        for (int i = 0; i < 100; ++i) {
            blocking_socket peer;
            auto meanwhile = ctx.spawn([](tcp::acceptor& a, blocking_socket& p) -> task<> {
                co_await yield();  // the accept has been submitted
                p = blocking_connect(a.local_endpoint());
                a.cancel();
            }(acceptor, peer));
            auto [ec, accepted] = co_await acceptor.accept();
            co_await meanwhile;
            if (ec) {
                REQUIRE(ec == errc::canceled);
                accepted = (co_await with_timeout(acceptor.accept(), 5s)).value();
            } else {
                ++won;
            }
            // It is that very connection, and not one of those before.
            REQUIRE(peer.send("me") == 0);
            std::array<char, 4> buffer;
            REQUIRE((co_await with_timeout(accepted.read_some(buffer), 5s)).value() == 2);
        }
        if (completes_meanwhile(kind)) CHECK(won > 0);
    });
}

// Closing -----------------------------------------------------------------------------------------

REACTOR_TEST("a closed acceptor accepts nothing more, and its port is free at once") {
    run(kind, [](io_context& ctx) -> task<> {
        for (int i = 0; i < 50; ++i) {
            tcp::acceptor acceptor(ctx);
            acceptor.listen(any_port()).value();
            const auto at = acceptor.local_endpoint();
            auto accepting = ctx.spawn([](tcp::acceptor& a) -> task<std::error_code> {
                co_return (co_await a.accept()).ec;
            }(acceptor));
            (void)co_await sleep_for(100us);  // the kernel has it
            blocking_socket in_time;
            if (i % 2) in_time = blocking_connect(at);
            acceptor.close();
            tcp::socket late(ctx);
            const bool connected = (co_await with_timeout(late.connect(at), 50ms)).ok();
            // (Who is given the free port for an end of its own has connected to itself.)
            CHECK((!connected || late.local_endpoint() == at));
            late.abort();
            CHECK(acceptor.listen(at, {.reuse_address = i % 2 != 0}).ok());
            CHECK((co_await accepting) == errc::closed);
            if (i % 2) {  // accepted or not: it is gone
                const auto got = in_time.receive();
                CHECK(got.bytes.empty());
                CHECK(got.error != native::time_is_up);
            }
        }
    });
}

REACTOR_TEST("the peer sees an abort, and a close, before the loop looks at the system again") {
    run(kind, [](io_context& ctx) -> task<> {
        blocking_listener listener;
        for (const bool abort : {false, true}) {
            auto [socket, peer] = co_await test::connect(ctx, listener);
            std::array<char, 4> buffer;
            auto reading = ctx.spawn(read_into(socket, buffer));
            auto waiting = ctx.spawn([](tcp::socket& s) -> task<std::error_code> {
                const std::string much(64 << 20, 'x');
                co_return (co_await write_all(s, much)).ec;
            }(socket));
            (void)co_await sleep_for(1ms);  // both are in the kernel
            abort ? socket.abort() : socket.close();
            blocking_socket::received got;
            do got = peer.receive(1 << 20);
            while (!got.bytes.empty());
            CHECK(got.error == (abort ? native::error_after_reset() : 0));
            CHECK((co_await reading).ec == errc::closed);
            CHECK((co_await waiting) == errc::closed);
        }
    });
}

REACTOR_TEST("a released descriptor is nobody's: what is pending reads nothing from it any more") {
    run(kind, [](io_context& ctx) -> task<> {
        blocking_listener listener;
        auto [socket, peer] = co_await test::connect(ctx, listener);
        std::array<char, 8> buffer;
        auto reading = ctx.spawn(read_into(socket, buffer));
        (void)co_await sleep_for(1ms);
        blocking_socket released(descriptor_of(socket.release()));
        CHECK(peer.send("mine") == 0);
        REQUIRE(native::readable(released.fd(), 10'000));
        CHECK(released.receive().bytes == "mine");
        CHECK((co_await reading).ec == errc::canceled);
    });
}

REACTOR_TEST("a context ends with a thousand operations in flight, of every kind") {
    const int many = kind == reactor_kind::select ? 75 : 150;  // a set has room for 1,024
    int alive = 0;
    std::list<connection> connections;
    std::vector<blocking_socket> peers;
    blocking_listener listener;
    {
        io_context ctx(kind);
        tcp::acceptor acceptor(ctx);
        acceptor.listen(any_port()).value();
        tcp::acceptor full(ctx);
        full.listen(any_port(), {.backlog = 0}).value();
        ctx.block_on(
            [](io_context& c, blocking_listener& l, int count, auto& all, auto& others) -> task<> {
                for (int i = 0; i < count; ++i) {
                    all.push_back(co_await test::connect(c));
                    auto [socket, peer] = co_await test::connect(c, l);
                    others.push_back(std::move(peer));
                    socket.send_buffer_size(4096);
                    all.back().client.shutdown(shutdown_how::send).value();
                    all.back().client = std::move(socket);
                }
            }(ctx, listener, many, connections, peers));
        const auto begin = [&](auto body) {
            ctx.spawn([](counted, auto make) -> task<> { co_await make(); }(counted(alive), body));
        };
        for (auto& each : connections) {
            begin([&each]() -> task<> {
                std::array<char, 16> buffer;
                (void)co_await each.client.read_some(buffer);
            });
            begin([&each]() -> task<> {
                const std::string much(1 << 20, 'x');
                (void)co_await with_timeout(write_all(each.client, much, much), 1h);
            });
            begin([&ctx]() -> task<> {
                std::array<char, 4> first, second;
                udp::socket socket = bound(ctx);
                (void)co_await socket.receive(first, second);
            });
            begin([&ctx]() -> task<> {
                std::array<char, 4> buffer;
                ip::endpoint sender;
                udp::socket socket = bound(ctx);
                (void)co_await socket.receive_from(buffer, sender);
            });
            begin([&ctx]() -> task<> {
                udp::socket socket = bound(ctx);
                (void)co_await socket.wait(readable);
            });
            begin([&ctx, at = full.local_endpoint()]() -> task<> {
                tcp::socket socket(ctx);
                (void)co_await socket.connect(at);
                (void)co_await sleep_for(1h);
            });
            begin([&ctx]() -> task<> {
                tcp::acceptor own(ctx);
                own.listen(any_port()).value();
                (void)co_await own.accept();
            });
        }
        begin([&acceptor]() -> task<> { (void)co_await acceptor.accept(); });
        ctx.run_for(20ms);
        CHECK(alive == 7 * many + 1);
        for (auto& each : connections) each.server = tcp::socket();
        begin([&ctx]() -> task<> {  // never submitted
            udp::socket socket = bound(ctx);
            std::array<char, 4> buffer;
            (void)co_await socket.receive(buffer);
        });
    }
    CHECK(alive == 0);
    // The kernel has let go of the sockets, too.
    for (auto& each : peers) {
        blocking_socket::received got;
        do got = each.receive(1 << 20);
        while (!got.bytes.empty());
        CHECK(got.error == 0);
    }
}

// Threads -----------------------------------------------------------------------------------------

REACTOR_TEST("operations outlive the thread that has submitted them") {
    io_context ctx(kind);
    blocking_listener listener;
    mixed_connection made;
    std::array<char, 16> buffer;
    tcp::acceptor acceptor(ctx);
    acceptor.listen(any_port()).value();
    join_handle<result<std::size_t>> reading, exact, receiving;
    join_handle<result<>> waiting;
    join_handle<bool> accepting;
    connection both;
    udp::socket datagrams = bound(ctx);
    std::array<char, 6> six;
    std::array<char, 4> four;
    std::thread([&] {
        made = ctx.block_on(test::connect(ctx, listener));
        both = ctx.block_on(test::connect(ctx));
        reading = ctx.spawn(read_into(made.socket, buffer));
        exact = ctx.spawn([](tcp::socket& s, std::span<char> b) -> task<result<std::size_t>> {
            co_return co_await read_exactly(s, b);
        }(both.client, six));
        waiting = ctx.spawn([](tcp::socket& s) -> task<result<>> {
            co_return co_await s.wait(readable);
        }(both.server));
        receiving = ctx.spawn([](udp::socket& s, std::span<char> b) -> task<result<std::size_t>> {
            co_return co_await s.receive(b);
        }(datagrams, four));
        accepting = ctx.spawn(
            [](tcp::acceptor& a) -> task<bool> { co_return (co_await a.accept()).ok(); }(acceptor));
        ctx.run_for(2ms);
    }).join();
    CHECK(made.peer.send("hello") == 0);
    auto late = blocking_connect(acceptor.local_endpoint());
    using counting = join_handle<result<std::size_t>>;
    ctx.block_on([](connection& c, udp::socket& u, counting& r, counting& e,
                    join_handle<result<>>& w, counting& d, join_handle<bool>& a) -> task<> {
        CHECK((co_await r).value() == 5);
        CHECK((co_await a));
        (co_await write_all(c.server, "abc")).value();
        (void)co_await sleep_for(1ms);
        (co_await write_all(c.server, "def")).value();
        CHECK((co_await e).value() == 6);
        (co_await write_all(c.client, "x")).value();
        CHECK((co_await w).ok());
        (co_await u.send_to("12", u.local_endpoint())).value();
        CHECK((co_await d).value() == 2);
    }(both, datagrams, reading, exact, waiting, receiving, accepting));
    // The waker was that thread's, too.
    std::thread poster([&] {
        std::this_thread::sleep_for(10ms);
        ctx.post([&] { ctx.stop(); });
    });
    const auto alive = ctx.spawn([]() -> task<> { (void)co_await sleep_for(10s); }());
    const auto before = clock::now();
    ctx.run();
    CHECK(clock::now() - before < 5s);
    poster.join();
}

REACTOR_TEST(
    "operations complete while the thread that has submitted them is blocked, or computes") {
    for (const bool blocked : {true, false}) {
        io_context ctx(kind);
        blocking_listener listener;
        auto made = ctx.block_on(test::connect(ctx, listener));
        std::array<char, 8> buffer;
        auto first = ctx.spawn(read_into(made.socket, buffer));
        ctx.run_for(1ms);
        std::atomic<bool> done{false};
        std::thread other([&] {
            CHECK(made.peer.send("1") == 0);
            ctx.block_on([](tcp::socket& s, std::span<char> b,
                            join_handle<result<std::size_t>>& handle) -> task<> {
                CHECK((co_await handle).value() == 1);
                CHECK((co_await with_timeout(s.read_some(b), 1ms)).ec == errc::timed_out);
            }(made.socket, buffer, first));
            done = true;
        });
        if (!blocked)
            while (!done) {}
        other.join();
    }
}

REACTOR_TEST("a context ends in another thread than the one it ran in") {
    int alive = 0;
    blocking_listener listener;
    mixed_connection made;
    auto ctx = std::make_unique<io_context>(kind);
    std::thread([&] {
        made = ctx->block_on(test::connect(*ctx, listener));
        ctx->spawn([](counted, tcp::socket& s) -> task<> {
            std::array<char, 4> buffer;
            (void)co_await s.read_some(buffer);
        }(counted(alive), made.socket));
        ctx->run_for(1ms);
    }).join();
    CHECK(alive == 1);
    ctx.reset();
    CHECK(alive == 0);
    CHECK(made.peer.receive().bytes.empty());
}
