#include <curfew/await/wait_list.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <chrono>
#include <coroutine>
#include <deque>
#include <memory>
#include <random>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <curfew/curfew.hpp>

#include "support/fatal.hpp"

using namespace curfew;
using namespace std::chrono_literals;
using curfew::detail::list_waiter;
using curfew::detail::suspension_type;
using curfew::detail::wait_list;

namespace {

using ids = std::vector<int>;

/// The least that waits in a list: until its turn comes, unless it is `ready` already.
class turn_awaiter : list_waiter {
public:
    turn_awaiter(wait_list& list, bool ready) noexcept : list_(list), ready_(ready) {}
    bool await_ready() const noexcept { return false; }
    template <class Promise>
    bool await_suspend(std::coroutine_handle<Promise> coroutine) noexcept {
        static constexpr suspension_type kind{
            &interrupt, [](const detail::suspension&, detail::wait_report&) noexcept {}};
        return wait_in(
            list_, coroutine, [&] { return ready_; }, kind);
    }
    std::error_code await_resume() const noexcept { return error(); }

private:
    wait_list& list_;
    bool ready_;
};

struct turn {
    wait_list& list;
    bool ready = false;
    turn_awaiter operator co_await() const noexcept { return turn_awaiter(list, ready); }
};

task<> wait(wait_list& list, ids& log, int id) {
    const std::error_code ec = co_await turn{list};
    log.push_back(!ec ? id : ec == errc::canceled ? -id : 1'000 + id);
}

/// A coroutine whose frame can be destroyed wherever it is suspended.
class killable {
public:
    struct promise_type {
        killable get_return_object() noexcept {
            return killable(std::coroutine_handle<promise_type>::from_promise(*this));
        }
        std::suspend_never initial_suspend() const noexcept { return {}; }
        std::suspend_always final_suspend() const noexcept { return {}; }
        void return_void() const noexcept {}
        void unhandled_exception() const noexcept { std::terminate(); }
    };
    killable(killable&& other) noexcept : frame_(std::exchange(other.frame_, nullptr)) {}
    killable& operator=(killable&& other) noexcept {
        std::swap(frame_, other.frame_);
        return *this;
    }
    ~killable() {
        if (frame_) frame_.destroy();
    }
    void kill() noexcept { std::exchange(frame_, nullptr).destroy(); }

private:
    explicit killable(std::coroutine_handle<promise_type> frame) noexcept : frame_(frame) {}
    std::coroutine_handle<promise_type> frame_;
};

killable wait_killably(wait_list& list, ids& log, int id) {
    const std::error_code ec = co_await turn{list};
    log.push_back(ec ? -id : id);
}

}  // namespace

TEST_CASE("who waits in a list is served first come, first served, one by one or all at once") {
    io_context ctx;
    wait_list list;
    ids log;
    CHECK(list.empty());
    CHECK(list.first() == nullptr);
    list.complete_first();
    list.complete_all();
    for (int id = 1; id <= 5; ++id) ctx.spawn(wait(list, log, id));
    ctx.poll();
    CHECK_FALSE(list.empty());
    list.complete_first();
    CHECK(log.empty());  // it is made ready, not resumed
    ctx.poll();
    CHECK(log == ids{1});
    list.complete_first();
    list.complete_all();
    CHECK(list.empty());
    ctx.run();
    CHECK(log == ids{1, 2, 3, 4, 5});
}

TEST_CASE("a list can be used again after it was emptied") {
    io_context ctx;
    wait_list list;
    ids log;
    for (int id = 1; id <= 6; ++id) {
        ctx.spawn(wait(list, log, id));
        ctx.poll();
        if (id % 2)
            list.complete_first();
        else
            list.complete_all();
        CHECK(list.empty());
    }
    ctx.run();
    CHECK(log == ids{1, 2, 3, 4, 5, 6});
}

TEST_CASE("who is ready does not wait") {
    io_context ctx;
    wait_list list;
    ctx.block_on([](wait_list& in) -> task<> {
        const std::error_code ec = co_await turn{in, true};
        CHECK_FALSE(ec);
        CHECK(in.empty());
    }(list));
}

TEST_CASE("what the end of a wait was is what the waiter is told") {
    io_context ctx;
    wait_list list;
    ids log;
    for (int id = 1; id <= 2; ++id) ctx.spawn(wait(list, log, id));
    auto third = ctx.spawn(wait(list, log, 3));
    ctx.poll();
    list.complete_first();
    list.complete_first(outcome::closed);
    third.cancel();
    CHECK(list.empty());
    ctx.run();
    CHECK(log == ids{1, 1'002, -3});
}

TEST_CASE("whatever ends a wait first decides, and what comes later changes nothing") {
    io_context ctx;
    wait_list list;
    ids log;
    auto first = ctx.spawn(wait(list, log, 1));
    auto second = ctx.spawn(wait(list, log, 2));
    ctx.poll();
    list.complete_first();
    first.cancel();
    second.cancel();
    list.complete_all();
    ctx.run();
    CHECK(log == ids{1, -2});
}

TEST_CASE("a waiter that is cancelled leaves the list, from any place in it") {
    for (std::size_t gone = 0; gone < 4; ++gone) {
        CAPTURE(gone);
        io_context ctx;
        wait_list list;
        ids log;
        std::vector<join_handle<>> handles;
        for (int id = 1; id <= 4; ++id) handles.push_back(ctx.spawn(wait(list, log, id)));
        ctx.poll();
        handles[gone].cancel();
        ctx.spawn(wait(list, log, 5));
        ctx.poll();
        ids expected{-static_cast<int>(gone) - 1};
        CHECK(log == expected);
        list.complete_all();
        ctx.run();
        for (int id = 1; id <= 5; ++id)
            if (id != static_cast<int>(gone) + 1) expected.push_back(id);
        CHECK(log == expected);
    }
}

TEST_CASE("a waiter whose frame is destroyed leaves the list, from any place in it") {
    for (std::size_t gone = 0; gone < 4; ++gone) {
        CAPTURE(gone);
        io_context ctx;
        wait_list list;
        ids log;
        std::vector<killable> waiters;
        ctx.post([&] {
            for (int id = 1; id <= 4; ++id) waiters.push_back(wait_killably(list, log, id));
            waiters[gone].kill();
            waiters.push_back(wait_killably(list, log, 5));
        });
        ctx.poll();
        list.complete_all();
        CHECK(list.empty());
        ctx.poll();
        ids expected;
        for (int id = 1; id <= 5; ++id)
            if (id != static_cast<int>(gone) + 1) expected.push_back(id);
        CHECK(log == expected);
    }
}

TEST_CASE("who still waits when the list is destroyed is told closed") {
    io_context ctx;
    auto list = std::make_unique<wait_list>();
    ids log;
    for (int id = 1; id <= 3; ++id) ctx.spawn(wait(*list, log, id));
    ctx.poll();
    list.reset();
    ctx.run();
    CHECK(log == ids{1'001, 1'002, 1'003});
}

TEST_CASE("a list behaves like a queue in random sequences of waits, ends and cancellations") {
    const unsigned seed = std::random_device()();
    CAPTURE(seed);
    std::mt19937 random(seed);
    io_context ctx;
    wait_list list;
    ids log, expected;
    std::deque<int> model;
    std::vector<join_handle<>> handles;
    for (int i = 0; i < 3'000; ++i) {
        switch (random() % 5) {
        default: {
            const int id = static_cast<int>(handles.size()) + 1;
            handles.push_back(ctx.spawn(wait(list, log, id)));
            ctx.poll();
            model.push_back(id);
            break;
        }
        case 0:
        case 1:
            list.complete_first();
            if (model.empty()) break;
            expected.push_back(model.front());
            model.pop_front();
            break;
        case 2: {
            if (model.empty()) break;
            const auto victim =
                model.begin() + static_cast<std::ptrdiff_t>(random() % model.size());
            handles[static_cast<std::size_t>(*victim) - 1].cancel();
            expected.push_back(-*victim);
            model.erase(victim);
            break;
        }
        }
        ctx.poll();
        REQUIRE(list.empty() == model.empty());
        REQUIRE(log.size() == expected.size());
    }
    list.complete_all();
    expected.insert(expected.end(), model.begin(), model.end());
    ctx.run();
    CHECK((log == expected));
}

TEST_CASE("a list is used in one loop after the other, as these end") {
    wait_list list;
    ids log;
    for (int i = 0; i < 3; ++i) {
        io_context ctx;
        ctx.spawn(wait(list, log, 1));
        ctx.poll();
        ctx.post([&] { list.complete_first(); });
        ctx.run();
    }
    CHECK((log == ids{1, 1, 1}));
}

#if TEST_CAN_DIE && !defined(NDEBUG)
TEST_CASE("an event, a channel or a semaphore that is used in two loops is fatal and says so") {
    struct all {
        event happens;
        channel<int> numbers{1};
        semaphore permits{0};
    };
    using use = task<> (*)(all&);
    const use waits[]{[](all& in) -> task<> { (void)co_await in.happens.wait(); },
                      [](all& in) -> task<> { (void)co_await in.numbers.receive(); },
                      [](all& in) -> task<> { (void)co_await in.permits.acquire(); }};
    const use wakes[]{[](all& in) -> task<> {
                          in.happens.set();
                          co_return;
                      },
                      [](all& in) -> task<> { (void)co_await in.numbers.send(1); },
                      [](all& in) -> task<> {
                          in.permits.release();
                          co_return;
                      }};
    for (int i = 0; i < 3; ++i)
        for (const use second : {waits[i], wakes[i]}) {
            const auto end = test::death_of([&] {
                all in;
                io_context a;
                io_context b;
                a.spawn(waits[i](in));
                a.poll();
                b.spawn(second(in));
                b.poll();
            });
            CHECK(end.signal == SIGABRT);
            CHECK(end.said.find("an event, a channel or a semaphore is used in") !=
                  std::string::npos);
            CHECK(end.said.find("post()") != std::string::npos);
        }
}
#endif
