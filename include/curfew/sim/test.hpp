// Tests in simulated worlds: many seeds, every order, and what fails as small as it can be.
//
// Works with doctest, Catch2 and GoogleTest (include theirs before), and with none of them: then
// `curfew::sim::run_tests()` runs all there are.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "choice.hpp"
#include "world.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew::sim {

/// How many seeds a test tries: 1 and so on.
class seeds {
public:
    /// So many of them.
    explicit constexpr seeds(std::uint64_t count) noexcept : count_(count) {}
    /// How many.
    constexpr std::uint64_t count() const noexcept { return count_; }

private:
    std::uint64_t count_;
};

/// How far a search through all orders goes.
struct bound {
    unsigned events = 6;  ///< So many things happen in any order; after them, in the order of time.
    std::uint64_t executions = 10'000'000;  ///< More of them are a failure: the bound is too large.
};

/// One execution of a test, which the test's body knows as `sim`.
class simulation {
public:
    /// With whoever decides.
    explicit simulation(chooser& choices) noexcept : choices_(choices) {}
    simulation(const simulation&) = delete;
    simulation& operator=(const simulation&) = delete;

    /// The world, made when it is first asked for.
    sim::world& world() {
        if (!world_) {
            world_.emplace(choices_);
            world_->any_order(orders_);
        }
        return *world_;
    }

    /// A decision of the test's own: a number below `n`. 0 should be what is usual.
    std::uint32_t choose(std::uint32_t n, const char* what) { return choices_.choose(n, what); }

    /// True in a quarter of the executions in which a place is live, which it is in a quarter of
    /// them: a bad thing that the program does to itself, to see whether it copes.
    bool buggify(const char* place) {
        for (const auto& [name, live] : places_)
            if (name == place) return live && choices_.choose(4, place) == 3;
        places_.emplace_back(place, choices_.choose(4, place) == 3);
        return places_.back().second && choices_.choose(4, place) == 3;
    }

    /// A `failure` if it is false.
    void expect(bool holds, const char* what) {
        if (!holds)
            throw failure(std::string("expected: ") + what + "\n" +
                          (world_ ? world_->dump() : std::string()));
    }

    /// Of its world: see `world::trace`.
    std::uint64_t trace() const noexcept { return world_ ? world_->trace() : 0; }
    /// For its world: see `world::any_order`.
    void any_order(unsigned events) noexcept { orders_ = events; }

private:
    chooser& choices_;
    std::optional<sim::world> world_;
    std::vector<std::pair<std::string, bool>> places_;
    unsigned orders_ = 0;
};

/// What a test does in one execution.
using body = void (*)(simulation& sim);

namespace detail {

/// What went wrong; empty: nothing.
inline std::string run_once(body test, chooser& choices, std::uint64_t* trace = nullptr,
                            unsigned orders = 0) {
    simulation one(choices);
    one.any_order(orders);
    std::string wrong;
    try {
        test(one);
    } catch (const std::exception& error) {
        wrong = error.what();
        if (wrong.empty()) wrong = "an exception";
    } catch (...) {
        wrong = "an exception of a type that is no std::exception";
    }
    if (trace) *trace = one.trace();
    return wrong;
}

/// Tries simpler ways to the same failure: fewer decisions, and more of them 0.
class shrinking {
public:
    shrinking(body test, std::vector<std::uint32_t> choices, std::string wrong, unsigned orders)
        : test_(test), best_(std::move(choices)), wrong_(std::move(wrong)), orders_(orders) {}

    void run() {
        for (std::size_t keep = 0; keep < best_.size() && left_ > 0;)
            if (fails(prefix(keep)))
                break;
            else
                keep = keep ? 2 * keep : 1;
        for (bool better = true; better && left_ > 0;) {
            better = false;
            for (std::size_t size = best_.size() / 2 + 1; size > 0 && left_ > 0; size /= 2)
                for (std::size_t begin = 0; begin < best_.size() && left_ > 0; begin += size) {
                    std::vector<std::uint32_t> simpler = best_;
                    bool changes = false;
                    for (std::size_t i = begin; i < begin + size && i < simpler.size(); ++i)
                        changes |= std::exchange(simpler[i], 0u) != 0;
                    if (changes) better |= fails(std::move(simpler));
                }
        }
        while (!best_.empty() && best_.back() == 0) best_.pop_back();
    }

