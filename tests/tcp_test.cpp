// TCP sockets and acceptors.
#include <curfew/tcp.hpp>

#include <array>
#include <list>
#include <string>
#include <thread>
#include <vector>

#include "support/effort.hpp"
#include "support/full_listener.hpp"
#include "support/loop.hpp"

using namespace test;

static_assert(!std::is_copy_constructible_v<tcp::socket>);
static_assert(std::is_nothrow_move_constructible_v<tcp::socket>);
static_assert(!std::convertible_to<result<>, bool>);

namespace {

task<result<std::size_t>> read_into(tcp::socket& socket, std::span<char> buffer) {
    co_return co_await socket.read_some(buffer);
}

task<result<std::size_t>> write_from(tcp::socket& socket, std::string_view bytes) {
    co_return co_await write_all(socket, bytes);
}

task<result<>> connect_to(tcp::socket& socket, ip::endpoint to) {
    co_return co_await socket.connect(to);
}

/// Opens `socket`, which is closed, again: everything works there, and both directions are free.
task<> works_when_reopened(io_context& ctx, tcp::socket& socket) {
    tcp::acceptor acceptor(ctx);
    acceptor.listen(any_port()).value();
    const auto connected = co_await socket.connect(acceptor.local_endpoint());
    CHECK(connected.ec == std::error_code());
    if (!connected.ok()) co_return;
    auto peer = (co_await acceptor.accept()).value();
    std::array<char, 8> buffer;
    auto reading = ctx.spawn(read_into(socket, buffer));
    co_await yield();
    CHECK((co_await write_all(socket, "there")).value() == 5);
    std::array<char, 5> there;
    CHECK((co_await read_exactly(peer, there)).value() == 5);
    CHECK((co_await write_all(peer, "back")).value() == 4);
    auto [ec, count] = co_await reading;
    CHECK(ec == std::error_code());
    CHECK(std::string_view(buffer.data(), count) == "back");
}

}  // namespace

REACTOR_TEST("connections by IPv4 and IPv6 know both their ends") {
    run(kind, [&](io_context& ctx) -> task<> {
        for (const char* where : loopbacks) {
            tcp::acceptor acceptor(ctx);
            acceptor.listen(ip::endpoint::parse(where).value()).value();
            const auto at = acceptor.local_endpoint();
            CHECK(at.port() != 0);
            tcp::socket client(ctx);
            CHECK(client.local_endpoint().is_unspecified());
            CHECK(client.remote_endpoint().is_unspecified());
            (co_await client.connect(at)).value();
            auto server = (co_await acceptor.accept()).value();
            CHECK(client.remote_endpoint() == at);
            CHECK(server.remote_endpoint() == client.local_endpoint());
            CHECK(server.local_endpoint() == at);
            (co_await write_all(client, "over ", std::string(where))).value();
            std::array<char, 64> buffer;
            auto [ec, n] = co_await server.read_some(buffer);
            CHECK(std::string(buffer.data(), n) == "over " + std::string(where));
        }
    });
}

REACTOR_TEST("errors: refused, bad family, listening twice, an address in use") {
    run(kind, [&](io_context& ctx) -> task<> {
        tcp::socket client(ctx);
        CHECK((co_await client.connect(closed_port())).error() == std::errc::connection_refused);
        CHECK_FALSE(client.is_open());
        CHECK((co_await client.connect(ip::endpoint())).error().value() != 0);

        tcp::acceptor acceptor(ctx);
        acceptor.listen(any_port()).value();
        CHECK(acceptor.listen(any_port()).error().value() != 0);
        tcp::acceptor second(ctx);
        CHECK(second.listen(acceptor.local_endpoint()).error() == std::errc::address_in_use);
        CHECK_FALSE(second.is_open());
        CHECK(second.listen(ip::endpoint()).error() == std::errc::invalid_argument);

        // The same socket can try again after it was refused.
        CHECK((co_await client.connect(acceptor.local_endpoint())).ok());
        CHECK((co_await client.connect(acceptor.local_endpoint())).error() ==
              std::errc::already_connected);
        CHECK(client.is_open());
    });
}

REACTOR_TEST("an unreachable network is the system's error") {
    run(kind, [&](io_context& ctx) -> task<> {
        tcp::socket client(ctx);
        // A scope that does not exist: refused by the system without a packet. (Without IPv6, by
        // the platform.)
        auto [ec] = co_await with_timeout(
            client.connect({ip::address::parse("fe80::1%4242").value(), 9}), 5s);
        CHECK(ec);
        CHECK(ec != errc::timed_out);
        CHECK((ec == errc::not_supported) == !has_ipv6);
        CHECK((ec.category() == platform::error_code(0).category()) == has_ipv6);
    });
}

