// What the readiness reactors share: trying before parking, and events that mislead.
#include <curfew/reactor/readiness.hpp>

#if defined(__linux__)
#include <linux/net_tstamp.h>
#endif
#if !defined(_WIN32)
#include <fcntl.h>
#include <sys/time.h>
#endif

#include <array>
#include <csignal>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "support/loop.hpp"
#include "support/system_calls.hpp"
#include "support/watched_reactor.hpp"

using namespace test;

namespace {

/// Until `fd` is readable, by the system's own word.
void until_readable(native::socket fd) { native::readable(fd, 10'000); }

/// The same where an operation is pending: a proactor has taken what made it readable.
void until_readable(native::socket fd, reactor_kind kind) {
    if (!is_proactor(kind)) until_readable(fd);
}

}  // namespace

REACTOR_TEST("a short read followed by the end of the stream: the end is not missed") {
    run(kind, [&](io_context& ctx) -> task<> {
        for (int i = 0; i < 50; ++i) {
            auto [client, server] = co_await test::connect(ctx);
            std::array<char, 64> buffer;
            // The first read parks, so that its event tells of the bytes and of the end at once.
            ctx.post([&peer = server] {
                CHECK(native::send(descriptor_of(peer.native_handle()), "abc", 3) == 3);
                peer.shutdown(shutdown_how::send);
            });
            auto [ec, n] = co_await client.read_some(buffer);
            CHECK_FALSE(ec);
            CHECK(n == 3);
            CHECK((co_await with_timeout(client.read_some(buffer), 5s)).error() == errc::eof);
            CHECK((co_await with_timeout(client.read_some(buffer), 5s)).error() == errc::eof);
        }
    });
}

REACTOR_TEST("a short read followed by a reset: the reset is not missed") {
    run(kind, [&](io_context& ctx) -> task<> {
        blocking_listener listener;
        for (int i = 0; i < 50; ++i) {
            auto [socket, peer] = co_await test::connect(ctx, listener);
            std::array<char, 64> buffer;
            CHECK(peer.send("abc") == 0);
            auto [ec, n] = co_await socket.read_some(buffer);
            CHECK(n == 3);
            ctx.post([&other = peer] { other.reset(); });
            CHECK(says_reset((co_await with_timeout(socket.read_some(buffer), 5s)).error()));
        }
    });
}

REACTOR_TEST("urgent data in the stream hides nothing that stands behind it") {
    run(kind, [&](io_context& ctx) -> task<> {
        blocking_listener listener;
        auto [socket, peer] = co_await test::connect(ctx, listener);
        std::array<char, 64> buffer;
        std::string seen;
        ctx.post([&other = peer, fd = descriptor_of(socket.native_handle())] {
            CHECK(other.send("before") == 0);
            CHECK(native::send(other.fd(), "!", 1, MSG_OOB) == 1);
            CHECK(other.send("after") == 0);
            until_readable(fd);
        });
        while (seen.size() < 11) {
            auto [ec, n] = co_await with_timeout(socket.read_some(buffer), 5s);
            REQUIRE_FALSE(ec);
            seen.append(buffer.data(), n);
        }
        CHECK(seen == "beforeafter");
    });
}

REACTOR_TEST("data that arrives between a read that would block and the wait is seen") {
    run(kind, [&](io_context& ctx) -> task<> {
        blocking_listener listener;
        auto [socket, peer] = co_await test::connect(ctx, listener);
        std::array<char, 64> buffer;
        for (int i = 0; i < 200; ++i) {
            ctx.post([&other = peer, fd = descriptor_of(socket.native_handle()), kind] {
                CHECK(other.send("x") == 0);
                until_readable(fd, kind);
            });
            auto [ec, n] = co_await with_timeout(socket.read_some(buffer), 5s);
            REQUIRE_FALSE(ec);
            CHECK(n == 1);
        }
    });
}

REACTOR_TEST("wait tells of readiness without taking anything") {
    run(kind, [&](io_context& ctx) -> task<> {
        blocking_listener listener;
        auto [socket, peer] = co_await test::connect(ctx, listener);
        std::array<char, 64> buffer;
        CHECK((co_await socket.wait(writable)).ok());
        CHECK((co_await socket.wait(readable | writable)).ok());
        CHECK((co_await with_timeout(socket.wait(readable), 2ms)).error() == errc::timed_out);
        ctx.post([&other = peer] { CHECK(other.send("xyz") == 0); });
        CHECK((co_await with_timeout(socket.wait(readable), 5s)).ok());
        CHECK((co_await with_timeout(socket.wait(readable), 5s)).ok());
        CHECK((co_await socket.read_some(buffer)).value() == 3);
        CHECK((co_await with_timeout(socket.wait(readable), 2ms)).error() == errc::timed_out);
        peer.close();
        CHECK((co_await with_timeout(socket.wait(readable), 5s)).ok());
        CHECK((co_await socket.read_some(buffer)).error() == errc::eof);
    });
}

REACTOR_TEST("a wait for both directions takes the place of a read and of a write") {
    const honest_system now;
    run(kind, [&](io_context& ctx) -> task<> {
        auto [client, server] = co_await test::connect(ctx);
        std::string fill(1 << 20, 'x');
        while ((co_await with_timeout(client.write_some(fill), 0s)).ok()) {}
        auto both = ctx.spawn([](tcp::socket& socket) -> task<result<>> {
            co_return co_await socket.wait(readable | writable);
        }(client));
        co_await yield();
        std::array<char, 4> buffer;
        CHECK((co_await client.read_some(buffer)).error() == std::errc::operation_in_progress);
        CHECK((co_await client.write_some("x")).error() == std::errc::operation_in_progress);
        (co_await write_all(server, "go")).value();
        CHECK((co_await both).ok());
        CHECK((co_await client.read_some(buffer)).value() == 2);
    });
}

#if !defined(_WIN32)
REACTOR_TEST("a timer signal every 100 us disturbs nothing") {
    struct sigaction action{};
    struct sigaction before{};
    action.sa_handler = [](int) {};
    ::sigaction(SIGALRM, &action, &before);  // without SA_RESTART: calls are interrupted
    itimerval storm{};
    storm.it_interval.tv_usec = storm.it_value.tv_usec = 100;
    ::setitimer(ITIMER_REAL, &storm, nullptr);
    run(kind, [&](io_context& ctx) -> task<> {
        auto [client, server] = co_await test::connect(ctx);
        std::array<char, 64> buffer;
        for (int i = 0; i < 20; ++i) {
            const auto start = clock::now();
            auto [ec, n] = co_await with_timeout(client.read_some(buffer), 2ms);
            CHECK(ec == errc::timed_out);
            CHECK(clock::now() - start >= 2ms);
        }
        for (int i = 0; i < 500; ++i) {
            auto [wec, sent] = co_await write_all(server, "ping");
            auto [rec, got] = co_await read_exactly(client, std::span(buffer).first(4));
            CHECK_FALSE(wec);
            CHECK_FALSE(rec);
            CHECK(got == 4);
        }
    });
    const itimerval none{};
    ::setitimer(ITIMER_REAL, &none, nullptr);
    ::sigaction(SIGALRM, &before, nullptr);
}

#if !defined(TEST_PLATFORM_QUIRKY)  // which does the calls elsewhere
REACTOR_TEST("what is ready after a wait that was interrupted is found before limits expire") {
    if (is_proactor(kind)) return;
    const honest_system honest;
    run(kind, [&](io_context& ctx) -> task<> {
        blocking_listener listener;
        auto [socket, peer] = co_await test::connect(ctx, listener);
        for (const auto limit : {20ms, 1200ms}) {  // which epoll waits for in different ways
            for (;;) {
                bool interrupted = false;
                next_mishaps().instead_of_a_wait = [&, &other = peer, &own = socket] {
                    interrupted = true;
                    std::this_thread::sleep_for(limit);
                    CHECK(other.send("x") == 0);
                    until_readable(own.native_handle());
                };
                std::array<char, 4> buffer;
                const auto [ec, n] = co_await with_timeout(socket.read_some(buffer), limit);
                next_mishaps().instead_of_a_wait = nullptr;
                if (!interrupted) continue;  // the machine is busy: the limit was over before
                CHECK_FALSE(ec);
                CHECK(n == 1);
                break;
            }
        }
    });
}

REACTOR_TEST("an operation that there is no memory to wait for ends with that, and no other does") {
    if (is_proactor(kind)) return;
    const auto log = std::make_shared<test::watched_reactor::log>();
    // (A loop that has no socket yet, nor the reactor room for one.)
    io_context ctx(std::make_unique<test::watched_reactor>(kind, log));
    ctx.block_on([](io_context& context, reactor_kind which) -> task<> {
        std::vector<udp::socket> sockets;
        std::vector<join_handle<std::error_code>> receiving;
        for (int i = 0; i < 30; ++i) {
            sockets.emplace_back(context).bind(any_port()).value();
            if (which != reactor_kind::epoll) continue;
            // It has room for smaller numbers.
            const int high = ::fcntl(sockets.back().native_handle(), F_DUPFD_CLOEXEC, 17'000);
            if (high < 0) co_return;  // nor are there others
            sockets.back().close();
            sockets.back() = udp::socket::adopt(context, high).value();
        }
        udp::socket first(context);  // after which there is room for some more
        first.bind(any_port()).value();
        (void)co_await with_timeout(first.wait(readable), 1ms);
        for (const bool no_memory : {true, false}) {
            receiving.clear();
            next_mishaps().no_memory_to_grow = no_memory;
            for (auto& socket : sockets) {
                receiving.push_back(context.spawn([](udp::socket& s) -> task<std::error_code> {
                    std::array<char, 4> buffer;
                    co_return (co_await s.receive(buffer)).error();
                }(socket)));
            }
            co_await yield();
            co_await yield();
            next_mishaps().no_memory_to_grow = false;
            std::size_t ended = 0;
            for (auto& each : receiving) {
                ended += each.done();
                each.cancel();
                const auto ec = co_await each;
                CHECK((ec == std::errc::not_enough_memory || ec == errc::canceled));
            }
            CHECK((ended > 0) == no_memory);
        }
    }(ctx, kind));
}
#endif

#endif

REACTOR_TEST("a stale descriptor number that a new socket reuses gets only its own events") {
    run(kind, [&](io_context& ctx) -> task<> {
        blocking_listener listener;
        for (int i = 0; i < 50; ++i) {
            auto [socket, peer] = co_await test::connect(ctx, listener);
            std::array<char, 16> buffer;
            const auto number = descriptor_of(socket.native_handle());
            auto doomed = ctx.spawn([](tcp::socket& s) -> task<result<std::size_t>> {
                std::array<char, 16> own;
                co_return co_await s.read_some(own);
            }(socket));
            co_await yield();
            // An event for the old socket is on its way when it is closed and its number reused.
            CHECK(peer.send("for the old one") == 0);
            until_readable(number, kind);
            socket.close();
            auto [fresh, fresh_peer] = co_await test::connect(ctx, listener);
            CHECK(descriptor_of(fresh.native_handle()) == number);
            auto [ec, n] = co_await doomed;
            CHECK((ec == errc::closed || (is_proactor(kind) && n == 15)));
            CHECK((co_await with_timeout(fresh.read_some(buffer), 1ms)).error() == errc::timed_out);
            CHECK(fresh_peer.send("new") == 0);
            CHECK((co_await with_timeout(fresh.read_some(buffer), 5s)).value() == 3);
        }
    });
}

REACTOR_TEST("a closed socket whose descriptor was duplicated gets no events any more") {
    run(kind, [&](io_context& ctx) -> task<> {
        blocking_listener listener;
        auto [socket, peer] = co_await test::connect(ctx, listener);
        std::array<char, 16> buffer;
        CHECK((co_await with_timeout(socket.read_some(buffer), 1ms)).error() == errc::timed_out);
        const auto copy = native::duplicate(descriptor_of(socket.native_handle()));
        socket.close();
        CHECK(peer.send("late") == 0);
        until_readable(copy);
        CHECK((co_await sleep_for(2ms)).ok());  // an event would be for a state that is gone
        CHECK((co_await socket.read_some(buffer)).error() == errc::closed);
        native::close(copy);
    });
}

REACTOR_TEST("a socket that is always ready starves nobody") {
    run(kind, [&](io_context& ctx) -> task<> {
        auto [client, server] = co_await test::connect(ctx);
        bool stop = false;
        auto flood = ctx.spawn([](tcp::socket& socket, bool& done) -> task<int> {
            int writes = 0;
            while (!done) {
                (void)co_await socket.write_some(std::string_view());
                ++writes;
            }
            co_return writes;
        }(client, stop));
        CHECK((co_await sleep_for(1ms)).ok());
        auto [ec] = co_await with_timeout(server.wait(readable), 1ms);
        CHECK(ec == errc::timed_out);
        stop = true;
        CHECK((co_await flood) > 64);
    });
}

REACTOR_TEST("after a pending read met the end or a reset, the next one says so too at once") {
    run(kind, [&](io_context& ctx) -> task<> {
        blocking_listener listener;
        std::array<char, 16> buffer;
        for (const bool exact : {false, true}) {
            auto [socket, peer] = co_await test::connect(ctx, listener);
            ctx.post([&other = peer] { other.close(); });
            CHECK((co_await with_timeout(socket.read_some(buffer), 5s)).error() == errc::eof);
            CHECK((co_await with_timeout(socket.wait(readable), 5s)).ok());
            const auto again = exact ? co_await with_timeout(read_exactly(socket, buffer), 5s)
                                     : co_await with_timeout(socket.read_some(buffer), 5s);
            CHECK(again.error() == errc::eof);
        }
        auto [socket, peer] = co_await test::connect(ctx, listener);
        ctx.post([&other = peer] { other.reset(); });
        CHECK(says_reset((co_await with_timeout(socket.read_some(buffer), 5s)).error()));
        const auto after = co_await with_timeout(socket.read_some(buffer), 5s);
        CHECK(after.error());
        CHECK(after.error() != errc::timed_out);
    });
}

REACTOR_TEST("an acceptor may go between the completion of its accept and its resumption") {
    run(kind, [&](io_context& ctx) -> task<> {
        auto acceptor = std::make_unique<tcp::acceptor>(ctx);
        acceptor->listen(any_port()).value();
        const auto endpoint = acceptor->local_endpoint();
        auto [client, server] = co_await test::connect(ctx);
        bool accepted = false;
        auto destroyer = ctx.spawn([](tcp::socket& s, auto& doomed) -> task<> {
            std::array<char, 4> buffer;
            (void)co_await s.read_some(buffer);
            doomed.reset();
        }(client, acceptor));
        auto accepting = ctx.spawn([](tcp::acceptor& a, bool& flag) -> task<> {
            auto [ec, peer] = co_await a.accept();
            flag = !ec && peer.is_open();
        }(*acceptor, accepted));
        co_await yield();
        auto peer = blocking_connect(endpoint);
        until_readable(descriptor_of(acceptor->native_handle()), kind);
        (co_await write_all(server, "go")).value();
        until_readable(descriptor_of(client.native_handle()), kind);
        co_await destroyer;
        co_await accepting;
        (void)accepted;  // whoever came first; what counts is that nothing dangles
        CHECK_FALSE(acceptor);
    });
}

REACTOR_TEST("a connection that was accepted for a coroutine that is gone is closed") {
    auto ctx = std::make_unique<io_context>(kind);
    tcp::acceptor acceptor(*ctx);
    acceptor.listen(any_port()).value();
    // Stops the loop in the turn in which the accept completes, before its coroutine is resumed.
    ctx->spawn([](tcp::acceptor& a) -> task<> { (void)co_await a.accept(); }(acceptor));
    ctx->poll();
    auto peer = blocking_connect(acceptor.local_endpoint());
    until_readable(descriptor_of(acceptor.native_handle()), kind);
    ctx->post([&] { ctx->stop(); });
    ctx->run();
    ctx.reset();
    const auto got = peer.receive();
    CHECK(got.bytes.empty());
    CHECK(got.error != native::time_is_up);
}

REACTOR_TEST("a connect takes the place of a read and of a write") {
    run(kind, [&](io_context& ctx) -> task<> {
        tcp::acceptor full(ctx);
        full.listen(any_port(), {.backlog = 0}).value();
        std::vector<tcp::socket> sockets;
        std::vector<join_handle<result<>>> connecting;
        sockets.reserve(6);
        for (int i = 0; i < 6; ++i) {
            sockets.emplace_back(ctx);
            connecting.push_back(ctx.spawn([](tcp::socket& s, ip::endpoint to) -> task<result<>> {
                co_return co_await s.connect(to);
            }(sockets.back(), full.local_endpoint())));
        }
        (void)co_await sleep_for(2ms);
        std::array<char, 4> buffer;
        auto& waiting = sockets.back();
        CHECK((co_await waiting.read_some(buffer)).error() == std::errc::operation_in_progress);
        CHECK((co_await waiting.write_some("x")).error() == std::errc::operation_in_progress);
        CHECK((co_await waiting.connect(full.local_endpoint())).error() ==
              std::errc::operation_in_progress);
        for (auto& each : connecting) each.cancel();
        for (auto& each : connecting) (void)co_await each;

        // A read that is pending keeps a connect away, and its socket alive.
        auto [client, server] = co_await test::connect(ctx);
        auto reading = ctx.spawn([](tcp::socket& s) -> task<result<std::size_t>> {
            std::array<char, 4> own;
            co_return co_await s.read_some(own);
        }(client));
        co_await yield();
        CHECK((co_await client.connect(full.local_endpoint())).error() ==
              std::errc::operation_in_progress);
        (co_await write_all(server, "ok")).value();
        CHECK((co_await reading).value() == 2);
    });
}

#if defined(CURFEW_HAS_ERROR_QUEUE)
namespace {

/// Runs `body(ctx, waits)`, where `waits()` says how often the loop has waited so far.
template <class Body>
void run_counted(reactor_kind kind, Body body) {
    const auto log = std::make_shared<test::watched_reactor::log>();
    io_context ctx(std::make_unique<test::watched_reactor>(kind, log));
    ctx.block_on(body(ctx, [&] { return log->waits.size(); }));
}

/// More waits than a reactor makes that looks every now and then; a fraction of what one makes that
/// spins meanwhile.
constexpr std::size_t many_waits = 1000;
constexpr auto a_while = 300ms;

}  // namespace

REACTOR_TEST("what stays in an error queue makes no spin, and hides nothing") {
    run_counted(kind, [](io_context& ctx, std::function<std::size_t()> waits) -> task<> {
        for (const bool connected : {false, true}) {
            udp::socket socket(ctx);
            socket.bind(any_port()).value();
            socket.queue_errors(true).value();
            udp::socket peer(ctx);
            peer.bind(any_port()).value();
            const auto there = peer.local_endpoint();
            peer.close();
            if (connected) socket.connect(there).value();
            CHECK((co_await socket.send_to("ping", there)).ok());
            std::array<char, 16> buffer;
            ip::endpoint sender;
            CHECK((co_await with_timeout(socket.receive_from(buffer, sender), 10s)).error() ==
                  std::errc::connection_refused);
            const auto before = waits();
            CHECK((co_await with_timeout(socket.receive_from(buffer, sender), a_while)).error() ==
                  errc::timed_out);
            CHECK((co_await with_timeout(socket.wait(readable), 10s)).ok());
            int told = 1;
            while (told < 5 && (co_await with_timeout(socket.wait(readable), a_while)).ok()) ++told;
            CHECK(told <= 2);
            CHECK(waits() - before < many_waits);
            // What comes meanwhile is found, also by who waits already, and so is what the others
            // do.
            peer.bind(any_port()).value();
            if (connected) socket.connect(peer.local_endpoint()).value();
            for (int i = 0; i < 3; ++i) {
                ctx.spawn([](udp::socket& from, ip::endpoint to) -> task<> {
                    co_await sleep_for(30ms);
                    CHECK((co_await from.send_to("data", to)).ok());
                }(peer, socket.local_endpoint()));
                CHECK((co_await with_timeout(socket.receive_from(buffer, sender), 10s)).value() ==
                      4);
            }
        }
    });
}

REACTOR_TEST("timestamps that nobody takes make no spin, and hide nothing") {
    run_counted(kind, [](io_context& ctx, std::function<std::size_t()> waits) -> task<> {
        auto [client, server] = co_await test::connect(ctx);
        const int flags =
            SOF_TIMESTAMPING_TX_SOFTWARE | SOF_TIMESTAMPING_SOFTWARE | SOF_TIMESTAMPING_OPT_TSONLY;
        if (::setsockopt(client.native_handle(), SOL_SOCKET, SO_TIMESTAMPING, &flags,
                         sizeof flags) != 0)
            co_return;  // emulators do not know this option
        std::array<char, 16> buffer;
        CHECK((co_await write_all(client, "x")).ok());
        CHECK((co_await server.read_some(buffer)).value() == 1);
        {
            auto reading = ctx.spawn([](tcp::socket& s) -> task<std::error_code> {
                std::array<char, 16> own;
                co_return (co_await s.read_some(own)).error();
            }(client));
            const auto before = waits();
            CHECK((co_await sleep_for(a_while)).ok());
            CHECK(waits() - before < many_waits);
            reading.cancel();
            CHECK(co_await reading == errc::canceled);
        }
        const auto before = waits();
        for (int i = 0; i < 5; ++i)  // the first ones may tell of the timestamp
            if (!(co_await with_timeout(client.wait(readable), a_while)).ok()) break;
        CHECK(waits() - before < many_waits);
        for (int i = 0; i < 3; ++i) {
            ctx.spawn([](tcp::socket& from) -> task<> {
                co_await sleep_for(30ms);
                CHECK((co_await write_all(from, "data")).ok());
            }(server));
            CHECK((co_await with_timeout(read_exactly(client, std::span(buffer).first(4)), 10s))
                      .ok());
        }
    });
}

REACTOR_TEST("urgent data that nobody takes makes no spin, and ends no wait") {
    run_counted(kind, [](io_context& ctx, std::function<std::size_t()> waits) -> task<> {
        blocking_listener listener;
        auto [socket, peer] = co_await test::connect(ctx, listener);
        std::array<char, 16> buffer;
        CHECK(native::send(peer.fd(), "!", 1, MSG_OOB) == 1);
        const auto before = waits();
        CHECK((co_await with_timeout(socket.wait(readable), a_while)).error() == errc::timed_out);
        CHECK((co_await with_timeout(socket.read_some(buffer), a_while)).error() ==
              errc::timed_out);
        CHECK(waits() - before < many_waits);
        CHECK(peer.send("data") == 0);
        CHECK((co_await with_timeout(socket.wait(readable), 10s)).ok());
        CHECK((co_await with_timeout(socket.read_some(buffer), 10s)).value() == 4);
    });
}
#endif
