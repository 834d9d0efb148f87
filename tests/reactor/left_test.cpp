// Reads that are to fill their buffers, one after the other, and what is left behind them: where
// the system says that (socket_state::reports_remaining), no call is made in vain, and nothing
// that is there is overlooked.
#include <curfew/curfew.hpp>

#include <array>
#include <span>
#include <string>

#if !defined(_WIN32)
#include <netinet/tcp.h>
#include <sys/socket.h>
#endif

#include "support/loop.hpp"
#include "support/system_calls.hpp"

using namespace test;

namespace {

using message = std::array<char, 64>;

const std::string sixty_four(64, 'x');

task<result<std::size_t>> fill(tcp::socket& from, std::span<char> buffer) {
    co_return co_await with_timeout(read_exactly(from, buffer), 10s);
}

/// Messages that come when they are waited for: after some the system says what is left behind.
task<> one_by_one(io_context& ctx, tcp::socket& reader, blocking_socket& peer) {
    message buffer;
    for (int i = 0; i < 4; ++i) {
        ctx.post([&peer] { CHECK(peer.send(sixty_four) == 0); });
        CHECK((co_await fill(reader, buffer)).ok());
    }
}

/// A length, and a body as long as it says.
task<> echo_messages(tcp::socket socket) {
    message buffer;
    for (;;) {
        char length = 0;
        if (!(co_await read_exactly(socket, std::span(&length, 1))).ok()) co_return;
        const auto body = std::span(buffer).first(static_cast<std::size_t>(length));
        if (!(co_await read_exactly(socket, body)).ok()) co_return;
        if (!(co_await write_all(socket, body)).ok()) co_return;
    }
}

#if defined(CURFEW_TELLS_WHAT_IS_LEFT)
int asked(native::socket fd) {
    int on = -1;
    socklen_t size = sizeof on;
    CHECK(::getsockopt(fd, IPPROTO_TCP, TCP_INQ, &on, &size) == 0);
    return on;
}
#endif

}  // namespace

REACTOR_TEST("a message that begins with its length costs two receives") {
    run(kind, [&](io_context& ctx) -> task<> {
        auto [client, server] = co_await test::connect(ctx);
        ctx.spawn(echo_messages(std::move(server)));
        std::string sent = sixty_four;
        sent[0] = 63;
        message buffer;
        std::size_t before = 0;
        constexpr std::size_t rounds = 100;
        for (std::size_t i = 0; i < 10 + rounds; ++i) {
            if (i == 10) before = system_calls();
            (co_await write_all(client, sent)).value();
            CHECK((co_await fill(client, std::span(buffer).first(63))).ok());
        }
        const auto calls = system_calls() - before;
        client.close();
        CHECK(calls <= (is_proactor(kind) || !counts_system_calls ? calls : 12 * rounds));
#if defined(CURFEW_TELLS_WHAT_IS_LEFT)
        // Two writes, three reads, two waits.
        if (!is_proactor(kind)) CHECK(calls == 7 * rounds);
#endif
    });
}

REACTOR_TEST("what has come behind a read that filled its buffer is read at once") {
    run(kind, [&](io_context& ctx) -> task<> {
        blocking_listener listener;
        auto [socket, peer] = co_await test::connect(ctx, listener);
        co_await one_by_one(ctx, socket, peer);
        std::string all;
        for (int i = 0; i < 20; ++i) all += std::string(64, static_cast<char>('a' + i));
        ctx.post([&other = peer, &all] { CHECK(other.send(all) == 0); });
        message buffer;
        for (int i = 0; i < 20; ++i) {
            CHECK((co_await fill(socket, buffer)).ok());
            CHECK(std::string(buffer.data(), buffer.size()) == all.substr(64u * unsigned(i), 64));
        }
        co_await one_by_one(ctx, socket, peer);
    });
}

REACTOR_TEST("the end behind a read that filled its buffer is not missed, whenever it comes") {
    run(kind, [&](io_context& ctx) -> task<> {
        blocking_listener listener;
        for (const int turns : {-1, 0, 1, 2, 5})
            for (const bool reset : {false, true}) {
                auto [socket, peer] = co_await test::connect(ctx, listener);
                co_await one_by_one(ctx, socket, peer);
                auto ending = ctx.spawn([](blocking_socket& other, int after, bool hard) -> task<> {
                    CHECK(other.send(sixty_four) == 0);
                    for (int i = 0; i < after; ++i) co_await yield();
                    hard ? other.reset() : other.close();
                }(peer, turns, reset));
                if (turns < 0) co_await ending;  // else the read waits already
                message buffer;
                const bool filled = (co_await fill(socket, buffer)).ok();
                CHECK((filled || reset));  // which may take away what has not been read
                if (!filled) continue;
                const auto error = (co_await fill(socket, buffer)).error();
                CHECK((reset ? says_reset(error) : error == errc::eof));
            }
    });
}

#if defined(CURFEW_TELLS_WHAT_IS_LEFT)

REACTOR_TEST("urgent data between two messages hides neither") {
    run(kind, [&](io_context& ctx) -> task<> {
        blocking_listener listener;
        auto [socket, peer] = co_await test::connect(ctx, listener);
        co_await one_by_one(ctx, socket, peer);
        message buffer;
        for (int i = 0; i < 10; ++i) {
            ctx.post([&other = peer] {
                CHECK(other.send(sixty_four) == 0);
                CHECK(::send(other.fd(), "!", 1, MSG_OOB) == 1);
                CHECK(other.send(sixty_four) == 0);
            });
            CHECK((co_await fill(socket, buffer)).ok());
            CHECK((co_await fill(socket, buffer)).ok());
        }
    });
}

REACTOR_TEST("the system is asked once it is worth it, for as long as the socket is curfew's") {
    if (is_proactor(kind)) return;  // which makes no tries
    run(kind, [&](io_context& ctx) -> task<> {
        blocking_listener listener;
        auto [socket, peer] = co_await test::connect(ctx, listener);
        const auto fd = [&s = socket] { return descriptor_of(s.native_handle()); };
        message buffer;
        for (int i = 0; i < 4; ++i) {
            ctx.post([&other = peer] { CHECK(other.send(sixty_four) == 0); });
            CHECK((co_await with_timeout(socket.read_some(buffer), 10s)).ok());
        }
        CHECK(asked(fd()) == 0);
        co_await one_by_one(ctx, socket, peer);
        CHECK(asked(fd()) == 1);

        socket.close();  // and again with another descriptor
        (co_await socket.connect(listener.endpoint())).value();
        peer = listener.accept();
        CHECK(asked(fd()) == 0);
        co_await one_by_one(ctx, socket, peer);
        CHECK(asked(fd()) == 1);

        const blocking_socket released(descriptor_of(socket.release()));
        CHECK(asked(released.fd()) == 0);
    });
}

REACTOR_TEST("a socket that cannot say what is left is read as ever") {
    run(kind, [&](io_context& ctx) -> task<> {
        int ends[2];
        REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
        auto socket = tcp::socket::adopt(ctx, ends[0]).value();
        blocking_socket peer(ends[1]);
        for (int i = 0; i < 3; ++i) co_await one_by_one(ctx, socket, peer);
        peer.close();
        message buffer;
        CHECK((co_await fill(socket, buffer)).error() == errc::eof);
    });
}

#endif
