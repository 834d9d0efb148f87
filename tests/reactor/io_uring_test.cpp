// What only io_uring has to prove: full queues, cancellation that comes too early or too late,
// requests that hold on to sockets, threads that come and go, and machines that forbid it.
#include <curfew/reactor/io_uring.hpp>

#if defined(CURFEW_HAS_IO_URING)

#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <initializer_list>
#include <list>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "support/counted.hpp"
#include "support/fatal.hpp"
#include "support/loop.hpp"

using namespace test;

namespace {

std::unique_ptr<reactor> small_ring(unsigned entries) {
    auto made = std::make_unique<io_uring_reactor>(entries);
    REQUIRE(made->error() == 0);
    return made;
}

/// Runs `body(ctx)` on a ring of that many entries.
template <class Body>
void run_on(unsigned entries, Body body) {
    io_context ctx(small_ring(entries));
    ctx.block_on(body(ctx));
}

udp::socket bound(io_context& ctx) {
    udp::socket socket(ctx);
    socket.bind(any_port()).value();
    return socket;
}

task<result<std::size_t>> read_into(tcp::socket& socket, std::span<char> buffer) {
    co_return co_await socket.read_some(buffer);
}

/// Until `fd` is readable, by the system's own word.
bool becomes_readable(int fd, int milliseconds = 10'000) {
    pollfd entry{fd, POLLIN, 0};
    return ::poll(&entry, 1, milliseconds) == 1;
}

}  // namespace

// Full queues -------------------------------------------------------------------------------------

