// Tasks that coroutines of other libraries await.
#include <curfew/curfew.hpp>

#include <array>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "support/counted.hpp"
#include "support/effort.hpp"
#include "support/fatal.hpp"
#include "support/foreign.hpp"
#include "support/loop.hpp"
#include "support/small_stack.hpp"

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

REACTOR_TEST("a guest that has begun outside of any loop is in that of its first socket") {
    io_context ctx(kind);
    std::optional<tcp::acceptor> acceptor(std::in_place, ctx);
    acceptor->listen(any_port()).value();
    std::error_code accepted = errc::closed;
    bool open = false;
    bool slept = false;
    bool went_on = false;
    const auto work = [](std::optional<tcp::acceptor>& from, std::error_code& ec, bool& is_open,
                         bool& in_loop) -> task<> {
        auto [error, peer] = co_await from->accept();
        ec = error;
        is_open = peer.is_open();
        in_loop = (co_await with_timeout(sleep_for(1h), 1ms)).error() == errc::timed_out;
        task_group group;
        CHECK((co_await group.join()).ok());
    };
    [](task<> awaited, bool& done) -> detached {
        co_await awaited;
        done = true;
    }(work(acceptor, accepted, open, slept), went_on);
    CHECK(ctx.tasks().size() == 1);
    // Its acceptor is gone when it goes on.
    ctx.spawn([](io_context& own, std::optional<tcp::acceptor>& from) -> task<> {
        tcp::socket client(own);
        (co_await client.connect(from->local_endpoint())).value();
        own.post([&from] { from.reset(); });
        (void)co_await sleep_for(1ms);
    }(ctx, acceptor));
    ctx.run();  // which goes on as long as there are guests
    CHECK((!accepted || accepted == errc::closed));
    CHECK(open == !accepted);
    CHECK(slept);
    CHECK(went_on);
}

REACTOR_TEST("what coroutines of other libraries wait in may outlive their context") {
    const auto wait = [](int where, event& happens, semaphore& permits, channel<int>& messages,
                         thread_future<int>& result, join_handle<>& task_of_loop,
                         udp::socket& socket, std::stop_token token, std::coroutine_handle<>& host,
                         counted) -> detached {
        co_await handle_to{host};
        std::array<char, 8> buffer;
        switch (where) {
        case 0:
            (void)co_await happens.wait();
            break;
        case 1:
            (void)co_await permits.acquire();
            break;
        case 2:
            (void)co_await messages.receive();
            break;
        case 3:
            (void)co_await messages.send(1);
            break;
        case 4:
            (void)co_await result;
            break;
        case 5:
            co_await task_of_loop;
            break;
        case 6:
            (void)co_await sleep_for(1h);
            break;
        case 7:
            (void)co_await socket.receive(buffer);
            break;
        case 8:
            (void)co_await with_timeout(socket.receive(buffer), 1h);
            break;
        case 9:  // within a task of curfew's
            co_await [](std::stop_token of) -> task<> {
                (void)co_await cancel_on(sleep_for(1h), of);
            }(token);
            break;
        case 10:
            co_await [](thread_future<int>& from) -> task<> { (void)co_await from; }(result);
            break;
        default:
            co_await [](event& from) -> task<> { (void)co_await from.wait(); }(happens);
            break;
        }
    };
    for (int where = 0; where < 12; ++where) {
        CAPTURE(where);
        int alive = 0;
        std::coroutine_handle<> host;
        event happens;
        semaphore permits(0);
        channel<int> messages(0);
        std::optional<thread_promise<int>> promise(std::in_place);
        thread_future<int> result = promise->get_future();
        join_handle<> handle;
        std::stop_source stop;
        udp::socket socket;
        {
            io_context ctx(kind);
            socket = udp::socket(ctx);
            socket.bind(any_port()).value();
            handle = ctx.spawn([]() -> task<> { (void)co_await sleep_for(1h); });
            ctx.post([&] {
                wait(where, happens, permits, messages, result, handle, socket, stop.get_token(),
                     host, counted(alive));
            });
            ctx.run_for(1ms);
            CHECK(alive == 1);
        }
        happens.set();
        permits.release();
        messages.try_send(1);
        messages.try_receive();
        messages.close();
        stop.request_stop();
        promise->set_value(1);
        CHECK(alive == 1);  // nobody but its owner destroys it
        host.destroy();
        CHECK(alive == 0);
    }
}

