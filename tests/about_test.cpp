// Limits that close, around what is about sockets and waits for something else.
#include <curfew/about.hpp>

#include <array>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <utility>

#include "support/loop.hpp"

using namespace test;

namespace {

/// A stream of a program's own over a socket: who reads or writes takes a lock first.
class locked_stream {
public:
    explicit locked_stream(tcp::socket under) : under_(std::move(under)) {}

    task<result<std::size_t>> read_some(mutable_buffer buffer) {
        const scope_about here(under_);
        if (auto [ec] = co_await lock_.acquire(); ec) co_return ec;
        const permit held(lock_);
        co_return co_await under_.read_some(buffer);
    }
    task<result<std::size_t>> write_some(const_buffer buffer) {
        const scope_about here(under_);
        if (auto [ec] = co_await lock_.acquire(); ec) co_return ec;
        const permit held(lock_);
        co_return co_await under_.write_some(buffer);
    }

    tcp::socket& lowest_layer() noexcept { return under_; }
    semaphore& lock() noexcept { return lock_; }

private:
    tcp::socket under_;
    semaphore lock_{1};
};

/// What is on top of another stream.
class upper_stream {
public:
    explicit upper_stream(locked_stream& below) : below_(below) {}
    locked_stream& lowest_layer() noexcept { return below_; }

private:
    locked_stream& below_;
};

/// Its peer has got a RST.
void check_reset(blocking_socket& peer) { CHECK(peer.receive().error == native::error_after_reset()); }
/// Nothing has happened to the connection.
task<> check_usable(tcp::socket& socket, blocking_socket& peer) {
    CHECK(socket.is_open());
    CHECK((co_await write_all(socket, "hello")).ok());
    CHECK(peer.receive_all(5).bytes == "hello");
}

}  // namespace

REACTOR_TEST("close reaches a stream that only waits for a lock") {
    blocking_listener listener;
    run(kind, [&](io_context& ctx) -> task<> {
        auto [socket, peer] = co_await test::connect(ctx, listener);
        locked_stream stream(std::move(socket));
        (co_await stream.lock().acquire()).value();
        std::array<char, 16> buffer;
        auto [ec, n] = co_await with_timeout(stream.read_some(buffer), 2ms, on_timeout::close);
        CHECK(ec == errc::timed_out);
        CHECK(n == 0);
        check_reset(peer);
        CHECK_FALSE(stream.lowest_layer().is_open());
        stream.lock().release();
        CHECK((co_await stream.read_some(buffer)).error() == errc::closed);
        CHECK((co_await stream.write_some("x")).error() == errc::closed);
        CHECK((co_await stream.lowest_layer().wait(readable)).error() == errc::closed);
    });
}

REACTOR_TEST("with cancel a stream that waits for a lock stays as it was") {
    blocking_listener listener;
    run(kind, [&](io_context& ctx) -> task<> {
        auto [socket, peer] = co_await test::connect(ctx, listener);
        locked_stream stream(std::move(socket));
        (co_await stream.lock().acquire()).value();
        std::array<char, 16> buffer;
        auto [ec, n] = co_await with_timeout(stream.read_some(buffer), 2ms);
        CHECK(ec == errc::timed_out);
        co_await check_usable(stream.lowest_layer(), peer);
    });
}

REACTOR_TEST("close ends what other tasks do with the socket with closed") {
    blocking_listener listener;
    run(kind, [&](io_context& ctx) -> task<> {
        auto [socket, peer] = co_await test::connect(ctx, listener);
        locked_stream stream(std::move(socket));
        auto reader = ctx.spawn([](locked_stream& from) -> task<std::error_code> {
            std::array<char, 16> buffer;
            co_return (co_await from.read_some(buffer)).error();
        }(stream));
        co_await yield();  // it has the lock now, and waits for bytes
        auto [ec, n] = co_await with_timeout(stream.write_some("x"), 2ms, on_timeout::close);
        CHECK(ec == errc::timed_out);
        CHECK(co_await reader == errc::closed);
        check_reset(peer);
    });
}

REACTOR_TEST("what was transferred before the limit is told, and the socket is closed") {
    blocking_listener listener;
    run(kind, [&](io_context& ctx) -> task<> {
        auto [socket, peer] = co_await test::connect(ctx, listener);
        CHECK(peer.send("abc") == 0);
        semaphore never(0);
        const auto compound = [](tcp::socket& from, semaphore& lock,
                                 mutable_buffer to) -> task<result<std::size_t>> {
            const scope_about here(from);
            auto [ec, n] = co_await from.read_some(to);
            if (ec) co_return {ec, n};
            const auto [locked] = co_await lock.acquire();
            co_return {locked, n};
        };
        std::array<char, 16> buffer;
        auto [ec, n] =
            co_await with_timeout(compound(socket, never, buffer), 30ms, on_timeout::close);
        CHECK(ec == errc::timed_out);
        CHECK(n == 3);
        CHECK_FALSE(socket.is_open());
        check_reset(peer);
    });
}