REACTOR_TEST("the end of the stream and a reset are told apart") {
    run(kind, [&](io_context& ctx) -> task<> {
        blocking_listener listener;
        std::array<char, 16> buffer;
        {
            auto [socket, peer] = co_await test::connect(ctx, listener);
            peer.close();
            CHECK((co_await socket.read_some(buffer)).error() == errc::eof);
            CHECK((co_await socket.read_some(buffer)).error() == errc::eof);
        }
        {
            auto [socket, peer] = co_await test::connect(ctx, listener);
            peer.reset();
            auto [ec, n] = co_await socket.read_some(buffer);
            CHECK(says_reset(ec));
            if (!native::is_wine()) CHECK(ec.category() == platform::error_code(0).category());
        }
    });
}

REACTOR_TEST(
    "a reset is no end: who reads beside a write is told of it, and so is every later read") {
    run(kind, [&](io_context& ctx) -> task<> {
        blocking_listener listener;
        const std::string much(1 << 20, 'x');
        std::array<char, 16> buffer;
        const auto read = [&](tcp::socket& from, bool limited,
                              bool exact) -> task<result<std::size_t>> {
            if (exact) co_return co_await from.read_exactly(buffer);
            if (limited) co_return co_await with_timeout(from.read_some(buffer), 10s);
            co_return co_await from.read_some(buffer);
        };
        const auto write = [&](tcp::socket& to, bool limited) -> task<result<std::size_t>> {
            if (limited) co_return co_await with_timeout(write_all(to, much), 10s);
            co_return co_await write_all(to, much);
        };
        const auto reset = [](blocking_socket& peer) -> task<> {
            for (int turns = 0; turns < 10; ++turns) co_await yield();  // both are pending
            peer.reset();
        };
        for (int round = 0; round < 16; ++round) {
            const bool limited = round & 1;
            const bool exact = round & 2;
            const bool read_after_bytes = round & 4;
            auto [socket, peer] = co_await test::connect(ctx, listener);
            socket.send_buffer_size(4096);
            std::error_code read_ec, write_ec;
            if (read_after_bytes && exact) peer.send("first");
            if (round & 8) {
                auto [got, sent, gone] = co_await when_all(read(socket, limited, exact),
                                                           write(socket, limited), reset(peer));
                read_ec = got.ec;
                write_ec = sent.ec;
            } else {
                auto [sent, got, gone] = co_await when_all(
                    write(socket, limited), read(socket, limited, exact), reset(peer));
                read_ec = got.ec;
                write_ec = sent.ec;
            }
            CHECK(says_reset(read_ec));
            CHECK((says_reset(write_ec) || says_broken(write_ec)));
            for (int again = 0; again < 2; ++again)
                CHECK(says_reset((co_await read(socket, again, exact)).ec));
        }
    });
}

REACTOR_TEST("a read that begins when a write has been told of a reset is told of it, too") {
    run(kind, [&](io_context& ctx) -> task<> {
        blocking_listener listener;
        std::array<char, 16> buffer;
        for (const bool bytes_first : {false, true}) {
            auto [socket, peer] = co_await test::connect(ctx, listener);
            if (bytes_first) peer.send("last words");
            peer.reset();
            std::error_code told;
            for (int i = 0; i < 1'000 && !told; ++i) {
                told = (co_await write_all(socket, "x")).error();
                if (!told) (void)co_await sleep_for(1ms);
            }
            CHECK((says_reset(told) || says_broken(told)));
            if (bytes_first && keeps_what_came_before_a_reset()) {
                auto [ec, n] = co_await socket.read_some(buffer);
                CHECK(std::string_view(buffer.data(), n) == "last words");
            }
            CHECK(says_reset((co_await socket.read_some(buffer)).ec));
            CHECK(says_reset((co_await socket.read_exactly(buffer)).ec));

            // The next connection of the same socket knows nothing of it.
            socket.close();
            CHECK((co_await socket.connect(listener.endpoint())).ok());
            listener.accept().close();
            CHECK((co_await socket.read_some(buffer)).ec == errc::eof);
        }
    });
}

REACTOR_TEST("the end of the stream remains one, whatever writes are told") {
    run(kind, [&](io_context& ctx) -> task<> {
        blocking_listener listener;
        std::array<char, 16> buffer;
        auto [socket, peer] = co_await test::connect(ctx, listener);
        CHECK(socket.shutdown(shutdown_how::send).ok());
        CHECK((co_await write_all(socket, "x")).error() == std::errc::broken_pipe);
        peer.close();
        CHECK((co_await socket.read_some(buffer)).ec == errc::eof);
    });
}

