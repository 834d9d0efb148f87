// A simulated world: hosts with a context each, the links between them, and what happens when.
//
// A world belongs to one thread, in which all of it runs, one thing after the other. Its time
// stands still while a host works (other than by what each step is said to cost), and jumps to what
// happens next when none has anything to do: hosts that wait cost nothing, however long.
#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "../io_context.hpp"
#include "../platform/std_chrono.hpp"
#include "../platform/std_memory.hpp"
#include "../reactor/reactor.hpp"
#include "../task_tree.hpp"
#include "choice.hpp"
#include "host.hpp"
#include "kernel/machine.hpp"
#include "link.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew::sim {

/// How long a world goes on at the most.
struct bound_of_run {
    std::chrono::nanoseconds time = std::chrono::hours(1);  ///< Of the world.
    std::uint64_t turns = 1'000'000'000;                    ///< Of all hosts together.
};

/// All that is simulated together: hosts, the network between them, and time.
class world final : time_keeper, network_observer {
public:
    /// With whoever decides, who has to outlive it.
    explicit world(chooser& choices) : wire_(events_, choices), choices_(choices) {
        wire_.observe(this);
    }
    world(const world&) = delete;
    world& operator=(const world&) = delete;
    ~world() {
        ending_ = true;
        for (auto& each : hosts_) each->end();
    }

    /// Makes a host. `main` is called with its context whenever the host boots, now for the first
    /// time.
    sim::host& host(std::string name, std::function<void(io_context&)> main = {}) {
        hosts_.push_back(
            std::unique_ptr<sim::host>(new sim::host(*this, std::move(name), std::move(main))));
        sim::host& made = *hosts_.back();
        const auto number = static_cast<std::uint32_t>(hosts_.size());
        address v4;
        v4.family = platform::family::v4;
        v4.bytes[0] = 10;
        v4.bytes[1] = static_cast<std::uint8_t>(number >> 16);
        v4.bytes[2] = static_cast<std::uint8_t>(number >> 8);
        v4.bytes[3] = static_cast<std::uint8_t>(number);
        made.machine_.sockets.add_address(v4);
        address v6;
        v6.family = platform::family::v6;
        v6.bytes[0] = 0xfd;
        for (int i = 0; i < 4; ++i) v6.bytes[15 - i] = static_cast<std::uint8_t>(number >> (8 * i));
        made.machine_.sockets.add_address(v6);
        made.boot();
        return made;
    }

    // The network --------------------------------------------------------------------------------

    /// Of both directions.
    sim::link link(sim::host& a, sim::host& b) { return sim::link({&way(a >> b), &way(b >> a)}); }
    /// Of one direction.
    sim::link link(direction one) { return sim::link({&way(one)}); }
    /// Of all hosts that have no link of their own yet.
    sim::link links() { return sim::link({&wire_.default_link()}); }

    /// Nothing passes any more, and nobody is told.
    void partition(direction one) { cut(one, true); }
    /// In both directions.
    void partition(sim::host& a, sim::host& b) {
        cut(a >> b, true);
        cut(b >> a, true);
    }
    /// Takes back a `partition`.
    void heal(direction one) { cut(one, false); }
    /// In both directions.
    void heal(sim::host& a, sim::host& b) {
        cut(a >> b, false);
        cut(b >> a, false);
    }
    /// All of them.
    void heal() {
        for (const auto& [from, to] : std::exchange(cuts_, {}))
            wire_.cut(from->machine_.sockets, to->machine_.sockets, false);
    }
    /// Packets wait until they are released, and come in their order then.
    void hold(direction one) { wire_.hold(one.from.machine_.sockets, one.to.machine_.sockets); }
    /// Lets them go on.
    void release(direction one) {
        wire_.release(one.from.machine_.sockets, one.to.machine_.sockets);
    }

    /// Each seed has some of the faults of the links that there are, and not all: what hides behind
    /// one of them is found as well.
    void swarm() {
        for (link_options* way : ways_) {
            for (double* each : {&way->loss, &way->duplicate, &way->reorder})
                if (*each > 0 && choices_.choose(2, "swarm") == 0) *each = 0;
            if (way->most_latency > way->least_latency && choices_.choose(2, "swarm") == 0)
                way->most_latency = way->least_latency;
        }
    }

    /// The next so many things happen in any order, whatever time they are planned for, as if
    /// nothing were known of how long anything takes.
    void any_order(unsigned things) noexcept { orders_ = things; }

    // What happens -------------------------------------------------------------------------------

