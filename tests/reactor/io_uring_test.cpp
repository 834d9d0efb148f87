// What only io_uring has to prove: full queues, requests that hold on to sockets, threads that come
// and go, and machines that forbid it. (What other reactors have to prove, too: pending_test.cpp.)
#include <curfew/reactor/io_uring.hpp>
#include <curfew/reactor/io_uring_ring.hpp>

#if defined(CURFEW_HAS_IO_URING)

#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <csignal>
#include <cstddef>
#include <filesystem>
#include <functional>
#include <initializer_list>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "support/crowd.hpp"
#include "support/effort.hpp"
#include "support/fatal.hpp"
#include "support/loop.hpp"
#include "support/system_calls.hpp"

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

/// Whether this kernel has rings that belong to one thread.
bool can_settle() {
    using detail::ring;
    if (ring(1, ring::users::one_thread).error() == 0) return true;
    MESSAGE("not tried: this kernel has no rings of one thread's own");
    return false;
}

/// Returns in a loop that has settled, if the loop is one that does.
task<> settle() {
    for (int i = 0; i < CURFEW_SETTLE_AFTER + 2'000; ++i) co_await yield();
}

std::vector<int> descriptors_of_rings() {
    std::vector<int> found;
    for (const auto& each : std::filesystem::directory_iterator("/proc/self/fd")) {
        std::error_code gone;  // the descriptor that the directory is read through
        if (std::filesystem::read_symlink(each, gone) == "anon_inode:[io_uring]")
            found.push_back(std::stoi(each.path().filename()));
    }
    return found;
}

/// How many rings this process has.
int rings() { return static_cast<int>(descriptors_of_rings().size()); }

/// The same while `ctx` has settled.
int rings_when_settled(io_context& ctx) {
    int count = 0;
    ctx.block_on([](int& out) -> task<> {
        co_await settle();
        out = rings();
    }(count));
    return count;
}

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

/// Wakes the reactor before each call that is no wait, and then looks whether the next wait returns
/// for it.
class nudging_reactor final : public reactor {
public:
    explicit nudging_reactor(int& missed) : missed_(missed) {}

    /// Settles, or moves out, before the next wait.
    bool moves = false;

    std::string_view name() const noexcept override { return "nudging"; }
    bool start(operation& op) noexcept override { return inner_.start(op); }
    void cancel(operation& op, completions& done) noexcept override {
        nudge(done, [&] { inner_.cancel(op, done); });
    }
    void close(socket_state& socket, close_mode how, completions& done) noexcept override {
        nudge(done, [&] { inner_.close(socket, how, done); });
    }
    void release(socket_state& socket, completions& done) noexcept override {
        nudge(done, [&] { inner_.release(socket, done); });
    }
    void wake() noexcept override { inner_.wake(); }
    int wait(std::chrono::nanoseconds time, completions& done) noexcept override {
        if (std::exchange(moves, false)) {
            nudge(done, [&] { inner_.settle(done); });
            nudge(done, [&] { inner_.unsettle(done); });
            time = 0ns;
        }
        return inner_.wait(time, done);
    }

private:
    void nudge(completions& done, const std::function<void()>& call) {
        inner_.wait(0ns, done);  // it watches its waker
        inner_.wait(0ns, done);
        inner_.wake();
        call();
        const auto begun = curfew::clock::now();
        inner_.wait(20s, done);
        missed_ += curfew::clock::now() - begun > 10s;
    }

    io_uring_reactor inner_;
    int& missed_;
};

udp::socket bound(io_context& ctx) {
    udp::socket socket(ctx);
    socket.bind(any_port()).value();
    return socket;
}

task<result<std::size_t>> read_into(tcp::socket& socket, std::span<char> buffer) {
    co_return co_await socket.read_some(buffer);
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
            const auto to = native::loopback(each.local_endpoint().port());
            CHECK(::sendto(sender, "x", 1, 0, reinterpret_cast<const sockaddr*>(&to), sizeof to) ==
                  1);
        }
        ::close(sender);
        for (auto& each : receiving) co_await each;
        CHECK(received == many);
    });
}

