// The wire: what becomes of a packet between the host that sends it and the one that it is for.
#pragma once

#include <cstddef>
#include <cstdint>
#include <unordered_map>
#include <utility>
#include <vector>

#include "../../config.hpp"
#include "../../platform/std_memory.hpp"
#include "../choice.hpp"
#include "events.hpp"
#include "packet.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew::sim {

/// A network card, as the network sees a host.
class station {
public:
    virtual void input(packet& arrived) = 0;  // which it gives back to the pool
    /// Its place in the world, counting from 0.
    std::uint32_t index() const noexcept { return index_; }

protected:
    station() = default;
    ~station() = default;

private:
    friend class network;
    std::uint32_t index_ = 0;
};

/// How packets fare in one direction.
struct link_options {
    nanoseconds least_latency = 100 * microsecond;
    nanoseconds most_latency = 100 * microsecond;  // most packets are near the least
    double loss = 0;                               // probabilities
    double duplicate = 0;
    double reorder = 0;      // a packet comes later than some of those that are sent after it
    std::uint64_t rate = 0;  // bytes a second; 0: without limit
    std::size_t queue = 256 << 10;  // bytes that wait for the rate; what does not fit is lost
    std::uint32_t mtu = 1500;       // bytes, with the IP header
};

/// What became of a packet.
enum class fate : std::uint8_t { sent, arrived, lost, cut, overflowed, refused };

/// Is told of each packet: what draws, traces and writes captures.
class network_observer {
public:
    virtual void on_packet(nanoseconds when, const packet& what, fate how) = 0;

protected:
    ~network_observer() = default;
};

class network {
public:
    network(event_queue& events, chooser& choices) noexcept : events_(events), choices_(choices) {
        loopback_.least_latency = loopback_.most_latency = 10 * microsecond;
        loopback_.mtu = 65536;
    }
    network(const network&) = delete;
    network& operator=(const network&) = delete;

    nanoseconds now() const noexcept { return now_; }
    /// Time goes on, to the next event at most.
    void set_now(nanoseconds to) noexcept {
        CURFEW_ASSERT(to >= now_);
        now_ = to;
    }

    event_queue& events() noexcept { return events_; }
    chooser& choices() noexcept { return choices_; }
    packet_pool& pool() noexcept { return pool_; }
    void observe(network_observer* by) noexcept { observer_ = by; }

    /// How many packets have arrived, or not.
    std::uint64_t packets() const noexcept { return packets_; }

    // Who is there -------------------------------------------------------------------------------

    void add(station& who) {
        who.index_ = static_cast<std::uint32_t>(stations_.size());
        stations_.push_back(&who);
    }
    void add_address(station& who, address which) { owners_[key_of(which)] = &who; }
    station* owner(const address& which) const noexcept {
        const auto found = owners_.find(key_of(which));
        return found == owners_.end() ? nullptr : found->second;
    }

    void join(station& who, const address& group) {
        auto& members = groups_[key_of(group)];
        for (member& each : members)
            if (each.who == &who) return void(++each.times);
        members.push_back({&who, 1});
    }
    void leave(station& who, const address& group) {
        auto& members = groups_[key_of(group)];
        for (std::size_t i = 0; i < members.size(); ++i)
            if (members[i].who == &who && --members[i].times == 0) {
                members.erase(members.begin() + static_cast<std::ptrdiff_t>(i));
                return;
            }
    }

    // Links --------------------------------------------------------------------------------------

    /// Of all directions that have none of their own.
    link_options& default_link() noexcept { return default_; }
    /// From a host to itself.
    link_options& loopback() noexcept { return loopback_; }

    /// Of one direction; made with the default's options when it is first asked for.
    link_options& link(station& from, station& to) {
        direction& found = between(from, to);
        if (!found.own) found.own = std::make_unique<link_options>(default_);
        return *found.own;
    }
    const link_options& options(station& from, station& to) {
        if (&from == &to) return loopback_;
        const direction& found = between(from, to);
        return found.own ? *found.own : default_;
    }

