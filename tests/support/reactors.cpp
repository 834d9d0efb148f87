#if defined(CURFEW_SEPARATE_COMPILATION)
#include <curfew/src.hpp>
#endif

#include "support/reactors.hpp"

#include <cstdlib>
#include <memory>
#include <string_view>
#include <vector>

#include <curfew/curfew.hpp>
#include <curfew/reactor/make_reactor.hpp>

namespace test {

std::unique_ptr<curfew::reactor> make_reactor(curfew::reactor_kind kind) {
    return curfew::detail::make_reactor(kind).made;
}

std::vector<curfew::reactor_kind> reactors() {
    std::vector<curfew::reactor_kind> kinds;
    const char* only = std::getenv("CURFEW_TEST_REACTOR");
    for (const auto kind : curfew::detail::preferred_reactors)
        if (only ? curfew::to_string(kind) == std::string_view(only)
                 : make_reactor(kind) != nullptr)
            kinds.push_back(kind);
    return kinds;
}

}  // namespace test
