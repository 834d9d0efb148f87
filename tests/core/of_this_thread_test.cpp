#include <curfew/core/of_this_thread.hpp>

#include <doctest/doctest.h>

#include <atomic>
#include <thread>

namespace {

std::atomic<int> made{0};
std::atomic<int> gone{0};

struct counting {
    int value = 0;
    counting() { ++made; }
    counting(const counting&) = delete;
    counting& operator=(const counting&) = delete;
    ~counting() { ++gone; }
};

}  // namespace

TEST_CASE("each thread has an object of its own, which is made once and goes with the thread") {
    using curfew::detail::of_this_thread;
    of_this_thread<counting>().value = 1;
    const int before = made;
    const counting* other = nullptr;
    std::thread([&] {
        other = &of_this_thread<counting>();
        CHECK(other->value == 0);
        CHECK(&of_this_thread<counting>() == other);
        CHECK(gone == 0);
    }).join();
    CHECK(other != &of_this_thread<counting>());
    CHECK(of_this_thread<counting>().value == 1);
    CHECK(made == before + 1);
    CHECK(gone == 1);
}