REACTOR_TEST("a zero-length success exists only for a zero-length buffer") {
    run(kind, [&](io_context& ctx) -> task<> {
        auto [client, server] = co_await test::connect(ctx);
        std::array<char, 4> buffer;
        auto [ec, n] = co_await client.read_some(std::span(buffer).first(0));
        CHECK_FALSE(ec);
        CHECK(n == 0);
        CHECK((co_await write_all(client, std::string_view())).ok());
        CHECK((co_await client.read_exactly(std::span(buffer).first(0))).ok());
        server.close();
        auto [ec2, n2] = co_await client.read_some(buffer);
        CHECK(ec2 == errc::eof);
        CHECK(n2 == 0);
    });
}

REACTOR_TEST("writing to a peer that is gone is an error and no signal") {
    run(kind, [&](io_context& ctx) -> task<> {
        blocking_listener listener;
        auto [socket, peer] = co_await test::connect(ctx, listener);
        peer.reset();
        std::error_code last;
        for (int i = 0; i < 100 && !last; ++i) {
            last = (co_await write_all(socket, "x")).error();
            (void)co_await sleep_for(100us);
        }
        CHECK((last == std::errc::connection_reset || last == std::errc::broken_pipe));
        CHECK(says_broken((co_await write_all(socket, "x")).error()));
        auto [other, other_peer] = co_await test::connect(ctx, listener);
        CHECK(other.shutdown(shutdown_how::send).ok());
        CHECK((co_await write_all(other, "x")).error() == std::errc::broken_pipe);
        CHECK(other_peer.receive().bytes.empty());
        CHECK(other_peer.send("still open this way") == 0);
        std::array<char, 64> buffer;
        CHECK((co_await other.read_some(buffer)).value() == 19);
    });
}

REACTOR_TEST("every operation on a closed, moved-from or unopened socket says closed") {
    run(kind, [&](io_context& ctx) -> task<> {
        auto [client, server] = co_await test::connect(ctx);
        tcp::socket moved = std::move(server);
        client.close();
        tcp::socket unopened(ctx);
        tcp::socket nothing;
        std::array<char, 4> buffer;
        for (tcp::socket* each : {&client, &server, &unopened, &nothing}) {
            CHECK_FALSE(each->is_open());
            CHECK(each->native_handle() == platform::invalid_socket);
            CHECK((co_await each->read_some(buffer)).error() == errc::closed);
            CHECK((co_await each->write_some("x")).error() == errc::closed);
            CHECK((co_await read_exactly(*each, buffer)).error() == errc::closed);
            CHECK((co_await write_all(*each, "x")).error() == errc::closed);
            CHECK((co_await each->wait(writable)).error() == errc::closed);
            CHECK((co_await with_timeout(each->read_some(buffer), 1s)).error() == errc::closed);
            CHECK(each->shutdown(shutdown_how::both).error() == errc::closed);
            CHECK(each->no_delay(true).error() == errc::closed);
            CHECK(each->keep_alive().error() == errc::closed);
            CHECK(each->local_endpoint() == ip::endpoint());
            CHECK(each->remote_endpoint() == ip::endpoint());
            CHECK(each->release() == platform::invalid_socket);
            each->cancel();
            each->abort();
            each->close();
        }
        tcp::acceptor acceptor(ctx);
        CHECK((co_await acceptor.accept()).error() == errc::closed);
        tcp::acceptor empty;
        CHECK((co_await empty.accept()).error() == errc::closed);
        CHECK(empty.listen(any_port()).error() == errc::closed);
        CHECK((co_await nothing.connect(any_port())).error() == errc::closed);
    });
}

REACTOR_TEST("a second read or write at a time is refused, one of each is not") {
    run(kind, [&](io_context& ctx) -> task<> {
        auto [client, server] = co_await test::connect(ctx);
        std::array<char, 4> buffer;
        std::array<char, 4> other;
        client.send_buffer_size(64 * 1024);
        std::string much(4 << 20, 'x');
        auto reading = ctx.spawn(read_into(client, buffer));
        auto writing = ctx.spawn(write_from(client, much));
        co_await yield();
        CHECK((co_await client.read_some(other)).error() == std::errc::operation_in_progress);
        CHECK((co_await client.wait(readable)).error() == std::errc::operation_in_progress);
        CHECK((co_await client.write_some("y")).error() == std::errc::operation_in_progress);
        CHECK((co_await with_timeout(client.read_some(other), 1s)).error() ==
              std::errc::operation_in_progress);
        (co_await write_all(server, "ok")).value();
        CHECK((co_await reading).value() == 2);
        std::string all(much.size(), ' ');
        CHECK((co_await read_exactly(server, all)).value() == much.size());
        CHECK((co_await writing).value() == much.size());
        CHECK((all == much));
    });
}

