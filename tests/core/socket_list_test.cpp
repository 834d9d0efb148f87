#include <curfew/core/socket_list.hpp>

#include <doctest/doctest.h>

#include <array>
#include <vector>

using curfew::socket_state;
using curfew::detail::socket_list;

namespace {

using sockets = std::vector<const socket_state*>;

sockets all_of(const socket_list& list) {
    sockets all;
    for (const socket_state* each = list.first(); each; each = each->next) all.push_back(each);
    return all;
}

}  // namespace

TEST_CASE("a list of sockets begins with the newest") {
    socket_list list;
    std::array<socket_state, 3> socket;
    CHECK(list.first() == nullptr);
    for (auto& each : socket) list.add(each);
    CHECK(all_of(list) == sockets{&socket[2], &socket[1], &socket[0]});
}

TEST_CASE("a socket leaves its list wherever it stands, and can join another one") {
    for (const std::size_t gone : {0u, 1u, 2u}) {
        CAPTURE(gone);
        socket_list list, other;
        std::array<socket_state, 3> socket;
        for (auto& each : socket) list.add(each);
        socket_list::remove(socket[gone]);
        CHECK(socket[gone].link == nullptr);
        sockets left;
        for (std::size_t i = 3; i-- > 0;)
            if (i != gone) left.push_back(&socket[i]);
        CHECK(all_of(list) == left);

        other.add(socket[gone]);
        CHECK(all_of(other) == sockets{&socket[gone]});
        for (auto& each : socket) socket_list::remove(each);
        CHECK(list.first() == nullptr);
        CHECK(other.first() == nullptr);
    }
}
