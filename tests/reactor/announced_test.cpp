// Datagrams and connections, which say nothing of what is behind them: socket_state::announced, and
// the level-triggered part of epoll.
#include <curfew/curfew.hpp>

#include <array>
#include <string>
#include <vector>

#if !defined(_WIN32)
#include <sys/socket.h>
#endif

#include "support/loop.hpp"
#include "support/watched_reactor.hpp"

using namespace test;

namespace {

/// A socket of curfew's, and a blocking one that sends to it.
struct datagrams {
    udp::socket receiver;
    blocking_socket sender;

    explicit datagrams(io_context& ctx) : receiver(ctx), sender(native::open(SOCK_DGRAM)) {
        receiver.bind(any_port()).value();
        REQUIRE(native::connect(sender.fd(), receiver.local_endpoint().port()));
    }

    void send(int number) { REQUIRE(sender.send(std::to_string(number)) == 0); }

    task<int> receive() {
        std::array<char, 16> buffer;
        const auto n = (co_await with_timeout(receiver.receive(buffer), 10s)).value();
        co_return std::stoi(std::string(buffer.data(), n));
    }
};

/// Has `do_it` done when somebody waits already.
template <class Function>
void soon(io_context& ctx, Function do_it) {
    ctx.spawn([](Function now) -> task<> {
        co_await yield();
        co_await yield();
        now();
    }(std::move(do_it)));
}

}  // namespace

REACTOR_TEST("datagrams arrive in their order, one by one and many at once") {
    run(kind, [&](io_context& ctx) -> task<> {
        datagrams over(ctx);
        int next = 0;
        for (int round = 0; round < 3; ++round) {
            for (int i = 0; i < 40; ++i) {  // somebody waits for each
                soon(ctx, [&over, next] { over.send(next); });
                CHECK(co_await over.receive() == next++);
            }
            for (const int many : {1, 2, 5, 17, 40}) {
                for (int i = 0; i < many; ++i) over.send(next + i);
                for (int i = 0; i < many; ++i) CHECK(co_await over.receive() == next++);
                soon(ctx, [&over, next, many] {
                    for (int i = 0; i < many; ++i) over.send(next + i);
                });
                for (int i = 0; i < many; ++i) CHECK(co_await over.receive() == next++);
            }
        }
        std::array<char, 16> buffer;
        CHECK((co_await with_timeout(over.receiver.receive(buffer), 1ms)).error() ==
              errc::timed_out);
    });
}

