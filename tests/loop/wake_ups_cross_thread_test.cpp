// What may be called from any thread: post and stop. To be run under thread sanitizer too.
#include <curfew/loop/wake_ups.hpp>

#include <doctest/doctest.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdio>
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
using test::watched_reactor;

namespace {

/// Keeps a loop alive until it is cancelled; true if it was, and did not just wait to its end.
task<bool> keep_alive() {
    const auto [ec] = co_await sleep_for(60s);
    co_return ec == errc::canceled;
}

}  // namespace

// Post --------------------------------------------------------------------------------------------

REACTOR_TEST("posts from four threads all run, each thread's in its order") {
    constexpr int threads = 4;
    constexpr int each = 5'000;
    io_context ctx(kind);
    const auto loop_thread = std::this_thread::get_id();
    std::array<int, threads> next{};
    int wrong = 0;
    int total = 0;
    auto alive = ctx.spawn(keep_alive());
    std::vector<std::thread> posters;
    for (std::size_t t = 0; t < threads; ++t)
        posters.emplace_back([&, t] {
            for (int i = 0; i < each; ++i)
                ctx.post([&, t, i] {
                    if (next[t]++ != i || std::this_thread::get_id() != loop_thread) ++wrong;
                    if (++total == threads * each) alive.cancel();
                });
        });
    ctx.run();
    for (auto& poster : posters) poster.join();
    CHECK(total == threads * each);
    CHECK(wrong == 0);
    const auto join = [](join_handle<bool>& handle) -> task<bool> { co_return co_await handle; };
    CHECK(ctx.block_on(join(alive)));
}

REACTOR_TEST("a loop blocked in its wait wakes up for every single post") {
    watched own(kind, false);
    auto alive = own.ctx.spawn(keep_alive());
    std::atomic<int> seen{0};
    const int rounds = 500 * thread_effort;
    std::thread poster([&] {
        for (int i = 0; i < rounds; ++i) {
            spin_until([&] { return own.log->waiting.load(); });  // about to block, or blocked
            if (i % 2) std::this_thread::yield();
            own.ctx.post([&] { seen.fetch_add(1); });
            spin_until([&] { return seen.load() == i + 1; });
        }
        own.ctx.post([&] { alive.cancel(); });
    });
    own.ctx.run();
    poster.join();
    CHECK(seen.load() == rounds);
    CHECK(alive.done());
}

