// A program's own reactor, and what the loop promises whatever the reactor does.
#include <curfew/reactor/reactor.hpp>

#include <array>
#include <memory>
#include <string>
#include <thread>

#include "support/command_reactor.hpp"
#include "support/effort.hpp"
#include "support/loop.hpp"
#include "support/strict_reactor.hpp"

using namespace test;

namespace {

struct commanded {
    command_reactor* reactor;
    io_context ctx;
    commanded() : commanded(std::make_unique<command_reactor>()) {}

private:
    explicit commanded(std::unique_ptr<command_reactor> own)
        : reactor(own.get()), ctx(std::move(own)) {}
};

}  // namespace

TEST_CASE("a program's own reactor plugs in") {
    commanded own;
    CHECK(own.ctx.name() == "command");
    own.ctx.block_on([](io_context& ctx, command_reactor& reactor) -> task<> {
        auto socket = open_socket(ctx);
        std::array<char, 4> buffer;
        reactor.in_wait = [](command_reactor& self, completions& done) {
            self.complete(*self.pending.at(0), done, outcome::success, 3);
        };
        auto [ec, n] = co_await socket.read_some(buffer);
        CHECK_FALSE(ec);
        CHECK(n == 3);
    }(own.ctx, *own.reactor));
    CHECK(own.reactor->starts == 1);
}

TEST_CASE("a completion and its deadline in the same turn of the loop: completion wins") {
    commanded own;
    own.ctx.block_on([](io_context& ctx, command_reactor& reactor) -> task<> {
        auto socket = open_socket(ctx);
        std::array<char, 4> buffer;
        for (const auto policy : {on_timeout::cancel, on_timeout::close}) {
            // By the time this wait returns the deadline has passed, and the operation is complete.
            reactor.in_wait = [](command_reactor& self, completions& done) {
                std::this_thread::sleep_for(5ms);
                self.complete(*self.pending.at(0), done, outcome::success, 2);
            };
            auto [ec, n] = co_await with_timeout(socket.read_some(buffer), 1ms, policy);
            CHECK_FALSE(ec);
            CHECK(n == 2);
            CHECK(socket.is_open());
        }
        CHECK(reactor.closes == 0);
        CHECK(reactor.cancelled.empty());
    }(own.ctx, *own.reactor));
}

TEST_CASE("what completes between the coroutines and the deadlines is reaped first") {
    commanded own;
    own.ctx.block_on([](io_context& ctx, command_reactor& reactor) -> task<> {
        auto socket = open_socket(ctx);
        std::array<char, 4> buffer;
        // The coroutine computes past its limit in the turn that arms it; the completion comes with
        // the look at the system that precedes the limit.
        ctx.post([&reactor] {
            std::this_thread::sleep_for(3ms);
            reactor.in_wait = [](command_reactor& self, completions& done) {
                self.complete(*self.pending.at(0), done, outcome::success, 1);
            };
        });
        auto [ec, n] = co_await with_deadline(socket.read_some(buffer), clock::now() + 1ms);
        CHECK_FALSE(ec);
        CHECK(n == 1);
        CHECK(reactor.cancels == 0);
    }(own.ctx, *own.reactor));
}

TEST_CASE("the coroutine resumes only when the reactor has let go of the buffer") {
    for (const auto policy : {on_timeout::cancel, on_timeout::close}) {
        commanded own;
        own.reactor->cancel_at_once = false;
        own.ctx.block_on([](io_context& ctx, command_reactor& reactor, on_timeout how) -> task<> {
            auto socket = open_socket(ctx);
            std::array<char, 4> buffer;
            bool resumed = false;
            auto read = ctx.spawn([](tcp::socket& s, std::span<char> b, on_timeout p,
                                     bool& flag) -> task<result<std::size_t>> {
                auto own_result = co_await with_timeout(s.read_some(b), 1ms, p);
                flag = true;
                co_return own_result;
            }(socket, buffer, how, resumed));
            (void)co_await sleep_for(20ms);
            REQUIRE(reactor.cancelled.size() == 1);
            CHECK_FALSE(resumed);
            reactor.cancel_at_once = true;
            auto [ec, n] = co_await read;
            CHECK(ec == errc::timed_out);
            CHECK(n == 0);
            CHECK(socket.is_open() == (how == on_timeout::cancel));
        }(own.ctx, *own.reactor, policy));
    }
}

