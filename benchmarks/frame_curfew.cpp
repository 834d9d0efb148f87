// A frame's look at the network with curfew: see frame.hpp. `--limit cancel` limits each read.

#include "frame.hpp"
#include "reactor_option.hpp"

#include <array>

using namespace curfew;
using namespace std::chrono_literals;

namespace {

task<> serve(tcp::socket peer, bool limited, bench::frame_meter& meter) {
    std::array<std::byte, 16> bytes;  // more than comes, so that a read tells that it was all
    for (;;) {
        auto [ec, n] = limited ? co_await with_timeout(peer.read_some(bytes), 30s)
                               : co_await peer.read_some(bytes);
        if (ec) co_return;
        meter.received();
    }
}

task<> accept_all(io_context& ctx, bool limited, bench::frame_meter& meter) {
    tcp::acceptor acceptor(ctx);
    acceptor.listen(ip::endpoint::parse("127.0.0.1:0").value()).value();
    for (unsigned long i = 0; i < meter.connections(); ++i) {
        meter.connect(acceptor.local_endpoint().port());
        auto [ec, peer] = co_await acceptor.accept();
        if (ec) bench::fail("accept", ec.message());
        ctx.spawn(serve(std::move(peer), limited, meter));
    }
}

}  // namespace

int main(int argc, char** argv) {
    bench::arguments arguments(argc, argv, {"--connections", "--frames", "--limit", "--reactor"});
    bench::frame_meter meter(arguments);
    io_context ctx(reactor_of(arguments));
    ctx.block_on(accept_all(ctx, arguments.choice("--limit", {"none", "cancel"}) != "none", meter));
    meter.measure([&] { ctx.poll(); });
}
