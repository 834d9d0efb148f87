// Random scripts of socket calls, for any system that has sockets: what is compared are counts,
// errors and readiness.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace scripts {

enum class what : std::uint8_t {
    open_stream,
    open_datagram,
    bind,
    listen,
    connect,
    connect_nowhere,
    accept,
    send,
    receive,
    shut_receive,
    shut_send,
    shut_both,
    linger,
    close,
    take_error,
    send_to,
    receive_from,
    reuse,
};

inline const char* name(what which) {
    constexpr const char* names[] = {
        "open_stream",     "open_datagram", "bind",   "listen",  "connect",
        "connect_nowhere", "accept",        "send",   "receive", "shut_receive",
        "shut_send",       "shut_both",     "linger", "close",   "take_error",
        "send_to",         "receive_from",  "reuse"};
    return names[static_cast<unsigned>(which)];
}

/// `which` acts, `other` is who it is about, if anybody.
struct step {
    what call;
    unsigned which;
    unsigned other;
    unsigned size;
};

inline constexpr unsigned sockets = 6;

class numbers {
public:
    explicit numbers(std::uint64_t seed) : state_(seed * 0x9e3779b97f4a7c15 + 1) {}
    unsigned below(unsigned n) {
        state_ = state_ * 6364136223846793005 + 1442695040888963407;
        return static_cast<unsigned>((state_ >> 33) % n);
    }

private:
    std::uint64_t state_;
};

/// A script that does something worth looking at: it opens, listens and connects more often than
/// pure chance would.
inline std::vector<step> make(std::uint64_t seed, unsigned length) {
    numbers random(seed);
    std::vector<step> script;
    const bool datagrams = random.below(4) == 0;
    const auto add = [&](what call, unsigned which, unsigned other = 0, unsigned size = 0) {
        script.push_back({call, which, other, size});
    };
    if (!datagrams) {  // something to begin with
        add(what::open_stream, 0);
        add(what::bind, 0);
        add(what::listen, 0, 0, random.below(3));
        add(what::open_stream, 1);
        add(what::connect, 1, 0);
        if (random.below(4)) add(what::accept, 0, 2);
    }
    constexpr unsigned sizes[] = {0, 1, 10, 100, 1000, 5000};
    while (script.size() < length) {
        const unsigned which = random.below(sockets);
        const unsigned other = random.below(sockets);
        const unsigned size = sizes[random.below(6)];
        switch (random.below(datagrams ? 20u : 18u)) {
        case 0:
            add(datagrams && random.below(3) ? what::open_datagram : what::open_stream, which);
            break;
        case 1:
            add(what::bind, which);
            break;
        case 2:
            add(what::listen, which, 0, random.below(3));
            break;
        case 3:
            add(what::connect, which, other);
            break;
        case 4:
            add(random.below(3) ? what::connect : what::connect_nowhere, which, other);
            break;
        case 5:
        case 6:
            add(what::accept, which, other);
            break;
        case 7:
        case 8:
        case 9:
            add(what::send, which, 0, size);
            break;
        case 10:
        case 11:
        case 12:
            add(what::receive, which, 0, size);
            break;
        case 13:
            add(static_cast<what>(static_cast<unsigned>(what::shut_receive) + random.below(3)),
                which);
            break;
        case 14:
            add(what::linger, which);
            break;
        case 15:
            add(what::close, which);
            break;
        case 16:
            add(what::take_error, which);
            break;
        case 17:
            add(what::reuse, which);
            break;
        case 18:
            add(what::send_to, which, other, size);
            break;
        case 19:
            add(what::receive_from, which, 0, size);
            break;
        }
    }
    return script;
}

/// What a step said, and what `poll` says of all sockets afterwards (0 for those that are closed).
struct outcome {
    long value = 0;
    std::uint64_t contents = 0;  // of the bytes that were received
    unsigned ready[sockets] = {};
    bool operator==(const outcome&) const = default;
};

inline constexpr unsigned in = 1, out = 2, error = 4, hang_up = 8, peer_hang_up = 16;

}  // namespace scripts
