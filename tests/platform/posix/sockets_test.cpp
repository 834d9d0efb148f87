// Descriptors of other kinds, from elsewhere, and those that somebody else has closed.
#if !defined(_WIN32) && !defined(TEST_PLATFORM_QUIRKY)

#include <curfew/platform/platform.hpp>  // which is posix.hpp here

#include <string>
#include <tuple>
#include <utility>

#include <netinet/tcp.h>
#include <sys/socket.h>

#include "support/fatal.hpp"
#include "support/local_pair.hpp"

using namespace test;

TEST_CASE("TCP is told from other streams") {
    int ends[2] = {-1, -1};
    REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
    CHECK_FALSE(platform::is_tcp(ends[0]));
    ::close(ends[0]);
    ::close(ends[1]);
    const blocking_listener listener;
    const auto peer = blocking_connect(listener.endpoint());
    CHECK(platform::is_tcp(peer.fd()));
#if defined(TCP_ULP) && !defined(CURFEW_POSIX_ONLY)
    // (Not every kernel has it, nor permits it.)
    if (::setsockopt(peer.fd(), IPPROTO_TCP, TCP_ULP, "tls", 3) == 0)
        CHECK_FALSE(platform::is_tcp(peer.fd()));
#endif
}

TEST_CASE("adopting changes what it says") {
    io_context ctx(reactor_kind::poll);
    int ends[2] = {-1, -1};
    REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
    auto socket = tcp::socket::adopt(ctx, ends[0]).value();
    CHECK((::fcntl(ends[0], F_GETFL) & O_NONBLOCK) != 0);
    CHECK((::fcntl(ends[0], F_GETFD) & FD_CLOEXEC) != 0);
    ::close(ends[1]);
}

namespace {

task<result<std::size_t>> read_four(tcp::socket& socket) {
    std::array<char, 4> buffer;
    co_return co_await socket.read_some(buffer);
}

/// A socket whose descriptor somebody has closed, and another one that has got its number.
struct theft {
    tcp::socket old;
    blocking_socket old_peer;
    tcp::socket fresh;
    blocking_socket fresh_peer;
    join_handle<result<std::size_t>> reading;  // from the old one
};

task<theft> steal(io_context& ctx, bool pending, int& duplicate) {
    theft made;
    std::tie(made.old, made.old_peer) = [&] {
        auto [socket, peer] = make_local_pair(ctx);
        return std::pair(std::move(socket), std::move(peer));
    }();
    (void)co_await with_timeout(read_four(made.old), 0s);
    (void)co_await with_timeout(read_four(made.old), 1ms);  // the reactor knows it now
    const int number = made.old.native_handle();
    if (duplicate >= 0) duplicate = ::dup(number);
    if (pending) {
        made.reading = ctx.spawn([](tcp::socket& s) -> task<result<std::size_t>> {
            co_return co_await read_four(s);
        }(made.old));
        co_await yield();
    }
    ::close(number);
    std::tie(made.fresh, made.fresh_peer) = [&] {
        auto [socket, peer] = make_local_pair(ctx);
        return std::pair(std::move(socket), std::move(peer));
    }();
    CHECK(made.fresh.native_handle() == number);
    co_return made;
}

}  // namespace

REACTOR_TEST("a descriptor that somebody closed is left alone when it is another socket's") {
    run(kind, [&](io_context& ctx) -> task<> {
        for (const bool duplicated : {false, true}) {
            for (const bool pending : {false, true}) {
                int duplicate = duplicated ? 0 : -1;
                auto made = co_await steal(ctx, pending, duplicate);
                // The new one waits by its number; what the old one does is nothing to it.
                auto reading = ctx.spawn(read_four(made.fresh));
                co_await sleep_for(1ms);
                if (pending) made.reading.cancel();
                if (pending) (void)co_await made.reading;
                co_await sleep_for(1ms);
                (void)made.old.release();
                CHECK(made.fresh_peer.send("new") == 0);
                const auto [ec, n] = co_await with_timeout(std::move(reading), 10s);
                CHECK_FALSE(ec);
                CHECK(n == 3);
                if (duplicated) ::close(duplicate);
            }
        }
    });
}

#if defined(CURFEW_HAS_EPOLL)
TEST_CASE("epoll: not even a close takes the number of another socket for its own") {
    if (!test::make_reactor(reactor_kind::epoll)) return;
    run(reactor_kind::epoll, [&](io_context& ctx) -> task<> {
        for (const bool known : {false, true}) {  // whether epoll knows the new one by then
            int no_duplicate = -1;
            auto made = co_await steal(ctx, false, no_duplicate);
            if (known) (void)co_await with_timeout(read_four(made.fresh), 1ms);
            made.old.abort();
            CHECK(made.fresh_peer.send("new") == 0);
            CHECK((co_await with_timeout(read_four(made.fresh), 10s)).value() == 3);
        }
    });
}
#endif

#endif
