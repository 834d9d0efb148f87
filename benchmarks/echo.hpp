// What the echo programs share, so that they differ in nothing but the way they wait: the command
// line, the message, the meter and the allocation count.
//
// All of them do the same: 64-byte messages over loopback TCP, clients and servers in one thread
// and one loop; a client sends a message, waits for its echo and compares it byte for byte.
#pragma once

#include <array>
#include <charconv>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <initializer_list>
#include <string_view>

namespace echo {

inline constexpr std::size_t message_size = 64;
inline constexpr std::size_t buffer_size = 4096;  // larger than a message, as a server's would be

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

    struct moment {
        double wall;
        double cpu;
        unsigned long allocations;
    };

    static double seconds(clockid_t clock) noexcept {
        timespec time{};
        clock_gettime(clock, &time);
        return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) / 1e9;
    }

    static moment now() noexcept {
        return {seconds(CLOCK_MONOTONIC), seconds(CLOCK_PROCESS_CPUTIME_ID), allocations()};
    }

    unsigned long measured() const noexcept { return connections_ * rounds_of_each_; }

    [[gnu::noinline]] void mark() noexcept {
        if (!started_) {
            started_ = true;
            until_mark_ = measured();
            first_ = now();
        } else {
            last_ = now();
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
