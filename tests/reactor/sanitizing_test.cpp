// One socket's error is that socket's, whatever select and poll make of it. What the console of
// ../platforms adds to this is in ../platforms/quirky_test.cpp.
#include <curfew/reactor/sanitizing.hpp>

#include <algorithm>
#include <array>
#include <cerrno>

#include "support/effort.hpp"
#include "support/victims.hpp"

using namespace test;

REACTOR_TEST("a hundred peers reset their connections one after the other: nobody else notices") {
    check_victims(kind, static_cast<int>(std::max<std::size_t>(scaled(100), 10)));
}

REACTOR_TEST("a descriptor closed behind the library's back fails only its own operations") {
    run(kind, [&](io_context& ctx) -> task<> {
        blocking_listener listener;
        auto [socket, peer] = co_await test::connect(ctx, listener);
        auto [other, other_peer] = co_await test::connect(ctx, listener);
        std::array<char, 8> buffer;
        std::array<char, 8> other_buffer;
        auto others = ctx.spawn([](tcp::socket& s, std::span<char> b) -> task<result<std::size_t>> {
            co_return co_await read_exactly(s, b);
        }(other, other_buffer));
        co_await yield();
        // By a second descriptor the connection stays open. (Not on Windows' port: what is pending
        // there would stay so, and nobody can cancel it without its handle.)
        const bool leave_open = kind != reactor_kind::iocp;
        auto copy = native::none;
        if (leave_open) copy = native::duplicate(descriptor_of(socket.native_handle()));
        ctx.post([fd = descriptor_of(socket.native_handle())] { native::close(fd); });
        auto [ec, n] = co_await with_timeout(socket.read_some(buffer), 50ms);
        if (kind == reactor_kind::epoll || (kind == reactor_kind::poll && native::is_wine())) {
            CHECK(ec == errc::timed_out);  // the system forgets such descriptors, and says nothing
        } else if (kind == reactor_kind::io_uring) {
            // A request that the kernel has taken has nothing to do with the number any more.
            CHECK((ec == errc::timed_out || ec == std::errc::bad_file_descriptor));
        } else {
            CHECK(says_bad_descriptor(ec));
            CHECK(says_bad_descriptor((co_await socket.read_some(buffer)).error()));
        }
        CHECK(says_bad_descriptor((co_await with_timeout(write_all(socket, "x"), 1s)).error()));
        CHECK(other_peer.send("all well") == 0);
        CHECK((co_await others).value() == 8);
        if (leave_open) native::close(copy);
    });
}

REACTOR_TEST(
    "a descriptor closed behind the library's back, and a copy of it, leave nothing dangling") {
    run(kind, [&](io_context& ctx) -> task<> {
        blocking_listener listener;
        auto [doomed, peer] = co_await test::connect(ctx, listener);
        std::array<char, 8> buffer;
        CHECK((co_await with_timeout(doomed.read_some(buffer), 1ms)).error() == errc::timed_out);
        const auto copy = native::duplicate(descriptor_of(doomed.native_handle()));
        native::close(descriptor_of(doomed.native_handle()));
        doomed = tcp::socket();
        // epoll goes on reporting events of the copy, for a socket that is no more.
        CHECK(peer.send("hello") == 0);
        CHECK((co_await sleep_for(2ms)).ok());
        native::close(copy);
    });
}

REACTOR_TEST("a wait for readiness on a descriptor that is none says so") {
    run(kind, [&](io_context& ctx) -> task<> {
        auto [client, server] = co_await test::connect(ctx);
        const auto descriptor = descriptor_of(client.native_handle());
        const auto copy = native::duplicate(descriptor);
        native::close(descriptor);
        CHECK(says_bad_descriptor((co_await with_timeout(client.wait(readable), 50ms)).error()));
        client.release();  // the number may be somebody else's by now
        native::close(copy);
    });
}

#if !defined(TEST_PLATFORM_QUIRKY) && !defined(_WIN32)  // which have other numbers
TEST_CASE("failures of a whole wait are told apart") {
    using detail::meaning_of;
    using detail::wait_failure;
    for (const int error : {ECONNRESET, ECONNABORTED, ETIMEDOUT, ECONNREFUSED, EPIPE, ENETUNREACH,
                            EHOSTUNREACH, ENOTCONN, ENETDOWN, EHOSTDOWN, EPROTO, 0, 4711})
        CHECK(meaning_of(error) == wait_failure::of_a_socket);
    CHECK(meaning_of(EINTR) == wait_failure::interrupted);
    for (const int error : {EAGAIN, ENOMEM, ENOBUFS})
        CHECK(meaning_of(error) == wait_failure::out_of_resources);
    for (const int error : {EBADF, ENOTSOCK})
        CHECK(meaning_of(error) == wait_failure::bad_descriptor);
    for (const int error : {EINVAL, EFAULT, ENOSYS, EPERM})
        CHECK(meaning_of(error) == wait_failure::of_the_loop);
}
#endif
