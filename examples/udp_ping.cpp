// Ping over UDP: asks again, ever more patiently, until there is an answer.
//
//   udp_ping                             both in one process; the first datagrams get lost
//   udp_ping serve PORT [COUNT [DROP]]   answers COUNT pings (0: all), but not the first DROP
//   udp_ping ping HOST:PORT [COUNT]      sends COUNT pings (4), each up to 6 times
//
// The limit lies around a whole task, which receives until the right answer comes: answers that are
// not the right one (to an earlier ping, and late) cannot make it longer.
#include <curfew/curfew.hpp>

#include <array>
#include <cstdio>
#include <exception>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

using namespace curfew;
using namespace std::chrono_literals;

namespace {

constexpr unsigned tries = 6;
constexpr std::chrono::milliseconds first_limit = 50ms;  // doubled for each new try

/// "7000" and "127.0.0.1:7000" are the same.
ip::endpoint parse_endpoint(std::string text) {
    if (text.find(':') == text.npos) text = "127.0.0.1:" + text;
    const auto [ec, endpoint] = ip::endpoint::parse(text);
    if (ec) throw std::system_error(ec, text);
    return endpoint;
}

// --- The server ---

udp::socket bind(io_context& ctx, ip::endpoint at, unsigned long drop) {
    udp::socket socket(ctx);
    if (auto [ec] = socket.bind(at); ec)
        throw std::system_error(ec, "binding to " + at.to_string());
    std::printf("listening on %s\n", socket.local_endpoint().to_string().c_str());
    if (drop > 0) std::printf("the first %lu datagrams will be dropped\n", drop);
    std::fflush(stdout);
    return socket;
}

/// Answers "ping N" with "pong N", `count` times. Ends early when it is cancelled.
task<> serve(udp::socket socket, unsigned long count, unsigned long drop) {
    std::array<char, 64> buffer;
    ip::endpoint sender;
    for (unsigned long answered = 0; count == 0 || answered < count;) {
        auto [ec, n] = co_await socket.receive_from(buffer, sender);
        if (ec == std::errc::message_size) continue;  // too long for a ping
        if (ec) co_return;                            // canceled
        const std::string_view text(buffer.data(), n);
        if (!text.starts_with("ping ")) continue;
        if (drop > 0) {
            --drop;
            continue;
        }
        const std::string answer = "pong " + std::string(text.substr(5));
        auto [send_error, sent] = co_await socket.send_to(answer, sender);
        if (!send_error) ++answered;
    }
}

// --- The client ---

task<result<>> receive_answer(udp::socket& socket, std::string_view expected) {
    std::array<char, 64> buffer;
    for (;;) {
        auto [ec, n] = co_await socket.receive(buffer);
        if (ec) co_return ec;
        if (std::string_view(buffer.data(), n) == expected) co_return {};
    }
}

/// True if there was an answer.
task<bool> ping(udp::socket& socket, unsigned long number) {
    const std::string question = "ping " + std::to_string(number);
    const std::string answer = "pong " + std::to_string(number);

    auto limit = first_limit;
    for (unsigned attempt = 1; attempt <= tries; ++attempt, limit *= 2) {
        const auto begin = clock::now();
        auto [send_error, sent] = co_await socket.send(question);
        std::error_code ec = send_error;
        if (!ec) {
            auto [receive_error] = co_await with_timeout(receive_answer(socket, answer), limit);
            ec = receive_error;
        }
        const std::chrono::duration<double, std::milli> taken = clock::now() - begin;

        if (!ec) {
            std::printf("%s: answer after %.2f ms, try %u\n", question.c_str(), taken.count(),
                        attempt);
            co_return true;
        }
        std::printf("%s: no answer in %lld ms (%s)\n", question.c_str(),
                    static_cast<long long>(limit.count()), ec.message().c_str());
        // "Connection refused" comes at once; whoever is not there yet may still come.
        const auto [canceled] = co_await sleep_until(begin + limit);
        if (canceled) break;
    }
    co_return false;
}

/// True if all were answered.
task<bool> ping_all(io_context& ctx, ip::endpoint server, unsigned long count) {
    udp::socket socket(ctx);
    if (auto [ec] = socket.connect(server); ec)
        throw std::system_error(ec, "connecting to " + server.to_string());
    for (unsigned long number = 1; number <= count; ++number)
        if (!co_await ping(socket, number)) co_return false;
    co_return true;
}

task<bool> both(io_context& ctx) {
    auto socket = bind(ctx, parse_endpoint("0"), 2);
    const auto server = socket.local_endpoint();
    auto serving = ctx.spawn(serve(std::move(socket), 0, 2));
    const bool answered = co_await ping_all(ctx, server, 4);
    serving.cancel();
    co_await serving;
    co_return answered;
}

}  // namespace

int main(int argc, char** argv) {
    try {
        const std::string_view mode = argc > 1 ? argv[1] : "both";
        io_context ctx;
        if (mode == "both") return ctx.block_on(both(ctx)) ? 0 : 1;

        if (mode == "serve" && argc >= 3 && argc <= 5) {
            const unsigned long count = argc > 3 ? std::stoul(argv[3]) : 0;
            const unsigned long drop = argc > 4 ? std::stoul(argv[4]) : 0;
            ctx.block_on(serve(bind(ctx, parse_endpoint(argv[2]), drop), count, drop));
            return 0;
        }
        if (mode == "ping" && argc >= 3 && argc <= 4) {
            const auto server = parse_endpoint(argv[2]);
            return ctx.block_on(ping_all(ctx, server, argc > 3 ? std::stoul(argv[3]) : 4)) ? 0 : 1;
        }
        std::fprintf(stderr, "usage: %s [serve PORT [COUNT [DROP]] | ping HOST:PORT [COUNT]]\n",
                     argv[0]);
        return 2;
    } catch (const std::exception& error) {
        std::fprintf(stderr, "%s: %s\n", argv[0], error.what());
        return 1;
    }
}