    /// Nothing passes any more, nor does anybody learn of it.
    void cut(station& from, station& to, bool is) { between(from, to).is_cut = is; }

    /// Packets wait, and go on in their order when they are let through.
    void hold(station& from, station& to) { between(from, to).is_held = true; }
    void release(station& from, station& to) {
        direction& way = between(from, to);
        way.is_held = false;
        for (packet* each = std::exchange(way.held, nullptr); each;) {
            packet* const next = std::exchange(each->next, nullptr);
            events_.plan(*each, now_);
            each = next;
        }
        way.last_held = &way.held;
    }

    // Packets ------------------------------------------------------------------------------------

    void send(station& from, packet& what) {
        what.number = ++packets_;
        told(what, fate::sent);
        if (is_group(what.to) || is_broadcast(what.to)) return send_to_many(from, what);
        station* const to = owner(what.to);
        if (!to) return refuse(from, what);
        send(from, *to, what);
    }

    /// To one of the addresses that each host has for itself.
    void loop_back(station& who, packet& what) {
        what.number = ++packets_;
        told(what, fate::sent);
        send(who, who, what);
    }

    static bool is_group(const address& to) noexcept {
        return to.family == platform::family::v4 ? (to.bytes[0] & 0xf0) == 0xe0
                                                 : to.bytes[0] == 0xff;
    }
    static bool is_broadcast(const address& to) noexcept {
        return to.family == platform::family::v4 && to.bytes[0] == 255 && to.bytes[1] == 255 &&
               to.bytes[2] == 255 && to.bytes[3] == 255;
    }

private:
    struct direction {
        std::unique_ptr<link_options> own;
        station* to = nullptr;
        nanoseconds free_at = 0;       // when the rate lets the next one begin
        nanoseconds last_arrival = 0;  // packets keep their order, unless they lose it
        bool is_cut = false;
        bool is_held = false;
        packet* held = nullptr;
        packet** last_held = &held;
        direction() = default;
        direction(const direction&) = delete;
        direction& operator=(const direction&) = delete;
    };
    struct member {
        station* who;
        std::uint32_t times;
    };
    struct address_key {
        std::uint64_t high;
        std::uint64_t low;
        platform::family family;
        bool operator==(const address_key&) const = default;
    };
    struct address_hash {
        std::size_t operator()(const address_key& key) const noexcept {
            std::uint64_t z = key.high * 0x9e3779b97f4a7c15 ^ key.low;
            z = (z ^ (z >> 32)) * 0xd6e8feb86659fd93;
            return static_cast<std::size_t>(z ^ (z >> 32));
        }
    };

    static address_key key_of(const address& of) noexcept {
        address_key key{0, 0, of.family};
        for (int i = 0; i < 8; ++i) key.high = key.high << 8 | of.bytes[i];
        for (int i = 8; i < 16; ++i) key.low = key.low << 8 | of.bytes[i];
        return key;
    }

    /// Each direction that has been used is found at once, and those that have not take no memory.
    direction& between(station& from, station& to) {
        std::unique_ptr<direction>& found =
            directions_[std::uint64_t{from.index_} << 32 | to.index_];
        if (!found) {
            found = std::make_unique<direction>();
            found->to = &to;
        }
        return *found;
    }

    void send(station& from, station& to, packet& what) {
        direction& way = between(from, to);
        const link_options& with = &from == &to ? loopback_ : way.own ? *way.own : default_;
        if (way.is_cut) return drop(what, fate::cut);
        nanoseconds leaves = now_;
        if (with.rate) {
            const nanoseconds begin = way.free_at > now_ ? way.free_at : now_;
            const nanoseconds full =
                static_cast<nanoseconds>(with.queue * std::uint64_t{second} / with.rate);
            if (begin - now_ > full) return drop(what, fate::overflowed);
            leaves =
                begin + static_cast<nanoseconds>(what.size() * std::uint64_t{second} / with.rate);
            way.free_at = leaves;
        }
        if (choices_.chance(with.loss, "loss")) return drop(what, fate::lost);
        const bool twice = choices_.chance(with.duplicate, "duplicate");
        packet* const again = twice ? &pool_.copy(what) : nullptr;
        put_on_its_way(way, with, leaves, what, to);
        if (again) put_on_its_way(way, with, leaves, *again, to);
    }

