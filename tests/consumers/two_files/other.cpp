#include <curfew/curfew.hpp>

using namespace std::chrono_literals;

curfew::task<int> other() {
    auto [ec] = co_await curfew::sleep_for(1ms);
    co_return ec ? 1 : 0;
}
