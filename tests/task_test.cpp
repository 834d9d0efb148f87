#include <curfew/task.hpp>

#include <curfew/io_context.hpp>
#include <curfew/sleep.hpp>
#include <doctest/doctest.h>

#include <coroutine>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "support/counted.hpp"
#include "support/fatal.hpp"
#include "support/foreign.hpp"

using curfew::task;
using test::counted;
using test::detached;

static_assert(!std::is_copy_constructible_v<task<>>);
static_assert(!std::is_copy_assignable_v<task<>>);
static_assert(std::is_nothrow_move_constructible_v<task<int>>);
static_assert(std::is_nothrow_move_assignable_v<task<int>>);
static_assert(std::is_same_v<task<int>::value_type, int>);
static_assert(std::is_same_v<task<>, task<void>>);

namespace {

/// Runs a task that needs no loop to its end.
template <class T>
T value_of(task<T> work) {
    std::optional<T> value;
    [](task<T>& awaited, std::optional<T>& to) -> detached { to.emplace(co_await awaited); }(work,
                                                                                             value);
    return std::move(value).value();
}

struct no_default {
    explicit no_default(int n) : number(n) {}
    int number;
};

struct movable_only {
    explicit movable_only(int n) : number(n) {}
    movable_only(movable_only&&) = default;
    movable_only& operator=(movable_only&&) = delete;
    int number;
};

task<int> forty_two() { co_return 42; }

}  // namespace

TEST_CASE("a task does nothing until it is awaited") {
    bool begun = false;
    const auto work = [](bool& flag) -> task<> {
        flag = true;
        co_return;
    };
    auto lazy = work(begun);
    CHECK_FALSE(begun);
    [](task<>& awaited) -> detached { co_await awaited; }(lazy);
    CHECK(begun);
}

TEST_CASE("a moved task is the same task") {
    auto first = forty_two();
    task<int> second(std::move(first));
    task<int> third;
    third = std::move(second);
    CHECK(value_of(std::move(third)) == 42);
}

TEST_CASE("assigning to a task destroys what it was") {
    int alive = 0;
    const auto hold = [](counted) -> task<> { co_return; };
    auto work = hold(counted(alive));
    CHECK(alive == 1);
    work = task<>();
    CHECK(alive == 0);
}

TEST_CASE("a task moved onto itself stays what it was") {
    auto work = forty_two();
    auto& same = work;
    work = std::move(same);
    CHECK(value_of(std::move(work)) == 42);
}

TEST_CASE("a task that is never awaited frees its frame with its arguments") {
    int alive = 0;
    {
        const auto hold = [](counted, std::unique_ptr<counted>) -> task<> { co_return; };
        auto never = hold(counted(alive), std::make_unique<counted>(alive));
        CHECK(alive == 2);
    }
    CHECK(alive == 0);
}

TEST_CASE("a task that has ended frees its arguments, locals and value with itself") {
    int alive = 0;
    int at_the_end = 0;
    [](int& count, int& seen) -> detached {
        const auto work = [](counted argument) -> task<counted> {
            counted local(argument);
            co_return local;
        };
        {
            auto ended = work(counted(count));
            const counted value = co_await ended;
            seen = count;
        }
    }(alive, at_the_end);
    CHECK(at_the_end >= 2);  // the argument and the value, at least
    CHECK(alive == 0);
}

TEST_CASE("a task that is destroyed while it is suspended frees what it holds") {
    int alive = 0;
    std::vector<int> log;
    test::foreign_event never;
    {
        const auto inner = [](test::foreign_event& event, counted) -> task<> { co_await event; };
        const auto outer = [&](counted, task<> awaited) -> task<> {
            co_await awaited;
            log.push_back(1);
        };
        auto work = outer(counted(alive), inner(never, counted(alive)));
        auto awaiter = work.operator co_await();
        awaiter.await_suspend(std::noop_coroutine());  // runs it up to its suspension
        CHECK(alive == 2);
    }
    CHECK(alive == 0);
    CHECK(log.empty());
}

// Values ------------------------------------------------------------------------------------------

TEST_CASE("a task gives what it returns") {
    CHECK(value_of(forty_two()) == 42);
    CHECK(value_of([]() -> task<std::string> { co_return "text"; }()) == "text");
    CHECK(value_of([]() -> task<std::vector<int>> {
              co_return {1, 2, 3};
          }()) == std::vector<int>{1, 2, 3});
    CHECK(value_of([]() -> task<double> { co_return 1; }()) == 1.0);
}

