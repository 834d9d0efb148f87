// What is done to a tree of fibers, however deep it is, before its frames are destroyed.
#include <curfew/loop/fiber_tree.hpp>

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
#include "support/small_stack.hpp"

using namespace curfew;
using namespace std::chrono_literals;
using test::any_port;
using test::counted;
using test::events;
using test::join;

// --------------------------------------------------------------------------

namespace {

/// Says when it is destroyed which level of a chain it belongs to.
struct leaves {
    std::vector<std::size_t>& order;
    std::size_t level;
    ~leaves() { order.push_back(level); }
};

task<> deep_chain(std::size_t left, std::vector<std::size_t>& order) {
    const leaves mark{order, left};
    if (left == 0)
        co_await sleep_for(1h);
    else
        co_await deep_chain(left - 1, order);
}

bool is_innermost_first(const std::vector<std::size_t>& order, std::size_t depth) {
    for (std::size_t i = 0; i < order.size(); ++i)
        if (order[i] != i) return false;
    return order.size() == depth + 1;
}

}  // namespace

REACTOR_TEST("a deep chain of tasks is destroyed with its context without stack, innermost first") {
    const std::size_t depth = test::scaled(100'000);
    std::vector<std::size_t> order;
    const bool ran = test::on_small_stack([&] {
        io_context ctx(kind);
        ctx.spawn(deep_chain(depth, order));
        ctx.poll();
    });
    REQUIRE(ran);
    CHECK(is_innermost_first(order, depth));
}

#if CURFEW_EXCEPTIONS
REACTOR_TEST("a deep chain of tasks in block_on is destroyed by a stop without stack") {
    const std::size_t depth = test::scaled(100'000);
    std::vector<std::size_t> order;
    bool stopped = false;
    const bool ran = test::on_small_stack([&] {
        io_context ctx(kind);
        ctx.post([&] { ctx.stop(); });
        try {
            ctx.block_on(deep_chain(depth, order));
        } catch (const std::system_error&) {
            stopped = true;
        }
    });
    REQUIRE(ran);
    CHECK(stopped);
    CHECK(is_innermost_first(order, depth));
}
#endif

REACTOR_TEST("a task may be moved while it is awaited, and is destroyed with whoever holds it") {
    for (const bool to_its_end : {true, false}) {
        std::vector<std::size_t> order;
        std::vector<task<>> held;
        {
            io_context ctx(kind);
            held.push_back([](std::vector<std::size_t>& seen) -> task<> {
                const leaves mark{seen, 0};
                co_await sleep_for(5ms);
            }(order));
            ctx.spawn([](std::vector<task<>>& all, std::vector<std::size_t>& seen) -> task<> {
                const leaves mark{seen, 1};
                co_await all.front();
            }(held, order));
            ctx.poll();
            for (int i = 0; i < 10; ++i) held.emplace_back();  // moves the first
            if (to_its_end) ctx.run();
        }
        CHECK(order == std::vector<std::size_t>{0, 1});
    }
}

REACTOR_TEST("what a task is destroyed within may spawn, post, cancel and drop handles") {
    int alive = 0;
    struct busy {
        io_context& ctx;
        join_handle<>& other;
        counted inside;
        ~busy() {
            ctx.spawn([](counted) -> task<> { co_await sleep_for(1h); }(inside));
            ctx.post([keep = inside] {});
            other.cancel();
            other = join_handle<>();
        }
    };
    for (const bool by_stop : {false, true}) {
        if (by_stop && !CURFEW_EXCEPTIONS) continue;
        join_handle<> other;
        io_context ctx(kind);
        other = ctx.spawn([](counted) -> task<> { co_await sleep_for(1h); }(counted(alive)));
        const auto work = [](io_context& own, join_handle<>& theirs, counted inside) -> task<> {
            const busy first{own, theirs, inside};
            co_await when_all(sleep_for(1h),
                              [](io_context& mine, join_handle<>& its, counted in) -> task<> {
                                  const busy second{mine, its, in};
                                  co_await sleep_for(1h);
                              }(own, theirs, inside));
        };
        if (!by_stop) {
            ctx.spawn(work(ctx, other, counted(alive)));
            ctx.poll();
            continue;
        }
#if CURFEW_EXCEPTIONS
        ctx.spawn([](io_context& own) -> task<> {
            for (int i = 0; i < 3; ++i) co_await yield();
            own.stop();
        }(ctx));
        CHECK_THROWS_AS(ctx.block_on(work(ctx, other, counted(alive))), std::system_error);
        ctx.poll();
        CHECK(ctx.tasks().size() == 2);  // the spawned; the other one was cancelled
#endif
    }
    CHECK(alive == 0);
}
