// A simulated computer as the programs on it see it: sockets, a clock that may drift, and waiting.
#pragma once

#include <cstdint>
#include <vector>

#include "../../config.hpp"
#include "events.hpp"
#include "network.hpp"
#include "stack.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew::sim {

class machine;

/// Who has time go by.
class time_keeper {
public:
    /// Has things happen until something may have changed for `who`, or `until` at the latest (in
    /// the world's time).
    virtual void wait(machine& who, nanoseconds until) noexcept = 0;

    /// Calls `run(argument)` on that machine when so much time has gone by: what is a thread
    /// elsewhere.
    virtual int call_later(machine& who, nanoseconds after, void (*run)(void*) noexcept,
                           void* argument) noexcept = 0;

    /// The addresses of a host, by its name; empty: there is none.
    virtual std::vector<address> look_up(const char* host) noexcept = 0;

protected:
    ~time_keeper() = default;
};

class machine {
public:
    machine(network& wire, time_keeper& by) noexcept : sockets(wire), wire_(wire), keeper_(by) {}
    machine(const machine&) = delete;
    machine& operator=(const machine&) = delete;

    stack sockets;
    /// Something that a wait would find may have happened since it was last cleared. (Who has time
    /// go by sets it: see stack::on_change.)
    bool changed = false;

    // Time
    // -----------------------------------------------------------------------------------------

    /// The machine's own time.
    nanoseconds now() const noexcept { return own_time(wire_.now()); }

    /// So much faster than the world's clock (200e-6: 200 microseconds a second), from here on; to
    /// the millionth.
    void drift(double by) noexcept {
        own_begin_ = now();
        world_begin_ = wire_.now();
        drift_ = static_cast<nanoseconds>(by * million + (by < 0 ? -0.5 : 0.5));
    }

    /// The world's time at which the machine's clock says `own`, or just after.
    nanoseconds world_time(nanoseconds own) const noexcept {
        if (own == never) return never;
        const nanoseconds passed = own - own_begin_;
        const nanoseconds rate = million + drift_;  // of its own for a million of the world's
        nanoseconds there = world_begin_ + passed / rate * million + passed % rate * million / rate;
        while (own_time(there) < own) ++there;
        return there;
    }

    void wait(nanoseconds most) noexcept {
        keeper_.wait(*this, most == never ? never : world_time(now() + most));
    }
    int call_later(nanoseconds after, void (*run)(void*) noexcept, void* argument) noexcept {
        return keeper_.call_later(*this, after, run, argument);
    }
    std::vector<address> look_up(const char* host) noexcept { return keeper_.look_up(host); }

private:
    static constexpr nanoseconds million = 1'000'000;

    /// What the drift makes of a time.
    nanoseconds part(nanoseconds time) const noexcept {
        return time / million * drift_ + time % million * drift_ / million;
    }
    nanoseconds own_time(nanoseconds world) const noexcept {
        const nanoseconds passed = world - world_begin_;
        return own_begin_ + passed + part(passed);
    }

    network& wire_;
    time_keeper& keeper_;
    nanoseconds drift_ = 0;  // millionths
    nanoseconds world_begin_ = 0;
    nanoseconds own_begin_ = second;  // no clock says 0: that would be before all others
};

/// The machine whose programs run in this thread. Null: none, and no call of the platform may be
/// made.
inline machine*& current_machine() noexcept {
    static thread_local machine* current = nullptr;
    return current;
}

/// Programs of `which` run for as long as this lives.
class on_machine {
public:
    explicit on_machine(machine& which) noexcept : before_(current_machine()) {
        current_machine() = &which;
    }
    ~on_machine() { current_machine() = before_; }
    on_machine(const on_machine&) = delete;
    on_machine& operator=(const on_machine&) = delete;

private:
    machine* before_;
};

}  // namespace curfew::sim
