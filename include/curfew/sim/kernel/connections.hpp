// The connections of a host, by their addresses.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <unordered_map>
#include <vector>

#include "../../config.hpp"
#include "../../platform/std_memory.hpp"
#include "events.hpp"
#include "packet.hpp"
#include "tcp.hpp"
#include "tcp_parameters.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew::sim {

class connections {
public:
    /// Null: there is none.
    connection* find(const address& local, const address& remote) const noexcept {
        const auto found = table_.find(key_of(local, remote));
        return found == table_.end() ? nullptr : found->second;
    }

    connection& make(tcp_host& on, const address& local, const address& remote) {
        connection* made;
        if (free_.empty()) {
            records_.push_back(std::make_unique<connection>(on));
            made = records_.back().get();
        } else {
            made = free_.back();
            free_.pop_back();
            std::destroy_at(made);
            std::construct_at(made, on);
        }
        table_[key_of(local, remote)] = made;
        return *made;
    }

    /// Packets do not concern it any more.
    void forget(const connection& over) { table_.erase(key_of(over.local(), over.remote())); }

    /// Its record may be used again. (Whoever calls this may be one of its own functions: nothing
    /// is destroyed before the next use.)
    void release(connection& over) { free_.push_back(&over); }

    /// Nothing happens to any of them any more.
    void stop(event_queue& in) noexcept {
        for (auto& each : records_) in.take_back(*each);
    }
    void clear() {
        table_.clear();
        free_.clear();
        for (auto& each : records_) free_.push_back(each.get());
    }

private:
    struct key {
        address local;
        address remote;
        bool operator==(const key&) const = default;
    };
    struct hash {
        std::size_t operator()(const key& of) const noexcept {
            std::uint64_t z = std::uint64_t{of.local.port} << 16 | of.remote.port;
            for (const address* each : {&of.local, &of.remote}) {
                std::uint64_t bytes[2];
                std::memcpy(bytes, each->bytes, sizeof bytes);
                z = (z ^ bytes[0] ^ bytes[1]) * 0x9e3779b97f4a7c15;
                z ^= z >> 29;
            }
            return static_cast<std::size_t>(z ^ (z >> 32));
        }
    };

    static key key_of(const address& local, const address& remote) noexcept {
        key made{local, remote};
        made.local.scope = made.remote.scope = 0;
        return made;
    }

    std::unordered_map<key, connection*, hash> table_;
    std::vector<std::unique_ptr<connection>> records_;  // events refer to them until the world ends
    std::vector<connection*> free_;
};

}  // namespace curfew::sim