REACTOR_TEST("closing, aborting and cancelling with operations pending") {
    run(kind, [&](io_context& ctx) -> task<> {
        blocking_listener listener;
        std::string much(16 << 20, 'x');
        for (const int how : {0, 1, 2}) {
            auto [socket, peer] = co_await test::connect(ctx, listener);
            std::array<char, 4> buffer;
            auto reading = ctx.spawn(read_into(socket, buffer));
            auto writing = ctx.spawn(write_from(socket, much));
            while (!native::readable(peer.fd(), 0)) (void)co_await sleep_for(1ms);
            if (how == 0) socket.close();
            if (how == 1) socket.abort();
            if (how == 2) socket.cancel();
            const auto expected = how == 2 ? errc::canceled : errc::closed;
            auto [rec, got] = co_await reading;
            CHECK(rec == expected);
            CHECK(got == 0);
            auto [wec, sent] = co_await writing;
            CHECK(wec == expected);
            CHECK(sent > 0);
            CHECK(sent < much.size());
            CHECK(socket.is_open() == (how == 2));
            if (how == 1) {
                auto got_by_peer = peer.receive_all(much.size());
                CHECK(got_by_peer.error == native::error_after_reset());
            } else {
                if (how == 2) socket.close();
                auto got_by_peer = peer.receive_all(much.size());
                CHECK(got_by_peer.error == 0);
                CHECK(got_by_peer.bytes.size() == sent);
            }
        }
    });
}

REACTOR_TEST("abort resets the peer, close does not") {
    run(kind, [&](io_context& ctx) -> task<> {
        blocking_listener listener;
        {
            auto [socket, peer] = co_await test::connect(ctx, listener);
            socket.abort();
            CHECK(peer.receive().error == native::error_after_reset());
        }
        {
            auto [socket, peer] = co_await test::connect(ctx, listener);
            (co_await write_all(socket, "bye")).value();
            socket.close();
            CHECK(peer.receive().bytes == "bye");
            const auto end = peer.receive();
            CHECK(end.error == 0);
            CHECK(end.bytes.empty());
        }
    });
}

REACTOR_TEST("a socket moves with an operation pending on it") {
    run(kind, [&](io_context& ctx) -> task<> {
        auto [client, server] = co_await test::connect(ctx);
        std::array<char, 16> buffer;
        auto reading = ctx.spawn(read_into(client, buffer));
        co_await yield();
        tcp::socket moved = std::move(client);
        std::vector<tcp::socket> many;
        many.push_back(std::move(moved));
        (co_await write_all(server, "moved")).value();
        CHECK((co_await reading).value() == 5);
        auto again = ctx.spawn(read_into(many[0], buffer));
        co_await yield();
        many[0] = tcp::socket();
        CHECK((co_await again).error() == errc::closed);
        auto eof = co_await server.read_some(buffer);
        CHECK(eof.error() == errc::eof);
    });
}

REACTOR_TEST("a cancelled connect closes its socket, which can connect anew") {
    run(kind, [&](io_context& ctx) -> task<> {
        tcp::acceptor full(ctx);
        full.listen(any_port(), {.backlog = 0}).value();
        std::list<tcp::socket> sockets;
        std::list<join_handle<result<>>> connecting;
        for (int i = 0; i < 6; ++i) {
            sockets.emplace_back(ctx);
            connecting.push_back(ctx.spawn([](tcp::socket& s, ip::endpoint to) -> task<result<>> {
                co_return co_await s.connect(to);
            }(sockets.back(), full.local_endpoint())));
        }
        (void)co_await sleep_for(5ms);
        sockets.back().cancel();
        CHECK((co_await connecting.back()).error() == errc::canceled);
        CHECK_FALSE(sockets.back().is_open());
        std::array<char, 4> buffer;
        CHECK((co_await sockets.back().read_some(buffer)).error() == errc::closed);
        tcp::acceptor acceptor(ctx);
        acceptor.listen(any_port()).value();
        CHECK((co_await sockets.back().connect(acceptor.local_endpoint())).ok());
        for (auto& each : connecting) each.cancel();
    });
}

REACTOR_TEST("a socket closed with operations pending is opened again at once") {
    run(kind, [&](io_context& ctx) -> task<> {
        const std::string much(16 << 20, 'x');
        for (const bool aborts : {false, true})
            for (const bool reads : {false, true})
                for (const bool writes : {false, true}) {
                    CAPTURE(aborts);
                    CAPTURE(reads);
                    CAPTURE(writes);
                    auto [socket, peer] = co_await test::connect(ctx);
                    std::array<char, 8> buffer;
                    join_handle<result<std::size_t>> reading, writing;
                    if (reads) reading = ctx.spawn(read_into(socket, buffer));
                    if (writes) writing = ctx.spawn(write_from(socket, much));
                    co_await yield();
                    (aborts ? socket.abort() : socket.close());
                    co_await works_when_reopened(ctx, socket);
                    if (reads) CHECK((co_await reading).ec == errc::closed);
                    if (writes) CHECK((co_await writing).ec == errc::closed);
                }
    });
}

