#include <curfew/channel.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <system_error>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include <curfew/curfew.hpp>

#include "support/loop.hpp"
#include "support/reactors.hpp"

using namespace curfew;
using namespace std::chrono_literals;
using test::act_when_limits_are_over;
using test::join;
using test::run;

REACTOR_TEST("error codes go through a channel as messages, not as its own errors") {
    run(kind, [](io_context&) -> task<> {
        channel<std::error_code> codes(1);
        (co_await codes.send(errc::eof)).value();
        const auto [ec, message] = co_await codes.receive();
        CHECK_FALSE(ec);
        CHECK(message == errc::eof);
        codes.close();
        CHECK((co_await codes.receive()).ec == errc::closed);
    });
}

namespace {

using numbers = std::vector<int>;

/// Sends the numbers from `first` to `last`.
task<> send_all(channel<int>& to, int first, int last) {
    for (int n = first; n <= last; ++n) (co_await to.send(n)).value();
}

/// Receives until the channel is closed.
task<> receive_all(channel<int>& from, numbers& log) {
    for (;;) {
        const auto [ec, n] = co_await from.receive();
        if (ec) {
            CHECK(ec == errc::closed);
            co_return;
        }
        log.push_back(n);
    }
}

task<std::error_code> send_one(channel<int>& to, int n) {
    const auto [ec] = co_await to.send(n);
    co_return ec;
}

task<result<int>> receive_one(channel<int>& from) { co_return co_await from.receive(); }

/// A message that can be moved but not assigned, and is counted while it holds something.
class tracked {
public:
    tracked() noexcept = default;
    explicit tracked(int& alive) noexcept : alive_(&alive) { ++*alive_; }
    tracked(tracked&& other) noexcept : alive_(std::exchange(other.alive_, nullptr)) {}
    tracked& operator=(tracked&&) = delete;
    ~tracked() {
        if (alive_) --*alive_;
    }

private:
    int* alive_ = nullptr;
};

numbers from_to(int first, int last) {
    numbers all;
    for (int n = first; n <= last; ++n) all.push_back(n);
    return all;
}

}  // namespace

// Capacity and order ------------------------------------------------------------------------------