    const std::vector<std::uint32_t>& choices() const noexcept { return best_; }
    const std::string& wrong() const noexcept { return wrong_; }
    std::size_t that_matter() const noexcept {
        std::size_t n = 0;
        for (const std::uint32_t each : best_) n += each != 0;
        return n;
    }

private:
    std::vector<std::uint32_t> prefix(std::size_t size) const {
        return {best_.begin(), best_.begin() + static_cast<std::ptrdiff_t>(size)};
    }

    bool fails(std::vector<std::uint32_t> with) {
        --left_;
        seeded_chooser choices(0, with, seeded_chooser::afterwards::zero);
        std::string wrong = run_once(test_, choices, nullptr, orders_);
        if (wrong.empty()) return false;
        best_ = std::move(with);
        wrong_ = std::move(wrong);
        return true;
    }

    body test_;
    std::vector<std::uint32_t> best_;
    std::string wrong_;
    unsigned orders_;
    int left_ = 2000;  // executions
};

inline std::string to_text(const std::vector<std::uint32_t>& choices) {
    std::string text;
    std::size_t zeros = 0;
    for (const std::uint32_t each : choices) {
        if (each == 0) {
            ++zeros;
            continue;
        }
        if (zeros) text += '-' + std::to_string(zeros) + ',';
        zeros = 0;
        text += std::to_string(each) + ',';
    }
    if (!text.empty()) text.pop_back();
    return text.empty() ? "-0" : text;
}

/// The other way: numbers, and `-n` for n zeros.
inline std::vector<std::uint32_t> from_text(const char* text) {
    std::vector<std::uint32_t> choices;
    while (*text) {
        char* end = nullptr;
        const bool zeros = *text == '-';
        const unsigned long n = std::strtoul(text + zeros, &end, 10);
        if (end == text + zeros) break;
        if (zeros)
            choices.insert(choices.end(), n, 0u);
        else
            choices.push_back(static_cast<std::uint32_t>(n));
        text = *end ? end + 1 : end;
    }
    return choices;
}

[[noreturn]] inline void report(const std::string& where, shrinking& found) {
    found.run();
    throw failure(where + "\nas simple as it got, by " + std::to_string(found.that_matter()) +
                  " choices that matter:\n" + found.wrong() +
                  "\nto see it again: CURFEW_SIM_CHOICES=" + to_text(found.choices()));
}

}  // namespace detail

/// Runs a test with each seed; throws a `failure` that says what went wrong, and with what. In the
/// environment, CURFEW_SIM_SEED has only that seed tried, CURFEW_SIM_CHOICES only these choices,
/// and CURFEW_SIM_TWICE each seed twice: both have to be the same, packet by packet.
inline void check(seeds which, body test) {
    if (const char* const given = std::getenv("CURFEW_SIM_CHOICES")) {
        seeded_chooser choices(0, detail::from_text(given), seeded_chooser::afterwards::zero);
        const std::string wrong = detail::run_once(test, choices);
        if (!wrong.empty()) throw failure(wrong);
        return;
    }
    const char* const one = std::getenv("CURFEW_SIM_SEED");
    const std::uint64_t first = one ? std::strtoull(one, nullptr, 10) : 1;
    const std::uint64_t last = one ? first : which.count();
    for (std::uint64_t seed = first; seed <= last; ++seed) {
        seeded_chooser choices(seed);
        std::uint64_t trace = 0;
        const std::string wrong = detail::run_once(test, choices, &trace);
        if (wrong.empty()) {
            if (!std::getenv("CURFEW_SIM_TWICE")) continue;
            seeded_chooser same(seed);
            std::uint64_t again = 0;
            detail::run_once(test, same, &again);
            if (again != trace)
                throw failure("seed " + std::to_string(seed) +
                              " is not deterministic: the program depends on something that is not "
                              "simulated");
            continue;
        }
        seeded_chooser recorded(seed);
        recorded.record();
        detail::run_once(test, recorded);
        detail::shrinking found(test, recorded.taken(), wrong, 0);
        detail::report("seed " + std::to_string(seed) +
                           " fails (CURFEW_SIM_SEED=" + std::to_string(seed) + ")",
                       found);
    }
}

