// Happy eyeballs: connects to the address that answers first, without asking all of them at once.
//
//   happy_eyeballs [--limit MS] ADDRESS...
//
//   happy_eyeballs [2001:db8::1]:80 192.0.2.1:80     what a name stands for, the best one first
//
// As in RFC 8305: an attempt gets a head start of 250 ms, or until it has failed, and then the next
// one begins beside it. The first connection wins; the attempts that are left are cancelled, and
// their sockets closed. One limit (10 s) lies around it all.
//
// It prints what became of each attempt, and when. It ends with 0 if there is a connection.
#include <curfew/curfew.hpp>

#include <charconv>
#include <cstdio>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

using namespace curfew;
using namespace std::chrono_literals;

namespace {

constexpr std::chrono::milliseconds head_start = 250ms;

void log(const ip::endpoint& address, std::string_view what) {
    static const clock::time_point begin = clock::now();
    const std::chrono::duration<double, std::milli> since = clock::now() - begin;
    std::printf("%8.1f ms  %-24s %.*s\n", since.count(), address.to_string().c_str(),
                static_cast<int>(what.size()), what.data());
    std::fflush(stdout);
}

/// What the attempts share.
struct race {
    tcp::socket winner;
    std::error_code last_failure = std::make_error_code(std::errc::invalid_argument);
    task_group attempts{on_error::ignore};
};

task<> attempt(race& all, ip::endpoint to, event& failed) {
    log(to, "connecting");
    tcp::socket socket(this_context());
    auto [ec] = co_await socket.connect(to);
    if (ec == errc::canceled) {
        log(to, "cancelled");
    } else if (ec) {
        log(to, ec.message());
        all.last_failure = ec;
        failed.set();
    } else if (all.winner.is_open()) {
        log(to, "connected, but too late");  // in the same moment as the winner
    } else {
        log(to, "connected");
        all.winner = std::move(socket);
        all.attempts.cancel();
    }
}

/// The first connection to one of the addresses; the error of the last that failed if there is
/// none. Cancellation: no attempt goes on.
task<result<tcp::socket>> connect_to_first(std::span<const ip::endpoint> addresses) {
    std::vector<event> failed(addresses.size());  // before the group, whose children refer to it
    race all;
    for (std::size_t i = 0; i < addresses.size(); ++i) {
        all.attempts.spawn(attempt(all, addresses[i], failed[i]));
        auto [ec] = co_await with_timeout(failed[i].wait(), head_start);
        if (ec == errc::canceled || all.winner.is_open()) break;
    }
    auto [ec] = co_await all.attempts.join();
    if (all.winner.is_open())
        co_return std::move(all.winner);  // also if it came at the last moment
    co_return ec ? ec : all.last_failure;
}

/// True if there is a connection.
task<bool> run(std::span<const ip::endpoint> addresses, std::chrono::milliseconds limit) {
    auto [ec, socket] = co_await with_timeout(connect_to_first(addresses), limit);
    if (ec)
        std::printf("no connection: %s\n", ec.message().c_str());
    else
        std::printf("connected to %s\n", socket.remote_endpoint().to_string().c_str());
    co_return !ec;
}

bool parse(std::string_view text, std::chrono::milliseconds& time) {
    long long count = 0;
    const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), count);
    time = std::chrono::milliseconds(count);
    return ec == std::errc() && end == text.data() + text.size();
}

}  // namespace

int main(int argc, char** argv) {
    io_context ctx;
    std::vector<std::string_view> arguments(argv + 1, argv + argc);
    std::chrono::milliseconds limit = 10s;
    bool understood = true;
    if (arguments.size() >= 2 && arguments[0] == "--limit") {
        understood = parse(arguments[1], limit);
        arguments.erase(arguments.begin(), arguments.begin() + 2);
    }
    std::vector<ip::endpoint> addresses;
    for (const std::string_view text : arguments) {
        const auto [ec, address] = ip::endpoint::parse(text);
        if (ec) understood = false;
        addresses.push_back(address);
    }
    if (!understood || addresses.empty()) {
        std::fprintf(stderr, "usage: %s [--limit MS] ADDRESS:PORT...\n", argv[0]);
        return 2;
    }

    return ctx.block_on(run(addresses, limit)) ? 0 : 1;
}
