// Idle connections with curfew, on any reactor: a task for each. The frames of tasks, and what the
// library keeps for them and for sockets, come from its free lists, which take from malloc what
// they lack: so all is counted.

#include "idle.hpp"
#include "reactor_option.hpp"

using namespace curfew;
using namespace std::chrono_literals;

namespace {

task<> serve(tcp::socket peer) {
    bench::idle_buffer buffer;
    for (;;) {
        auto [ec, n] = co_await with_timeout(peer.read_some(buffer), 30s);
        if (ec) co_return;
    }
}

task<> listen(io_context& ctx, bench::idle_meter& meter) {
    tcp::acceptor acceptor(ctx);
    acceptor.listen(ip::endpoint::parse("127.0.0.1:0").value()).value();
    meter.begin(acceptor.local_endpoint().port());
    for (unsigned long i = 0; i < meter.connections(); ++i) {
        auto [ec, peer] = co_await acceptor.accept();
        if (ec) bench::fail("accept", ec.message());
        ctx.spawn(serve(std::move(peer)));
    }
    co_await sleep_for(20ms);  // the last ones begin to wait
    meter.all_wait();
}

}  // namespace

int main(int argc, char** argv) {
    bench::arguments arguments(argc, argv, {"--connections", "--reactor"});
    bench::idle_meter meter(arguments);
    io_context ctx(reactor_of(arguments));
    ctx.spawn(listen(ctx, meter));
    ctx.run();
    meter.report();
}
