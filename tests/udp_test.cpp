// UDP sockets.
#include <curfew/udp.hpp>

#include <array>
#include <memory>
#include <string>

#include "support/loop.hpp"
#include "support/watched_reactor.hpp"

using namespace test;

namespace {

udp::socket bound(io_context& ctx, const char* where = "127.0.0.1:0") {
    udp::socket socket(ctx);
    socket.bind(ip::endpoint::parse(where).value()).value();
    return socket;
}

}  // namespace

REACTOR_TEST("datagrams go to an endpoint and say where they came from") {
    run(kind, [&](io_context& ctx) -> task<> {
        for (const char* where : loopbacks) {
            auto a = bound(ctx, where);
            auto b = bound(ctx, where);
            CHECK((co_await a.send_to("hello", b.local_endpoint())).value() == 5);
            CHECK((co_await a.send_to("again", b.local_endpoint())).value() == 5);
            std::array<char, 64> buffer;
            ip::endpoint sender;
            auto [ec, n] = co_await b.receive_from(buffer, sender);
            CHECK_FALSE(ec);
            CHECK(std::string(buffer.data(), n) == "hello");
            CHECK(sender == a.local_endpoint());
            CHECK((co_await b.receive_from(buffer, sender)).value() == 5);
        }
    });
}

REACTOR_TEST("connected datagrams, gathered and scattered") {
    run(kind, [&](io_context& ctx) -> task<> {
        auto a = bound(ctx);
        auto b = bound(ctx);
        CHECK(a.remote_endpoint().is_unspecified());
        CHECK(a.connect(b.local_endpoint()).ok());
        CHECK((co_await b.connect(a.local_endpoint())).ok());
        CHECK(a.remote_endpoint() == b.local_endpoint());
        CHECK((co_await a.send("one ", std::string("datagram"))).value() == 12);
        std::array<char, 3> first;
        std::string second(64, ' ');
        CHECK((co_await b.receive(first, second)).value() == 12);
        CHECK(std::string(first.data(), 3) + second.substr(0, 9) == "one datagram");
    });
}

REACTOR_TEST("a datagram for which there is room is sent at once, so many may share a socket") {
    const honest_system now;  // injected faults say that there is no room
    run(kind, [&](io_context& ctx) -> task<> {
        auto from = bound(ctx);
        auto to = bound(ctx);
        task_group group;
        int sent = 0;
        for (int i = 0; i < 20; ++i)
            group.spawn([](udp::socket& socket, ip::endpoint receiver, int& count) -> task<> {
                count += (co_await socket.send_to("state", receiver)).ok();
                count += (co_await with_timeout(socket.send_to("state", receiver), 0s)).ok();
            }(from, to.local_endpoint(), sent));
        (co_await group.join()).value();
        CHECK(sent == 40);
    });
}

REACTOR_TEST("a socket takes the datagrams that have arrived, and not one a turn") {
    if (kind == reactor_kind::iocp) return;  // WSARecvFrom takes one at a time
    const honest_system now;                 // injected faults say that nothing is there
    const auto log = std::make_shared<watched_reactor::log>();
    io_context ctx(std::make_unique<watched_reactor>(kind, log));
    ctx.block_on([](io_context& c, watched_reactor::log& done) -> task<> {
        auto from = bound(c);
        auto to = bound(c);
        std::array<char, 64> buffer;
        for (int i = 0; i < 40; ++i) {  // each comes alone: nobody expects more
            (co_await from.send_to("one", to.local_endpoint())).value();
            (co_await to.receive(buffer)).value();
        }
        constexpr std::size_t many = 60;
        for (std::size_t i = 0; i < many; ++i)
            (co_await from.send_to("many", to.local_endpoint())).value();
        done.starts = 0;  // each takes a turn at least
        for (std::size_t i = 0; i < many; ++i) (co_await to.receive(buffer)).value();
        CHECK(done.starts < many / 2);
    }(ctx, *log));
}

