// Reads and writes where only descriptors of POSIX systems can be: of another kind, or shared.
#if !defined(_WIN32) && !defined(TEST_PLATFORM_QUIRKY)

#include <curfew/platform/platform.hpp>  // which is posix.hpp here

#include <array>
#include <cstring>
#include <string>

#include <sys/socket.h>
#include <sys/un.h>

#include "support/local_pair.hpp"

using namespace test;

namespace {

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

#endif
