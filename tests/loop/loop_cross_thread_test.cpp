// What may be called from any thread: post, stop, and cancellation through a stop_token. To be run
// under thread sanitizer too.
#include <curfew/loop/loop.hpp>

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
#include "support/watched_reactor.hpp"

using namespace curfew;
using namespace std::chrono_literals;
using test::counted;
using test::watched_reactor;

namespace {

#if defined(__SANITIZE_THREAD__) || defined(_WIN32)  // where threads are slow
constexpr int effort = 1;
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
constexpr int effort = 1;
#else
constexpr int effort = 4;
#endif
#else
constexpr int effort = 4;
#endif

/// Waits for another thread, without a time limit of its own.
template <class Condition>
void spin_until(Condition condition) {
    while (!condition()) std::this_thread::yield();
}

/// Keeps a loop alive until it is cancelled; true if it was, and did not just wait to its end.
task<bool> keep_alive() {
    const auto [ec] = co_await sleep_for(60s);
    co_return ec == errc::canceled;
}

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

struct watched {
    std::shared_ptr<watched_reactor::log> log = std::make_shared<watched_reactor::log>();
    io_context ctx;
    explicit watched(reactor_kind kind) : ctx(std::make_unique<watched_reactor>(kind, log)) {
        log->keep_waits = false;
    }
};

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
    watched own(kind);
    auto alive = own.ctx.spawn(keep_alive());
    std::atomic<int> seen{0};
    const int rounds = 500 * effort;
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
    watched own(kind);
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
    CHECK(ctx.block_on(all_arrive(ctx, 250 * effort, seed)));
}

REACTOR_TEST("a wake-up is never lost, though a reactor comes across it elsewhere") {
    const unsigned seed = std::random_device()();
    CAPTURE(seed);
    auto log = std::make_shared<watched_reactor::log>();
    log->keep_waits = false;
    log->takes_wakes_away = true;
    io_context ctx(std::make_unique<watched_reactor>(kind, log));
    CHECK(ctx.block_on(all_arrive(ctx, 250 * effort, seed)));
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
    watched own(kind);
    const auto alive = own.ctx.spawn(keep_alive());
    for (int i = 0; i < 50 * effort; ++i) {
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
    for (int i = 0; i < 200 * effort; ++i) {
        std::thread stopper([&] { ctx.stop(); });
        ctx.run();
        stopper.join();
        REQUIRE_FALSE(alive.done());
    }
}

REACTOR_TEST("stops from several threads at once end at least one run, and the loop works on") {
    io_context ctx(kind);
    auto alive = ctx.spawn(keep_alive());
    for (int i = 0; i < 50 * effort; ++i) {
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

// cancel_on ---------------------------------------------------------------------------------------

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
    watched own(kind);
    for (int i = 0; i < 50 * effort; ++i) {
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
    for (const auto end = clock::now() + 5s; rounds < 1'000 * effort && clock::now() < end; ++rounds)
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
    for (const auto end = clock::now() + 5s; rounds < 500 * effort && clock::now() < end; ++rounds)
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
    for (int i = 0; i < 200 * effort; ++i) {
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
    CHECK(canceled + destroyed == 200 * effort);
    CHECK(destroyed > 0);
    CHECK(wrong == 0);
}
#endif

REACTOR_TEST("a stop that races with the end of the context does no harm") {
    int alive = 0;
    const auto work = [](counted, std::stop_token token) -> task<> {
        (void)co_await sleep_until_stopped(std::move(token));
    };
    for (int i = 0; i < 100 * effort; ++i) {
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
