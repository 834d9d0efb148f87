// Bounded turns: whatever is always ready, the limits of others are looked at, and those whose
// limits have expired go on. What is counted here is what others do meanwhile, each step of which
// takes some time by itself; so a machine that is busy changes nothing.
#include <curfew/loop/turns.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <memory>
#include <span>
#include <system_error>
#include <thread>
#include <vector>

#include <curfew/curfew.hpp>

#include "support/crowd.hpp"
#include "support/events.hpp"
#include "support/loop.hpp"
#include "support/platform.hpp"
#include "support/reactors.hpp"
#include "support/watched_reactor.hpp"

using namespace curfew;
using namespace std::chrono_literals;
using test::any_port;
using test::crowd;
using test::honest_system;
using test::join;
using test::watched;

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

namespace {

/// Awaits what completes at once, until told to end.
task<> complete_at_once(tcp::socket& socket, const bool& end, int& count) {
    std::array<std::byte, 1> buffer;
    while (!end && count < 10'000'000) {
        (void)co_await socket.read_some(std::span(buffer).first(0));
        ++count;
    }
}

}  // namespace

REACTOR_TEST("a task whose operations all complete at once starves no other task") {
    io_context ctx(kind);
    tcp::socket socket(ctx);
    socket.open(ip::family::v4).value();
    bool end = false;
    int count = 0;
    ctx.spawn(complete_at_once(socket, end, count));
    ctx.spawn([](bool& done) -> task<> {
        for (int i = 0; i < 10; ++i) co_await yield();
        done = true;
    }(end));
    ctx.run();
    CHECK(end);
    CHECK(count > 0);
    CHECK(count < 100'000);
}

REACTOR_TEST("a task whose operations all complete at once starves no sleep") {
    io_context ctx(kind);
    tcp::socket closed(ctx);
    bool end = false;
    int count = 0;
    ctx.spawn(complete_at_once(closed, end, count));
    ctx.spawn([](bool& done) -> task<> {
        (void)co_await sleep_for(10us);
        done = true;
    }(end));
    ctx.run();
    CHECK(end);
}

REACTOR_TEST("a task whose operations all complete at once starves no socket and no function") {
    io_context ctx(kind);
    tcp::socket closed(ctx);
    udp::socket receiver(ctx);
    receiver.bind(any_port()).value();
    bool received = false, posted = false;
    int count = 0;
    ctx.spawn(complete_at_once(closed, received, count));
    ctx.spawn([](io_context& own, udp::socket& from, bool& done, bool& after) -> task<> {
        std::array<char, 8> buffer;
        udp::socket sender(own);
        sender.bind(any_port()).value();
        co_await yield();
        own.post([&] { after = true; });
        (void)(co_await sender.send_to("x", from.local_endpoint())).value();
        (void)(co_await from.receive(buffer)).value();
        done = true;
    }(ctx, receiver, received, posted));
    ctx.run();
    CHECK(received);
    CHECK(posted);
    CHECK(count < 10'000'000);
}

REACTOR_TEST("poll returns although a task's operations all complete at once") {
    io_context ctx(kind);
    tcp::socket closed(ctx);
    const bool never = false;
    int count = 0;
    auto handle = ctx.spawn(complete_at_once(closed, never, count));
    ctx.poll();
    CHECK(count > 0);
    CHECK(count < 100'000);
    const int before = count;
    ctx.poll();
    CHECK(count > before);
    CHECK_FALSE(handle.done());
}

REACTOR_TEST("functions that post themselves again starve no sleep of a run") {
    io_context ctx(kind);
    bool end = false;
    int count = 0;
    struct again {
        io_context& ctx;
        const bool& end;
        int& count;
        void operator()() const {
            if (!end && ++count < 10'000'000) ctx.post(*this);
        }
    };
    ctx.post(again{ctx, end, count});
    ctx.spawn([](bool& done) -> task<> {
        (void)co_await sleep_for(10us);
        done = true;
    }(end));
    ctx.run();
    CHECK(end);
    CHECK(count < 10'000'000);
}

// Polls, ticks, settling
// ---------------------------------------------------------------------------

REACTOR_TEST("poll takes all that is ready, more than a system call tells at once") {
    constexpr std::size_t count = 400;
    // A reactor may have the system tell less at a time after it has brought much.
    for (const std::size_t size : {std::size_t{1}, std::size_t{16'384}}) {
        CAPTURE(size);
        io_context ctx(kind);
        crowd all(ctx, count);
        std::size_t received = 0;
        for (udp::socket& each : all.sockets)
            ctx.spawn([](udp::socket& from, std::size_t wanted, std::size_t& total) -> task<> {
                std::vector<char> buffer(wanted);
                for (int round = 0; round < 2; ++round) {
                    auto [ec, n] = co_await from.receive(buffer);
                    total += !ec && n == wanted;
                }
            }(each, size, received));
        while (ctx.poll() > 0) {}
        CHECK(received == 0);
        for (std::size_t round = 1; round <= 2; ++round) {
            all.reach(kind, size);
            ctx.poll();
            CHECK(received == round * count);
        }
    }
}

REACTOR_TEST("events that nobody waits for hide nothing, neither from poll nor from a limit") {
    const honest_system now;
    io_context ctx(kind);
    crowd idle(ctx, 200);
    crowd wanted(ctx, 1);
    const auto receive = [](udp::socket& from, std::chrono::milliseconds limit) -> task<bool> {
        std::array<char, 8> buffer;
        auto [ec, n] = co_await with_timeout(from.receive(buffer), limit);
        co_return !ec && n == 1;
    };
    // Since they have waited once, the system is asked about them.
    for (udp::socket& each : idle.sockets) ctx.spawn(receive(each, 1min));
    while (ctx.poll() > 0) {}
    for (udp::socket& each : idle.sockets) each.cancel();
    ctx.run();

    auto polled = ctx.spawn(receive(wanted.sockets.front(), 1min));
    while (ctx.poll() > 0) {}
    idle.reach(kind, 1);
    wanted.reach(kind, 1);
    ctx.poll();
    CHECK(polled.done());
    CHECK(join(ctx, polled));

    auto limited = ctx.spawn(receive(wanted.sockets.front(), 20ms));
    while (ctx.poll() > 0) {}
    idle.reach(kind, 1);
    wanted.reach(kind, 1);
    std::this_thread::sleep_for(25ms);  // nobody looks until the limit is over
    CHECK(join(ctx, limited));
}

REACTOR_TEST("poll returns, and limits expire, though coroutines keep each other ready for ever") {
    io_context ctx(kind);
    channel<int> there(0), back(0);
    bool over = false;
    ctx.spawn([](channel<int>& to, channel<int>& from) -> task<> {
        while (true) {
            const auto [sent] = co_await to.send(1);
            if (sent) co_return;
            const auto [ec, value] = co_await from.receive();
            if (ec) co_return;
        }
    }(there, back));
    ctx.spawn([](channel<int>& from, channel<int>& to) -> task<> {
        while (true) {
            const auto [ec, value] = co_await from.receive();
            if (ec) co_return;
            const auto [sent] = co_await to.send(value);
            if (sent) co_return;
        }
    }(there, back));
    ctx.spawn([](bool& slept, channel<int>& ends) -> task<> {
        (void)co_await sleep_for(2ms);
        slept = true;
        ends.close();
    }(over, there));
    for (int i = 0; i < 10'000 && !over; ++i) ctx.poll();
    CHECK(over);
}

REACTOR_TEST("a loop whose tasks wait for ticks sleeps in the system, and does not spin") {
    watched own(kind);
    own.ctx.spawn([]() -> task<> {
        for (;;)
            if (auto [ec] = co_await next_tick(); ec) co_return;
    }());
    for (int frame = 0; frame < 10; ++frame) {
        own.ctx.poll();
        own.ctx.run_for(3ms);
        own.ctx.poll_until(curfew::clock::now() + 3ms);
    }
    CHECK(own.log->waits.size() < 200);
}

REACTOR_TEST("what yields beside a wait for a tick leaves no chores behind: run_for sleeps") {
    watched own(kind);
    int ticks = 0;
    own.ctx.spawn([](int& count) -> task<> {
        for (int i = 0; i < 5; ++i) {
            co_await next_tick();
            ++count;
        }
    }(ticks));
    own.ctx.spawn([]() -> task<> {
        for (int i = 0; i < 5; ++i) co_await yield();
    }());
    own.ctx.poll_for(10s);
    CHECK(ticks == 0);
    const std::size_t waits = own.log->waits.size();
    own.ctx.run_for(5ms);
    CHECK(ticks == 0);
    CHECK(own.log->waits.size() < waits + 20);
    for (int i = 1; i <= 5; ++i) {
        own.ctx.poll_for(10s);
        CHECK(ticks == i);
    }
}
