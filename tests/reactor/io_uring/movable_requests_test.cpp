// Requests that go on in another thread, or in a ring of one thread's own.
#include <curfew/reactor/io_uring/movable_requests.hpp>

#if defined(CURFEW_HAS_IO_URING)

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <csignal>
#include <cstddef>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "support/crowd.hpp"
#include "support/effort.hpp"
#include "support/loop.hpp"
#include "support/rings.hpp"

using namespace test;

namespace {

/// Settles and moves out all the time, between any two turns.
class restless_reactor final : public reactor {
public:
    explicit restless_reactor(unsigned entries, int& moves) : inner_(entries), moves_(moves) {}

    std::string_view name() const noexcept override { return "restless"; }
    bool start(operation& op) noexcept override { return inner_.start(op); }
    void cancel(operation& op, completions& done) noexcept override { inner_.cancel(op, done); }
    void close(socket_state& socket, close_mode how, completions& done) noexcept override {
        inner_.close(socket, how, done);
    }
    void release(socket_state& socket, completions& done) noexcept override {
        inner_.release(socket, done);
    }
    void wake() noexcept override { inner_.wake(); }
    int wait(std::chrono::nanoseconds time, completions& done) noexcept override {
        if (random_() % 3) return inner_.wait(time, done);
        ++moves_;
        if (settled_) inner_.unsettle(done);
        settled_ = !settled_ && inner_.settle(done);
        return inner_.wait(0ns, done);  // the move may have brought something
    }

private:
    io_uring_reactor inner_;
    int& moves_;
    bool settled_ = false;
    std::minstd_rand random_;
};

}  // namespace

// Threads -----------------------------------------------------------------------------------------

namespace {

/// Keeps a thread from doing anything at all in the kernel: one that has called vfork stands still
/// as long as its child lives.
class standstill {
public:
    standstill() {
        REQUIRE(::pipe(begun_) == 0);
        REQUIRE(::pipe(over_) == 0);
    }
    ~standstill() {
        for (const int each : {begun_[0], begun_[1], over_[0], over_[1]}) ::close(each);
    }
    standstill(const standstill&) = delete;
    standstill& operator=(const standstill&) = delete;

    /// Returns after `end`.
    void stand() const {
        const pid_t child = ::vfork();
        if (child == 0) {
            char byte = 0;
            ::_exit(::write(begun_[1], "!", 1) == 1 && ::read(over_[0], &byte, 1) == 1 ? 0 : 1);
        }
        ::waitpid(child, nullptr, 0);
    }
    void wait_until_it_stands() const {
        char byte = 0;
        CHECK(::read(begun_[0], &byte, 1) == 1);
    }
    void end() const { CHECK(::write(over_[1], "!", 1) == 1); }

private:
    int begun_[2];
    int over_[2];
};

}  // namespace

TEST_CASE("a post reaches a loop that goes on in another thread, whatever the one before does") {
    io_context ctx(reactor_kind::io_uring);
    const standstill still;
    auto alive = ctx.spawn([]() -> task<> { (void)co_await sleep_for(1h); }());
    std::thread before([&] {
        ctx.run_for(1ms);
        still.stand();
    });
    still.wait_until_it_stands();
    int posted = 0;
    for (int round = 1; round <= 3; ++round) {
        std::thread posting([&] {
            std::this_thread::sleep_for(10ms);  // so that the loop sleeps
            ctx.post([&] {
                ++posted;
                ctx.stop();
            });
        });
        const auto begun = curfew::clock::now();
        ctx.run_for(60s);
        CHECK(posted == round);
        CHECK(curfew::clock::now() < begun + 30s);  // it was woken, and did not come by at the end
        posting.join();
    }
    still.end();
    before.join();
    alive.cancel();
    ctx.run();
}

