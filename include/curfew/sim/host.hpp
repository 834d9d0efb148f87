// A computer of a simulated world. What it does in there stands in world.hpp, which is what tests
// include.
#pragma once

#include <functional>
#include <stdexcept>
#include <string>
#include <utility>

#include "../io_context.hpp"
#include "../platform/std_chrono.hpp"
#include "../platform/std_memory.hpp"
#include "../task.hpp"
#include "kernel/events.hpp"
#include "kernel/machine.hpp"
#include "kernel/stack.hpp"

#if !defined(CURFEW_SIM_PLATFORM)
#error "a simulation is compiled with CURFEW_PLATFORM_HEADER=\"<curfew/sim/platform.hpp>\""
#endif

CURFEW_SYSTEM_HEADER

namespace curfew::sim {

class world;
class host;

/// What was expected of a world did not come true.
class failure : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

/// From one host to another, and not back: `user >> shop`.
struct direction {
    host& from;  ///< Who sends.
    host& to;    ///< Who receives.
};

/// A computer in the world, with one process on it that has one context. Made by `world::host`.
class host final : event {
public:
    host(const host&) = delete;
    host& operator=(const host&) = delete;
    ~host() { end(); }

    /// By which others look it up.
    const std::string& name() const noexcept { return name_; }

    /// The context of the process that runs there; there is none while the host is down.
    io_context& context() {
        if (!context_) throw failure("the host " + name_ + " is down");
        return *context_;
    }

    /// Starts a task there, for which the world waits: see `world::run`.
    template <class Work>
    void spawn(Work work) {
        const on_machine here(machine_);
        context().spawn(awaited(unfinished(world_), std::move(work)));
        wake();
    }

    /// The process ends: its tasks are destroyed where they are, and the system closes its sockets,
    /// as it does for a process that is killed.
    void kill() { end(); }

    /// As if the power went: silence. Others learn nothing.
    void power_off() {
        machine_.sockets.power_off();
        end();
    }

    /// The process begins again; after `power_off` on a system that knows nothing of what was.
    void boot();

    /// It does nothing for so long, as a process that is stopped or a machine that is overloaded.
    template <class Rep, class Period>
    void pause(std::chrono::duration<Rep, Period> time);

    /// How its clock runs.
    sim::machine& clock() noexcept { return machine_; }
    /// Its sockets and their limits, such as `most_descriptors`.
    stack& sockets() noexcept { return machine_.sockets; }

    /// Whether a process runs there.
    bool is_up() const noexcept { return context_ != nullptr; }

    friend direction operator>>(host& from, host& to) noexcept { return {from, to}; }

private:
    friend class world;

    host(world& in, std::string name, std::function<void(io_context&)> main);

    /// Lives for as long as a task that the world waits for.
    class unfinished {
    public:
        explicit unfinished(world& of) noexcept;
        unfinished(unfinished&& other) noexcept : of_(std::exchange(other.of_, nullptr)) {}
        ~unfinished();

    private:
        world* of_;
    };

    template <class Result>
    static task<> awaited(unfinished, task<Result> work) {
        co_await std::move(work);
    }
    template <class Function>
    static task<> awaited(unfinished, Function function) {
        co_await function();
    }

    void wake();
    void plan_turn(nanoseconds at);
    void take_turn();

    void end() {
        if (!context_) return;
        const on_machine here(machine_);
        context_.reset();
    }

    world& world_;
    std::string name_;
    std::function<void(io_context&)> main_;
    sim::machine machine_;
    std::unique_ptr<io_context> context_;
    nanoseconds stopped_until_ = 0;
    bool in_turn_ = false;
};

}  // namespace curfew::sim
