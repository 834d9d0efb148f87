// A hundred thousand of everything at once.
#include <curfew/curfew.hpp>

#include <vector>

#include "support/loop.hpp"

using namespace test;

namespace {

constexpr int many = 100'000;

task<int> number(int value) {
    co_await yield();
    co_return value;
}

task<> wait_for(event& go, int& woken) {
    const result<> waited = co_await go.wait();
    if (waited.ok()) ++woken;
}

}  // namespace

REACTOR_TEST("when_all of a hundred thousand sleeps") {
    run(kind, [](io_context&) -> task<> {
        std::vector<detail::sleep_request> sleeps(many, sleep_for(1ms));
        const auto results = co_await when_all(std::move(sleeps));
        int slept = 0;
        for (const auto& each : results) slept += each.ok();
        CHECK(slept == many);
    });
}

REACTOR_TEST("when_any of a hundred thousand tasks cancels all but one") {
    run(kind, [](io_context&) -> task<> {
        std::vector<detail::sleep_request> sleeps(many, sleep_for(1h));
        sleeps[many / 2] = sleep_for(1ms);
        const auto [index, results] = co_await when_any(std::move(sleeps));
        int canceled = 0;
        for (const auto& each : results) canceled += each.ec == errc::canceled;
        CHECK(index == many / 2);
        CHECK(canceled == many - 1);
    });
}

REACTOR_TEST("a group of a hundred thousand children ends by itself, and by cancellation") {
    run(kind, [](io_context&) -> task<> {
        event go;
        int woken = 0;
        task_group group;
        for (int i = 0; i < many; ++i) group.spawn(wait_for(go, woken));
        CHECK(group.size() == many);
        co_await yield();
        go.set();
        const result<> first = co_await group.join();
        CHECK(first.ok());
        CHECK(woken == many);

        go.reset();
        for (int i = 0; i < many; ++i) group.spawn(wait_for(go, woken));
        co_await yield();
        group.cancel();
        const result<> second = co_await group.join();
        CHECK(second.ok());
        CHECK(woken == many);
    });
}

REACTOR_TEST("a hundred thousand results come in the order of their branches") {
    run(kind, [](io_context&) -> task<> {
        std::vector<task<int>> works;
        for (int i = 0; i < many; ++i) works.push_back(number(i));
        const std::vector<int> results = co_await when_all(std::move(works));
        bool in_order = results.size() == many;
        for (int i = 0; in_order && i < many; ++i)
            in_order = results[static_cast<std::size_t>(i)] == i;
        CHECK(in_order);
    });
}

REACTOR_TEST("a hundred thousand messages wait in a channel, and keep their order") {
    run(kind, [](io_context&) -> task<> {
        channel<int> numbers(many / 2);
        task_group group;
        for (int i = 0; i < many; ++i)
            group.spawn([](channel<int>& to, int value) -> task<result<>> {
                co_return co_await to.send(value);
            }(numbers, i));
        co_await yield();
        CHECK(numbers.size() == many / 2);
        bool in_order = true;
        for (int i = 0; i < many; ++i)
            in_order = in_order && (co_await numbers.receive()).data == i;
        CHECK(in_order);
        const result<> joined = co_await group.join();
        CHECK(joined.ok());
    });
}
