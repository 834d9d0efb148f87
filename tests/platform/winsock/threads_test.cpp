// What a thread keeps until it ends.
#include <curfew/platform/platform.hpp>

#if defined(_WIN32)

#include <atomic>
#include <set>
#include <thread>

#include "support/loop.hpp"

using namespace test;

#if defined(CURFEW_EMULATED_THREAD_LOCAL)
TEST_CASE("what lasts until a thread's end is each thread's own, and destroyed then") {
    struct noted {
        std::atomic<int>* gone = nullptr;
        ~noted() {
            if (gone) ++*gone;
        }
    };
    static std::atomic<int> gone{0};
    std::set<noted*> all;
    for (int i = 0; i < 10; ++i)
        std::thread([&] {
            noted& mine = platform::until_thread_ends<noted>();
            CHECK(&mine == &platform::until_thread_ends<noted>());
            mine.gone = &gone;
        }).join();
    CHECK(gone == 10);
}
#endif

#endif