#if TEST_CAN_DIE
REACTOR_TEST("waiting for more than a socket outside of any loop is fatal and says what to do") {
    const auto first = [](udp::socket& from, std::stop_token token, int what) -> task<> {
        std::array<char, 8> buffer;
        if (what == 0) (void)co_await cancel_on(from.receive(buffer), token);
        if (what == 1) (void)co_await with_timeout(when_all(from.receive(buffer)), 1h);
        if (what == 2) (void)co_await shielded(from.receive(buffer));
        if (what == 3) (void)co_await yield();
    };
    for (int what = 0; what < 4; ++what) {
        const auto end = death_of([&] {
            io_context ctx(kind);
            udp::socket socket(ctx);
            socket.bind(any_port()).value();
            std::stop_source stop;
            [](task<> work) -> detached { co_await work; }(first(socket, stop.get_token(), what));
        });
        CHECK(end.signal == SIGABRT);
        CHECK(end.said.find("waiting outside a running io_context: post() or spawn()") !=
              std::string::npos);
    }
}
#endif

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

// Many, and deep ----------------------------------------------------------------------------------

REACTOR_TEST("a host is destroyed with a deep chain in its guest without stack, innermost first") {
    struct chain {
        static task<> link(std::size_t left, std::size_t& next, bool& in_order) {
            struct leaves {
                std::size_t level;
                std::size_t& expected;
                bool& right;
                ~leaves() { right = right && level == expected++; }
            } const mark{left, next, in_order};
            if (left == 0)
                co_await sleep_for(1h);
            else
                co_await link(left - 1, next, in_order);
        }
    };
    const std::size_t depth = test::scaled(100'000);
    std::size_t destroyed = 0;
    bool in_order = true;
    int alive = 0;
    const bool ran = test::on_small_stack([&] {
        io_context ctx(kind);
        std::coroutine_handle<> host;
        ctx.post(
            [&] { await_as_guest(host, chain::link(depth, destroyed, in_order), counted(alive)); });
        ctx.poll();
        host.destroy();
    });
    REQUIRE(ran);
    CHECK(destroyed == depth + 1);
    CHECK(in_order);
    CHECK(alive == 0);
}

// With a search for each it would take minutes.
REACTOR_TEST("hosts are destroyed one by one, in any order, at a price that does not grow") {
    const std::size_t count = test::scaled(100'000);
    for (const bool begun : {false, true}) {
        int alive = 0;
        io_context ctx(kind);
        event go;
        std::vector<std::coroutine_handle<>> hosts(count);
        const auto wait = [](event& what) -> task<> { (void)co_await what.wait(); };
        ctx.post([&] {
            for (auto& each : hosts) await_as_guest(each, wait(go), counted(alive));
            if (!begun)
                for (std::size_t i = count; i-- > 0;) hosts[i].destroy();
        });
        ctx.poll();
        if (begun) {
            ctx.post([&] {
                go.set();  // all are ready now
                for (std::size_t i = count; i-- > 0;) hosts[i].destroy();
            });
            ctx.poll();
        }
        CHECK(alive == 0);
        CHECK(ctx.tasks().empty());
    }
}

REACTOR_TEST("a coroutine that is no task may be destroyed after the context it slept in") {
    std::coroutine_handle<> left;
    int alive = 0;
    {
        io_context ctx(kind);
        const auto foreign = [](std::coroutine_handle<>& to, counted) -> test::detached {
            co_await test::handle_to{to};
            (void)co_await sleep_for(0s);
            (void)co_await sleep_for(1h);  // begins in the second half of the poll
        };
        ctx.post([&] { foreign(left, counted(alive)); });
        ctx.poll();
    }
    CHECK(alive == 1);
    left.destroy();
    CHECK(alive == 0);
}
