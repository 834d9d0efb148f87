// Tasks that coroutines of other libraries await.
#include <curfew/curfew.hpp>

#include <array>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "support/counted.hpp"
#include "support/foreign.hpp"
#include "support/loop.hpp"

using namespace test;
using events = std::vector<std::string>;

namespace {

/// Awaits `work`, and destroys itself in the end, unless `host` is destroyed before.
detached await_as_guest(std::coroutine_handle<>& host, task<> work, counted) {
    co_await handle_to{host};
    co_await work;
}

task<result<>> nap(std::chrono::milliseconds time) { co_return co_await sleep_for(time); }

task<> nap_under_limit(events& to, const char* name, std::chrono::milliseconds time,
                       std::chrono::milliseconds limit) {
    auto [ec] = co_await with_timeout(nap(time), limit);
    to.push_back(std::string(name) + ": " + (ec == errc::timed_out ? "timed out" : "slept"));
}

/// What a guest may be suspended in.
task<> in_sleep(io_context&, counted) { (void)co_await sleep_for(1h); }

task<> in_read(io_context& ctx, counted) {
    auto [client, server] = co_await test::connect(ctx);
    std::array<char, 16> buffer;
    (void)co_await with_timeout(client.read_some(buffer), 1h);
}

task<> in_branches(io_context& ctx, counted alive) {
    (void)co_await when_all(in_sleep(ctx, alive), in_read(ctx, alive));
}

task<> in_join(io_context& ctx, counted alive) {
    task_group group;
    group.spawn(in_sleep(ctx, alive));
    group.spawn(in_read(ctx, alive));
    (void)co_await with_timeout(group.join(), 1h);
}

task<> in_stoppable(io_context& ctx, counted alive) {
    std::stop_source never;
    co_await cancel_on(in_sleep(ctx, alive), never.get_token());
}

constexpr task<> (*places[])(io_context&, counted){in_sleep, in_read, in_branches, in_join,
                                                   in_stoppable};

}  // namespace

REACTOR_TEST("several coroutines of other libraries await tasks under limits at the same time") {
    io_context ctx(kind);
    events log;
    const auto host = [](events& to, const char* name, std::chrono::milliseconds time,
                         std::chrono::milliseconds limit) -> detached {
        co_await nap_under_limit(to, name, time, limit);
        to.push_back(std::string(name) + ": went on");
    };
    ctx.post([&] {
        host(log, "a", 10ms, 10s);
        host(log, "b", 10s, 30ms);
        host(log, "c", 10s, 20ms);
    });
    ctx.run();  // which goes on as long as there are guests
    CHECK(log == events{"a: slept", "a: went on", "c: timed out", "c: went on", "b: timed out",
                        "b: went on"});
}

REACTOR_TEST("a guest's groups are within the limits around them") {
    io_context ctx(kind);
    std::error_code child;
    ctx.post([&] {
        [](std::error_code& to) -> detached {
            co_await [](std::error_code& of_child) -> task<> {
                const auto work = [](std::error_code& ended) -> task<> {
                    task_group group;
                    group.spawn([](std::error_code& ec) -> task<> {
                        ec = (co_await sleep_for(1h)).error();
                    }(ended));
                    (void)co_await sleep_for(1h);
                    (void)co_await shielded(group.join());
                };
                CHECK((co_await with_timeout(work(of_child), 5ms)).error() == errc::timed_out);
            }(to);
        }(child);
    });
    ctx.run();
    CHECK(child == errc::canceled);
}

REACTOR_TEST("a host's own groups have nothing to do with its guests, which are gone") {
    io_context ctx(kind);
    bool ended = false;
    ctx.post([&] {
        [](io_context& own, bool& done) -> detached {
            (void)co_await nap(1ms);
            task_group group;
            group.spawn([]() -> task<> { (void)co_await sleep_for(1h); }());
            (void)co_await nap(1ms);
            CHECK(own.tasks().size() == 1);
            group.cancel();
            CHECK((co_await group.join()).ok());
            done = true;
        }(ctx, ended);
    });
    ctx.run();
    CHECK(ended);
}

