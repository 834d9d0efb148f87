// What the accept programs share: the count of connections, and the meter.
//
// All of them do the same, clients and server in one thread and one loop: a client connects over
// loopback, the server accepts and writes one byte, the client reads it and closes with a RST (so
// that its port is free at once), and the server, whose read says so, closes its end, too. That is
// one connection. So many clients are at it at once as was asked for.
#pragma once

#include "counter.hpp"

namespace bench {

inline constexpr char greeting = '!';

class accept_meter {
public:
    explicit accept_meter(const arguments& given)
        : at_once_(given.number("--at-once", 1)),
          counter_(warm_up, given.number("--connections", 20'000)) {}

    unsigned long at_once() const noexcept { return at_once_; }

    /// Connections to be made, the unmeasured ones included.
    unsigned long total() const noexcept { return warm_up + counter_.measured(); }

    /// A client asks before each connection whether one more is wanted.
    bool one_more() noexcept { return begun_ < total() && ++begun_; }

    /// The server's end has been closed.
    void one_done() noexcept { counter_.one_done(); }

    bool finished() const noexcept { return counter_.finished(); }

    void report() const {
        std::printf("connections=%lu at_once=%lu ", counter_.measured(), at_once_);
        counter_.print("connection");
    }

private:
    static constexpr unsigned long warm_up = 200;

    unsigned long at_once_;
    unsigned long begun_ = 0;
    counter counter_;
};

}  // namespace bench
