#include <curfew/core/socket_reference.hpp>

#include <doctest/doctest.h>

#include <optional>

using namespace curfew;
using detail::socket_reference;

TEST_CASE("references are empty when their socket is gone, whichever of them went before") {
    socket_state socket;
    socket_state other;
    socket_reference first(socket);
    std::optional<socket_reference> second(std::in_place, socket);
    socket_reference third(socket);
    socket_reference none;
    CHECK(none.socket == nullptr);
    second.reset();
    CHECK(first.socket == &socket);
    third.refer(other);
    socket_reference::forget_all(socket);
    CHECK(first.socket == nullptr);
    CHECK(third.socket == &other);
    CHECK(socket.references == nullptr);
    third.forget();
    CHECK(other.references == nullptr);
}