REACTOR_TEST("an empty datagram is a success, one that is cut says so") {
    run(kind, [&](io_context& ctx) -> task<> {
        auto a = bound(ctx);
        auto b = bound(ctx);
        std::array<char, 4> buffer;
        ip::endpoint sender;
        CHECK((co_await a.send_to(std::string_view(), b.local_endpoint())).ok());
        auto [ec, n] = co_await b.receive_from(buffer, sender);
        CHECK_FALSE(ec);
        CHECK(n == 0);
        CHECK(sender == a.local_endpoint());
        CHECK((co_await a.send_to("too long", b.local_endpoint())).value() == 8);
        auto [ec2, n2] = co_await b.receive_from(buffer, sender);
        CHECK(ec2 == std::errc::message_size);
        CHECK(n2 == 4);
        CHECK(std::string(buffer.data(), 4) == "too ");
        CHECK((co_await a.send_to(std::string(100'000, 'x'), b.local_endpoint())).error() ==
              std::errc::message_size);
    });
}

REACTOR_TEST("nobody at the other end is an error of a connected socket, which stays usable") {
    run(kind, [&](io_context& ctx) -> task<> {
        auto a = bound(ctx);
        ip::endpoint nobody;
        {
            auto gone = bound(ctx);
            nobody = gone.local_endpoint();
        }
        a.connect(nobody).value();
        CHECK((co_await a.send("anyone?")).ok());
        std::array<char, 16> buffer;
        if (hears_of_closed_ports)
            CHECK((co_await with_timeout(a.receive(buffer), 5s)).error() ==
                  std::errc::connection_refused);
        CHECK((co_await with_timeout(a.receive(buffer), 2ms)).error() == errc::timed_out);
    });
}

REACTOR_TEST("under limits that come and go no datagram is lost") {
    run(kind, [&](io_context& ctx) -> task<> {
        auto a = bound(ctx);
        auto b = bound(ctx);
        constexpr int count = 2000;
        ctx.spawn([](udp::socket& from, ip::endpoint to) -> task<> {
            for (int i = 0; i < count; ++i) {
                (co_await from.send_to(std::to_string(i), to)).value();
                if (i % 100 == 99) (void)co_await sleep_for(1ms);  // for limits to expire
                if (i % 8 == 7) (void)co_await sleep_for(std::chrono::microseconds(i % 300));
            }
        }(a, b.local_endpoint()));
        int next = 0;
        int expired = 0;
        std::array<char, 16> buffer;
        ip::endpoint sender;
        while (next < count) {
            auto [ec, n] = co_await with_timeout(b.receive_from(buffer, sender), 50us);
            if (ec == errc::timed_out) {
                ++expired;
                continue;
            }
            REQUIRE_FALSE(ec);
            REQUIRE(std::string(buffer.data(), n) == std::to_string(next));
            ++next;
        }
        CHECK(expired > 0);
    });
}

REACTOR_TEST("closing ends what is pending, a limit with `close` closes") {
    run(kind, [&](io_context& ctx) -> task<> {
        auto a = bound(ctx);
        auto pending = ctx.spawn([](udp::socket& s) -> task<result<std::size_t>> {
            std::array<char, 4> buffer;
            ip::endpoint sender;
            co_return co_await s.receive_from(buffer, sender);
        }(a));
        co_await yield();
        a.close();
        CHECK((co_await pending).error() == errc::closed);
        std::array<char, 4> buffer;
        CHECK((co_await a.receive(buffer)).error() == errc::closed);
        CHECK((co_await a.send_to("x", any_port())).error() == errc::closed);
        auto b = bound(ctx);
        CHECK((co_await with_timeout(b.receive(buffer), 1ms, on_timeout::close)).error() ==
              errc::timed_out);
        CHECK_FALSE(b.is_open());
        CHECK(b.bind(any_port()).ok());  // opened anew
    });
}

REACTOR_TEST("a socket that was never open opens itself to send") {
    run(kind, [&](io_context& ctx) -> task<> {
        auto a = bound(ctx);
        udp::socket b(ctx);
        CHECK((co_await b.send_to("hi", a.local_endpoint())).value() == 2);
        std::array<char, 4> buffer;
        ip::endpoint sender;
        CHECK((co_await a.receive_from(buffer, sender)).value() == 2);
        CHECK(sender.port() == b.local_endpoint().port());
        b.close();
        CHECK((co_await b.send_to("hi", a.local_endpoint())).error() == errc::closed);
        if (!has_ipv6) {
            udp::socket c(ctx);
            CHECK((co_await c.send_to("hi", {ip::address::loopback_v6(), 9})).error() ==
                  errc::not_supported);
            CHECK(c.bind({ip::address::loopback_v6(), 0}).error() == errc::not_supported);
        }
    });
}

REACTOR_TEST("descriptors and options") {
    run(kind, [&](io_context& ctx) -> task<> {
        auto a = bound(ctx);
        CHECK(a.broadcast(true).ok());
        CHECK(a.broadcast().value());
        const auto endpoint = a.local_endpoint();
        auto b = udp::socket::adopt(ctx, a.release()).value();
        CHECK(b.local_endpoint() == endpoint);
        CHECK_FALSE(a.is_open());
        CHECK((co_await b.send_to("self", endpoint)).value() == 4);
        std::array<char, 4> buffer;
        CHECK((co_await b.receive(buffer)).value() == 4);
    });
}

#if defined(CURFEW_HAS_ERROR_QUEUE)
REACTOR_TEST("the queue of errors says which datagram met what") {
    run(kind, [&](io_context& ctx) -> task<> {
        for (const char* loopback : loopbacks) {
            const auto any = ip::endpoint::parse(loopback).value();
            udp::socket socket(ctx);
            CHECK(socket.queue_errors(true).error() == errc::closed);
            CHECK(socket.receive_error().error() == errc::closed);
            socket.bind(any).value();
            socket.queue_errors(true).value();
            std::array<char, 16> buffer;
            CHECK(socket.receive_error(buffer).error() ==
                  std::errc::resource_unavailable_try_again);
            udp::socket gone(ctx);
            gone.bind(any).value();
            const auto nobody = gone.local_endpoint();
            gone.close();

            CHECK((co_await socket.send_to("ping", nobody)).ok());
            CHECK((co_await with_timeout(socket.wait(readable), 10s)).ok());
            auto [ec, answer] = socket.receive_error(buffer);
            CHECK_FALSE(ec);
            CHECK(answer.error == std::errc::connection_refused);
            CHECK(answer.receiver == nobody);
            if (sizeof(void*) > 4)  // (qemu garbles it for 32-bit programs)
                CHECK(answer.reporter == nobody.address());
            CHECK(std::string_view(buffer.data(), answer.size) == "ping");
            CHECK(answer.mtu == 0);
            CHECK(socket.receive_error().error() == std::errc::resource_unavailable_try_again);

            ip::endpoint sender;
            udp::socket peer(ctx);
            peer.bind(any).value();
            CHECK((co_await peer.send_to("data", socket.local_endpoint())).ok());
            CHECK((co_await with_timeout(socket.receive_from(buffer, sender), 10s)).value() == 4);
            CHECK(sender == peer.local_endpoint());
        }
    });
}

REACTOR_TEST("an error that nobody takes from the queue does not end one wait after the other") {
    run(kind, [&](io_context& ctx) -> task<> {
        udp::socket socket(ctx);
        socket.bind(any_port()).value();
        socket.queue_errors(true).value();
        udp::socket gone(ctx);
        gone.bind(any_port()).value();
        const auto nobody = gone.local_endpoint();
        gone.close();
        std::array<char, 16> buffer;
        ip::endpoint sender;
        const auto waits_that_end = [&](int most) -> task<int> {
            int count = 0;
            while (count < most && (co_await with_timeout(socket.wait(readable), 5ms)).ok())
                ++count;
            co_return count;
        };
        CHECK(co_await waits_that_end(1) == 0);
        for (int i = 0; i < 3; ++i) {
            CHECK((co_await socket.send_to("ping", nobody)).ok());
            CHECK((co_await with_timeout(socket.wait(readable), 10s)).ok());
            // (The event of an error that has been looked at already may be still to come.)
            CHECK(co_await waits_that_end(5) <= 1);
            CHECK((co_await with_timeout(socket.receive_from(buffer, sender), 10s)).error() ==
                  std::errc::connection_refused);
            CHECK((co_await with_timeout(socket.wait(readable), 10s)).ok());  // what is queued
            CHECK(co_await waits_that_end(5) <= 1);
            CHECK((co_await with_timeout(socket.receive_from(buffer, sender), 5ms)).error() ==
                  errc::timed_out);
            if (kind == reactor_kind::epoll) {  // which is told when there is one more
                CHECK((co_await socket.send_to("ping", nobody)).ok());
                CHECK((co_await with_timeout(socket.wait(readable), 10s)).ok());
            }
            CHECK(socket.receive_error().ok());
            while (socket.receive_error().ok()) {}
            CHECK(co_await waits_that_end(1) == 0);
        }
        CHECK((co_await socket.send_to("ping", nobody)).ok());
        CHECK((co_await with_timeout(socket.wait(readable), 10s)).ok());
        CHECK(co_await waits_that_end(5) <= 1);
        // Data end it all the same.
        CHECK((co_await socket.send_to("data", socket.local_endpoint())).error() ==
              std::errc::connection_refused);
        CHECK((co_await socket.send_to("data", socket.local_endpoint())).ok());
        CHECK((co_await with_timeout(socket.wait(readable), 10s)).ok());
        CHECK((co_await with_timeout(socket.receive_from(buffer, sender), 10s)).value() == 4);
    });
}
#else
REACTOR_TEST("a platform without a queue of errors says so") {
    run(kind, [&](io_context& ctx) -> task<> {
        udp::socket socket(ctx);
        socket.bind(any_port()).value();
        CHECK(socket.queue_errors(true).error() == errc::not_supported);
        CHECK(socket.receive_error().error() == errc::not_supported);
        co_return;
    });
}
#endif