REACTOR_TEST("a socket whose limit has closed it is opened again at once") {
    run(kind, [&](io_context& ctx) -> task<> {
        auto [socket, peer] = co_await test::connect(ctx);
        std::array<char, 8> buffer;
        const std::string much(16 << 20, 'x');
        auto writing = ctx.spawn(write_from(socket, much));
        co_await yield();
        const auto read = co_await with_timeout(socket.read_some(buffer), 1ms, on_timeout::close);
        CHECK(read.ec == errc::timed_out);
        co_await works_when_reopened(ctx, socket);
        CHECK((co_await writing).ec == errc::closed);
    });
}

REACTOR_TEST("a socket whose connect was ended is opened again at once") {
    run(kind, [&](io_context& ctx) -> task<> {
        const full_listener full(ctx);
        (void)co_await sleep_for(5ms);
        for (const int how : {0, 1, 2, 3, 4, 5}) {
            CAPTURE(how);
            tcp::socket socket(ctx);
            auto connecting = ctx.spawn(connect_to(socket, full.endpoint()));
            co_await yield();
            CHECK(socket.is_open());
            auto expected = errc::closed;
            if (how == 0) socket.close();
            if (how == 1) socket.abort();
            if (how == 2) socket.cancel(), expected = errc::canceled;
            if (how == 3) connecting.cancel(), expected = errc::canceled;
            if (how >= 4) {
                socket.abort();
                const auto policy = how == 4 ? on_timeout::cancel : on_timeout::close;
                const auto late =
                    co_await with_timeout(socket.connect(full.endpoint()), 1ms, policy);
                CHECK(late.ec == errc::timed_out);
            }
            CHECK_FALSE(socket.is_open());
            co_await works_when_reopened(ctx, socket);
            CHECK((co_await connecting).ec == expected);
        }
    });
}

REACTOR_TEST(
    "an acceptor and a UDP socket closed with operations pending are opened again at once") {
    run(kind, [&](io_context& ctx) -> task<> {
        tcp::acceptor acceptor(ctx);
        acceptor.listen(any_port()).value();
        auto accepting = ctx.spawn([](tcp::acceptor& a) -> task<std::error_code> {
            co_return (co_await a.accept()).ec;
        }(acceptor));
        co_await yield();
        acceptor.close();
        CHECK(acceptor.listen(any_port()).ok());
        tcp::socket client(ctx);
        CHECK((co_await client.connect(acceptor.local_endpoint())).ok());
        CHECK((co_await acceptor.accept()).ok());
        CHECK((co_await accepting) == errc::closed);

        udp::socket socket(ctx);
        socket.bind(any_port()).value();
        std::array<char, 8> old_buffer, buffer;
        ip::endpoint old_sender, sender;
        auto receiving = ctx.spawn(
            [](udp::socket& s, std::span<char> into, ip::endpoint& from) -> task<std::error_code> {
                co_return (co_await s.receive_from(into, from)).ec;
            }(socket, old_buffer, old_sender));
        co_await yield();
        socket.close();
        socket.bind(any_port()).value();
        udp::socket other(ctx);
        CHECK((co_await other.send_to("new", socket.local_endpoint())).ok());
        CHECK((co_await socket.receive_from(buffer, sender)).value() == 3);
        CHECK((co_await receiving) == errc::closed);
    });
}

REACTOR_TEST("scatter and gather, with buffers known when compiled and when run") {
    run(kind, [&](io_context& ctx) -> task<> {
        auto [client, server] = co_await test::connect(ctx);
        const std::string world = "world";
        const std::array<char, 1> bang{'!'};
        CHECK((co_await client.write_some("hello ", world, bang)).value() == 12);
        std::array<char, 3> first;
        std::vector<unsigned char> second(4);
        std::string third(16, '.');
        auto [ec, n] = co_await server.read_some(first, second, third);
        CHECK(n == 12);
        CHECK(std::string(first.begin(), first.end()) == "hel");
        CHECK(std::string(second.begin(), second.end()) == "lo w");
        CHECK(third.substr(0, 5) == "orld!");

        // More buffers than one system call takes, some of them empty.
        std::vector<std::string> pieces;
        std::vector<const_buffer> out;
        std::string all;
        for (int i = 0; i < 100; ++i)
            pieces.push_back(
                std::string(static_cast<std::size_t>(i % 7), static_cast<char>('a' + i % 26)));
        for (auto& piece : pieces) {
            out.push_back(piece);
            all += piece;
        }
        CHECK((co_await write_all(client, out)).value() == all.size());
        std::string in(all.size(), ' ');
        std::vector<mutable_buffer> parts;
        for (std::size_t at = 0; at < in.size(); at += 5)
            parts.push_back(std::span(in).subspan(at, std::min<std::size_t>(5, in.size() - at)));
        CHECK((co_await read_exactly(server, parts)).value() == all.size());
        CHECK(in == all);
        CHECK((co_await with_timeout(server.read_some(parts), 1ms)).error() == errc::timed_out);
    });
}