TEST_CASE("a value need not have a default") {
    CHECK(value_of([]() -> task<no_default> { co_return no_default(7); }()).number == 7);
}

TEST_CASE("a value may be of a type that can only be moved") {
    CHECK(value_of([]() -> task<movable_only> { co_return movable_only(8); }()).number == 8);
    CHECK(*value_of([]() -> task<std::unique_ptr<int>> { co_return std::make_unique<int>(9); }()) ==
          9);
}

TEST_CASE("a local that is returned is moved out") {
    const auto work = []() -> task<std::unique_ptr<int>> {
        auto local = std::make_unique<int>(3);
        co_return local;
    };
    CHECK(*value_of(work()) == 3);
}

TEST_CASE("a task may return a reference to what lives elsewhere") {
    int there = 1;
    [](int& target) -> detached {
        const auto work = [](int& to) -> task<int&> { co_return to; };
        int& same = co_await work(target);
        same = 5;
        const auto constant = [](const int& to) -> task<const int&> { co_return to; };
        auto&& constant_same = co_await constant(target);
        static_assert(std::is_same_v<decltype(constant_same), const int&>);
        CHECK(&constant_same == &target);
    }(there);
    CHECK(there == 5);
}

TEST_CASE("what a task awaits is done before it goes on") {
    std::vector<int> log;
    const auto inner = [&]() -> task<> {
        log.push_back(2);
        co_return;
    };
    const auto outer = [&]() -> task<> {
        log.push_back(1);
        co_await inner();
        log.push_back(3);
        co_await inner();
        log.push_back(4);
    };
    [](task<> work) -> detached { co_await work; }(outer());
    CHECK(log == std::vector<int>{1, 2, 3, 2, 4});
}

// Exceptions --------------------------------------------------------------------------------------

#if CURFEW_EXCEPTIONS

namespace {

template <class T>
std::string thrown_by(task<T> work) {
    std::string message;
    [](task<T>& awaited, std::string& to) -> detached {
        try {
            (void)co_await awaited;
        } catch (const std::runtime_error& error) {
            to = error.what();
        }
    }(work, message);
    return message;
}

task<int> fails(const char* why) {
    throw std::runtime_error(why);
    co_return 1;
}

}  // namespace

TEST_CASE("an exception comes out of the co_await") {
    CHECK(thrown_by(fails("broken")) == "broken");
    int target = 0;
    const auto reference = [](int& to) -> task<int&> {
        throw std::runtime_error("no reference");
        co_return to;
    };
    CHECK(thrown_by(reference(target)) == "no reference");
    CHECK(thrown_by([]() -> task<no_default> {
              throw std::runtime_error("no value");
              co_return no_default(1);
          }()) == "no value");
}

TEST_CASE("an exception passes through tasks that do not catch it, and destroys their locals") {
    int alive = 0;
    const auto middle = [&]() -> task<int> {
        const counted local(alive);
        co_return co_await fails("deep");
    };
    const auto outer = [&]() -> task<int> {
        const counted local(alive);
        co_return 1 + co_await middle();
    };
    CHECK(thrown_by(outer()) == "deep");
    CHECK(alive == 0);
}

TEST_CASE("a task may catch what the one it awaits throws, and go on") {
    const auto work = []() -> task<int> {
        try {
            co_return co_await fails("caught");
        } catch (const std::runtime_error&) {}
        co_return co_await forty_two();
    };
    CHECK(value_of(work()) == 42);
}

TEST_CASE("an awaiter is awaited where it stands, and need not be copied or moved") {
    struct pinned {
        std::coroutine_handle<>& waiter;
        const pinned* where = this;
        explicit pinned(std::coroutine_handle<>& to) : waiter(to) {}
        pinned(const pinned&) = delete;
        bool await_ready() const { return false; }
        void await_suspend(std::coroutine_handle<> coroutine) { waiter = coroutine; }
        int await_resume() const { return where == this ? 7 : 0; }
    };
    std::coroutine_handle<> waiter;
    pinned lvalue(waiter);
    int got = 0;
    const auto work = [&]() -> task<int> {
        const int first = co_await lvalue;
        const int second = co_await pinned(waiter);
        co_return 10 * first + second;
    };
    [](task<int> awaited, int& to) -> detached { to = co_await awaited; }(work(), got);
    for (int i = 0; i < 2; ++i) {
        REQUIRE(waiter);
        std::exchange(waiter, nullptr).resume();
    }
    CHECK(got == 77);
}