REACTOR_TEST("an awaitable that is no coroutine names its sockets, too") {
    blocking_listener listener;
    run(kind, [&](io_context& ctx) -> task<> {
        auto [one, peer] = co_await test::connect(ctx, listener);
        auto [two, other_peer] = co_await test::connect(ctx, listener);
        semaphore lock(0);
        auto [ec] = co_await with_timeout(about(lock.acquire(), one, two), 2ms, on_timeout::close);
        CHECK(ec == errc::timed_out);
        CHECK_FALSE(one.is_open());
        CHECK_FALSE(two.is_open());
        check_reset(peer);
        check_reset(other_peer);

        // One that does not wait, and one that is not limited.
        auto [three, third_peer] = co_await test::connect(ctx, listener);
        lock.release(2);
        CHECK((co_await with_timeout(about(lock.acquire(), three), 0s, on_timeout::close)).ok());
        CHECK((co_await about(lock.acquire(), three)).ok());
        co_await check_usable(three, third_peer);
    });
}

REACTOR_TEST("close reaches what a thread works on") {
    blocking_listener listener;
    run(kind, [&](io_context& ctx) -> task<> {
        auto [socket, peer] = co_await test::connect(ctx, listener);
        thread_promise<int> promise;
        auto [ec, value] =
            co_await with_timeout(about(promise.get_future(), socket), 2ms, on_timeout::close);
        CHECK(ec == errc::timed_out);
        check_reset(peer);
    });
}

REACTOR_TEST("close reaches through layers, combinations and groups") {
    blocking_listener listener;
    run(kind, [&](io_context& ctx) -> task<> {
        event never;
        const auto wait = [](event& forever, auto&... streams) -> task<result<>> {
            const scope_about here(streams...);
            co_return co_await forever.wait();
        };
        for (int how = 0; how < 6; ++how) {
            CAPTURE(how);
            auto [socket, peer] = co_await test::connect(ctx, listener);
            auto [two, other_peer] = co_await test::connect(ctx, listener);
            locked_stream stream(std::move(socket));
            upper_stream upper(stream);
            const auto in_another = [&]() -> task<result<>> {
                co_return co_await wait(never, upper, two);
            };
            const auto work = [&]() -> task<result<>> {
                switch (how) {
                case 0:
                    co_return std::get<0>(co_await when_all(in_another()));
                case 1:
                    co_return std::get<0>(
                        (co_await when_any(wait(never, upper), wait(never, two))).results);
                case 2: {
                    task_group group;
                    group.spawn(wait(never, upper));
                    group.spawn(wait(never, two));
                    co_return co_await group.join();
                }
                case 3: {  // the limit inside is not the one that expires
                    const scope_about here(two);
                    co_return co_await with_timeout(wait(never, upper), 1h);
                }
                case 4:
                    co_return co_await about(about(never.wait(), upper), two);
                default: {
                    const scope_about outer(upper, two);
                    const scope_about twice(two);
                    co_return co_await wait(never, two);
                }
                }
            };
            const auto [ec] = co_await with_timeout(work(), 2ms, on_timeout::close);
            CHECK(ec == errc::timed_out);
            CHECK_FALSE(stream.lowest_layer().is_open());
            CHECK_FALSE(two.is_open());
            check_reset(peer);
            check_reset(other_peer);
        }
    });
}

REACTOR_TEST("only a limit that closes, and only around it, aborts what is named") {
    blocking_listener listener;
    run(kind, [&](io_context& ctx) -> task<> {
        auto [socket, peer] = co_await test::connect(ctx, listener);
        event never;
        const auto wait = [](event& forever, tcp::socket& named) -> task<result<>> {
            const scope_about here(named);
            co_return co_await forever.wait();
        };
        // A loser, a cancelled task, a limit that cancels inside one that closes and has time left.
        co_await when_any(wait(never, socket), yield());
        auto handle = ctx.spawn(wait(never, socket));
        co_await yield();
        handle.cancel();
        std::ignore = co_await handle;
        const auto nested = [&]() -> task<result<>> {
            co_return co_await with_timeout(wait(never, socket), 1ms);
        };
        CHECK((co_await with_timeout(nested(), 1h, on_timeout::close)).error() == errc::timed_out);
        // A limit inside the block.
        {
            const scope_about here(socket);
            CHECK((co_await with_timeout(never.wait(), 1ms, on_timeout::close)).error() ==
                  errc::timed_out);
        }
        // A block that has ended.
        const auto later = [&]() -> task<result<>> {
            { const scope_about here(socket); }
            co_return co_await never.wait();
        };
        CHECK((co_await with_timeout(later(), 1ms, on_timeout::close)).error() == errc::timed_out);
        co_await check_usable(socket, peer);
    });
}