REACTOR_TEST("options") {
    run(kind, [&](io_context& ctx) -> task<> {
        auto [client, server] = co_await test::connect(ctx);
        client.no_delay(true);
        CHECK(client.no_delay().value());
        CHECK(client.no_delay(false).ok());
        CHECK_FALSE(client.no_delay().value());
        CHECK(client.keep_alive(true).ok());
        CHECK(client.keep_alive().value());
        CHECK(client.receive_buffer_size(32 * 1024).ok());
        CHECK(client.receive_buffer_size().value() >= 32 * 1024);
        CHECK(client.send_buffer_size(32 * 1024).ok());
        CHECK(client.send_buffer_size().value() >= 32 * 1024);
        tcp::socket before(ctx);
        CHECK(before.open(ip::family::v4).ok());
        CHECK(before.reuse_address(true).ok());
        CHECK(before.reuse_address().value());
        tcp::acceptor one(ctx);
        tcp::acceptor two(ctx);
        if (has_reuse_port) {
            one.listen(any_port(), {.reuse_port = true}).value();
            CHECK(two.listen(one.local_endpoint(), {.reuse_port = true}).ok());
        } else {
            CHECK(one.listen(any_port(), {.reuse_port = true}).error() == errc::not_supported);
            CHECK_FALSE(one.is_open());
        }
    });
}

REACTOR_TEST("descriptors are given away and taken in, open") {
    run(kind, [&](io_context& ctx) -> task<> {
        auto [client, server] = co_await test::connect(ctx);
        std::array<char, 16> buffer;
        auto reading = ctx.spawn(read_into(client, buffer));
        co_await yield();
        const auto handle = descriptor_of(client.release());
        CHECK((co_await reading).error() == errc::canceled);
        CHECK_FALSE(client.is_open());
        CHECK(native::send(handle, "by hand", 7) == 7);
        CHECK((co_await server.read_some(buffer)).value() == 7);

        native::block(handle);
        auto adopted = tcp::socket::adopt(ctx, handle_of(handle)).value();
        CHECK(descriptor_of(adopted.native_handle()) == handle);
        CHECK((co_await with_timeout(adopted.read_some(buffer), 2ms)).error() == errc::timed_out);
        (co_await write_all(server, "back")).value();
        CHECK((co_await adopted.read_some(buffer)).value() == 4);

        blocking_listener listener;
        const auto endpoint = listener.endpoint();
        auto acceptor = tcp::acceptor::adopt(ctx, handle_of(native::duplicate(listener.fd()))).value();
        listener.close();
        CHECK(acceptor.local_endpoint() == endpoint);
        auto peer = blocking_connect(endpoint);
        CHECK((co_await acceptor.accept()).ok());

        const auto other = native::no_socket();
        CHECK(tcp::socket::adopt(ctx, handle_of(other)).error() == std::errc::not_a_socket);
        native::close_no_socket(other);
        CHECK(says_bad_descriptor(tcp::socket::adopt(ctx, platform::invalid_socket).error()));
        udp::socket udp(ctx);
        udp.bind(any_port()).value();
        CHECK(tcp::socket::adopt(ctx, udp.native_handle()).error().value() != 0);
        CHECK(udp.is_open());
    });
}

REACTOR_TEST("a connection that has been closed by its peer is still accepted with its bytes") {
    run(kind, [&](io_context& ctx) -> task<> {
        tcp::acceptor acceptor(ctx);
        acceptor.listen(any_port()).value();
        auto peer = blocking_connect(acceptor.local_endpoint());
        CHECK(peer.send("gone") == 0);
        peer.close();
        auto server = (co_await acceptor.accept()).value();
        std::array<char, 16> buffer;
        CHECK((co_await server.read_some(buffer)).value() == 4);
        CHECK((co_await server.read_some(buffer)).error() == errc::eof);
    });
}

