// Connects to a host by its name: to whichever of its addresses answers first.
//
//   happy_eyeballs [--limit MS] HOST PORT
//
//   happy_eyeballs example.org https
//
// `tcp::connect` looks the name up and goes through the addresses as RFC 8305 has it: an attempt
// gets a head start of 250 ms, or until it has failed, and then the next one begins beside it. The
// first connection wins; the attempts that are left are cancelled, and their sockets closed. One
// limit (10 s) lies around it all.
//
// It prints which addresses failed, and which one won. It ends with 0 if there is a connection.
#include <curfew/curfew.hpp>

#include <charconv>
#include <cstdio>
#include <string_view>
#include <system_error>
#include <vector>

using namespace curfew;
using namespace std::chrono_literals;

namespace {

/// True if there is a connection.
task<bool> run(std::string_view host, std::string_view port, std::chrono::milliseconds limit) {
    std::vector<tcp::connect_failure> failures;
    auto [ec, socket] =
        co_await with_timeout(tcp::connect(host, port, {.failures = &failures}), limit);
    for (const auto& [to, error] : failures)
        std::printf("%s: %s\n", to.to_string().c_str(), error.message().c_str());
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
    if (!understood || arguments.size() != 2) {
        std::fprintf(stderr, "usage: %s [--limit MS] HOST PORT\n", argv[0]);
        return 2;
    }

    return ctx.block_on(run(arguments[0], arguments[1], limit)) ? 0 : 1;
}
