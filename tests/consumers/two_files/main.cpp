// Two files that include the library link into one program: nothing is defined twice.
#include <curfew/curfew.hpp>

curfew::task<int> other();

int main() {
    curfew::io_context ctx;
    return ctx.block_on(other());
}