REACTOR_TEST("an acceptor takes what has arrived, and not one connection a turn") {
    if (kind == reactor_kind::iocp) return;  // AcceptEx takes one at a time
    const honest_system now;  // injected faults take turns, too
    run(kind, [&](io_context& ctx) -> task<> {
        tcp::acceptor acceptor(ctx);
        acceptor.listen(any_port()).value();
        for (int i = 0; i < 40; ++i) {  // each comes alone: nobody expects more
            const auto one = blocking_connect(acceptor.local_endpoint());
            (co_await acceptor.accept()).value();
        }
        std::vector<blocking_socket> callers;
        std::size_t turns = 0;
        bool over = false;
        auto counting = ctx.spawn([&]() -> task<> {
            while (!over) {
                ++turns;
                co_await yield();
            }
        });
        constexpr std::size_t many = 100;
        for (std::size_t i = 0; i < many; ++i)
            callers.push_back(blocking_connect(acceptor.local_endpoint()));
        for (std::size_t i = 0; i < many; ++i) (co_await acceptor.accept()).value();
        over = true;
        co_await counting;
        CHECK(turns < many / 2);
    });
}

REACTOR_TEST("no connection is lost to accepts that are cut short") {
    run(kind, [&](io_context& ctx) -> task<> {
        tcp::acceptor acceptor(ctx);
        acceptor.listen(any_port()).value();
        const auto many = static_cast<int>(scaled(200));
        std::vector<blocking_socket> callers;
        std::thread calling([&, at = acceptor.local_endpoint()] {
            for (int i = 0; i < many; ++i) {
                callers.push_back(blocking_connect(at));
                callers.back().send("!");
                if (i % 7 == 0) std::this_thread::sleep_for(1ms);
            }
        });
        int accepted = 0;
        int heard = 0;
        for (int round = 0; accepted < many; ++round) {
            auto [ec, peer] =
                co_await with_timeout(acceptor.accept(), std::chrono::microseconds(round % 50));
            if (ec == errc::timed_out) {
                if (round % 10 == 0) co_await yield();
                continue;
            }
            REQUIRE_FALSE(ec);
            ++accepted;
            std::array<char, 4> buffer;
            heard += (co_await with_timeout(peer.read_some(buffer), 10s)).data == 1;
        }
        calling.join();
        CHECK(heard == many);
    });
}

REACTOR_TEST("accept says who has connected") {
    run(kind, [&](io_context& ctx) -> task<> {
        tcp::acceptor acceptor(ctx);
        acceptor.listen(any_port()).value();
        ip::endpoint who;
        {
            const auto peer = blocking_connect(acceptor.local_endpoint());
            auto server = (co_await acceptor.accept(who)).value();
            CHECK(who == ip::endpoint(ip::address::loopback_v4(), native::port_of(peer.fd())));
            CHECK(server.remote_endpoint() == who);
        }
        CHECK((co_await with_timeout(acceptor.accept(who), 0s)).error() == errc::timed_out);
        CHECK(who.is_unspecified());
    });
}

#if defined(__linux__)  // where a connection that has been reset is still accepted
REACTOR_TEST("accept says who has connected, also when they have reset the connection") {
    run(kind, [&](io_context& ctx) -> task<> {
        for (const char* loopback : loopbacks) {
            tcp::acceptor acceptor(ctx);
            acceptor.listen(ip::endpoint::parse(loopback).value()).value();
            ip::endpoint expected;
            const auto come_and_go = [&]() -> task<> {
                tcp::socket client(ctx);
                (co_await client.connect(acceptor.local_endpoint())).value();
                expected = client.local_endpoint();
                client.abort();
            };
            ip::endpoint who;
            co_await come_and_go();
            auto first = (co_await acceptor.accept(who)).value();
            CHECK(who == expected);
            co_await come_and_go();
            auto second = (co_await acceptor.accept()).value();
#if !defined(TEST_PLATFORM_QUIRKY) && !defined(CURFEW_POSIX_ONLY)
            sockaddr_storage name{};
            socklen_t size = sizeof name;
            const int handle = first.native_handle();
            REQUIRE(::getsockname(handle, reinterpret_cast<sockaddr*>(&name), &size) == 0);
            if (::getsockopt(handle, SOL_SOCKET, SO_PEERNAME, &name, &size) != 0)
                continue;  // emulators do not know this option
            CHECK(first.remote_endpoint() == who);
            CHECK(second.remote_endpoint() == expected);
            std::array<char, 4> buffer;
            CHECK((co_await second.read_some(buffer)).error() == std::errc::connection_reset);
            CHECK(second.remote_endpoint() == expected);
#endif
        }
    });
}
#endif

