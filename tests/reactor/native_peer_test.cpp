// What the peer of a connection from Windows sees, when that is a program of another system: Wine's
// own sockets read a reset as the end of the stream, and so cannot tell.
#include <curfew/tcp.hpp>

#if defined(_WIN32)

#include <array>
#include <string>

#include "support/loop.hpp"
#include "support/native_peer.hpp"

using namespace test;

namespace {

task<result<std::size_t>> read_into(tcp::socket& socket, std::span<char> buffer) {
    co_return co_await socket.read_some(buffer);
}

}  // namespace

REACTOR_TEST("after a limit that cancels, nothing is pending, and a close in good order is one") {
    run(kind, [](io_context& ctx) -> task<> {
        native_peer peer;
        for (int i = 0; i < 5; ++i) {
            auto socket = co_await peer.connect(ctx);
            std::array<char, 16> buffer;
            CHECK((co_await with_timeout(socket.read_some(buffer), 5ms)).ec == errc::timed_out);
            (co_await write_all(socket, "goes on")).value();
            CHECK((co_await with_timeout(socket.read_some(buffer), 5ms)).ec == errc::timed_out);
            socket.close();
            CHECK(peer.outcome() == "end of stream after 7 bytes");
        }
    });
}

REACTOR_TEST("a limit that closes resets the connection") {
    run(kind, [](io_context& ctx) -> task<> {
        native_peer peer;
        for (int i = 0; i < 5; ++i) {
            auto socket = co_await peer.connect(ctx);
            std::array<char, 16> buffer;
            CHECK((co_await with_timeout(socket.read_some(buffer), 5ms, on_timeout::close)).ec ==
                  errc::timed_out);
            CHECK_FALSE(socket.is_open());
            CHECK(peer.outcome() == "reset after 0 bytes");
        }
    });
}

REACTOR_TEST("a close with a read pending is in good order, an abort is not") {
    run(kind, [](io_context& ctx) -> task<> {
        native_peer peer;
        for (const bool abort : {false, true}) {
            auto socket = co_await peer.connect(ctx);
            std::array<char, 16> buffer;
            auto reading = ctx.spawn(read_into(socket, buffer));
            (void)co_await sleep_for(5ms);
            abort ? socket.abort() : socket.close();
            CHECK((co_await reading).ec == errc::closed);
            CHECK(peer.outcome() ==
                  (abort ? "reset after 0 bytes" : "end of stream after 0 bytes"));
        }
    });
}

REACTOR_TEST("a close with a write pending delivers what the write says, an abort does not") {
    run(kind, [](io_context& ctx) -> task<> {
        native_peer peer;
        const std::string much(32 << 20, 'x');
        for (const bool abort : {false, true}) {
            auto socket = co_await peer.connect(ctx, native_peer::reading::when_told);
            auto writing =
                ctx.spawn([](tcp::socket& s, std::string_view all) -> task<result<std::size_t>> {
                    co_return co_await write_all(s, all);
                }(socket, much));
            (void)co_await sleep_for(50ms);
            abort ? socket.abort() : socket.close();
            const auto [ec, sent] = co_await writing;
            CHECK(ec == errc::closed);
            CHECK(sent < much.size());
            peer.go();
            const std::string outcome = peer.outcome();
            if (abort)
                CHECK(outcome.starts_with("reset after "));
            else
                CHECK(outcome == "end of stream after " + std::to_string(sent) + " bytes");
        }
    });
}

#endif
