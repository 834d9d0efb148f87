// Tests that hold on every reactor.
#pragma once

#include <doctest/doctest.h>

#include <cstdlib>
#include <string_view>
#include <vector>

#include <curfew/curfew.hpp>

namespace test {

/// The reactors of this build that the system permits, or the one that CURFEW_TEST_REACTOR names.
inline std::vector<curfew::reactor_kind> reactors() {
    std::vector<curfew::reactor_kind> kinds;
    const char* only = std::getenv("CURFEW_TEST_REACTOR");
    for (const auto kind : curfew::detail::preferred_reactors)
        if (only ? curfew::to_string(kind) == std::string_view(only)
                 : curfew::detail::make_reactor(kind).made != nullptr)
            kinds.push_back(kind);
    return kinds;
}

/// Whether the system does the operations: what it has done, no cancellation takes back.
inline bool is_proactor(curfew::reactor_kind kind) {
    return kind == curfew::reactor_kind::io_uring || kind == curfew::reactor_kind::iocp;
}

}  // namespace test

/// A test case that is run on every reactor; its body knows which one as `kind`.
#define REACTOR_TEST(name) REACTOR_TEST_IMPL(DOCTEST_ANONYMOUS(reactor_test_), name)
#define REACTOR_TEST_IMPL(function, name)                                                          \
    static void function(curfew::reactor_kind kind);                                               \
    TEST_CASE(name) {                                                                              \
        REQUIRE_FALSE(test::reactors().empty());                                                   \
        for (const auto each : test::reactors()) {                                                 \
            INFO("reactor: ", curfew::to_string(each));                                            \
            function(each);                                                                        \
        }                                                                                          \
    }                                                                                              \
    static void function(curfew::reactor_kind kind)
