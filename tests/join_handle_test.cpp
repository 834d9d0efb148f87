#include <curfew/join_handle.hpp>

#include <doctest/doctest.h>

#include <memory>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <curfew/curfew.hpp>

#include "support/counted.hpp"
#include "support/effort.hpp"
#include "support/fatal.hpp"
#include "support/reactors.hpp"
#include "support/small_stack.hpp"

using namespace curfew;
using namespace std::chrono_literals;
using test::counted;

static_assert(!std::is_copy_constructible_v<join_handle<int>>);
static_assert(std::is_nothrow_move_constructible_v<join_handle<int>>);

namespace {

using events = std::vector<int>;

task<> note(events& log, int id) {
    log.push_back(id);
    co_return;
}

task<result<>> note_text(std::string& to, const std::string& text) {
    co_await yield();
    to = text;
    co_return {};
}

task<std::error_code> sleep_long() {
    const auto [ec] = co_await sleep_for(1h);
    co_return ec;
}

task<int> answer() {
    co_await yield();
    co_return 42;
}

}  // namespace

// Spawning ----------------------------------------------------------------------------------------

REACTOR_TEST("a spawned task starts in the loop, not in spawn, and in the order of spawning") {
    io_context ctx(kind);
    events log;
    ctx.spawn(note(log, 1));
    ctx.spawn(note(log, 2));
    const auto kept = ctx.spawn(note(log, 3));
    CHECK(log.empty());
    ctx.run();
    CHECK(log == events{1, 2, 3});
    CHECK(kept.done());
}

REACTOR_TEST("a task spawned by a task runs within the same run") {
    io_context ctx(kind);
    events log;
    ctx.spawn([](events& to) -> task<> {
        this_context().spawn(note(to, 2));
        to.push_back(1);
        co_return;
    }(log));
    ctx.run();
    CHECK(log == events{1, 2});
}

REACTOR_TEST("a lambda that is spawned lives, with its captures, as long as its task") {
    io_context ctx(kind);
    int alive = 0;
    std::string heard;
    {
        auto value = ctx.spawn([text = std::string(100, 'x'), own = counted(alive)]() -> task<int> {
            co_await yield();
            co_return static_cast<int>(text.size());
        });
        ctx.spawn([text = std::make_unique<std::string>("moved"), &heard]() -> task<> {
            task_group group;
            group.spawn([&] { return note_text(heard, *text); });
            co_await yield();
            co_await group.join();
        });
        CHECK(alive == 1);
        ctx.run();
        CHECK(heard == "moved");
        CHECK(ctx.block_on([](auto& handle) -> task<int> { co_return co_await handle; }(value)) ==
              100);
    }
    CHECK(alive == 0);
}

REACTOR_TEST("a task whose handle was dropped frees its frame at its end") {
    int alive = 0;
    io_context ctx(kind);
    ctx.spawn([](counted) -> task<> { co_await yield(); }(counted(alive)));
    CHECK(alive == 1);
    ctx.run();
    CHECK(alive == 0);
}

REACTOR_TEST("a task with a handle keeps its value until the handle is gone") {
    int alive = 0;
    io_context ctx(kind);
    {
        const auto handle =
            ctx.spawn([](int& count) -> task<counted> { co_return counted(count); }(alive));
        ctx.run();
        CHECK(handle.done());
        CHECK(alive == 1);
    }
    CHECK(alive == 0);
}

// Awaiting ----------------------------------------------------------------------------------------

REACTOR_TEST("awaiting a handle gives what the task returns") {
    io_context ctx(kind);
    const auto joined = [](io_context& own) -> task<int> {
        auto handle = own.spawn(answer());
        CHECK_FALSE(handle.done());
        const int value = co_await handle;
        CHECK(handle.done());
        co_return value;
    };
    CHECK(ctx.block_on(joined(ctx)) == 42);
}

REACTOR_TEST("awaiting the handle of a task that has ended gives its value at once") {
    io_context ctx(kind);
    auto handle = ctx.spawn(answer());
    ctx.run();
    const auto join = [](join_handle<int>& ended) -> task<int> { co_return co_await ended; };
    auto joining = join(handle);
    CHECK(ctx.block_on(std::move(joining)) == 42);
}

