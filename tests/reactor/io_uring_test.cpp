// What only io_uring has to prove: full queues, requests that hold on to sockets, threads that come
// and go, and machines that forbid it. (What other reactors have to prove, too: pending_test.cpp.)
#include <curfew/reactor/io_uring.hpp>

#if defined(CURFEW_HAS_IO_URING)

#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <initializer_list>
#include <memory>
#include <string>
#include <thread>
#include <vector>

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

// Threads -----------------------------------------------------------------------------------------

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
