#include <curfew/local/endpoint.hpp>

#include <doctest/doctest.h>

#include <string>
#include <string_view>
#include <system_error>

using namespace curfew;

TEST_CASE("a name is a path, or an abstract one; anything else is none") {
    CHECK(local::endpoint().is_unspecified());
    CHECK(local::endpoint().to_string().empty());
    const local::endpoint path("/run/app.sock");
    CHECK(path.name() == "/run/app.sock");
    CHECK(path.to_string() == "/run/app.sock");
    CHECK_FALSE(path.is_unspecified());
    CHECK_FALSE(path.is_abstract());
    const auto abstract = local::endpoint::abstract(std::string_view("a\0b", 3));
    CHECK(abstract.is_abstract());
    CHECK(abstract.name() == std::string_view("a\0b", 3));
    CHECK(abstract.to_string() == std::string("@a\0b", 4));
    CHECK(path == local::endpoint("/run/app.sock"));
    CHECK(path != local::endpoint("/run/app"));
    CHECK(path != abstract);
    CHECK(local::endpoint(std::string(107, 'x')).name().size() == 107);
    CHECK(local::endpoint(std::string(108, 'x')).is_unspecified());
    CHECK(local::endpoint(std::string_view("a\0b", 3)).is_unspecified());
    CHECK(local::endpoint::abstract(std::string(106, 'x')).name().size() == 106);
    CHECK(local::endpoint::abstract(std::string(107, 'x')).is_unspecified());
    CHECK(local::endpoint("").is_unspecified());
    CHECK(local::endpoint().remove().error() == std::errc::invalid_argument);
}
