// How a loop hears from the system what has completed.
#pragma once

#include <utility>

#include "../core/operation.hpp"
#include "../core/turn_clock.hpp"
#include "../platform/std_chrono.hpp"
#include "../platform/std_memory.hpp"
#include "../reactor/reactor.hpp"
#include "../result.hpp"
#include "queues.hpp"
#include "wake_ups.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew::detail {

/// Owns the reactor, and reaps what it delivers.
class reaper {
public:
    static constexpr std::chrono::nanoseconds no_time{0};

    reaper(std::unique_ptr<curfew::reactor> with, queues& to, wake_ups& inbound) noexcept
        : clock(ticks_now()), reactor(std::move(with)), done(to.ready), wake_ups_(inbound) {}

    turn_clock clock;
    const std::unique_ptr<curfew::reactor> reactor;
    completions done;

    CURFEW_HOT void reap(std::chrono::nanoseconds time) {
        if (const int error = reactor->wait(time, done)) [[unlikely]]
            raise(system_error(error), "curfew: the reactor failed");
        clock.waited();
    }

    /// The same, and takes what has come from other threads meanwhile.
    CURFEW_COLD void reap_with_inbox(std::chrono::nanoseconds time) {
        reap(time);
        wake_ups_.take();
    }

    /// A look that does not wait. True: there may be more than it has brought.
    bool look_at_once() {
        done.take_more_may_follow();  // what was said of another look
        reap_with_inbox(no_time);
        return done.take_more_may_follow();
    }

    /// With transfers that go on and on, whose peers keep up, there is always more to come: then it
    /// is the time that ends it.
    bool have_looked_enough(ticks since) noexcept {
        return done.take_transfer_continues() && is_long(since);
    }
    static bool is_long(ticks since) noexcept {
        constexpr ticks longest_look = 250'000;  // ns, of many
        return ticks_now() - since > longest_look;
    }

    /// The system is done: nothing outside refers to the operation's buffers any more when this
    /// returns, so that the frame it is in may be destroyed. It has been asked to end. This holds
    /// because a reactor completes an operation, and takes it from its socket, only when the system
    /// has let go of it (see completions::push), and because nothing else ends the wait: whoever
    /// else completes meanwhile is queued and not resumed.
    void wait_until_system_is_done(const operation& op) {
        while (op.progress == operation::state::pending) reap_with_inbox(platform::unlimited);
    }

    /// The same for all that is pending on a closed socket.
    void wait_until_system_is_done(const socket_state& socket) {
        while (socket.reader || socket.writer) reap_with_inbox(platform::unlimited);
    }

private:
    wake_ups& wake_ups_;
};

}  // namespace curfew::detail
