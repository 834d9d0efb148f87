#include <curfew/core/call_site.hpp>

#include <doctest/doctest.h>

#include <cstring>

using namespace curfew::detail;

namespace {

std::source_location caller(call_site at = CURFEW_CALL_SITE) { return location_of(at); }

}  // namespace

TEST_CASE("a call site says where the function was called, not where it is declared") {
    const std::source_location here = std::source_location::current();
    const std::source_location seen = caller();
    CHECK(seen.line() == here.line() + 1);
    CHECK(std::strcmp(seen.file_name(), here.file_name()) == 0);
    CHECK(std::strcmp(seen.function_name(), here.function_name()) == 0);
}
