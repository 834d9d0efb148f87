// task_group: children that end together, and never after the group.
#include <curfew/task_group.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "support/counted.hpp"
#include "support/effort.hpp"
#include "support/fatal.hpp"
#include "support/foreign.hpp"
#include "support/loop.hpp"
#include "support/small_stack.hpp"

using namespace test;

static_assert(!std::is_copy_constructible_v<task_group>);
static_assert(!std::is_move_constructible_v<task_group>);

namespace {

using events = std::vector<int>;
using bytes = std::array<char, 16>;

task<> note(events& log, int id) {
    log.push_back(id);
    co_return;
}

task<int> number(int value) {
    co_await yield();
    co_return value;
}

/// Sleeps until it is cancelled, and notes that it was.
task<> wait_for_end(events& log, int id) {
    const auto [ec] = co_await sleep_for(1h);
    if (ec == errc::canceled) log.push_back(id);
}

/// The same, with a clean-up that takes its time.
task<> clean_up(events& log, int id) {
    const auto [ec] = co_await sleep_for(1h);
    (void)co_await shielded(sleep_for(5ms));
    if (ec == errc::canceled) log.push_back(id);
}

task<result<>> cut_short() { co_return co_await sleep_for(1h); }

task<result<int>> fails_with(std::error_code ec) {
    co_await yield();
    co_return ec;
}

task<> holds(counted) { (void)co_await sleep_for(1h); }

task<> rounds(int count) {
    for (int i = 0; i < count; ++i) co_await yield();
}

}  // namespace

// Children and their end --------------------------------------------------------------------------

REACTOR_TEST("children run beside their owner, in the order of spawning, and join waits for all") {
    run(kind, [&](io_context&) -> task<> {
        events log;
        task_group group;
        group.spawn(note(log, 2));
        group.spawn([](events& to) -> task<> {
            (void)co_await sleep_for(2ms);
            to.push_back(4);
        }(log));
        group.spawn(note(log, 3));
        log.push_back(1);
        CHECK(group.size() == 3);
        const result<> end = co_await group.join();
        CHECK(end.ok());
        CHECK(log == events{1, 2, 3, 4});
        CHECK(group.size() == 0);
    });
}

REACTOR_TEST("joining a group without children does not suspend") {
    run(kind, [&](io_context& ctx) -> task<> {
        bool posted = false;
        ctx.post([&] { posted = true; });
        task_group group;
        CHECK((co_await group.join()).ok());
        CHECK_FALSE(posted);
    });
}

REACTOR_TEST("size counts the children that have not ended") {
    run(kind, [&](io_context&) -> task<> {
        task_group group;
        CHECK(group.size() == 0);
        group.spawn(rounds(1));
        group.spawn(rounds(3));
        CHECK(group.size() == 2);
        co_await rounds(3);
        CHECK(group.size() == 1);
        co_await rounds(2);
        CHECK(group.size() == 0);
        CHECK((co_await group.join()).ok());
    });
}

REACTOR_TEST("what is spawned while join waits is waited for, too") {
    run(kind, [&](io_context&) -> task<> {
        events log;
        task_group group;
        group.spawn([](task_group& own, events& to) -> task<> {
            co_await yield();
            own.spawn([](task_group& of, events& seen) -> task<> {
                (void)co_await sleep_for(1ms);
                of.spawn(note(seen, 2));
                seen.push_back(1);
            }(own, to));
        }(group, log));
        CHECK((co_await group.join()).ok());
        CHECK(log == events{1, 2});
    });
}

REACTOR_TEST("a group is as new after a join") {
    run(kind, [&](io_context&) -> task<> {
        events log;
        task_group group;
        group.spawn(fails_with(make_error_code(errc::eof)));
        group.spawn(wait_for_end(log, 1));
        CHECK((co_await group.join()).error() == errc::eof);

        group.spawn(rounds(3));  // neither cancelled, nor to blame for what came before
        group.spawn(note(log, 2));
        CHECK((co_await group.join()).ok());
        group.cancel();
        CHECK((co_await group.join()).ok());

        const auto sleeps = [](events& to) -> task<> {
            if ((co_await sleep_for(1ms)).ok()) to.push_back(3);
        };
        group.spawn(sleeps(log));
        CHECK((co_await group.join()).ok());
        CHECK(log == events{1, 2, 3});
    });
}

REACTOR_TEST("an ended child is freed at once, with what its frame held") {
    run(kind, [&](io_context&) -> task<> {
        int alive = 0;
        task_group group;
        group.spawn(holds(counted(alive)));
        group.spawn([](counted) -> task<> { co_await yield(); }(counted(alive)));
        CHECK(alive == 2);
        co_await rounds(3);
        CHECK(alive == 1);
        group.cancel();
        CHECK((co_await group.join()).ok());
        CHECK(alive == 0);
    });
}

REACTOR_TEST("10,000 children one after the other take the memory of those that live at once") {
    run(kind, [&](io_context&) -> task<> {
        int alive = 0;
        int most = 0;
        task_group group;
        for (int i = 0; i < 10'000; ++i) {
            group.spawn([](counted, int steps) -> task<> { co_await rounds(steps); }(counted(alive),
                                                                                     i % 3));
            most = std::max(most, alive);
            while (group.size() >= 8) co_await yield();
        }
        CHECK(most <= 8);
        CHECK((co_await group.join()).ok());
        CHECK(alive == 0);
    });
}

