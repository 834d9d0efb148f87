// Tasks that are destroyed before their end, with their context or without; and tasks that end out
// of turn.
#include <curfew/loop/tasks.hpp>

#include <doctest/doctest.h>

#include <array>
#include <chrono>
#include <coroutine>
#include <cstdio>
#include <memory>
#include <stop_token>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include <curfew/curfew.hpp>

#include "support/counted.hpp"
#include "support/effort.hpp"
#include "support/events.hpp"
#include "support/fatal.hpp"
#include "support/loop.hpp"
#include "support/platform.hpp"
#include "support/reactors.hpp"

using namespace curfew;
using namespace std::chrono_literals;
using test::any_port;
using test::counted;
using test::events;
using test::join;

REACTOR_TEST("a context destroys every task it still has, exactly once, and resumes none") {
    int alive = 0;
    events log;
    {
        io_context ctx(kind);
        tcp::acceptor acceptor(ctx);
        acceptor.listen(any_port()).value();
        udp::socket datagrams(ctx);
        datagrams.bind(any_port()).value();
        std::stop_source source;
        const auto in = [&](auto make_awaitable) {
            return ctx.spawn([](auto make, counted, events& to) -> task<> {
                (void)co_await make();
                to.push_back(1);
            }(make_awaitable, counted(alive), log));
        };
        const auto nothing = []() -> task<> { co_await yield(); };
        std::array<std::byte, 10> buffer;
        ip::endpoint sender;
        in([] { return sleep_for(1h); });
        in([] { return sleep_for(std::chrono::hours::max()); });
        in([&] { return acceptor.accept(); });
        in([&] { return datagrams.receive_from(buffer, sender); });
        in([] { return with_timeout(sleep_for(2h), 1h); });
        in([&] { return cancel_on(sleep_for(1h), source.get_token()); });
        in([] { return shielded(sleep_for(1h)); });
        in([] {
            return []() -> task<int> {
                (void)co_await sleep_for(1h);
                co_return 1;
            }();
        });
        auto inner = in([] { return sleep_for(1h); });
        const auto join = [&]() -> task<int> {
            co_await inner;
            co_return 1;
        };
        in(join);
        const auto kept = in([] { return sleep_for(1h); });
        ctx.poll();
        ctx.spawn([](counted, task<> held) -> task<> { co_await held; }(counted(alive), nothing()));
        CHECK(alive == 12);
    }
    CHECK(alive == 0);
    CHECK(log.empty());
}

namespace {

task<> read_and_note(tcp::socket peer, counted, events& log) {
    std::array<std::byte, 100> buffer;
    (void)co_await peer.read_some(buffer);
    log.push_back(1);
}

task<> write_and_note(tcp::socket peer, counted, events& log) {
    const std::vector<char> much(50'000'000);
    (void)co_await with_timeout(write_all(peer, much), 1h, on_timeout::close);
    log.push_back(2);
}

task<> begin_everything(io_context& ctx, int& alive, events& log) {
    tcp::acceptor acceptor(ctx);
    acceptor.listen(any_port()).value();
    tcp::socket client(ctx), idle(ctx);
    (co_await client.connect(acceptor.local_endpoint())).value();
    tcp::socket server = (co_await acceptor.accept()).value();
    (co_await idle.connect(acceptor.local_endpoint())).value();
    ctx.spawn(write_and_note(std::move(client), counted(alive), log));
    ctx.spawn(read_and_note(std::move(idle), counted(alive), log));
    for (int i = 0; i < 5; ++i) co_await yield();
    // Nobody reads what is written to this one.
    ctx.spawn([](tcp::socket, counted) -> task<> {
        (void)co_await sleep_for(1h);
    }(std::move(server), counted(alive)));
    for (int i = 0; i < 5; ++i) co_await yield();
}

}  // namespace

REACTOR_TEST("a context with connections in the middle of everything is destroyed cleanly") {
    int alive = 0;
    events log;
    {
        io_context ctx(kind);
        ctx.block_on(begin_everything(ctx, alive, log));
        CHECK(alive == 3);
    }
    CHECK(alive == 0);
    CHECK(log.empty());
}

namespace {

/// Does something at its end.
template <class Function>
class at_end {
public:
    explicit at_end(Function f) : function_(std::move(f)) {}
    at_end(const at_end&) = delete;
    at_end& operator=(const at_end&) = delete;
    ~at_end() { function_(); }

private:
    Function function_;
};

}  // namespace

REACTOR_TEST("what destructors spawn and post while a context ends is destroyed too") {
    int alive = 0;
    events log;
    {
        io_context ctx(kind);
        ctx.spawn([](io_context& own, int& count, events& to) -> task<> {
            const at_end last([&] {
                own.post([&to, held = counted(count)] { to.push_back(1); });
                own.spawn([](counted, events& log_again) -> task<> {
                    log_again.push_back(2);
                    co_return;
                }(counted(count), to));
            });
            (void)co_await sleep_for(1h);
        }(ctx, alive, log));
        ctx.poll();
    }
    CHECK(alive == 0);
    CHECK(log.empty());
}

