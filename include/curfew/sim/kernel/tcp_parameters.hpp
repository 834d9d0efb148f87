// The words and numbers of TCP, and what a connection asks of its host.
#pragma once

#include <cstddef>
#include <cstdint>

#include "../../config.hpp"
#include "events.hpp"
#include "packet.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew::sim {

/// The constants of a host's TCP. The defaults are Linux's.
struct tcp_parameters {
    std::size_t send_buffer = 128 << 10;  // bytes; what a socket begins with
    std::size_t receive_buffer = 128 << 10;
    nanoseconds initial_timeout = second;
    nanoseconds least_timeout = 200 * millisecond;
    nanoseconds most_timeout = 120 * second;
    nanoseconds delayed_ack = 40 * millisecond;
    nanoseconds time_wait = 60 * second;
    nanoseconds fin_wait_2 = 60 * second;  // of a connection that nobody has a descriptor of
    int syn_retries = 6;                   // after which a connect has timed out: 127 s
    int syn_ack_retries = 5;
    int retries = 15;  // of data
    int orphan_retries = 8;
    nanoseconds keep_alive_after = 7200 * second;
    nanoseconds keep_alive_interval = 75 * second;
    int keep_alive_probes = 9;
    std::uint32_t initial_window = 10;  // segments that are sent before the first answer
};

struct tcp_options {
    bool no_delay = false;
    bool keep_alive = false;
    bool lingers = false;
    int linger_seconds = 0;
    std::size_t send_buffer = 0;
    std::size_t receive_buffer = 0;
};

enum class tcp_state : std::uint8_t {
    closed,
    syn_sent,
    syn_received,
    established,
    fin_wait_1,
    fin_wait_2,
    close_wait,
    closing,
    last_ack,
    time_wait,
};

/// What `poll` says of a socket, as bits.
inline constexpr unsigned poll_bit_in = 1;
inline constexpr unsigned poll_bit_out = 2;
inline constexpr unsigned poll_bit_error = 4;
inline constexpr unsigned poll_bit_hang_up = 8;
inline constexpr unsigned poll_bit_peer_hang_up = 16;

class connection;

/// What a listener says of a connection: there may be no room for it yet, or no listener any more.
enum class arrival : std::uint8_t { taken, full, refused };

/// What a connection needs of the host that it is on.
class tcp_host {
public:
    virtual const tcp_parameters& parameters() const noexcept = 0;
    virtual nanoseconds now() const noexcept = 0;
    virtual event_queue& events() noexcept = 0;
    virtual packet& make_packet() = 0;
    virtual void send(packet& what) = 0;
    /// What its user could learn of it has changed.
    virtual void changed(connection& which) = 0;
    /// The handshake of one that has come to a listener is over.
    virtual arrival arrived(connection& which) = 0;
    /// It is in no state any more in which packets concern it.
    virtual void ended(connection& which) = 0;

protected:
    ~tcp_host() = default;
};

}  // namespace curfew::sim
