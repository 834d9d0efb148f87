// The receiving half of a TCP connection: what has arrived, in order or before its turn, and how
// much more the peer may send.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "../../config.hpp"
#include "byte_queue.hpp"
#include "packet.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew::sim {

class tcp_receiver {
public:
    /// What the user has not read.
    byte_queue bytes;

    /// The peer's SYN is there.
    void begin(std::size_t capacity) noexcept {
        received_ = 1;
        advertised_ = 1 + capacity;
    }

    /// The position before which all has arrived.
    std::uint64_t received() const noexcept { return received_; }
    /// What the peer may send beyond that, as it has been told.
    std::uint64_t open() const noexcept { return advertised_ - received_; }
    bool misses_something() const noexcept { return early_bytes_ > 0; }

    /// Whether a segment is, in part at least, within what may be sent (RFC 9293, 3.4).
    bool accepts(std::uint64_t sequence, std::uint64_t length) const noexcept {
        if (length == 0) return sequence >= received_ && sequence <= advertised_;
        return sequence < received_ + std::max<std::uint64_t>(open(), 1) &&
               sequence + length > received_;
    }

    std::size_t room(std::size_t capacity) const noexcept {
        const std::size_t used = bytes.size() + early_bytes_;
        return capacity > used ? capacity - used : 0;
    }

    /// What the peer is told now: it never takes back what it has said.
    std::uint32_t window(std::size_t capacity) noexcept {
        advertised_ = std::max(advertised_, received_ + room(capacity));
        return static_cast<std::uint32_t>(open());
    }

    /// False: something before it is missing, and it waits for that.
    bool take(const packet& from) {
        if (from.sequence > received_) {
            keep_early(from);
            return false;
        }
        const std::uint64_t wanted = std::min(from.sequence + from.payload.size(), advertised_);
        if (wanted > received_) {
            const auto skip = static_cast<std::size_t>(received_ - from.sequence);
            bytes.push(from.payload.data() + skip, static_cast<std::size_t>(wanted - received_));
            received_ = wanted;
        }
        take_early();
        return true;
    }

    void take_fin() noexcept {
        ++received_;
        advertised_ = std::max(advertised_, received_);
    }

    void forget_early() noexcept {
        early_.clear();
        early_bytes_ = 0;
    }

private:
    struct early {
        std::uint64_t begin;
        std::vector<std::byte> bytes;
    };

    void keep_early(const packet& from) {
        const std::uint64_t end = std::min(from.sequence + from.payload.size(), advertised_);
        if (end <= from.sequence) return;
        const auto place = std::lower_bound(
            early_.begin(), early_.end(), from.sequence,
            [](const early& each, std::uint64_t position) { return each.begin < position; });
        if (place != early_.end() && place->begin == from.sequence &&
            place->bytes.size() >= end - from.sequence)
            return;
        early made{from.sequence, {}};
        made.bytes.assign(from.payload.begin(),
                          from.payload.begin() + static_cast<std::ptrdiff_t>(end - from.sequence));
        early_bytes_ += made.bytes.size();
        early_.insert(place, std::move(made));
    }

    void take_early() {
        std::size_t taken = 0;
        for (; taken < early_.size() && early_[taken].begin <= received_; ++taken) {
            const early& each = early_[taken];
            const std::uint64_t end = each.begin + each.bytes.size();
            if (end > received_) {
                bytes.push(each.bytes.data() + (received_ - each.begin),
                           static_cast<std::size_t>(end - received_));
                received_ = end;
            }
            early_bytes_ -= each.bytes.size();
        }
        early_.erase(early_.begin(), early_.begin() + static_cast<std::ptrdiff_t>(taken));
    }

    std::vector<early> early_;  // in order
    std::size_t early_bytes_ = 0;
    std::uint64_t received_ = 0;
    std::uint64_t advertised_ = 0;
};

}  // namespace curfew::sim
