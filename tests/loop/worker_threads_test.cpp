// The pool of threads for calls that block.
#include <curfew/loop/worker_threads.hpp>

#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <list>
#include <thread>

#if defined(CURFEW_HAS_THREADS)

namespace {

using curfew::detail::job;
using curfew::detail::worker_threads;

/// Pools are never destroyed: their threads may still be about to notice that nothing is left.
worker_threads& make_pool(unsigned most) { return *new worker_threads(most); }

struct counted_job : job {
    explicit counted_job(std::atomic<int>& ran, std::atomic<bool>* until = nullptr) noexcept
        : job([](job& self) noexcept {
              auto& own = static_cast<counted_job&>(self);
              ++own.begun;
              while (own.hold && *own.hold) std::this_thread::yield();
              ++own.count;
          }),
          count(ran), hold(until) {}

    std::atomic<int>& count;
    std::atomic<bool>* hold;
    std::atomic<int> begun{0};
};

template <class Condition>
void wait_until(Condition holds) {
    while (!holds()) std::this_thread::sleep_for(std::chrono::microseconds(100));
}

std::list<worker_threads*>& kept = *new std::list<worker_threads*>;  // nothing counts as leaked

}  // namespace

TEST_CASE("each job runs once, in whatever thread is free") {
    auto& pool = *kept.emplace_back(&make_pool(3));
    std::atomic<int> ran{0};
    std::list<counted_job> jobs;
    for (int i = 0; i < 500; ++i) REQUIRE(pool.submit(jobs.emplace_back(ran)) == 0);
    wait_until([&] { return ran == 500; });
    for (auto& each : jobs) {
        CHECK(each.begun == 1);
        CHECK_FALSE(pool.withdraw(each));
    }
    // When all is done its threads end, and others are made.
    REQUIRE(pool.submit(jobs.emplace_back(ran)) == 0);
    wait_until([&] { return ran == 501; });
}

TEST_CASE("no more jobs run at a time than there may be threads; those withdrawn never do") {
    auto& pool = *kept.emplace_back(&make_pool(2));
    std::atomic<int> ran{0};
    std::atomic<bool> hold{true};
    counted_job first(ran, &hold), second(ran, &hold), third(ran), fourth(ran), fifth(ran);
    for (counted_job* each : {&first, &second, &third, &fourth, &fifth})
        REQUIRE(pool.submit(*each) == 0);
    wait_until([&] { return first.begun + second.begun == 2; });
    std::this_thread::sleep_for(std::chrono::milliseconds(5));  // in which one too many would begin
    CHECK(third.begun + fourth.begun + fifth.begun == 0);
    CHECK_FALSE(pool.withdraw(first));
    CHECK(pool.withdraw(fourth));
    CHECK_FALSE(pool.withdraw(fourth));
    hold = false;
    wait_until([&] { return ran == 4; });
    CHECK(fourth.begun == 0);
    REQUIRE(pool.submit(fourth) == 0);  // it may be queued again
    wait_until([&] { return ran == 5; });
}

#endif