REACTOR_TEST("10,000 children at once") {
    run(kind, [&](io_context&) -> task<> {
        int ended = 0;
        task_group group;
        for (int i = 0; i < 10'000; ++i)
            group.spawn([](int& count, int steps) -> task<> {
                co_await rounds(steps);
                ++count;
            }(ended, i % 5));
        CHECK(group.size() == 10'000);
        CHECK((co_await group.join()).ok());
        CHECK(ended == 10'000);

        events log;
        for (int i = 0; i < 10'000; ++i) group.spawn(wait_for_end(log, 1));
        group.spawn(fails_with(make_error_code(errc::eof)));
        CHECK((co_await group.join()).error() == errc::eof);
        CHECK(log.size() == 10'000);
    });
}

// Failure -----------------------------------------------------------------------------------------

REACTOR_TEST("the first error that a child returns cancels the others, and join reports it") {
    run(kind, [&](io_context&) -> task<> {
        events log;
        task_group group;
        group.spawn(clean_up(log, 1));
        group.spawn([]() -> task<result<>> {
            (void)co_await sleep_for(1h);  // ends with the failure of the other
            co_return errc::closed;
        }());
        group.spawn(fails_with(make_error_code(errc::eof)));
        CHECK((co_await group.join()).error() == errc::eof);
        CHECK(log == events{1});

        group.spawn([]() -> task<std::error_code> { co_return make_error_code(errc::closed); }());
        group.spawn(clean_up(log, 2));
        CHECK((co_await group.join()).error() == errc::closed);
        CHECK(log == events{1, 2});

        group.spawn(fails_with(make_error_code(errc::canceled)));  // though nobody has asked for it
        CHECK((co_await group.join()).error() == errc::canceled);
    });
}

REACTOR_TEST("a failure cancels the others whatever the owner is doing") {
    run(kind, [&](io_context&) -> task<> {
        events log;
        task_group group;
        group.spawn(wait_for_end(log, 1));
        group.spawn(fails_with(make_error_code(errc::eof)));
        CHECK((co_await sleep_for(2ms)).ok());  // the owner itself is not cancelled
        CHECK(log == events{1});
        group.spawn(wait_for_end(log, 2));  // too late: it starts cancelled
        CHECK((co_await group.join()).error() == errc::eof);
        CHECK(log == events{1, 2});
    });
}

REACTOR_TEST("with on_error::ignore an error concerns nobody but the child") {
    run(kind, [&](io_context&) -> task<> {
        events log;
        task_group group(on_error::ignore);
        auto handle = group.spawn(fails_with(make_error_code(errc::eof)));
        group.spawn([](events& to) -> task<> {
            if ((co_await sleep_for(2ms)).ok()) to.push_back(1);
        }(log));
        CHECK((co_await group.join()).ok());
        CHECK(log == events{1});
        CHECK((co_await handle).error() == errc::eof);
    });
}

REACTOR_TEST("a child that is cancelled through its own handle is no failure") {
    run(kind, [&](io_context&) -> task<> {
        events log;
        task_group group;
        auto handle = group.spawn(cut_short());
        group.spawn([](events& to) -> task<> {
            if ((co_await sleep_for(2ms)).ok()) to.push_back(1);
        }(log));
        co_await yield();
        handle.cancel();
        CHECK((co_await group.join()).ok());
        CHECK(log == events{1});
        CHECK((co_await handle).error() == errc::canceled);
    });
}

REACTOR_TEST("a child that is cancelled and returns another error is a failure") {
    run(kind, [&](io_context&) -> task<> {
        task_group group;
        auto handle = group.spawn([]() -> task<result<>> {
            (void)co_await sleep_for(1h);
            co_return errc::eof;
        }());
        co_await yield();
        handle.cancel();
        CHECK((co_await group.join()).error() == errc::eof);
    });
}

REACTOR_TEST("cancel ends all children, and is no failure") {
    run(kind, [&](io_context&) -> task<> {
        events log;
        task_group group;
        group.spawn(clean_up(log, 1));
        group.spawn(cut_short());
        co_await yield();
        group.cancel();
        group.cancel();
        CHECK((co_await sleep_for(1ms)).ok());
        CHECK((co_await group.join()).ok());
        CHECK(log == events{1});
    });
}

REACTOR_TEST("what is spawned into a cancelled group starts, cancelled, until it has been joined") {
    run(kind, [&](io_context&) -> task<> {
        events log;
        task_group group;
        group.cancel();
        group.spawn([](events& to) -> task<> {
            to.push_back(1);
            if ((co_await yield()).error() == errc::canceled) to.push_back(2);
        }(log));
        CHECK(log.empty());
        CHECK((co_await group.join()).ok());
        CHECK(log == events{1, 2});
        group.cancel();
        CHECK((co_await group.join()).ok());
        group.spawn([](events& to) -> task<> {
            if ((co_await yield()).ok()) to.push_back(3);
        }(log));
        CHECK((co_await group.join()).ok());
        CHECK(log == events{1, 2, 3});
    });
}

// Handles -----------------------------------------------------------------------------------------

REACTOR_TEST("the handle of a child gives what it returns, also after the group is gone") {
    run(kind, [&](io_context&) -> task<> {
        join_handle<int> late;
        int alive = 0;
        {
            task_group group;
            auto first = group.spawn(number(1));
            late = group.spawn([](counted) -> task<int> { co_return 2; }(counted(alive)));
            group.spawn(number(3));
            CHECK(co_await first == 1);
            CHECK((co_await group.join()).ok());
            CHECK(first.done());
        }
        CHECK(alive == 1);
        CHECK(late.done());
        late.cancel();
        CHECK(co_await late == 2);
        late = {};
        CHECK(alive == 0);
    });
}

REACTOR_TEST("who awaits a child that the group cancels gets what it returns") {
    run(kind, [&](io_context&) -> task<> {
        task_group group;
        auto child = group.spawn(cut_short());
        co_await yield();
        group.cancel();
        CHECK((co_await child).error() == errc::canceled);
        CHECK((co_await group.join()).ok());
    });
}

REACTOR_TEST("a handle may outlive the context of its group") {
    join_handle<> handle;
    {
        io_context ctx(kind);
        task_group group(ctx);
        handle = group.spawn([]() -> task<> { (void)co_await sleep_for(1h); }());
        ctx.run_for(1ms);
        group.cancel();
        ctx.run_for(1ms);
        CHECK(handle.done());
    }
    handle.cancel();
    CHECK(handle.done());
}

// Limits and cancellation -------------------------------------------------------------------------

REACTOR_TEST("cancelling the owner reaches the children, also while it waits for something else") {
    run(kind, [&](io_context& ctx) -> task<> {
        events log;
        auto owner = ctx.spawn([](events& to) -> task<> {
            task_group group;
            group.spawn(wait_for_end(to, 1));
            (void)co_await shielded(sleep_for(5ms));
            to.push_back(2);  // the child had its end before this
            CHECK((co_await group.join()).error() == errc::canceled);
        }(log));
        co_await rounds(2);
        owner.cancel();
        co_await owner;
        CHECK(log == events{1, 2});
    });
}

REACTOR_TEST("a limit around the owner reaches the children of its groups, and says timed_out") {
    run(kind, [&](io_context&) -> task<> {
        events log;
        const auto owner = [](events& to) -> task<result<>> {
            task_group group;
            group.spawn([](events& seen) -> task<> {
                task_group inner;
                inner.spawn(wait_for_end(seen, 1));
                CHECK((co_await inner.join()).error() == errc::canceled);
            }(to));
            const auto [ec] = co_await sleep_for(1h);
            CHECK(ec == errc::canceled);
            const auto [joined] = co_await group.join();
            CHECK(joined == errc::canceled);
            co_return joined;
        };
        CHECK((co_await with_timeout(owner(log), 2ms)).error() == errc::timed_out);
        CHECK(log == events{1});
        CHECK((co_await sleep_for(1ms)).ok());
    });
}

REACTOR_TEST("a limit that only children have felt still says timed_out") {
    run(kind, [&](io_context&) -> task<> {
        events log;
        const auto owner = [](events& to) -> task<result<>> {
            task_group group;
            group.spawn(wait_for_end(to, 1));
            (void)co_await shielded(sleep_for(10ms));
            co_return co_await group.join();
        };
        CHECK((co_await with_timeout(owner(log), 2ms)).error() == errc::timed_out);
        CHECK(log == events{1});
    });
}

REACTOR_TEST("a limit on the join cancels the children, waits for them and says timed_out") {
    run(kind, [&](io_context&) -> task<> {
        events log;
        task_group group;
        group.spawn(clean_up(log, 1));
        group.spawn(wait_for_end(log, 0));
        CHECK((co_await with_timeout(group.join(), 2ms)).error() == errc::timed_out);
        CHECK(log == events{0, 1});
        CHECK(group.size() == 0);
        CHECK((co_await sleep_for(1ms)).ok());

        group.spawn(rounds(3));
        CHECK((co_await with_timeout(group.join(), 1h)).ok());
        // Children that the limit could not cut short.
        group.spawn([]() -> task<> { (void)co_await shielded(sleep_for(10ms)); }());
        CHECK((co_await with_timeout(group.join(), 1ms)).ok());
        // An error of a child is reported as such.
        group.spawn([]() -> task<result<>> {
            (void)co_await sleep_for(1h);
            co_return errc::eof;
        }());
        CHECK((co_await with_timeout(group.join(), 1ms)).error() == errc::eof);
    });
}

REACTOR_TEST("joining in a cancelled task cancels the children at once") {
    run(kind, [&](io_context& ctx) -> task<> {
        events log;
        task_group outer;  // not in the scope of the task that joins it
        outer.spawn(wait_for_end(log, 1));
        auto joins = ctx.spawn([](task_group& group) -> task<std::error_code> {
            const auto [ec] = co_await group.join();
            co_return ec;
        }(outer));
        joins.cancel();
        const std::error_code ec = co_await joins;
        CHECK(ec == errc::canceled);
        CHECK(log == events{1});
    });
}

REACTOR_TEST("a limit with `close` aborts the sockets of the children") {
    blocking_listener listener;
    run(kind, [&](io_context& ctx) -> task<> {
        auto [first, first_peer] = co_await test::connect(ctx, listener);
        auto [second, second_peer] = co_await test::connect(ctx, listener);
        const auto reads = [](tcp::socket& from) -> task<> {
            bytes buffer;
            (void)co_await from.read_some(buffer);
        };
        task_group group;
        group.spawn(reads(first));
        CHECK((co_await with_timeout(group.join(), 2ms, on_timeout::close)).error() ==
              errc::timed_out);
        CHECK_FALSE(first.is_open());
        CHECK(first_peer.receive().error == native::error_after_reset());

        const auto owner = [&](tcp::socket& from) -> task<> {
            task_group own;
            own.spawn(reads(from));
            (void)co_await sleep_for(1h);
            CHECK((co_await own.join()).error() == errc::canceled);
        };
        CHECK((co_await with_timeout(owner(second), 2ms, on_timeout::close)).error() ==
              errc::timed_out);
        CHECK_FALSE(second.is_open());
        CHECK(second_peer.receive().error == native::error_after_reset());
    });
}

REACTOR_TEST("a shield around the owner keeps cancellation from its children") {
    run(kind, [&](io_context&) -> task<> {
        events log;
        const auto owner = [](events& to) -> task<result<>> {
            task_group group;
            group.spawn([](events& seen) -> task<> {
                if ((co_await sleep_for(10ms)).ok()) seen.push_back(1);
            }(to));
            co_return co_await group.join();
        };
        CHECK((co_await with_timeout(shielded(owner(log)), 1ms)).ok());
        CHECK(log == events{1});
    });
}

REACTOR_TEST("a group in a branch that loses takes its children with it") {
    run(kind, [&](io_context&) -> task<> {
        events log;
        const auto owner = [](events& to) -> task<result<>> {
            task_group group;
            group.spawn(clean_up(to, 1));
            co_return co_await group.join();
        };
        auto [index, results] = co_await when_any(owner(log), number(7));
        CHECK(index == 1);
        CHECK(std::get<0>(results).error() == errc::canceled);
        CHECK(log == events{1});
    });
}

REACTOR_TEST("a group outlives the limit in which it was made, and belongs to what is around it") {
    run(kind, [&](io_context& ctx) -> task<> {
        events log;
        const auto make = [](events& to) -> task<std::unique_ptr<task_group>> {
            auto group = std::make_unique<task_group>();
            group->spawn(wait_for_end(to, 1));
            co_await yield();
            co_return group;
        };
        const auto owner = [&](events& to) -> task<> {
            auto [ec, group] = co_await with_timeout(make(to), 1h);
            CHECK_FALSE(ec);
            CHECK(to.empty());
            (void)co_await shielded(sleep_for(5ms));
            CHECK(to == events{1});  // reached by the cancellation of this task
            CHECK((co_await group->join()).error() == errc::canceled);
        };
        auto handle = ctx.spawn(owner(log));
        co_await rounds(4);
        handle.cancel();
        co_await handle;
        CHECK(log == events{1});
    });
}

REACTOR_TEST("a group outlives the task, the branch and the child in which it was made") {
    run(kind, [&](io_context& ctx) -> task<> {
        events log;
        const auto make = [](events& to, int id) -> task<std::unique_ptr<task_group>> {
            auto group = std::make_unique<task_group>();
            group->spawn(wait_for_end(to, id));
            co_await yield();
            co_return group;
        };
        std::vector<std::unique_ptr<task_group>> groups;
        groups.push_back(co_await ctx.spawn(make(log, 1)));
        auto [first, second] = co_await when_all(make(log, 2), make(log, 3));
        groups.push_back(std::move(first));
        groups.push_back(std::move(second));
        task_group around;
        groups.push_back(co_await around.spawn(make(log, 4)));
        CHECK((co_await around.join()).ok());
        for (auto& each : groups) {
            each->spawn(note(log, 0));
            co_await rounds(2);
            each->cancel();
            CHECK((co_await each->join()).ok());
        }
        CHECK(log == events{0, 1, 0, 2, 0, 3, 0, 4});
    });
}

REACTOR_TEST("a group made in a branch passes to the caller, whose limit reaches its children") {
    run(kind, [&](io_context&) -> task<> {
        events log;
        const auto make = [](events& to) -> task<std::unique_ptr<task_group>> {
            auto group = std::make_unique<task_group>();
            group->spawn(wait_for_end(to, 1));
            co_return group;
        };
        const auto owner = [&](events& to) -> task<result<>> {
            auto [group] = co_await when_all(make(to));
            (void)co_await sleep_for(1h);
            co_return co_await group->join();
        };
        CHECK((co_await with_timeout(owner(log), 2ms)).error() == errc::timed_out);
        CHECK(log == events{1});
    });
}

// Outside of tasks --------------------------------------------------------------------------------

REACTOR_TEST("a group may be made outside of a task, before the loop runs, and joined in it") {
    events log;
    io_context ctx(kind);
    task_group group(ctx);
    group.spawn(note(log, 1));
    group.spawn(wait_for_end(log, 2));
    CHECK(log.empty());
    ctx.run_for(1ms);
    CHECK(log == events{1});
    CHECK(group.size() == 1);
    group.cancel();
    const auto join = [](task_group& own) -> task<std::error_code> {
        const auto [ec] = co_await own.join();
        co_return ec;
    };
    CHECK_FALSE(ctx.block_on(join(group)));
    CHECK(log == events{1, 2});
}

REACTOR_TEST("a group that is a member of an object belongs to nobody's scope") {
    struct server {
        task_group sessions;
        explicit server(io_context& ctx) : sessions(ctx) {}
    };
    events log;
    io_context ctx(kind);
    std::optional<server> object(ctx);
    const auto visitor = [](server& to, events& seen) -> task<> {
        to.sessions.spawn(wait_for_end(seen, 1));
        (void)co_await sleep_for(1h);
    };
    auto handle = ctx.spawn(visitor(*object, log));
    ctx.run_for(1ms);
    handle.cancel();
    ctx.run_for(1ms);
    CHECK(handle.done());
    CHECK(log.empty());  // who has spawned a child is not who owns it
    object->sessions.cancel();
    ctx.run();
    CHECK(log == events{1});
    CHECK(object->sessions.size() == 0);
    object.reset();
}

REACTOR_TEST("a context destroyed with groups alive destroys their children where they stand") {
    int alive = 0;
    events log;
    std::unique_ptr<task_group> outside;
    {
        io_context ctx(kind);
        outside = std::make_unique<task_group>(ctx);
        outside->spawn(holds(counted(alive)));
        const auto nested = [](counted, io_context& own, int& count, events& to) -> task<> {
            const counted local(count);
            task_group group;
            group.spawn(holds(counted(count)));
            group.spawn([](counted, io_context& context, events& seen) -> task<> {
                auto [client, server] = co_await test::connect(context);
                bytes buffer;
                (void)co_await when_all(client.read_some(buffer), sleep_for(1h));
                seen.push_back(1);
            }(counted(count), own, to));
            (void)co_await group.join();
            to.push_back(2);
        };
        outside->spawn(nested(counted(alive), ctx, alive, log));
        ctx.spawn(nested(counted(alive), ctx, alive, log));
        ctx.run_for(5ms);
        CHECK(alive == 9);
        outside->spawn(holds(counted(alive)));  // has not begun
    }
    CHECK(alive == 0);
    CHECK(log.empty());
    outside.reset();
}

REACTOR_TEST("the last child of a group may be the one that owns it") {
    int alive = 0;
    io_context ctx(kind);
    struct server {
        task_group sessions;
        counted mark;
        server(io_context& own, int& count) : sessions(own), mark(count) {}
    };
    {
        auto object = std::make_shared<server>(ctx, alive);
        const auto session = [](std::shared_ptr<server>, int steps) -> task<> {
            co_await rounds(steps);
        };
        object->sessions.spawn(session(object, 1));
        object->sessions.spawn(session(object, 2));
    }
    CHECK(alive == 1);
    ctx.run();
    CHECK(alive == 0);
}

REACTOR_TEST("coroutines of other libraries can own a group and join it") {
    events log;
    io_context ctx(kind);
    const auto body = [](io_context& own, events& to) -> test::detached {
        task_group group(own);
        group.spawn(note(to, 1));
        group.spawn([](events& seen) -> task<> {
            (void)co_await sleep_for(1ms);
            seen.push_back(2);
        }(to));
        const auto [ec] = co_await group.join();
        to.push_back(ec ? 0 : 3);
    };
    body(ctx, log);
    ctx.run();
    CHECK(log == events{1, 2, 3});
}

REACTOR_TEST("a group made by another library's coroutine outlives the task that began it") {
    events log;
    foreign_event goes_on;
    io_context ctx(kind);
    const auto body = [](foreign_event& wait_for, events& to) -> test::detached {
        task_group group;  // in the scope of the task that runs here
        group.spawn(wait_for_end(to, 1));
        co_await wait_for;
        group.cancel();
        const auto [ec] = co_await group.join();
        to.push_back(ec ? 0 : 2);
    };
    const auto begins = [&](counted) -> task<> {
        body(goes_on, log);
        co_return;
    };
    int alive = 0;
    ctx.spawn(begins(counted(alive)));
    ctx.run_for(1ms);
    CHECK(alive == 0);
    CHECK(log.empty());
    ctx.post([&] { goes_on.set(); });
    ctx.run();
    CHECK(log == events{1, 2});
}

// Exceptions --------------------------------------------------------------------------------------

#if CURFEW_EXCEPTIONS

namespace {

task<> throws(const char* why) {
    co_await yield();
    throw std::runtime_error(why);
}

/// What awaiting throws; empty if nothing.
template <class Awaitable>
task<std::string> thrown_by(Awaitable awaitable) {
    std::string message;
    try {
        (void)co_await std::move(awaitable);
    } catch (const std::runtime_error& error) {
        message = error.what();
    }
    co_return message;
}

}  // namespace

REACTOR_TEST("the first exception of a child cancels the others and comes out of join") {
    run(kind, [&](io_context&) -> task<> {
        events log;
        int alive = 0;
        task_group group(on_error::ignore);  // of returned errors, not of exceptions
        group.spawn(clean_up(log, 1));
        group.spawn([](counted) -> task<> {
            (void)co_await sleep_for(1h);
            throw std::runtime_error("second");
        }(counted(alive)));
        group.spawn(throws("first"));
        CHECK(co_await thrown_by(group.join()) == "first");
        CHECK(log == events{1});
        CHECK(alive == 0);
        CHECK((co_await group.join()).ok());
        group.spawn(note(log, 2));
        CHECK((co_await group.join()).ok());
        CHECK(log == events{1, 2});
    });
}

REACTOR_TEST("of an error and an exception the first in time is what join reports") {
    run(kind, [&](io_context&) -> task<> {
        const auto throws_when_cancelled = []() -> task<> {
            (void)co_await sleep_for(1h);
            throw std::runtime_error("late");
        };
        task_group group;
        group.spawn(throws_when_cancelled());
        group.spawn(fails_with(make_error_code(errc::eof)));
        CHECK((co_await group.join()).error() == errc::eof);

        group.spawn([]() -> task<result<>> {
            (void)co_await sleep_for(1h);
            co_return errc::eof;
        }());
        group.spawn(throws("first"));
        CHECK(co_await thrown_by(group.join()) == "first");
    });
}

REACTOR_TEST("a child's exception does not come out of run, and comes out of its handle, too") {
    io_context ctx(kind);
    task_group group(ctx);
    group.spawn(throws("seen by the group"));
    auto kept = group.spawn([]() -> task<int> {
        co_await yield();
        throw std::runtime_error("of the handle");
    }());
    ctx.run();
    CHECK(kept.done());
    const auto join = [](task_group& own) -> task<std::string> { return thrown_by(own.join()); };
    CHECK(ctx.block_on(join(group)) == "seen by the group");
    const auto wait = [](join_handle<int>& handle) -> task<std::string> {
        std::string message;
        try {
            (void)co_await handle;
        } catch (const std::runtime_error& error) {
            message = error.what();
        }
        co_return message;
    };
    CHECK(ctx.block_on(wait(kept)) == "of the handle");
}

REACTOR_TEST("an exception that leaves the owner destroys the children where they stand") {
    int alive = 0;
    events log;
    run(kind, [&](io_context& ctx) -> task<> {
        auto [client, server] = co_await test::connect(ctx);
        const auto child = [](counted, events& to) -> task<> {
            (void)co_await sleep_for(1h);
            to.push_back(1);
        };
        const auto reads = [](counted, tcp::socket& from, events& to) -> task<> {
            bytes buffer;
            (void)co_await with_timeout(from.read_some(buffer), 1h);
            to.push_back(2);
        };
        const auto runs = [](counted, events& to) -> task<> {
            while ((co_await yield()).ok()) {}
            to.push_back(3);
        };
        const auto parent = [&](counted) -> task<> {
            task_group inner;
            inner.spawn(child(counted(alive), log));
            inner.spawn(runs(counted(alive), log));
            (void)co_await when_any(inner.join(), child(counted(alive), log));
            log.push_back(4);
        };
        const auto owner = [&](tcp::socket& socket) -> task<> {
            task_group group;
            group.spawn(child(counted(alive), log));
            group.spawn(reads(counted(alive), socket, log));
            group.spawn(runs(counted(alive), log));
            group.spawn(parent(counted(alive)));
            co_await rounds(4);
            group.spawn(child(counted(alive), log));  // has not begun
            CHECK(alive >= 8);  // one stands in the expression that has made its frame, too
            throw std::runtime_error("left");
        };
        CHECK(co_await thrown_by(owner(client)) == "left");
        CHECK(alive == 0);
        (void)co_await sleep_for(2ms);
        // The socket is usable: nothing is pending on it any more.
        (co_await server.write_some("after")).value();
        bytes buffer;
        CHECK((co_await client.read_some(buffer)).value() == 5);
    });
    CHECK(log.empty());
}

REACTOR_TEST("an exception that leaves a cancelled owner whose children are queued destroys them") {
    int alive = 0;
    events log;
    run(kind, [&](io_context& ctx) -> task<> {
        const auto child = [](counted, events& to) -> task<> {
            (void)co_await sleep_for(1h);
            to.push_back(1);  // not reached: destroyed between its cancellation and its turn
        };
        const auto owner = [&]() -> task<> {
            task_group group;
            for (int i = 0; i < 3; ++i) group.spawn(child(counted(alive), log));
            co_await rounds(2);
            group.cancel();
            throw std::runtime_error("left");
        };
        CHECK(co_await thrown_by(ctx.spawn(owner())) == "left");
        CHECK(alive == 0);
        CHECK((co_await sleep_for(1ms)).ok());
    });
    CHECK(log.empty());
}

REACTOR_TEST("who awaits a child that is destroyed with its group is told so") {
    run(kind, [&](io_context& ctx) -> task<> {
        join_handle<int> child;
        const auto owner = [](join_handle<int>& kept) -> task<> {
            task_group group;
            kept = group.spawn([]() -> task<int> {
                (void)co_await sleep_for(1h);
                co_return 1;
            }());
            co_await rounds(3);
            throw std::runtime_error("left");
        };
        auto owned = ctx.spawn(owner(child));
        co_await yield();
        std::error_code ec;
        try {
            (void)co_await child;
        } catch (const std::system_error& error) {
            ec = error.code();
        }
        CHECK(ec == errc::canceled);
        CHECK(co_await thrown_by(std::move(owned)) == "left");
    });
}

REACTOR_TEST("a child that ends while its owner runs, which then throws, is destroyed once") {
    int alive = 0;
    run(kind, [&](io_context&) -> task<> {
        foreign_event happened;
        const auto child = [](foreign_event& what, counted) -> task<> { co_await what; };
        const auto owner = [&]() -> task<> {
            task_group group;
            group.spawn(child(happened, counted(alive)));
            co_await rounds(2);
            happened.set();  // runs the child to its end, within this call
            throw std::runtime_error("left");
        };
        CHECK(co_await thrown_by(owner()) == "left");
        CHECK(alive == 0);
    });
}

REACTOR_TEST("a task that is destroyed by block_on takes its groups' children with it") {
    int alive = 0;
    events log;
    io_context ctx(kind);
    const auto owner = [](counted, int& count, events& to) -> task<> {
        task_group group;
        group.spawn(holds(counted(count)));
        (void)co_await with_timeout(group.join(), 1h);
        to.push_back(1);
    };
    ctx.post([&ctx] { ctx.post([&ctx] { ctx.stop(); }); });
    CHECK_THROWS_AS(ctx.block_on(owner(counted(alive), alive, log)), std::system_error);
    CHECK(alive == 0);
    ctx.run();
    CHECK(log.empty());
}

#endif

// Exceptions that nobody joins ------------------------------------------------------------------

#if CURFEW_EXCEPTIONS

REACTOR_TEST("what left a child comes out of run when its group is never joined") {
    io_context ctx(kind);
    const auto owner = [](const char* what) -> task<> {
        task_group group;
        group.spawn([](const char* text) -> task<> {
            co_await yield();
            throw std::runtime_error(text);
        }(what));
        while (group.size()) co_await yield();
    };
    auto first = ctx.spawn(owner("first"));
    ctx.spawn(owner("second"));
    std::vector<std::string> thrown;
    for (int i = 0; i < 3; ++i) try {
            ctx.run();
        } catch (const std::runtime_error& error) {
            thrown.push_back(error.what());
        }
    CHECK(thrown == std::vector<std::string>{"first", "second"});
    CHECK(first.done());
    // Like that of any other task: see block_on.
    CHECK_THROWS_WITH(ctx.block_on(owner("third")), "third");
}

REACTOR_TEST("what left a child and was joined, or is second to its owner's, is not told again") {
    io_context ctx(kind);
    const auto fail = []() -> task<> {
        co_await yield();
        throw std::runtime_error("child");
    };
    ctx.spawn([](task<> work) -> task<> {
        task_group group;
        group.spawn(std::move(work));
        try {
            co_await group.join();
        } catch (const std::runtime_error&) {}
    }(fail()));
    CHECK(ctx.run() > 0);
    ctx.spawn([](task<> work) -> task<> {
        task_group group;
        group.spawn(std::move(work));
        while (group.size()) co_await yield();
        throw std::runtime_error("owner");
    }(fail()));
    CHECK_THROWS_WITH(ctx.run(), "owner");
    ctx.run();
}

REACTOR_TEST("a failure that is told to nobody goes with its context, or its group after that") {
    int alive = 0;
    struct failure {
        counted one;
    };
    const auto fail = [](int& count) -> task<> {
        co_await yield();
        throw failure{counted(count)};
    };
    {
        io_context ctx(kind);
        // Two that go out of scope in the last turn, and one that does so with the context.
        for (const bool waits : {true, false, false})
            ctx.spawn([](task<> work, bool longer) -> task<> {
                task_group group;
                group.spawn(std::move(work));
                while (group.size()) co_await yield();
                if (longer) (void)co_await sleep_for(1h);
            }(fail(alive), waits));
        CHECK_THROWS_AS(ctx.run(), failure);
        CHECK(alive == 2);
    }
    CHECK(alive == 0);
    {
        std::optional<task_group> group;
        {
            io_context ctx(kind);
            group.emplace(ctx);
            group->spawn(fail(alive));
            while (group->size()) ctx.poll();
        }
        CHECK(alive == 1);
    }
    CHECK(alive == 0);
}

#endif

// Misuse ------------------------------------------------------------------------------------------

#if TEST_CAN_DIE

TEST_CASE("a group that goes out of scope with children is fatal and says so") {
    constexpr int line = __LINE__ + 4;
    const auto end = test::death_of([] {
        io_context ctx;
        ctx.block_on([]() -> task<> {
            task_group group;
            group.spawn([]() -> task<> { (void)co_await sleep_for(1h); }());
            co_await yield();
        }());
    });
    CHECK(
        said_at(end, "a task_group goes out of scope with children: co_await join() first", line));
}

TEST_CASE("a group that is joined twice at the same time is fatal and says so") {
    const auto end = test::death_of([] {
        io_context ctx;
        ctx.block_on([]() -> task<> {
            task_group group;
            group.spawn([]() -> task<> { (void)co_await sleep_for(1h); }());
            (void)co_await when_all(group.join(), group.join());
        }());
    });
    CHECK(end.signal == SIGABRT);
    CHECK(end.said == "curfew: a task_group is joined twice at the same time\n");
}

TEST_CASE("a group made outside a context, without naming one, is fatal and says so") {
    const auto end = test::death_of([] { task_group group; });
    CHECK(end.signal == SIGABRT);
    CHECK(end.said.starts_with("curfew: this_context() outside a running io_context, or "));
}

#endif

REACTOR_TEST("a join goes on waiting for a child that is spawned just before it would go on") {
    run(kind, [](io_context& ctx) -> task<> {
        event now;
        bool ended = false;
        task_group group;
        group.spawn([](event& what) -> task<> { co_await what.wait(); }(now));
        // Behind the child in the queue, and before the one who joins.
        auto late = ctx.spawn([](event& what, task_group& into, bool& end) -> task<> {
            co_await what.wait();
            into.spawn([](bool& last) -> task<> {
                co_await sleep_for(2ms);
                last = true;
            }(end));
        }(now, group, ended));
        ctx.spawn([](event& what) -> task<> {
            co_await sleep_for(1ms);
            what.set();
        }(now));
        co_await group.join();
        CHECK(ended);
        CHECK(group.size() == 0);
        co_await late;
    });
}

#if CURFEW_EXCEPTIONS
REACTOR_TEST("a destructor may spawn into the group with which its task is being destroyed") {
    struct last_words {
        task_group& group;
        ~last_words() {
            group.spawn([]() -> task<> { co_return; }());
        }
    };
    io_context ctx(kind);
    CHECK_THROWS_AS(ctx.block_on([]() -> task<> {
        task_group group;
        group.spawn([](task_group& own) -> task<> {
            const last_words said{own};
            co_await sleep_for(1h);
        }(group));
        co_await sleep_for(1ms);
        throw std::runtime_error("leave");
    }()),
                    std::runtime_error);
    ctx.run();
}

REACTOR_TEST("a group that a destroyed task had handed on can still be joined") {
    io_context ctx(kind);
    bool joined = false;
    CHECK_THROWS_AS(ctx.block_on([](io_context& own, bool& done) -> task<> {
        auto group = std::make_shared<task_group>();
        group->spawn([]() -> task<> { co_await sleep_for(1h); }());
        own.spawn([](std::shared_ptr<task_group> given, bool& end) -> task<> {
            co_await given->join();
            end = true;
        }(group, done));
        group.reset();
        co_await yield();
        own.stop();
        co_await sleep_for(1h);
    }(ctx, joined)),
                    std::system_error);
    ctx.run();
    CHECK(joined);
}
#endif

REACTOR_TEST("a child that is spawned after the limit on the join is cancelled from the start") {
    io_context ctx(kind);
    game_clock game;
    std::vector<std::error_code> seen;
    ctx.spawn([](game_clock& on, std::vector<std::error_code>& to) -> task<> {
        task_group group;
        group.spawn([](task_group& own, std::vector<std::error_code>& log) -> task<> {
            (void)co_await sleep_for(1h);  // until the limit
            own.spawn([](std::vector<std::error_code>& into) -> task<> {
                into.push_back((co_await sleep_for(1h)).ec);
            }(log));
        }(group, to));
        to.push_back((co_await on.with_timeout(group.join(), 1ms)).ec);
        // The next join is a new one.
        group.spawn([](std::vector<std::error_code>& into) -> task<> {
            into.push_back((co_await sleep_for(0ms)).ec);
        }(to));
        to.push_back((co_await group.join()).ec);
    }(game, seen));
    ctx.poll();
    game.advance(1ms);
    ctx.run();
    REQUIRE(seen.size() == 4);
    CHECK(seen[0] == errc::canceled);
    CHECK(seen[1] == errc::timed_out);
    CHECK_FALSE(seen[2]);
    CHECK_FALSE(seen[3]);
}

// Depth -------------------------------------------------------------------------------------------

namespace {

task<result<>> deep_groups(std::size_t left, counted alive) {
    if (left == 0) co_return co_await sleep_for(1h);
    task_group group;
    group.spawn(deep_groups(left - 1, alive));
    co_return co_await group.join();
}

}  // namespace

REACTOR_TEST("groups within groups are cancelled without stack in proportion to their depth") {
    const std::size_t depth = test::scaled(50'000);
    int alive = 0;
    std::error_code ec;
    const bool ran = test::on_small_stack([&] {
        io_context ctx(kind);
        ctx.block_on([](std::size_t n, std::error_code& to, int& begun) -> task<> {
            auto first = this_context().spawn(deep_groups(n, counted(begun)));
            while (begun <= static_cast<int>(n)) co_await yield();  // which takes many turns
            first.cancel();
            to = (co_await first).error();
        }(depth, ec, alive));
    });
    REQUIRE(ran);
    CHECK(ec == errc::canceled);
    CHECK(alive == 0);
}

REACTOR_TEST("groups within groups are destroyed without stack in proportion to their depth") {
    const std::size_t depth = test::scaled(50'000);
    int alive = 0, begun = 0;
    const bool ran = test::on_small_stack([&] {
        io_context ctx(kind);
        ctx.spawn(deep_groups(depth, counted(alive)));
        while (begun != alive) begun = alive, ctx.poll();
    });
    REQUIRE(ran);
    CHECK(begun > static_cast<int>(depth));
    CHECK(alive == 0);
}
