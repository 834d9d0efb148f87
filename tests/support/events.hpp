// Small tasks that note what has happened, in which order.
#pragma once

#include <chrono>
#include <vector>

#include <curfew/curfew.hpp>

namespace test {

using namespace curfew;

using events = std::vector<int>;

inline task<> note(events& log, int id) {
    log.push_back(id);
    co_return;
}

inline task<> sleep_and_note(std::chrono::nanoseconds time, events& log, int id) {
    (void)co_await sleep_for(time);
    log.push_back(id);
}

inline task<> note_and_yield(events& log, int id) {
    for (;;) {
        log.push_back(id);
        const auto [ec] = co_await yield();
        if (ec) co_return;
    }
}

/// Keeps the processor busy until then.
inline void work_until(curfew::clock::time_point end) {
    while (curfew::clock::now() < end) {}
}

}  // namespace test
