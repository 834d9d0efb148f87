// Remote calls to a server that cannot be relied on: a pool of connections, retries, one deadline.
//
//   rpc_pool [CALLS [SEED]]                    both in one process: 400 calls, seed 1
//   rpc_pool serve PORT [SEED]                 the server; try it with nc: "1 square 12"
//   rpc_pool call HOST:PORT [CALLS [SEED]]     the client
//
// On purpose the server answers too late, hangs up, or talks nonsense now and then; the seed says
// when. What the client does about it, from the inside out:
//   - A try has a limit. A connection on which it failed may still bring the answer to an old
//     question, so it is closed (on_timeout::close) and never goes back into the pool.
//   - What failed is tried again, after a pause that is drawn from an interval which doubles, so
//     that clients which failed together do not come back together.
//   - One deadline lies around the whole call: waiting for a connection, tries, and pauses.
#include <curfew/curfew.hpp>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <system_error>
#include <tuple>
#include <utility>
#include <vector>

using namespace curfew;
using namespace std::chrono_literals;
using std::chrono::microseconds;
using std::chrono::milliseconds;

namespace {

constexpr std::size_t connections = 4;
constexpr std::size_t callers = 16;  // so a call waits for a connection, too
constexpr milliseconds try_limit = 60ms;
constexpr milliseconds call_limit = 300ms;
constexpr microseconds first_pause = 5ms;
constexpr microseconds longest_pause = 80ms;

template <class Number>
bool parse(std::string_view text, Number& number) {
    const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), number);
    return ec == std::errc() && end == text.data() + text.size();
}

// --- Lines: a question is "ID square N", its answer "ID N*N" ---

constexpr std::size_t longest_line = 100;

/// A connection, and what has been read from it but is not yet a whole line.
struct line_stream {
    tcp::socket socket;
    std::string inbox;
};

/// The next line, without its end.
task<result<std::string>> read_line(line_stream& from) {
    for (;;) {
        if (const auto end = from.inbox.find('\n'); end != std::string::npos) {
            std::string line = from.inbox.substr(0, end);
            from.inbox.erase(0, end + 1);
            co_return line;
        }
        if (from.inbox.size() > longest_line)
            co_return std::make_error_code(std::errc::message_size);
        std::array<char, 256> buffer;
        auto [ec, n] = co_await from.socket.read_some(buffer);
        if (ec) co_return ec;
        from.inbox.append(buffer.data(), n);
    }
}

std::string answer_to(std::string_view question) {
    const std::string_view verb = " square ";
    const auto at = question.find(verb);
    std::uint32_t number = 0;
    if (at == question.npos || !parse(question.substr(at + verb.size()), number)) return "what?\n";
    return std::string(question.substr(0, at)) + ' ' +
           std::to_string(std::uint64_t{number} * number) + '\n';
}

// --- The server ---

class flaky_server {
public:
    flaky_server(io_context& ctx, ip::endpoint at, std::uint32_t seed)
        : acceptor_(ctx), random_(seed) {
        acceptor_.listen(at).value();
        std::printf("listening on %s\n", address().to_string().c_str());
        std::fflush(stdout);
    }

    ip::endpoint address() const { return acceptor_.local_endpoint(); }

    /// Serves until it is cancelled.
    task<> run() {
        task_group clients(on_error::ignore);
        for (;;) {
            auto [ec, socket] = co_await acceptor_.accept();
            if (ec) break;
            clients.spawn(serve({std::move(socket), {}}));
        }
        std::ignore = co_await clients.join();  // they are cancelled, too
    }

private:
    task<> serve(line_stream client) {
        for (;;) {
            auto [ec, question] = co_await read_line(client);
            if (ec) co_return;
            std::string answer = answer_to(question);
            switch (mood_(random_)) {
            case 0:
                break;
            case 1:
                co_await sleep_for(2 * try_limit);
                break;  // late, but right
            case 2:
                co_return;
            case 3:
                answer = "ceci n'est pas une reponse\n";
                break;
            }
            auto [write_error, sent] =
                co_await with_timeout(write_all(client.socket, answer), 1s, on_timeout::close);
            if (write_error) co_return;
        }
    }

    tcp::acceptor acceptor_;
    std::minstd_rand random_;
    std::discrete_distribution<> mood_{70, 10, 10, 10};
};

// --- The client ---

class client {
public:
    client(io_context& ctx, ip::endpoint server, std::uint32_t seed)
        : ctx_(ctx), server_(server), random_(seed) {}

    /// The square of a number, if it can be had in time: `timed_out` if not.
    task<result<std::uint64_t>> square(std::uint32_t number) {
        co_return co_await with_deadline(persist(number), clock::now() + call_limit,
                                         on_timeout::close);
    }

    unsigned tries() const { return tries_; }

private:
    /// Tries until there is an answer, or the caller's time is up.
    task<result<std::uint64_t>> persist(std::uint32_t number) {
        for (auto longest = first_pause;; longest = std::min(2 * longest, longest_pause)) {
            auto [ec, answer] = co_await try_once(number);
            if (!ec || ec == errc::canceled) co_return {ec, answer};
            const microseconds pause(
                std::uniform_int_distribution(microseconds::rep{0}, longest.count())(random_));
            if (auto [cut_short] = co_await sleep_for(pause); cut_short) co_return cut_short;
        }
    }

