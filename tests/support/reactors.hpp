// Tests that hold on every reactor.
#pragma once

#include <doctest/doctest.h>

#include <memory>
#include <vector>

#include <curfew/curfew.hpp>

namespace test {

/// The reactors of this build that the system permits, or the one that CURFEW_TEST_REACTOR names.
std::vector<curfew::reactor_kind> reactors();

/// Null: this build does not have it, or the system forbids it.
std::unique_ptr<curfew::reactor> make_reactor(curfew::reactor_kind kind);

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
