// What the kernel says of a request, and seldom.
#include <curfew/reactor/io_uring/requests.hpp>

#if defined(CURFEW_HAS_IO_URING)

#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <utility>

#include "support/loop.hpp"
#include "support/rings.hpp"
#include "support/system_calls.hpp"

using namespace test;

namespace {

/// While it lives, what the reactors of this program submit can be changed before the kernel sees
/// it: so that it says what it says seldom.
class changed_entries {
public:
    explicit changed_entries(std::function<void(io_uring_sqe&)> change) {
        change_ = std::move(change);
        before_io_uring_enter = [](int ring) {
            const std::size_t size = entries * sizeof(io_uring_sqe);
            void* const there = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, ring,
                                       static_cast<off_t>(IORING_OFF_SQES));
            if (there == MAP_FAILED) return;
            for (auto* each = static_cast<io_uring_sqe*>(there);
                 each != static_cast<io_uring_sqe*>(there) + entries; ++each)
                change_(*each);  // also those that the kernel has taken, and looks at no more
            ::munmap(there, size);
        };
    }
    ~changed_entries() { before_io_uring_enter = nullptr; }
    changed_entries(const changed_entries&) = delete;
    changed_entries& operator=(const changed_entries&) = delete;

    /// Of the rings for which this works.
    static constexpr unsigned entries = 8;

private:
    static inline std::function<void(io_uring_sqe&)> change_;
};

}  // namespace

TEST_CASE("a cancellation that has missed its request is repeated") {
    run_on(changed_entries::entries, [](io_context& ctx) -> task<> {
        int missed = 0;
        const changed_entries changed([&](io_uring_sqe& entry) {
            if (entry.opcode != IORING_OP_ASYNC_CANCEL || missed == 3) return;
            entry.addr = 0xffff'0000;  // which is none
            ++missed;
        });
        auto socket = bound(ctx);
        auto rescue = ctx.spawn([](udp::socket& to) -> task<> {  // should the test fail
            if (!(co_await sleep_for(10s)).ok()) co_return;
            (void)co_await to.send_to("!", to.local_endpoint());
        }(socket));
        std::array<char, 4> buffer;
        CHECK((co_await with_timeout(socket.receive(buffer), 1ms)).ec == errc::timed_out);
        CHECK(missed == 3);
        rescue.cancel();
        co_await rescue;
    });
}

TEST_CASE("what the kernel will not wait for is polled") {
    run_on(changed_entries::entries, [](io_context& ctx) -> task<> {
        int refused = 0;
        const changed_entries changed([&](io_uring_sqe& entry) {
            if (entry.opcode != IORING_OP_RECV && entry.opcode != IORING_OP_RECVMSG) return;
            if (!(entry.msg_flags & MSG_DONTWAIT)) ++refused;
            entry.msg_flags |= MSG_DONTWAIT;
        });
        auto [client, server] = co_await test::connect(ctx);
        auto datagrams = bound(ctx);
        std::array<char, 4> one, two, three;
        const auto send = [](tcp::socket& a, tcp::socket& b, udp::socket& c) -> task<> {
            for (int turns = 0; turns < 50; ++turns) co_await yield();
            (co_await write_all(b, "x")).value();
            (co_await write_all(a, "yz")).value();
            (co_await c.send_to("xyz", c.local_endpoint())).value();
        };
        const auto got =
            co_await when_all(client.read_some(one),
                              server.read_exactly(std::span(two).first(1), std::span(two).last(1)),
                              datagrams.receive(three), send(client, server, datagrams));
        CHECK(std::get<0>(got).value() == 1);
        CHECK(std::get<1>(got).value() == 2);
        CHECK(std::get<2>(got).value() == 3);
        CHECK(refused >= 3);
        CHECK(refused < 20);  // and not tried again in each turn
    });
}

TEST_CASE("a connect that somebody else has begun is waited for") {
    run_on(io_uring_reactor::default_entries, [](io_context& ctx) -> task<> {
        blocking_listener target;
        ::listen(target.fd(), 0);  // its queue has room for one
        const auto first = blocking_connect(target.endpoint());
        tcp::socket socket(ctx);
        CHECK(socket.open(ip::family::v4).ok());
        const auto to = native::loopback(target.endpoint().port());
        CHECK(::connect(socket.native_handle(), reinterpret_cast<const sockaddr*>(&to),
                        sizeof to) == -1);
        CHECK(errno == EINPROGRESS);
        auto connecting = ctx.spawn([](tcp::socket& s, ip::endpoint at) -> task<std::error_code> {
            co_return (co_await with_timeout(s.connect(at), 20s)).ec;
        }(socket, target.endpoint()));
        for (int turns = 0; turns < 3; ++turns) co_await yield();
        CHECK_FALSE(connecting.done());
        const auto accepted = target.accept();  // the system tries again, after a second
        CHECK((co_await connecting) == std::error_code());
        CHECK(socket.is_open());
    });
}

TEST_CASE("a datagram that was cut before its receive could be cancelled is told of") {
    io_context ctx(std::make_unique<io_uring_reactor>());
    ctx.spawn([](io_context& own) -> task<> {
        for (const bool cut : {false, true}) {
            auto socket = bound(own);
            const int sender = ::socket(AF_INET, SOCK_DGRAM, 0);
            const auto to = native::loopback(socket.local_endpoint().port());
            std::array<char, 4> buffer;
            auto receiving =
                own.spawn([](udp::socket& from, std::span<char> into) -> task<result<std::size_t>> {
                    co_return co_await from.receive(into);
                }(socket, buffer));
            for (int turns = 0; turns < 3; ++turns) co_await yield();  // the kernel has it
            // The kernel receives before this returns, in this thread.
            CHECK(::sendto(sender, "too long", cut ? 8 : 4, 0,
                           reinterpret_cast<const sockaddr*>(&to), sizeof to) > 0);
            socket.cancel();
            const auto got = co_await receiving;
            if (cut) CHECK(got.ec == std::errc::message_size);
            if (!cut) CHECK_FALSE(got.ec);
            CHECK(got.data == 4);
            ::close(sender);
        }
    }(ctx));
    ctx.run_for(1h);  // a run with an end does not settle, so the kernel receives at once
}

#endif
