// How packets fare between two hosts, as a test says it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "../config.hpp"
#include "../platform/std_chrono.hpp"
#include "kernel/network.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew::sim {

/// How packets fare between two hosts, in one direction or both.
class link {
public:
    /// Most packets take little more than the least time; a few nearly the most.
    template <class Least, class Most>
    link& latency(Least least, Most most) {
        return each([&](link_options& way) {
            way.least_latency = std::chrono::nanoseconds(least).count();
            way.most_latency = std::chrono::nanoseconds(most).count();
        });
    }
    /// All the same time.
    template <class Time>
    link& latency(Time time) {
        return latency(time, time);
    }
    /// Probabilities, from 0 to 1.
    link& loss(double p) {
        return each([&](link_options& way) { way.loss = p; });
    }
    /// That a packet comes twice.
    link& duplicate(double p) {
        return each([&](link_options& way) { way.duplicate = p; });
    }
    /// That it comes later than some that are sent after it.
    link& reorder(double p) {
        return each([&](link_options& way) { way.reorder = p; });
    }
    /// Bytes a second; 0: without limit.
    link& rate(std::uint64_t bytes) {
        return each([&](link_options& way) { way.rate = bytes; });
    }
    /// Bytes that wait for the rate, before others are lost.
    link& queue(std::size_t bytes) {
        return each([&](link_options& way) { way.queue = bytes; });
    }
    /// Bytes of the largest packet.
    link& mtu(std::uint32_t bytes) {
        return each([&](link_options& way) { way.mtu = bytes; });
    }

private:
    friend class world;
    explicit link(std::vector<link_options*> ways) noexcept : ways_(std::move(ways)) {}

    template <class Set>
    link& each(Set set) {
        for (link_options* way : ways_) set(*way);
        return *this;
    }

    std::vector<link_options*> ways_;
};

}  // namespace curfew::sim
