// The main() of curfew_tests. Run it with --help for what it can select, and with
// CURFEW_TEST_REACTOR=poll (say) in the environment for the tests that run on every reactor.
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>
