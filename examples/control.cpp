// Control: a program that is told by its user, on the same machine, what to do: over a local
// socket, from a terminal or a script.
//
//   control serve PATH [--lines N]      waits at PATH for the user it runs as
//   control PATH [--limit MS]           sends what comes from the standard input, and prints the
//   answers
//
//   control serve /tmp/app.sock &
//   control /tmp/app.sock               and type: who, hello, quit
//   control /tmp/app.sock < commands    or from a file, from a pipe, from nothing
//
// Whoever is connected may say N lines (1,000,000), and is dropped then. The client waits for its
// user no longer than --limit (for ever), and takes no key that it does not send: the shell gets
// the rest.
#include <curfew/curfew.hpp>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

using namespace curfew;
using namespace std::chrono_literals;

namespace {

/// Answers one user, line by line, until that says "quit" or nothing any more.
task<> serve(local::socket socket, long lines) {
    const auto who = socket.peer_credentials();
    buffered<local::socket> peer(std::move(socket));
    for (; lines > 0; --lines) {
        const auto [ec, line] = co_await peer.read_line(1000);
        if (ec || line == "quit") break;
        std::string answer;
        if (line == "who" && who.ok())
            answer = "process " + std::to_string(who.value().process) + " of user " +
                     std::to_string(who.value().user) + "\n";
        else
            answer = "you said " + std::string(line) + "\n";
        // Whoever does not read the answers is not waited for.
        if (!(co_await with_timeout(write_all(peer, answer), 5s, on_timeout::close)).ok()) break;
    }
    std::puts(lines > 0 ? "good bye" : "that is enough");
    std::fflush(stdout);
}

task<> accept_all(io_context& ctx, local::endpoint at, long lines) {
    local::acceptor acceptor(ctx);
    acceptor.listen(at).value();
    std::printf("listening at %s\n", at.to_string().c_str());
    std::fflush(stdout);
    for (;;) {
        auto [ec, peer] = co_await acceptor.accept();
        if (ec) throw std::system_error(ec, "accept");
        ctx.spawn(serve(std::move(peer), lines));
    }
}

/// Until the program is told to end: then the next one can listen there at once.
task<> listen(io_context& ctx, local::endpoint at, long lines) {
    signals interrupts(ctx, {SIGINT, SIGTERM});
    co_await when_any(interrupts.wait(), accept_all(ctx, at, lines));
    ctx.stop();
}

/// From the user to the server, until either has nothing more to say.
task<> send_input(pipe::reader& input, local::socket& server, std::chrono::milliseconds limit) {
    std::vector<char> buffer(16384);
    for (;;) {
        const auto [ec, n] = co_await with_timeout(input.read_some(buffer), limit);
        if (ec == errc::timed_out) std::fputs("nobody has said anything\n", stderr);
        if (ec) break;
        if (!(co_await write_all(server, std::span(buffer).first(n))).ok()) break;
    }
    server.shutdown(shutdown_how::send);
}

task<> print_answers(local::socket& server) {
    std::vector<char> buffer(16384);
    for (;;) {
        const auto [ec, n] = co_await server.read_some(buffer);
        if (ec) break;
        std::fwrite(buffer.data(), 1, n, stdout);
        std::fflush(stdout);
    }
}

task<> talk(io_context& ctx, local::endpoint to, std::chrono::milliseconds limit) {
    auto input = standard_input(ctx).value();
    local::socket server(ctx);
    (co_await server.connect(to)).value();
    // With the last answer it ends, even if the user goes on for ever.
    auto sending = ctx.spawn(send_input(input, server, limit));
    co_await print_answers(server);
    sending.cancel();
    co_await std::move(sending);
}

}  // namespace

int main(int argc, char** argv) {
    try {
        std::vector<std::string_view> words(argv + 1, argv + argc);
        const bool serves = !words.empty() && words[0] == "serve";
        if (serves) words.erase(words.begin());
        const std::string_view option = serves ? "--lines" : "--limit";
        if (words.empty() || words.size() == 2 || words.size() > 3 ||
            (words.size() == 3 && words[1] != option))
            throw std::invalid_argument(
                "control serve PATH [--lines N] | control PATH [--limit MS]");
        const long number = words.size() == 3 ? std::strtol(words[2].data(), nullptr, 10) : 0;
        const local::endpoint at(words[0]);
        io_context ctx;
        if (serves)
            ctx.spawn(listen(ctx, at, number > 0 ? number : 1'000'000));
        else
            ctx.spawn(talk(ctx, at,
                           number > 0 ? std::chrono::milliseconds(number)
                                      : std::chrono::milliseconds(24h)));
        ctx.run();
    } catch (const std::exception& failure) {
        std::fprintf(stderr, "control: %s\n", failure.what());
        return 1;
    }
}
