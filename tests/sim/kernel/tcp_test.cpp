#include <curfew/sim/kernel/tcp.hpp>

#include <cerrno>
#include <string>

#include <doctest/doctest.h>

#include "two_hosts.hpp"

namespace {

using namespace two_hosts;

/// Sends `size` bytes each way at once, and looks whether they come as they were sent.
void stream_both_ways(world& in, const world::pair& over, std::size_t size) {
    const auto byte_at = [](std::size_t position, int salt) {
        return static_cast<std::byte>(position * 31 + position / 251 +
                                      static_cast<std::size_t>(salt));
    };
    struct end {
        stack* host;
        descriptor on;
        int salt;
        std::size_t sent = 0;
        std::size_t got = 0;
        bool wrong = false;
    };
    end ends[2] = {{&in.a, over.client, 1}, {&in.b, over.server, 2}};
    std::byte buffer[3000];
    const auto work = [&] {
        for (int i = 0; i < 2; ++i) {
            end& own = ends[i];
            for (;;) {
                const std::size_t n = std::min(sizeof buffer, size - own.sent);
                for (std::size_t k = 0; k < n; ++k) buffer[k] = byte_at(own.sent + k, own.salt);
                const auto sent = n ? own.host->send(own.on, buffer, n) : 0;
                if (sent <= 0) break;
                own.sent += static_cast<std::size_t>(sent);
            }
            for (;;) {
                const auto n = own.host->receive(own.on, buffer, sizeof buffer);
                if (n <= 0) break;
                for (std::ptrdiff_t k = 0; k < n; ++k)
                    own.wrong |= buffer[k] !=
                                 byte_at(own.got + static_cast<std::size_t>(k), ends[1 - i].salt);
                own.got += static_cast<std::size_t>(n);
            }
        }
        return ends[0].got == size && ends[1].got == size;
    };
    CHECK(in.run_until(work));
    CHECK(ends[0].got == size);
    CHECK(ends[1].got == size);
    CHECK_FALSE(ends[0].wrong);
    CHECK_FALSE(ends[1].wrong);
}

TEST_CASE(
    "a stream arrives as it was sent, byte by byte, through loss, reordering and duplicates") {
    for (std::uint64_t seed = 1; seed <= 20; ++seed) {
        CAPTURE(seed);
        world in(seed);
        link_options& link = in.wire.default_link();
        link.least_latency = 5 * millisecond;
        link.most_latency = 80 * millisecond;
        link.loss = 0.2;
        link.duplicate = 0.05;
        link.reorder = 0.1;
        const auto over = in.connect();
        REQUIRE(over.server >= 0);
        stream_both_ways(in, over, 100'000);
    }
}

TEST_CASE("a stream goes on after a partition that heals") {
    world in;
    const auto over = in.connect();
    CHECK(send(in.a, over.client, "before") == 6);
    in.run_for(second);
    in.wire.cut(in.a, in.b, true);
    CHECK(send(in.a, over.client, " after") == 6);
    in.run_for(60 * second);
    CHECK(receive(in.b, over.server) == "before");
    in.wire.cut(in.a, in.b, false);
    CHECK(in.run_until([&] { return (in.b.poll(over.server) & poll_bit_in) != 0; }, 200 * second));
    CHECK(receive(in.b, over.server) == " after");
}

TEST_CASE("packets that are held go on in their order") {
    world in;
    const auto over = in.connect();
    in.wire.hold(in.a, in.b);
    send(in.a, over.client, "one ");
    send(in.a, over.client, "two");
    in.run_for(100 * millisecond);
    CHECK(receive(in.b, over.server).empty());
    in.wire.release(in.a, in.b);
    in.run_for(second);
    CHECK(receive(in.b, over.server) == "one two");
}

TEST_CASE("a connect to nobody is refused, and one into silence has timed out after 127 s") {
    world in;
    descriptor client = -1;
    REQUIRE(in.a.open(family::v4, transport::stream, client) == 0);
    CHECK(in.a.connect(client, v4(2, 81)) == EINPROGRESS);
    in.run_for(second);
    CHECK(in.a.take_error(client) == ECONNREFUSED);
    in.a.close(client);

    in.wire.cut(in.a, in.b, true);
    REQUIRE(in.a.open(family::v4, transport::stream, client) == 0);
    CHECK(in.a.connect(client, v4(2, 80)) == EINPROGRESS);
    const nanoseconds begin = in.wire.now();
    CHECK(in.run_until([&] { return (in.a.poll(client) & poll_bit_error) != 0; }));
    CHECK(in.a.take_error(client) == ETIMEDOUT);
    CHECK((in.wire.now() - begin) / second == 127);
}

TEST_CASE("a connect to an address that nobody has fails") {
    world in;
    descriptor client = -1;
    REQUIRE(in.a.open(family::v4, transport::stream, client) == 0);
    CHECK(in.a.connect(client, v4(77, 80)) == EINPROGRESS);
    in.run_for(second);
    CHECK(in.a.take_error(client) == EHOSTUNREACH);
}

TEST_CASE("a listener's queue that is full makes others wait, and who waited is let in") {
    world in;
    descriptor listener = -1;
    in.b.open(family::v4, transport::stream, listener);
    in.b.bind(listener, any(family::v4, 80));
    in.b.listen(listener, 1);  // Linux lets one more in
    std::vector<descriptor> clients(4, -1);
    for (descriptor& each : clients) {
        in.a.open(family::v4, transport::stream, each);
        in.a.connect(each, v4(2, 80));
        in.run_for(100 * millisecond);
    }
    int connected = 0;
    for (descriptor each : clients) connected += (in.a.poll(each) & poll_bit_out) != 0;
    CHECK(connected == 2);
    std::vector<descriptor> accepted;
    CHECK(in.run_until([&] {
        descriptor made = -1;
        if (in.b.accept(listener, made, nullptr) == 0) accepted.push_back(made);
        return accepted.size() == 4;
    }));
}

TEST_CASE("a close in good order is an end of the stream, one with unread bytes or a linger of 0 a "
          "reset") {
    world in;
    SUBCASE("in good order") {
        const auto over = in.connect();
        send(in.a, over.client, "bye");
        in.a.close(over.client);
        in.run_for(second);
        CHECK(receive(in.b, over.server) == "bye");
        CHECK(receive_error(in.b, over.server) == 0);
        CHECK((in.b.poll(over.server) & poll_bit_peer_hang_up) != 0);
    }
    SUBCASE("with unread bytes") {
        const auto over = in.connect();
        send(in.b, over.server, "unread");
        in.run_for(second);
        in.a.close(over.client);
        in.run_for(second);
        CHECK(receive_error(in.b, over.server) == ECONNRESET);
        CHECK(receive_error(in.b, over.server) == 0);
    }
    SUBCASE("with a linger of 0") {
        const auto over = in.connect();
        in.a.reset_on_close(over.client);
        in.a.close(over.client);
        in.run_for(second);
        CHECK(receive_error(in.b, over.server) == ECONNRESET);
    }
}

TEST_CASE("half of a connection can end") {
    world in;
    const auto over = in.connect();
    CHECK(in.a.shutdown(over.client, shutdown_side::send) == 0);
    in.run_for(second);
    CHECK(receive_error(in.b, over.server) == 0);
    CHECK(send(in.b, over.server, "still") == 5);
    in.run_for(second);
    CHECK(receive(in.a, over.client) == "still");
    CHECK(send(in.a, over.client, "x") == -EPIPE);
}

TEST_CASE("a peer whose power has gone is silent, and one that has booted again resets") {
    world in;
    const auto over = in.connect();
    in.b.power_off();
    CHECK(send(in.a, over.client, "anybody?") == 8);
    in.run_for(30 * second);
    CHECK(receive_error(in.a, over.client) == EAGAIN);
    in.b.power_on();
    CHECK(in.run_until([&] { return (in.a.poll(over.client) & poll_bit_error) != 0; }));
    CHECK(receive_error(in.a, over.client) == ECONNRESET);
}

TEST_CASE("what is never acknowledged has timed out after a quarter of an hour") {
    world in;
    const auto over = in.connect();
    in.wire.cut(in.a, in.b, true);
    send(in.a, over.client, "anybody?");
    const nanoseconds begin = in.wire.now();
    CHECK(in.run_until([&] { return (in.a.poll(over.client) & poll_bit_error) != 0; }));
    CHECK(receive_error(in.a, over.client) == ETIMEDOUT);
    CHECK((in.wire.now() - begin) / second > 900);  // tcp_retries2 of Linux: 924.6 s at least
    CHECK((in.wire.now() - begin) / second < 1000);
}

TEST_CASE("keep-alive finds out that the peer is gone, and leaves one alone that is there") {
    world in;
    const auto over = in.connect();
    REQUIRE(in.a.set_option(over.client, curfew::platform::option::keep_alive, 1) == 0);
    in.run_for(3 * 7200 * second);
    CHECK(receive_error(in.a, over.client) == EAGAIN);
    in.b.power_off();
    CHECK(in.run_until([&] { return (in.a.poll(over.client) & poll_bit_error) != 0; }));
    CHECK(receive_error(in.a, over.client) == ETIMEDOUT);
}

TEST_CASE("a sender waits for a reader that has no room, and goes on when it has") {
    world in;
    const auto over = in.connect();
    std::vector<std::byte> much(1 << 20);
    std::size_t sent = 0;
    const auto send_more = [&] {
        for (;;) {
            const auto n = in.a.send(over.client, much.data(), much.size());
            if (n <= 0) break;
            sent += static_cast<std::size_t>(n);
        }
    };
    for (int i = 0; i < 100; ++i) {
        send_more();
        in.run_for(second);
    }
    CHECK(sent <= in.a.tcp.send_buffer + in.b.tcp.receive_buffer);
    CHECK((in.a.poll(over.client) & poll_bit_out) == 0);
    const std::size_t before = sent;
    std::size_t got = 0;
    CHECK(in.run_until([&] {
        const auto n = in.b.receive(over.server, much.data(), 10'000);
        if (n > 0) got += static_cast<std::size_t>(n);
        send_more();
        return got > before + 500'000;
    }));
}

TEST_CASE("the port of a connection lingers with who has closed first, but for who does not mind") {
    world in;
    const auto over = in.connect();
    in.b.close(over.server);
    in.run_for(second);
    in.a.close(over.client);
    in.run_for(second);
    in.b.close(over.listener);
    descriptor again = -1;
    in.b.open(family::v4, transport::stream, again);
    CHECK(in.b.bind(again, any(family::v4, 80)) == EADDRINUSE);
    in.run_for(61 * second);
    CHECK(in.b.bind(again, any(family::v4, 80)) == 0);
}

TEST_CASE("small segments wait for the answer to the one before, unless told not to") {
    for (const bool no_delay : {false, true}) {
        CAPTURE(no_delay);
        world in;
        const auto over = in.connect();
        in.a.set_option(over.client, curfew::platform::option::no_delay, no_delay);
        const auto begin = in.wire.packets();
        for (int i = 0; i < 10; ++i) send(in.a, over.client, "x");
        const auto at_once = in.wire.packets() - begin;
        CHECK(at_once == (no_delay ? 10u : 1u));
        in.run_for(second);
        CHECK(receive(in.b, over.server) == "xxxxxxxxxx");
    }
}

TEST_CASE("IPv6, and IPv4 by mapped addresses to a listener for both") {
    world in;
    CHECK(in.connect(family::v6).server >= 0);
    descriptor listener = -1;
    in.b.open(family::v6, transport::stream, listener);
    REQUIRE(in.b.bind(listener, any(family::v6, 90)) == 0);
    in.b.listen(listener, 4);
    descriptor client = -1;
    in.a.open(family::v4, transport::stream, client);
    in.a.connect(client, v4(2, 90));
    in.run_for(second);
    descriptor server = -1;
    address peer;
    REQUIRE(in.b.accept(listener, server, &peer) == 0);
    CHECK(peer.family == family::v6);
    CHECK(peer.bytes[10] == 0xff);
    CHECK(peer.bytes[12] == 10);
}

TEST_CASE("the same seed is the same world, packet by packet") {
    struct hashing final : network_observer {
        std::uint64_t hash = 0;
        void on_packet(nanoseconds when, const packet& what, fate how) override {
            for (const std::uint64_t each :
                 {static_cast<std::uint64_t>(when), what.number, what.sequence, what.acknowledgment,
                  std::uint64_t{what.payload.size()}, static_cast<std::uint64_t>(how)})
                hash = (hash ^ each) * 1099511628211u;
        }
    };
    const auto run = [](std::uint64_t seed) {
        hashing by;
        world in(seed);
        in.wire.observe(&by);
        in.wire.default_link().most_latency = 50 * millisecond;
        in.wire.default_link().loss = 0.1;
        stream_both_ways(in, in.connect(), 30'000);
        return by.hash;
    };
    CHECK(run(7) == run(7));
    CHECK(run(7) != run(8));
    CHECK(run(7) == 7771011390752695876u);  // on every machine
}

}  // namespace