TEST_CASE("ten thousand limits expire together on a ring of 64 entries, and none is lost") {
    rlimit descriptors{};
    ::getrlimit(RLIMIT_NOFILE, &descriptors);
    descriptors.rlim_cur = descriptors.rlim_max;
    ::setrlimit(RLIMIT_NOFILE, &descriptors);
    const std::size_t many = std::min<std::size_t>(10'000, descriptors.rlim_max - 200);
    if (many < 10'000) MESSAGE("only ", many, ": more descriptors are not allowed here");
    run_on(64, [many](io_context& ctx) -> task<> {
        std::vector<udp::socket> sockets;
        for (std::size_t i = 0; i < many; ++i) sockets.push_back(bound(ctx));
        const auto receive = [](udp::socket& socket, clock::time_point until) -> task<bool> {
            std::array<char, 4> buffer;
            const auto got = co_await with_deadline(socket.receive(buffer), until);
            co_return got.ec == errc::timed_out;
        };
        const auto until = clock::now() + 300ms;
        std::vector<task<bool>> works;
        for (auto& each : sockets) works.push_back(receive(each, until));
        const auto results = co_await when_all(std::move(works));
        CHECK(static_cast<std::size_t>(std::count(results.begin(), results.end(), true)) == many);

        // Nothing is left of them: each socket works on.
        std::size_t good = 0;
        for (auto& each : sockets) {
            std::array<char, 4> buffer;
            (co_await each.send_to("on", each.local_endpoint())).value();
            const auto got = co_await with_timeout(each.receive(buffer), 5s);
            good += got.ok() && got.data == 2;
        }
        CHECK(good == many);
    });
}

TEST_CASE("a ring of one entry does all that a large one does") {
    run_on(1, [](io_context& ctx) -> task<> {
        tcp::acceptor acceptor(ctx);
        acceptor.listen(any_port()).value();
        constexpr std::size_t many = 200;
        task_group group;
        std::size_t good = 0;
        group.spawn([](tcp::acceptor& a, task_group& g) -> task<> {
            for (std::size_t i = 0; i < many; ++i)
                g.spawn([](tcp::socket peer) -> task<> {
                    std::array<char, 8> buffer;
                    const auto got = co_await peer.read_some(buffer);
                    (void)co_await write_all(peer, std::span(buffer).first(got.data));
                }((co_await a.accept()).value()));
        }(acceptor, group));
        for (std::size_t i = 0; i < many; ++i)
            group.spawn([](io_context& c, ip::endpoint to, std::size_t& count) -> task<> {
                tcp::socket socket(c);
                (co_await socket.connect(to)).value();
                (co_await write_all(socket, "ping", "pong")).value();
                std::array<char, 8> buffer;
                const auto got = co_await read_exactly(socket, buffer);
                count += got.ok() && std::string_view(buffer.data(), 8) == "pingpong";
            }(ctx, acceptor.local_endpoint(), good));
        (co_await group.join()).value();
        CHECK(good == many);
    });
}

TEST_CASE("completions that find no room in their queue are not lost") {
    run_on(1, [](io_context& ctx) -> task<> {  // which has room for 16 completions
        constexpr std::size_t many = 1'000;
        std::vector<udp::socket> sockets;
        for (std::size_t i = 0; i < many; ++i) sockets.push_back(bound(ctx));
        std::size_t received = 0;
        std::vector<join_handle<>> receiving;
        for (auto& each : sockets)
            receiving.push_back(ctx.spawn([](udp::socket& s, std::size_t& count) -> task<> {
                std::array<char, 4> buffer;
                const auto got = co_await with_timeout(s.receive(buffer), 10s);
                count += got.ok() && got.data == 1;
            }(each, received)));
        (void)co_await sleep_for(1ms);
        // From one that the loop knows nothing of, all in one turn.
        const int sender = ::socket(AF_INET, SOCK_DGRAM, 0);
        for (auto& each : sockets) {
            const auto to = loopback(each.local_endpoint().port());
            CHECK(::sendto(sender, "x", 1, 0, reinterpret_cast<const sockaddr*>(&to), sizeof to) ==
                  1);
        }
        ::close(sender);
        for (auto& each : receiving) co_await each;
        CHECK(received == many);
    });
}

// Cancellation ------------------------------------------------------------------------------------

TEST_CASE("200,000 bytes that race with cancellations arrive, each once and in order") {
    run_on(io_uring_reactor::default_entries, [](io_context& ctx) -> task<> {
        constexpr std::size_t total = 200'000;
        blocking_listener listener;
        auto [socket, peer] = co_await test::connect(ctx, listener);
        // A byte and a cancellation in the same turn: the kernel does the read when it is sent.
        auto racer = ctx.spawn([](tcp::socket& s, int fd) -> task<> {
            std::mt19937 random(5);
            for (std::size_t sent = 0; sent < total;) {
                for (auto some = random() % 4; some > 0 && sent < total; --some, ++sent) {
                    const char byte = static_cast<char>(sent * 7 + sent / 256);
                    CHECK(::send(fd, &byte, 1, MSG_NOSIGNAL) == 1);
                }
                if (random() % 2) s.cancel();
                co_await yield();
            }
        }(socket, peer.fd()));
        std::mt19937 random(6);
        std::array<char, 64> buffer;
        std::size_t read = 0;
        std::size_t ended_early = 0;
        bool exact = true;
        while (read < total) {
            const auto into = std::span(buffer).first(1 + random() % buffer.size());
            const std::chrono::microseconds limit(random() % 20);
            auto [ec, n] = random() % 2 ? co_await with_timeout(socket.read_some(into), limit)
                                        : co_await with_timeout(read_exactly(socket, into), limit);
            for (std::size_t i = 0; i < n; ++i, ++read)
                exact = exact && into[i] == static_cast<char>(read * 7 + read / 256);
            if (ec == errc::timed_out || ec == errc::canceled)
                ++ended_early;
            else if (ec)
                break;
        }
        co_await racer;
        CHECK(read == total);
        CHECK(exact);
        CHECK(ended_early > 1'000);
    });
}

TEST_CASE("a cancellation that comes too late never ends the operation that comes next") {
    run_on(io_uring_reactor::default_entries, [](io_context& ctx) -> task<> {
        blocking_listener listener;
        auto [socket, peer] = co_await test::connect(ctx, listener);
        std::array<char, 4> buffer;
        int completed = 0;
        for (int i = 0; i < 2'000; ++i) {
            // The byte is there before the request to cancel, and both are seen in the same turn.
            auto meanwhile = ctx.spawn([](tcp::socket& s, blocking_socket& p) -> task<> {
                co_await yield();  // the read has been submitted
                CHECK(p.send("x") == 0);
                s.cancel();
            }(socket, peer));
            const auto first = co_await socket.read_some(buffer);
            co_await meanwhile;
            completed += first.ok();
            if (!first.ok()) {
                REQUIRE(first.ec == errc::canceled);
                REQUIRE((co_await socket.read_some(buffer)).value() == 1);
            }
            // Takes the place of the one that is over, in the very next submission.
            ctx.post([&other = peer] { CHECK(other.send("y") == 0); });
            const auto next = co_await socket.read_some(buffer);
            REQUIRE(next.ok());
            REQUIRE(next.data == 1);
        }
        CHECK(completed > 0);  // or it has shown nothing
    });
}

TEST_CASE("when a cancelled read has ended, the kernel touches neither its buffer nor the stream") {
    run_on(io_uring_reactor::default_entries, [](io_context& ctx) -> task<> {
        blocking_listener listener;
        auto [socket, peer] = co_await test::connect(ctx, listener);
        for (int i = 0; i < 200; ++i) {
            std::array<char, 4> buffer{};
            ctx.spawn([](tcp::socket& s) -> task<> {
                co_await yield();
                s.cancel();
            }(socket));
            CHECK((co_await socket.read_some(buffer)).ec == errc::canceled);
            CHECK(peer.send("x") == 0);
            CHECK(becomes_readable(socket.native_handle(), 1'000));
            CHECK(buffer[0] == 0);
            CHECK((co_await with_timeout(socket.read_some(buffer), 5s)).value() == 1);
        }
    });
}

TEST_CASE("what is cancelled in the turn in which it began ends, and takes nothing with it") {
    run_on(2, [](io_context& ctx) -> task<> {  // most of it finds no room in the ring
        std::vector<udp::socket> sockets;
        for (int i = 0; i < 20; ++i) sockets.push_back(bound(ctx));
        for (int round = 0; round < 20; ++round) {
            std::vector<join_handle<result<std::size_t>>> receiving;
            for (auto& each : sockets)
                receiving.push_back(ctx.spawn([](udp::socket& s) -> task<result<std::size_t>> {
                    std::array<char, 4> buffer;
                    co_return co_await s.receive(buffer);
                }(each)));
            ctx.post([&all = sockets] {
                for (auto& each : all) each.cancel();
            });
            for (auto& each : receiving) CHECK((co_await each).ec == errc::canceled);
        }
        for (auto& each : sockets) {
            std::array<char, 4> buffer;
            (co_await each.send_to("x", each.local_endpoint())).value();
            CHECK((co_await with_timeout(each.receive(buffer), 5s)).value() == 1);
        }
    });
}

TEST_CASE("an accept that wins against its cancellation delivers the connection") {
    run_on(io_uring_reactor::default_entries, [](io_context& ctx) -> task<> {
        tcp::acceptor acceptor(ctx);
        acceptor.listen(any_port()).value();
        int won = 0;
        for (int i = 0; i < 100; ++i) {
            blocking_socket peer;
            auto meanwhile = ctx.spawn([](tcp::acceptor& a, blocking_socket& p) -> task<> {
                co_await yield();  // the accept has been submitted
                p = blocking_connect(a.local_endpoint());
                a.cancel();
            }(acceptor, peer));
            auto [ec, accepted] = co_await acceptor.accept();
            co_await meanwhile;
            if (ec) {
                REQUIRE(ec == errc::canceled);
                accepted = (co_await with_timeout(acceptor.accept(), 5s)).value();
            } else {
                ++won;
            }
            // It is that very connection, and not one of those before.
            REQUIRE(peer.send("me") == 0);
            std::array<char, 4> buffer;
            REQUIRE((co_await with_timeout(accepted.read_some(buffer), 5s)).value() == 2);
        }
        CHECK(won > 0);
    });
}

// Closing -----------------------------------------------------------------------------------------

TEST_CASE("a closed acceptor accepts nothing more, and its port is free at once") {
    run_on(io_uring_reactor::default_entries, [](io_context& ctx) -> task<> {
        for (int i = 0; i < 50; ++i) {
            tcp::acceptor acceptor(ctx);
            acceptor.listen(any_port()).value();
            const auto at = acceptor.local_endpoint();
            auto accepting = ctx.spawn([](tcp::acceptor& a) -> task<std::error_code> {
                co_return (co_await a.accept()).ec;
            }(acceptor));
            (void)co_await sleep_for(100us);  // the kernel has it
            blocking_socket in_time;
            if (i % 2) in_time = blocking_connect(at);
            acceptor.close();
            blocking_socket late(::socket(AF_INET, SOCK_STREAM, 0));
            const auto to = loopback(at.port());
            CHECK(::connect(late.fd(), reinterpret_cast<const sockaddr*>(&to), sizeof to) != 0);
            CHECK(acceptor.listen(at, {.reuse_address = i % 2 != 0}).ok());
            CHECK((co_await accepting) == errc::closed);
            if (i % 2) {  // accepted or not: it is gone
                const auto got = in_time.receive();
                CHECK(got.bytes.empty());
                CHECK(got.error != EAGAIN);
            }
        }
    });
}

TEST_CASE("the peer sees an abort, and a close, before the loop looks at the system again") {
    run_on(io_uring_reactor::default_entries, [](io_context& ctx) -> task<> {
        blocking_listener listener;
        for (const bool abort : {false, true}) {
            auto [socket, peer] = co_await test::connect(ctx, listener);
            std::array<char, 4> buffer;
            auto reading = ctx.spawn(read_into(socket, buffer));
            auto waiting = ctx.spawn([](tcp::socket& s) -> task<std::error_code> {
                const std::string much(64 << 20, 'x');
                co_return (co_await write_all(s, much)).ec;
            }(socket));
            (void)co_await sleep_for(1ms);  // both are in the kernel
            abort ? socket.abort() : socket.close();
            blocking_socket::received got;
            do got = peer.receive(1 << 20);
            while (!got.bytes.empty());
            CHECK(got.error == (abort ? ECONNRESET : 0));
            CHECK((co_await reading).ec == errc::closed);
            CHECK((co_await waiting) == errc::closed);
        }
    });
}

TEST_CASE("a closed descriptor's number is reused at once, and only the new socket is read") {
    run_on(io_uring_reactor::default_entries, [](io_context& ctx) -> task<> {
        blocking_listener listener;
        for (int i = 0; i < 100; ++i) {
            auto [socket, peer] = co_await test::connect(ctx, listener);
            const int number = socket.native_handle();
            std::array<char, 8> buffer;
            auto reading = ctx.spawn(read_into(socket, buffer));
            if (i % 2) co_await yield();  // the kernel has it, or else not even that
            tcp::socket fresh;
            blocking_socket fresh_peer;
            ctx.post([&, &old = socket] {
                old.close();
                const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
                CHECK(fd == number);
                const auto to = loopback(listener.endpoint().port());
                CHECK(::connect(fd, reinterpret_cast<const sockaddr*>(&to), sizeof to) == 0);
                fresh = tcp::socket::adopt(ctx, fd).value();
                fresh_peer = listener.accept();
                CHECK(fresh_peer.send("new") == 0);
            });
            CHECK((co_await reading).ec == errc::closed);
            std::array<char, 8> other;
            CHECK((co_await with_timeout(fresh.read_some(other), 5s)).value() == 3);
        }
    });
}

TEST_CASE("a released descriptor is nobody's: what is pending reads nothing from it any more") {
    run_on(io_uring_reactor::default_entries, [](io_context& ctx) -> task<> {
        blocking_listener listener;
        auto [socket, peer] = co_await test::connect(ctx, listener);
        std::array<char, 8> buffer;
        auto reading = ctx.spawn(read_into(socket, buffer));
        (void)co_await sleep_for(1ms);
        blocking_socket released(socket.release());
        CHECK(peer.send("mine") == 0);
        REQUIRE(becomes_readable(released.fd()));
        CHECK(released.receive().bytes == "mine");
        CHECK((co_await reading).ec == errc::canceled);
    });
}

TEST_CASE("a context ends with a thousand operations in flight, of every kind") {
    int alive = 0;
    std::list<connection> connections;
    std::vector<blocking_socket> peers;
    blocking_listener listener;
    {
        io_context ctx(small_ring(64));
        tcp::acceptor acceptor(ctx);
        acceptor.listen(any_port()).value();
        tcp::acceptor full(ctx);
        full.listen(any_port(), {.backlog = 0}).value();
        ctx.block_on([](io_context& c, blocking_listener& l, auto& all, auto& others) -> task<> {
            for (int i = 0; i < 150; ++i) {
                all.push_back(co_await test::connect(c));
                all.back().server.send_buffer_size(4096);
                all.back().client.receive_buffer_size(4096);
                auto [socket, peer] = co_await test::connect(c, l);
                others.push_back(std::move(peer));
                all.back().client.shutdown(shutdown_how::send).value();
                all.back().client = std::move(socket);
            }
        }(ctx, listener, connections, peers));
        const auto begin = [&](auto body) {
            ctx.spawn([](counted, auto make) -> task<> { co_await make(); }(counted(alive), body));
        };
        for (auto& each : connections) {
            begin([&each]() -> task<> {
                std::array<char, 16> buffer;
                (void)co_await each.client.read_some(buffer);
            });
            begin([&each]() -> task<> {
                const std::string much(1 << 20, 'x');
                (void)co_await with_timeout(write_all(each.client, much, much), 1h);
            });
            begin([&ctx]() -> task<> {
                std::array<char, 4> first, second;
                udp::socket socket = bound(ctx);
                (void)co_await socket.receive(first, second);
            });
            begin([&ctx]() -> task<> {
                std::array<char, 4> buffer;
                ip::endpoint sender;
                udp::socket socket = bound(ctx);
                (void)co_await socket.receive_from(buffer, sender);
            });
            begin([&ctx]() -> task<> {
                udp::socket socket = bound(ctx);
                (void)co_await socket.wait(readable);
            });
            begin([&ctx, at = full.local_endpoint()]() -> task<> {
                tcp::socket socket(ctx);
                (void)co_await socket.connect(at);
                (void)co_await sleep_for(1h);
            });
            begin([&ctx]() -> task<> {
                tcp::acceptor own(ctx);
                own.listen(any_port()).value();
                (void)co_await own.accept();
            });
        }
        begin([&acceptor]() -> task<> { (void)co_await acceptor.accept(); });
        ctx.run_for(20ms);
        CHECK(alive == 7 * 150 + 1);
        for (auto& each : connections) each.server = tcp::socket();
        begin([&ctx]() -> task<> {  // never submitted
            udp::socket socket = bound(ctx);
            std::array<char, 4> buffer;
            (void)co_await socket.receive(buffer);
        });
    }
    CHECK(alive == 0);
    // The kernel has let go of the sockets, too.
    for (auto& each : peers) {
        blocking_socket::received got;
        do got = each.receive(1 << 20);
        while (!got.bytes.empty());
        CHECK(got.error == 0);
    }
}

// Threads -----------------------------------------------------------------------------------------

TEST_CASE("operations outlive the thread that has submitted them") {
    io_context ctx(reactor_kind::io_uring);
    blocking_listener listener;
    mixed_connection made;
    std::array<char, 16> buffer;
    tcp::acceptor acceptor(ctx);
    acceptor.listen(any_port()).value();
    join_handle<result<std::size_t>> reading, exact, receiving;
    join_handle<result<>> waiting;
    join_handle<bool> accepting;
    connection both;
    udp::socket datagrams = bound(ctx);
    std::array<char, 6> six;
    std::array<char, 4> four;
    std::thread([&] {
        made = ctx.block_on(test::connect(ctx, listener));
        both = ctx.block_on(test::connect(ctx));
        reading = ctx.spawn(read_into(made.socket, buffer));
        exact = ctx.spawn([](tcp::socket& s, std::span<char> b) -> task<result<std::size_t>> {
            co_return co_await read_exactly(s, b);
        }(both.client, six));
        waiting = ctx.spawn([](tcp::socket& s) -> task<result<>> {
            co_return co_await s.wait(readable);
        }(both.server));
        receiving = ctx.spawn([](udp::socket& s, std::span<char> b) -> task<result<std::size_t>> {
            co_return co_await s.receive(b);
        }(datagrams, four));
        accepting = ctx.spawn(
            [](tcp::acceptor& a) -> task<bool> { co_return (co_await a.accept()).ok(); }(acceptor));
        ctx.run_for(2ms);
    }).join();
    CHECK(made.peer.send("hello") == 0);
    auto late = blocking_connect(acceptor.local_endpoint());
    using counting = join_handle<result<std::size_t>>;
    ctx.block_on([](connection& c, udp::socket& u, counting& r, counting& e,
                    join_handle<result<>>& w, counting& d, join_handle<bool>& a) -> task<> {
        CHECK((co_await r).value() == 5);
        CHECK((co_await a));
        (co_await write_all(c.server, "abc")).value();
        (void)co_await sleep_for(1ms);
        (co_await write_all(c.server, "def")).value();
        CHECK((co_await e).value() == 6);
        (co_await write_all(c.client, "x")).value();
        CHECK((co_await w).ok());
        (co_await u.send_to("12", u.local_endpoint())).value();
        CHECK((co_await d).value() == 2);
    }(both, datagrams, reading, exact, waiting, receiving, accepting));
    // The waker was that thread's, too.
    std::thread poster([&] {
        std::this_thread::sleep_for(10ms);
        ctx.post([&] { ctx.stop(); });
    });
    const auto alive = ctx.spawn([]() -> task<> { (void)co_await sleep_for(10s); }());
    const auto before = clock::now();
    ctx.run();
    CHECK(clock::now() - before < 5s);
    poster.join();
}

TEST_CASE("a connect outlives the thread that has begun it") {
    io_context ctx(reactor_kind::io_uring);
    blocking_listener target;
    ::listen(target.fd(), 0);  // its queue has room for one
    const auto first = blocking_connect(target.endpoint());
    tcp::socket socket(ctx);
    join_handle<result<>> connecting;
    std::thread([&] {
        connecting = ctx.spawn([](tcp::socket& s, ip::endpoint to) -> task<result<>> {
            co_return co_await s.connect(to);
        }(socket, target.endpoint()));
        ctx.run_for(5ms);
    }).join();
    CHECK_FALSE(connecting.done());
    const auto accepted = target.accept();  // the system tries again to connect, after a second
    ctx.block_on([](join_handle<result<>>& all) -> task<> {
        CHECK((co_await with_timeout(std::move(all), 8s)).ok());
    }(connecting));
    CHECK(socket.is_open());
}

TEST_CASE("operations complete while the thread that has submitted them is blocked, or computes") {
    for (const bool blocked : {true, false}) {
        io_context ctx(reactor_kind::io_uring);
        blocking_listener listener;
        auto made = ctx.block_on(test::connect(ctx, listener));
        std::array<char, 8> buffer;
        auto first = ctx.spawn(read_into(made.socket, buffer));
        ctx.run_for(1ms);
        std::atomic<bool> done{false};
        std::thread other([&] {
            CHECK(made.peer.send("1") == 0);
            ctx.block_on([](tcp::socket& s, std::span<char> b,
                            join_handle<result<std::size_t>>& handle) -> task<> {
                CHECK((co_await handle).value() == 1);
                CHECK((co_await with_timeout(s.read_some(b), 1ms)).ec == errc::timed_out);
            }(made.socket, buffer, first));
            done = true;
        });
        if (!blocked)
            while (!done) {}
        other.join();
    }
}

TEST_CASE("a context ends in another thread than the one it ran in") {
    int alive = 0;
    blocking_listener listener;
    mixed_connection made;
    auto ctx = std::make_unique<io_context>(reactor_kind::io_uring);
    std::thread([&] {
        made = ctx->block_on(test::connect(*ctx, listener));
        ctx->spawn([](counted, tcp::socket& s) -> task<> {
            std::array<char, 4> buffer;
            (void)co_await s.read_some(buffer);
        }(counted(alive), made.socket));
        ctx->run_for(1ms);
    }).join();
    CHECK(alive == 1);
    ctx.reset();
    CHECK(alive == 0);
    CHECK(made.peer.receive().bytes.empty());
}

TEST_CASE("an acceptor that others share: who comes too late waits on") {
    constexpr int many = 400;
    blocking_listener listener;
    io_context ctx(reactor_kind::io_uring);
    auto acceptor = tcp::acceptor::adopt(ctx, ::dup(listener.fd())).value();
    int stolen = 0;
    int accepted = 0;
    std::thread thief([&] {
        for (int i = 0; i < many; ++i) {
            blocking_connect(listener.endpoint()).reset();
            stolen += listener.accept().fd() >= 0;
        }
        ctx.post([&] { acceptor.cancel(); });
    });
    ctx.block_on([](tcp::acceptor& a, int& count) -> task<> {
        for (;;) {
            auto [ec, peer] = co_await a.accept();
            if (ec == errc::canceled) co_return;
            REQUIRE_FALSE(ec);
            ++count;
        }
    }(acceptor, accepted));
    thief.join();
    CHECK(stolen + accepted == many);
}

// Machines that forbid it -------------------------------------------------------------------------

#if TEST_CAN_DIE && CURFEW_EXCEPTIONS
namespace {

/// From now on these system calls fail with EPERM, as under a container runtime.
void forbid(std::initializer_list<long> calls) {
    std::vector<sock_filter> program{{BPF_LD | BPF_W | BPF_ABS, 0, 0, offsetof(seccomp_data, nr)}};
    for (const long each : calls) {
        program.push_back({BPF_JMP | BPF_JEQ | BPF_K, 0, 1, static_cast<std::uint32_t>(each)});
        program.push_back({BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ERRNO | EPERM});
    }
    program.push_back({BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW});
    const sock_fprog filter{static_cast<unsigned short>(program.size()), program.data()};
    if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) != 0)
        std::fputs("no filter: ", stderr);
}

/// What contexts are made in a process that may not make these calls.
std::string reactors_without(std::initializer_list<long> calls) {
    return death_of([&] {
               forbid(calls);
               ::unsetenv("CURFEW_REACTOR");
               {
                   io_context ctx;
                   const int seven = ctx.block_on([]() -> task<int> {
                       (void)co_await sleep_for(1ms);
                       co_return 7;
                   }());
                   std::fprintf(stderr, "%s %d, ", std::string(ctx.name()).c_str(), seven);
               }
               try {
                   io_context ctx(reactor_kind::io_uring);
                   std::fputs("made", stderr);
               } catch (const std::system_error& error) {
                   std::fprintf(stderr, "%d %s", error.code().value(), error.what());
               }
           })
        .said;
}

}  // namespace

TEST_CASE(
    "where io_uring is forbidden the best of the others is taken, and asking for it says why") {
    const std::string why =
        "epoll 7, 1 curfew::io_context: reactor 'io_uring': Operation not permitted";
    CHECK(reactors_without({__NR_io_uring_setup}) == why);
    CHECK(reactors_without({__NR_io_uring_enter}) == why);
    CHECK(reactors_without({__NR_io_uring_register}) == why);
    CHECK(reactors_without({}) == "io_uring 7, made");
}
#endif

#endif
