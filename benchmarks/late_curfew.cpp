// How late limits fire that expire: a thousand, spread over a second, while nothing else happens.
// It fails if one of them fires early.

#include "reactor_option.hpp"

#include <algorithm>
#include <chrono>
#include <vector>

using namespace curfew;
using namespace std::chrono_literals;

namespace {

using real_clock = std::chrono::steady_clock;

task<> expire(event& never, std::chrono::microseconds limit, std::vector<double>& late) {
    const auto due = real_clock::now() + limit;
    auto [ec] = co_await with_timeout(never.wait(), limit);
    const std::chrono::duration<double, std::micro> by = real_clock::now() - due;
    if (ec != errc::timed_out) bench::fail("a limit", ec.message());
    if (by.count() < 0) bench::fail("a limit", "fired early");
    late.push_back(by.count());
}

}  // namespace

int main(int argc, char** argv) {
    bench::arguments arguments(argc, argv, {"--limits", "--reactor"});
    const unsigned long count = arguments.number("--limits", 1000);
    io_context ctx(reactor_of(arguments));
    event never;
    std::vector<double> late;
    for (unsigned long i = 0; i < count; ++i)
        ctx.spawn(expire(never, std::chrono::microseconds(1000 + 997 * i % 1'000'000), late));
    ctx.run();
    std::sort(late.begin(), late.end());
    const auto quantile = [&](double part) {
        return late[static_cast<std::size_t>(part * static_cast<double>(late.size() - 1))];
    };
    std::printf("limits=%lu p50_us=%.0f p99_us=%.0f max_us=%.0f\n", count, quantile(0.5),
                quantile(0.99), late.back());
}