REACTOR_TEST("guests that end at once, one after the other, need no stack") {
    io_context ctx(kind);
    int sum = 0;
    ctx.post([&] {
        [](int& to) -> detached {
            for (int i = 0; i < 100'000; ++i) to += co_await []() -> task<int> { co_return 1; }();
        }(sum);
    });
    ctx.run();
    CHECK(sum == 100'000);
}

REACTOR_TEST("within a coroutine of another library that a task awaits, too") {
    io_context ctx(kind);
    const auto theirs = [](int n) -> foreign_task<int> {
        co_return co_await [](int of) -> task<int> {
            (void)co_await sleep_for(1ms);
            co_return of;
        }(n) + 1;
    };
    const int sum = ctx.block_on([](auto& make) -> task<int> {
        const auto branch = [](foreign_task<int> of) -> task<int> { co_return co_await of; };
        auto [a, b] = co_await when_all(branch(make(1)), branch(make(10)));
        co_return a + b;
    }(theirs));
    CHECK(sum == 13);
}

REACTOR_TEST("a coroutine of another library is destroyed while its guest waits") {
    for (std::size_t i = 0; i < 2 * std::size(places); ++i) {
        const auto place = places[i / 2];
        const bool from_inside = i % 2;
        if (place == &in_join) continue;  // to leave a group with children is a mistake
        io_context ctx(kind);
        int alive = 0;
        std::coroutine_handle<> host;
        ctx.post([&] { await_as_guest(host, place(ctx, counted(alive)), counted(alive)); });
        ctx.run_for(2ms);
        CHECK(alive >= 2);
        if (from_inside)
            ctx.post([&] { host.destroy(); });
        else
            host.destroy();
        ctx.run();
        CHECK(alive == 0);
    }
}

REACTOR_TEST("a coroutine of another library is destroyed, and then the task that it awaits") {
    for (const auto place : places) {
        if (place == &in_join) continue;  // to leave a group with children is a mistake
        io_context ctx(kind);
        int alive = 0;
        std::coroutine_handle<> host;
        auto work = std::make_unique<task<>>(place(ctx, counted(alive)));
        ctx.post([&] {
            [](std::coroutine_handle<>& to, task<>& awaited) -> detached {
                co_await handle_to{to};
                co_await awaited;
            }(host, *work);
        });
        ctx.run_for(2ms);
        host.destroy();
        CHECK(alive >= 1);
        work.reset();
        CHECK(alive == 0);
        ctx.run();
    }
}

REACTOR_TEST("a coroutine of another library is destroyed before its guest has begun") {
    io_context ctx(kind);
    int alive = 0;
    std::coroutine_handle<> host;
    ctx.post([&] {
        await_as_guest(host, in_sleep(ctx, counted(alive)), counted(alive));
        host.destroy();
    });
    ctx.run();
    CHECK(alive == 0);
}

REACTOR_TEST("a coroutine of another library is destroyed after the context of its guest") {
    for (const auto place : places) {
        int alive = 0;
        std::coroutine_handle<> host;
        {
            io_context ctx(kind);
            ctx.post([&] { await_as_guest(host, place(ctx, counted(alive)), counted(alive)); });
            ctx.run_for(2ms);
            CHECK(alive >= 2);
        }
        CHECK(alive >= 2);  // nobody but its owner destroys it
        host.destroy();
        CHECK(alive == 0);
    }
}

REACTOR_TEST("a group that has left its guest goes on when the host is destroyed") {
    io_context ctx(kind);
    std::unique_ptr<task_group> group;
    std::coroutine_handle<> host;
    int alive = 0;
    bool ended = false;
    const auto work = [](std::unique_ptr<task_group>& to, bool& done) -> task<> {
        to = std::make_unique<task_group>();
        to->spawn([](bool& flag) -> task<> {
            (void)co_await sleep_for(5ms);
            flag = true;
        }(done));
        (void)co_await sleep_for(1h);
    };
    ctx.post([&] { await_as_guest(host, work(group, ended), counted(alive)); });
    ctx.run_for(1ms);
    host.destroy();
    CHECK(alive == 0);
    ctx.run();
    CHECK(ended);
    group.reset();
}

REACTOR_TEST("a group that has left a branch of a guest ends with the host, and can be used") {
    io_context ctx(kind);
    std::unique_ptr<task_group> group;
    std::coroutine_handle<> host;
    int alive = 0;
    const auto branch = [](std::unique_ptr<task_group>& to, io_context& own,
                           counted inside) -> task<> {
        to = std::make_unique<task_group>();
        to->spawn(in_sleep(own, inside));
        (void)co_await sleep_for(1h);
    };
    const auto work = [](task<> first) -> task<> {
        (void)co_await when_all(std::move(first), nap(1h));
    };
    ctx.post(
        [&] { await_as_guest(host, work(branch(group, ctx, counted(alive))), counted(alive)); });
    ctx.run_for(1ms);
    host.destroy();
    CHECK(alive == 0);
    bool ended = false;
    ctx.block_on([](task_group& own, bool& done) -> task<> {
        own.spawn([](bool& flag) -> task<> { flag = (co_await sleep_for(1ms)).ok(); }(done));
        CHECK((co_await own.join()).ok());
    }(*group, ended));
    CHECK(ended);
    group.reset();
}

REACTOR_TEST("what runs after a guest has ended is not within it") {
    io_context ctx(kind);
    foreign_event happens;
    bool went_on = false;
    ctx.spawn([](foreign_event& what, bool& done) -> task<> {
        co_await [](foreign_event& inner) -> task<> { co_await inner; }(what);
        task_group group;  // while the guest, whose task has caused this, is gone
        CHECK((co_await group.join()).ok());
        done = true;
    }(happens, went_on));
    ctx.post([&] {
        [](foreign_event& what) -> detached {
            co_await [](foreign_event& inner) -> task<> {
                co_await yield();
                inner.set();
            }(what);
        }(happens);
    });
    ctx.run();
    CHECK(went_on);
}

REACTOR_TEST("a group may leave a guest that has begun before the context ran") {
    io_context ctx(kind);
    blocking_listener listener;
    auto [socket, peer] = ctx.block_on(test::connect(ctx, listener));
    std::unique_ptr<task_group> group;
    [](tcp::socket& from, std::unique_ptr<task_group>& to) -> detached {
        co_await [](tcp::socket& source, std::unique_ptr<task_group>& out) -> task<> {
            char byte;
            CHECK((co_await source.read_some(std::span(&byte, 1))).ok());
            out = std::make_unique<task_group>();
            out->spawn([]() -> task<> { (void)co_await sleep_for(1ms); }());
        }(from, to);
    }(socket, group);
    CHECK(peer.send("x") == 0);
    ctx.spawn([](std::unique_ptr<task_group>& left) -> task<> {
        while (!left) (void)co_await sleep_for(1ms);
        CHECK((co_await left->join()).ok());
    }(group));
    ctx.run();
    group.reset();
}

REACTOR_TEST("a guest stands in the tree of tasks") {
    io_context ctx(kind);
    int alive = 0;
    std::coroutine_handle<> host;
    ctx.post([&] { await_as_guest(host, in_sleep(ctx, counted(alive)), counted(alive)); });
    ctx.run_for(1ms);
    REQUIRE(ctx.tasks().size() == 1);
    CHECK(ctx.tasks().front().waits_for == std::string("sleep"));
    host.destroy();
    CHECK(ctx.tasks().empty());
}

#if CURFEW_EXCEPTIONS

REACTOR_TEST("what a guest throws comes out of its host's co_await") {
    io_context ctx(kind);
    std::string caught;
    ctx.post([&] {
        [](std::string& to) -> detached {
            try {
                co_await []() -> task<> {
                    co_await yield();
                    throw std::runtime_error("thrown");
                }();
            } catch (const std::runtime_error& error) {
                to = error.what();
            }
        }(caught);
    });
    ctx.run();
    CHECK(caught == "thrown");
}

#endif