TEST_CASE("an exception thrown after a suspension comes out of the co_await too") {
    test::foreign_event event;
    std::string message;
    const auto work = [&]() -> task<> {
        co_await event;
        throw std::runtime_error("later");
    };
    [](task<> awaited, std::string& to) -> detached {
        try {
            co_await awaited;
        } catch (const std::runtime_error& error) {
            to = error.what();
        }
    }(work(), message);
    CHECK(message.empty());
    event.set();
    CHECK(message == "later");
}

TEST_CASE("a value whose copy throws ends the task with that exception") {
    struct uncopyable {
        uncopyable() = default;
        uncopyable(const uncopyable&) { throw std::runtime_error("no copy"); }
    };
    const auto work = []() -> task<uncopyable> {
        static const uncopyable original;
        co_return original;
    };
    CHECK(thrown_by(work()) == "no copy");
}

#endif

// Misuse ------------------------------------------------------------------------------------------

TEST_CASE("a task may return a constant") {
    const auto text = []() -> task<const std::string> { co_return "constant"; };
    const auto number = []() -> task<const int> { co_return 42; };
    curfew::io_context ctx;
    CHECK(ctx.block_on(text()) == "constant");
    CHECK(ctx.block_on(
              [](task<const int> work) -> task<int> { co_return co_await work; }(number())) == 42);
}

#if TEST_CAN_DIE

TEST_CASE("awaiting a task twice is fatal and says so") {
    const auto end = test::death_of([] {
        auto work = forty_two();
        [](task<int>& awaited) -> detached {
            (void)co_await awaited;
            (void)co_await awaited;
        }(work);
    });
    CHECK(end.signal == SIGABRT);
    CHECK(end.said == "curfew: a task is awaited twice\n");
}

TEST_CASE("awaiting a task that another one waits for is fatal and says so") {
    const auto end = test::death_of([] {
        test::foreign_event never;
        auto work = [](test::foreign_event& event) -> task<> { co_await event; }(never);
        const auto wait_for = [](task<>& awaited) -> detached { co_await awaited; };
        wait_for(work);
        wait_for(work);
    });
    CHECK(end.signal == SIGABRT);
    CHECK(end.said == "curfew: a task is awaited twice\n");
}

TEST_CASE("a task that awaits another one twice is told where") {
    constexpr int line = __LINE__ + 5;
    const auto end = test::death_of([] {
        curfew::io_context ctx;
        ctx.block_on([]() -> task<> {
            auto work = forty_two();
            for (int i = 0; i < 2; ++i) (void)co_await work;
        }());
    });
    CHECK(said_at(end, "a task is awaited twice", line));
}

#if defined(__GNUC__)  // clang warns of it
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wreturn-type"
#endif
TEST_CASE("a task without its co_return is fatal, and says after which co_await") {
    const auto forget = [](bool at_once) -> task<std::string> {
        if (at_once) co_return "x";
        co_await curfew::yield();
    };
    constexpr int line = __LINE__ - 2;
    CHECK(said_at(test::death_of([&] { curfew::io_context().block_on(forget(false)); }),
                  "co_return is missing", line));
    const auto forget_reference = [](int* at_once) -> task<int&> {
        if (at_once) co_return *at_once;
        co_await curfew::yield();
    };
    constexpr int line_of_reference = __LINE__ - 2;
    CHECK(said_at(test::death_of([&] { curfew::io_context().block_on(forget_reference(nullptr)); }),
                  "co_return is missing", line_of_reference));
}

#if defined(__GNUC__)
#pragma GCC diagnostic pop
#endif

TEST_CASE("awaiting a task that is none is fatal and says so") {
    const auto message = "curfew: an empty task is awaited: it was moved from or never made\n";
    const auto never_made =
        test::death_of([] { [](task<> empty) -> detached { co_await empty; }(task<>()); });
    CHECK(never_made.signal == SIGABRT);
    CHECK(never_made.said == message);
    const auto moved_from = test::death_of([] {
        auto work = forty_two();
        const auto elsewhere = std::move(work);
        [](task<int>& empty) -> detached { (void)co_await empty; }(work);
    });
    CHECK(moved_from.signal == SIGABRT);
    CHECK(moved_from.said == message);
}

#endif