    void put_on_its_way(direction& way, const link_options& with, nanoseconds leaves, packet& what,
                        station& to) {
        what.destination = &to;
        what.wire = this;
        what.happen = [](event& self) {
            packet& arriving = static_cast<packet&>(self);
            static_cast<network*>(arriving.wire)->arrive(arriving);
        };
        nanoseconds arrives = leaves + latency(with);
        if (choices_.chance(with.reorder, "reorder")) {
            // Later than what is sent after it.
            arrives += with.most_latency / 2 + latency(with);
        } else {
            if (arrives < way.last_arrival) arrives = way.last_arrival;
            way.last_arrival = arrives;
        }
        if (way.is_held) {
            *way.last_held = &what;
            way.last_held = &what.next;
            return;
        }
        events_.plan(what, arrives);
    }

    /// Near the least, with a long tail up to the most.
    nanoseconds latency(const link_options& with) {
        const nanoseconds range = with.most_latency - with.least_latency;
        if (range <= 0) return with.least_latency;
        const std::uint64_t u = choices_.choose(1u << 16, "latency");
        const std::uint64_t squared = u * u >> 16;
        const std::uint64_t fourth = squared * squared >> 16;  // of 2^16
        return with.least_latency +
               static_cast<nanoseconds>(
                   (static_cast<std::uint64_t>(range) >> 16) * fourth +
                   ((static_cast<std::uint64_t>(range) & 0xffff) * fourth >> 16));
    }

    void arrive(packet& what) {
        told(what, fate::arrived);
        static_cast<station*>(what.destination)->input(what);
    }

    void send_to_many(station& from, packet& what) {
        if (is_broadcast(what.to)) {
            for (station* each : stations_)
                if (each != &from) send(from, *each, pool_.copy(what));
        } else if (const auto found = groups_.find(key_of(what.to)); found != groups_.end()) {
            for (const member& each : found->second)
                if (each.who != &from || what.to_itself) send(from, *each.who, pool_.copy(what));
        }
        pool_.give_back(what);
    }

    /// Nobody has that address: a router says so. (Of what says so itself nobody does.)
    void refuse(station& from, packet& what) {
        told(what, fate::refused);
        if (what.protocol != protocol::icmp) {
            packet& answer = pool_.take();
            answer.protocol = protocol::icmp;
            answer.from = what.to;
            answer.to = what.from;
            answer.why = unreachable::host;
            answer.original_protocol = what.protocol;
            answer.original_from = what.from;
            answer.original_to = what.to;
            answer.number = ++packets_;
            send(from, from, answer);
        }
        pool_.give_back(what);
    }

    void drop(packet& what, fate how) {
        told(what, how);
        pool_.give_back(what);
    }

    void told(const packet& what, fate how) {
        if (observer_) observer_->on_packet(now_, what, how);
    }

    event_queue& events_;
    chooser& choices_;
    packet_pool pool_;
    network_observer* observer_ = nullptr;
    nanoseconds now_ = 0;
    std::uint64_t packets_ = 0;
    link_options default_;
    link_options loopback_;
    std::vector<station*> stations_;
    std::unordered_map<address_key, station*, address_hash> owners_;
    std::unordered_map<address_key, std::vector<member>, address_hash> groups_;
    std::unordered_map<std::uint64_t, std::unique_ptr<direction>> directions_;
};

}  // namespace curfew::sim
