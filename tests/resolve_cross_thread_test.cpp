// Look-ups of several contexts in threads of their own, while they are cancelled, expire, and their
// contexts end. To be run under thread sanitizer too.
#include <curfew/resolve.hpp>

#include <doctest/doctest.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <random>
#include <system_error>
#include <thread>
#include <vector>

#include <curfew/curfew.hpp>

#include "support/effort.hpp"
#include "support/loop.hpp"
#include "support/reactors.hpp"
#include "support/slow_names.hpp"
#include "support/threads.hpp"

#if defined(CURFEW_HAS_THREADS)

using namespace curfew;
using namespace std::chrono_literals;
using test::scaled;
using test::slow_names;
using test::spin_until;

namespace {

using endpoints = std::vector<ip::endpoint>;

/// Runs `body(index)` in so many threads, until all have ended.
template <class Body>
void in_threads(unsigned count, Body body) {
    std::vector<std::thread> all;
    for (unsigned i = 0; i < count; ++i) all.emplace_back([&body, i] { body(i); });
    for (std::thread& each : all) each.join();
}

task<result<endpoints>> limited(std::chrono::microseconds limit) {
    co_return co_await with_timeout(resolve<slow_names>("silent", 80), limit);
}

/// Name servers that are silent now and then, so that look-ups have to wait for a place.
class moody_servers {
public:
    ~moody_servers() {
        over_ = true;
        thread_.join();
    }

private:
    void run() {
        while (!over_) {
            slow_names::silence = !slow_names::silence;
            std::this_thread::sleep_for(1ms);
        }
    }

    const slow_names::silent_servers silent_;  // waits for all when the thread has ended
    std::atomic<bool> over_{false};
    std::thread thread_{[this] { run(); }};
};

}  // namespace

REACTOR_TEST("each look-up has one outcome, and the right one, whatever others do") {
    const moody_servers servers;
    const std::size_t rounds = scaled(40);
    std::atomic<int> wrong{0};
    in_threads(4, [&](unsigned index) {
        std::mt19937 random(index);
        for (std::size_t round = 0; round < rounds; ++round) {
            io_context ctx(kind);
            std::vector<join_handle<result<endpoints>>> plain, missing, limits, to_cancel;
            for (int i = 0; i < 8; ++i) {
                plain.push_back(ctx.spawn(resolve<slow_names>("host", 80)));
                missing.push_back(ctx.spawn(resolve<slow_names>("none", 80)));
                limits.push_back(ctx.spawn(limited(std::chrono::microseconds(random() % 2'000))));
                to_cancel.push_back(ctx.spawn(resolve<slow_names>("silent", 80)));
            }
            if (random() % 2) ctx.poll();
            std::this_thread::sleep_for(std::chrono::microseconds(random() % 500));
            for (auto& each : to_cancel) each.cancel();
            for (auto& each : plain) {
                const auto [ec, addresses] = test::join(ctx, each);
                wrong += ec || addresses.size() != 2;
            }
            for (auto& each : missing)
                wrong += test::join(ctx, each).ec != resolve_errc::host_not_found;
            for (auto* some : {&limits, &to_cancel})
                for (auto& each : *some) {
                    const auto [ec, addresses] = test::join(ctx, each);
                    const errc cut_short = some == &limits ? errc::timed_out : errc::canceled;
                    wrong += ec ? ec != cut_short : addresses.size() != 2;
                }
        }
    });
    CHECK(wrong == 0);
}

REACTOR_TEST("contexts end at any moment of their look-ups") {
    const moody_servers servers;
    const std::size_t rounds = scaled(100);
    in_threads(4, [&](unsigned index) {
        std::mt19937 random(index);
        for (std::size_t round = 0; round < rounds; ++round) {
            io_context ctx(kind);
            for (int i = 0; i < 12; ++i) {
                ctx.spawn(resolve<slow_names>("silent", 80));
                ctx.spawn(resolve<slow_names>("host", 80));
            }
            // Some have not been begun then, some are queued, some are being looked up or about to
            // be told.
            ctx.run_for(std::chrono::microseconds(random() % 300));
        }
    });
}

#if defined(CURFEW_HAS_NAMES)

REACTOR_TEST("the system is asked by several threads at the same time") {
    const std::size_t rounds = scaled(50);
    std::atomic<int> wrong{0};
    in_threads(4, [&](unsigned index) {
        io_context ctx(kind);
        std::mt19937 random(index);
        for (std::size_t round = 0; round < rounds; ++round) {
            std::vector<join_handle<result<endpoints>>> all;
            for (int i = 0; i < 4; ++i) all.push_back(ctx.spawn(resolve("localhost", 80)));
            if (random() % 2) ctx.poll();
            all.front().cancel();
            for (auto& each : all) {
                const auto [ec, addresses] = test::join(ctx, each);
                wrong += ec ? &each != &all.front() || ec != errc::canceled : addresses.empty();
            }
        }
    });
    CHECK(wrong == 0);
}

#endif

TEST_CASE("a job either runs, once, or is withdrawn, whoever submits it") {
    struct counted_job : detail::job {
        counted_job() noexcept
            : job([](job& self) noexcept { ++static_cast<counted_job&>(self).ran; }) {}
        std::atomic<std::size_t> ran{0};
    };
    static constinit detail::worker_threads pool(3);
    const std::size_t rounds = scaled(1'000);
    std::atomic<int> failed{0};
    in_threads(4, [&](unsigned) {
        std::array<counted_job, 8> jobs;
        std::array<std::size_t, 8> withdrawn{};
        for (std::size_t round = 1; round <= rounds; ++round) {
            for (counted_job& each : jobs) failed += pool.submit(each) != 0;
            for (std::size_t i = 0; i < jobs.size(); i += 2) withdrawn[i] += pool.withdraw(jobs[i]);
            for (std::size_t i = 0; i < jobs.size(); ++i)
                spin_until([&] { return jobs[i].ran + withdrawn[i] >= round; });
        }
        for (std::size_t i = 0; i < jobs.size(); ++i)
            failed += jobs[i].ran + withdrawn[i] != rounds;
    });
    CHECK(failed == 0);
}

#endif
