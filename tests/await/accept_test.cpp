// Accepts under pressure: what becomes of connections for which there is no descriptor.
#include <curfew/await/accept.hpp>

#include <array>
#include <functional>
#include <memory>
#include <optional>
#include <sstream>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "support/loop.hpp"
#include "support/no_descriptors.hpp"
#include "support/watched_reactor.hpp"

using namespace test;

namespace {

task<std::error_code> accept_one(tcp::acceptor& acceptor) {
    co_return (co_await acceptor.accept()).error();
}

#if defined(TEST_HAS_NO_DESCRIPTORS)
/// Connections that wait in the queue of a listener, and have sent a byte each.
std::vector<blocking_socket> call(const tcp::acceptor& acceptor, std::size_t count) {
    std::vector<blocking_socket> callers;
    for (; callers.size() < count; callers.back().send("!"))
        callers.push_back(blocking_connect(acceptor.local_endpoint()));
    return callers;
}

/// One way to end an accept that is under way, and what that says then.
struct ending {
    const char* name;
    std::error_code expected;
    std::function<void(tcp::acceptor&, join_handle<std::error_code>&)> carry_out;
};

const std::vector<ending>& endings() {
    static const std::vector<ending> all{
        {"cancel", errc::canceled, [](auto& acceptor, auto&) { acceptor.cancel(); }},
        {"cancel the task", errc::canceled, [](auto&, auto& accepting) { accepting.cancel(); }},
        {"close", errc::closed, [](auto& acceptor, auto&) { acceptor.close(); }},
        {"abort", errc::closed, [](auto& acceptor, auto&) { acceptor.abort(); }},
        {"destroy", errc::closed, [](auto& acceptor, auto&) { acceptor = tcp::acceptor(); }},
    };
    return all;
}
#endif

/// A proactor that has no descriptor for anybody, for as long as it is told so.
class short_reactor final : public reactor {
public:
    struct state {
        bool is_short = true;
        int accepts = 0;
    };
    short_reactor(reactor_kind kind, std::shared_ptr<state> how)
        : inner_(test::make_reactor(kind)), state_(std::move(how)) {}

    std::string_view name() const noexcept override { return "short"; }
    bool start(operation& op) noexcept override {
        state_->accepts += op.kind == operation_kind::accept;
        if (op.kind != operation_kind::accept || !state_->is_short) return inner_->start(op);
        op.finish(outcome::system, platform::too_many_descriptors);
        return true;
    }
    void cancel(operation& op, completions& done) noexcept override { inner_->cancel(op, done); }
    void close(socket_state& socket, close_mode how, completions& done) noexcept override {
        inner_->close(socket, how, done);
    }
    void release(socket_state& socket, completions& done) noexcept override {
        inner_->release(socket, done);
    }
    int wait(std::chrono::nanoseconds time, completions& done) noexcept override {
        return inner_->wait(time, done);
    }
    void wake() noexcept override { inner_->wake(); }

private:
    std::unique_ptr<reactor> inner_;
    std::shared_ptr<state> state_;
};

}  // namespace

#if defined(TEST_HAS_NO_DESCRIPTORS)
REACTOR_TEST("out of descriptors, an accept waits without spinning, and goes on by itself") {
    const honest_system now;  // what is ready for nothing takes turns, too
    watched on(kind);
    on.ctx.block_on([](io_context& ctx, watched_reactor::log& log) -> task<> {
        tcp::acceptor acceptor(ctx);
        acceptor.listen(any_port()).value();
        auto callers = call(acceptor, 3);
        std::vector<tcp::socket> accepted;
        std::optional<no_descriptors> none(std::in_place);
        auto accepting = ctx.spawn([](tcp::acceptor& from, std::vector<tcp::socket>& to) -> task<> {
            while (to.size() < 3) to.push_back((co_await from.accept()).value());
        }(acceptor, accepted));
        log.waits.clear();
        co_await sleep_for(100ms);
        // Some 7 pauses, with a look at the system or two for the end of each.
        CHECK(log.waits.size() < 100);
        CHECK(log.starts < 100);
        CHECK(accepted.empty());
        const auto is_told_of = [&] {
            std::ostringstream told;
            ctx.dump(told);
            return told.str().find("- accept 127.0.0.1") != std::string::npos;
        };
        bool told_of = is_told_of();  // the first look may come between two steps
        for (int i = 0; i < 1000 && !told_of; told_of = is_told_of(), ++i) co_await sleep_for(1ms);
        CHECK(told_of);
        none.reset();
        CHECK((co_await with_timeout(std::move(accepting), 10s)).ok());
        REQUIRE(accepted.size() == 3);
        std::array<char, 4> buffer;
        for (tcp::socket& each : accepted)
            CHECK((co_await with_timeout(each.read_some(buffer), 10s)).data == 1);
    }(on.ctx, *on.log));
}

