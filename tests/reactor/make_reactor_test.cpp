// The reactors of this machine, by kind and by name.
#include <curfew/reactor/make_reactor.hpp>

#include <curfew/reactor/epoll.hpp>
#include <curfew/reactor/poll.hpp>
#include <curfew/reactor/select.hpp>

#include "support/fatal.hpp"
#include "support/loop.hpp"
#include "support/system_calls.hpp"

using namespace test;

TEST_CASE("every kind has a name that leads back to it") {
    for (const auto kind : {reactor_kind::select, reactor_kind::poll, reactor_kind::epoll,
                            reactor_kind::io_uring, reactor_kind::iocp})
        CHECK(parse_reactor_kind(to_string(kind)) == kind);
    CHECK_FALSE(parse_reactor_kind("kqueue").has_value());
    CHECK_FALSE(parse_reactor_kind("").has_value());
    CHECK_FALSE(parse_reactor_kind("Poll").has_value());
}

TEST_CASE("a context has the reactor that it was asked for") {
    for (const auto kind : test::reactors()) {
        io_context ctx(kind);
        CHECK(ctx.name() == to_string(kind));
    }
}

namespace {

/// A reactor of a program's own that could not be made.
class failed_reactor final : public reactor {
public:
    static inline int calls = 0;

    std::string_view name() const noexcept override { return "useless"; }
    int error() const noexcept override { return test::out_of_memory; }
    bool start(operation&) noexcept override { return ++calls; }
    void cancel(operation&, completions&) noexcept override { ++calls; }
    void close(socket_state&, close_mode, completions&) noexcept override { ++calls; }
    void release(socket_state&, completions&) noexcept override { ++calls; }
    int wait(std::chrono::nanoseconds, completions&) noexcept override { return ++calls; }
    void wake() noexcept override { ++calls; }
};

}  // namespace

#if defined(_WIN32)
constexpr reactor_kind missing = reactor_kind::epoll;
#else
constexpr reactor_kind missing = reactor_kind::iocp;
#endif

#if CURFEW_EXCEPTIONS
TEST_CASE("a kind that the machine does not have is an error that names it") {
    try {
        io_context ctx(missing);
        FAIL("made a reactor of another system");
    } catch (const std::system_error& error) {
        CHECK(error.code() == errc::not_supported);
        CHECK(std::string(error.what()).find(to_string(missing)) != std::string::npos);
    }
}

TEST_CASE("a reactor that could not be made is an error that names it and says why") {
    try {
        io_context ctx(std::make_unique<failed_reactor>());
        FAIL("a context of a reactor that could not be made");
    } catch (const std::system_error& error) {
        CHECK(error.code() == std::errc::not_enough_memory);
        CHECK(std::string(error.what()).find("'useless'") != std::string::npos);
    }
    CHECK(failed_reactor::calls == 0);
}

TEST_CASE("no reactor at all is an error") {
    try {
        io_context ctx(std::unique_ptr<reactor>{});
        FAIL("a context without a reactor");
    } catch (const std::system_error& error) {
        CHECK(error.code() == std::errc::invalid_argument);
    }
}

#if TEST_HAS_SIGNALS && !defined(TEST_PLATFORM_QUIRKY)
TEST_CASE("a reactor made by hand without a descriptor left gives an error") {
    const auto refuses = [](auto make) {
        rlimit before{};
        ::getrlimit(RLIMIT_NOFILE, &before);
        rlimit tight = before;
        const int next = ::dup(0);
        ::close(next);
        for (rlim_t left = 0; left < 2; ++left) {
            tight.rlim_cur = static_cast<rlim_t>(next) + left;
            ::setrlimit(RLIMIT_NOFILE, &tight);
            std::unique_ptr<reactor> made = make();
            ::setrlimit(RLIMIT_NOFILE, &before);
            if (left > 0 && !made->error()) return;  // it needs no more than one
            REQUIRE(made->error() != 0);
            std::error_code why;
            try {
                io_context ctx(std::move(made));
            } catch (const std::system_error& error) {
                why = error.code();
            }
            CHECK(why == std::errc::too_many_files_open);
        }
    };
#if defined(CURFEW_HAS_SELECT)
    refuses([] { return std::make_unique<select_reactor>(); });
#endif
#if defined(CURFEW_HAS_POLL)
    refuses([] { return std::make_unique<poll_reactor>(); });
#endif
#if defined(CURFEW_HAS_EPOLL)
    refuses([] { return std::make_unique<epoll_reactor>(); });
#endif
}
#endif
#elif TEST_CAN_DIE
TEST_CASE("without exceptions, a reactor that could not be made is fatal and is named") {
    const auto end = test::death_of([] { io_context ctx(std::make_unique<failed_reactor>()); });
    CHECK(end.signal == SIGABRT);
    CHECK(end.said.find("reactor 'useless'") != std::string::npos);
}

TEST_CASE("without exceptions, a kind that the machine does not have is fatal and is named") {
    const auto end = test::death_of([] { io_context ctx(missing); });
    CHECK(end.signal == SIGABRT);
    CHECK(end.said.find("reactor '" + std::string(to_string(missing)) + "'") != std::string::npos);
}
#endif

#if TEST_CAN_DIE && defined(CURFEW_HAS_EPOLL)
TEST_CASE("a sandbox may refuse epoll_pwait2 with whatever error: it is asked once") {
    if (!test::make_reactor(reactor_kind::epoll)) return;
    for (const int error : {ENOSYS, EPERM, EACCES, EINVAL, EBADF, ENOTSUP}) {
        // In a process of its own, as it remembers that.
        const auto end = test::death_of([&] {
            test::next_mishaps().pwait2_fails_with = error;
            std::size_t calls = 0;
            for (int i = 0; i < 3; ++i) {
                const std::size_t before = test::system_calls();
                io_context ctx(reactor_kind::epoll);
                ctx.block_on([]() -> task<> { (co_await sleep_for(1ms)).value(); }());
                if (i == 0) calls = test::system_calls() - before;
                // With the first one there is the call that is refused.
                if (i > 0 && test::system_calls() - before >= calls) ::_exit(1);
            }
            std::fputs("slept", stderr);
        });
        CHECK(end.signal == 0);
        CHECK(end.said == "slept");
    }
}
#endif
