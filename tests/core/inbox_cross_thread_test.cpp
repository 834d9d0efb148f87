// To be run under thread sanitizer too.
#include <curfew/core/inbox.hpp>

#include <doctest/doctest.h>

#include <array>
#include <condition_variable>
#include <cstddef>
#include <mutex>
#include <thread>
#include <vector>

#include "../support/effort.hpp"

using curfew::detail::inbox;
using curfew::detail::ready_node;
using curfew::detail::ready_queue;

namespace {

struct numbered : ready_node {
    std::size_t thread = 0;
    std::size_t number = 0;
};

/// What the loop waits for. (std::atomic's wait would do, but for libstdc++ without futexes, as on
/// Windows: there it compares before it locks, and misses a notification in between.)
class doorbell {
public:
    void ring() {
        {
            const std::lock_guard lock(mutex_);
            rings_ = true;
        }
        changed_.notify_one();
    }

    void wait() {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [this] { return rings_; });
        rings_ = false;
    }

private:
    std::mutex mutex_;
    std::condition_variable changed_;
    bool rings_ = false;
};

}  // namespace

TEST_CASE("an inbox gives what was pushed, first in, first out, behind what is there already") {
    inbox box;
    ready_queue queue;
    std::array<ready_node, 4> node;
    CHECK(box.empty());
    CHECK_FALSE(box.take(queue));
    CHECK(queue.empty());

    for (int round = 0; round < 2; ++round) {
        queue.push(node[0]);
        for (std::size_t i = 1; i < node.size(); ++i) box.push(node[i]);
        CHECK_FALSE(box.empty());
        CHECK_FALSE(box.take(queue));
        CHECK(box.empty());
        for (auto& each : node) CHECK(queue.pop() == &each);
        CHECK(queue.empty());
    }
}

TEST_CASE("an inbox says who has to wake the loop: the first since it was emptied") {
    inbox box;
    ready_queue queue;
    ready_node a, b;
    CHECK(box.push(a));
    CHECK_FALSE(box.push(b));
    box.take(queue);
    CHECK(box.push(a));
}

TEST_CASE(
    "an inbox keeps a stop beside what is pushed, before it and after it, and tells it once") {
    inbox box;
    ready_queue queue;
    ready_node a, b;
    box.push(a);
    CHECK_FALSE(box.stop_asked_for());
    box.stop();
    box.push(b);
    CHECK(box.stop_asked_for());
    CHECK(box.take(queue));
    CHECK(queue.pop() == &a);
    CHECK(queue.pop() == &b);
    CHECK(queue.pop() == nullptr);
    CHECK_FALSE(box.stop_asked_for());
    CHECK_FALSE(box.take(queue));

    box.stop();
    CHECK_FALSE(box.empty());
    CHECK(box.take(queue));
    CHECK(queue.empty());
}

TEST_CASE("threads push into an inbox that is being emptied: nothing is lost, each one's order is "
          "kept, and the loop is woken") {
    constexpr std::size_t threads = 3;
    const std::size_t each = test::scaled(20'000);
    inbox box;
    doorbell bell;
    std::vector<std::vector<numbered>> nodes(threads);
    for (auto& mine : nodes) mine = std::vector<numbered>(each);

    std::vector<std::jthread> pushing;
    for (std::size_t t = 0; t < threads; ++t)
        pushing.emplace_back([&, t] {
            for (std::size_t i = 0; i < each; ++i) {
                nodes[t][i].thread = t;
                nodes[t][i].number = i;
                if (box.push(nodes[t][i])) bell.ring();
                if (i % 100 != 0) continue;
                box.stop();
                bell.ring();
            }
        });

    // A loop that sleeps until it is woken, and then takes what there is: were a wake-up missing,
    // it would sleep for ever.
    std::vector<std::size_t> next(threads, 0);
    ready_queue queue;
    for (std::size_t taken = 0; taken < threads * each;) {
        bell.wait();
        box.take(queue);
        for (; ready_node* const node = queue.pop(); ++taken) {
            const auto& it = static_cast<const numbered&>(*node);
            REQUIRE(it.number == next[it.thread]);
            ++next[it.thread];
        }
    }
    CHECK(next == std::vector<std::size_t>(threads, each));
}