REACTOR_TEST("messages arrive in the order in which they were sent, whatever the capacity") {
    for (const std::size_t capacity : {0u, 1u, 2u, 7u, 100u, 1'000u}) {
        CAPTURE(capacity);
        io_context ctx(kind);
        channel<int> messages(capacity);
        numbers log;
        ctx.spawn([](channel<int>& to) -> task<> {
            co_await send_all(to, 1, 500);
            to.close();
        }(messages));
        ctx.spawn(receive_all(messages, log));
        ctx.run();
        CHECK(log == from_to(1, 500));
    }
}

REACTOR_TEST(
    "a channel takes as many messages as it has room for, and then makes the sender wait") {
    io_context ctx(kind);
    channel<int> messages(2);
    CHECK(messages.capacity() == 2);
    auto sender = ctx.spawn(send_all(messages, 1, 3));
    ctx.poll();
    CHECK(messages.size() == 2);
    CHECK_FALSE(sender.done());
    CHECK(messages.try_receive() == 1);
    CHECK(messages.size() == 2);  // the third has moved up
    ctx.poll();
    CHECK(sender.done());
    CHECK(messages.try_receive() == 2);
    CHECK(messages.try_receive() == 3);
    CHECK(messages.try_receive() == std::nullopt);
    CHECK(messages.size() == 0);
}

REACTOR_TEST("with a capacity of 0 a message passes only from hand to hand") {
    io_context ctx(kind);
    channel<int> messages(0);
    CHECK_FALSE(messages.try_send(1));
    CHECK(messages.try_receive() == std::nullopt);

    auto sender = ctx.spawn(send_one(messages, 2));
    ctx.poll();
    CHECK_FALSE(sender.done());
    CHECK(messages.size() == 0);
    CHECK(messages.try_receive() == 2);
    CHECK_FALSE(join(ctx, sender));

    auto receiver = ctx.spawn(receive_one(messages));
    ctx.poll();
    CHECK(messages.try_send(3));
    CHECK_FALSE(messages.try_send(4));  // that one has its message
    CHECK(join(ctx, receiver).value() == 3);
}

REACTOR_TEST("those who wait to receive are served in the order in which they came") {
    io_context ctx(kind);
    channel<int> messages(3);
    std::vector<join_handle<result<int>>> receivers;
    for (int i = 0; i < 4; ++i) receivers.push_back(ctx.spawn(receive_one(messages)));
    ctx.poll();
    for (int n = 1; n <= 4; ++n) CHECK(messages.try_send(n));
    CHECK(messages.size() == 0);
    for (std::size_t i = 0; i < 4; ++i)
        CHECK(join(ctx, receivers[i]).value() == static_cast<int>(i) + 1);
}

REACTOR_TEST("those who wait to send are served in the order in which they came") {
    for (const std::size_t capacity : {0u, 1u, 3u}) {
        CAPTURE(capacity);
        io_context ctx(kind);
        channel<int> messages(capacity);
        for (int n = 1; n <= 10; ++n) ctx.spawn(send_all(messages, n, n));
        ctx.poll();
        CHECK_FALSE(messages.try_send(11));  // nobody overtakes
        for (int n = 1; n <= 10; ++n) CHECK(messages.try_receive() == n);
        ctx.run();
    }
}

REACTOR_TEST(
    "many senders and receivers: each message arrives once, and nobody sees them disordered") {
    for (const std::size_t capacity : {0u, 1u, 5u}) {
        CAPTURE(capacity);
        io_context ctx(kind);
        channel<int> messages(capacity);
        std::array<numbers, 3> logs;
        std::vector<join_handle<>> senders;
        for (int s = 0; s < 5; ++s)
            senders.push_back(ctx.spawn(send_all(messages, s * 1'000 + 1, s * 1'000 + 200)));
        for (auto& log : logs) ctx.spawn(receive_all(messages, log));
        ctx.spawn([](std::vector<join_handle<>>& all, channel<int>& to) -> task<> {
            for (auto& each : all) co_await each;
            to.close();
        }(senders, messages));
        ctx.run();
        numbers all, expected;
        for (int s = 0; s < 5; ++s)
            for (int n = 1; n <= 200; ++n) expected.push_back(s * 1'000 + n);
        for (const auto& log : logs) {
            std::array<int, 5> last{};
            for (const int n : log) {
                int& before = last[static_cast<std::size_t>(n / 1'000)];
                REQUIRE(n % 1'000 > before);
                before = n % 1'000;
                all.push_back(n);
            }
        }
        std::sort(all.begin(), all.end());
        CHECK(all == expected);
    }
}

TEST_CASE("the ring goes round: order and content survive any pattern of use") {
    const unsigned seed = std::random_device()();
    CAPTURE(seed);
    std::mt19937 random(seed);
    for (const std::size_t capacity : {1u, 2u, 3u, 8u}) {
        CAPTURE(capacity);
        channel<std::string> messages(capacity);
        int sent = 0, received = 0;
        for (int i = 0; i < 2'000; ++i) {
            const auto size = static_cast<std::size_t>(sent - received);
            REQUIRE(messages.size() == size);
            if (random() % 2) {
                const bool took = messages.try_send("message number " + std::to_string(sent));
                REQUIRE(took == (size < capacity));
                sent += took;
            } else {
                const auto message = messages.try_receive();
                REQUIRE(message.has_value() == (size > 0));
                if (message) REQUIRE(*message == "message number " + std::to_string(received++));
            }
        }
    }
}

REACTOR_TEST("a task that sends or receives without ever waiting starves nobody") {
    io_context ctx(kind);
    channel<int> messages(1);
    bool enough = false;
    int passed = 0;
    ctx.spawn([](channel<int>& own, bool& end, int& count) -> task<> {
        while (!end && count < 1'000'000) {
            (co_await own.send(count)).value();
            CHECK((co_await own.receive()).value() == count);
            ++count;
        }
    }(messages, enough, passed));
    ctx.spawn([](bool& end) -> task<> {
        for (int i = 0; i < 10; ++i) co_await yield();
        end = true;
    }(enough));
    ctx.run();
    CHECK(enough);
    CHECK(passed < 10'000);
}

// What a message may be ---------------------------------------------------------------------------

REACTOR_TEST("messages may be movable only, and arrive as what they are") {
    for (const std::size_t capacity : {0u, 1u, 10u}) {
        io_context ctx(kind);
        channel<std::unique_ptr<int>> messages(capacity);
        ctx.spawn([](channel<std::unique_ptr<int>>& to) -> task<> {
            for (int n = 0; n < 20; ++n) (co_await to.send(std::make_unique<int>(n))).value();
        }(messages));
        ctx.block_on([](channel<std::unique_ptr<int>>& from) -> task<> {
            for (int n = 0; n < 20; ++n) {
                const auto message = (co_await from.receive()).value();
                REQUIRE(message);
                CHECK(*message == n);
            }
        }(messages));
    }
}

TEST_CASE("try_send leaves the message as it is when there is no room, or the channel is closed") {
    channel<std::unique_ptr<int>> messages(1);
    auto first = std::make_unique<int>(1);
    auto second = std::make_unique<int>(2);
    CHECK(messages.try_send(std::move(first)));
    CHECK_FALSE(first);
    CHECK_FALSE(messages.try_send(std::move(second)));
    REQUIRE(second);
    CHECK(*second == 2);
    CHECK(**messages.try_receive() == 1);
    messages.close();
    CHECK_FALSE(messages.try_send(std::move(second)));
    CHECK(second);
    CHECK(messages.size() == 0);

    channel<std::string> texts(1);
    CHECK(texts.try_send("made in place"));
    CHECK(*texts.try_receive() == "made in place");
}

REACTOR_TEST("messages that cannot be assigned pass, stored and from hand to hand") {
    int alive = 0;
    for (const std::size_t capacity : {0u, 1u}) {
        run(kind, [&](io_context& ctx) -> task<> {
            channel<tracked> messages(capacity);
            auto sender = ctx.spawn([](channel<tracked>& to, int& count) -> task<> {
                for (int i = 0; i < 4; ++i) (co_await to.send(tracked(count))).value();
            }(messages, alive));
            for (int i = 0; i < 4; ++i) {
                const auto received = co_await messages.receive();
                CHECK(received.ok());
                CHECK(alive >= 1);
            }
            co_await sender;
            CHECK(alive == 0);
        });
    }
}

REACTOR_TEST("messages that nobody receives are destroyed, wherever they are") {
    int alive = 0;
    {
        channel<tracked> stored(4);
        for (int i = 0; i < 3; ++i) CHECK(stored.try_send(tracked(alive)));
        (void)stored.try_receive();
        CHECK(stored.try_send(tracked(alive)));
        CHECK(stored.try_send(tracked(alive)));  // round the end of the ring
        CHECK(alive == 4);
    }
    CHECK(alive == 0);
    {
        channel<tracked> outlives(0);
        io_context ctx(kind);
        for (int i = 0; i < 3; ++i)
            ctx.spawn([](channel<tracked>& to, int& count) -> task<> {
                (void)co_await to.send(tracked(count));
            }(outlives, alive));
        auto handed = [](channel<tracked>& from) -> task<> { (void)co_await from.receive(); };
        ctx.poll();
        CHECK(alive == 3);
        ctx.spawn(handed(outlives));  // has its message, and no turn any more
        ctx.run_one();
        CHECK(alive <= 3);
    }
    CHECK(alive == 0);
    {
        io_context ctx(kind);
        channel<tracked> own(0);
        auto sender = ctx.spawn([](channel<tracked>& to, int& count) -> task<> {
            CHECK((co_await to.send(tracked(count))).error() == errc::canceled);
            CHECK(count == 0);  // not sent, and gone with the expression
        }(own, alive));
        ctx.poll();
        CHECK(alive == 1);
        sender.cancel();
        ctx.run();
        CHECK(alive == 0);
        (void)own.send(tracked(alive)).operator co_await();  // never awaited
        CHECK(alive == 0);
    }
}

namespace {

using box = std::unique_ptr<int>;

/// One that is full, or has no room at all.
void fill(channel<box>& boxes) {
    while (boxes.try_send(std::make_unique<int>(0))) {}
}

}  // namespace

REACTOR_TEST("a send that sends nothing leaves the message with its caller, whatever ended it") {
    run(kind, [](io_context& ctx) -> task<> {
        for (const std::size_t capacity : {0u, 1u, 3u}) {
            channel<box> boxes(capacity);
            fill(boxes);
            box message = std::make_unique<int>(7);
            const auto is_ours = [&](std::error_code ec, std::error_code why) {
                CHECK(ec == why);
                REQUIRE(message);
                CHECK(*message == 7);
            };
            // Limits: on the send, on a task around it, none to spare.
            is_ours((co_await with_timeout(boxes.send(std::move(message)), 1ms)).ec,
                    errc::timed_out);
            is_ours((co_await with_timeout(boxes.send(std::move(message)), 0ms)).ec,
                    errc::timed_out);
            const auto sends = [](channel<box>& to, box& from) -> task<result<>> {
                co_return co_await to.send(std::move(from));
            };
            is_ours((co_await with_timeout(sends(boxes, message), 1ms)).ec, errc::timed_out);
            // Another branch has been first.
            const auto any = co_await when_any(boxes.send(std::move(message)), yield());
            is_ours(std::get<0>(any.results).ec, errc::canceled);
            // Cancellation while it waits, and before it begins though there is room.
            auto waits = ctx.spawn(sends(boxes, message));
            co_await yield();
            waits.cancel();
            is_ours((co_await waits).ec, errc::canceled);
            channel<box> empty(1);
            auto late = ctx.spawn(sends(empty, message));
            late.cancel();
            is_ours((co_await late).ec, errc::canceled);
            CHECK(empty.size() == 0);
            // A request that is not awaited, and one that is awaited twice.
            {
                auto request = boxes.send(std::move(message));
                is_ours((co_await with_timeout(request, 1ms)).ec, errc::timed_out);
                is_ours((co_await with_timeout(request, 1ms)).ec, errc::timed_out);
                (void)boxes.send(std::move(message));
                is_ours({}, {});
            }
            // The end of the channel while it waits, and before.
            auto closed = ctx.spawn(sends(boxes, message));
            co_await yield();
            boxes.close();
            is_ours((co_await closed).ec, errc::closed);
            is_ours((co_await boxes.send(std::move(message))).ec, errc::closed);
            CHECK_FALSE(boxes.try_send(std::move(message)));
            is_ours({}, {});
        }
    });
}

REACTOR_TEST(
    "a message is moved from once it is sent: at once, to who waits, or when there is room") {
    run(kind, [](io_context& ctx) -> task<> {
        for (const std::size_t capacity : {0u, 1u}) {
            channel<box> boxes(capacity);
            box first = std::make_unique<int>(1);
            box second = std::make_unique<int>(2);
            if (capacity) {
                CHECK((co_await boxes.send(std::move(first))).ok());
                CHECK_FALSE(first);
            }
            auto sender = ctx.spawn([](channel<box>& to, box& from) -> task<result<>> {
                co_return co_await with_timeout(to.send(std::move(from)), 1h);
            }(boxes, second));
            co_await yield();
            CHECK(second);
            if (capacity) CHECK(*(co_await boxes.receive()).value() == 1);
            const box got = (co_await boxes.receive()).value();
            CHECK_FALSE(second);  // though the sender has not gone on yet
            CHECK(*got == 2);
            CHECK((co_await sender).ok());

            auto receiver = ctx.spawn([](channel<box>& from) -> task<int> {
                co_return *(co_await from.receive()).value();
            }(boxes));
            co_await yield();
            box third = std::make_unique<int>(3);
            CHECK((co_await boxes.send(std::move(third))).ok());
            CHECK_FALSE(third);
            CHECK(co_await receiver == 3);
        }
    });
}

REACTOR_TEST("copies are sent of what is not moved, and what is made of values of other types") {
    run(kind, [](io_context&) -> task<> {
        channel<std::string> texts(8);
        std::string text(100, 'x');
        const std::string constant = "constant";
        CHECK((co_await texts.send(text)).ok());
        CHECK(text == std::string(100, 'x'));
        CHECK((co_await texts.send(constant)).ok());
        CHECK((co_await texts.send("a literal")).ok());
        CHECK((co_await with_timeout(texts.send(text + text), 1h)).ok());
        CHECK((co_await texts.receive()).value() == text);
        CHECK((co_await texts.receive()).value() == constant);
        CHECK((co_await texts.receive()).value() == "a literal");
        CHECK((co_await texts.receive()).value() == text + text);

        channel<std::string> full(0);
        CHECK((co_await with_timeout(full.send(text), 1ms)).error() == errc::timed_out);
        CHECK((co_await with_timeout(full.send("a literal"), 1ms)).error() == errc::timed_out);
        const auto any = co_await when_any(full.send(text), full.send("x"), full.receive());
        CHECK(std::get<2>(any.results).data == text);
        CHECK(text == std::string(100, 'x'));

        struct base {
            virtual ~base() = default;
        };
        struct derived : base {};
        channel<std::unique_ptr<base>> bases(1);
        CHECK((co_await bases.send(std::make_unique<derived>())).ok());
        CHECK((co_await bases.receive()).value() != nullptr);
    });
}

REACTOR_TEST("a task that is destroyed while it sends takes its message along, sent or not") {
    for (const bool temporary : {false, true}) {
        int alive = 0;
        {
            io_context ctx(kind);
            channel<tracked> own(0);
            ctx.spawn([](channel<tracked>& to, int& count, bool short_lived) -> task<> {
                if (short_lived) {
                    (void)co_await to.send(tracked(count));
                } else {
                    tracked message(count);
                    (void)co_await with_timeout(to.send(std::move(message)), 1h);
                }
            }(own, alive, temporary));
            ctx.poll();
            CHECK(alive == 1);
        }
        CHECK(alive == 0);
        channel<tracked> lasting(0);
        {
            io_context ctx(kind);
            ctx.spawn([](channel<tracked>& to, int& count) -> task<> {
                (void)co_await to.send(tracked(count));
            }(lasting, alive));
            ctx.poll();
            CHECK(alive == 1);
        }
        CHECK(alive == 0);
        CHECK_FALSE(lasting.try_receive());
    }
}

// Close -------------------------------------------------------------------------------------------

REACTOR_TEST("what was sent before the close can still be received, and then closed is told") {
    io_context ctx(kind);
    channel<int> messages(3);
    for (int n = 1; n <= 3; ++n) CHECK(messages.try_send(n));
    CHECK_FALSE(messages.is_closed());
    messages.close();
    messages.close();
    CHECK(messages.is_closed());
    CHECK(messages.size() == 3);
    CHECK_FALSE(messages.try_send(4));
    ctx.block_on([](channel<int>& from) -> task<> {
        CHECK((co_await from.send(5)).error() == errc::closed);
        for (int n = 1; n <= 3; ++n) CHECK((co_await from.receive()).value() == n);
        CHECK((co_await from.receive()).error() == errc::closed);
        CHECK((co_await with_timeout(from.receive(), 0s)).error() == errc::closed);
        CHECK((co_await from.send(6)).error() == errc::closed);
    }(messages));
    CHECK(messages.try_receive() == std::nullopt);
}

REACTOR_TEST(
    "those who wait to send when the channel is closed are told so, and have sent nothing") {
    for (const std::size_t capacity : {0u, 2u}) {
        CAPTURE(capacity);
        io_context ctx(kind);
        channel<int> messages(capacity);
        for (int n = 1; n <= static_cast<int>(capacity); ++n) CHECK(messages.try_send(n));
        std::vector<join_handle<std::error_code>> senders;
        for (int n = 11; n <= 13; ++n) senders.push_back(ctx.spawn(send_one(messages, n)));
        ctx.poll();
        messages.close();
        for (auto& each : senders) CHECK(join(ctx, each) == errc::closed);
        for (int n = 1; n <= static_cast<int>(capacity); ++n) CHECK(messages.try_receive() == n);
        CHECK(messages.try_receive() == std::nullopt);
    }
}

REACTOR_TEST("those who wait to receive when the channel is closed are told so") {
    io_context ctx(kind);
    channel<int> messages(2);
    std::vector<join_handle<result<int>>> receivers;
    for (int i = 0; i < 3; ++i) receivers.push_back(ctx.spawn(receive_one(messages)));
    ctx.poll();
    CHECK(messages.try_send(1));  // the first has it before the close
    messages.close();
    CHECK(join(ctx, receivers[0]).value() == 1);
    CHECK(join(ctx, receivers[1]).error() == errc::closed);
    CHECK(join(ctx, receivers[2]).error() == errc::closed);
}

REACTOR_TEST("a channel that is destroyed before its context tells those who wait closed") {
    io_context ctx(kind);
    auto empty = std::make_unique<channel<int>>(1);
    auto full = std::make_unique<channel<int>>(1);
    CHECK(full->try_send(0));
    auto sent = ctx.spawn(send_one(*full, 1));
    auto receiver = ctx.spawn(receive_one(*empty));
    auto second = ctx.spawn(receive_one(*empty));
    ctx.poll();
    CHECK(empty->try_send(7));
    empty.reset();
    full.reset();
    CHECK(join(ctx, receiver).value() == 7);  // was handed over before
    CHECK(join(ctx, second).error() == errc::closed);
    CHECK(join(ctx, sent) == errc::closed);
}

REACTOR_TEST("senders and receivers that go with their context leave the channel usable") {
    for (const std::size_t capacity : {0u, 1u}) {
        channel<int> messages(capacity);
        {
            io_context ctx(kind);
            for (int n = 0; n < 3; ++n) ctx.spawn(send_all(messages, n, n));
            ctx.poll();
        }
        while (messages.try_receive()) {}
        {
            io_context ctx(kind);
            for (int n = 0; n < 3; ++n)
                ctx.spawn(
                    [](channel<int>& from) -> task<> { (void)co_await from.receive(); }(messages));
            ctx.poll();
        }
        CHECK(messages.try_send(5) == (capacity > 0));
        CHECK(messages.try_receive().has_value() == (capacity > 0));
    }
}

REACTOR_TEST("a channel of one branch in which the other one waits goes with their context") {
    io_context ctx(kind);
    int ended = 0;
    const auto works = [](int& count) -> task<> {
        channel<int>* shared = nullptr;
        const auto owns = [](channel<int>*& out) -> task<> {
            channel<int> own(0);
            out = &own;
            co_await sleep_for(1h);
        };
        const auto sends = [](channel<int>*& to, int& n) -> task<> {
            (void)co_await to->send(1);
            ++n;
        };
        const auto receives = [](channel<int>*& from, int& n) -> task<> {
            (void)co_await from->receive();
            (void)co_await from->receive();
            ++n;
        };
        co_await when_all(owns(shared), sends(shared, count), receives(shared, count));
    };
    ctx.spawn(works(ended));
    ctx.poll();
    CHECK(ended == 1);
}

// Limits and cancellation -------------------------------------------------------------------------

REACTOR_TEST("a send that times out has sent nothing, a receive that times out has taken none") {
    run(kind, [](io_context&) -> task<> {
        channel<int> messages(1);
        CHECK((co_await with_timeout(messages.receive(), 1ms)).error() == errc::timed_out);
        CHECK((co_await with_timeout(messages.receive(), 0s)).error() == errc::timed_out);
        CHECK((co_await with_timeout(messages.send(1), 0s)).ok());
        CHECK((co_await with_timeout(messages.send(2), 1ms)).error() == errc::timed_out);
        CHECK((co_await with_timeout(messages.send(3), 0s)).error() == errc::timed_out);
        CHECK((co_await with_timeout(messages.receive(), 0s)).value() == 1);
        CHECK(messages.try_receive() == std::nullopt);
        CHECK(messages.try_send(4));
        CHECK(messages.try_receive() == 4);
    });
}

REACTOR_TEST("in a cancelled scope nothing is sent and nothing received, even if it could be") {
    io_context ctx(kind);
    channel<int> messages(2);
    CHECK(messages.try_send(1));
    auto handle = ctx.spawn([](channel<int>& both) -> task<> {
        for (int i = 0; i < 200; ++i) {  // more than a turn's share, too
            CHECK((co_await both.send(2)).error() == errc::canceled);
            CHECK((co_await both.receive()).error() == errc::canceled);
        }
    }(messages));
    handle.cancel();
    ctx.run();
    CHECK(messages.size() == 1);
    CHECK(messages.try_receive() == 1);
}

REACTOR_TEST("a message that arrives before the loop looks at an expired limit is delivered") {
    io_context ctx(kind);
    for (const std::size_t capacity : {0u, 1u}) {
        channel<int> messages(capacity);
        int tried = 0;
        for (int round = 0; round < 10; ++round) {
            auto receiver = ctx.spawn([](channel<int>& from) -> task<result<int>> {
                auto received = co_await with_timeout(from.receive(), 10ms);
                co_return received;
            }(messages));
            const bool acted =
                act_when_limits_are_over(ctx, 10ms, [&] { CHECK(messages.try_send(round)); });
            if (acted && round % 2) receiver.cancel();
            if (acted) CHECK_FALSE(receiver.done());
            const auto received = join(ctx, receiver);
            if (!acted) continue;
            ++tried;
            CHECK(received.ok());
            CHECK(received.data == round);
        }
        CHECK(tried > 0);
    }
}

REACTOR_TEST("a message that is taken before the loop looks at an expired limit has been sent") {
    io_context ctx(kind);
    for (const std::size_t capacity : {0u, 1u}) {
        channel<int> messages(capacity);
        int buffered = -1;
        if (capacity) CHECK(messages.try_send(buffered));
        int tried = 0;
        for (int round = 0; round < 10; ++round) {
            auto sender = ctx.spawn([](channel<int>& to, int n) -> task<std::error_code> {
                const auto [ec] = co_await with_timeout(to.send(n), 10ms);
                co_return ec;
            }(messages, round));
            const bool acted = act_when_limits_are_over(
                ctx, 10ms, [&] { CHECK(messages.try_receive() == (capacity ? buffered : round)); });
            if (acted && round % 2) sender.cancel();
            if (acted) CHECK_FALSE(sender.done());
            const std::error_code ec = join(ctx, sender);
            if (!acted) continue;
            ++tried;
            CHECK_FALSE(ec);
            buffered = round;
        }
        CHECK(tried > 0);
    }
}

REACTOR_TEST("no message is lost or doubled under limits and cancellations on both sides") {
    const unsigned seed = std::random_device()();
    CAPTURE(seed);
    std::mt19937 random(seed);
    for (const std::size_t capacity : {0u, 1u, 3u}) {
        CAPTURE(capacity);
        constexpr int producers = 6;
        constexpr int each = 500;
        constexpr int total = producers * each;
        io_context ctx(kind);
        channel<std::unique_ptr<int>> messages(capacity);
        std::vector<int> sent(total), received(total);
        int refused = 0, left_empty = 0, wrong = 0;

        const auto turns = [](unsigned n) -> task<> {
            for (; n > 0; --n) co_await yield();
        };
        const auto note_sent = [&](std::error_code ec, int n) {
            if (!ec)
                ++sent[static_cast<std::size_t>(n)];
            else if (ec == errc::timed_out || ec == errc::canceled)
                ++refused;
            else
                ++wrong;
        };
        const auto note_received = [&](result<std::unique_ptr<int>> got) {
            if (!got.ec && got.data)
                ++received[static_cast<std::size_t>(*got.data)];
            else if (got.ec == errc::timed_out || got.ec == errc::canceled)
                ++left_empty;
            else if (got.ec != errc::closed)
                ++wrong;
        };
        const auto some_time = [&] { return std::chrono::nanoseconds(random() % 5'000); };

        const auto produce = [&](int first) -> task<> {
            for (int n = first; n < first + each; ++n) {
                auto message = std::make_unique<int>(n);
                switch (random() % 5) {
                case 0:
                    note_sent((co_await messages.send(std::move(message))).ec, n);
                    break;
                case 1:
                    note_sent(
                        (co_await with_timeout(messages.send(std::move(message)), some_time())).ec,
                        n);
                    break;
                case 2: {
                    auto both =
                        co_await when_any(messages.send(std::move(message)), turns(random() % 4));
                    note_sent(std::get<0>(both.results).ec, n);
                    break;
                }
                case 3: {
                    auto sends = [&]() -> task<result<>> {
                        co_return co_await with_timeout(messages.send(std::move(message)),
                                                        some_time());
                    };
                    note_sent((co_await with_timeout(sends(), some_time())).ec, n);
                    break;
                }
                default:
                    if (messages.try_send(std::move(message)))
                        ++sent[static_cast<std::size_t>(n)];
                    else if (!message)
                        ++wrong;
                    break;
                }
                if (random() % 4 == 0) co_await yield();
            }
        };
        const auto consume = [&]() -> task<> {
            while (!messages.is_closed() || messages.size()) {
                switch (random() % 5) {
                case 0:
                    note_received(co_await messages.receive());
                    break;
                case 1:
                    note_received(co_await with_timeout(messages.receive(), some_time()));
                    break;
                case 2: {
                    auto both = co_await when_any(turns(random() % 4), messages.receive());
                    note_received(std::move(std::get<1>(both.results)));
                    break;
                }
                case 3: {
                    auto receives = [&]() -> task<result<std::unique_ptr<int>>> {
                        co_return co_await with_timeout(messages.receive(), some_time());
                    };
                    note_received(co_await with_timeout(receives(), some_time()));
                    break;
                }
                default:
                    if (auto message = messages.try_receive())
                        ++received[static_cast<std::size_t>(**message)];
                    co_await yield();
                    break;
                }
                if (random() % 4 == 0) co_await yield();
            }
        };
        // Some are cancelled from outside, too, and end with what they are doing.
        const auto victim = [&](int) -> task<> { note_received(co_await messages.receive()); };
        std::vector<join_handle<>> works;
        for (int p = 0; p < producers; ++p) works.push_back(ctx.spawn(produce(p * each)));
        for (int c = 0; c < 4; ++c) ctx.spawn(consume());
        const auto disturb = [&]() -> task<> {
            while (!messages.is_closed()) {
                auto handle = ctx.spawn(victim(0));
                for (auto n = random() % 4; n > 0; --n) co_await yield();
                handle.cancel();
                co_await handle;
            }
        };
        ctx.spawn(disturb());
        const auto close_at_the_end = [&]() -> task<> {
            for (auto& work : works) co_await work;
            messages.close();
        };
        ctx.spawn(close_at_the_end());
        ctx.run();

        int sent_in_all = 0, lost = 0, doubled = 0, invented = 0;
        for (std::size_t n = 0; n < total; ++n) {
            sent_in_all += sent[n];
            if (sent[n] && received[n] == 0) ++lost;
            if (received[n] > 1) ++doubled;
            if (!sent[n] && received[n]) ++invented;
        }
        CHECK(lost == 0);
        CHECK(doubled == 0);
        CHECK(invented == 0);
        CHECK(wrong == 0);
        CHECK(sent_in_all > total / 4);
        CHECK(refused > 0);
        CHECK(left_empty > 0);
    }
}

// With other things -------------------------------------------------------------------------------

REACTOR_TEST("when_any of a channel and a socket that are both ready loses neither") {
    run(kind, [](io_context& ctx) -> task<> {
        auto [client, server] = co_await test::connect(ctx);
        channel<int> messages(1);
        for (int round = 0; round < 20; ++round) {
            std::array<char, 16> buffer;
            if (round % 2) {  // both are there before
                CHECK(messages.try_send(round));
                (co_await write_all(server, "x")).value();
            } else {  // both come in the same turn
                ctx.post([&, &peer = server] {
                    CHECK(messages.try_send(round));
                    CHECK(test::native::send(test::descriptor_of(peer.native_handle()), "x", 1) ==
                          1);
                });
            }
            auto [index, results] = co_await when_any(messages.receive(), client.read_some(buffer));
            auto& [message, read] = results;
            CHECK(index <= 1);
            // What one of them did not get is still there for the next call.
            if (message.ec) {
                CHECK(message.ec == errc::canceled);
                message = co_await with_timeout(messages.receive(), 10s);
            }
            if (read.ec) {
                CHECK(read.ec == errc::canceled);
                CHECK(read.data == 0);
                read = co_await with_timeout(client.read_some(buffer), 10s);
            }
            CHECK(message.ok());
            CHECK(message.data == round);
            CHECK(read.ok());
            CHECK(read.data == 1);
        }
        CHECK(messages.size() == 0);
    });
}

REACTOR_TEST("when_any of two channels takes from the loser only what it reports") {
    run(kind, [](io_context& ctx) -> task<> {
        channel<int> left(4), right(4);
        int from_left = 0, from_right = 0;
        for (int round = 0; round < 100; ++round) {
            ctx.post([&] {
                if (round % 3 != 1) CHECK(left.try_send(1));
                if (round % 3 != 2) CHECK(right.try_send(1));
            });
            auto both = co_await when_any(left.receive(), right.receive());
            from_left += std::get<0>(both.results).data;
            from_right += std::get<1>(both.results).data;
            while (const auto rest = left.try_receive()) from_left += *rest;
            while (const auto rest = right.try_receive()) from_right += *rest;
        }
        CHECK(from_left == 67);
        CHECK(from_right == 67);
    });
}

REACTOR_TEST("another thread sends by posting a function that sends") {
    io_context ctx(kind);
    channel<int> messages(100);
    std::thread other;
    numbers log;
    ctx.block_on([](io_context& own, channel<int>& from, std::thread& in, numbers& to) -> task<> {
        in = std::thread([&] {
            for (int n = 1; n <= 100; ++n) own.post([&from, n] { CHECK(from.try_send(n)); });
        });
        while (to.size() < 100) to.push_back((co_await from.receive()).value());
    }(ctx, messages, other, log));
    other.join();
    CHECK(log == from_to(1, 100));
}
