// What only io_uring has to prove: requests that hold on to sockets, and machines that forbid it.
// (What other reactors have to prove, too: pending_test.cpp.)
#include <curfew/reactor/io_uring.hpp>

#if defined(CURFEW_HAS_IO_URING)

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#include <array>
#include <cstddef>
#include <cstdio>
#include <functional>
#include <initializer_list>
#include <memory>
#include <string>
#include <vector>

#include "support/fatal.hpp"
#include "support/loop.hpp"
#include "support/rings.hpp"
#include "support/system_calls.hpp"

using namespace test;

namespace {

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

}  // namespace

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
