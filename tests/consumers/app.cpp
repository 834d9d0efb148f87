// The program all consumers build: it runs the loop once around and exits with 0.
#include <curfew/curfew.hpp>

using namespace std::chrono_literals;

curfew::task<int> app() {
    auto [ec] = co_await curfew::sleep_for(1ms);
    co_return ec ? 1 : 0;
}

int main() {
    curfew::io_context ctx;
    return ctx.block_on(app());
}
