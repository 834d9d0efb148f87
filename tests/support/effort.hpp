// How much the tests do that try many times.
#pragma once

#include <cstddef>
#include <cstdlib>

namespace test {

/// `full`, or the share of it that the environment variable CURFEW_TEST_EFFORT gives in percent: for
/// slow machines, and for who runs the tests a thousand times. At least 1.
inline std::size_t scaled(std::size_t full) {
    static const std::size_t percent = [] {
        const char* const given = std::getenv("CURFEW_TEST_EFFORT");
        const auto number = given ? std::strtoul(given, nullptr, 10) : 100;
        return number ? static_cast<std::size_t>(number) : 1;
    }();
    const std::size_t part = full / 100 * percent + full % 100 * percent / 100;
    return part ? part : 1;
}

}  // namespace test
