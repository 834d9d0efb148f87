// What the UDP programs share: the datagrams, and the meter.
//
// All of them do the same, in one thread and one loop: one socket sends 64-byte datagrams to
// another one, which is not connected and sends each back to where it came from. Some are on their
// way at once: for each that is back the next one is sent. Each carries its number, and they must
// come back in order, so that a lost one is noticed. What is counted are datagrams received, on
// either side.
#pragma once

#include "counter.hpp"

#include <array>
#include <cstddef>
#include <cstring>

#include <unistd.h>

namespace bench {

inline constexpr std::size_t datagram_size = 64;
using datagram = std::array<std::byte, datagram_size>;

class udp_meter {
public:
    explicit udp_meter(const arguments& given)
        : in_flight_(given.number("--in-flight", 1)),
          rounds_((given.number("--packets", 100'000) + 1) / 2),
          counter_(2 * warm_up, 2 * rounds_) {
        if (in_flight_ > 64) fail("--in-flight", "at most 64: more might not fit into a socket");
        // Should a datagram be lost, a program would wait for it for ever; the system ends it.
        alarm(300);
    }

    unsigned long in_flight() const noexcept { return in_flight_; }

    /// Datagrams that make the round trip, the unmeasured ones included.
    unsigned long rounds() const noexcept { return warm_up + rounds_; }

    void one_received() noexcept { counter_.one_done(); }

    bool finished() const noexcept { return counter_.finished(); }

    void report() const {
        std::printf("packets=%lu in_flight=%lu ", counter_.measured(), in_flight_);
        counter_.print("packet");
    }

private:
    static constexpr unsigned long warm_up = 500;

    unsigned long in_flight_;
    unsigned long rounds_;
    counter counter_;
};

/// The datagrams, as the socket that sends them first knows them.
class datagrams {
public:
    explicit datagrams(unsigned long wanted) : wanted_(wanted) {
        next_.fill(std::byte{0x2a});
        expected_.fill(std::byte{0x2a});
    }

    bool one_more() const noexcept { return sent_ < wanted_; }

    /// The next one; good until the next call.
    const datagram& next() noexcept { return stamp(next_, sent_++); }

    /// This should be the one that has to come back now.
    void check(const std::byte* bytes, std::size_t size) noexcept {
        if (size != datagram_size ||
            std::memcmp(bytes, stamp(expected_, checked_++).data(), size) != 0)
            fail("datagram", "it is not the next one that was sent: one was lost");
    }

private:
    static const datagram& stamp(datagram& bytes, unsigned long number) noexcept {
        std::memcpy(bytes.data(), &number, sizeof number);
        std::memcpy(bytes.data() + datagram_size - sizeof number, &number, sizeof number);
        return bytes;
    }

    unsigned long wanted_;
    unsigned long sent_ = 0;
    unsigned long checked_ = 0;
    datagram next_;
    datagram expected_;
};

}  // namespace bench
