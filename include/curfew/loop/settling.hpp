// When a reactor may settle in the thread of its loop (see reactor::settle).
#pragma once

#include <cstdint>

#include "reaping.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew::detail {

/// It may in a run that is to last, once that has lasted a while.
class settling {
public:
    /// Whether an attempt is due.
    bool is_due(const turn_clock& clock) const noexcept { return clock.steps() >= due_; }

    /// An attempt costs two or three microseconds for each operation that is pending, so if the
    /// reactor cannot do it now, the next one is made when twice as many steps are done.
    CURFEW_COLD void settle(reaper& system) noexcept {
        due_ = system.reactor->settle(system.done) ? never : 2 * system.clock.steps();
    }

    /// While it lives the loop may settle in its thread, if the run is to last (the outermost of
    /// such, should one be within the other).
    class lasting_run {
    public:
        lasting_run(settling& of, reaper& system, bool lasts) noexcept
            : of_(lasts && !of.has_lasting_run_ ? &of : nullptr), system_(system) {
            if (!of_) return;
            constexpr std::uint64_t wait = CURFEW_SETTLE_AFTER;
            const std::uint64_t now = system.clock.steps();
            of.due_ = wait < never - now ? now + wait : never;
            of.has_lasting_run_ = true;
        }
        ~lasting_run() {
            if (!of_) return;
            of_->has_lasting_run_ = false;
            of_->due_ = never;
            system_.reactor->unsettle(system_.done);
        }
        lasting_run(const lasting_run&) = delete;
        lasting_run& operator=(const lasting_run&) = delete;

    private:
        settling* of_;
        reaper& system_;
    };

private:
    static constexpr std::uint64_t never = static_cast<std::uint64_t>(-1);

    std::uint64_t due_ = never;  // steps of the clock
    bool has_lasting_run_ = false;
};

}  // namespace curfew::detail