REACTOR_TEST(
    "one wake-up is enough for many posts, and none is needed from the loop's own thread") {
    watched own(kind, false);
    for (int i = 0; i < 1'000; ++i) own.ctx.post([] {});
    CHECK(own.log->wakes.load() == 1);
    own.ctx.post([&] {
        const int before = own.log->wakes.load();
        for (int i = 0; i < 1'000; ++i) own.ctx.post([] {});
        CHECK(own.log->wakes.load() == before);
    });
    CHECK(own.ctx.run() == 2'001);
}

REACTOR_TEST("posts reach a loop that is polled, too") {
    io_context ctx(kind);
    int total = 0;
    constexpr int many = 2'000;
    std::thread poster([&] {
        for (int i = 0; i < many; ++i) ctx.post([&] { ++total; });
    });
    while (total < many) ctx.poll();
    poster.join();
    CHECK(total == many);
    CHECK(ctx.poll() == 0);
}

REACTOR_TEST("posts while the loop is not running wait for the next run") {
    io_context ctx(kind);
    std::vector<int> log;
    std::thread([&] {
        for (int i = 0; i < 100; ++i) ctx.post([&, i] { log.push_back(i); });
    }).join();
    CHECK(log.empty());
    CHECK(ctx.run() == 100);
    REQUIRE(log.size() == 100);
    for (int i = 0; i < 100; ++i) CHECK(log[static_cast<std::size_t>(i)] == i);
}

namespace {

/// What another thread does, once a round, at some moment or other.
class caller {
public:
    explicit caller(io_context& ctx) : ctx_(ctx) {}

    /// Begins a round: `happened` is set, `source` stopped, or `promise` fulfilled soon.
    void begin(unsigned how, unsigned delay, event& happened, std::stop_source source,
               thread_promise<int> promise) {
        how_ = how;
        delay_ = delay;
        event_ = &happened;
        source_ = std::move(source);
        promise_ = std::move(promise);
        round_.fetch_add(1, std::memory_order_release);
    }

private:
    void run() {
        for (unsigned seen = 0;; ++seen) {
            unsigned now;
            spin_until([&] { return (now = round_.load(std::memory_order_acquire)) != seen; });
            if (over_) return;
            for (unsigned spin = 0; spin < delay_; ++spin)
                std::atomic_signal_fence(std::memory_order_seq_cst);
            if (how_ == 0)
                ctx_.post([to = event_] { to->set(); });
            else if (how_ == 1)
                source_.request_stop();
            else
                promise_.set_value(1);
            done_.store(now, std::memory_order_release);
        }
    }

public:
    /// The round has ended in the other thread, too.
    void finish() {
        spin_until([&] { return done_.load(std::memory_order_acquire) == round_.load(); });
    }

    ~caller() {
        over_ = true;
        round_.fetch_add(1, std::memory_order_release);
        thread_.join();
    }

private:
    io_context& ctx_;
    unsigned how_ = 0;
    unsigned delay_ = 0;
    event* event_ = nullptr;
    std::stop_source source_;
    thread_promise<int> promise_;
    bool over_ = false;
    std::atomic<unsigned> round_{0};
    std::atomic<unsigned> done_{0};
    std::thread thread_{[this] { run(); }};  // after all that it looks at
};

task<> receive_nothing(udp::socket& socket) {
    std::array<char, 8> buffer;
    (void)co_await socket.receive(buffer);
}

/// Ends operations in one of the ways in which a reactor may enter the system for it.
task<> end_something(io_context& ctx, unsigned how, const ip::endpoint& nobody) {
    if (how == 4) {
        tcp::socket connecting(ctx);
        (void)co_await with_timeout(connecting.connect(nobody), 0s);
        co_return;
    }
    auto socket = std::make_unique<udp::socket>(ctx);
    socket->bind({ip::address::loopback_v4(), 0}).value();
    auto reading = ctx.spawn(receive_nothing(*socket));
    co_await yield();
    if (how == 0) socket->close();
    if (how == 1) socket->cancel();
    if (how == 2) reading.cancel();
    if (how == 3) {
        const auto handle = socket->release();
        (void)udp::socket::adopt(ctx, handle);  // which closes it
    }
    if (how == 5) socket.reset();  // the read ends with its socket
    co_await reading;
}

/// Whether what another thread calls arrives, whatever is ended meanwhile. (It would be found with
/// the next thing that ends the loop's wait, which is nothing but a limit of a minute.)
task<bool> all_arrive(io_context& ctx, int rounds, unsigned seed) {
    std::mt19937 random(seed);
    const auto below = [&random](unsigned end) { return static_cast<unsigned>(random() % end); };
    caller other(ctx);
    udp::socket nobody(ctx);
    nobody.bind({ip::address::loopback_v4(), 0}).value();
    for (int i = 0; i < rounds; ++i) {
        event happened;
        std::stop_source source;
        thread_promise<int> promise;
        const thread_future<int> future = promise.get_future();
        const unsigned how = below(3);
        other.begin(how, below(2'000), happened, source, std::move(promise));
        co_await end_something(ctx, below(6), nobody.local_endpoint());
        bool arrived;
        if (how == 0)
            arrived = (co_await with_timeout(happened.wait(), 60s)).ok();
        else if (how == 1)
            arrived = (co_await cancel_on(sleep_for(60s), source.get_token())).ec == errc::canceled;
        else
            arrived = (co_await with_timeout(future, 60s)).ok();
        other.finish();
        if (!arrived) co_return false;
    }
    co_return true;
}

}  // namespace

REACTOR_TEST("a wake-up is never lost, whatever the loop ends meanwhile") {
    const unsigned seed = std::random_device()();
    CAPTURE(seed);
    io_context ctx(kind);
    CHECK(ctx.block_on(all_arrive(ctx, 250 * thread_effort, seed)));
}

REACTOR_TEST("a wake-up is never lost, though a reactor comes across it elsewhere") {
    const unsigned seed = std::random_device()();
    CAPTURE(seed);
    auto log = std::make_shared<watched_reactor::log>();
    log->keep_waits = false;
    log->takes_wakes_away = true;
    io_context ctx(std::make_unique<watched_reactor>(kind, log));
    CHECK(ctx.block_on(all_arrive(ctx, 250 * thread_effort, seed)));
}

REACTOR_TEST("contexts in several threads post to each other") {
    constexpr int hops = 2'000;
    io_context first(kind), second(kind);
    auto first_alive = first.spawn(keep_alive());
    auto second_alive = second.spawn(keep_alive());
    struct ball {
        io_context& here;
        io_context& there;
        join_handle<bool>& alive_here;
        join_handle<bool>& alive_there;
        int hops_left;
        int& landed;
        void operator()() const {
            if (hops_left <= 1) alive_here.cancel();
            if (hops_left == 0) return;
            ++landed;
            there.post(ball{there, here, alive_there, alive_here, hops_left - 1, landed});
        }
    };
    int landed = 0;  // handed from thread to thread with the ball
    first.post(ball{first, second, first_alive, second_alive, hops, landed});
    std::thread other([&] { second.run(); });
    first.run();
    other.join();
    CHECK(landed == hops);
    CHECK(first_alive.done());
    CHECK(second_alive.done());
}

REACTOR_TEST("functions posted from other threads that never run are destroyed with the context") {
    std::atomic<int> alive{0};
    struct held {
        std::atomic<int>* count;
        explicit held(std::atomic<int>& c) : count(&c) { ++*count; }
        held(held&& other) noexcept : count(other.count) { ++*count; }
        ~held() { --*count; }
    };
    {
        io_context ctx(kind);
        std::vector<std::thread> posters;
        for (int t = 0; t < 4; ++t)
            posters.emplace_back([&] {
                for (int i = 0; i < 500; ++i) ctx.post([h = held(alive)] {});
            });
        ctx.poll();
        for (auto& poster : posters) poster.join();
    }
    CHECK(alive.load() == 0);
}

// Stop --------------------------------------------------------------------------------------------

REACTOR_TEST("stop from another thread wakes a loop that is blocked in its wait") {
    watched own(kind, false);
    const auto alive = own.ctx.spawn(keep_alive());
    for (int i = 0; i < 50 * thread_effort; ++i) {
        std::thread stopper([&] {
            spin_until([&] { return own.log->waiting.load(); });
            own.ctx.stop();
        });
        own.ctx.run();
        stopper.join();
        REQUIRE_FALSE(alive.done());  // it was the stop that ended the run, each time
    }
}

REACTOR_TEST("a stop that races with the beginning of a run ends that run") {
    io_context ctx(kind);
    const auto alive = ctx.spawn(keep_alive());
    for (int i = 0; i < 200 * thread_effort; ++i) {
        std::thread stopper([&] { ctx.stop(); });
        ctx.run();
        stopper.join();
        REQUIRE_FALSE(alive.done());
    }
}

REACTOR_TEST("stops from several threads at once end at least one run, and the loop works on") {
    io_context ctx(kind);
    auto alive = ctx.spawn(keep_alive());
    for (int i = 0; i < 50 * thread_effort; ++i) {
        std::array<std::thread, 3> stoppers;
        for (auto& each : stoppers) each = std::thread([&] { ctx.stop(); });
        ctx.run();
        for (auto& each : stoppers) each.join();
        ctx.stop();  // together with what is left of those, one
        REQUIRE(ctx.run() == 0);
    }
    alive.cancel();
    CHECK(ctx.run() > 0);
    CHECK(alive.done());
}

REACTOR_TEST("posts before a stop are kept for the next run") {
    io_context ctx(kind);
    int total = 0;
    int posted = 0;
    const auto alive = ctx.spawn(keep_alive());
    for (int i = 0; i < 50; ++i) {
        std::thread other([&] {
            for (int n = 0; n < 20; ++n) ctx.post([&] { ++total; });
            ctx.stop();
        });
        ctx.run();
        other.join();
        posted += 20;
    }
    ctx.poll();
    CHECK(total == posted);
}
