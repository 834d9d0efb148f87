// Signals: who is told of which, once, and what they mean before and afterwards.
#include <curfew/signals.hpp>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstring>
#include <new>
#include <optional>
#include <thread>
#include <vector>

#if !defined(_WIN32)
#include <sys/wait.h>
#include <unistd.h>
#endif

#include "support/loop.hpp"

using namespace test;

#if defined(CURFEW_HAS_SIGNALS) && !defined(_WIN32)

namespace {

struct sigaction action_of(int number) {
    struct sigaction now {};
    ::sigaction(number, nullptr, &now);
    return now;
}

/// What another library does: takes a signal over while it lives, and calls whom it has found.
class other_library {
public:
    explicit other_library(int number) : number_(number) {
        struct sigaction own {};
        own.sa_handler = [](int which) {
            heard = heard + 1;
            if (found_.sa_flags & SA_SIGINFO)
                found_.sa_sigaction(which, nullptr, nullptr);
            else if (found_.sa_handler != SIG_DFL && found_.sa_handler != SIG_IGN)
                found_.sa_handler(which);
        };
        ::sigaction(number, &own, &found_);
    }
    ~other_library() { ::sigaction(number_, &found_, nullptr); }
    other_library(const other_library&) = delete;
    other_library& operator=(const other_library&) = delete;