/// Runs a test in every order there is, within the bound. Returns how many there were.
inline std::uint64_t check(bound within, body test) {
    exhausting_chooser choices;
    std::uint64_t executions = 0;
    do {
        if (++executions > within.executions)
            throw failure("more than " + std::to_string(within.executions) +
                          " executions: the bound is too large");
        const std::string wrong = detail::run_once(test, choices, nullptr, within.events);
        if (wrong.empty()) continue;
        detail::shrinking found(test, choices.taken(), wrong, within.events);
        detail::report("execution " + std::to_string(executions) + " fails", found);
    } while (choices.next());
    return executions;
}

namespace detail {

/// Tests of a program without a test framework.
struct registered_test {
    const char* name;
    void (*run)();
    registered_test* next;

    static registered_test*& first() noexcept {
        static registered_test* all = nullptr;
        return all;
    }
    registered_test(const char* what, void (*how)()) noexcept
        : name(what), run(how), next(std::exchange(first(), this)) {}
};

}  // namespace detail

/// Runs them, says which fail, and returns how many.
inline int run_tests() {
    int failed = 0;
    for (detail::registered_test* each = detail::registered_test::first(); each;
         each = each->next) {
        try {
            each->run();
            std::printf("passed  %s\n", each->name);
        } catch (const std::exception& error) {
            ++failed;
            std::printf("FAILED  %s\n%s\n", each->name, error.what());
        }
    }
    return failed;
}

}  // namespace curfew::sim

#define CURFEW_SIM_JOIN2(a, b) a##b
#define CURFEW_SIM_JOIN(a, b) CURFEW_SIM_JOIN2(a, b)

#if defined(DOCTEST_VERSION) || defined(CATCH_VERSION_MAJOR)
#define CURFEW_SIM_REGISTER(text, id, ...)                                                         \
    TEST_CASE(text) { ::curfew::sim::check(__VA_ARGS__, &id); }
#elif defined(GTEST_TEST)
#define CURFEW_SIM_REGISTER(text, id, ...)                                                         \
    GTEST_TEST(simulation, id) { ::curfew::sim::check(__VA_ARGS__, &id); }
#else
#define CURFEW_SIM_REGISTER(text, id, ...)                                                         \
    static ::curfew::sim::detail::registered_test CURFEW_SIM_JOIN(id, _test)(                      \
        text, [] { static_cast<void>(::curfew::sim::check(__VA_ARGS__, &id)); });
#endif

#define CURFEW_SIM_TEST(text, id, ...)                                                             \
    static void id(::curfew::sim::simulation& sim);                                                \
    CURFEW_SIM_REGISTER(text, id, __VA_ARGS__)                                                     \
    static void id([[maybe_unused]] ::curfew::sim::simulation& sim)

/// A test that is run with many seeds: `SIM_TEST("an order is paid once", sim::seeds(1000)) { ...
/// }`
#define SIM_TEST(text, ...)                                                                        \
    CURFEW_SIM_TEST(text, CURFEW_SIM_JOIN(curfew_sim_test_, __LINE__), __VA_ARGS__)

/// A test that is run in every order: `SIM_EXHAUST("expiry and reset", sim::bound{.events = 7})`
#define SIM_EXHAUST(text, ...)                                                                     \
    CURFEW_SIM_TEST(text, CURFEW_SIM_JOIN(curfew_sim_test_, __LINE__), __VA_ARGS__)
