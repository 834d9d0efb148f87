// What the programs share that measure a frame of a game: a call that looks once at the network and
// does not wait, with many connections open, each with a reader.
//
// What is measured is such a call when nothing has come, and what it takes (in one call or several)
// until all readers have got a byte when one has come for each.
#pragma once

#include "plain.hpp"

#include <vector>

namespace bench {

class frame_meter {
public:
    explicit frame_meter(const arguments& given)
        : connections_(given.number("--connections", 1000)),
          frames_(given.number("--frames", 20'000)) {}

    unsigned long connections() const noexcept { return connections_; }

    /// Connects to that port of 127.0.0.1, with plain blocking calls; somebody listens there, and
    /// has yet to accept.
    void connect(std::uint16_t port) {
        sockaddr_in address = plain::loopback();
        address.sin_port = htons(port);
        const int client = socket(AF_INET, SOCK_STREAM, 0);
        plain::must(client >= 0 && ::connect(client, plain::raw(address), sizeof address) == 0,
                    "connect");
        plain::reset_on_close(client);
        clients_.push_back(client);
    }

    /// A reader has got a byte.
    void received() noexcept { ++received_; }

    /// All readers wait: measures `poll`, and prints.
    template <class Poll>
    void measure(Poll poll) {
        for (int i = 0; i < 100; ++i) poll();
        const double begin = seconds(CLOCK_PROCESS_CPUTIME_ID);
        for (unsigned long i = 0; i < frames_; ++i) poll();
        const double idle = seconds(CLOCK_PROCESS_CPUTIME_ID) - begin;

        const unsigned long busy_frames = frames_ / 200 + 2;
        double busy = 0;
        for (unsigned long i = 0; i < busy_frames; ++i) {
            const unsigned long all = received_ + connections_;
            for (const int client : clients_) plain::must(send(client, "", 1, 0) == 1, "send");
            const double start = seconds(CLOCK_PROCESS_CPUTIME_ID);
            while (received_ < all) poll();
            if (i > 0) busy += seconds(CLOCK_PROCESS_CPUTIME_ID) - start;
        }
        std::printf("connections=%lu idle_ns=%.0f ready_us=%.1f\n", connections_,
                    idle * 1e9 / static_cast<double>(frames_),
                    busy * 1e6 / static_cast<double>(busy_frames - 1));
    }

private:
    unsigned long connections_;
    unsigned long frames_;
    unsigned long received_ = 0;
    std::vector<int> clients_;
};

}  // namespace bench
