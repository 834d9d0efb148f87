// A thread_promise between threads, and its races. To be run under thread sanitizer too.
#include <curfew/thread_promise.hpp>

#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <system_error>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include <curfew/curfew.hpp>

#include "support/reactors.hpp"
#include "support/watched_reactor.hpp"

using namespace curfew;
using namespace std::chrono_literals;

namespace {

constexpr int rounds = 4'000;
// Of one test on one reactor: a busy machine, or one with slow threads, does fewer rounds.
#if defined(_WIN32)
constexpr auto time_cap = 1s;
#else
constexpr auto time_cap = 4s;
#endif
constexpr auto patience = 60s;

/// A thread that does one thing after the other, each as soon as it is told.
class helper {
public:
    ~helper() {
        finish();
        end_.store(true);
        thread_.join();
    }

    void start(std::function<void()> job) {
        finish();
        job_ = std::move(job);
        busy_.store(true, std::memory_order_release);
    }

    /// Returns when the last job is done.
    void finish() {
        while (busy_.load(std::memory_order_acquire)) std::this_thread::yield();
    }

private:
    void work() {
        while (!end_.load()) {
            if (busy_.load(std::memory_order_acquire)) {
                job_();
                job_ = nullptr;
                busy_.store(false, std::memory_order_release);
            }
            std::this_thread::yield();
        }
    }

    std::function<void()> job_;
    std::atomic<bool> busy_{false};
    std::atomic<bool> end_{false};
    std::thread thread_{[this] { work(); }};
};

/// Calls `round(i)` up to `rounds` times, as far as the time allows. Returns how often.
template <class Round>
int repeat(Round round) {
    int i = 0;
    for (const auto end = clock::now() + time_cap; i < rounds && clock::now() < end; ++i) round(i);
    return i;
}

void spin(std::mt19937::result_type n) {
    for (std::atomic<std::mt19937::result_type> i{0}; i < n; ++i) {}
}

}  // namespace

REACTOR_TEST("a value from another thread wakes a loop that waits") {
    io_context ctx(kind);
    thread_promise<std::string> promise;
    auto future = promise.get_future();
    std::thread worker([own = std::move(promise)]() mutable {
        std::this_thread::sleep_for(5ms);
        own.set_value("made elsewhere");
    });
    const auto got =
        ctx.block_on([](thread_future<std::string>& what) -> task<result<std::string>> {
            co_return co_await with_timeout(what, patience);
        }(future));
    worker.join();
    CHECK(got.ok());
    CHECK(got.data == "made elsewhere");
}

REACTOR_TEST("a promise that another thread drops says closed") {
    io_context ctx(kind);
    thread_promise<int> promise;
    auto future = promise.get_future();
    std::thread worker([own = std::move(promise)] { std::this_thread::sleep_for(1ms); });
    const auto got = ctx.block_on([](thread_future<int>& what) -> task<result<int>> {
        co_return co_await with_timeout(what, patience);
    }(future));
    worker.join();
    CHECK(got.error() == errc::closed);
}

REACTOR_TEST("promises that several threads fulfil at once all reach their tasks") {
    constexpr int threads = 4;
    constexpr int each = 500;
    io_context ctx(kind);
    std::vector<std::vector<thread_promise<int>>> promises(threads);
    int right = 0;
    for (int t = 0; t < threads; ++t)
        for (int i = 0; i < each; ++i) {
            auto& promise = promises[static_cast<std::size_t>(t)].emplace_back();
            ctx.spawn([](thread_future<int> what, int expected, int& count) -> task<> {
                const auto got = co_await with_timeout(what, patience);
                if (got.ok() && got.data == expected) ++count;
            }(promise.get_future(), t * each + i, right));
        }
    std::vector<std::thread> workers;
    for (int t = 0; t < threads; ++t)
        workers.emplace_back([&, t] {
            int i = 0;
            for (auto& promise : promises[static_cast<std::size_t>(t)])
                promise.set_value(t * each + i++);
        });
    ctx.run();
    for (auto& worker : workers) worker.join();
    CHECK(right == threads * each);
}

