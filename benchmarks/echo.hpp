// What the echo programs share, so that they differ in nothing but the way they wait: the message
// and the meter.
//
// All of them do the same: messages over loopback TCP, clients and servers in one thread and one
// loop; a client sends a message, waits for its echo and compares it byte for byte.
#pragma once

#include "counter.hpp"
#include "plain.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdio>
#include <cstring>
#include <vector>

#include <netinet/tcp.h>
#include <unistd.h>

namespace echo {

using namespace bench;

// The bytes of a message: 64, or what a program is built for.
#if !defined(ECHO_SIZE)
#define ECHO_SIZE 64
#endif
inline constexpr std::size_t message_size = ECHO_SIZE;

/// Larger than a message, as a server's would be.
inline constexpr std::size_t buffer_size = message_size < 4096 ? 4096 : message_size + 4096;

/// The options of every echo program; see `meter`.
#if defined(ECHO_TIMED)
#define ECHO_OPTIONS "--connections", "--rounds", "--times"
#else
#define ECHO_OPTIONS "--connections", "--rounds"
#endif

/// The two ends of a connection; whoever gets them owns them.
struct connection {
    int client;
    int server;
};

/// That many connections, made with plain calls: it is not measured how. Nothing is delayed in
/// them, and a message always fits into one that has sent all before.
inline std::vector<connection> connect_all(unsigned long count) {
    const int listener = plain::listening(SOCK_STREAM);
    const sockaddr_in address = plain::address_of(listener);
    const int on = 1;
    const int room = 1 << 18;  // bytes
    std::vector<connection> all;
    for (unsigned long i = 0; i < count; ++i) {
        const int client = socket(AF_INET, SOCK_STREAM, 0);
        plain::must(connect(client, plain::raw(address), sizeof address) == 0, "connect");
        const int server = accept4(listener, nullptr, nullptr, SOCK_NONBLOCK);
        plain::must(server >= 0, "accept4");
        for (const int each : {client, server}) {
            plain::must(setsockopt(each, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) == 0,
                        "TCP_NODELAY");
            plain::must(message_size <= 4096 ||
                            setsockopt(each, SOL_SOCKET, SO_SNDBUF, &room, sizeof room) == 0,
                        "SO_SNDBUF");
        }
        all.push_back({client, server});
    }
    close(listener);
    return all;
}

// Whether it is measured how long each round trip takes, which costs two readings of the clock.
#if defined(ECHO_TIMED)
inline bool latency_wanted = false;  // --times yes
#else
inline constexpr bool latency_wanted = false;
#endif
inline std::vector<float> latencies;  // seconds

inline void add_latency(double since) {
    latencies.push_back(static_cast<float>(seconds(CLOCK_MONOTONIC) - since));
}

/// Of all, the one that so large a part is no longer than; in microseconds.
inline double latency_quantile(double part) {
    const auto at = static_cast<std::ptrdiff_t>(part * static_cast<double>(latencies.size() - 1));
    std::nth_element(latencies.begin(), latencies.begin() + at, latencies.end());
    return latencies[static_cast<std::size_t>(at)] * 1e6;
}

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
        if (latency_wanted) sent_ = seconds(CLOCK_MONOTONIC);
        return bytes_;
    }

    void check(const std::byte* echoed) const {
        if (std::memcmp(echoed, bytes_.data(), message_size) != 0)
            fail("echo", "the bytes that came back are not those that were sent");
        if (latency_wanted) add_latency(sent_);
    }

private:
    std::array<std::byte, message_size> bytes_;
    [[maybe_unused]] double sent_ = 0;
};

/// Counts round trips, and measures all but the first few of each connection and the last: when the
/// first connection ends, nothing is measured any more.
class meter {
public:
    /// `--rounds` is the number of measured round trips of all `--connections` together.
    explicit meter(const arguments& given)
        : connections_(given.number("--connections", 1)),
          warm_up_(connections_ > 1000 ? 1 : connections_ > 64 ? 4 : 50),
          counter_(connections_ * warm_up_, (given.number("--rounds", 100'000) + connections_ - 1) /
                                               connections_ * connections_),
          rounds_of_each_(warm_up_ + counter_.measured() / connections_ + 1) {
#if defined(ECHO_TIMED)
        latency_wanted = given.choice("--times", {"no", "yes"}) == "yes";
#endif
        if (latency_wanted) latencies.reserve(connections_ * rounds_of_each_);
    }

    unsigned long connections() const noexcept { return connections_; }

    /// How many round trips each connection has to make.
    unsigned long rounds_of_each() const noexcept { return rounds_of_each_; }

    void round_done() noexcept { counter_.one_done(); }

    void report() const {
        std::printf("connections=%lu rounds=%lu ", connections_, counter_.measured());
        counter_.print("round");
        if (!latency_wanted) return;
        const auto first = latencies.begin() + static_cast<std::ptrdiff_t>(connections_ * warm_up_);
        latencies.erase(first + static_cast<std::ptrdiff_t>(counter_.measured()), latencies.end());
        latencies.erase(latencies.begin(), first);
        std::printf("p50_us=%.2f p99_us=%.2f p99_9_us=%.2f\n", latency_quantile(0.5),
                    latency_quantile(0.99), latency_quantile(0.999));
    }

private:
    unsigned long connections_;
    unsigned long warm_up_;  // round trips of each connection
    counter counter_;
    unsigned long rounds_of_each_;
};

}  // namespace echo
