// Datagrams without waiting, several at a time, and which way they come and go.
#include <curfew/udp.hpp>

#include <array>
#include <bit>
#include <string>
#include <vector>

#include "support/effort.hpp"
#include "support/loop.hpp"

using namespace test;

namespace {

udp::socket bound(io_context& ctx, const char* where = "127.0.0.1:0") {
    udp::socket socket(ctx);
    socket.bind(ip::endpoint::parse(where).value()).value();
    return socket;
}

/// Receives without waiting, as a program does that has frames: in the next one if need be.
task<result<std::size_t>> received(udp::socket& socket, mutable_buffer buffer,
                                   ip::endpoint& sender) {
    for (int frames = 0; frames < 5000; ++frames) {
        const auto got = socket.try_receive_from(buffer, sender);
        if (got.error() != std::errc::operation_would_block) co_return got;
        (void)co_await sleep_for(1ms);
    }
    co_return errc::timed_out;
}

/// Room for datagrams of 16 bytes.
struct room_for {
    std::vector<std::array<char, 16>> bytes;
    std::vector<udp::incoming_datagram> list;

    explicit room_for(std::size_t count) : bytes(count), list(count) {
        for (std::size_t i = 0; i < count; ++i) list[i].room = bytes[i];
    }
    std::string text(std::size_t i) const { return {bytes[i].data(), list[i].size}; }
};

struct numbered {
    std::vector<std::string> texts;
    std::vector<udp::outgoing_datagram> list;

    numbered(std::size_t count, const ip::endpoint& to) {
        for (std::size_t i = 0; i < count; ++i) texts.push_back(std::to_string(i));
        for (const auto& each : texts) list.push_back({each, to});
    }
};

}  // namespace

REACTOR_TEST("frames send and receive without waiting") {
    const honest_system now;  // injected faults say that there is no room, or nothing
    run(kind, [&](io_context& ctx) -> task<> {
        auto a = bound(ctx);
        std::array<char, 4> buffer;
        ip::endpoint sender;
        CHECK(a.try_receive_from(buffer, sender).error() == std::errc::operation_would_block);
        udp::socket b(ctx);
        CHECK(b.try_receive_from(buffer, sender).error() == errc::closed);
        CHECK(b.try_send_to("ping", a.local_endpoint()).value() == 4);  // opens itself
        CHECK((co_await received(a, buffer, sender)).value() == 4);
        CHECK(std::string(buffer.data(), 4) == "ping");
        CHECK(sender.port() == b.local_endpoint().port());
        CHECK(b.try_send_to("too long", a.local_endpoint()).value() == 8);
        const auto cut = co_await received(a, buffer, sender);
        CHECK(cut.error() == std::errc::message_size);
        CHECK(cut.data == 4);
        CHECK(a.try_receive_from(buffer, sender).error() == std::errc::operation_would_block);
        b.close();
        CHECK(b.try_send_to("ping", a.local_endpoint()).error() == errc::closed);
        // And what is tried takes nothing from those who wait.
        auto c = bound(ctx);
        CHECK(c.try_send_to("more", a.local_endpoint()).ok());
        CHECK((co_await with_timeout(a.receive_from(buffer, sender), 10s)).value() == 4);
    });
}

REACTOR_TEST("many datagrams go and come in order, with few operations") {
    run(kind, [&](io_context& ctx) -> task<> {
        for (const char* where : loopbacks) {
            auto a = bound(ctx, where);
            auto b = bound(ctx, where);
            constexpr std::size_t count = 96;  // three times as many as a call takes
            const numbered sent(count, b.local_endpoint());
            CHECK((co_await a.send_many(sent.list)).value() == count);
            room_for received(count + 10);
            std::size_t next = 0;
            while (next < count) {
                auto [ec, n] = co_await with_timeout(b.receive_many(received.list), 10s);
                REQUIRE_FALSE(ec);
                REQUIRE(n > 0);
                for (std::size_t i = 0; i < n; ++i, ++next) {
                    REQUIRE(received.text(i) == std::to_string(next));
                    REQUIRE(received.list[i].sender == a.local_endpoint());
                    REQUIRE_FALSE(received.list[i].was_cut);
                }
            }
            CHECK(next == count);
        }
    });
}