REACTOR_TEST("a handle gives values of every kind: nothing, references, what can only be moved") {
    io_context ctx(kind);
    int there = 1;
    ctx.block_on([](io_context& own, int& target) -> task<> {
        const auto nothing = []() -> task<> { co_await yield(); };
        co_await own.spawn(nothing());

        const auto reference = [](int& to) -> task<int&> { co_return to; };
        (co_await own.spawn(reference(target))) = 7;

        const auto owner = []() -> task<std::unique_ptr<int>> {
            co_return std::make_unique<int>(8);
        };
        const std::unique_ptr<int> owned = co_await own.spawn(owner());
        CHECK(*owned == 8);
    }(ctx, there));
    CHECK(there == 7);
}

REACTOR_TEST("a handle can be moved, and awaited where it has got to") {
    io_context ctx(kind);
    ctx.block_on([](io_context& own) -> task<> {
        auto first = own.spawn(answer());
        join_handle<int> second(std::move(first));
        CHECK(first.done());  // refers to nothing
        join_handle<int> third;
        third = std::move(second);
        CHECK(co_await third == 42);
    }(ctx));
}

REACTOR_TEST("assigning to a handle drops the task it was for, which goes on") {
    io_context ctx(kind);
    events log;
    auto handle = ctx.spawn(note(log, 1));
    handle = ctx.spawn(note(log, 2));
    handle = join_handle<>();
    ctx.run();
    CHECK(log == events{1, 2});
}

