// What travels between hosts, and where the records for it come from.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "../../config.hpp"
#include "../../platform/std_memory.hpp"
#include "../../platform/types.hpp"
#include "events.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew::sim {

using address = platform::socket_address;  // with its port

enum class protocol : std::uint8_t { tcp, udp, icmp };

/// Why a packet could not be delivered, as those who are on its way tell its sender.
enum class unreachable : std::uint8_t { none, port, host, network, too_big };

/// All of a packet but its bytes.
struct packet_header {
    address from;
    address to;
    sim::protocol protocol = protocol::tcp;

    // TCP. Positions count from the sender's initial sequence number, which is only added where the
    // packet is drawn: the SYN is at 0, the first byte of the stream at 1.
    bool syn = false;
    bool ack = false;
    bool fin = false;
    bool rst = false;
    bool push = false;
    std::uint16_t mss = 0;           // with syn: the largest segment the sender takes
    std::uint32_t window = 0;        // in bytes
    std::uint32_t initial = 0;       // the sender's initial sequence number
    std::uint32_t peer_initial = 0;  // with ack: that of the receiver
    std::uint64_t sequence = 0;
    std::uint64_t acknowledgment = 0;

    // ICMP: what became of the packet that `from` once sent to `original_to`.
    unreachable why = unreachable::none;
    sim::protocol original_protocol = protocol::tcp;
    address original_from;
    address original_to;
    std::uint32_t mtu = 0;

    std::uint8_t hops = 64;  // TTL
    std::uint8_t traffic_class = 0;
    bool to_itself = true;  // to a group: the sender may be in it, too
    bool may_fragment = true;
    std::uint64_t number = 0;  // in the order in which they were sent, in all of a world

    std::size_t header_size() const noexcept {
        const std::size_t ip = from.family == platform::family::v6 ? 40 : 20;
        return ip + (protocol == protocol::tcp ? 20u : 8u);
    }
};

struct packet : packet_header, event {
    std::vector<std::byte> payload;
    packet* next = nullptr;  // in the list of whoever keeps it
    void* wire = nullptr;    // while it is on its way: the network, and the station it is for
    void* destination = nullptr;

    /// On the wire.
    std::size_t size() const noexcept { return header_size() + payload.size(); }
};

/// Records that have had their use are used again, with the memory of their payload.
class packet_pool {
public:
    packet_pool() = default;
    packet_pool(const packet_pool&) = delete;
    packet_pool& operator=(const packet_pool&) = delete;

    packet& take() {
        packet* const made = free_;
        if (!made) {
            all_.push_back(std::make_unique<packet>());
            return *all_.back();
        }
        free_ = made->next;
        static_cast<packet_header&>(*made) = {};
        made->payload.clear();
        made->next = nullptr;
        return *made;
    }

    packet& copy(const packet& of) {
        packet& made = take();
        static_cast<packet_header&>(made) = of;
        made.payload.assign(of.payload.begin(), of.payload.end());
        return made;
    }

    void give_back(packet& used) noexcept {
        used.next = free_;
        free_ = &used;
    }

private:
    packet* free_ = nullptr;
    std::vector<std::unique_ptr<packet>> all_;
};

}  // namespace curfew::sim
