// REQUIRE for a build without exceptions. doctest's own throws to leave the test case and is not to
// be had there; this one ends the program, which doctest reports as a crash of the test case. What
// else of doctest needs exceptions does not compile.
#pragma once

#include <doctest/doctest.h>

#include <cstdlib>

#undef REQUIRE
#undef REQUIRE_FALSE
#define REQUIRE(...) REQUIRE_IMPL(DT_REQUIRE, __VA_ARGS__)
#define REQUIRE_FALSE(...) REQUIRE_IMPL(DT_REQUIRE_FALSE, __VA_ARGS__)
#define REQUIRE_IMPL(kind, ...)                                                                    \
    do {                                                                                           \
        DOCTEST_ASSERT_IMPLEMENT_2(kind, __VA_ARGS__);                                             \
        if (DOCTEST_RB.m_failed) std::abort();                                                     \
    } while (false)
