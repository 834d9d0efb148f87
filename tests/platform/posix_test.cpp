// What only descriptors of POSIX systems can be: shared with others, or of another kind.
#if !defined(_WIN32) && !defined(TEST_PLATFORM_QUIRKY)

#include <curfew/platform/platform.hpp>  // which is posix.hpp here

#include <array>
#include <cerrno>
#include <cstring>
#include <string>
#include <thread>

#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "support/fatal.hpp"
#include "support/loop.hpp"

using namespace test;

namespace {

struct local_pair {
    tcp::socket socket;
    blocking_socket peer;
};

local_pair make_local_pair(io_context& ctx) {
    int ends[2] = {-1, -1};
    REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
    return {tcp::socket::adopt(ctx, ends[0]).value(), blocking_socket(ends[1])};
}

/// Sends three bytes with a descriptor, and then three more: a read ends between them.
void send_in_two_pieces(const blocking_socket& from) {
    char first[] = {'a', 'b', 'c'};
    iovec bytes{first, sizeof first};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
    msghdr message{};
    message.msg_iov = &bytes;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    cmsghdr* const attached = CMSG_FIRSTHDR(&message);
    attached->cmsg_level = SOL_SOCKET;
    attached->cmsg_type = SCM_RIGHTS;
    attached->cmsg_len = CMSG_LEN(sizeof(int));
    const int own = from.fd();
    std::memcpy(CMSG_DATA(attached), &own, sizeof own);
    CHECK(::sendmsg(from.fd(), &message, 0) == 3);
    CHECK(native::send(from.fd(), "def", 3) == 3);
}

/// Reads six bytes which came in two pieces, and then finds nothing more.
task<> read_both_pieces(tcp::socket& socket, bool exactly) {
    std::array<char, 64> buffer;
    std::size_t total = 0;
    while (total < 6) {
        const auto rest = exactly ? std::span(buffer).subspan(total, 6 - total)
                                  : std::span(buffer).subspan(total);
        const auto [ec, n] = exactly ? co_await with_timeout(read_exactly(socket, rest), 10s)
                                     : co_await with_timeout(socket.read_some(rest), 10s);
        CHECK_FALSE(ec);
        if (ec) co_return;
        total += n;
    }
    CHECK(std::string(buffer.data(), total) == "abcdef");
    CHECK((co_await with_timeout(socket.read_some(buffer), 0s)).error() == errc::timed_out);
}

}  // namespace

REACTOR_TEST("a stream that is not TCP's loses nothing when reads fall short") {
    run(kind, [&](io_context& ctx) -> task<> {
        for (const bool exactly : {false, true}) {
            auto [socket, peer] = make_local_pair(ctx);
            for (int i = 0; i < 5; ++i) {
                send_in_two_pieces(peer);  // a read finds them,
                co_await read_both_pieces(socket, exactly);
                ctx.post([&other = peer] { send_in_two_pieces(other); });  // or waits for them
                co_await read_both_pieces(socket, exactly);
            }
        }
    });
}

#if defined(__linux__)
REACTOR_TEST("what an acceptor of another kind accepts is not taken for TCP either") {
    run(kind, [&](io_context& ctx) -> task<> {
        const int listener = ::socket(AF_UNIX, SOCK_STREAM, 0);
        sockaddr_un name{};
        name.sun_family = AF_UNIX;
        REQUIRE(::bind(listener, reinterpret_cast<sockaddr*>(&name), sizeof(sa_family_t)) == 0);
        REQUIRE(::listen(listener, 1) == 0);  // with a name of the system's choice
        socklen_t size = sizeof name;
        REQUIRE(::getsockname(listener, reinterpret_cast<sockaddr*>(&name), &size) == 0);
        auto acceptor = tcp::acceptor::adopt(ctx, listener).value();
        const blocking_socket peer(::socket(AF_UNIX, SOCK_STREAM, 0));
        REQUIRE(::connect(peer.fd(), reinterpret_cast<sockaddr*>(&name), size) == 0);
        ip::endpoint who;
        auto socket = (co_await acceptor.accept(who)).value();
        CHECK(who.is_unspecified());
        ctx.post([&] { send_in_two_pieces(peer); });
        co_await read_both_pieces(socket, false);
    });
}
#endif

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

#if defined(MSG_DONTWAIT)
REACTOR_TEST("a limit holds though somebody who shares the descriptor has made it blocking") {
    run(kind, [&](io_context& ctx) -> task<> {
        auto [socket, peer] = make_local_pair(ctx);
        std::array<char, 4> buffer;
        std::array<char, 4> more;
        const auto make_blocking = [](const detail::socket_base& which) {
            native::block(which.native_handle());
        };
        CHECK(peer.send("abcd") == 0);
        CHECK((co_await socket.read_some(buffer)).value() == 4);  // there may be more
        make_blocking(socket);
        CHECK((co_await with_timeout(socket.read_some(buffer), 5ms)).error() == errc::timed_out);
        CHECK(peer.send("abcd") == 0);
        CHECK((co_await socket.read_some(buffer)).value() == 4);
        CHECK((co_await with_timeout(socket.read_some(buffer, more), 5ms)).error() ==
              errc::timed_out);
        const std::string large(std::size_t{4} << 20, 'x');
        CHECK((co_await with_timeout(write_all(socket, large), 5ms)).error() == errc::timed_out);
        std::array<const_buffer, 2> parts{const_buffer(large), const_buffer(large)};
        CHECK((co_await with_timeout(write_all(socket, std::span<const const_buffer>(parts)), 5ms))
                  .error() == errc::timed_out);

        udp::socket datagrams(ctx);
        datagrams.bind(any_port()).value();
        make_blocking(datagrams);
        ip::endpoint sender;
        CHECK((co_await with_timeout(datagrams.receive_from(buffer, sender), 5ms)).error() ==
              errc::timed_out);
    });
}
#endif

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

#if TEST_HAS_SIGNALS
REACTOR_TEST("stop() leaves errno alone, however often it is called") {
    io_context ctx(kind);
    for (int i = 0; i < 20'000; ++i) {
        errno = 77;
        ctx.stop();
        if (errno != 77) break;
    }
    CHECK(errno == 77);
    ctx.run();
}
#endif

#endif
