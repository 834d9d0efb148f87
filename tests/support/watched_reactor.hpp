// A reactor of a program's own: one of the library's, with a log of how the loop waits.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include <curfew/curfew.hpp>

#include "support/reactors.hpp"

namespace test {

class watched_reactor final : public curfew::reactor {
public:
    /// What the loop did, also for who outlives the reactor.
    struct log {
        std::vector<std::chrono::nanoseconds> waits;  // how long each `wait` was asked to take
        std::atomic<bool> waiting{false};             // the loop is in a wait that may block
        std::atomic<int> wakes{0};
        std::size_t starts = 0;  // operations that could not be done at once
        int settled = 0;
        int unsettled = 0;  // after it was settled
        int fail_with = 0;  // the error number of the next wait
        bool keep_waits = true;
        bool takes_wakes_away = false;     // with each close, release and cancel
        std::function<void()> after_wake;  // called at the end of each `wake`, in its thread
        std::function<void()> stall;  // called, once, at the beginning of a wait that may block
    };

    watched_reactor(curfew::reactor_kind kind, std::shared_ptr<log> to)
        : inner_(test::make_reactor(kind)), log_(std::move(to)) {}

    std::string_view name() const noexcept override { return "watched"; }
    bool start(curfew::operation& op) noexcept override {
        ++log_->starts;
        return inner_->start(op);
    }
    void cancel(curfew::operation& op, curfew::completions& done) noexcept override {
        inner_->cancel(op, done);
        look(done);
    }
    void close(curfew::socket_state& socket, curfew::close_mode how,
               curfew::completions& done) noexcept override {
        inner_->close(socket, how, done);
        look(done);
    }
    void release(curfew::socket_state& socket, curfew::completions& done) noexcept override {
        inner_->release(socket, done);
        look(done);
    }
    int wait(std::chrono::nanoseconds time, curfew::completions& done) noexcept override {
        if (log_->keep_waits) log_->waits.push_back(time);
        if (time.count() > 0 && log_->stall) std::exchange(log_->stall, nullptr)();
        if (const int error = std::exchange(log_->fail_with, 0)) return error;
        log_->waiting.store(time.count() > 0);
        const int result = inner_->wait(time, done);
        log_->waiting.store(false);
        return result;
    }
    void wake() noexcept override {
        ++log_->wakes;
        inner_->wake();
        if (log_->after_wake) log_->after_wake();
    }

    bool settle(curfew::completions& done) noexcept override {
        const bool settled = inner_->settle(done);
        log_->settled += settled;
        return settled;
    }
    void unsettle(curfew::completions& done) noexcept override {
        log_->unsettled = log_->settled;
        inner_->unsettle(done);
    }

private:
    void look(curfew::completions& done) noexcept {
        if (log_->takes_wakes_away) inner_->wait(std::chrono::nanoseconds::zero(), done);
    }

    std::unique_ptr<curfew::reactor> inner_;
    std::shared_ptr<log> log_;
};

/// A context on a watched reactor, and what that saw.
struct watched {
    std::shared_ptr<watched_reactor::log> log = std::make_shared<watched_reactor::log>();
    curfew::io_context ctx;
    explicit watched(curfew::reactor_kind kind, bool keep_waits = true)
        : ctx(std::make_unique<watched_reactor>(kind, log)) {
        log->keep_waits = keep_waits;
    }
};

}  // namespace test