TEST_CASE("what is pending goes on in another thread, whatever the one before does then") {
    io_context ctx(reactor_kind::io_uring);
    auto early = bound(ctx);
    auto late = bound(ctx);
    int received = 0;
    const auto receive = [&](udp::socket& from) -> task<> {
        std::array<char, 4> buffer;
        received += (co_await from.receive(buffer)).ok();
    };
    const auto send = [](const udp::socket& to) {
        const int sender = ::socket(AF_INET, SOCK_DGRAM, 0);
        const auto at = native::loopback(to.local_endpoint().port());
        CHECK(::sendto(sender, "!", 1, 0, reinterpret_cast<const sockaddr*>(&at), sizeof at) == 1);
        ::close(sender);
    };
    const auto run_until_received = [&](int count) {
        for (int i = 0; i < 1'000 && received < count; ++i) ctx.run_for(10ms);
        CHECK(received == count);
    };
    const standstill still;
    std::atomic<bool> has_run{false};
    std::atomic<bool> stands{false};
    std::thread before([&] {
        ctx.spawn(receive(early));
        ctx.spawn(receive(late));
        while (ctx.poll() > 0) {}
        has_run = true;
        while (!stands) std::this_thread::yield();
        still.stand();
    });
    while (!has_run) std::this_thread::yield();
    ctx.poll();  // asks for both, which that thread gives back in their order
    send(early);
    run_until_received(1);
    ctx.poll();
    stands = true;
    still.wait_until_it_stands();
    send(late);
    run_until_received(2);
    still.end();
    before.join();
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

// Settling ----------------------------------------------------------------------------------------

TEST_CASE("a loop that has settled has a ring of its thread's own, and moves out of it") {
    if (!can_settle()) return;
    io_context ctx(reactor_kind::io_uring);
    const int before = rings();
    CHECK(rings_when_settled(ctx) == before + 1);
    CHECK(rings() == before);
}

TEST_CASE("a loop that has settled takes all that has arrived before a limit expires") {
    if (!can_settle()) return;
    io_context ctx(reactor_kind::io_uring);
    crowd all(ctx, 200);
    int received = 0;
    const auto receive = [&](udp::socket& from) -> task<> {
        std::array<char, 8> buffer;
        auto [ec, n] = co_await with_timeout(from.receive(buffer), 200ms);
        received += !ec && n == 1;
    };
    const auto talk = [&]() -> task<> {
        co_await settle();
        task_group group;
        for (udp::socket& each : all.sockets) group.spawn(receive(each));
        for (int turns = 0; turns < 3; ++turns) co_await yield();  // the kernel knows of all
        all.reach(reactor_kind::poll, 1);
        std::this_thread::sleep_for(210ms);  // nobody looks until all limits are over
        (co_await group.join()).value();
    };
    ctx.block_on(talk());
    CHECK(received == 200);
}

TEST_CASE(
    "a loop that has settled takes what arrived while a signal handler kept it from waiting") {
    if (!can_settle()) return;
    struct sigaction action {};
    struct sigaction before {};
    static volatile std::sig_atomic_t bytes_from = -1;
    action.sa_handler = [](int) {
        if (::write(bytes_from, "x", 1) != 1) return;  // the test will miss it
        const timespec time{0, 30'000'000};
        ::nanosleep(&time, nullptr);
    };
    ::sigaction(SIGUSR1, &action, &before);
    run(reactor_kind::io_uring, [](io_context& ctx) -> task<> {
        auto [reader, writer] = co_await test::connect(ctx);
        bytes_from = writer.native_handle();
        co_await settle();
        int in_time = 0;
        for (int round = 0; round < 5; ++round) {
            std::thread sender([loop = ::pthread_self()] {
                std::this_thread::sleep_for(5ms);
                ::pthread_kill(loop, SIGUSR1);
            });
            std::array<char, 4> buffer;
            auto [ec, n] = co_await with_timeout(reader.read_some(buffer), 20ms);
            sender.join();
            in_time += !ec;
            // On a slow machine it comes too late: not into the next round.
            if (ec) (void)co_await reader.read_some(buffer);
        }
        CHECK(in_time > 0);
    });
    ::sigaction(SIGUSR1, &before, nullptr);
}

TEST_CASE("a loop that has settled closes at once, however much else it has to do") {
    if (!can_settle()) return;
    run(reactor_kind::io_uring, [](io_context& ctx) -> task<> {
        blocking_listener listener;
        crowd busy(ctx, 100);
        task_group group;
        for (udp::socket& each : busy.sockets)
            group.spawn([](udp::socket& from) -> task<> {
                std::array<char, 4> buffer;
                for (bool more = true; more;) {
                    const auto [ec, n] = co_await from.receive(buffer);
                    more = !ec;
                }
            }(each));
        co_await settle();
        for (const bool abort : {false, true}) {
            auto [socket, peer] = co_await test::connect(ctx, listener);
            udp::socket bound_one = bound(ctx);
            const auto port = bound_one.local_endpoint();
            std::array<char, 4> buffer, datagram;
            auto reading = ctx.spawn(read_into(socket, buffer));
            auto receiving = ctx.spawn([](udp::socket& from, std::span<char> to) -> task<> {
                CHECK((co_await from.receive(to)).ec == errc::closed);
            }(bound_one, datagram));
            for (int turns = 0; turns < 3; ++turns) co_await yield();  // the kernel has both
            busy.reach(reactor_kind::poll, 1);
            abort ? socket.abort() : socket.close();
            CHECK(peer.receive().error == (abort ? native::error_after_reset() : 0));
            busy.reach(reactor_kind::poll, 1);
            bound_one.close();
            CHECK(bound_one.bind(port).ok());
            CHECK((co_await reading).ec == errc::closed);
            co_await receiving;
        }
        group.cancel();
        (void)co_await group.join();
    });
}

TEST_CASE(
    "a loop with more pending than can move in a moment does not settle until there is less") {
    if (!can_settle()) return;
    io_context ctx(reactor_kind::io_uring);
    const int before = rings();
    crowd many(ctx, 600);
    std::vector<join_handle<void>> receiving;
    for (udp::socket& each : many.sockets)
        receiving.push_back(ctx.spawn([](udp::socket& from) -> task<> {
            std::array<char, 4> buffer;
            (void)co_await from.receive(buffer);
        }(each)));
    while (ctx.poll() > 0) {}  // the kernel has them
    CHECK(rings_when_settled(ctx) == before);
    for (std::size_t i = 0; i < 200; ++i) receiving[i].cancel();
    CHECK(rings_when_settled(ctx) == before + 1);
}

TEST_CASE("a loop that has settled interrupts nothing that blocks in its thread") {
    if (!can_settle()) return;
    io_context ctx(reactor_kind::io_uring);
    ctx.block_on([](io_context& c) -> task<> {
        blocking_listener listener;
        auto [socket, peer] = co_await test::connect(c, listener);
        co_await settle();
        std::array<char, 8> buffer;
        auto reading = c.spawn(read_into(socket, buffer));
        co_await yield();
        co_await yield();  // the kernel waits for the bytes
        std::thread sender([&writer = peer] {
            std::this_thread::sleep_for(10ms);
            writer.send("x");
        });
        const timespec time{0, 100'000'000};
        CHECK(::nanosleep(&time, nullptr) == 0);
        sender.join();
        CHECK((co_await with_timeout(std::move(reading), 5s)).value() == 1);
    }(ctx));
}

TEST_CASE("far more can move than the queues have room for") {
    if (!can_settle()) return;
    constexpr std::size_t many = 500;
    io_context ctx(small_ring(4));  // which has room for 64 completions
    const int before = rings();
    std::size_t received = 0;
    std::vector<udp::socket> sockets;
    for (std::size_t i = 0; i < many; ++i) sockets.push_back(bound(ctx));
    for (auto& each : sockets)
        ctx.spawn([](udp::socket& from, std::size_t& count) -> task<> {
            std::array<char, 4> buffer;
            count += (co_await from.receive(buffer)).ok();
        }(each, received));
    while (ctx.poll() > 0) {}  // the kernel has them
    CHECK(rings_when_settled(ctx) == before + 1);
    CHECK(rings() == before);
    ctx.spawn([](std::vector<udp::socket>& all) -> task<> {
        for (auto& each : all) (co_await each.send_to("x", each.local_endpoint())).value();
    }(sockets));
    ctx.run();
    CHECK(received == many);
}

#if CURFEW_EXCEPTIONS
TEST_CASE("a loop whose own ring works no more says so, and ends") {
    if (!can_settle()) return;
    io_context ctx(reactor_kind::io_uring);
    std::vector<int> shared = descriptors_of_rings();
    ctx.spawn([](std::vector<int>& others) -> task<> {
        co_await settle();
        for (const int each : descriptors_of_rings()) {
            if (std::find(others.begin(), others.end(), each) != others.end()) continue;
            const int nothing = ::open("/dev/null", O_RDWR);
            CHECK(::dup2(nothing, each) == each);
            ::close(nothing);
        }
        (void)co_await sleep_for(1ms);
    }(shared));
    CHECK_THROWS_AS(ctx.run(), std::system_error);
}
#endif

TEST_CASE("a loop that has settled moves on to other threads with what is pending") {
    io_context ctx(reactor_kind::io_uring);
    blocking_listener listener;
    auto [socket, peer] = ctx.block_on(test::connect(ctx, listener));
    tcp::acceptor acceptor(ctx);
    acceptor.listen(any_port()).value();
    udp::socket datagrams = bound(ctx);
    std::string heard;
    int accepted = 0;
    std::size_t received = 0;
    ctx.spawn([](tcp::socket& from, std::string& to) -> task<> {
        for (std::array<char, 8> buffer;;) {
            const auto [ec, n] = co_await from.read_some(buffer);
            if (ec) co_return;
            to.append(buffer.data(), n);
        }
    }(socket, heard));
    ctx.spawn([](tcp::acceptor& from, int& count) -> task<> {
        while ((co_await from.accept()).ok()) ++count;
    }(acceptor, accepted));
    ctx.spawn([](udp::socket& from, std::size_t& count) -> task<> {
        for (std::array<char, 8> buffer;;) {
            const auto [ec, n] = co_await from.receive(buffer);
            if (ec) co_return;
            count += n;
        }
    }(datagrams, received));

    std::string said;
    int called = 0;
    std::size_t sent = 0;
    // One of each comes, and the loop sees it.
    const auto something_comes = [&] {
        peer.send("abcde");
        said += "abcde";
        const auto caller = blocking_connect(acceptor.local_endpoint());
        ++called;
        const int sender = ::socket(AF_INET, SOCK_DGRAM, 0);
        const auto to = native::loopback(datagrams.local_endpoint().port());
        CHECK(::sendto(sender, "xyz", 3, 0, reinterpret_cast<const sockaddr*>(&to), sizeof to) ==
              3);
        ::close(sender);
        sent += 3;
    };
    const auto all_seen = [&] { return heard == said && accepted == called && received == sent; };
    const auto until_seen = [&all_seen]() -> task<bool> {
        for (int i = 0; i < 5'000 && !all_seen(); ++i)
            if (!(co_await sleep_for(1ms)).ok()) break;
        co_return all_seen();
    };
    for (int i = 0; i < 3; ++i) {
        std::thread([&] {
            ctx.block_on([](auto& come, auto& seen) -> task<> {
                const int before = rings();
                co_await settle();
                if (CURFEW_SETTLE_AFTER > 0 && can_settle()) {
                    // The thread before has to let go, which is asleep now.
                    for (int tries = 0; tries < 1'000 && rings() == before; ++tries) {
                        (void)co_await sleep_for(1ms);
                        co_await settle();
                    }
                    CHECK(rings() == before + 1);
                }
                come();
                CHECK(co_await seen());
            }(something_comes, until_seen));
        }).join();
        something_comes();  // while nobody looks
        for (int looks = 0; looks < 5'000 && !all_seen(); ++looks) {
            ctx.poll();
            std::this_thread::sleep_for(1ms);
        }
        CHECK(all_seen());
        something_comes();
        CHECK(ctx.block_on(until_seen()));
    }
    // Wherever the loop is, it can be woken.
    std::thread other;
    ctx.block_on([](io_context& c, std::thread& waking) -> task<> {
        co_await settle();
        event posted;
        waking = std::thread([&] { c.post([&] { posted.set(); }); });
        CHECK((co_await with_timeout(posted.wait(), 5s)).ok());
    }(ctx, other));
    other.join();
}

namespace {

/// Sends back what comes, in reads that are cut short all the time.
task<> echo(tcp::socket peer) {
    std::array<char, 100> buffer;
    for (;;) {
        const auto [ec, n] = co_await with_timeout(peer.read_some(buffer), 100us);
        if (ec == errc::timed_out) continue;
        if (ec) co_return;
        if (!(co_await write_all(peer, std::span(buffer).first(n))).ok()) co_return;
    }
}

task<> accept_all(tcp::acceptor& acceptor, task_group& servers) {
    for (;;) {
        auto [ec, peer] = co_await acceptor.accept();
        if (ec) co_return;
        servers.spawn(echo(std::move(peer)));
    }
}

/// A connection over which a text comes back as it was sent.
task<bool> talk(io_context& ctx, ip::endpoint to, char first) {
    tcp::socket socket(ctx);
    if (!(co_await socket.connect(to)).ok()) co_return false;
    std::string text(3'000, ' ');
    std::string echoed = text;
    for (char& each : text) each = first++;
    auto [written, read] = co_await when_all(write_all(socket, text), read_exactly(socket, echoed));
    co_return written.ok() && read.ok() && text == echoed;
}

task<bool> hear_oneself(udp::socket& socket) {
    std::array<char, 8> buffer;
    auto [heard, sent] =
        co_await when_all(socket.receive(buffer), socket.send_to("hello", socket.local_endpoint()));
    co_return heard.ok() && heard.data == 5 && sent.ok();
}

task<std::size_t> count_good(std::size_t rounds, auto attempt) {
    std::size_t good = 0;
    for (std::size_t i = 0; i < rounds; ++i) good += co_await attempt(i);
    co_return good;
}

}  // namespace

TEST_CASE("moving at any moment loses no byte, no datagram, no connection and no cancellation") {
    if (!can_settle()) return;
    for (const unsigned entries : {1u, io_uring_reactor::default_entries}) {
        int moves = 0;
        io_context ctx(std::make_unique<restless_reactor>(entries, moves));
        const std::size_t rounds = scaled(200);
        ctx.block_on([](io_context& c, std::size_t times) -> task<> {
            tcp::acceptor acceptor(c);
            acceptor.listen(any_port()).value();
            udp::socket datagrams = bound(c);
            task_group servers;
            auto accepting = c.spawn(accept_all(acceptor, servers));
            std::vector<task<std::size_t>> works;
            for (int i = 0; i < 8; ++i)
                works.push_back(count_good(times, [&](std::size_t round) {
                    return talk(c, acceptor.local_endpoint(), static_cast<char>(round));
                }));
            works.push_back(
                count_good(times, [&](std::size_t) { return hear_oneself(datagrams); }));
            const auto good = co_await with_timeout(when_all(std::move(works)), 60s);
            for (const std::size_t each : good.value()) CHECK(each == times);
            acceptor.close();
            co_await accepting;
            (co_await servers.join()).value();
        }(ctx, rounds));
        CHECK(moves > 100);
    }
}

#endif