// Closing -----------------------------------------------------------------------------------------

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
                const auto to = native::loopback(listener.endpoint().port());
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

TEST_CASE("sockets that close together, since their limits expire, cost no system call each") {
    if (!counts_system_calls) return;
    run_on(io_uring_reactor::default_entries, [](io_context& ctx) -> task<> {
        constexpr std::size_t many = 200;
        const auto until = curfew::clock::now() + 100ms;
        std::vector<tcp::socket> sockets;
        std::vector<blocking_socket> peers;
        blocking_listener listener;
        std::vector<udp::socket> datagrams;
        std::vector<ip::endpoint> ports;
        for (std::size_t i = 0; i < many; ++i) {
            auto [socket, peer] = co_await test::connect(ctx, listener);
            sockets.push_back(std::move(socket));
            peers.push_back(std::move(peer));
            datagrams.push_back(bound(ctx));
            ports.push_back(datagrams.back().local_endpoint());
        }
        std::size_t expired = 0;
        std::size_t closed = 0;
        const auto wait_for = [&](auto& socket, auto operation) -> task<> {
            const auto ended =
                co_await with_deadline(std::move(operation), until, on_timeout::close);
            expired += ended.ec == errc::timed_out;
            closed += !socket.is_open();
        };
        std::vector<std::array<char, 4>> buffers(2 * many);
        std::vector<task<>> works;
        for (std::size_t i = 0; i < many; ++i) {
            works.push_back(wait_for(sockets[i], sockets[i].read_some(buffers[i])));
            works.push_back(wait_for(datagrams[i], datagrams[i].receive(buffers[many + i])));
        }
        const std::size_t before = system_calls();
        co_await when_all(std::move(works));
        CHECK(system_calls() - before < many / 2);
        CHECK(expired == 2 * many);
        CHECK(closed == 2 * many);
        // All is over in the same turn: the peers know, and the ports are free.
        std::size_t reset = 0;
        for (blocking_socket& each : peers)
            reset += each.receive().error == native::error_after_reset();
        CHECK(reset == many);
        std::size_t free = 0;
        for (std::size_t i = 0; i < many; ++i) free += datagrams[i].bind(ports[i]).ok();
        CHECK(free == many);
    });
}

TEST_CASE("a limit that expires at the end of a poll has closed its socket when that returns") {
    io_context ctx(reactor_kind::io_uring);
    blocking_listener listener;
    auto [socket, peer] = ctx.block_on(test::connect(ctx, listener));
    auto reading = ctx.spawn([](tcp::socket& from) -> task<std::error_code> {
        std::array<char, 4> buffer;
        co_return (co_await with_timeout(from.read_some(buffer), 1ms, on_timeout::close)).ec;
    }(socket));
    while (socket.is_open()) ctx.poll();
    CHECK(peer.receive().error == native::error_after_reset());
    CHECK(join(ctx, reading) == errc::timed_out);
}

TEST_CASE("what comes across a wake-up outside of a wait leaves it to the next wait") {
    int missed = 0;
    auto made = std::make_unique<nudging_reactor>(missed);
    nudging_reactor& nudged = *made;
    io_context ctx(std::move(made));
    ctx.block_on([](io_context& c, nudging_reactor& reactor) -> task<> {
        blocking_listener listener;
        const auto read = [](tcp::socket& from) -> task<std::error_code> {
            std::array<char, 4> buffer;
            co_return (co_await from.read_some(buffer)).ec;
        };
        for (int how = 0; how < 5; ++how) {
            auto [socket, peer] = co_await test::connect(c, listener);
            auto reading = c.spawn(read(socket));
            co_await yield();
            co_await yield();  // the kernel has it
            if (how == 0) socket.close();
            if (how == 1) socket.abort();
            if (how == 2) socket = tcp::socket();
            if (how == 3) socket.cancel();
            if (how == 4) ::close(socket.release());
            CHECK((co_await reading) == (how < 3 ? errc::closed : errc::canceled));
        }
        blocking_listener target;
        tcp::socket socket(c);
        const auto connect = [](tcp::socket& s, ip::endpoint to) -> task<> {
            (void)co_await s.connect(to);
        };
        auto connecting = c.spawn(connect(socket, target.endpoint()));
        connecting.cancel();
        co_await connecting;
        reactor.moves = true;
        co_await yield();
        co_await yield();
    }(ctx, nudged));
    CHECK(missed == 0);
}