TEST_CASE("an operation that completes although it was cancelled delivers its own result") {
    commanded own;
    own.reactor->cancel_at_once = false;
    own.ctx.block_on([](io_context& ctx, command_reactor& reactor) -> task<> {
        auto socket = open_socket(ctx);
        std::array<char, 4> buffer;
        ctx.spawn([](command_reactor& r) -> task<> {
            while (r.cancelled.empty()) (void)co_await sleep_for(1ms);
            r.in_wait = [](command_reactor& self, completions& done) {
                self.complete(*self.cancelled.at(0), done, outcome::success, 4);
            };
        }(reactor));
        auto [ec, n] = co_await with_timeout(socket.read_some(buffer), 1ms);
        CHECK_FALSE(ec);
        CHECK(n == 4);
    }(own.ctx, *own.reactor));
}

TEST_CASE("a partial transfer is counted when the rest is cancelled") {
    commanded own;
    own.ctx.block_on([](io_context& ctx, command_reactor& reactor) -> task<> {
        auto socket = open_socket(ctx);
        std::array<char, 8> buffer;
        reactor.on_start = [](operation& op) {
            CHECK_FALSE(op.advance(5));
            return false;
        };
        auto [ec, n] = co_await with_timeout(write_all(socket, buffer), 1ms);
        CHECK(ec == errc::timed_out);
        CHECK(n == 5);
    }(own.ctx, *own.reactor));
}

TEST_CASE("a broken write side refuses later writes instead of corrupting the stream") {
    commanded own;
    own.ctx.block_on([](io_context& ctx, command_reactor& reactor) -> task<> {
        auto socket = open_socket(ctx);
        reactor.in_wait = [](command_reactor& self, completions& done) {
            // What a platform does that cannot tell how much of a cancelled write has gone.
            self.pending.at(0)->socket->write_broken = true;
            self.complete(*self.pending.at(0), done, outcome::canceled, 0);
        };
        CHECK((co_await write_all(socket, "abc")).error() == errc::canceled);
        const int starts = reactor.starts;
        CHECK((co_await write_all(socket, "abc")).error() == std::errc::broken_pipe);
        CHECK(reactor.starts == starts);
    }(own.ctx, *own.reactor));
}

TEST_CASE("a socket's state outlives the socket until its operations are reaped") {
    commanded own;
    own.reactor->cancel_at_once = false;
    own.ctx.block_on([](io_context& ctx, command_reactor& reactor) -> task<> {
        auto socket = std::make_unique<tcp::socket>(open_socket(ctx));
        auto read = ctx.spawn([](tcp::socket& s) -> task<result<std::size_t>> {
            std::array<char, 4> buffer;
            co_return co_await s.read_some(buffer);
        }(*socket));
        co_await yield();
        socket.reset();
        (void)co_await sleep_for(2ms);
        REQUIRE(reactor.cancelled.size() == 1);
        CHECK(reactor.cancelled[0]->socket->reader == reactor.cancelled[0]);
        reactor.cancel_at_once = true;
        CHECK((co_await read).error() == errc::closed);
    }(own.ctx, *own.reactor));
}

TEST_CASE("a context waits for the reactor before it frees what operations refer to") {
    auto reactor = std::make_unique<command_reactor>();
    command_reactor& commands = *reactor;
    commands.cancel_at_once = false;
    bool freed = false;
    bool freed_too_early = false;
    struct witness {
        bool& flag;
        ~witness() { flag = true; }
    };
    {
        io_context ctx(std::move(reactor));
        ctx.spawn([](io_context& c, bool& flag) -> task<> {
            auto socket = open_socket(c);
            const witness frame{flag};
            std::array<char, 4> buffer;
            (void)co_await socket.read_some(buffer);
        }(ctx, freed));
        ctx.poll();
        REQUIRE(commands.pending.size() == 1);
        commands.in_wait = [&](command_reactor& self, completions&) {
            freed_too_early = freed;
            self.cancel_at_once = true;
        };
    }
    CHECK_FALSE(freed_too_early);
    CHECK(freed);
}

