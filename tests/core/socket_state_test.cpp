#include <curfew/core/socket_state.hpp>

#include <doctest/doctest.h>

using curfew::readiness;
using curfew::socket_state;

TEST_CASE("a socket without a handle is not open") {
    socket_state socket;
    CHECK_FALSE(socket.is_open());
    CHECK(socket.loop == nullptr);
    CHECK(!socket.write_broken);
}

TEST_CASE("readiness combines like flags") {
    CHECK((readiness::readable & readiness::readable));
    CHECK_FALSE((readiness::readable & readiness::writable));
    const auto both = readiness::readable | readiness::writable;
    CHECK((both & readiness::readable));
    CHECK((both & readiness::writable));
}

TEST_CASE("directions are worth trying one by one") {
    const auto both = readiness::readable | readiness::writable;
    socket_state socket;
    CHECK_FALSE(socket.may_try(both));
    socket.set_worth_trying(readiness::readable);
    CHECK(socket.may_try(readiness::readable));
    CHECK_FALSE(socket.may_try(readiness::writable));
    CHECK(socket.may_try(both));
    socket.set_worth_trying(both);
    socket.set_dry(readiness::readable);
    CHECK_FALSE(socket.may_try(readiness::readable));
    CHECK(socket.may_try(readiness::writable));
}

TEST_CASE("a read that falls short has left nothing behind, unless short reads mean nothing") {
    socket_state socket;
    CHECK(socket.is_dry_after(true));
    CHECK_FALSE(socket.is_dry_after(false));
    socket.ignore_short_reads = true;
    CHECK_FALSE(socket.is_dry_after(true));
    CHECK_FALSE(socket.is_dry_after(false));
}

TEST_CASE("tries are left out while they are in vain, and made again when one was not") {
    socket_state socket;
    const auto tries_of = [&](int announcements, bool in_vain) {
        int tries = 0;
        for (int i = 0; i < announcements; ++i) {
            socket.set_worth_trying(readiness::readable);
            socket.announced();
            if (!socket.may_try(readiness::readable)) continue;
            ++tries;
            socket.tried(in_vain);
        }
        return tries;
    };
    CHECK(tries_of(10, true) == 10);  // a reactor that is edge-triggered
    socket.level_triggered = true;
    CHECK(tries_of(1 + 2 + 4 + 8, true) == 4);
    CHECK(tries_of(160, true) == 10);
    CHECK(tries_of(16, false) == 1);
    CHECK(tries_of(10, false) == 10);  // from now on each
    CHECK(tries_of(3, true) == 2);
}

TEST_CASE("tries that nobody asked for say nothing of those that are left out") {
    socket_state socket;
    socket.level_triggered = true;
    const auto is_tried = [&] {
        socket.set_worth_trying(readiness::readable);
        socket.announced();
        return socket.may_try(readiness::readable);
    };
    CHECK(is_tried());
    socket.tried(true);
    for (int i = 0; i < 3; ++i) socket.tried(false);
    CHECK_FALSE(is_tried());
    socket.tried(true);
    CHECK(is_tried());
    socket.tried(false);
    CHECK(is_tried());
}

TEST_CASE("who has no socket refers to one that is closed, and marked") {
    using curfew::detail::no_socket;
    CHECK(bool{no_socket.placeholder});
    CHECK_FALSE(no_socket.is_open());
    CHECK(no_socket.loop == nullptr);
    CHECK_FALSE(bool{socket_state().placeholder});
}
