// Something for a fiber to be suspended in, in tests of the tree.
#pragma once

#include <curfew/core/cancellation.hpp>

#include <vector>

namespace test {

/// Something to be suspended in that counts its interruptions.
struct wait_of : curfew::detail::suspension {
    std::vector<bool> interrupts;  // whether to abort

    explicit wait_of(curfew::fiber& self) {
        static constexpr curfew::detail::suspension_type counting{
            [](suspension& pending, curfew::detail::cancellation& by) noexcept {
                static_cast<wait_of&>(pending).interrupts.push_back(by.aborts());
                return false;
            },
            [](const suspension&, curfew::detail::wait_report&) noexcept {},
        };
        type = &counting;
        self.waiting = this;
    }
};

}  // namespace test
