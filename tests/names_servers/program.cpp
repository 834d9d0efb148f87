// What check.sh asks of name servers, in a program: one thing a run, as its arguments have it.
#include <curfew/curfew.hpp>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

using namespace curfew;
using namespace std::chrono_literals;

namespace {

using arguments = std::vector<std::string_view>;
using endpoints = std::vector<ip::endpoint>;

/// Prints the addresses, or the error.
task<> addresses(arguments of) {
    resolve_options options;
    if (of.size() > 1) options.family = of[1] == "v4" ? ip::family::v4 : ip::family::v6;
    const auto [ec, found] = co_await resolve(of[0], 0, options);
    if (ec) std::printf("%s\n", ec.message().c_str());
    for (const ip::endpoint& each : found) std::printf("%s\n", each.address().to_string().c_str());
}

/// To the host, or to one of the addresses (text:port); prints what became of it.
task<> connects(arguments of) {
    std::vector<tcp::connect_failure> failures;
    const tcp::connect_options options{.failures = &failures};
    endpoints to;
    for (const std::string_view text : of) {
        const auto [no_address, address] = ip::endpoint::parse(text);
        if (!no_address) to.push_back(address);
    }
    const auto limit = std::chrono::milliseconds(of[0].starts_with("holes") ? 600 : 30'000);
    auto connecting = to.empty() ? tcp::connect(of[0], of[1], options) : tcp::connect(to, options);
    auto [ec, socket] = co_await with_timeout(std::move(connecting), limit);
    for (const auto& [at, error] : failures)
        std::printf("%s: %s\n", at.to_string().c_str(), error.message().c_str());
    if (ec)
        std::printf("no connection: %s\n", ec.message().c_str());
    else
        std::printf("connected to %s\n", socket.remote_endpoint().to_string().c_str());
}

/// Begins eight look-ups of a host whose name server is silent, then thousands of another, and
/// prints how many of each had ended when the latter had. Then the program ends, while eight hang.
task<> crowd(arguments of) {
    io_context& ctx = this_context();
    const std::string silent(of[0]), good(of[1]);
    std::vector<join_handle<result<endpoints>>> hanging, others;
    for (int i = 0; i < 8; ++i)
        hanging.push_back(ctx.spawn(resolve(std::to_string(i) + '.' + silent, 80)));
    co_await sleep_for(50ms);  // most of them have begun
    for (int i = 0; i < 3'000; ++i) others.push_back(ctx.spawn(resolve(good, 80)));
    int found = 0, hang = 0;
    for (auto& each : others) {
        const auto [ec, joined] = co_await each;
        found += !ec && joined.size() == 2;
    }
    for (auto& each : hanging) hang += !each.done();
    std::printf("%d found, %d hang\n", found, hang);
}

/// The limit expires, and the program ends.
task<> limited(arguments of) {
    const auto [ec, found] = co_await with_timeout(resolve(of[0], 80), 100ms);
    std::printf("%s\n", ec.message().c_str());
}

/// In the middle of a look-up that is awaited.
task<> exits(arguments of) {
    const auto looking_up = this_context().spawn(resolve(of[0], 80));
    co_await sleep_for(100ms);
    std::printf("exit\n");
    std::exit(0);
}

}  // namespace

int main(int argc, char** argv) {
    if (argc < 3) return 2;
    const std::string_view what = argv[1];
    const arguments of(argv + 2, argv + argc);
    io_context ctx;
    if (what == "addresses") ctx.block_on(addresses(of));
    if (what == "connect") ctx.block_on(connects(of));
    if (what == "crowd") ctx.block_on(crowd(of));
    if (what == "limited") ctx.block_on(limited(of));
    if (what == "exit") ctx.block_on(exits(of));
}
