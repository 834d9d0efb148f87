// Bounded turns: whatever is always ready, the limits of others are looked at, and those whose
// limits have expired go on. What is counted here is what others do meanwhile, each step of which
// takes some time by itself; so a machine that is busy changes nothing.
#include <curfew/loop/loop.hpp>

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

#include "support/effort.hpp"
#include "support/loop.hpp"

using namespace curfew;
using namespace std::chrono_literals;

namespace {

/// Counts what others do between the time at which a sleeper is to go on, and when it does.
class observed_sleep {
public:
    /// A step that takes at least 20 microseconds.
    void step() {
        const auto begun = curfew::clock::now();
        if (begun >= due_) ++late_;
        while (curfew::clock::now() < begun + 20us) {}
    }

    bool over() const { return over_; }
    int most() const { return most_; }

    /// Sleeps again and again; says how many steps it has waited for at the most.
    task<> run(int times) {
        for (int i = 0; i < times; ++i) {
            late_ = 0;
            due_ = curfew::clock::now() + 2ms;
            co_await sleep_until(due_);
            due_ = curfew::clock::time_point::max();
            most_ = std::max(most_, late_);
        }
        over_ = true;
    }

private:
    curfew::clock::time_point due_ = curfew::clock::time_point::max();
    int late_ = 0;
    int most_ = 0;
    bool over_ = false;
};

// Before the clock is asked there may be 64 steps, and when others are told to give way each of the
// queues may go on for as many; all that is far from a step of each task.
constexpr int few_steps = 300;
constexpr int many_tasks = 2'500;

template <class Task>
void check(reactor_kind kind, Task never_waits) {
    io_context ctx(kind);
    observed_sleep sleeper;
    ctx.spawn([&]() -> task<> {
        task_group busy;
        for (int i = 0; i < many_tasks; ++i) busy.spawn(never_waits(sleeper));
        co_await sleeper.run(5);
        co_await busy.join();
    });
    ctx.run();
    CHECK(sleeper.most() < few_steps);
}

}  // namespace

REACTOR_TEST("bounded turns: tasks that yield for ever keep no sleep waiting for all of them") {
    check(kind, [](observed_sleep& sleeper) -> task<> {
        while (!sleeper.over()) {
            sleeper.step();
            co_await yield();
        }
    });
}

REACTOR_TEST("bounded turns: what completes at once keeps no sleep waiting for all of it") {
    event happened;
    happened.set();
    check(kind, [&happened](observed_sleep& sleeper) -> task<> {
        return [](event& set, observed_sleep& until) -> task<> {
            while (!until.over()) {
                until.step();
                co_await set.wait();
            }
        }(happened, sleeper);
    });
}

REACTOR_TEST("bounded turns: messages that pass from hand to hand keep no sleep waiting") {
    io_context ctx(kind);
    observed_sleep sleeper;
    std::vector<std::unique_ptr<channel<int>>> channels;
    ctx.spawn([](observed_sleep& until, auto& all) -> task<> {
        task_group busy(on_error::ignore);
        for (int i = 0; i < many_tasks / 2; ++i) {
            all.push_back(std::make_unique<channel<int>>(0));
            busy.spawn([](channel<int>& to, observed_sleep& end) -> task<> {
                while (!end.over()) {
                    end.step();
                    (void)co_await to.send(1);
                }
                to.close();
            }(*all.back(), until));
            busy.spawn([](channel<int>& from, observed_sleep& end) -> task<> {
                for (;;) {
                    const auto got = co_await from.receive();
                    if (!got.ok()) co_return;
                    end.step();
                }
            }(*all.back(), until));
        }
        co_await until.run(5);
        co_await busy.join();
    }(sleeper, channels));
    ctx.run();
    CHECK(sleeper.most() < few_steps);
}