REACTOR_TEST("others have turns while very many datagrams are sent") {
    const honest_system now;  // which has room for them
    run(kind, [&](io_context& ctx) -> task<> {
        auto a = bound(ctx);
        auto nobody_reads = bound(ctx);
        const numbered sent(scaled(20'000), nobody_reads.local_endpoint());
        bool done = false;
        std::size_t turns = 0;
        auto others = ctx.spawn([](const bool& over, std::size_t& count) -> task<> {
            while (!over) {
                co_await yield();
                ++count;
            }
        }(done, turns));
        co_await yield();
        const auto [ec, n] = co_await a.send_many(sent.list);
        done = true;
        CHECK_FALSE(ec);
        CHECK(n == sent.list.size());
        CHECK(turns >= n / 256 - 1);
        co_await others;
    });
}

REACTOR_TEST("of many datagrams those that were cut say so, and none of them is too many") {
    run(kind, [&](io_context& ctx) -> task<> {
        auto a = bound(ctx);
        auto b = bound(ctx);
        CHECK((co_await a.send_many({})).value() == 0);
        CHECK((co_await b.receive_many({})).value() == 0);
        a.connect(b.local_endpoint()).value();
        const std::array<udp::outgoing_datagram, 3> list{
            {{"longer than sixteen bytes", {}}, {std::string_view(), {}}, {"short", {}}}};
        CHECK((co_await a.send_many(list)).value() == 3);
        room_for received(1);
        CHECK((co_await with_timeout(b.receive_many(received.list), 10s)).value() == 1);
        CHECK(received.list[0].was_cut);
        CHECK(received.text(0) == "longer than sixt");
        CHECK((co_await with_timeout(b.receive_many(received.list), 10s)).value() == 1);
        CHECK_FALSE(received.list[0].was_cut);
        CHECK(received.list[0].size == 0);
        CHECK((co_await with_timeout(b.receive_many(received.list), 10s)).value() == 1);
        CHECK(received.text(0) == "short");
        b.close();
        CHECK((co_await b.receive_many(received.list)).error() == errc::closed);
        CHECK((co_await b.send_many(list)).error() == errc::closed);
    });
}

REACTOR_TEST("an error among many counts those that have gone before it") {
    run(kind, [&](io_context& ctx) -> task<> {
        auto a = bound(ctx);
        auto b = bound(ctx);
        const std::string large(100'000, 'x');
        const std::array<udp::outgoing_datagram, 4> list{{{"one", b.local_endpoint()},
                                                          {"two", b.local_endpoint()},
                                                          {large, b.local_endpoint()},
                                                          {"four", b.local_endpoint()}}};
        const auto sent = co_await a.send_many(list);
        CHECK(sent.error() == std::errc::message_size);
        CHECK(sent.data == 2);
        CHECK((co_await a.send_many(std::span(list).subspan(3))).value() == 1);
        std::array<char, 16> buffer;
        ip::endpoint sender;
        for (const char* text : {"one", "two", "four"}) {
            auto [ec, n] = co_await with_timeout(b.receive_from(buffer, sender), 10s);
            CHECK_FALSE(ec);
            CHECK(std::string(buffer.data(), n) == text);
        }
    });
}

REACTOR_TEST("under limits that come and go none of many datagrams is lost") {
    run(kind, [&](io_context& ctx) -> task<> {
        auto a = bound(ctx);
        auto b = bound(ctx);
        constexpr std::size_t count = 2000;
        const numbered all(count, b.local_endpoint());
        ctx.spawn([](udp::socket& from, std::span<const udp::outgoing_datagram> list) -> task<> {
            while (!list.empty()) {
                const auto now = list.first(list.size() < 7 ? list.size() : 7);
                // (Without waiting every other time: then what has gone is less than all, if a
                // system says in between that there is no room.)
                const auto limit = list.size() % 2 ? 0us : 50us;
                const auto sent = co_await with_timeout(from.send_many(now), limit);
                if (sent.error() != errc::timed_out) sent.value();
                list = list.subspan(sent.data);
                (void)co_await sleep_for(std::chrono::microseconds(list.size() % 300));
                if (list.size() % 90 < 7) (void)co_await sleep_for(1ms);  // for limits to expire
            }
        }(a, all.list));
        room_for received(5);
        std::size_t next = 0;
        int expired = 0;
        while (next < count) {
            auto [ec, n] = co_await with_timeout(b.receive_many(received.list), 50us);
            if (ec == errc::timed_out) {
                REQUIRE(n == 0);
                ++expired;
                continue;
            }
            REQUIRE_FALSE(ec);
            for (std::size_t i = 0; i < n; ++i, ++next)
                REQUIRE(received.text(i) == std::to_string(next));
        }
        CHECK(expired > 0);
    });
}

REACTOR_TEST("many datagrams race with others in when_any, and lose none") {
    run(kind, [&](io_context& ctx) -> task<> {
        auto a = bound(ctx);
        auto b = bound(ctx);
        auto c = bound(ctx);
        room_for first(4), second(4);
        const numbered one(1, b.local_endpoint());
        for (int i = 0; i < 50; ++i) {
            CHECK((co_await a.send_many(one.list)).value() == 1);
            auto raced = co_await when_any(b.receive_many(first.list), c.receive_many(second.list));
            CHECK(raced.index == 0);
        }
    });
}

#if defined(CURFEW_HAS_PATHS)
REACTOR_TEST("an answer leaves from where the datagram was sent to") {
    run(kind, [&](io_context& ctx) -> task<> {
        for (const char* where : {"0.0.0.0:0", "[::]:0"}) {
            const bool v6 = ip::endpoint::parse(where).value().family() == ip::family::v6;
            auto server = bound(ctx, where);
            udp::path way;
            std::array<char, 16> buffer;
            CHECK(server.tell_paths(true).ok());
            for (const char* address : {"127.0.0.1", "127.0.0.2", "::1", "::ffff:127.0.0.3"}) {
                const auto there = ip::address::parse(address).value();
                if (there.is_v6() != v6) continue;
                auto client = bound(ctx, v6 ? "[::]:0" : "0.0.0.0:0");
                CHECK(client.traffic_class(0x2e << 2 | 1).ok());
                const ip::endpoint to(there, server.local_endpoint().port());
                CHECK((co_await client.send_to("ask", to)).ok());
                CHECK((co_await with_timeout(server.receive_from(buffer, way), 10s)).value() == 3);
                CHECK(way.peer.port() == client.local_endpoint().port());
                CHECK(way.local == there);
                CHECK(way.destination == there);
                if (std::endian::native == std::endian::little) {  // (emulators garble numbers)
                    CHECK(way.interface_index == curfew::platform::interface_index("lo"));
                    CHECK(way.traffic_class == (0x2e << 2 | 1));
                }
                CHECK((co_await server.send_to("answer", way)).value() == 6);
                ip::endpoint from;
                CHECK((co_await with_timeout(client.receive_from(buffer, from), 10s)).value() == 6);
                CHECK(from == to);
            }
            // Without being asked for it is told of no more than the peer.
            CHECK(server.tell_paths(false).ok());
            CHECK((co_await server.send_to(
                       "cut", {v6 ? ip::address::loopback_v6() : ip::address::loopback_v4(),
                               server.local_endpoint().port()}))
                      .ok());
            const auto cut =
                co_await with_timeout(server.receive_from(std::span(buffer).first(2), way), 10s);
            CHECK(cut.error() == std::errc::message_size);
            CHECK(cut.data == 2);
            CHECK(way.peer.port() == server.local_endpoint().port());
            CHECK(way.local.is_unspecified());
            CHECK((co_await with_timeout(server.receive_from(buffer, way), 1ms)).error() ==
                  errc::timed_out);
        }
        udp::socket closed(ctx);
        CHECK(closed.tell_paths(true).error() == errc::closed);
    });
}
#else
REACTOR_TEST("a platform that tells of no paths says so") {
    run(kind, [&](io_context& ctx) -> task<> {
        auto socket = bound(ctx);
        CHECK(socket.tell_paths(true).error() == errc::not_supported);
        udp::path way;
        way.peer = socket.local_endpoint();
        std::array<char, 16> buffer;
        CHECK((co_await socket.receive_from(buffer, way)).error() == errc::not_supported);
        CHECK((co_await socket.send_to("x", way)).error() == errc::not_supported);
    });
}
#endif