REACTOR_TEST("each descriptor that is closed is one for a connection that waits") {
    run(kind, [](io_context& ctx) -> task<> {
        tcp::acceptor acceptor(ctx);
        acceptor.listen(any_port()).value();
        auto callers = call(acceptor, 4);
        auto spare = call(acceptor, 2);
        auto first = (co_await acceptor.accept()).value();
        {
            const no_descriptors none;
            CHECK((co_await with_timeout(acceptor.accept(), 5ms)).error() == errc::timed_out);
            first.close();
            first = (co_await with_timeout(acceptor.accept(), 10s)).value();
            CHECK((co_await with_timeout(acceptor.accept(), 5ms)).error() == errc::timed_out);
            callers.pop_back();
            auto second = (co_await with_timeout(acceptor.accept(), 10s)).value();
            std::array<char, 4> buffer;
            CHECK((co_await with_timeout(second.read_some(buffer), 10s)).data == 1);
        }
        for (int i = 0; i < 3; ++i) CHECK((co_await with_timeout(acceptor.accept(), 10s)).ok());
    });
}

REACTOR_TEST("out of descriptors, an accept ends as others do, whenever that is") {
    for (const ending& how : endings())
        for (int turns = 1; turns < 30; ++turns) {  // with none it has not begun yet
            INFO(how.name, " after ", turns, " turns");
            run(kind, [&](io_context& ctx) -> task<> {
                tcp::acceptor acceptor(ctx);
                acceptor.listen(any_port()).value();
                const auto callers = call(acceptor, 1);
                const no_descriptors none;
                auto accepting = ctx.spawn(accept_one(acceptor));
                for (int i = 0; i < turns; ++i) co_await yield();
                how.carry_out(acceptor, accepting);
                CHECK((co_await with_timeout(accepting, 10s)).data == how.expected);
            });
        }
}

REACTOR_TEST("a cancel ends an accept that waits for a descriptor") {
    run(kind, [](io_context& ctx) -> task<> {
        tcp::acceptor acceptor(ctx);
        acceptor.listen(any_port()).value();
        const auto callers = call(acceptor, 1);
        const no_descriptors none;
        auto accepting = ctx.spawn(accept_one(acceptor));
        co_await sleep_for(100us);
        auto cancelling = ctx.spawn([](tcp::acceptor& which) -> task<> {
            co_await sleep_for(10us);
            which.cancel();
        }(acceptor));
        co_await yield();
        std::this_thread::sleep_for(10ms);  // so that the sleep and the pause end in one turn
        CHECK((co_await with_timeout(accepting, 5s)).data == errc::canceled);
        co_await cancelling;
    });
}

REACTOR_TEST("out of descriptors, limits on an accept hold, and lose no connection") {
    run(kind, [](io_context& ctx) -> task<> {
        tcp::acceptor acceptor(ctx);
        acceptor.listen(any_port()).value();
        const auto callers = call(acceptor, 1);
        std::optional<no_descriptors> none(std::in_place);
        for (const auto limit : {0us, 10us, 500us, 1000us, 1100us, 3000us, 8000us}) {
            CHECK((co_await with_timeout(acceptor.accept(), limit)).error() == errc::timed_out);
            CHECK(acceptor.is_open());
        }
        auto [first, results] = co_await when_any(sleep_for(5ms), acceptor.accept());
        CHECK(first == 0);
        CHECK(std::get<1>(results).error() == errc::canceled);
        auto [ec, value] = co_await with_timeout(
            [](tcp::acceptor& from) -> task<std::error_code> {
                co_return (co_await from.accept()).error();
            }(acceptor),
            5ms);
        CHECK(ec == errc::timed_out);
        CHECK(value == errc::canceled);

        auto accepting = ctx.spawn(accept_one(acceptor));
        co_await sleep_for(2ms);
        CHECK((co_await acceptor.accept()).error() == std::errc::operation_in_progress);
        none.reset();
        CHECK_FALSE(co_await accepting);
    });
}

REACTOR_TEST("out of descriptors, on_timeout::close closes the acceptor") {
    for (const auto limit : {0us, 10us, 500us, 1000us, 1100us, 3000us}) {
        run(kind, [&](io_context& ctx) -> task<> {
            tcp::acceptor acceptor(ctx);
            acceptor.listen(any_port()).value();
            const auto callers = call(acceptor, 1);
            const no_descriptors none;
            const auto [ec, peer] =
                co_await with_timeout(acceptor.accept(), limit, on_timeout::close);
            CHECK(ec == errc::timed_out);
            CHECK_FALSE(acceptor.is_open());
        });
    }
}