    /// Calls `what()` when so much time has gone by since the world began.
    template <class Rep, class Period>
    void at(std::chrono::duration<Rep, Period> time, std::function<void()> what) {
        calls_.push_back(std::make_unique<call>(std::move(what)));
        events_.plan(*calls_.back(), std::chrono::nanoseconds(time).count());
    }

    /// `holds()` is looked at after everything that happens: a `failure` if it is false.
    void always(std::function<bool()> holds) { invariants_.push_back(std::move(holds)); }

    /// Has things happen until all tasks that `host::spawn` has started are over; if there are
    /// none, for as long as the bound says. Throws a `failure` if they are not over by then, or if
    /// nothing is going to happen any more; and what leaves a task or an `at`.
    void run(bound_of_run bound = {}) {
        const nanoseconds end = wire_.now() + bound.time.count();
        const std::uint64_t last_turn = turns_ + bound.turns;
        const bool waits = unfinished_ > 0;
        while (!waits || unfinished_ > 0) {
            const nanoseconds next = events_.next_time();
            if (next == never && waits)
                throw failure("stuck: nothing is going to happen any more\n" + dump());
            if (next > end) {
                wire_.set_now(end);
                if (waits) throw failure("stuck: the time is up\n" + dump());
                return;
            }
            if (turns_ >= last_turn) throw failure("stuck: too many turns\n" + dump());
            step();
        }
    }

    /// One thing happens. False: there is none.
    bool step() {
        const nanoseconds next = events_.next_time();
        if (next == never) return false;
        event* const what = orders_ > 0 ? choose_event() : events_.take();
        if (next > wire_.now()) wire_.set_now(next);
        what->happen(*what);
        ++steps_;
        if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
        for (const auto& holds : invariants_)
            if (!holds()) throw failure("what always holds does not\n" + dump());
        return true;
    }

    /// Of all packets, and when they came: two runs that differ have different ones.
    std::uint64_t trace() const noexcept { return trace_; }

    /// Since it began.
    std::chrono::nanoseconds now() const noexcept { return std::chrono::nanoseconds(wire_.now()); }
    /// How many turns of loops there have been.
    std::uint64_t turns() const noexcept { return turns_; }
    /// How many things have happened.
    std::uint64_t steps() const noexcept { return steps_; }
    /// How many packets have been sent.
    std::uint64_t packets() const noexcept { return wire_.packets(); }

    /// Who decides.
    chooser& choices() noexcept { return choices_; }
    /// The network itself, for tests of it.
    network& wire() noexcept { return wire_; }

    /// What a coroutine takes from one suspension to the next, of its host's time.
    std::chrono::nanoseconds cost_of_a_step = std::chrono::microseconds(1);

    /// The tasks of every host.
    std::string dump() {
        std::ostringstream text;
        text << "at " << wire_.now() / 1'000'000 << " ms\n";
        for (auto& each : hosts_) {
            text << "--- " << each->name_ << (each->context_ ? "" : " (down)") << '\n';
            if (!each->context_) continue;
            const on_machine here(each->machine_);
            each->context_->dump(text);
        }
        return text.str();
    }

private:
    friend class sim::host;

    struct call final : event {
        std::function<void()> what;
        explicit call(std::function<void()> f) : what(std::move(f)) {
            happen = [](event& self) { static_cast<call&>(self).what(); };
        }
    };
    struct later final : event {
        machine& where;
        void (*run)(void*) noexcept;
        void* argument;
        later(machine& on, void (*f)(void*) noexcept, void* with) noexcept
            : where(on), run(f), argument(with) {
            happen = [](event& self) {
                auto& own = static_cast<later&>(self);
                const on_machine here(own.where);
                own.run(own.argument);
            };
        }
    };

    link_options& way(direction one) {
        link_options& found = wire_.link(one.from.machine_.sockets, one.to.machine_.sockets);
        for (const link_options* each : ways_)
            if (each == &found) return found;
        ways_.push_back(&found);
        return found;
    }

    void cut(direction one, bool is) {
        wire_.cut(one.from.machine_.sockets, one.to.machine_.sockets, is);
        if (is) cuts_.emplace_back(&one.from, &one.to);
    }

    void wait(machine& who, nanoseconds until) noexcept override {
        // A process that ends waits for nobody: what it has is closed at once.
        while (!ending_ && !who.changed) {
            const nanoseconds next = events_.next_time();
            if (next == never && until == never)
                detail::fatal("a simulated host waits for what is not going to happen");
            if (next > until) {
                if (until > wire_.now()) wire_.set_now(until);
                return;
            }
            wire_.set_now(next);
            event* const what = events_.take();
            what->happen(*what);
        }
    }

