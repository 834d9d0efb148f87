// What the programs share that measure a limit alone: what is measured, and in which order.
//
// All of them do single reads of one byte, with and without a limit, in one of these cases:
//
//   at_once   the read completes at once: it need not wait
//   later     64 reads wait at a time, and all complete in time, in the next turn of the loop
//   again     the same with one read at a time: one connection that rearms its limit for each read
//   fires     the read never completes; its limit is as short as can be, and ends it
//
// on "nothing" (no system call is made for the read, which leaves the library's own cost) or on
// "sockets" (loopback TCP), while `--outstanding` other limits are armed. Those end before the
// measured ones (`--others earlier`, as in a server, where what was armed before ends before), or
// after them.
#pragma once

#include "measure.hpp"

#include <algorithm>
#include <cstdlib>
#include <optional>
#include <string_view>
#include <vector>

namespace limits {

using namespace bench;

inline constexpr unsigned long together = 64;  // reads at a time in the case "later"

// Seconds: of the measured limits, and of the others, which are spread over ten.
inline constexpr long measured_limit = 30;
inline constexpr long earlier_limit = 15;
inline constexpr long later_limit = 60;
inline constexpr long spread = 10;

inline void must(bool ok, const char* what) {
    if (!ok) fail(what, "failed");
}

struct setting {
    static constexpr unsigned long few = 64;

    std::string_view event;  // the case
    std::string_view on;
    unsigned long outstanding;
    bool others_earlier;

    /// Of a loop for reads with a limit, or without: more than a few others are no matter to those.
    setting(const arguments& given, bool limited)
        : event(given.choice("--case", {"later", "at_once", "again", "fires"})),
          on(given.choice("--on", {"nothing", "sockets"})),
          outstanding(std::min(given.number("--outstanding", 1), limited ? ~0ul : few)),
          others_earlier(given.choice("--others", {"earlier", "later"}) == "earlier") {}

    bool sockets() const noexcept { return on == "sockets"; }
    unsigned long readers() const noexcept { return event == "later" ? together : 1; }

    /// Milliseconds until the `index`th of the other limits ends.
    long long other_limit(unsigned long index) const noexcept {
        const long first = others_earlier ? earlier_limit : later_limit;
        return first * 1000 + static_cast<long long>(index * 7919 % (spread * 1000));
    }
};

inline const std::initializer_list<std::string_view> options{
    "--case",   "--on",      "--outstanding", "--others", "--limit",
    "--rounds", "--batches", "--what",        "--depth"};

/// A loop for the reads with a limit, and one of its own for those without: a loop that has never
/// seen a limit may be quicker. Made when they are needed.
template <class Run>
class both {
public:
    explicit both(const arguments& given) : given_(given) {}

    Run& operator[](bool limited) {
        if (!runs_[limited]) runs_[limited].emplace(given_, limited);
        return *runs_[limited];
    }

private:
    const arguments& given_;
    std::optional<Run> runs_[2];
};

/// Runs batches of reads with a limit and without, in turn, and prints what a read takes, in
/// nanoseconds: the medians of both, and of their differences the quartiles. `run(limited, rounds)`
/// does that many reads of each reader. `--what plain` or `limited` runs two batches of one
/// kind, of which callgrind counts the second.
template <class Run>
void compare(const arguments& given, Run run) {
    const setting how(given, true);
    const unsigned long rounds = std::max(given.number("--rounds", 20'000) / how.readers(), 1ul);
    const unsigned long batches = given.number("--batches", 31);
    const std::string_view what = given.choice("--what", {"both", "plain", "limited"});
    const auto reads = static_cast<double>(rounds * how.readers());
    if (what != "both") {
        run(what == "limited", rounds);  // to warm up
        begin_counting();
        run(what == "limited", rounds);
        end_counting();
        return;
    }

    run(false, rounds);  // to warm up
    run(true, rounds);
    std::vector<double> plain, limited, difference;
    unsigned long allocated = 0;
    const auto time = [&](bool with_limit) {
        const moment before = moment::now();
        run(with_limit, rounds);
        const moment after = moment::now();
        if (with_limit) allocated += after.allocations - before.allocations;
        return (after.cpu - before.cpu) * 1e9 / reads;
    };
    for (unsigned long batch = 0; batch < batches; ++batch) {
        const bool limited_first = batch % 2 == 0;
        const double one = time(limited_first);
        const double other = time(!limited_first);
        limited.push_back(limited_first ? one : other);
        plain.push_back(limited_first ? other : one);
        difference.push_back(limited.back() - plain.back());
    }
    const auto quantile = [](std::vector<double>& values, std::size_t quarter) {
        std::sort(values.begin(), values.end());
        return values[(values.size() - 1) * quarter / 4];
    };
    std::printf("plain_ns=%.1f limited_ns=%.1f limit_ns=%.1f low=%.1f high=%.1f "
                "allocations_per_limit=%.6g\n",
                quantile(plain, 2), quantile(limited, 2), quantile(difference, 2),
                quantile(difference, 1), quantile(difference, 3),
                static_cast<double>(allocated) / (reads * static_cast<double>(batches)));
}

/// `main` of a program that has one way to limit a read.
template <class Run>
[[noreturn]] void compare_and_exit(int argc, char** argv) {
    const arguments given(argc, argv, options);
    both<Run> runs(given);
    compare(given,
            [&](bool limited, unsigned long rounds) { runs[limited].run(limited, rounds); });
    std::fflush(stdout);
    std::_Exit(0);  // without taking down a million limits
}

}  // namespace limits