REACTOR_TEST("out of descriptors, an acceptor may be moved, and closed and opened again") {
    run(kind, [](io_context& ctx) -> task<> {
        tcp::acceptor acceptor(ctx);
        acceptor.listen(any_port()).value();
        const auto callers = call(acceptor, 1);
        std::optional<no_descriptors> none(std::in_place);
        auto accepting = ctx.spawn(accept_one(acceptor));
        co_await sleep_for(2ms);
        tcp::acceptor moved = std::move(acceptor);
        none.reset();
        CHECK_FALSE(co_await accepting);

        const auto others = call(moved, 1);
        none.emplace();
        auto second = ctx.spawn(accept_one(moved));
        co_await sleep_for(2ms);
        none.reset();
        moved.close();
        moved.listen(any_port()).value();
        CHECK((co_await second) == errc::closed);
        const auto last = call(moved, 1);
        CHECK((co_await with_timeout(moved.accept(), 10s)).ok());
    });
}

REACTOR_TEST("a context may end while an accept waits for a descriptor") {
    std::vector<blocking_socket> callers;
    std::optional<no_descriptors> none;
    {
        io_context ctx(kind);
        tcp::acceptor acceptor(ctx);
        acceptor.listen(any_port()).value();
        callers = call(acceptor, 1);
        none.emplace();
        auto accepting = ctx.spawn(accept_one(acceptor));
        ctx.run_for(3ms);
        CHECK_FALSE(accepting.done());
    }
}

REACTOR_TEST("out of descriptors, accept says so if listen was told so") {
    run(kind, [](io_context& ctx) -> task<> {
        tcp::acceptor acceptor(ctx);
        acceptor.listen(any_port(), {.wait_for_descriptors = false}).value();
        const auto callers = call(acceptor, 1);
        {
            const no_descriptors none;
            for (int i = 0; i < 2; ++i) {
                auto [ec, peer] = co_await with_timeout(acceptor.accept(), 5s);
                CHECK(ec == std::errc::too_many_files_open);
                CHECK_FALSE(peer.is_open());
            }
        }
        CHECK((co_await with_timeout(acceptor.accept(), 5s)).ok());
    });
}

#if defined(__linux__) && !defined(TEST_PLATFORM_QUIRKY)
REACTOR_TEST("out of descriptors, acceptors of local sockets wait, too, or say so") {
    run(kind, [](io_context& ctx) -> task<> {
        for (const bool waits : {true, false}) {
            const local::endpoint at =
                local::endpoint::abstract("curfew-accept-" + std::to_string(::getpid()));
            local::acceptor acceptor(ctx);
            local::listen_options how;
            how.wait_for_descriptors = waits;
            acceptor.listen(at, how).value();
            local::socket client(ctx);
            (co_await client.connect(at)).value();
            {
                const no_descriptors none;
                const auto ec = (co_await with_timeout(acceptor.accept(), 5ms)).error();
                CHECK((waits ? ec == errc::timed_out : ec == std::errc::too_many_files_open));
            }
            CHECK((co_await with_timeout(acceptor.accept(), 5s)).ok());
        }
    });
}
#endif
#endif

REACTOR_TEST("a shortage that a proactor reports is waited for") {
    if (!is_proactor(kind)) return;
    const auto state = std::make_shared<short_reactor::state>();
    io_context ctx(std::make_unique<short_reactor>(kind, state));
    ctx.block_on([](io_context& on, short_reactor::state& system) -> task<> {
        tcp::acceptor acceptor(on);
        acceptor.listen(any_port()).value();
        const auto caller = blocking_connect(acceptor.local_endpoint());
        CHECK((co_await with_timeout(acceptor.accept(), 50ms)).error() == errc::timed_out);
        CHECK(system.accepts > 1);
        CHECK(system.accepts < 50);
        auto accepting = on.spawn(accept_one(acceptor));
        co_await sleep_for(2ms);
        acceptor.cancel();
        CHECK((co_await accepting) == errc::canceled);
        accepting = on.spawn(accept_one(acceptor));
        co_await sleep_for(2ms);
        system.is_short = false;
        CHECK_FALSE(co_await accepting);
        system.is_short = true;
        accepting = on.spawn(accept_one(acceptor));
        co_await sleep_for(2ms);
        acceptor.close();
        CHECK((co_await accepting) == errc::closed);
    }(ctx, *state));
}
