// Every decision of a simulation is one call of `choose`. Seeds, replay, the search through all
// orders and the shrinking of what has failed are four ways to answer it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "../config.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew::sim {

/// Answers with a number below `n`, which is at least 1. 0 is always the dullest answer (no loss,
/// the shortest way, the order of time), so that a failure gets simpler the more zeros there are in
/// what led to it. `what` names the decision for people; it is a literal.
class chooser {
public:
    virtual ~chooser() = default;
    /// A decision.
    virtual std::uint32_t choose(std::uint32_t n, const char* what) = 0;

    /// Yes with this probability, which is rounded to 2^-20.
    bool chance(double probability, const char* what) {
        if (probability <= 0) return false;
        constexpr std::uint32_t whole = 1u << 20;
        const auto part = static_cast<std::uint32_t>(probability * whole);
        return choose(whole, what) >= whole - (part < whole ? part : whole);
    }
};

/// Numbers from a seed: the same on every machine, whatever its compiler and byte order
/// (splitmix64, public domain, Sebastiano Vigna).
class random_numbers {
public:
    /// Begins a sequence.
    explicit random_numbers(std::uint64_t seed) noexcept : state_(seed) {}

    /// 64 bits, each as likely.
    std::uint64_t next() noexcept {
        std::uint64_t z = state_ += 0x9e3779b97f4a7c15;
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
        z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
        return z ^ (z >> 31);
    }

    /// A number below `n`.
    std::uint32_t below(std::uint32_t n) noexcept {
        return static_cast<std::uint32_t>(((next() >> 32) * n) >> 32);
    }

private:
    std::uint64_t state_;
};

/// Chooses by a seed. The first decisions may be given; what comes after them is by the seed again,
/// or 0.
class seeded_chooser final : public chooser {
public:
    /// What is chosen when the given decisions are used up.
    enum class afterwards : std::uint8_t { by_seed, zero };

    /// All decisions by the seed.
    explicit seeded_chooser(std::uint64_t seed) noexcept : numbers_(seed) {}
    /// The first ones as they are given.
    seeded_chooser(std::uint64_t seed, std::vector<std::uint32_t> given, afterwards then) noexcept
        : numbers_(seed), given_(std::move(given)), then_(then) {}

    /// From here on what is chosen is remembered: four bytes a decision.
    void record() noexcept { recording_ = true; }

    std::uint32_t choose(std::uint32_t n, const char*) override {
        const std::uint64_t at = count_++;
        std::uint32_t answer = 0;
        if (at < given_.size())
            answer = given_[at] < n ? given_[at] : n - 1;
        else if (then_ == afterwards::by_seed)
            answer = numbers_.below(n);
        if (recording_) taken_.push_back(answer);
        return answer;
    }

    /// How many decisions there have been.
    std::uint64_t count() const noexcept { return count_; }
    /// What has been chosen, since `record` was called.
    const std::vector<std::uint32_t>& taken() const noexcept { return taken_; }

private:
    random_numbers numbers_;
    std::vector<std::uint32_t> given_;
    std::vector<std::uint32_t> taken_;
    std::uint64_t count_ = 0;
    afterwards then_ = afterwards::by_seed;
    bool recording_ = false;
};

/// Goes through all answers there are, one execution after the other, the last decision changing
/// first. An execution that makes the same decisions as one before must come to the same next one.
class exhausting_chooser final : public chooser {
public:
    std::uint32_t choose(std::uint32_t n, const char* what) override {
        if (at_ == path_.size()) path_.push_back({0, n, what});
        decision& here = path_[at_++];
        if (here.n != n)
            detail::fatal("a simulation is not deterministic: the same decisions have led to "
                          "another one");
        return here.answer;
    }

    /// Begins the next execution. False: there is none.
    bool next() noexcept {
        while (!path_.empty() && path_.back().answer + 1 == path_.back().n) path_.pop_back();
        at_ = 0;
        if (path_.empty()) return false;
        ++path_.back().answer;
        return true;
    }

    /// What has been chosen in this execution.
    std::vector<std::uint32_t> taken() const {
        std::vector<std::uint32_t> answers;
        for (std::size_t i = 0; i < at_; ++i) answers.push_back(path_[i].answer);
        return answers;
    }

private:
    struct decision {
        std::uint32_t answer;
        std::uint32_t n;
        const char* what;
    };
    std::vector<decision> path_;
    std::size_t at_ = 0;
};

}  // namespace curfew::sim
