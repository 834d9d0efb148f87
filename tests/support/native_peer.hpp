// A peer that is a process of the machine's own system, whatever system the tests are built for:
// under Wine, whose sockets often read a reset as the end of the stream, it tells what was on the
// wire. with_native_peer starts it; examples/close_report.cpp is what it is and says what it is
// told.
#pragma once

#include <doctest/doctest.h>

#include <cstdint>
#include <cstdlib>
#include <string>

#include <curfew/curfew.hpp>

#include "peer.hpp"

namespace test {

class native_peer {
public:
    /// Whether there is one.
    static bool available() {
        const char* const port = std::getenv(variable);
        return port && *port;
    }

    native_peer() : control_(blocking_connect(endpoint())) {
        REQUIRE(control_.send("control\n") == 0);
    }

    static curfew::ip::endpoint endpoint() {
        REQUIRE(available());
        return {curfew::ip::address::loopback_v4(),
                static_cast<std::uint16_t>(std::atoi(std::getenv(variable)))};
    }

    enum class reading { at_once, when_told };

    /// A connection whose bytes the peer reads until it ends.
    curfew::task<curfew::tcp::socket> connect(curfew::io_context& ctx,
                                              reading when = reading::at_once) {
        // Nobody else has asked the same peer about it: not in this process, nor in one before.
        static const auto run = curfew::clock::now().time_since_epoch().count();
        static int connections = 0;
        name_ = "test-" + std::to_string(run) + '-' + std::to_string(++connections);
        curfew::tcp::socket socket(ctx);
        (co_await socket.connect(endpoint())).value();
        const char* const what = when == reading::at_once ? " read\n" : " hold\n";
        (co_await write_all(socket, name_ + what)).value();
        co_return socket;
    }

    /// Has the peer read what came on the latest connection. Blocks, as does `outcome`.
    void go() { CHECK(ask("go") == "ok"); }

    /// What became of the latest connection: "end of stream after 7 bytes", or "reset", or "nothing
    /// for 3 s" instead.
    std::string outcome() { return ask("what"); }

private:
    static constexpr const char* variable = "CURFEW_TEST_NATIVE_PEER";

    std::string ask(const std::string& what) {
        REQUIRE(control_.send(what + ' ' + name_ + '\n') == 0);
        for (std::string line;;) {
            const auto got = control_.receive(1);
            REQUIRE_FALSE(got.bytes.empty());
            if (got.bytes == "\n") return line;
            line += got.bytes;
        }
    }

    blocking_socket control_;
    std::string name_;
};

}  // namespace test