REACTOR_TEST("a shield around the name keeps the limit away, and one inside does not") {
    blocking_listener listener;
    run(kind, [&](io_context& ctx) -> task<> {
        auto [socket, peer] = co_await test::connect(ctx, listener);
        auto [two, other_peer] = co_await test::connect(ctx, listener);
        const auto rest = [](tcp::socket& named) -> task<> {
            const scope_about here(named);
            co_await sleep_for(5ms);
        };
        const auto inside = [&]() -> task<result<>> {
            co_await shielded(rest(socket));
            co_return co_await sleep_for(1h);
        };
        CHECK((co_await with_timeout(inside(), 1ms, on_timeout::close)).error() == errc::timed_out);
        co_await check_usable(socket, peer);

        const auto outside = [&]() -> task<result<>> {
            const scope_about here(two);
            std::array<char, 4> buffer;
            CHECK((co_await shielded(two.read_some(buffer))).error() == errc::closed);
            co_return co_await sleep_for(1h);
        };
        CHECK((co_await with_timeout(outside(), 1ms, on_timeout::close)).error() ==
              errc::timed_out);
        check_reset(other_peer);
    });
}

REACTOR_TEST("a name follows a socket that is moved, and ends with one that is destroyed") {
    blocking_listener listener;
    run(kind, [&](io_context& ctx) -> task<> {
        auto [socket, peer] = co_await test::connect(ctx, listener);
        auto [other, other_peer] = co_await test::connect(ctx, listener);
        std::optional<tcp::socket> gone((co_await test::connect(ctx, listener)).socket);
        tcp::socket empty;
        tcp::socket target;
        const auto compound = [&]() -> task<result<>> {
            const scope_about here(socket, *gone, empty);
            const scope_about again(*gone);
            target = std::move(socket);
            socket = std::move(other);  // another one, that nobody has named
            gone.reset();
            co_return co_await sleep_for(1h);
        };
        CHECK((co_await with_timeout(compound(), 1ms, on_timeout::close)).error() ==
              errc::timed_out);
        CHECK_FALSE(target.is_open());
        check_reset(peer);
        co_await check_usable(socket, other_peer);
    });
}

REACTOR_TEST("a name that outlives its scope is in the scope around it then") {
    blocking_listener listener;
    run(kind, [&](io_context& ctx) -> task<> {
        auto [socket, peer] = co_await test::connect(ctx, listener);
        std::unique_ptr<scope_about<1>> kept;
        const auto compound = [&]() -> task<result<>> {
            const auto name = [&]() -> task<> {
                kept = std::make_unique<scope_about<1>>(socket);
                co_return;
            };
            std::ignore = co_await with_timeout(name(), 1h);
            co_await when_all(name());
            CHECK(socket.is_open());
            co_return co_await sleep_for(1h);
        };
        CHECK((co_await with_timeout(compound(), 1ms, on_timeout::close)).error() ==
              errc::timed_out);
        check_reset(peer);
    });
}

REACTOR_TEST("names go with the context of their tasks") {
    std::unique_ptr<scope_about<1>> kept;
    {
        std::optional<io_context> ctx(std::in_place, kind);
        tcp::socket outer(*ctx);
        ctx->spawn([](tcp::socket& named, std::unique_ptr<scope_about<1>>& keep) -> task<> {
            tcp::socket own(this_context());
            const scope_about here(own, named);
            keep = std::make_unique<scope_about<1>>(named);
            co_await with_timeout(about(sleep_for(1h), own, named), 1h, on_timeout::close);
        }(outer, kept));
        ctx->poll();
        ctx.reset();
    }
    kept.reset();
    tcp::socket none;
    const scope_about outside_of_tasks(none);
}

REACTOR_TEST("a limit that is over at once closes what a compound is about") {
    blocking_listener listener;
    run(kind, [&](io_context& ctx) -> task<> {
        auto [socket, peer] = co_await test::connect(ctx, listener);
        event never;
        CHECK((co_await with_timeout(about(never.wait(), socket), 0s, on_timeout::close)).error() ==
              errc::timed_out);
        CHECK_FALSE(socket.is_open());
        check_reset(peer);
    });
}

REACTOR_TEST("a read that is complete when the limit expires is delivered") {
    blocking_listener listener;
    io_context ctx(kind);
    int tried = 0;
    for (int round = 0; round < 5; ++round) {
        auto made = ctx.block_on(test::connect(ctx, listener));
        std::array<char, 16> buffer;
        auto reader =
            ctx.spawn([](tcp::socket& from, mutable_buffer to) -> task<result<std::size_t>> {
                const auto compound = [](tcp::socket& socket,
                                         mutable_buffer into) -> task<result<std::size_t>> {
                    const scope_about here(socket);
                    co_return co_await socket.read_some(into);
                };
                co_return co_await with_timeout(compound(from, to), 10ms, on_timeout::close);
            }(made.socket, buffer));
        const bool acted =
            act_when_limits_are_over(ctx, 10ms, [&] { CHECK(made.peer.send("abc") == 0); });
        const auto [ec, n] = join(ctx, reader);
        if (!acted) continue;
        ++tried;
        CHECK_FALSE(ec);
        CHECK(n == 3);
    }
    CHECK(tried > 0);
}