REACTOR_TEST("a hundred thousand tasks that join each other in a chain use no stack") {
    int depth = 0;
    const bool ran = test::on_small_stack([&] {
        io_context ctx(kind);
        struct chain {
            static task<int> link(int left) {
                if (left == 0) co_return 0;
                co_return 1 + co_await this_context().spawn(link(left - 1));
            }
        };
        depth = ctx.block_on(chain::link(100'000));
    });
    REQUIRE(ran);
    CHECK(depth == 100'000);
}

namespace {

/// Each keeps the handle of the next in its frame, and joins it.
task<int> joined_chain(std::size_t left, counted alive) {
    if (left == 0) {
        const auto [ec] = co_await sleep_for(1h);
        co_return ec == errc::canceled ? 1 : 0;
    }
    auto next = this_context().spawn(joined_chain(left - 1, alive));
    co_return 1 + co_await next;
}

}  // namespace

REACTOR_TEST("a deep chain of tasks that join each other is cancelled without stack") {
    const std::size_t depth = test::scaled(100'000);
    int ended = 0, alive = 0;
    const bool ran = test::on_small_stack([&] {
        io_context ctx(kind);
        ctx.block_on([](std::size_t n, int& to, int& begun) -> task<> {
            auto first = this_context().spawn(joined_chain(n, counted(begun)));
            while (begun <= static_cast<int>(n)) co_await yield();  // which takes many turns
            first.cancel();
            to = co_await first;
        }(depth, ended, alive));
    });
    REQUIRE(ran);
    CHECK(ended == static_cast<int>(depth) + 1);
    CHECK(alive == 0);
}

REACTOR_TEST("a deep chain of tasks that join each other is destroyed without stack") {
    const std::size_t depth = test::scaled(100'000);
    int alive = 0, begun = 0;
    const bool ran = test::on_small_stack([&] {
        io_context ctx(kind);
        ctx.spawn(joined_chain(depth, counted(alive)));
        while (begun != alive) begun = alive, ctx.poll();
    });
    REQUIRE(ran);
    CHECK(begun > static_cast<int>(depth));
    CHECK(alive == 0);
}

REACTOR_TEST("tasks that each hold the last handle of the one before are freed without stack") {
    const std::size_t length = test::scaled(100'000);
    int sum = 0, alive = 0;
    const bool ran = test::on_small_stack([&] {
        io_context ctx(kind);
        struct chain {
            static task<int> link(join_handle<int> before, counted) {
                co_return 1 + co_await before;
            }
        };
        join_handle<int> last = ctx.spawn([]() -> task<int> { co_return 0; }());
        for (std::size_t i = 0; i < length; ++i)
            last = ctx.spawn(chain::link(std::move(last), counted(alive)));
        ctx.run();
        sum = ctx.block_on(
            [](join_handle<int>& joined) -> task<int> { co_return co_await joined; }(last));
    });
    REQUIRE(ran);
    CHECK(sum == static_cast<int>(length));
    CHECK(alive == 0);
}

// Cancelling --------------------------------------------------------------------------------------

REACTOR_TEST("cancelling a handle ends what the task waits for; the task runs on") {
    io_context ctx(kind);
    events log;
    ctx.block_on([](io_context& own, events& to) -> task<> {
        auto handle = own.spawn([](events& seen) -> task<std::error_code> {
            const auto [ec] = co_await sleep_for(1h);
            seen.push_back(1);
            co_return ec;
        }(to));
        co_await yield();
        CHECK_FALSE(handle.done());
        handle.cancel();
        handle.cancel();  // once is enough, twice does no harm
        CHECK_FALSE(handle.done());
        CHECK(co_await handle == errc::canceled);
    }(ctx, log));
    CHECK(log == events{1});
}

REACTOR_TEST("all that a cancelled task starts from then on ends with canceled") {
    io_context ctx(kind);
    const auto work = []() -> task<int> {
        int canceled = 0;
        for (int i = 0; i < 5; ++i) {
            const auto [ec] = co_await sleep_for(1h);
            if (ec == errc::canceled) ++canceled;
        }
        const auto [yielded] = co_await yield();
        if (yielded == errc::canceled) ++canceled;
        co_return canceled;
    };
    const auto cancel = [](io_context& own, task<int> to_cancel) -> task<int> {
        auto handle = own.spawn(std::move(to_cancel));
        co_await yield();
        handle.cancel();
        co_return co_await handle;
    };
    CHECK(ctx.block_on(cancel(ctx, work())) == 6);
}

REACTOR_TEST("a task cancelled before it has started starts, cancelled") {
    io_context ctx(kind);
    auto handle = ctx.spawn(sleep_long());
    handle.cancel();
    ctx.run();
    CHECK(handle.done());
    const auto join = [](join_handle<std::error_code>& ended) -> task<std::error_code> {
        co_return co_await ended;
    };
    CHECK(ctx.block_on(join(handle)) == errc::canceled);
}

REACTOR_TEST("a task may cancel itself") {
    io_context ctx(kind);
    join_handle<std::error_code> handle;
    const auto work = [](join_handle<std::error_code>& own) -> task<std::error_code> {
        own.cancel();
        const auto [ec] = co_await sleep_for(1h);
        co_return ec;
    };
    handle = ctx.spawn(work(handle));
    ctx.run();
    CHECK(handle.done());
}

REACTOR_TEST("cancelling a task that has ended, or none, does nothing") {
    io_context ctx(kind);
    auto handle = ctx.spawn(answer());
    ctx.run();
    handle.cancel();
    const auto join = [](join_handle<int>& ended) -> task<int> { co_return co_await ended; };
    CHECK(ctx.block_on(join(handle)) == 42);
    join_handle<int>().cancel();
    CHECK(join_handle<int>().done());
}

REACTOR_TEST("what completed before the cancellation is not cancelled") {
    io_context ctx(kind);
    const auto past = curfew::clock::now() - 1s;
    ctx.block_on([](io_context& own, curfew::clock::time_point due) -> task<> {
        const auto sleeper = [](curfew::clock::time_point until) -> task<std::error_code> {
            const auto [ec] = co_await sleep_until(until);
            co_return ec;
        };
        auto handle = own.spawn(sleeper(due));
        (void)co_await sleep_until(due - 1s);  // both expire together, this one first
        CHECK_FALSE(handle.done());
        handle.cancel();
        const std::error_code ec = co_await handle;
        CHECK_FALSE(ec);
    }(ctx, past));
}

REACTOR_TEST("who is cancelled while awaiting a handle passes it on, and waits for the end") {
    io_context ctx(kind);
    events log;
    ctx.block_on([](io_context& own, events& to) -> task<> {
        auto outer = own.spawn([](io_context& context, events& seen) -> task<> {
            const auto inner = [](events& inner_log) -> task<std::error_code> {
                const auto [ec] = co_await sleep_for(1h);
                (void)co_await shielded(sleep_for(1ms));  // takes its time to clean up
                inner_log.push_back(1);
                co_return ec;
            };
            const std::error_code ec = co_await context.spawn(inner(seen));
            CHECK(ec == errc::canceled);
            seen.push_back(2);
        }(own, to));
        co_await yield();
        co_await yield();
        outer.cancel();
        co_await outer;
        to.push_back(3);
    }(ctx, log));
    CHECK(log == events{1, 2, 3});
}

REACTOR_TEST("a cancelled task that awaits a handle cancels that task at once") {
    io_context ctx(kind);
    const auto outer = [](io_context& own) -> task<std::error_code> {
        (void)co_await sleep_for(1h);  // ends with the cancellation
        co_return co_await own.spawn(sleep_long());
    };
    const auto cancel = [&](io_context& own) -> task<std::error_code> {
        auto handle = own.spawn(outer(own));
        co_await yield();
        handle.cancel();
        co_return co_await handle;
    };
    CHECK(ctx.block_on(cancel(ctx)) == errc::canceled);
}

#if CURFEW_EXCEPTIONS
REACTOR_TEST("a task goes on when the one that awaits it is destroyed") {
    io_context ctx(kind);
    events log;
    join_handle<> child;
    const auto child_work = [](events& to) -> task<> {
        const auto [ec] = co_await sleep_for(1h);
        to.push_back(ec == errc::canceled);
        co_return;
    };
    child = ctx.spawn(child_work(log));
    const auto waits = [](join_handle<>& awaited) -> task<> { co_await awaited; };
    ctx.post([&] { ctx.stop(); });
    CHECK_THROWS_AS(ctx.block_on(waits(child)), std::system_error);
    ctx.run();
    CHECK(log == events{1});  // destroying who awaits it has cancelled it
    CHECK(child.done());
}
#endif

// Exceptions --------------------------------------------------------------------------------------

#if CURFEW_EXCEPTIONS

namespace {

task<int> fails(const char* why) {
    co_await yield();
    throw std::runtime_error(why);
}

/// What run() throws; empty if nothing.
std::string thrown_by_run(io_context& ctx) {
    try {
        ctx.run();
    } catch (const std::runtime_error& error) {
        return error.what();
    }
    return {};
}

task<std::string> caught_from(join_handle<int>& handle) {
    std::string message;
    try {
        (void)co_await handle;
    } catch (const std::runtime_error& error) {
        message = error.what();
    }
    co_return message;
}

}  // namespace

REACTOR_TEST("an exception comes out of the co_await of the handle, and of nothing else") {
    io_context ctx(kind);
    auto handle = ctx.spawn(fails("joined"));
    CHECK(ctx.block_on(caught_from(handle)) == "joined");
    CHECK(thrown_by_run(ctx).empty());
}

REACTOR_TEST("an exception of an ended task comes out of a later co_await of the handle") {
    io_context ctx(kind);
    ctx.block_on([](io_context& own) -> task<> {
        auto handle = own.spawn(fails("before"));
        while (!handle.done()) co_await yield();
        CHECK(co_await caught_from(handle) == "before");
    }(ctx));
    CHECK(thrown_by_run(ctx).empty());
}

REACTOR_TEST("an exception of a task whose handle was dropped comes out of run at once") {
    io_context ctx(kind);
    auto waits = ctx.spawn(sleep_long());
    ctx.spawn(fails("dropped"));
    CHECK(thrown_by_run(ctx) == "dropped");
    CHECK_FALSE(waits.done());  // run has not waited for the others
    waits.cancel();
    CHECK(thrown_by_run(ctx).empty());  // and says it once
    CHECK(waits.done());
}

REACTOR_TEST("an exception that nobody awaits comes out of run when nothing is left to do") {
    io_context ctx(kind);
    events log;
    const auto handle = ctx.spawn(fails("unclaimed"));
    ctx.spawn([](events& to) -> task<> {
        for (int i = 0; i < 10; ++i) co_await yield();
        (void)co_await sleep_for(1ms);
        to.push_back(1);
    }(log));
    CHECK(thrown_by_run(ctx) == "unclaimed");
    CHECK(log == events{1});  // the others have come to their end
    CHECK(thrown_by_run(ctx).empty());
}

REACTOR_TEST("an exception whose handle is dropped afterwards comes out of the next run") {
    io_context ctx(kind);
    auto waits = ctx.spawn(sleep_long());
    {
        const auto handle = ctx.spawn(fails("late"));
        while (!handle.done()) ctx.poll();
    }
    CHECK(thrown_by_run(ctx) == "late");
    waits.cancel();
    CHECK(thrown_by_run(ctx).empty());
}

REACTOR_TEST("of several exceptions each run throws one, in the order of the ends") {
    io_context ctx(kind);
    for (const char* why : {"first", "second", "third"}) ctx.spawn(fails(why));
    CHECK(thrown_by_run(ctx) == "first");
    CHECK(thrown_by_run(ctx) == "second");
    CHECK(thrown_by_run(ctx) == "third");
    CHECK(thrown_by_run(ctx).empty());
}

REACTOR_TEST("an exception destroys the locals of its task before anybody sees it") {
    int alive = 0;
    io_context ctx(kind);
    ctx.spawn([](counted) -> task<> {
        co_await yield();
        throw std::runtime_error("why");
    }(counted(alive)));
    CHECK(thrown_by_run(ctx) == "why");
    CHECK(alive == 0);
}

REACTOR_TEST("a context destroyed with an exception that nobody has seen just drops it") {
    int alive = 0;
    {
        io_context ctx(kind);
        const auto throws = [](counted) -> task<> {
            throw std::runtime_error("never seen");
            co_return;
        };
        const auto kept = ctx.spawn(throws(counted(alive)));
        ctx.spawn(throws(counted(alive)));
        CHECK_THROWS(ctx.poll());
        CHECK(kept.done());
        CHECK(alive == 1);
    }
    CHECK(alive == 0);
}

#endif

// Handles that outlive their context --------------------------------------------------------------

REACTOR_TEST("a handle that outlives its context is done, and harmless") {
    join_handle<std::error_code> never_ended;
    join_handle<int> ended;
    {
        io_context ctx(kind);
        never_ended = ctx.spawn(sleep_long());
        ended = ctx.spawn(answer());
        ctx.run_for(1ms);
        CHECK_FALSE(never_ended.done());
    }
    CHECK(never_ended.done());
    CHECK(ended.done());
    never_ended.cancel();
    ended.cancel();
}

#if CURFEW_EXCEPTIONS
REACTOR_TEST("awaiting a handle whose context is gone throws canceled") {
    join_handle<int> orphan;
    {
        io_context ctx(kind);
        orphan = ctx.spawn(answer());
    }
    io_context other(kind);
    const auto join = [](join_handle<int>& handle) -> task<int> { co_return co_await handle; };
    std::error_code ec;
    try {
        (void)other.block_on(join(orphan));
    } catch (const std::system_error& error) {
        ec = error.code();
    }
    CHECK(ec == errc::canceled);
}
#endif

#if CURFEW_EXCEPTIONS
REACTOR_TEST(
    "who awaits a handle when its context is destroyed goes on, in a context of their own") {
    io_context own(kind);
    auto gone = std::make_unique<io_context>(kind);
    const auto join = [](join_handle<int> handle, io_context& at_home) -> task<std::error_code> {
        std::error_code ec;
        try {
            (void)co_await handle;
        } catch (const std::system_error& error) {
            ec = error.code();
        }
        CHECK(&this_context() == &at_home);
        co_return ec;
    };
    const auto sleeps = []() -> task<int> {
        (void)co_await sleep_for(1h);
        co_return 1;
    };
    auto ends_with_context = own.spawn(join(gone->spawn(sleeps()), own));
    // The child of a group that is killed by an exception of its owner.
    join_handle<int> child;
    gone->spawn([](join_handle<int>& out, task<int> work) -> task<> {
        task_group group;
        out = group.spawn(std::move(work));
        (void)co_await sleep_for(1ms);
        throw std::runtime_error("the group's owner fails");
    }(child, sleeps()));
    while (gone->poll() > 0) {}
    auto ends_with_group = own.spawn(join(std::move(child), own));
    while (own.poll() > 0) {}
    CHECK_THROWS_AS(gone->run(), std::runtime_error);
    CHECK(own.block_on([](auto& handle) -> task<std::error_code> {
        co_return co_await handle;
    }(ends_with_group)) == errc::canceled);
    CHECK_FALSE(ends_with_context.done());
    gone.reset();
    while (own.poll() > 0) {}
    REQUIRE(ends_with_context.done());
    CHECK(own.block_on([](auto& handle) -> task<std::error_code> {
        co_return co_await handle;
    }(ends_with_context)) == errc::canceled);
}
#endif

#if !CURFEW_EXCEPTIONS && TEST_CAN_DIE
REACTOR_TEST("without exceptions, awaiting a handle whose context is gone is fatal and says so") {
    const auto end = test::death_of([kind] {
        join_handle<int> orphan;
        {
            io_context ctx(kind);
            orphan = ctx.spawn(answer());
        }
        io_context other(kind);
        (void)other.block_on(
            [](join_handle<int>& handle) -> task<int> { co_return co_await handle; }(orphan));
    });
    CHECK(end.signal == SIGABRT);
    CHECK(end.said.find("curfew::join_handle: ") != std::string::npos);
    CHECK(end.said.find(make_error_code(errc::canceled).message()) != std::string::npos);
}
#endif

// Misuse ------------------------------------------------------------------------------------------

#if TEST_CAN_DIE

TEST_CASE("awaiting an empty handle is fatal and says so") {
    const auto end = test::death_of([] {
        io_context ctx;
        ctx.block_on([]() -> task<> {
            join_handle<> empty;
            co_await empty;
        }());
    });
    CHECK(end.signal == SIGABRT);
    CHECK(end.said == "curfew: an empty join_handle is awaited\n");
}

TEST_CASE("awaiting a handle twice is fatal and says so") {
    const auto end = test::death_of([] {
        io_context ctx;
        ctx.block_on([](io_context& own) -> task<> {
            auto handle = own.spawn(answer());
            (void)co_await handle;
            (void)co_await handle;
        }(ctx));
    });
    CHECK(end.signal == SIGABRT);
    CHECK(end.said == "curfew: a join_handle is awaited twice\n");
}

TEST_CASE("spawning a task that is none is fatal and says so") {
    const auto end = test::death_of([] {
        io_context ctx;
        ctx.spawn(task<>());
    });
    CHECK(end.signal == SIGABRT);
    CHECK(end.said == "curfew: an empty task is awaited: it was moved from or never made\n");
}

#endif

REACTOR_TEST("joining under two limits says timed_out, as awaiting the task itself would") {
    io_context context(kind);
    context.block_on([](io_context& ctx) -> task<> {
        auto work = []() -> task<result<>> {
            const auto slept = co_await sleep_for(1h);
            co_await shielded(sleep_for(20ms));
            co_return slept;
        };
        auto inner = [](task<result<>> run, io_context& own) -> task<result<>> {
            auto handle = own.spawn(std::move(run));
            const auto limited = co_await with_timeout(handle, 2ms);
            CHECK(limited.ec == errc::timed_out);
            co_return limited;
        };
        const auto outer = co_await with_timeout(inner(work(), ctx), 8ms);
        CHECK(outer.ec == errc::timed_out);
    }(context));
}

// Cancelling --------------------------------------------------------------------------------------

REACTOR_TEST("a task that is cancelled while it runs is told so by what it awaits next") {
    io_context ctx(kind);
    join_handle<> self;
    std::vector<std::error_code> seen;
    self = ctx.spawn([](join_handle<>& own, std::vector<std::error_code>& to) -> task<> {
        { to.push_back((co_await sleep_for(1ms)).ec); }
        co_await when_all(yield(), yield());
        own.cancel();  // what it has waited for is over, and must not be cancelled once more
        to.push_back((co_await sleep_for(1h)).ec);
    }(self, seen));
    ctx.run();
    REQUIRE(seen.size() == 2);
    CHECK_FALSE(seen[0]);
    CHECK(seen[1] == errc::canceled);
}

REACTOR_TEST("a limit on the join of a task that was cancelled before has cut nothing short") {
    io_context ctx(kind);
    game_clock game;
    event clean;
    auto cancelled = ctx.spawn([](event& until) -> task<> {
        (void)co_await sleep_for(1h);
        co_await shielded(until.wait());
    }(clean));
    ctx.poll();
    cancelled.cancel();
    ctx.poll();  // it has noticed, and cleans up
    std::error_code seen = errc::eof;
    ctx.spawn([](game_clock& on, join_handle<>& joined, std::error_code& to) -> task<> {
        to = (co_await on.with_timeout(joined, 1ms)).ec;
    }(game, cancelled, seen));
    ctx.poll();
    game.advance(1ms);
    ctx.poll();
    CHECK(seen == errc::eof);  // it still waits
    clean.set();
    ctx.run();
    CHECK_FALSE(seen);

    // One that was not is cut short by the limit.
    auto other = ctx.spawn([]() -> task<> { (void)co_await sleep_for(1h); }());
    ctx.spawn([](game_clock& on, join_handle<>& joined, std::error_code& to) -> task<> {
        to = (co_await on.with_timeout(joined, 1ms)).ec;
    }(game, other, seen));
    ctx.poll();
    game.advance(1ms);
    ctx.run();
    CHECK(seen == errc::timed_out);
}