TEST_CASE("a limit that does not expire costs no extra trip through the loop") {
    const auto waits_for = [](bool limited) {
        commanded own;
        own.ctx.block_on([](io_context& ctx, command_reactor& reactor, bool with_limit) -> task<> {
            auto socket = open_socket(ctx);
            std::array<char, 4> buffer;
            for (int i = 0; i < 100; ++i) {
                reactor.in_wait = [](command_reactor& self, completions& done) {
                    self.complete(*self.pending.at(0), done, outcome::success, 1);
                };
                if (with_limit)
                    CHECK((co_await with_timeout(socket.read_some(buffer), 30s)).ok());
                else
                    CHECK((co_await socket.read_some(buffer)).ok());
            }
        }(own.ctx, *own.reactor, limited));
        return own.reactor->waits;
    };
    CHECK(waits_for(true) == waits_for(false));
}

REACTOR_TEST(
    "the loop and its reactor keep what they promise each other, whatever a program does") {
    io_context ctx(std::make_unique<strict_reactor>(kind));
    const auto rounds = static_cast<int>(scaled(60));
    const auto program = [](io_context& c, int times) -> task<> {
        const auto read = [](tcp::socket& from, std::chrono::microseconds limit,
                             on_timeout how) -> task<> {
            std::array<char, 4096> buffer;
            while ((co_await with_timeout(from.read_some(buffer), limit, how)).ok()) {}
        };
        const auto write = [](tcp::socket& to) -> task<> {
            const std::string text(100'000, 'x');
            for (int n = 0; n < 10; ++n)  // who reads may keep up for ever
                if ((co_await with_timeout(write_all(to, text), 1ms)).error()) break;
        };
        for (int i = 0; i < times; ++i) {
            auto [client, server] = co_await test::connect(c);
            udp::socket datagrams(c);
            datagrams.bind(any_port()).value();
            task_group group(on_error::ignore);
            const auto how = i % 2 ? on_timeout::close : on_timeout::cancel;
            group.spawn(read(client, std::chrono::microseconds(i % 7 * 300), how));
            group.spawn(read(server, 20ms, on_timeout::cancel));
            group.spawn(write(client));
            group.spawn(write(server));
            group.spawn([](udp::socket& socket) -> task<> {
                std::array<char, 8> buffer;
                (void)co_await socket.send_to("x", socket.local_endpoint());
                for (int n = 0; n < 2; ++n)
                    (void)co_await with_timeout(socket.receive(buffer), 500us);
            }(datagrams));
            group.spawn([](tcp::socket& socket) -> task<> {
                (void)co_await with_timeout(socket.wait(readable), 2ms);
            }(datagrams.is_open() ? server : client));
            for (int turns = i % 5; turns > 0; --turns) co_await yield();
            if (i % 3 == 0) client.abort();
            if (i % 3 == 1) server.cancel();
            if (i % 4 == 0) datagrams.close();
            if (i % 6 == 5) group.cancel();
            if (i % 8 == 1) {
                auto again = tcp::socket::adopt(c, server.release());
                // (Who does not read may have left no room.)
                (void)co_await with_timeout(again.value().wait(writable), 20ms);
            }
            if (i % 9 == 0) {  // opened again while there may be something to reap
                blocking_listener listener;
                client.close();
                (void)co_await with_timeout(client.connect(listener.endpoint()), i % 2 ? 1s : 0s);
            }
            (void)co_await group.join();
        }
    };
    ctx.block_on(program(ctx, rounds));
    // Wherever it runs: in another thread, and settled or not.
    std::thread([&] { ctx.block_on(program(ctx, rounds)); }).join();
    auto rest = ctx.spawn(program(ctx, rounds));
    while (!rest.done()) ctx.poll_for(1ms);
}

#if CURFEW_EXCEPTIONS  // its other form is in io_context_test.cpp
TEST_CASE("a reactor that fails as a whole is reported by run()") {
    struct failing final : reactor {
        std::string_view name() const noexcept override { return "failing"; }
        bool start(operation&) noexcept override { return false; }
        void cancel(operation&, completions&) noexcept override {}
        void close(socket_state&, close_mode, completions&) noexcept override {}
        void release(socket_state&, completions&) noexcept override {}
        int wait(std::chrono::nanoseconds, completions&) noexcept override {
            return invalid_argument;
        }
        void wake() noexcept override {}
    };
    io_context ctx(std::make_unique<failing>());
    ctx.spawn([]() -> task<> { (void)co_await sleep_for(10s); }());
    std::error_code error;
    try {
        ctx.run();
    } catch (const std::system_error& e) {
        error = e.code();
    }
    CHECK(error == std::errc::invalid_argument);
}
#endif