    int call_later(machine& who, nanoseconds after, void (*does)(void*) noexcept,
                   void* argument) noexcept override {
        std::erase_if(laters_, [](const auto& each) { return each->at == never; });  // are over
        laters_.push_back(std::make_unique<later>(who, does, argument));
        events_.plan(*laters_.back(), wire_.now() + after);
        return 0;
    }

    std::vector<address> look_up(const char* name) noexcept override {
        for (const auto& each : hosts_)
            if (each->name_ == name) return each->machine_.sockets.addresses();
        return {};
    }

    /// (What is chosen is what is planned for the earliest time, or something before its time.)
    event* choose_event() {
        const std::vector<event*> all = events_.all();
        const auto n = static_cast<std::uint32_t>(all.size());
        if (n == 1) return events_.take();
        --orders_;
        event& chosen = *all[choices_.choose(n, "order")];
        return &events_.take(chosen);
    }

    void on_packet(nanoseconds when, const packet& what, fate how) override {
        for (const std::uint64_t each :
             {static_cast<std::uint64_t>(when), what.number, what.sequence, what.acknowledgment,
              std::uint64_t{what.payload.size()}, static_cast<std::uint64_t>(how)})
            trace_ = (trace_ ^ each) * 1099511628211u;
    }

    event_queue events_;
    network wire_;
    chooser& choices_;
    std::vector<std::unique_ptr<sim::host>> hosts_;
    std::vector<std::unique_ptr<call>> calls_;
    std::vector<std::unique_ptr<later>> laters_;
    std::vector<link_options*> ways_;
    std::vector<std::pair<sim::host*, sim::host*>> cuts_;
    std::vector<std::function<bool()>> invariants_;
    std::exception_ptr error_;
    std::uint64_t turns_ = 0;
    std::uint64_t steps_ = 0;
    std::uint64_t trace_ = 14695981039346656037u;
    std::size_t unfinished_ = 0;
    unsigned orders_ = 0;
    bool ending_ = false;
};

inline host::host(world& in, std::string name, std::function<void(io_context&)> main)
    : world_(in), name_(std::move(name)), main_(std::move(main)), machine_(in.wire_, in) {
    happen = [](event& self) { static_cast<host&>(self).take_turn(); };
    machine_.sockets.on_change = [](void* self) { static_cast<host*>(self)->wake(); };
    machine_.sockets.on_change_argument = this;
}

inline void host::boot() {
    if (context_) throw failure("the host " + name_ + " is up already");
    const on_machine here(machine_);
    if (!machine_.sockets.powered()) machine_.sockets.power_on();
    context_ = std::make_unique<io_context>(reactor_kind::poll);
    if (main_) main_(*context_);
    wake();
}

template <class Rep, class Period>
void host::pause(std::chrono::duration<Rep, Period> time) {
    stopped_until_ = world_.wire_.now() + std::chrono::nanoseconds(time).count();
}

inline host::unfinished::unfinished(world& of) noexcept : of_(&of) { ++of.unfinished_; }
inline host::unfinished::~unfinished() {
    if (of_) --of_->unfinished_;
}

inline void host::wake() {
    machine_.changed = true;
    if (!in_turn_ && context_) plan_turn(world_.wire_.now());
}

inline void host::plan_turn(nanoseconds when) {
    if (when < stopped_until_) when = stopped_until_;
    if (at == never || when < at) world_.events_.plan(*this, when);
}

/// One turn of its loop; the next one follows when this one's work has taken its time, or at once
/// if something has happened meanwhile, or when the earliest limit is over.
inline void host::take_turn() {
    if (!context_) return;
    if (world_.wire_.now() < stopped_until_) return plan_turn(stopped_until_);
    const on_machine here(machine_);
    in_turn_ = true;
    machine_.changed = false;
    std::size_t resumed = 0;
    try {
        resumed = context_->run_for(std::chrono::nanoseconds(0));
    } catch (...) {
        world_.error_ = std::current_exception();
    }
    in_turn_ = false;
    ++world_.turns_;
    if (!context_) return;
    if (resumed > 0 || machine_.changed)
        return plan_turn(world_.wire_.now() +
                         static_cast<nanoseconds>(resumed) * world_.cost_of_a_step.count());
    if (const auto next = context_->next_deadline())
        plan_turn(machine_.world_time(std::chrono::nanoseconds(next->time_since_epoch()).count()));
}

}  // namespace curfew::sim
