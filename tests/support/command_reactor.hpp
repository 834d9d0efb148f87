// A reactor that completes operations on command: for what no real one does on demand. Like a
// proactor, it keeps an operation pending after it was asked to cancel it, and it sees every call.
#pragma once

#include <algorithm>
#include <functional>
#include <string_view>
#include <thread>
#include <vector>

#include <curfew/curfew.hpp>

namespace test {

class command_reactor final : public curfew::reactor {
public:
    std::vector<curfew::operation*> pending;
    std::vector<curfew::operation*> cancelled;  // asked to end, not yet reaped
    int starts = 0;
    int waits = 0;
    int closes = 0;
    int cancels = 0;
    bool cancel_at_once = true;  // reap a cancelled operation in the next wait
    /// Called in `wait`, once, to complete what it likes.
    std::function<void(command_reactor&, curfew::completions&)> in_wait;
    /// Decides `start`: true completes the operation at once.
    std::function<bool(curfew::operation&)> on_start;

    std::string_view name() const noexcept override { return "command"; }

    bool start(curfew::operation& op) noexcept override {
        ++starts;
        if (on_start && on_start(op)) return true;
        pending.push_back(&op);
        return false;
    }

    void cancel(curfew::operation& op, curfew::completions&) noexcept override {
        ++cancels;
        cancelled.push_back(&op);
    }

    void close(curfew::socket_state& socket, curfew::close_mode,
               curfew::completions&) noexcept override {
        ++closes;
        socket.handle = curfew::platform::invalid_socket;
        for (curfew::operation* op : {socket.reader, socket.writer}) {
            if (!op) continue;
            if (op->reason == curfew::outcome::success) op->reason = curfew::outcome::closed;
            if (std::find(cancelled.begin(), cancelled.end(), op) == cancelled.end())
                cancelled.push_back(op);
        }
    }

    void release(curfew::socket_state& socket, curfew::completions& done) noexcept override {
        close(socket, curfew::close_mode::graceful, done);
    }

    int wait(std::chrono::nanoseconds time, curfew::completions& done) noexcept override {
        ++waits;
        completed_ = false;
        if (auto now = std::exchange(in_wait, nullptr)) now(*this, done);
        if (cancel_at_once)
            while (!cancelled.empty())
                complete(*cancelled.back(), done, curfew::outcome::canceled, 0);
        else if (time == curfew::platform::unlimited)
            time = std::chrono::milliseconds(1);
        if (!completed_ && time != curfew::platform::unlimited) std::this_thread::sleep_for(time);
        return 0;
    }

    void wake() noexcept override {}

    void complete(curfew::operation& op, curfew::completions& done, curfew::outcome how,
                  std::size_t bytes) {
        std::erase(pending, &op);
        std::erase(cancelled, &op);
        op.transferred += bytes;
        op.finish(how);
        done.push(op);
        completed_ = true;
    }

private:
    bool completed_ = false;
};

/// A socket that is open as far as the command reactor is concerned; the handle is a real one.
inline curfew::tcp::socket open_socket(curfew::io_context& ctx) {
    curfew::tcp::socket socket(ctx);
    socket.open(curfew::ip::family::v4).value();
    return socket;
}

}  // namespace test
