// cancel_on with tokens that are stopped in other threads. To be run under thread sanitizer too.
#include <curfew/cancel.hpp>

#include <doctest/doctest.h>

#include <array>
#include <atomic>
#include <chrono>
#include <memory>
#include <random>
#include <stop_token>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include <curfew/curfew.hpp>

#include "support/counted.hpp"
#include "support/fatal.hpp"
#include "support/reactors.hpp"
#include "support/threads.hpp"
#include "support/watched_reactor.hpp"

using namespace curfew;
using namespace std::chrono_literals;
using test::counted;
using test::spin_until;
using test::thread_effort;
using test::watched;

namespace {

task<std::error_code> sleep_until_stopped(std::stop_token token) {
    const auto [ec] = co_await cancel_on(sleep_for(60s), std::move(token));
    co_return ec;
}

/// A thread that requests stops, one after the other, as soon as it is told to.
class stopper {
public:
    ~stopper() {
        end_.store(true);
        thread_.join();
    }

    void stop_soon(std::stop_source& source) { next_.store(&source); }

    /// Returns when the last stop has been requested, and nobody touches its source any more.
    void finish() {
        spin_until([&] { return next_.load() == nullptr && !busy_.load(); });
    }

private:
    void run() {
        while (!end_.load()) {
            busy_.store(true);
            if (std::stop_source* source = next_.exchange(nullptr)) source->request_stop();
            busy_.store(false);
            std::this_thread::yield();
        }
    }

    std::atomic<std::stop_source*> next_{nullptr};
    std::atomic<bool> busy_{false};
    std::atomic<bool> end_{false};
    std::thread thread_{[this] { run(); }};
};

}  // namespace

REACTOR_TEST("a stop that was requested before lets nothing begin") {
    io_context ctx(kind);
    std::stop_source source;
    source.request_stop();
    CHECK(ctx.block_on(sleep_until_stopped(source.get_token())) == errc::canceled);

    bool begun_and_gone_on = false;
    const auto inner = [](bool& flag) -> task<std::error_code> {
        const auto [ec] = co_await sleep_for(60s);
        flag = true;
        co_return ec;
    };
    const auto outer = [](task<std::error_code> work,
                          std::stop_token token) -> task<std::error_code> {
        co_return co_await cancel_on(std::move(work), std::move(token));
    };
    CHECK(ctx.block_on(outer(inner(begun_and_gone_on), source.get_token())) == errc::canceled);
    CHECK(begun_and_gone_on);  // the task runs; what it awaits is cancelled
    CHECK_FALSE(ctx.next_deadline());
}

REACTOR_TEST("a token that can never be stopped changes nothing") {
    io_context ctx(kind);
    const auto work = []() -> task<std::error_code> {
        const auto [ec] = co_await cancel_on(sleep_for(100us), std::stop_token());
        co_return ec;
    };
    CHECK_FALSE(ctx.block_on(work()));
}

REACTOR_TEST("a stop requested in the loop's own thread cancels too") {
    io_context ctx(kind);
    std::stop_source source;
    auto handle = ctx.spawn(sleep_until_stopped(source.get_token()));
    ctx.post([&] { ctx.post([&] { source.request_stop(); }); });
    const auto join = [](join_handle<std::error_code>& joined) -> task<std::error_code> {
        co_return co_await joined;
    };
    CHECK(ctx.block_on(join(handle)) == errc::canceled);
}

REACTOR_TEST("a stop requested in another thread wakes the loop and cancels") {
    watched own(kind, false);
    for (int i = 0; i < 50 * thread_effort; ++i) {
        std::stop_source source;
        std::thread stopper([&] {
            spin_until([&] { return own.log->waiting.load(); });
            source.request_stop();
        });
        const std::error_code ec = own.ctx.block_on(sleep_until_stopped(source.get_token()));
        stopper.join();
        REQUIRE(ec == errc::canceled);
    }
}