REACTOR_TEST("a fulfilment that races with the await always arrives") {
    io_context ctx(kind);
    helper other;
    std::mt19937 random(1);
    int right = 0;
    const int done = repeat([&](int i) {
        thread_promise<std::unique_ptr<int>> promise;
        auto future = promise.get_future();
        other.start([&promise, i, wait = random() % 2'000] {
            spin(wait);
            promise.set_value(std::make_unique<int>(i));
        });
        const auto race = [&](std::mt19937::result_type wait) -> task<> {
            spin(wait);
            const auto got = co_await with_timeout(future, patience);
            if (got.ok() && got.data && *got.data == i) ++right;
        };
        ctx.block_on(race(random() % 2'000));
        other.finish();
    });
    CHECK(right == done);
    CHECK(ctx.run() == 0);  // no letter is left
}

REACTOR_TEST("a fulfilment that races with a limit: the value comes now or with the next await") {
    io_context ctx(kind);
    helper other;
    std::mt19937 random(2);
    int at_once = 0, later = 0, wrong = 0;
    const int done = repeat([&](int i) {
        thread_promise<int> promise;
        auto future = promise.get_future();
        other.start([&promise, i, wait = random() % 20'000] {
            spin(wait);
            promise.set_value(i);
        });
        const auto race = [&]() -> task<> {
            auto got = co_await with_timeout(future, std::chrono::nanoseconds(random() % 60'000));
            if (got.ok()) {
                got.data == i ? ++at_once : ++wrong;
                co_return;
            }
            if (got.error() != errc::timed_out) ++wrong;
            got = co_await with_timeout(future, patience);
            got.ok() && got.data == i ? ++later : ++wrong;
        };
        ctx.block_on(race());
        other.finish();
    });
    CHECK(at_once + later == done);
    CHECK(wrong == 0);
    CHECK(ctx.run() == 0);
}

REACTOR_TEST("a fulfilment that races with a cancellation: one of the two, and nothing is lost") {
    io_context ctx(kind);
    helper other;
    std::mt19937 random(3);
    int values = 0, wrong = 0;
    const int done = repeat([&](int i) {
        thread_promise<int> promise;
        auto future = promise.get_future();
        const auto await = [&]() -> task<result<int>> { co_return co_await future; };
        auto waiting = ctx.spawn(await());
        ctx.poll();
        other.start([&promise, i, wait = random() % 1'000] {
            spin(wait);
            promise.set_value(i);
        });
        spin(random() % 1'000);
        waiting.cancel();
        const auto look = [&]() -> task<> {
            auto got = co_await waiting;
            if (!got.ok()) {
                if (got.error() != errc::canceled) ++wrong;
                got = co_await with_timeout(future, patience);
            }
            got.ok() && got.data == i ? ++values : ++wrong;
        };
        ctx.block_on(look());
        other.finish();
    });
    CHECK(values == done);
    CHECK(wrong == 0);
    CHECK(ctx.run() == 0);
}

REACTOR_TEST("when_any of two futures that are fulfilled at the same time loses neither") {
    io_context ctx(kind);
    helper one, two;
    std::mt19937 random(4);
    int wrong = 0;
    repeat([&](int i) {
        thread_promise<int> first, second;
        auto left = first.get_future(), right = second.get_future();
        one.start([&first, i] { first.set_value(i); });
        two.start([&second, i, wait = random() % 2'000] {
            spin(wait);
            second.set_value(-i);
        });
        const auto race = [&]() -> task<> {
            auto [index, results] = co_await when_any(left, right);
            auto& [a, b] = results;
            if (a.error() == errc::canceled) a = co_await with_timeout(left, patience);
            if (b.error() == errc::canceled) b = co_await with_timeout(right, patience);
            if (index > 1 || !a.ok() || !b.ok() || a.data != i || b.data != -i) ++wrong;
        };
        ctx.block_on(race());
        one.finish();
        two.finish();
    });
    CHECK(wrong == 0);
    CHECK(ctx.run() == 0);
}

REACTOR_TEST("a context that is destroyed while its promises are being fulfilled leaves nothing") {
    helper other;
    std::mt19937 random(5);
    std::atomic<int> fulfilled{0};
    int resumed = 0;
    const int done = repeat([&](int i) {
        std::optional<thread_promise<int>> first(std::in_place), second(std::in_place);
        {
            std::optional<io_context> ctx(std::in_place, kind);
            const auto await = [](thread_future<int> what, int& count) -> task<> {
                (void)co_await what;
                ++count;
            };
            ctx->spawn(await(first->get_future(), resumed));
            ctx->spawn(await(second->get_future(), resumed));
            ctx->poll();
            other.start([&, i, wait = random() % 2'000] {
                spin(wait);
                first->set_value(i);
                second.reset();
                ++fulfilled;
            });
            spin(random() % 2'000);
            if (i % 4 == 0) ctx->poll();
            ctx.reset();
        }
        other.finish();
    });
    CHECK(fulfilled.load() == done);
    CHECK(resumed <= 2 * done);
}

REACTOR_TEST("a future travels between contexts: after a limit in one it is awaited in another") {
    io_context first(kind), second(kind);
    helper other;
    std::mt19937 random(6);
    int values = 0;
    const int done = repeat([&](int i) {
        thread_promise<int> promise;
        auto future = promise.get_future();
        other.start([&promise, i, wait = random() % 20'000] {
            spin(wait);
            promise.set_value(i);
        });
        const auto await = [&](std::chrono::nanoseconds limit) -> task<result<int>> {
            co_return co_await with_timeout(future, limit);
        };
        auto got = first.block_on(await(std::chrono::nanoseconds(random() % 30'000)));
        if (!got.ok()) got = second.block_on(await(patience));
        if (got.ok() && got.data == i) ++values;
        other.finish();
    });
    CHECK(values == done);
    CHECK(first.run() == 0);
    CHECK(second.run() == 0);
}

// The other thread may be slow within `post`: by then the loop may have what it has posted, but
// must neither go on nor end before that thread has done with the loop and the promise.

namespace {

/// Whether another thread is within the loop's `wake`, which takes it long. Outlives the reactor.
struct slow_wake {
    std::shared_ptr<test::watched_reactor::log> log =
        std::make_shared<test::watched_reactor::log>();
    std::atomic<bool> within{false};

    slow_wake() {
        log->after_wake = [this, own = std::this_thread::get_id()] {
            if (std::this_thread::get_id() == own) return;
            within.store(true);
            std::this_thread::sleep_for(20ms);
            within.store(false);
        };
    }
};

}  // namespace

REACTOR_TEST("who is given a value goes on when the one who gives it has done with the loop") {
    slow_wake slow;
    io_context ctx(std::make_unique<test::watched_reactor>(kind, slow.log));
    thread_promise<int> promise;
    auto future = promise.get_future();
    std::thread other([&] {
        while (!slow.log->waiting.load()) std::this_thread::yield();
        promise.set_value(1);
    });
    const int value = ctx.block_on([](thread_future<int>& from, slow_wake& state) -> task<int> {
        const int got = (co_await from).value();
        CHECK_FALSE(state.within.load());
        co_return got;
    }(future, slow));
    CHECK(value == 1);
    other.join();
}

REACTOR_TEST("a context ends when the one who gives a value has done with it") {
    slow_wake slow;
    auto ctx =
        std::make_unique<io_context>(std::make_unique<test::watched_reactor>(kind, slow.log));
    thread_promise<int> promise;
    ctx->spawn(
        [](thread_future<int> from) -> task<> { (void)co_await from; }(promise.get_future()));
    ctx->poll();
    std::thread other([&] { promise.set_value(1); });
    while (!slow.within.load()) std::this_thread::yield();
    ctx.reset();
    CHECK_FALSE(slow.within.load());
    other.join();
}

#if CURFEW_EXCEPTIONS
REACTOR_TEST("a task is destroyed when the one who gives it a value has done with it") {
    slow_wake slow;
    std::atomic<bool> awaited{false};
    thread_promise<int> promise;
    auto future = promise.get_future();
    std::thread other([&] {
        while (!awaited.load()) std::this_thread::yield();
        promise.set_value(1);
    });
    io_context ctx(std::make_unique<test::watched_reactor>(kind, slow.log));
    const auto stopped = [](io_context& own, thread_future<int>& from, slow_wake& state,
                            std::atomic<bool>& waits) -> task<> {
        own.post([&] {
            waits.store(true);
            while (!state.within.load()) std::this_thread::yield();
            own.stop();  // so the value has been posted, and the task will not see it
        });
        (void)co_await from;
    };
    CHECK_THROWS_AS(ctx.block_on(stopped(ctx, future, slow, awaited)), std::system_error);
    CHECK_FALSE(slow.within.load());
    other.join();
}
#endif