    static inline volatile std::sig_atomic_t heard = 0;

private:
    int number_;
    static inline struct sigaction found_ {};
};

volatile std::sig_atomic_t plainly_heard = 0;

/// Sets a handler that counts, and restores what was before.
class counting_handler {
public:
    explicit counting_handler(int number) : number_(number) {
        plainly_heard = 0;
        struct sigaction own {};
        own.sa_handler = [](int) { plainly_heard = plainly_heard + 1; };
        ::sigaction(number, &own, &before_);
    }
    ~counting_handler() { ::sigaction(number_, &before_, nullptr); }
    counting_handler(const counting_handler&) = delete;
    counting_handler& operator=(const counting_handler&) = delete;

private:
    int number_;
    struct sigaction before_ {};
};

task<int> number_from(signals& from) {
    const auto told = co_await with_timeout(from.wait(), 10s);
    co_return told.ec ? -1 : told.data;
}

/// What `act` does to a child process: the signal that has ended it, or -1 - its exit code.
template <class Act>
int end_of_child(Act act) {
    const pid_t child = ::fork();
    if (child == 0) {
        act();
        ::_exit(0);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    return WIFSIGNALED(status) ? WTERMSIG(status) : -1 - WEXITSTATUS(status);
}

}  // namespace

REACTOR_TEST("a signal ends a wait, and the wait tells its number") {
    run(kind, [](io_context& ctx) -> task<> {
        signals both(ctx, {SIGUSR1, SIGUSR2});
        CHECK(!both.error());
        for (const int number : {SIGUSR1, SIGUSR2, SIGUSR1}) {
            auto told = ctx.spawn(number_from(both));
            co_await yield();
            ::raise(number);
            CHECK((co_await told) == number);
        }
    });
}

REACTOR_TEST("a loop that sleeps in the system is woken by a signal") {
    run(kind, [](io_context& ctx) -> task<> {
        signals one(ctx, {SIGALRM});
        ::alarm(1);  // in a second, and not to this coroutine
        CHECK((co_await number_from(one)) == SIGALRM);
    });
}

REACTOR_TEST("what comes before a wait is told to it: each kind once, the lowest number first") {
    run(kind, [](io_context& ctx) -> task<> {
        signals both(ctx, {SIGUSR1, SIGUSR2});
        ::raise(SIGUSR2);
        ::raise(SIGUSR1);
        ::raise(SIGUSR2);
        ::raise(SIGUSR1);
        CHECK((co_await number_from(both)) == SIGUSR1);
        CHECK((co_await number_from(both)) == SIGUSR2);
        CHECK((co_await with_timeout(both.wait(), 0s)).error() == errc::timed_out);
        // Also if the loop has looked at the system meanwhile.
        ::raise(SIGUSR2);
        ::raise(SIGUSR1);
        co_await sleep_for(1ms);
        ::raise(SIGUSR1);
        CHECK((co_await number_from(both)) == SIGUSR1);
        CHECK((co_await number_from(both)) == SIGUSR2);
        CHECK((co_await with_timeout(both.wait(), 0s)).error() == errc::timed_out);
    });
}

REACTOR_TEST("a signal that has come ends a wait at once") {
    run(kind, [](io_context& ctx) -> task<> {
        signals one(ctx, {SIGUSR1});
        bool others_went_on = false;
        ctx.post([&] { others_went_on = true; });
        ::raise(SIGUSR1);
        CHECK((co_await one.wait()).value() == SIGUSR1);
        CHECK(!others_went_on);
        co_await sleep_for(1ms);
        CHECK(others_went_on);
    });
}

REACTOR_TEST("each signal ends one wait, that of who has waited longest") {
    run(kind, [](io_context& ctx) -> task<> {
        signals one(ctx, {SIGUSR1});
        std::vector<int> order;
        task_group waiters;
        for (int i = 0; i < 3; ++i)
            waiters.spawn([](signals& from, std::vector<int>& to, int me) -> task<> {
                CHECK((co_await from.wait()).value() == SIGUSR1);
                to.push_back(me);
            }(one, order, i));
        for (std::size_t i = 0; i < 3; ++i) {
            co_await sleep_for(1ms);
            CHECK(order.size() == i);
            ::raise(SIGUSR1);
            while (order.size() == i) co_await sleep_for(1ms);
        }
        co_await waiters.join();
        CHECK(order == std::vector{0, 1, 2});
    });
}

REACTOR_TEST("all objects are told, in one context and in others, and only of what they take") {
    io_context ctx(kind), other(kind);
    signals first(ctx, {SIGUSR1});
    signals second(ctx, {SIGUSR1, SIGUSR2});
    signals third(other, {SIGUSR2, SIGUSR1});
    signals none(other, {SIGHUP});
    ::raise(SIGUSR1);
    for (signals* each : {&first, &second}) CHECK(ctx.block_on(number_from(*each)) == SIGUSR1);
    CHECK(other.block_on(number_from(third)) == SIGUSR1);
    ::raise(SIGUSR2);
    CHECK(ctx.block_on(number_from(second)) == SIGUSR2);
    CHECK(other.block_on(number_from(third)) == SIGUSR2);
    CHECK(ctx.block_on(with_timeout(first.wait(), 1ms)).error() == errc::timed_out);
    CHECK(other.block_on(with_timeout(none.wait(), 1ms)).error() == errc::timed_out);
}

REACTOR_TEST("a limit or a cancellation takes no signal away") {
    run(kind, [](io_context& ctx) -> task<> {
        signals one(ctx, {SIGUSR1});
        CHECK((co_await with_timeout(one.wait(), 1ms)).error() == errc::timed_out);
        auto waits = ctx.spawn([](signals& from) -> task<std::error_code> {
            co_return (co_await from.wait()).error();
        }(one));
        co_await yield();
        waits.cancel();
        CHECK((co_await waits) == errc::canceled);
        ::raise(SIGUSR1);
        // In a cancelled task there is nothing to be had, and nothing lost.
        auto late = ctx.spawn([](signals& from) -> task<std::error_code> {
            co_return (co_await from.wait()).error();
        }(one));
        late.cancel();
        CHECK((co_await late) == errc::canceled);
        CHECK((co_await number_from(one)) == SIGUSR1);
        // The wait that has been told of it delivers it, although it is cancelled then.
        auto told = ctx.spawn([](signals& from) -> task<result<int>> {
            co_return co_await from.wait();
        }(one));
        co_await yield();
        ::raise(SIGUSR1);
        ctx.post([&] { told.cancel(); });  // behind what the handler has queued, or before it
        const auto ended = co_await told;
        if (ended.ec)
            CHECK((co_await number_from(one)) == SIGUSR1);
        else
            CHECK(ended.data == SIGUSR1);
        CHECK((co_await with_timeout(one.wait(), 1ms)).error() == errc::timed_out);
        const auto [index, results] = co_await when_any(one.wait(), sleep_for(1ms));
        CHECK(index == 1);
        CHECK(std::get<0>(results).ec == errc::canceled);
    });
}

REACTOR_TEST("handlers find errno as it was, and leave it so") {
    io_context ctx(kind);
    const signals one(ctx, {SIGUSR1});
    errno = 77;
    ::raise(SIGUSR1);
    CHECK(errno == 77);
}

REACTOR_TEST("with the last object the signal does again what it did before") {
    io_context ctx(kind);
    const counting_handler theirs(SIGUSR1);
    const auto before = action_of(SIGUSR1);
    {
        std::optional<signals> first(std::in_place, ctx, std::initializer_list<int>{SIGUSR1});
        signals second(ctx, {SIGUSR1, SIGUSR2});
        ::raise(SIGUSR1);
        CHECK(ctx.block_on(number_from(*first)) == SIGUSR1);
        CHECK(plainly_heard == 0);
        first.reset();
        ::raise(SIGUSR1);
        CHECK(ctx.block_on(number_from(second)) == SIGUSR1);
        CHECK(plainly_heard == 0);
    }
    CHECK((action_of(SIGUSR1).sa_handler == before.sa_handler));
    CHECK(action_of(SIGUSR1).sa_flags == before.sa_flags);
    CHECK((action_of(SIGUSR2).sa_handler == SIG_DFL));
    ::raise(SIGUSR1);
    CHECK(plainly_heard == 1);
}

REACTOR_TEST("another library may take a signal over later, and give it back in any order") {
    io_context ctx(kind);
    const counting_handler first(SIGUSR1);
    other_library::heard = 0;
    std::optional<signals> ours(std::in_place, ctx, std::initializer_list<int>{SIGUSR1});
    std::optional<other_library> theirs(std::in_place, SIGUSR1);
    ::raise(SIGUSR1);
    CHECK(other_library::heard == 1);
    CHECK(ctx.block_on(number_from(*ours)) == SIGUSR1);  // they have passed it on
    CHECK(plainly_heard == 0);
    // We leave before them: they stay, and reach through us who was there before.
    ours.reset();
    ::raise(SIGUSR1);
    CHECK(other_library::heard == 2);
    CHECK(plainly_heard == 1);
    // We come again, and take it over from them.
    ours.emplace(ctx, std::initializer_list<int>{SIGUSR1});
    ::raise(SIGUSR1);
    CHECK(ctx.block_on(number_from(*ours)) == SIGUSR1);
    CHECK(other_library::heard == 2);
    CHECK(plainly_heard == 1);
    ours.reset();
    ::raise(SIGUSR1);
    CHECK(other_library::heard == 3);
    CHECK(plainly_heard == 2);
    // When they leave they set what they had found, our handler: the next signal ends that.
    theirs.reset();
    ::raise(SIGUSR1);
    CHECK(other_library::heard == 3);
    CHECK(plainly_heard == 3);
    ::raise(SIGUSR1);
    CHECK(plainly_heard == 4);
    CHECK(!(action_of(SIGUSR1).sa_flags & SA_SIGINFO));
}

REACTOR_TEST("a handler that another library sets again, with nobody there, has the default's effect") {
    CHECK(end_of_child([&] {
        io_context ctx(kind);
        std::optional<signals> ours(std::in_place, ctx, std::initializer_list<int>{SIGUSR1});
        const auto handler_of_ours = action_of(SIGUSR1);
        ours.reset();
        ::sigaction(SIGUSR1, &handler_of_ours, nullptr);
        ::raise(SIGUSR1);
    }) == SIGUSR1);
}

REACTOR_TEST("in a child process signals do what they did before, and the parent hears of none") {
    io_context ctx(kind);
    signals ours(ctx, {SIGUSR1, SIGCHLD});
    CHECK(end_of_child([] { ::raise(SIGUSR1); }) == SIGUSR1);
    CHECK(end_of_child([] { ::raise(SIGCHLD); }) == -1);  // which is ignored
    // One that makes its own is told.
    CHECK(end_of_child([&] {
        io_context own(kind);
        signals of_child(own, {SIGUSR1});
        ::raise(SIGUSR1);
        ::_exit(own.block_on(number_from(of_child)) == SIGUSR1 ? 7 : 8);
    }) == -8);
    CHECK(ctx.block_on(number_from(ours)) == SIGCHLD);  // of the children's ends
    CHECK(ctx.block_on(with_timeout(ours.wait(), 1ms)).error() == errc::timed_out);
    ::raise(SIGUSR1);
    CHECK(ctx.block_on(number_from(ours)) == SIGUSR1);
}

REACTOR_TEST("what cannot be taken over is told by the object and by each wait") {
    io_context ctx(kind);
    for (const int number : {0, -1, 65, 1000, SIGKILL, SIGSTOP, SIGSEGV, SIGFPE}) {
        CAPTURE(number);
        signals none(ctx, {SIGUSR1, number});
        CHECK(none.error() == std::errc::invalid_argument);
        CHECK(ctx.block_on(none.wait()).error() == std::errc::invalid_argument);
        CHECK((action_of(SIGUSR1).sa_handler == SIG_DFL));
    }
    signals empty(ctx, {});
    CHECK(!empty.error());
    CHECK(ctx.block_on(with_timeout(empty.wait(), 1ms)).error() == errc::timed_out);
}

REACTOR_TEST("who waits for an object that is destroyed is told closed; with the context it ends") {
    std::optional<io_context> ctx;
    ctx.emplace(kind);
    std::optional<signals> ours(std::in_place, *ctx, std::initializer_list<int>{SIGUSR1});
    auto waits = ctx->spawn([](signals& from) -> task<std::error_code> {
        co_return (co_await from.wait()).error();
    }(*ours));
    ctx->poll();
    ::raise(SIGUSR2 == SIGUSR1 ? 0 : SIGCHLD);  // another one
    ours.reset();
    CHECK(test::join(*ctx, waits) == errc::closed);

    // With something queued that nobody takes any more.
    alignas(signals) std::byte place[sizeof(signals)];
    signals* const gone = ::new (static_cast<void*>(place)) signals(*ctx, {SIGUSR1});
    ::raise(SIGUSR1);
    gone->~signals();
    std::memset(place, 0, sizeof place);
    ctx->poll();
    ours.emplace(*ctx, std::initializer_list<int>{SIGUSR1});
    CHECK(ctx->block_on(with_timeout(ours->wait(), 1ms)).error() == errc::timed_out);
    ::raise(SIGUSR1);
    ctx.reset();
    CHECK(ours->error() == errc::closed);
    CHECK((action_of(SIGUSR1).sa_handler == SIG_DFL));
    ctx.emplace(kind);
    CHECK(ctx->block_on(ours->wait()).error() == errc::closed);
}

REACTOR_TEST("dump says that a task waits for a signal") {
    io_context ctx(kind);
    signals ours(ctx, {SIGUSR1});
    ctx.spawn([](signals& from) -> task<> { static_cast<void>(co_await from.wait()); }(ours));
    ctx.poll();
    REQUIRE(ctx.tasks().size() == 1);
    CHECK(ctx.tasks()[0].waits_for == "signal");
}

#elif defined(_WIN32)

namespace {

/// A console of this process alone, in which it hears Ctrl+C: whoever began it may have had none.
bool has_console() {
    static const bool made = [] {
        ::FreeConsole();
        const bool allocated = ::AllocConsole();
        ::SetConsoleCtrlHandler(nullptr, FALSE);
        return allocated;
    }();
    return made;
}

task<int> number_from(signals& from) {
    const auto told = co_await with_timeout(from.wait(), 10s);
    co_return told.ec ? -1 : told.data;
}

/// Another handler of the program's, set before ours.
std::atomic<int> heard{0};
BOOL WINAPI count(DWORD) {
    ++heard;
    return TRUE;
}

}  // namespace

REACTOR_TEST("the console's events are signals") {
    REQUIRE(has_console());
    heard = 0;
    ::SetConsoleCtrlHandler(&count, TRUE);
    io_context ctx(kind);
    {
        signals ours(ctx, {SIGINT, SIGBREAK});
        CHECK(!ours.error());
        for (int i = 0; i < 3; ++i) {
            REQUIRE(::GenerateConsoleCtrlEvent(CTRL_C_EVENT, 0));
            CHECK(ctx.block_on(number_from(ours)) == SIGINT);
            // Wine (8.0) sends no other, so these come as the system would bring them.
            std::thread([] { platform::detail::on_console_event(CTRL_BREAK_EVENT); }).join();
            CHECK(ctx.block_on(number_from(ours)) == SIGBREAK);
        }
        CHECK(heard == 0);
        CHECK(ctx.block_on(with_timeout(ours.wait(), 1ms)).error() == errc::timed_out);
        // While the program ends, the one that has brought this waits.
        signals ends(ctx, {SIGTERM});
        std::thread([] { platform::detail::on_console_event(CTRL_CLOSE_EVENT); }).detach();
        CHECK(ctx.block_on(number_from(ends)) == SIGTERM);
    }
    {
        // What is not taken goes on to the others.
        const signals other(ctx, {SIGBREAK});
        REQUIRE(::GenerateConsoleCtrlEvent(CTRL_C_EVENT, 0));
        for (int i = 0; i < 1000 && heard == 0; ++i) std::this_thread::sleep_for(10ms);
        CHECK(heard == 1);
    }
    REQUIRE(::GenerateConsoleCtrlEvent(CTRL_C_EVENT, 0));
    for (int i = 0; i < 1000 && heard == 1; ++i) std::this_thread::sleep_for(10ms);
    CHECK(heard == 2);
    ::SetConsoleCtrlHandler(&count, FALSE);
}

REACTOR_TEST("what is no event of a console cannot be taken over") {
    io_context ctx(kind);
    for (const int number : {0, -1, SIGSEGV, SIGABRT, 1000}) {
        signals none(ctx, {number});
        CHECK(none.error() == std::errc::invalid_argument);
        CHECK(ctx.block_on(none.wait()).error() == std::errc::invalid_argument);
    }
}

#else

REACTOR_TEST("where there are no signals each wait says so") {
    io_context ctx(kind);
    signals none(ctx, {SIGINT});
    CHECK(none.error() == errc::not_supported);
    CHECK(ctx.block_on(none.wait()).error() == errc::not_supported);
}

#endif
