// Lines with curfew, on any reactor; with `--limit cancel`, a limit on each. `--what loop` takes
// them all at once, and does the same with each of them: what is left is what a line costs.

#include "lines.hpp"
#include "reactor_option.hpp"

#include <chrono>
#include <utility>

#include <curfew/curfew.hpp>

using namespace curfew;
using namespace std::chrono_literals;

namespace {

template <bool Limited>
auto next_line(buffered<tcp::socket>& in) {
    if constexpr (Limited)
        return with_timeout(in.read_line(bench::longest_line), 30s);
    else
        return in.read_line(bench::longest_line);
}

template <bool Limited>
task<> read(tcp::socket socket, int peer, bench::lines_meter& meter) {
    buffered in(std::move(socket));
    for (unsigned long batch = 0; batch < meter.batches(); ++batch) {
        meter.send_to(peer);
        for (unsigned long i = 0; i < meter.batch(); ++i) {
            const auto [ec, line] = co_await next_line<Limited>(in);
            if (ec) [[unlikely]]
                bench::fail("read_line", ec.message());
            meter.one_read(line);
        }
        meter.batch_read();
    }
}

task<> loop_alone(tcp::socket socket, int peer, bench::lines_meter& meter) {
    buffered in(std::move(socket));
    for (unsigned long batch = 0; batch < meter.batches(); ++batch) {
        meter.send_to(peer);
        const auto [ec, text] = co_await in.peek(meter.text().size());
        if (ec) bench::fail("peek", ec.message());
        for (const std::string_view line : meter.lines()) meter.one_read(line);
        in.consume(text.size());
        meter.batch_read();
    }
}

}  // namespace

int main(int argc, char** argv) {
    bench::arguments arguments(argc, argv, {LINES_OPTIONS, "--limit", "--what", "--reactor"});
    bench::lines_meter meter(arguments);
    io_context ctx(reactor_of(arguments));
    const auto [client, server] = echo::connect_all(1).front();
    auto socket = tcp::socket::adopt(ctx, server).value();
    if (arguments.choice("--what", {"lines", "loop"}) == "loop")
        ctx.spawn(loop_alone(std::move(socket), client, meter));
    else if (arguments.choice("--limit", {"none", "cancel"}) == "cancel")
        ctx.spawn(read<true>(std::move(socket), client, meter));
    else
        ctx.spawn(read<false>(std::move(socket), client, meter));
    ctx.run();
    meter.report();
}
