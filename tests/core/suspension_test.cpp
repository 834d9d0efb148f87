#include <curfew/core/cancellation.hpp>
#include <curfew/core/suspension.hpp>

#include <doctest/doctest.h>

#include <string_view>

using curfew::fiber;
using curfew::detail::cancellation;
using curfew::detail::endless;
using curfew::detail::not_begun;
using curfew::detail::wait_report;

TEST_CASE("a fiber that has not begun waits in what all such wait in") {
    fiber self;
    CHECK(self.has_begun());
    self.waiting = &not_begun;
    CHECK_FALSE(self.has_begun());
    CHECK_FALSE(not_begun.type->is_operation);
    CHECK_FALSE(not_begun.type->needs_tick);
}

TEST_CASE("it is queued, so an interruption finds it complete, and it reports nothing") {
    cancellation by(false);
    CHECK(not_begun.type->interrupt(not_begun, by));
    wait_report report;
    not_begun.type->describe(not_begun, report);
    CHECK(std::string_view(report.what).empty());
    CHECK(report.socket == nullptr);
    CHECK(report.until == endless);
}