REACTOR_TEST("bounded turns: datagrams that can always be sent keep no sleep waiting") {
    io_context ctx(kind);
    udp::socket sink(ctx);
    sink.bind(test::any_port()).value();
    const ip::endpoint to = sink.local_endpoint();
    std::vector<udp::socket> sockets;
    for (int i = 0; i < 100; ++i) sockets.emplace_back(ctx);
    observed_sleep sleeper;
    ctx.spawn([](observed_sleep& until, auto& all, const ip::endpoint& receiver) -> task<> {
        task_group busy(on_error::ignore);
        for (udp::socket& each : all)
            busy.spawn(
                [](udp::socket& from, const ip::endpoint& at, observed_sleep& end) -> task<> {
                    while (!end.over()) {
                        end.step();
                        (void)co_await from.send_to("x", at);
                    }
                }(each, receiver, until));
        co_await until.run(5);
        co_await busy.join();
    }(sleeper, sockets, to));
    ctx.run();
    CHECK(sleeper.most() < few_steps);
}

REACTOR_TEST("who gives way is not kept waiting for ever by those who are always ready") {
    io_context ctx(kind);
    bool over = false;
    ctx.spawn([](bool& end) -> task<> {  // the last to be ready, each time
        for (int i = 0; i < 100; ++i) co_await yield();
        end = true;
    }(over));
    channel<int> there(0), back(0);
    const auto pass = [](channel<int>& from, channel<int>& to, bool& end) -> task<> {
        while (!end) {
            if (!(co_await from.receive()).ok()) break;
            if (!(co_await to.send(1)).ok()) break;
        }
        from.close();
        to.close();
    };
    ctx.spawn(pass(there, back, over));
    ctx.spawn(pass(back, there, over));
    ctx.spawn([](channel<int>& to) -> task<> { (void)co_await to.send(1); }(there));
    ctx.run();
    CHECK(over);
}

REACTOR_TEST("bounded turns: limits of one instant are carried out in slices") {
    io_context ctx(kind);
    const int many = static_cast<int>(test::scaled(20'000));
    int fired = 0;
    const auto when = curfew::clock::now() + 200ms;
    for (int i = 0; i < many; ++i)
        ctx.spawn([](curfew::clock::time_point at, int& count) -> task<> {
            co_await sleep_until(at);
            ++count;
        }(when, fired));
    int most = 0;
    ctx.spawn([](int all, int& count, int& longest, curfew::clock::time_point at) -> task<> {
        co_await sleep_until(at);
        while (count < all) {
            const int before = count;
            co_await sleep_for(1us);
            longest = std::max(longest, count - before);
        }
    }(many, fired, most, when - 1ms));  // it beats when their time comes
    ctx.run();
    CHECK(fired == many);
    // (The first 250 that are left over keep their order.)
    CHECK(most < 1'000);
}

// Where one run ends and another begins -----------------------------------------------------------

namespace {

task<> yield_often(int times, int& count) {
    for (int i = 0; i < times; ++i) {
        co_await yield();
        ++count;
    }
}

}  // namespace

#if CURFEW_EXCEPTIONS
REACTOR_TEST("who gave way goes on after a run that an exception has ended") {
    io_context ctx(kind);
    int count = 0;
    ctx.spawn(yield_often(1'000, count));
    ctx.spawn([]() -> task<> {
        co_await yield();
        throw 1;
    });
    CHECK_THROWS_AS(ctx.run(), int);
    CHECK(count < 1'000);
    ctx.run();
    CHECK(count == 1'000);
}
#endif

REACTOR_TEST("runs within coroutines that gave way lose nobody else who did") {
    io_context ctx(kind);
    constexpr int tasks = 300;
    int count = 0, runs = 0;
    for (int i = 0; i < tasks; ++i) {
        ctx.spawn(yield_often(20, count));
        if (i % 10 != 0) continue;
        ctx.spawn([](io_context& own, int& done) -> task<> {
            for (int times = 0; times < 3; ++times) {
                co_await yield();
                own.run_for(0ns);
                own.block_on(yield());
                ++done;
            }
        }(ctx, runs));
    }
    ctx.run();
    CHECK(count == tasks * 20);
    CHECK(runs == tasks / 10 * 3);
}

REACTOR_TEST("a poll carries out all limits that are over") {
    io_context ctx(kind);
    int woken = 0;
    const auto when = curfew::clock::now() + 1ms;
    for (int i = 0; i < 1'000; ++i)
        ctx.spawn([](curfew::clock::time_point at, int& count) -> task<> {
            co_await sleep_until(at);
            ++count;
        }(when, woken));
    ctx.poll();
    while (curfew::clock::now() < when) {}
    ctx.poll();
    CHECK(woken == 1'000);
}
