#include <curfew/core/trampoline.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <coroutine>
#include <optional>
#include <vector>

#include <curfew/task.hpp>

#include "support/foreign.hpp"
#include "support/small_stack.hpp"

using curfew::task;
using curfew::detail::this_thread;
using curfew::detail::transfer_to;
using test::detached;
using test::foreign_event;
using test::foreign_task;

namespace {

constexpr int a_million = 1'000'000;

using events = std::vector<int>;

/// Runs a task that needs no loop to its end.
template <class T>
T value_of(task<T> work) {
    std::optional<T> value;
    [](task<T>& awaited, std::optional<T>& to) -> detached { to.emplace(co_await awaited); }(work,
                                                                                             value);
    return value.value();
}

task<int> depth(int n) {
    if (n == 0) co_return 0;
    co_return 1 + co_await depth(n - 1);
}

task<int> one() { co_return 1; }

task<int> sum_of_ones(int count) {
    int sum = 0;
    for (int i = 0; i < count; ++i) sum += co_await one();
    co_return sum;
}

}  // namespace

TEST_CASE("a chain of a million tasks that await each other uses no stack") {
    int result = 0;
    REQUIRE(test::on_small_stack([&] { result = value_of(depth(a_million)); }));
    CHECK(result == a_million);
}

TEST_CASE("a million tasks awaited one after the other use no stack") {
    int result = 0;
    REQUIRE(test::on_small_stack([&] { result = value_of(sum_of_ones(a_million)); }));
    CHECK(result == a_million);
}

#if CURFEW_EXCEPTIONS
namespace {

task<int> throw_from(int n) {
    if (n == 0) throw 42;
    co_return 1 + co_await throw_from(n - 1);
}

}  // namespace