// What the kernel says seldom ---------------------------------------------------------------------

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

// Memory ------------------------------------------------------------------------------------------

namespace {

/// Bytes that malloc has given; 0 where nobody tells.
std::size_t bytes_in_use() {
#if defined(__GLIBC_PREREQ)
#if __GLIBC_PREREQ(2, 33)
    const auto info = ::mallinfo2();
    return info.uordblks + info.hblkhd;
#endif
#endif
    return 0;
}

/// Not with the address sanitizer, whose malloc is another one.
bool tells_bytes_in_use() {
    const std::size_t before = bytes_in_use();
    const std::vector<char> more(100'000);
    return bytes_in_use() >= before + more.size();
}

/// Keeps nothing.
struct plain_memory final : frame_resource {
    void* allocate(std::size_t bytes) override { return ::operator new(bytes); }
    void deallocate(void* block, std::size_t) noexcept override { ::operator delete(block); }
};

}  // namespace

TEST_CASE("what a peak has left behind is given back, and nothing that is pending is touched") {
    plain_memory memory;
    io_context ctx(small_ring(io_uring_reactor::default_entries));
    ctx.frames(&memory);
    const frame_resource_scope use(&memory);
    ctx.block_on([](io_context& c) -> task<> {
        constexpr std::size_t many = 1'000;
        crowd all(c, many);
        std::size_t received = 0;
        std::size_t canceled = 0;
        const auto receive = [&](udp::socket& from) -> task<> {
            std::array<char, 4> buffer;
            const auto got = co_await from.receive(buffer);
            received += got.ok();
            canceled += got.ec == errc::canceled;
        };
        for (int round = 0; round < 3; ++round) {
            received = canceled = 0;
            task_group group;
            for (udp::socket& each : all.sockets) group.spawn(receive(each));
            for (int turns = 0; turns < 3; ++turns) co_await yield();  // the kernel has them
            auto& last = all.sockets[many / 2];                        // which waits on
            for (udp::socket& each : all.sockets)
                if (&each != &last) each.cancel();
            while (canceled < many - 1) co_await yield();
            const std::size_t before = bytes_in_use();
            for (int turns = 0; turns < 5'000; ++turns) co_await yield();
            if (tells_bytes_in_use()) CHECK(before > bytes_in_use() + many * 100);
            (co_await last.send_to("!", last.local_endpoint())).value();
            (co_await group.join()).value();
            CHECK(received == 1);
        }
    }(ctx));
}

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
    struct sigaction action{};
    struct sigaction before{};
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

// Rings that cannot be made -----------------------------------------------------------------------

TEST_CASE("a ring that could not be made says why, whatever it is asked") {
    io_uring_reactor none(0);
    CHECK(none.error() == EINVAL);
    detail::ready_queue ready;
    completions done(ready);
    CHECK(none.wait(platform::unlimited, done) == EINVAL);
    none.wake();
    CHECK(none.settle(done));
    none.unsettle(done);
    none.begin_closes();
    none.end_closes(done);
    socket_state socket;
    none.close(socket, close_mode::abortive, done);
    none.release(socket, done);
    for (const auto kind : {operation_kind::read, operation_kind::accept, operation_kind::connect,
                            operation_kind::send_to, operation_kind::wait}) {
        operation op(kind, readiness::readable, &socket);
        op.progress = operation::state::pending;
        CHECK(none.start(op));
        CHECK(op.result == outcome::system);
        CHECK(op.error == EINVAL);
    }
    CHECK(ready.empty());
}

TEST_CASE("a ring has as many entries as the system allows, however many are asked for") {
    for (const unsigned entries : {~0u, 1u << 28, (1u << 28) + 1}) {
        io_uring_reactor large(entries);
        CHECK(large.error() == 0);
    }
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