REACTOR_TEST("many connections are accepted and served") {
    run(kind, [&](io_context& ctx) -> task<> {
        tcp::acceptor acceptor(ctx);
        acceptor.listen(any_port()).value();
        auto server = ctx.spawn([](io_context& c, tcp::acceptor& a) -> task<> {
            for (;;) {
                auto [ec, peer] = co_await a.accept();
                if (ec) co_return;
                c.spawn([](tcp::socket s) -> task<> {
                    std::array<char, 64> buffer;
                    for (;;) {
                        auto [rec, n] = co_await with_timeout(s.read_some(buffer), 30s);
                        if (rec) co_return;
                        if ((co_await write_all(s, std::span(buffer).first(n))).error()) co_return;
                    }
                }(std::move(peer)));
            }
        }(ctx, acceptor));
        int good = 0;
        std::vector<join_handle<>> clients;
        for (int i = 0; i < 200; ++i)
            clients.push_back(ctx.spawn([](io_context& c, ip::endpoint to, int& count) -> task<> {
                tcp::socket s(c);
                if ((co_await s.connect(to)).error()) co_return;
                std::array<char, 5> buffer;
                for (int round = 0; round < 20; ++round) {
                    if ((co_await write_all(s, "ping!")).error()) co_return;
                    if ((co_await read_exactly(s, buffer)).error()) co_return;
                }
                ++count;
                s.abort();  // or else the system keeps its port for a minute
            }(ctx, acceptor.local_endpoint(), good)));
        for (auto& each : clients) co_await each;
        CHECK(good == 200);
        acceptor.close();
        co_await server;
    });
}

REACTOR_TEST("a context is destroyed with hundreds of tasks suspended, and frees them all") {
    std::size_t alive = 0;
    struct witness {
        std::size_t& count;
        explicit witness(std::size_t& c) : count(c) { ++count; }
        ~witness() { --count; }
    };
    std::list<connection> connections;
    tcp::socket survivor;
    {
        io_context ctx(kind);
        tcp::acceptor acceptor(ctx);
        acceptor.listen(any_port()).value();
        ctx.block_on([](io_context& c, std::list<connection>& all) -> task<> {
            for (int i = 0; i < 100; ++i) {
                all.push_back(co_await test::connect(c));
                all.back().server.send_buffer_size(4096);
                all.back().client.receive_buffer_size(4096);
            }
        }(ctx, connections));
        const auto wait_in = [&](auto make) {
            ctx.spawn([](std::size_t& count, auto body) -> task<> {
                const witness frame(count);
                co_await body();
            }(alive, make));
        };
        for (auto& each : connections) {
            wait_in([&each]() -> task<> {
                std::array<char, 16> buffer;
                (void)co_await each.client.read_some(buffer);
            });
            wait_in([&each]() -> task<> {
                std::array<char, 16> buffer;
                (void)co_await with_timeout(
                    with_timeout(read_into(each.server, buffer), 1h, on_timeout::close), 2h);
            });
            wait_in([&each]() -> task<> {
                const std::string much(256 << 10, 'x');
                (void)co_await write_all(each.server, much);
            });
            wait_in([]() -> task<> { (void)co_await with_timeout(sleep_for(1h), 1h); });
        }
        wait_in([&acceptor]() -> task<> { (void)co_await acceptor.accept(); });
        wait_in([&ctx]() -> task<> {
            co_await ctx.spawn([]() -> task<> { (void)co_await sleep_for(1h); }());
        });
        ctx.poll();
        CHECK(alive == 402);
        survivor = std::move(connections.front().client);
        acceptor = tcp::acceptor();
    }
    CHECK(alive == 0);
    CHECK_FALSE(survivor.is_open());
    io_context other(kind);
    std::array<char, 4> buffer;
    CHECK(other.block_on(read_into(survivor, buffer)).error() == errc::closed);
}

#if CURFEW_EXCEPTIONS
REACTOR_TEST("an accept without memory for its socket throws, and the connection is closed") {
    struct memory final : frame_resource {
        bool fails = false;
        void* allocate(std::size_t bytes) override {
            if (fails) throw std::bad_alloc();
            return ::operator new(bytes);
        }
        void deallocate(void* block, std::size_t) noexcept override { ::operator delete(block); }
    } memory;
    io_context ctx(kind);
    ctx.frames(&memory);
    ctx.block_on([](io_context& own, bool& fails) -> task<> {
        tcp::acceptor acceptor(own);
        acceptor.listen(any_port()).value();
        std::array<char, 1> buffer;
        for (const bool with_limit : {false, true}) {
            tcp::socket client(own);
            (co_await client.connect(acceptor.local_endpoint())).value();
            bool thrown = false;
            fails = true;
            try {
                if (with_limit)
                    (void)co_await with_timeout(acceptor.accept(), 1h);
                else
                    (void)co_await acceptor.accept();
            } catch (const std::bad_alloc&) {
                thrown = true;
            }
            fails = false;
            CHECK(thrown);
            CHECK((co_await with_timeout(client.read_some(buffer), 10s)).ec != errc::timed_out);
        }
        // The next one is as good as any.
        tcp::socket client(own);
        (co_await client.connect(acceptor.local_endpoint())).value();
        CHECK((co_await acceptor.accept()).ok());
    }(ctx, memory.fails));
}
#endif
