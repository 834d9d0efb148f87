// How fast a TCP connection sends, and how long it waits for an answer.
#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>

#include "../../config.hpp"
#include "events.hpp"
#include "tcp_parameters.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew::sim {

/// The time-out of retransmission (RFC 6298, with the numbers of Linux). One segment at a time is
/// measured, and never one that has been sent again.
class round_trip {
public:
    nanoseconds timeout() const noexcept { return timeout_; }

    void begin(const tcp_parameters& with, nanoseconds now) noexcept {
        timeout_ = with.initial_timeout;
        timed_from_ = now;
    }

    /// What is at `position` leaves for the first time.
    void sent(std::uint64_t position, nanoseconds now) noexcept {
        if (timed_from_ != never) return;
        timed_from_ = now;
        timed_position_ = position;
    }

    /// All before `position` has arrived.
    void acknowledged(std::uint64_t position, const tcp_parameters& with,
                      nanoseconds now) noexcept {
        if (timed_from_ == never || position <= timed_position_) return;
        measure(now - std::exchange(timed_from_, never), with);
    }

    /// Something is sent again: nobody could say which of the two an answer is for.
    void forget() noexcept { timed_from_ = never; }

    void back_off(const tcp_parameters& with) noexcept {
        forget();
        timeout_ = std::min(2 * timeout_, with.most_timeout);
    }
    void limit(nanoseconds most) noexcept { timeout_ = std::min(timeout_, most); }

private:
    void measure(nanoseconds time, const tcp_parameters& with) noexcept {
        if (smoothed_ == 0) {
            smoothed_ = time;
            deviation_ = time / 2;
        } else {
            const nanoseconds off = smoothed_ > time ? smoothed_ - time : time - smoothed_;
            deviation_ += (off - deviation_) / 4;
            smoothed_ += (time - smoothed_) / 8;
        }
        // (Linux has the least time-out for the deviation, and not for the sum.)
        timeout_ =
            std::min(smoothed_ + std::max(4 * deviation_, with.least_timeout), with.most_timeout);
    }

    nanoseconds timeout_ = second;
    nanoseconds smoothed_ = 0;
    nanoseconds deviation_ = 0;
    nanoseconds timed_from_ = never;
    std::uint64_t timed_position_ = 0;
};

/// Slow start, congestion avoidance and fast recovery (RFC 5681 and 6582).
class congestion {
public:
    /// What may be on its way, in bytes.
    std::uint64_t window() const noexcept { return window_; }

    void begin(std::uint32_t segments, std::uint32_t mss) noexcept {
        window_ = std::uint64_t{segments} * mss;
    }

    /// The same acknowledgment once more. True: what follows it is lost, and to be sent again now.
    bool repeated(std::uint64_t una, std::uint64_t next, std::uint32_t mss) noexcept {
        if (++repeated_ != 3 || recovering_) return false;
        recovering_ = true;
        recover_until_ = next;
        slow_start_until_ = window_ = half_of(next - una, mss);
        return true;
    }

    /// A new one, for `acked` bytes. True: the next that was lost is to be sent again now.
    bool acknowledged(std::uint64_t upto, std::uint64_t acked, std::uint32_t mss) noexcept {
        if (recovering_ && upto < recover_until_) return true;
        recovering_ = false;
        repeated_ = 0;
        if (window_ < slow_start_until_)
            window_ += std::min<std::uint64_t>(acked, 2u * mss);
        else
            window_ += std::max<std::uint64_t>(1, std::uint64_t{mss} * mss / window_);
        return false;
    }

    /// Nothing has come for the time-out.
    void timed_out(std::uint64_t on_its_way, std::uint32_t mss) noexcept {
        slow_start_until_ = half_of(on_its_way, mss);
        window_ = mss;
        recovering_ = false;
        repeated_ = 0;
    }

private:
    static std::uint64_t half_of(std::uint64_t on_its_way, std::uint32_t mss) noexcept {
        return std::max<std::uint64_t>(on_its_way / 2, 2u * mss);
    }

    std::uint64_t window_ = 0;
    std::uint64_t slow_start_until_ = std::uint64_t{1} << 60;
    std::uint64_t recover_until_ = 0;
    int repeated_ = 0;
    bool recovering_ = false;
};

}  // namespace curfew::sim
