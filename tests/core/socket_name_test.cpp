#include <curfew/core/cancellation.hpp>
#include <curfew/core/socket_name.hpp>

#include <doctest/doctest.h>

#include <optional>
#include <utility>

using curfew::fiber;
using curfew::socket_state;
using curfew::detail::cancel_scope;
using curfew::detail::no_socket;
using curfew::detail::socket_name;

namespace {

/// Counts how often its socket was to be aborted.
struct counted_name : socket_name {
    int aborts = 0;
    explicit counted_name(socket_state& named)
        : socket_name(named, [](socket_name& self) noexcept {
              static_cast<counted_name&>(self).aborts += self.socket != nullptr;
          }) {}
};

}  // namespace

TEST_CASE("a cancellation that aborts reaches what is named in the scope, and inside it") {
    socket_state socket;
    fiber self;
    cancel_scope outer, inner;
    counted_name around(socket), in_outer(socket), in_inner(socket);
    around.attach(self.root);
    self.enter(outer);
    in_outer.attach(outer);
    self.enter(inner);
    in_inner.attach(inner);
    self.cancel(outer, true);
    CHECK(around.aborts == 0);
    CHECK(in_outer.aborts == 1);
    CHECK(in_inner.aborts == 1);
    for (counted_name* each : {&in_outer, &in_inner}) each->detach();
    self.leave(inner);
    self.leave(outer);
    around.detach();
}

TEST_CASE("one that only cancels does not") {
    socket_state socket;
    fiber self;
    counted_name name(socket);
    name.attach(self.root);
    self.cancel(self.root);
    CHECK(name.aborts == 0);
    name.detach();
}

TEST_CASE("a socket that is gone is aborted by nobody") {
    fiber self;
    std::optional<socket_state> socket(std::in_place);
    counted_name name(*socket);
    name.attach(self.root);
    curfew::detail::socket_reference::forget_all(*socket);
    socket.reset();
    self.cancel(self.root, true);
    CHECK(name.aborts == 0);
    name.detach();
}

TEST_CASE("what has no socket names none") {
    counted_name name(no_socket);
    CHECK(name.socket == nullptr);
    CHECK(no_socket.references == nullptr);
}