REACTOR_TEST(
    "a task that is cancelled by another one's destructor while a context ends is not resumed") {
    int alive = 0;
    events log;
    {
        io_context ctx(kind);
        const auto sleeps = [](counted, events& to) -> task<> {
            (void)co_await sleep_for(1h);
            to.push_back(1);
        };
        const auto guards = [](join_handle<> child) -> task<> {
            const at_end cancel([&] { child.cancel(); });
            (void)co_await sleep_for(1h);
        };
        for (int i = 0; i < 3; ++i) {
            ctx.spawn(guards(ctx.spawn(sleeps(counted(alive), log))));
            auto late = ctx.spawn(sleeps(counted(alive), log));
            ctx.spawn(guards(std::move(late)));
        }
        ctx.poll();
        CHECK(alive == 6);
    }
    CHECK(alive == 0);
    CHECK(log.empty());
}

#if TEST_CAN_DIE
REACTOR_TEST("a suspended task that holds its own handle is destroyed once, with the context") {
    const auto end = test::death_of([kind] {
        int alive = 0;
        {
            io_context ctx(kind);
            const auto handle = std::make_shared<join_handle<>>();
            *handle = ctx.spawn([](std::shared_ptr<join_handle<>>, counted) -> task<> {
                (void)co_await sleep_for(1h);
            }(handle, counted(alive)));
            ctx.poll();
        }
        std::fprintf(stderr, "%d left", alive);
    });
    CHECK(end.signal == 0);
    CHECK(end.said == "0 left");
}
#endif

REACTOR_TEST("tasks that hold each other's handles are destroyed, each once") {
    int alive = 0;
    {
        io_context ctx(kind);
        const auto first = std::make_shared<join_handle<>>();
        const auto second = std::make_shared<join_handle<>>();
        const auto work = [](std::shared_ptr<join_handle<>>, counted) -> task<> {
            (void)co_await sleep_for(1h);
        };
        *first = ctx.spawn(work(second, counted(alive)));
        *second = ctx.spawn(work(first, counted(alive)));
        ctx.poll();
        CHECK(alive == 2);
    }
    CHECK(alive == 0);
}

REACTOR_TEST("a context can be destroyed within a task of another one") {
    io_context outer(kind);
    int alive = 0;
    outer.block_on([](reactor_kind same, int& count) -> task<> {
        {
            io_context inner(same);
            inner.spawn([](counted) -> task<> { (void)co_await sleep_for(1h); }(counted(count)));
            inner.poll();
        }
        CHECK(count == 0);
        (void)co_await sleep_for(10us);
    }(kind, alive));
    CHECK(alive == 0);
}

#if TEST_CAN_DIE
REACTOR_TEST("a context that is destroyed by its own task, or beside its run, is fatal") {
    constexpr int line = __LINE__ + 5;
    const auto by_task = test::death_of([kind] {
        auto ctx = std::make_unique<io_context>(kind);
        ctx->spawn([](std::unique_ptr<io_context>& own) -> task<> {
            const auto destroy = [](std::unique_ptr<io_context>& one) { one.reset(); };
            co_await yield();
            destroy(own);
        }(ctx));
        ctx->run();
    });
    CHECK(said_at(by_task, "destroyed by a task or function that it runs", line));
    const auto by_function = test::death_of([kind] {
        auto ctx = std::make_unique<io_context>(kind);
        ctx->post([&ctx] { ctx.reset(); });
        ctx->run();
    });
    CHECK(by_function.signal == SIGABRT);
    CHECK(by_function.said.find("destroyed by a task or function that it runs") !=
          std::string::npos);
    const auto by_thread = test::death_of([kind] {
        auto ctx = std::make_unique<io_context>(kind);
        ctx->post([&ctx] { std::thread([&ctx] { ctx.reset(); }).join(); });
        ctx->run();
    });
    CHECK(by_thread.signal == SIGABRT);
    CHECK(by_thread.said.find("destroyed while it runs in another thread") != std::string::npos);
}
#endif

REACTOR_TEST("a task that another library's callback resumes, and that ends there, has ended") {
    struct callback {
        std::coroutine_handle<>& to;
        bool await_ready() const noexcept { return false; }
        void await_suspend(std::coroutine_handle<> waiting) const noexcept { to = waiting; }
        void await_resume() const noexcept {}
    };
    io_context ctx(kind);
    std::coroutine_handle<> waiting;
    auto handle =
        ctx.spawn([](std::coroutine_handle<>& to) -> task<> { co_await callback{to}; }(waiting));
    ctx.poll();
    waiting.resume();
    ctx.run();  // would wait for ever
    CHECK(handle.done());
}

#if CURFEW_EXCEPTIONS
REACTOR_TEST("failures that nobody joins come out of run one by one, in the order of their ends") {
    io_context ctx(kind);
    const auto fail_after = [](std::chrono::milliseconds time, int with) -> task<> {
        co_await sleep_for(time);
        throw with;
    };
    const auto caught = [&ctx] {
        try {
            ctx.run();
        } catch (int thrown) {
            return thrown;
        }
        return 0;
    };
    const auto last = ctx.spawn(fail_after(3ms, 3));
    const auto first = ctx.spawn(fail_after(1ms, 1));
    const auto second = ctx.spawn(fail_after(2ms, 2));
    auto joined = ctx.spawn(fail_after(1ms, 4));
    auto dropped = ctx.spawn(fail_after(1ms, 5));
    CHECK(caught() == 1);
    CHECK_THROWS_AS(join(ctx, joined), int);
    dropped = {};
    CHECK(caught() == 5);  // nobody can join it any more: that comes at once
    CHECK(caught() == 2);
    CHECK(caught() == 3);
    CHECK(caught() == 0);
}
#endif
