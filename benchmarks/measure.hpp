// What all benchmark programs share: the command line, the clocks, the allocation count.
#pragma once

#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <initializer_list>
#include <string_view>

#if __has_include(<valgrind/callgrind.h>)
#include <valgrind/callgrind.h>
#endif

namespace bench {

[[noreturn]] inline void fail(std::string_view what, std::string_view why) {
    std::fprintf(stderr, "%.*s: %.*s\n", static_cast<int>(what.size()), what.data(),
                 static_cast<int>(why.size()), why.data());
    std::exit(1);
}

/// Calls to the allocator since the start of the program (allocations.cpp).
unsigned long allocations() noexcept;

/// The command line: `--name value`, each name from the list the program gives.
class arguments {
public:
    arguments(int argc, char** argv, std::initializer_list<std::string_view> names)
        : argc_(argc), argv_(argv) {
        for (int i = 1; i < argc; i += 2) {
            bool known = false;
            for (std::string_view name : names) known = known || name == argv[i];
            if (!known) fail(argv[i], "unknown option");
            if (i + 1 == argc) fail(argv[i], "wants a value");
        }
    }

    std::string_view text(std::string_view name, std::string_view otherwise) const {
        for (int i = 1; i < argc_; i += 2)
            if (name == argv_[i]) return argv_[i + 1];
        return otherwise;
    }

    /// One of `choices`; the first of them when the option is not given.
    std::string_view choice(std::string_view name,
                            std::initializer_list<std::string_view> choices) const {
        std::string_view given = text(name, *choices.begin());
        for (std::string_view choice : choices)
            if (choice == given) return given;
        fail(name, "no such choice");
    }

    unsigned long number(std::string_view name, unsigned long otherwise) const {
        std::string_view given = text(name, {});
        if (given.empty()) return otherwise;
        unsigned long value = 0;
        auto [end, error] = std::from_chars(given.data(), given.data() + given.size(), value);
        if (error != std::errc() || end != given.data() + given.size() || value == 0)
            fail(name, "wants a positive number");
        return value;
    }

private:
    int argc_;
    char** argv_;
};

inline double seconds(clockid_t clock) noexcept {
    timespec time{};
    clock_gettime(clock, &time);
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) / 1e9;
}

/// A point of a run; the difference of two tells what lay between them.
struct moment {
    double wall;  // seconds
    double cpu;   // seconds of this process, user and system
    unsigned long allocations;

    static moment now() noexcept {
        return {seconds(CLOCK_MONOTONIC), seconds(CLOCK_PROCESS_CPUTIME_ID), bench::allocations()};
    }
};

/// What callgrind counts, if it runs the program with --instr-atstart=no, lies between these two.
inline void begin_counting() noexcept {
#if defined(CALLGRIND_START_INSTRUMENTATION)
    CALLGRIND_START_INSTRUMENTATION;
#endif
}
inline void end_counting() noexcept {
#if defined(CALLGRIND_STOP_INSTRUMENTATION)
    CALLGRIND_STOP_INSTRUMENTATION;
#endif
}

}  // namespace bench
