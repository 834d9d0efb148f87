// What structure costs: a branch of when_all and when_any, a child of a group, a message.
//
// Without options it prints the table of nanoseconds at growing sizes, which must not grow with
// them. `--what when_all --count 1000 --rounds 5` does one thing, for a count of instructions.

#include "echo.hpp"

#include <ctime>
#include <vector>

#include <curfew/curfew.hpp>

using namespace curfew;
using namespace std::chrono_literals;

namespace {

using number = unsigned long;

void must(bool holds, const char* what) {
    if (!holds) echo::fail(what, "it did not do what it is measured for");
}

/// All in one range.
task<> all_of_sleeps(number count) {
    std::vector<detail::sleep_request> sleeps(count, sleep_for(1us));
    const auto results = co_await when_all(std::move(sleeps));
    must(results.size() == count && results.back().ok(), "when_all");
}

task<int> at_once() { co_return 1; }
task<int> never() {
    co_await sleep_for(1h);
    co_return 2;
}

/// Of two tasks each: one wins at once, one is cancelled in its sleep.
task<> any_of_two(number count) {
    for (number i = 0; i < count; i += 2) {
        const auto [index, results] = co_await when_any(never(), at_once());
        must(index == 1, "when_any");
    }
}

task<> child(number& ended) {
    co_await yield();
    ++ended;
}

task<> children(number count) {
    number ended = 0;
    task_group group;
    for (number i = 0; i < count; ++i) group.spawn(child(ended));
    must((co_await group.join()).ok() && ended == count, "group");
}

task<> messages(number count) {
    channel<number> numbers(16);
    task_group group;
    group.spawn([](channel<number>& to, number end) -> task<> {
        for (number i = 0; i < end; ++i) (co_await to.send(i)).value();
    }(numbers, count));
    for (number i = 0; i < count; ++i) must((co_await numbers.receive()).data == i, "channel");
    must((co_await group.join()).ok(), "channel");
}

struct subject {
    std::string_view name;
    const char* unit;
    task<> (*run)(number count);
};

constexpr subject subjects[]{
    {"when_all", "a branch of when_all, a sleep", &all_of_sleeps},
    {"when_any", "a branch of when_any, a task", &any_of_two},
    {"group", "a child of a task_group", &children},
    {"channel", "a message through a channel", &messages},
};

double seconds() noexcept {
    timespec time{};
    clock_gettime(CLOCK_MONOTONIC, &time);
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) / 1e9;
}

/// The least of several runs, in nanoseconds for each of `count`.
double nanoseconds(io_context& ctx, const subject& what, number count) {
    double least = 1e9;
    for (int run = 0; run < 7; ++run) {
        const double before = seconds();
        ctx.block_on(what.run(count));
        const double each = (seconds() - before) * 1e9 / static_cast<double>(count);
        if (each < least) least = each;
    }
    return least;
}

}  // namespace

int main(int argc, char** argv) {
    const echo::arguments arguments(argc, argv, {"--what", "--count", "--rounds"});
    const std::string_view name =
        arguments.choice("--what", {"all", "when_all", "when_any", "group", "channel"});
    io_context ctx;
    if (name == "all") {
        std::printf("nanoseconds, the least of 7 runs     1,000    10,000   100,000\n");
        for (const subject& each : subjects) {
            std::printf("%-32s", each.unit);
            for (const number count : {1'000ul, 10'000ul, 100'000ul})
                std::printf("%10.1f", nanoseconds(ctx, each, count));
            std::printf("\n");
        }
        return 0;
    }
    const number count = arguments.number("--count", 1000);
    for (number rounds = arguments.number("--rounds", 1); rounds > 0; --rounds)
        for (const subject& each : subjects)
            if (each.name == name) ctx.block_on(each.run(count));
}
