// Signals that come in storms, to many contexts in many threads, while objects come and go.
#include <curfew/signals.hpp>

#include "support/loop.hpp"

#if defined(CURFEW_HAS_SIGNALS) && !defined(_WIN32)

#include <csignal>
#include <atomic>
#include <functional>
#include <random>
#include <thread>
#include <vector>

#include <pthread.h>
#include <unistd.h>

#include "support/effort.hpp"

using namespace test;

namespace {

/// Threads in which something is done until they are joined.
class threads {
public:
    template <class Work>
    void add(Work work) {
        all_.emplace_back([this, work] {
            while (!over_) work();
        });
    }
    ~threads() {
        over_ = true;
        for (std::thread& each : all_) each.join();
    }

private:
    std::atomic<bool> over_{false};
    std::vector<std::thread> all_;
};

}  // namespace

REACTOR_TEST("under limits of a millisecond no signal is lost and none invented") {
    const std::size_t rounds = scaled(1'000);
    std::atomic<std::size_t> sent{0}, told{0};
    run(kind, [&](io_context& ctx) -> task<> {
        signals ours(ctx, {SIGUSR1});
        // One at a time, so that none are told as one; at any moment of a limit.
        std::thread sender([&] {
            std::mt19937 random(7);
            for (std::size_t i = 0; i < rounds; ++i) {
                std::this_thread::sleep_for(std::chrono::microseconds(random() % 1'200));
                ++sent;
                ::kill(::getpid(), SIGUSR1);
                while (told != sent) std::this_thread::yield();
            }
        });
        std::size_t limits = 0;
        while (told < rounds) {
            const auto [ec, number] = co_await with_timeout(ours.wait(), 1ms);
            if (ec == errc::timed_out) {
                ++limits;
                continue;
            }
            CHECK(!ec);
            CHECK(number == SIGUSR1);
            CHECK(told + 1 == sent);
            ++told;
        }
        sender.join();
        CHECK((co_await with_timeout(ours.wait(), 1ms)).error() == errc::timed_out);
        MESSAGE(limits << " limits expired");
    });
}

REACTOR_TEST("of a storm of signals the last one is told, in every thread, while objects come and go") {
    const std::size_t rounds = scaled(200);
    constexpr int loops = 3;
    std::atomic<std::size_t> round{0};
    std::atomic<int> ready{0}, missed{0};
    // What the storm hits while it is none of ours: SIGUSR1 stays taken all the time.
    io_context keeper_context(kind);
    const signals keeper(keeper_context, {SIGUSR1, SIGUSR2});
    std::vector<std::thread> all;
    for (int i = 0; i < loops; ++i)
        all.emplace_back([&, i] {
            io_context ctx(kind);
            for (std::size_t mine = 1; mine <= rounds; ++mine) {
                signals ours(ctx, {SIGUSR1});
                ++ready;
                while (round < mine) std::this_thread::yield();
                // The signal of this round comes after the object was made: it is told.
                const auto got = ctx.block_on(with_timeout(ours.wait(), 10s));
                if (got.ec) ++missed;
                if (i == 0) static_cast<void>(ctx.block_on(with_timeout(ours.wait(), 1us)));
            }
        });
    {
        threads storm;
        storm.add([] {
            ::kill(::getpid(), SIGUSR2);
            std::this_thread::sleep_for(20us);
        });
        storm.add([] { ::pthread_kill(::pthread_self(), SIGUSR2); });
        for (std::size_t i = 1; i <= rounds; ++i) {
            while (ready < static_cast<int>(i) * loops) std::this_thread::yield();
            ::kill(::getpid(), SIGUSR1);
            round = i;
        }
        for (std::thread& each : all) each.join();
    }
    CHECK(missed == 0);
}

namespace {

std::atomic<std::size_t> before_ours{0};
thread_local bool is_ours = false;

void handler_before_ours(int) {
    if (is_ours) ++before_ours;
}

}  // namespace

TEST_CASE("a signal of one object that goes is not given back from the next one") {
    struct sigaction theirs {};
    theirs.sa_handler = &handler_before_ours;
    struct sigaction original {};
    REQUIRE(::sigaction(SIGUSR1, &theirs, &original) == 0);
    {
        // Each signal finds this thread between two objects, or not.
        threads storm;
        for (int i = 0; i < 2; ++i) storm.add([] { ::pthread_kill(::pthread_self(), SIGUSR1); });
        io_context ctx;
        const std::size_t rounds = scaled(30'000);
        for (std::size_t i = 0; i < rounds && before_ours == 0; ++i) {
            const signals ours(ctx, {SIGUSR1});
            for (int pause = 0; pause < 1'000; ++pause) static_cast<void>(before_ours.load());
            is_ours = true;
            ::raise(SIGUSR1);
            is_ours = false;
        }
    }
    CHECK(before_ours == 0);
    ::sigaction(SIGUSR1, &original, nullptr);
}

#endif
