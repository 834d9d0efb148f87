// Coroutines that other threads begin, and tasks that they resume.
#include <curfew/curfew.hpp>

#include <array>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "support/counted.hpp"
#include "support/fatal.hpp"
#include "support/foreign.hpp"
#include "support/loop.hpp"

using namespace test;

REACTOR_TEST("a coroutine that has begun to wait in a thread that is gone goes on in the loop") {
    io_context ctx(kind);
    udp::socket socket(ctx);
    socket.bind(any_port()).value();
    std::size_t received = 0;
    std::thread([&] {
        [](udp::socket& from, std::size_t& n) -> detached {
            std::array<char, 8> buffer;
            n = (co_await from.receive(buffer)).value();
        }(socket, received);
    }).join();
    ctx.block_on([](io_context& own, const ip::endpoint& to) -> task<> {
        udp::socket sender(own);
        (co_await sender.send_to(std::string("abc"), to)).value();
    }(ctx, socket.local_endpoint()));
    while (!received) ctx.poll();
    CHECK(received == 3);
}

// Tasks that code of other libraries resumes ------------------------------------------------------

namespace {

/// Resumes who awaits it in a thread of its own.
struct in_another_thread {
    std::thread& other;
    bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<> self) const {
        // The coroutine may go on before this has returned.
        std::thread& place = other;
        place = std::thread([self] { self.resume(); });
    }
    void await_resume() const noexcept {}
};

}  // namespace

REACTOR_TEST("yield brings a task home that another thread has resumed") {
    io_context ctx(kind);
    std::vector<std::thread> others(8);
    int home = 0;
    const auto wander = [](std::thread& other, int& count) -> task<> {
        const auto own = std::this_thread::get_id();
        co_await in_another_thread{other};
        CHECK(std::this_thread::get_id() != own);
        CHECK((co_await yield()).ok());
        if (std::this_thread::get_id() == own) ++count;
        CHECK(&this_context() != nullptr);
        (void)co_await sleep_for(1ms);
    };
    std::vector<join_handle<>> handles;
    for (auto& each : others) handles.push_back(ctx.spawn(wander(each, home)));
    ctx.run();
    for (auto& each : others) each.join();
    CHECK(home == 8);
}

REACTOR_TEST("a task that comes home finds that it was cancelled meanwhile") {
    io_context ctx(kind);
    std::thread other;
    std::error_code told;
    auto handle = ctx.spawn([](std::thread& thread, std::error_code& ec) -> task<> {
        co_await in_another_thread{thread};
        ec = (co_await yield()).error();
    }(other, told));
    handle.cancel();
    ctx.run();
    other.join();
    CHECK(told == errc::canceled);
}

REACTOR_TEST("a task that is on its way home may be destroyed with its context") {
    int alive = 0;
    std::thread other;
    {
        io_context ctx(kind);
        ctx.spawn([](std::thread& thread, counted) -> task<> {
            co_await in_another_thread{thread};
            co_await yield();
        }(other, counted(alive)));
        ctx.run_one();
        other.join();
    }
    CHECK(alive == 0);
}

#if CURFEW_EXCEPTIONS
REACTOR_TEST("a task that is on its way home may be destroyed, and does not arrive") {
    struct in_thread_then_stop {
        io_context& own;
        bool await_ready() const noexcept { return false; }
        void await_suspend(std::coroutine_handle<> self) const {
            own.post([self, &ctx = own] {
                std::thread([self] { self.resume(); }).join();
                ctx.stop();  // before the loop looks at what has come
            });
        }
        void await_resume() const noexcept {}
    };
    io_context ctx(kind);
    int alive = 0;
    bool arrived = false;
    const auto wander = [](io_context& own, bool& home, counted) -> task<> {
        co_await in_thread_then_stop{own};
        co_await yield();
        home = true;
    };
    CHECK_THROWS_AS(ctx.block_on(wander(ctx, arrived, counted(alive))), std::system_error);
    CHECK(alive == 0);
    ctx.run();
    CHECK_FALSE(arrived);
}
#endif

#if TEST_CAN_DIE && !defined(NDEBUG)
REACTOR_TEST("a task that another thread has resumed, and that does not go home, is fatal") {
    const auto waits = [](std::thread& other) -> task<> {
        co_await in_another_thread{other};
        (void)co_await sleep_for(1ms);
    };
    const auto ends = [](std::thread& other) -> task<> { co_await in_another_thread{other}; };
    const auto forks = [](std::thread& other) -> task<> {
        co_await in_another_thread{other};
        (void)co_await when_all(yield());
    };
    const std::array<std::function<task<>(std::thread&)>, 3> places{waits, ends, forks};
    for (const auto& place : places) {
        const auto end = death_of([&] {
            io_context ctx(kind);
            std::thread other;
            ctx.spawn(place(other));
            ctx.run_for(10s);
        });
        CHECK(end.signal == SIGABRT);
        CHECK(end.said.find("use post(), or a stop_token") != std::string::npos);
    }
}
#endif
