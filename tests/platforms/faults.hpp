// What goes wrong in faulty.hpp, and when: a sequence that its seed decides. Each test case begins
// it anew, so that a failing one can be replayed alone.
#pragma once

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <string_view>

namespace faults {

struct state {
    std::atomic<std::uint64_t> seed{0};
    std::atomic<std::uint64_t> step{0};
    /// Whether operations may fail, too, with errors that they report. Else there is only what a
    /// program does not notice.
    std::atomic<bool> visible{false};
    /// Nothing goes wrong meanwhile.
    std::atomic<bool> paused{false};
    /// What the next call on this descriptor fails with; -1: none.
    std::atomic<int> broken{-1};
    std::atomic<std::size_t> injected{0};
};

inline state& here() {
    static state the_only;
    return the_only;
}

/// The seed that the environment variable CURFEW_FAULT_SEED gives; 1 without.
inline std::uint64_t seed_of_environment() {
    const char* const given = std::getenv("CURFEW_FAULT_SEED");
    return given ? std::strtoull(given, nullptr, 10) : 1;
}

inline void begin(std::uint64_t seed) {
    here().seed = seed;
    here().step = 0;
    here().visible = false;
    here().paused = false;
    here().broken = -1;
}

/// The next number of the sequence: splitmix64.
inline std::uint64_t next() {
    std::uint64_t z = here().seed * 0x2545f4914f6cdd1d + ++here().step * 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
}

inline std::size_t below(std::size_t end) { return static_cast<std::size_t>(next() % end); }

/// True once in `n` times on average: a fault is due.
inline bool one_in(std::size_t n) {
    if (here().paused || below(n) != 0) return false;
    ++here().injected;
    return true;
}

/// Whether the reactor is told again of what it did not take. An edge-triggered one is not, and no
/// kernel that has such a thing says "would block", or gives less than was asked for, while there
/// is more: what follows would never come.
inline bool level_triggered() {
    static const bool is = [] {
        const char* const name = std::getenv("CURFEW_TEST_REACTOR");
        return name && (std::string_view(name) == "poll" || std::string_view(name) == "select");
    }();
    return is;
}

}  // namespace faults