TEST_CASE("an exception that passes through a hundred thousand tasks uses no stack") {
    int caught = 0;
    REQUIRE(test::on_small_stack([&] {
        [](int& to) -> detached {
            try {
                co_await throw_from(100'000);
            } catch (int thrown) {
                to = thrown;
            }
        }(caught);
    }));
    CHECK(caught == 42);
}
#endif

// Other coroutine types ---------------------------------------------------------------------------

namespace {

task<int> ours(int n);

foreign_task<int> theirs(int n) {
    if (n == 0) co_return 0;
    co_return 1 + co_await ours(n - 1);
}

task<int> ours(int n) {
    if (n == 0) co_return 0;
    co_return 1 + co_await theirs(n - 1);
}

}  // namespace

TEST_CASE("tasks and coroutines of another type can await each other in turn, without stack") {
    int result = 0;
    REQUIRE(test::on_small_stack([&] { result = value_of(ours(200'000)); }));
    CHECK(result == 200'000);
}

TEST_CASE("a coroutine of another type, begun outside any loop, gets a task's value at once") {
    int result = 0;
    [](int& to) -> detached { to = co_await one() + co_await depth(3); }(result);
    CHECK(result == 4);
    CHECK_FALSE(this_thread().on_trampoline);
    CHECK(this_thread().next == nullptr);
}

namespace {

task<> wait_for(foreign_event& event, events& log, int id) {
    co_await event;
    log.push_back(id);
}

detached await_and_log(task<> awaited, events& log, int id) {
    co_await awaited;
    log.push_back(id);
}

}  // namespace

TEST_CASE("resumed from outside, a task passes control on to who awaits it") {
    foreign_event event;
    events log;
    await_and_log(wait_for(event, log, 1), log, 2);
    CHECK(log.empty());
    event.set();
    CHECK(log == events{1, 2});
    CHECK_FALSE(this_thread().on_trampoline);
}

TEST_CASE("several tasks resumed in a row from outside all get to their end") {
    foreign_event event;
    events log;
    for (int i = 1; i <= 5; ++i) await_and_log(wait_for(event, log, i), log, 10 * i);
    event.set();
    CHECK(log == events{1, 10, 2, 20, 3, 30, 4, 40, 5, 50});
}

TEST_CASE("several tasks resumed in a row by a task all get to their end, and so does that one") {
    foreign_event event;
    events log;
    for (int i = 1; i <= 5; ++i) await_and_log(wait_for(event, log, i), log, 10 * i);
    const auto setter = [](foreign_event& to_set, events& to) -> task<> {
        co_await one();  // it runs on a trampoline from here on
        to_set.set();
        to.push_back(100);
        co_await one();
        to.push_back(101);
    };
    await_and_log(setter(event, log), log, 102);

    std::vector<int> sorted = log;
    std::sort(sorted.begin(), sorted.end());
    CHECK(sorted == events{1, 2, 3, 4, 5, 10, 20, 30, 40, 50, 100, 101, 102});
    // Each in its own order.
    const auto place = [&](int id) { return std::find(log.begin(), log.end(), id) - log.begin(); };
    for (int i = 1; i <= 5; ++i) CHECK(place(i) < place(10 * i));
    CHECK(place(100) < place(101));
    CHECK(place(101) < place(102));
    CHECK(place(5) < place(100));  // set() had resumed them all when it returned
    CHECK_FALSE(this_thread().on_trampoline);
    CHECK(this_thread().next == nullptr);
}

TEST_CASE("a task that resumes another one in its last step lets both end") {
    foreign_event event;
    events log;
    await_and_log(wait_for(event, log, 1), log, 2);
    const auto setter = [](foreign_event& to_set) -> task<> {
        to_set.set();
        co_return;
    };
    await_and_log(setter(event), log, 3);
    std::sort(log.begin(), log.end());
    CHECK(log == events{1, 2, 3});
}

TEST_CASE("a task may resume, within its own await, who resumes it") {
    // An awaitable of another library that goes on within await_suspend.
    struct inline_resume {
        bool await_ready() const noexcept { return false; }
        void await_suspend(std::coroutine_handle<> waiter) const { waiter.resume(); }
        int await_resume() const noexcept { return 5; }
    };
    const auto inner = []() -> task<int> { co_return co_await inline_resume{}; };
    const auto outer = [&]() -> task<int> { co_return co_await inner() + co_await inner(); };
    CHECK(value_of(outer()) == 10);
}

// The order in which control passes ---------------------------------------------------------------

namespace {

/// Passes control on and notes when it has returned from that.
struct pass_to {
    std::coroutine_handle<> next;
    events& log;
    bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<>) const {
        // The awaiter lives in a frame that `next` may free: only copies from here on.
        events& to = log;
        to.push_back(1);
        transfer_to(next);
        to.push_back(2);
    }
    void await_resume() const noexcept {}
};

struct parked {
    std::coroutine_handle<>& place;
    bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<> self) const noexcept { place = self; }
    void await_resume() const noexcept {}
};

detached log_when_resumed(std::coroutine_handle<>& place, events& log) {
    co_await parked{place};
    log.push_back(3);
}

detached pass_control(std::coroutine_handle<>& place, std::coroutine_handle<> next, events& log) {
    co_await parked{place};
    co_await pass_to{next, log};
}

}  // namespace

TEST_CASE("control passes on when the coroutine that gives it away has returned") {
    events log;
    std::coroutine_handle<> first, second;
    log_when_resumed(second, log);
    pass_control(first, second, log);
    curfew::detail::run_coroutine(first);
    CHECK(log == events{1, 2, 3});
    first.destroy();
}

TEST_CASE("where nobody waits to take it over, control passes at once") {
    events log;
    std::coroutine_handle<> first, second;
    log_when_resumed(second, log);
    pass_control(first, second, log);
    first.resume();  // not on a trampoline
    CHECK(log == events{1, 3, 2});
    first.destroy();
}

#if CURFEW_EXCEPTIONS
TEST_CASE("after an exception that left a coroutine of another type, control passes as before") {
    std::coroutine_handle<> place;
    [](std::coroutine_handle<>& to) -> detached {
        co_await parked{to};
        throw 7;
    }(place);
    CHECK_THROWS_AS(curfew::detail::run_coroutine(place), int);
    place.destroy();  // what throws stays suspended at its end
    CHECK_FALSE(this_thread().on_trampoline);

    events log;
    await_and_log([]() -> task<> { co_return; }(), log, 2);
    CHECK(log == events{2});
    this_thread() = {};
}
#endif
