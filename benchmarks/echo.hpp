// What the echo programs share, so that they differ in nothing but the way they wait: the message
// and the meter.
//
// All of them do the same: 64-byte messages over loopback TCP, clients and servers in one thread
// and one loop; a client sends a message, waits for its echo and compares it byte for byte.
#pragma once

#include "measure.hpp"

#include <array>
#include <cstddef>
#include <cstdio>
#include <cstring>

namespace echo {

using namespace bench;

inline constexpr std::size_t message_size = 64;
inline constexpr std::size_t buffer_size = 4096;  // larger than a message, as a server's would be

/// The message of one connection, different in every round.
class message {
public:
    explicit message(unsigned long connection) {
        bytes_.fill(std::byte{0x2a});
        std::memcpy(bytes_.data() + sizeof connection, &connection, sizeof connection);
    }

    const std::array<std::byte, message_size>& stamp(unsigned long round) {
        std::memcpy(bytes_.data(), &round, sizeof round);
        std::memcpy(bytes_.data() + message_size - sizeof round, &round, sizeof round);
        return bytes_;
    }

    void check(const std::byte* echoed) const {
        if (std::memcmp(echoed, bytes_.data(), message_size) != 0)
            fail("echo", "the bytes that came back are not those that were sent");
    }

private:
    std::array<std::byte, message_size> bytes_;
};

/// Counts round trips, and measures all but the first few of each connection.
class meter {
public:
    /// `rounds` is the number of measured round trips of all connections together.
    meter(unsigned long connections, unsigned long rounds)
        : connections_(connections), rounds_of_each_((rounds + connections - 1) / connections),
          until_mark_(connections * warm_up) {}

    /// How many round trips each connection has to make.
    unsigned long rounds_of_each() const noexcept { return warm_up + rounds_of_each_; }

    void round_done() noexcept {
        if (--until_mark_ == 0) mark();
    }

    /// The figures, as `name=value` pairs in one line.
    void report() const {
        if (!finished_) fail("echo", "the program ended before the last round trip");
        const auto rounds = static_cast<double>(measured());
        std::printf("connections=%lu rounds=%lu per_second=%.0f per_cpu_second=%.0f "
                    "allocations_per_round=%.6g\n",
                    connections_, measured(), rounds / (last_.wall - first_.wall),
                    rounds / (last_.cpu - first_.cpu),
                    static_cast<double>(last_.allocations - first_.allocations) / rounds);
    }

private:
    static constexpr unsigned long warm_up = 50;  // round trips of each connection

    unsigned long measured() const noexcept { return connections_ * rounds_of_each_; }

    [[gnu::noinline]] void mark() noexcept {
        if (!started_) {
            started_ = true;
            until_mark_ = measured();
            first_ = moment::now();
        } else {
            last_ = moment::now();
            finished_ = true;
        }
    }

    unsigned long connections_;
    unsigned long rounds_of_each_;
    unsigned long until_mark_;
    bool started_ = false;
    bool finished_ = false;
    moment first_{};
    moment last_{};
};

}  // namespace echo
