// A peer that does not answer a connection that is asked for.
#pragma once

#include <list>

#include <curfew/curfew.hpp>

#include "loop.hpp"

namespace test {

/// Somebody who listens and whose queue is full, so that connects to it stay pending.
class full_listener {
public:
    explicit full_listener(io_context& ctx) : acceptor_(ctx) {
        acceptor_.listen(any_port(), {.backlog = 0}).value();
        for (int i = 0; i < 6; ++i) {
            sockets_.emplace_back(ctx);
            connecting_.push_back(ctx.spawn(connect_to(sockets_.back(), endpoint())));
        }
    }
    ip::endpoint endpoint() const { return acceptor_.local_endpoint(); }

private:
    static task<result<>> connect_to(tcp::socket& socket, ip::endpoint to) {
        co_return co_await socket.connect(to);
    }

    tcp::acceptor acceptor_;
    std::list<tcp::socket> sockets_;
    std::list<join_handle<result<>>> connecting_;
};

}  // namespace test