REACTOR_TEST("after its awaitable has ended, a stop cancels nothing more") {
    io_context ctx(kind);
    std::stop_source source;
    ctx.block_on([](std::stop_source& to_stop) -> task<> {
        const auto [first] = co_await cancel_on(sleep_for(1us), to_stop.get_token());
        CHECK_FALSE(first);
        to_stop.request_stop();
        const auto [second] = co_await sleep_for(100us);
        CHECK_FALSE(second);
        const auto [third] = co_await yield();
        CHECK_FALSE(third);
    }(source));
}

REACTOR_TEST("a stop of the inner token leaves the outer one's scope alone") {
    io_context ctx(kind);
    std::stop_source inner, outer;
    const auto work = [&]() -> task<> {
        const auto nested = [](std::stop_source& to_stop) -> task<int> {
            to_stop.request_stop();
            const auto [first] = co_await cancel_on(sleep_for(60s), to_stop.get_token());
            CHECK(first == errc::canceled);
            const auto [second] = co_await sleep_for(10us);
            CHECK_FALSE(second);
            co_return 1;
        };
        CHECK(co_await cancel_on(nested(inner), outer.get_token()) == 1);
    };
    ctx.block_on(work());
    CHECK_FALSE(outer.stop_requested());
}

REACTOR_TEST("a stop that races with completion gives one of the two, and leaves nothing behind") {
    io_context ctx(kind);
    const unsigned seed = std::random_device()();
    CAPTURE(seed);
    std::mt19937 random(seed);
    stopper other;
    int completed = 0, canceled = 0, wrong = 0, late = 0;
    const auto race = [&](std::chrono::nanoseconds time) -> task<> {
        std::stop_source source;
        other.stop_soon(source);
        const auto [ec] = co_await cancel_on(sleep_for(time), source.get_token());
        // Whatever comes from now on does not concern what follows.
        const auto [after] = co_await yield();
        if (!ec)
            ++completed;
        else if (ec == errc::canceled)
            ++canceled;
        else
            ++wrong;
        if (after) ++late;
        other.finish();
        if (!source.stop_requested()) ++wrong;
    };
    int rounds = 0;
    for (const auto end = clock::now() + 5s; rounds < 1'000 * thread_effort && clock::now() < end;
         ++rounds)
        ctx.block_on(race(std::chrono::nanoseconds(random() % 20'000)));
    CHECK(completed + canceled == rounds);
    CHECK(wrong == 0);
    CHECK(late == 0);
    ctx.poll();  // no message is left that refers to what is gone
    CHECK(ctx.run() == 0);
}

REACTOR_TEST("a stop that races with a socket operation's completion never loses the bytes") {
    io_context ctx(kind);
    udp::socket receiver(ctx), sender(ctx);
    receiver.bind({ip::address::loopback_v4(), 0}).value();
    sender.bind({ip::address::loopback_v4(), 0}).value();
    stopper other;
    int received = 0, canceled = 0, wrong = 0;
    const auto race = [&](int i) -> task<> {
        std::stop_source source;
        std::array<char, 8> buffer;
        ip::endpoint from;
        if (i % 2) other.stop_soon(source);
        (void)(co_await sender.send_to("x", receiver.local_endpoint())).value();
        if (i % 2 == 0) other.stop_soon(source);
        const auto [ec, n] =
            co_await cancel_on(receiver.receive_from(buffer, from), source.get_token());
        if (!ec && n == 1) {
            ++received;
        } else if (ec == errc::canceled) {
            ++canceled;
            if ((co_await receiver.receive_from(buffer, from)).value() != 1)
                ++wrong;  // still there
        } else {
            ++wrong;
        }
        other.finish();
    };
    int rounds = 0;  // two threads that spin get nowhere fast on a machine that is busy otherwise
    for (const auto end = clock::now() + 5s; rounds < 500 * thread_effort && clock::now() < end;
         ++rounds)
        ctx.block_on(race(rounds));
    CHECK(received + canceled == rounds);
    CHECK(wrong == 0);
}

#if TEST_CAN_DIE && CURFEW_EXCEPTIONS
REACTOR_TEST("a stop that was requested, but has not arrived, does not outlive the awaiting task") {
    const auto end = test::death_of([kind] {
        io_context ctx(kind);
        std::stop_source source;
        ctx.post([&] {
            std::thread([&] { source.request_stop(); }).join();
            ctx.stop();
        });
        try {
            (void)ctx.block_on(sleep_until_stopped(source.get_token()));
        } catch (const std::system_error& error) {
            if (error.code() == errc::canceled) std::fputs("stopped, ", stderr);
        }
        std::fprintf(stderr, "%d left", static_cast<int>(ctx.run()));
    });
    CHECK(end.signal == 0);
    CHECK(end.said == "stopped, 0 left");
}
#endif

#if CURFEW_EXCEPTIONS
REACTOR_TEST("a stop that races with the destruction of the awaiting task does no harm") {
    int alive = 0;
    int canceled = 0, destroyed = 0, wrong = 0;
    const auto work = [](counted, std::stop_token token) -> task<std::error_code> {
        co_return co_await sleep_until_stopped(std::move(token));
    };
    io_context ctx(kind);
    for (int i = 0; i < 200 * thread_effort; ++i) {
        std::stop_source source;
        std::atomic<bool> over{false};
        std::thread stopper([&] {
            if (i % 3 == 0) std::this_thread::yield();
            if (i % 10 == 0) spin_until([&] { return over.load(); });  // whoever is quicker
            source.request_stop();
        });
        ctx.post([&] { ctx.stop(); });
        try {
            if (ctx.block_on(work(counted(alive), source.get_token())) == errc::canceled)
                ++canceled;
        } catch (const std::system_error&) {
            ++destroyed;
        }
        over.store(true);
        if (alive != 0) ++wrong;
        stopper.join();
        ctx.poll();
    }
    CHECK(canceled + destroyed == 200 * thread_effort);
    CHECK(destroyed > 0);
    CHECK(wrong == 0);
}
#endif

REACTOR_TEST("a stop that races with the end of the context does no harm") {
    int alive = 0;
    const auto work = [](counted, std::stop_token token) -> task<> {
        (void)co_await sleep_until_stopped(std::move(token));
    };
    for (int i = 0; i < 100 * thread_effort; ++i) {
        std::stop_source source;
        std::thread stopper;
        {
            io_context ctx(kind);
            for (int n = 0; n < 5; ++n) ctx.spawn(work(counted(alive), source.get_token()));
            ctx.poll();
            stopper = std::thread([&] { source.request_stop(); });
            if (i % 2) ctx.poll();
        }
        REQUIRE(alive == 0);
        stopper.join();
    }
}

REACTOR_TEST("four threads that stop a thousand tasks cancel them all") {
    constexpr std::size_t many = 1'000;
    constexpr std::size_t threads = 4;
    io_context ctx(kind);
    std::vector<std::stop_source> sources(many);
    int canceled = 0, wrong = 0;
    const auto work = [](std::stop_token token, int& good, int& bad) -> task<> {
        const std::error_code ec = co_await sleep_until_stopped(std::move(token));
        ++(ec == errc::canceled ? good : bad);
    };
    for (auto& source : sources) ctx.spawn(work(source.get_token(), canceled, wrong));
    ctx.poll();
    std::vector<std::thread> stoppers;
    for (std::size_t t = 0; t < threads; ++t)
        stoppers.emplace_back([&, t] {
            for (std::size_t i = t; i < many; i += threads) sources[i].request_stop();
        });
    ctx.run();
    for (auto& each : stoppers) each.join();
    CHECK(canceled == many);
    CHECK(wrong == 0);
}

REACTOR_TEST("one stop cancels all that wait on its token") {
    io_context ctx(kind);
    std::stop_source source;
    int canceled = 0;
    const auto work = [](std::stop_token token, int& count) -> task<> {
        if (co_await sleep_until_stopped(std::move(token)) == errc::canceled) ++count;
    };
    for (int i = 0; i < 500; ++i) ctx.spawn(work(source.get_token(), canceled));
    ctx.poll();
    std::thread stopper([&] { source.request_stop(); });
    ctx.run();
    stopper.join();
    CHECK(canceled == 500);
}