REACTOR_TEST("poll receives all datagrams that are there, however they came before") {
    const honest_system now;
#if defined(TEST_PLATFORM_QUIRKY)
    const bool at_once = false;  // a console's poll may need several tries
#else
    const bool at_once = !is_proactor(kind);
#endif
    io_context ctx(kind);
    datagrams over(ctx);
    int received = 0;
    auto handle = ctx.spawn([](datagrams& from, int& count) -> task<> {
        std::array<char, 16> buffer;
        while ((co_await from.receiver.receive(buffer)).ok()) ++count;
    }(over, received));
    for (int round = 0; round < 3; ++round) {
        for (int i = 0; i < 40; ++i) {
            over.send(i);
            const int before = received;
            while (received == before) ctx.poll();
        }
        received = 0;
        for (int i = 0; i < 10; ++i) over.send(i);
        if (at_once) CHECK(native::readable(descriptor_of(over.receiver.native_handle()), 10'000));
        ctx.poll();
        if (at_once) CHECK(received == 10);
        while (received < 10) ctx.poll();
    }
    handle.cancel();
    ctx.run();
}

REACTOR_TEST("connections are accepted in their order, one by one and many at once") {
    run(kind, [&](io_context& ctx) -> task<> {
        tcp::acceptor acceptor(ctx);
        acceptor.listen(any_port()).value();
        std::vector<blocking_socket> peers;
        const auto connect_some = [&](int count) {
            for (int i = 0; i < count; ++i)
                peers.push_back(blocking_connect(acceptor.local_endpoint()));
        };
        std::size_t accepted = 0;
        const auto accept_some = [&](int count) -> task<> {
            for (int i = 0; i < count; ++i) {
                auto [ec, socket] = co_await with_timeout(acceptor.accept(), 10s);
                REQUIRE_FALSE(ec);
                CHECK(socket.remote_endpoint().port() == native::port_of(peers[accepted++].fd()));
            }
        };
        for (int round = 0; round < 2; ++round) {
            for (int i = 0; i < 20; ++i) {
                soon(ctx, [&] { connect_some(1); });
                co_await accept_some(1);
            }
            for (const int many : {1, 2, 5, 17}) {
                connect_some(many);
                co_await accept_some(many);
                soon(ctx, [&connect_some, many] { connect_some(many); });
                co_await accept_some(many);
            }
        }
        CHECK((co_await with_timeout(acceptor.accept(), 1ms)).error() == errc::timed_out);
    });
}

REACTOR_TEST("a receive that was cancelled has taken nothing, and the next one gets it") {
    run(kind, [&](io_context& ctx) -> task<> {
        datagrams over(ctx);
        std::array<char, 16> buffer;
        for (int i = 0; i < 20; ++i) {
            soon(ctx, [&over, i] { over.send(i); });
            CHECK(co_await over.receive() == i);
            auto waiting = ctx.spawn([](udp::socket& from, std::span<char> to) -> task<bool> {
                co_return (co_await from.receive(to)).error() == errc::canceled;
            }(over.receiver, buffer));
            co_await yield();
            waiting.cancel();
            CHECK(co_await waiting);
            over.send(i + 100);
            co_await yield();  // its event finds nobody
            co_await yield();
            CHECK(co_await over.receive() == i + 100);
        }
    });
}

REACTOR_TEST("what nobody receives or accepts is not told again and again") {
    watched own(kind);
    own.ctx.block_on([](watched& all) -> task<> {
        datagrams over(all.ctx);
        tcp::acceptor acceptor(all.ctx);
        acceptor.listen(any_port()).value();
        soon(all.ctx, [&over] { over.send(1); });
        CHECK(co_await over.receive() == 1);
        soon(all.ctx, [at = acceptor.local_endpoint()] { (void)blocking_connect(at); });
        CHECK((co_await acceptor.accept()).ok());
        // Both have been waited for; from here on nobody does.
        over.send(2);
        (void)blocking_connect(acceptor.local_endpoint());
        all.log->waits.clear();
        (void)co_await sleep_for(20ms);
        CHECK(all.log->waits.size() < 20);
        CHECK(co_await over.receive() == 2);
        CHECK((co_await acceptor.accept()).ok());
    }(own));
}

#if !defined(_WIN32) && !defined(TEST_PLATFORM_QUIRKY)  // whose descriptors are its own

namespace {

/// Datagrams of this machine, of which the system holds only so many.
struct local_pair {
    udp::socket socket;
    blocking_socket peer;

    explicit local_pair(io_context& ctx) {
        std::array<int, 2> ends{};
        REQUIRE(::socketpair(AF_UNIX, SOCK_DGRAM, 0, ends.data()) == 0);
        socket = udp::socket::adopt(ctx, udp::socket::native_handle_type{ends[0]}).value();
        peer = blocking_socket(ends[1]);
    }

    /// Sends until there is no room.
    task<int> fill() {
        int count = 0;
        while ((co_await with_timeout(socket.send("x"), 5ms)).ok()) ++count;
        co_return count;
    }
};

/// How often the loop looks while nobody waits for a socket.
task<std::size_t> waits_of_a_sleep(watched& own) {
    own.log->waits.clear();
    (void)co_await sleep_for(20ms);
    co_return own.log->waits.size();
}

}  // namespace

REACTOR_TEST("datagrams are sent and received at the same time through a socket that is full") {
    watched own(kind);
    own.ctx.block_on([](watched& all) -> task<> {
        local_pair over(all.ctx);
        constexpr int count = 2'000;
        std::array<char, 16> buffer;
        std::thread other([&] {
            for (int i = 0; i < count; ++i) {
                CHECK(over.peer.receive().bytes == std::to_string(i));
                if (i % 10 == 0) CHECK(over.peer.send("back") == 0);
            }
        });
        co_await when_all(
            [](udp::socket& to) -> task<> {
                for (int i = 0; i < count; ++i)
                    CHECK((co_await with_timeout(to.send(std::to_string(i)), 10s)).ok());
            }(over.socket),
            [](udp::socket& from, std::span<char> into) -> task<> {
                for (int i = 0; i < count / 10; ++i)
                    CHECK((co_await with_timeout(from.receive(into), 10s)).value() == 4);
            }(over.socket, buffer));
        other.join();
        CHECK(co_await waits_of_a_sleep(all) < 20);
    }(own));
}

REACTOR_TEST("room and a datagram that nobody waits for any more are not told again and again") {
    watched own(kind);
    own.ctx.block_on([](watched& all) -> task<> {
        for (const bool both : {false, true}) {
            local_pair over(all.ctx);
            std::array<char, 16> buffer;
            if (both)
                CHECK((co_await with_timeout(over.socket.receive(buffer), 1ms)).error() ==
                      errc::timed_out);
            const int count = co_await over.fill();
            CHECK(count > 0);
            for (int i = 0; i < count; ++i) CHECK(over.peer.receive().bytes == "x");
            CHECK(over.peer.send("y") == 0);
            CHECK(co_await waits_of_a_sleep(all) < 20);
            CHECK((co_await over.socket.receive(buffer)).value() == 1);
            CHECK((co_await over.socket.send("z")).ok());
            CHECK(over.peer.receive().bytes == "z");
        }
    }(own));
}

#endif

#if defined(CURFEW_HAS_EPOLL) && defined(IP_RECVERR)

TEST_CASE("epoll: an error that is kept for others is told once, and datagrams as ever") {
    const honest_system now;  // faults for other reactors would take edges away
    watched own(reactor_kind::epoll);
    own.ctx.block_on([](watched& all) -> task<> {
        datagrams over(all.ctx);
        const int fd = over.receiver.native_handle();
        const int on = 1;
        REQUIRE(::setsockopt(fd, IPPROTO_IP, IP_RECVERR, &on, sizeof on) == 0);
        std::array<char, 16> buffer;
        const auto nobody = native::loopback(closed_port().port());
        soon(all.ctx, [&] {
            CHECK(::sendto(fd, "x", 1, 0, reinterpret_cast<const sockaddr*>(&nobody),
                           sizeof nobody) == 1);
        });
        CHECK((co_await over.receiver.receive(buffer)).error() == std::errc::connection_refused);
        all.log->waits.clear();
        CHECK((co_await with_timeout(over.receiver.receive(buffer), 20ms)).error() ==
              errc::timed_out);
        CHECK(all.log->waits.size() < 20);
        int next = 0;
        for (int round = 0; round < 3; ++round) {
            for (int i = 0; i < 20; ++i) {
                soon(all.ctx, [&over, next] { over.send(next); });
                CHECK(co_await over.receive() == next++);
            }
            soon(all.ctx, [&over, next] {
                for (int i = 0; i < 20; ++i) over.send(next + i);
            });
            for (int i = 0; i < 20; ++i) CHECK(co_await over.receive() == next++);
        }
    }(own));
}

#endif