    task<result<std::uint64_t>> try_once(std::uint32_t number) {
        auto [ec] = co_await slots_.acquire();
        if (ec) co_return ec;
        const permit slot(slots_);
        line_stream server = take_connection();
        auto answer = co_await with_timeout(ask(server, number), try_limit, on_timeout::close);
        if (answer.ok()) idle_.push_back(std::move(server));  // any other one closes here
        co_return answer;
    }

    /// One question and its answer. After an error the stream is in no known state.
    task<result<std::uint64_t>> ask(line_stream& server, std::uint32_t number) {
        const std::string id = std::to_string(++tries_);
        if (!server.socket.is_open()) {
            if (auto [ec] = co_await server.socket.connect(server_); ec) co_return ec;
            server.socket.no_delay(true);
        }
        const std::string question = id + " square " + std::to_string(number) + '\n';
        auto [write_error, sent] = co_await write_all(server.socket, question);
        if (write_error) co_return write_error;

        auto [ec, line] = co_await read_line(server);
        if (ec) co_return ec;
        const std::string_view text = line;
        std::uint64_t value = 0;
        if (!text.starts_with(id + ' ') || !parse(text.substr(id.size() + 1), value))
            co_return std::make_error_code(std::errc::bad_message);
        co_return value;
    }

    /// The one that was used last, or one that is yet to be connected.
    line_stream take_connection() {
        if (idle_.empty()) return {tcp::socket(ctx_), {}};
        line_stream last = std::move(idle_.back());
        idle_.pop_back();
        return last;
    }

    io_context& ctx_;
    const ip::endpoint server_;
    semaphore slots_{connections};
    std::vector<line_stream> idle_;
    std::minstd_rand random_;
    unsigned tries_ = 0;
};

// --- Many calls, and what became of them ---

struct summary {
    std::vector<double> milliseconds;  // of the calls that were answered
    unsigned timed_out = 0;
    unsigned failed = 0;  // and it was not the time
};

task<> caller(client& with, std::uint32_t& next, std::uint32_t count, summary& into) {
    while (next < count) {
        const std::uint32_t number = next++;
        const auto begin = clock::now();
        auto [ec, value] = co_await with.square(number);
        const std::chrono::duration<double, std::milli> taken = clock::now() - begin;
        if (ec == errc::timed_out)
            ++into.timed_out;
        else if (ec || value != std::uint64_t{number} * number)
            ++into.failed;
        else
            into.milliseconds.push_back(taken.count());
    }
}

/// True if calls were answered, and none failed but for want of time.
task<bool> call_many(io_context& ctx, ip::endpoint server, std::uint32_t count,
                     std::uint32_t seed) {
    client with(ctx, server, seed);
    summary all;
    std::uint32_t next = 0;
    task_group group;
    for (std::size_t i = 0; i < callers; ++i) group.spawn(caller(with, next, count, all));
    auto [ec] = co_await group.join();
    if (ec) co_return false;

    auto& times = all.milliseconds;
    std::sort(times.begin(), times.end());
    std::printf("%u calls, %zu answered, %u timed out, %u failed; %u tries\n", count, times.size(),
                all.timed_out, all.failed, with.tries());
    if (!times.empty())
        std::printf("answered after: p50 %.2f ms, p99 %.2f ms, at most %.2f ms\n",
                    times[times.size() / 2], times[times.size() * 99 / 100], times.back());
    co_return !times.empty() && all.failed == 0;
}

task<bool> both(io_context& ctx, std::uint32_t count, std::uint32_t seed) {
    flaky_server server(ctx, ip::endpoint::parse("127.0.0.1:0").value(), seed);
    auto [index, results] =
        co_await when_any(call_many(ctx, server.address(), count, seed), server.run());
    co_return std::get<0>(results);
}

/// "7000" and "127.0.0.1:7000" are the same.
std::optional<ip::endpoint> parse_endpoint(std::string text) {
    if (text.find(':') == text.npos) text = "127.0.0.1:" + text;
    const auto [ec, endpoint] = ip::endpoint::parse(text);
    return ec ? std::nullopt : std::optional(endpoint);
}

}  // namespace

int main(int argc, char** argv) {
    io_context ctx;
    const std::string_view mode = argc > 1 ? argv[1] : "";
    const bool one_side = mode == "serve" || mode == "call";
    bool understood = !one_side || argc > 2;
    std::optional<ip::endpoint> address;
    if (one_side && understood) {
        address = parse_endpoint(argv[2]);
        understood = address.has_value();
    }
    std::vector<std::uint32_t> numbers;
    for (int i = one_side ? 3 : 1; i < argc; ++i)
        understood = parse(argv[i], numbers.emplace_back()) && understood;
    const std::size_t seed_at = mode == "serve" ? 0 : 1;
    if (!understood || numbers.size() > seed_at + 1) {
        std::fprintf(stderr,
                     "usage: %s [CALLS [SEED]]\n"
                     "       %s serve PORT [SEED]\n"
                     "       %s call HOST:PORT [CALLS [SEED]]\n",
                     argv[0], argv[0], argv[0]);
        return 2;
    }
    const std::uint32_t seed = numbers.size() > seed_at ? numbers[seed_at] : 1;
    const std::uint32_t count = seed_at > 0 && !numbers.empty() ? numbers[0] : 400;

    if (mode == "serve") {
        flaky_server server(ctx, *address, seed);
        ctx.block_on(server.run());
        return 0;
    }
    return ctx.block_on(mode == "call" ? call_many(ctx, *address, count, seed)
                                       : both(ctx, count, seed))
               ? 0
               : 1;
}
