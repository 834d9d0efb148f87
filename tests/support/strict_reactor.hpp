// One of the library's reactors, between which and the loop stands somebody who sees to it that
// both keep what reactor.hpp says.
#pragma once

#include <doctest/doctest.h>

#include <memory>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <curfew/curfew.hpp>

#include "support/reactors.hpp"

namespace test {

class strict_reactor final : public curfew::reactor {
public:
    explicit strict_reactor(curfew::reactor_kind kind)
        : reactor(test::make_reactor(kind)->initially_worth_trying() ? tries::first : tries::never),
          inner_(test::make_reactor(kind)) {}

    std::string_view name() const noexcept override { return "strict"; }
    bool start(curfew::operation& op) noexcept override {
        const call here(*this);
        const bool reads = op.waits_for(curfew::readiness::readable);
        const bool writes = op.waits_for(curfew::readiness::writable);
        keeps(op.progress == curfew::operation::state::pending);
        keeps(op.socket->is_open() || op.kind == curfew::operation_kind::connect);
        keeps(!reads || !op.socket->reader || op.socket->reader == &op);
        keeps(!writes || !op.socket->writer || op.socket->writer == &op);
        keeps(!gathering_);
        const bool complete = inner_->start(op);
        keeps(complete == (op.progress == curfew::operation::state::complete));
        return complete;
    }
    void cancel(curfew::operation& op, curfew::completions& done) noexcept override {
        const call here(*this);
        is_pending(op);
        keeps(op.reason != curfew::outcome::success);
        inner_->cancel(op, done);
    }
    bool complete_if_ready(curfew::operation& op, curfew::completions& done) noexcept override {
        const call here(*this);
        is_pending(op);
        const bool complete = inner_->complete_if_ready(op, done);
        keeps(!complete || op.progress == curfew::operation::state::complete);
        return complete;
    }
    void close(curfew::socket_state& socket, curfew::close_mode how,
               curfew::completions& done) noexcept override {
        const call here(*this);
        inner_->close(socket, how, done);
        is_closed(socket);
    }
    void release(curfew::socket_state& socket, curfew::completions& done) noexcept override {
        const call here(*this);
        inner_->release(socket, done);
        is_closed(socket);
    }
    void begin_closes() noexcept override {
        const call here(*this);
        keeps(!std::exchange(gathering_, true));
        inner_->begin_closes();
    }
    void end_closes(curfew::completions& done) noexcept override {
        const call here(*this);
        keeps(std::exchange(gathering_, false));
        inner_->end_closes(done);
    }
    int wait(std::chrono::nanoseconds time, curfew::completions& done) noexcept override {
        const call here(*this);
        keeps(!gathering_);
        return inner_->wait(time, done);
    }
    void wake() noexcept override { inner_->wake(); }
    bool settle(curfew::completions& done) noexcept override {
        const call here(*this);
        const bool settled = inner_->settle(done);
        settled_in_ = std::this_thread::get_id();
        return settled;
    }
    void unsettle(curfew::completions& done) noexcept override {
        const call here(*this);
        inner_->unsettle(done);
        settled_in_ = {};
    }

private:
    static void keeps(bool rule) noexcept { CHECK(rule); }

    static void is_pending(const curfew::operation& op) noexcept {
        keeps(op.progress == curfew::operation::state::pending);
        keeps(op.socket->reader == &op || op.socket->writer == &op);
    }
    static void is_closed(const curfew::socket_state& socket) noexcept {
        keeps(!socket.is_open());
        for (const curfew::operation* each : {socket.reader, socket.writer})
            keeps(!each || (each->progress == curfew::operation::state::pending &&
                            each->reason != curfew::outcome::success));
    }

    /// Calls come one at a time, and from one thread while that is settled. (The reactors on
    /// readiness calls may start and close what they have delivered themselves.)
    class call {
    public:
        explicit call(strict_reactor& of) noexcept : of_(of), outer_(of.thread_) {
            const auto here = std::this_thread::get_id();
            keeps(outer_ == std::thread::id() || outer_ == here);
            keeps(of.settled_in_ == std::thread::id() || of.settled_in_ == here);
            of.thread_ = here;
        }
        ~call() { of_.thread_ = outer_; }
        call(const call&) = delete;
        call& operator=(const call&) = delete;

    private:
        strict_reactor& of_;
        std::thread::id outer_;
    };

    std::unique_ptr<curfew::reactor> inner_;
    bool gathering_ = false;
    std::thread::id thread_;      // that of the call that is under way
    std::thread::id settled_in_;  // that in which the loop has settled
};

}  // namespace test
