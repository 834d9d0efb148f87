#include <curfew/config.hpp>

#include <doctest/doctest.h>

#include "support/fatal.hpp"

namespace {

void first_handler(const char*) {}
void second_handler(const char*) {}

}  // namespace

TEST_CASE("installing a fatal handler gives back the one before") {
    const auto before = curfew::set_fatal_handler(&first_handler);
    CHECK((curfew::set_fatal_handler(&second_handler) == &first_handler));
    CHECK((curfew::set_fatal_handler(nullptr) == &second_handler));
    CHECK((curfew::set_fatal_handler(before) == nullptr));
}

#if TEST_CAN_DIE

TEST_CASE("a fatal error without a handler says what it is and aborts") {
    const auto end = test::death_of([] {
        curfew::set_fatal_handler(nullptr);
        curfew::detail::fatal("out of cheese");
    });
    CHECK(end.signal == SIGABRT);
    CHECK(end.said == "curfew: out of cheese\n");
}

TEST_CASE("a fatal handler gets the message instead, and the program aborts if it returns") {
    const auto end = test::death_of([] {
        curfew::set_fatal_handler(
            [](const char* message) { std::fprintf(stderr, "<%s>", message); });
        curfew::detail::fatal("out of cheese");
    });
    CHECK(end.signal == SIGABRT);
    CHECK(end.said == "<out of cheese>");
}

TEST_CASE("a fatal handler may end the program in its own way") {
    const auto end = test::death_of([] {
        curfew::set_fatal_handler([](const char*) { ::_exit(0); });
        curfew::detail::fatal("out of cheese");
    });
    CHECK(end.signal == 0);
    CHECK(end.said.empty());
}

#if !defined(NDEBUG)
TEST_CASE("a failed assertion is fatal and names what did not hold") {
    const auto end = test::death_of([] {
        const int two = 2;
        CURFEW_ASSERT(two + two == 5);
    });
    CHECK(end.signal == SIGABRT);
    CHECK(end.said == "curfew: assertion failed: two + two == 5\n");
}

TEST_CASE("an assertion that holds does nothing") {
    const auto end = test::death_of([] { CURFEW_ASSERT(1 + 1 == 2); });
    CHECK(end.signal == 0);
    CHECK(end.said.empty());
}
#endif

#endif
