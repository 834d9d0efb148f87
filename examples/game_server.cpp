// Game server without a picture: 60 frames a second, and the network gets what is left of each.
//
//   game_server [SECONDS]
//
// Two rounds of so many seconds (5), against bots that run in a second thread: 64 players, and then
// 64 players and one who floods the server with messages. After each round it prints how long
// frames took and what the network needed of them; in the end, what the flood changed for the
// others.
//
// A frame is poll_until(): it ticks, which lets everyone who waits for the next frame go on, and
// then serves the network until the frame is over, asleep while there is nothing to do. It is what
// paces the frames.
//
// What keeps the flood away from the frame, from the first line of defence to the last:
//   - A player is read once a frame, at most 256 bytes: hear(). The rest stays in the buffers of
//     the system until these are full; then TCP stops that player, and nobody else.
//   - Who does not read what it is told is cut off: tell_all().
//   - poll_until() starts nothing new once the frame is over; what is left goes on in the next one.
//     But a coroutine that has been resumed by then is not interrupted. Here it reads 256 bytes and
//     obeys a few lines, or sends one datagram, before it waits again.
// On a busy machine a frame may still take longer, because the system runs something else in the
// midst of it. So what the network needs is counted as processor time of this thread.
//
// The rules: lines over TCP, and over UDP the positions of all, each frame. To have a look, type
// "hello 9999" into nc while it runs.
//   player    hello PORT       who wants to play, and the UDP port for the positions
//             move N X Y       the player's Nth move: where to go from here on, -1 to 1
//             grab             takes the gem, if nobody was faster
//   server    welcome ID PORT  the server's UDP port
//             gem              there is one; until somebody takes it, or it has lain too long
//             taken ID
//             gone
#include <curfew/curfew.hpp>

#include <algorithm>
#include <array>
#include <charconv>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <future>
#include <initializer_list>
#include <limits>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include <time.h>

using namespace curfew;
using namespace std::chrono_literals;
using std::chrono::nanoseconds;

namespace {

constexpr nanoseconds frame_time = 1'000'000'000ns / 60;
constexpr nanoseconds fair_part = 2'500us;  // of a frame, for the network
constexpr std::size_t bots = 64;
constexpr std::size_t most_players = 80;
constexpr std::size_t fair_read = 256;     // bytes of a player in a frame
constexpr std::size_t longest_line = 100;  // bytes, too

// --- Messages ---

/// What is known of a player in each datagram.
struct body {
    std::uint32_t player = 0;
    std::uint32_t last_move = 0;
    float x = 0;
    float y = 0;
};

/// Take what they name off the front of `text`, if it is there.
bool take(std::string_view& text, std::string_view word) {
    if (!text.starts_with(word)) return false;
    text.remove_prefix(word.size());
    return true;
}
bool take(std::string_view& text, std::integral auto& number) {
    const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), number);
    text.remove_prefix(static_cast<std::size_t>(end - text.data()));
    return ec == std::errc();
}

/// True if the line is this word, with numbers after it: `match(line, "move", count, x, y)`.
template <std::integral... Number>
bool match(std::string_view line, std::string_view word, Number&... numbers) {
    return take(line, word) && ((take(line, " ") && take(line, numbers)) && ...) && line.empty();
}

// --- The server ---

struct traffic {
    unsigned long heard = 0;    // lines from players
    unsigned long loudest = 0;  // from the one who said most
    unsigned long told = 0;     // lines to players
    unsigned long states = 0;   // datagrams to players
    unsigned long dropped = 0;  // for which there was no room in the system
};

class server {
public:
    explicit server(io_context& ctx) : acceptor_(ctx), states_(ctx) {
        const auto anywhere = ip::endpoint::parse("127.0.0.1:0").value();
        acceptor_.listen(anywhere).value();
        states_.bind(anywhere).value();
        bodies_.reserve(most_players);  // they stay where they are while they are sent
    }

    ip::endpoint address() const { return acceptor_.local_endpoint(); }
    const traffic& counts() const { return counts_; }

    /// Takes in players until it is cancelled. All of the game's coroutines end with it.
    task<> host() {
        task_group everybody(on_error::ignore);
        everybody.spawn(place_gems());
        for (;;) {
            auto [ec, socket] = co_await acceptor_.accept();
            if (ec) break;
            if (everybody.size() <= most_players) everybody.spawn(attend(std::move(socket)));
        }
        acceptor_.close();                        // who waits in its queue is turned away
        std::ignore = co_await everybody.join();  // they are cancelled, too
    }

    /// The game's time passes: before poll_until(), so that who waits for it goes on there.
    void advance(nanoseconds step) { time_.advance(step); }

    /// The game's own work.
    void simulate(nanoseconds step) {
        const float way = 5.0f * std::chrono::duration<float>(step).count();
        bodies_.clear();
        for (player* each : players_) {
            each->at.x = std::clamp(each->at.x + way * each->toward_x, 0.0f, 100.0f);
            each->at.y = std::clamp(each->at.y + way * each->toward_y, 0.0f, 100.0f);
            bodies_.push_back(each->at);
        }
    }

private:
    struct player {
        explicit player(tcp::socket socket) : stream(std::move(socket), fair_read) {}

        buffered<tcp::socket> stream;
        channel<std::string> outbox{16};
        ip::endpoint screen;  // where the states go
        body at;
        float toward_x = 0;
        float toward_y = 0;
        unsigned long heard = 0;
    };

    /// Everything there is to one player. Limits on the network are on the wire's clock, which goes
    /// on when the game is paused.
    task<> attend(tcp::socket socket) {
        player me(std::move(socket));
        me.stream.next_layer().no_delay(true);
        me.stream.next_layer().receive_buffer_size(16 * 1024);  // who says too much is stopped soon
        auto [ec] = co_await with_timeout(greet(me), 2s, on_timeout::close);
        if (ec) co_return;

        players_.push_back(&me);
        company_.set();
        co_await when_any(hear(me), tell(me), show(me));  // the first that ends, ends the others
        std::erase(players_, &me);
        if (players_.empty()) company_.reset();
        counts_.loudest = std::max(counts_.loudest, me.heard);
    }

    task<result<>> greet(player& me) {
        auto [ec, line] = co_await me.stream.read_line(longest_line);
        if (ec) co_return ec;
        std::uint16_t port = 0;
        if (!match(line, "hello", port)) co_return std::make_error_code(std::errc::bad_message);
        me.screen = ip::endpoint(me.stream.next_layer().remote_endpoint().address(), port);
        me.at.player = ++last_player_;
        me.outbox.try_send("welcome " + std::to_string(me.at.player) + ' ' +
                           std::to_string(states_.local_endpoint().port()) + '\n');
        co_return {};
    }

    /// One small read a frame is all that a player gets.
    task<> hear(player& me) {
        for (;;) {
            if (me.stream.available().find('\n') == std::string_view::npos) co_await next_tick();
            auto [ec, line] = co_await with_timeout(me.stream.read_line(longest_line), 60s);
            if (ec) co_return;  // a line without end, too
            obey(me, line);
        }
    }

    void obey(player& me, std::string_view line) {
        ++counts_.heard;
        ++me.heard;
        std::uint32_t number = 0;
        int x = 0;
        int y = 0;
        if (match(line, "move", number, x, y)) {
            me.at.last_move = number;
            me.toward_x = static_cast<float>(std::clamp(x, -1, 1));
            me.toward_y = static_cast<float>(std::clamp(y, -1, 1));
        } else if (match(line, "grab")) {
            grabs_.try_send(me.at.player);  // from hand to hand, so only while there is a gem
        }
    }

    task<> tell(player& me) {
        for (;;) {
            auto [ec, line] = co_await me.outbox.receive();
            if (ec) co_return;
            auto [write_error, sent] =
                co_await with_timeout(me.stream.write_all(line), 2s, on_timeout::close);
            if (write_error) co_return;
            ++counts_.told;
        }
    }

    /// A datagram each frame. With no time to wait it gets one try: the next frame has a newer one.
    task<> show(player& me) {
        for (;;) {
            const auto [canceled] = co_await next_tick();
            if (canceled) co_return;
            const auto state = std::as_bytes(std::span(bodies_));
            auto [ec, sent] = co_await with_timeout(states_.send_to(state, me.screen), 0s);
            ++(ec ? counts_.dropped : counts_.states);
        }
    }

    /// The game's logic reads like its rules. Its times are on the game's clock.
    task<> place_gems() {
        for (;;) {
            co_await company_.wait();
            if (auto [ec] = co_await time_.sleep_for(400ms); ec) co_return;
            tell_all("gem\n");
            auto [ec, finder] = co_await time_.with_timeout(grabs_.receive(), 2s);
            if (ec == errc::canceled) co_return;
            tell_all(ec ? "gone\n" : "taken " + std::to_string(finder) + '\n');
        }
    }

    void tell_all(const std::string& line) {
        for (player* each : players_)
            if (!each->outbox.try_send(line))
                each->stream.next_layer().abort();  // it does not read
    }

    tcp::acceptor acceptor_;
    udp::socket states_;
    game_clock time_;
    event company_;                    // somebody is there
    channel<std::uint32_t> grabs_{0};  // who wants the gem
    std::vector<player*> players_;     // they live in attend()
    std::vector<body> bodies_;
    std::uint32_t last_player_ = 0;
    traffic counts_;
};

// --- The bots, in a thread and a context of their own ---

struct bot {
    explicit bot(io_context& ctx) : stream(tcp::socket(ctx)), screen(ctx) {}

    buffered<tcp::socket> stream;
    udp::socket screen;
    std::uint32_t id = 0;
    event gem;
    std::vector<clock::time_point> moves;  // when each was made
};

constexpr double milliseconds(nanoseconds time) {
    return std::chrono::duration<double, std::milli>(time).count();
}

/// What the bots have to say afterwards.
struct testimony {
    std::size_t joined = 0;
    std::vector<double> latencies;  // from a move to the state that has it, ms
    std::size_t flooded = 0;        // bytes
};

task<result<>> join(bot& me, ip::endpoint server) {
    if (auto [ec] = me.screen.bind({server.address(), 0}); ec) co_return ec;
    if (auto [ec] = co_await me.stream.next_layer().connect(server); ec) co_return ec;
    me.stream.next_layer().no_delay(true);
    const std::string hello = "hello " + std::to_string(me.screen.local_endpoint().port()) + '\n';
    if (auto [ec, sent] = co_await me.stream.write_all(hello); ec) co_return ec;

    auto [ec, line] = co_await me.stream.read_line(longest_line);
    if (ec) co_return ec;
    std::uint16_t port = 0;
    if (!match(line, "welcome", me.id, port))
        co_return std::make_error_code(std::errc::bad_message);
    co_return me.screen.connect({server.address(), port});
}

task<> listen(bot& me) {
    for (;;) {
        auto [ec, line] = co_await me.stream.read_line(longest_line);
        if (ec) co_return;
        if (line == "gem")
            me.gem.set();
        else
            me.gem.reset();
    }
}

/// Makes a move each 50 ms; a gem is grabbed at once.
task<> steer(bot& me) {
    std::minstd_rand random(me.id);
    std::uniform_int_distribution<> way(-1, 1);
    co_await sleep_for(1ms * (random() % 50));  // not all in step
    for (;;) {
        auto [nothing] = co_await with_timeout(me.gem.wait(), 50ms);
        if (nothing == errc::canceled) co_return;
        std::string line = "grab\n";
        if (nothing) {
            me.moves.push_back(clock::now());
            line = "move " + std::to_string(me.moves.size()) + ' ' + std::to_string(way(random)) +
                   ' ' + std::to_string(way(random)) + '\n';
        }
        me.gem.reset();
        if (auto [ec, sent] = co_await me.stream.write_all(line); ec) co_return;
    }
}

/// Looks at the states for its own moves.
task<> watch(bot& me, testimony& into) {
    std::array<body, most_players> bodies;
    for (std::size_t seen = 0;;) {
        auto [ec, n] = co_await me.screen.receive(std::as_writable_bytes(std::span(bodies)));
        if (ec) co_return;
        for (const body& each : std::span(bodies).first(n / sizeof(body))) {
            const std::size_t move = each.last_move;
            if (each.player != me.id || move <= seen || move > me.moves.size()) continue;
            into.latencies.push_back(milliseconds(clock::now() - me.moves[move - 1]));
            seen = move;
        }
    }
}

task<> play(io_context& ctx, ip::endpoint server, testimony& into) {
    bot me(ctx);
    const auto joined = co_await with_timeout(join(me, server), 5s);
    if (!joined.ok()) co_return;
    ++into.joined;
    co_await when_any(listen(me), steer(me), watch(me, into));  // until the server hangs up
}

/// Joins, reads nothing, and sends as fast as it can.
task<> flood(io_context& ctx, ip::endpoint server, testimony& into) {
    bot me(ctx);
    const auto joined = co_await with_timeout(join(me, server), 5s);
    if (!joined.ok()) co_return;
    ++into.joined;
    std::string moves;
    while (moves.size() < 64 * 1024) moves += "move 1 1 1\n";
    for (;;) {
        auto [ec, sent] = co_await me.stream.write_all(moves);
        into.flooded += sent;
        if (ec) co_return;
    }
}

testimony play_all(ip::endpoint server, bool with_flood) {
    io_context ctx;
    testimony all;
    for (std::size_t i = 0; i < bots; ++i) ctx.spawn(play(ctx, server, all));
    if (with_flood) ctx.spawn(flood(ctx, server, all));
    ctx.run();
    return all;
}

// --- A round, and its figures ---

struct figures {
    std::vector<double> frames;  // ms from one to the next
    std::vector<double> used;    // ms of processor time in poll_until
    traffic counts;
    testimony seen;
};

/// What this thread has used so far.
nanoseconds processor_time() {
    timespec time{};
    ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return std::chrono::seconds(time.tv_sec) + nanoseconds(time.tv_nsec);
}

figures play_round(std::size_t frames, bool with_flood) {
    io_context ctx;
    server game(ctx);
    std::printf("listening on %s\n", game.address().to_string().c_str());
    std::fflush(stdout);
    auto hosting = ctx.spawn(game.host());
    auto crowd = std::async(std::launch::async, play_all, game.address(), with_flood);

    figures all;
    auto begin = clock::now();
    auto due = begin;
    while (all.frames.size() < frames) {
        game.advance(frame_time);
        game.simulate(frame_time);

        due = std::max(due + frame_time, clock::now());  // time that is lost is not made up for
        const auto used = processor_time();
        ctx.poll_until(due);
        all.used.push_back(milliseconds(processor_time() - used));
        const auto end = clock::now();
        all.frames.push_back(milliseconds(end - std::exchange(begin, end)));
    }
    hosting.cancel();
    ctx.run();  // until everybody is gone
    all.counts = game.counts();
    all.seen = crowd.get();
    return all;
}

std::size_t count_above(const std::vector<double>& times, double limit) {
    return static_cast<std::size_t>(
        std::count_if(times.begin(), times.end(), [&](double time) { return time > limit; }));
}

/// A row for each interval between two borders, and for what lies below and above them.
void print_histogram(const char* title, const std::vector<double>& times,
                     std::initializer_list<double> borders) {
    std::printf("\n  %s\n", title);
    std::size_t left = times.size();
    const auto print_row = [&](const char* relation, double border, std::size_t count) {
        const std::string bar((count * 60 + times.size() - 1) / times.size(), '#');
        std::printf("  %7s %4.1f ms %6zu%s%s\n", relation, border, count, count ? "  " : "",
                    bar.c_str());
        left -= count;
    };
    for (const double border : borders)
        print_row("up to", border, left - count_above(times, border));
    print_row("over", std::data(borders)[borders.size() - 1], left);
}

struct percentiles {
    double half = 0;
    double most = 0;  // 99 %
    double max = 0;

    explicit percentiles(std::vector<double> times) {
        if (times.empty()) return;
        std::sort(times.begin(), times.end());
        half = times[times.size() / 2];
        most = times[times.size() * 99 / 100];
        max = times.back();
    }
};

void print(const char* title, const figures& all) {
    std::printf("%s\n", title);
    print_histogram("frames, from one to the next", all.frames, {16, 16.5, 17, 17.5, 18, 20, 25});
    print_histogram("processor time of the network in each", all.used,
                    {0.2, 0.5, 1, 1.5, 2, 2.5, 5});
    const traffic& counts = all.counts;
    std::printf(
        "\n  %zu frames, %zu bots; %lu lines in, %lu out; %lu datagrams out, %lu dropped\n\n",
        all.frames.size(), all.seen.joined, counts.heard, counts.told, counts.states,
        counts.dropped);
}

void print_row(const char* name, const figures& all) {
    const percentiles used(all.used);
    const percentiles latency(all.seen.latencies);
    std::printf("  %-14s %6.2f %6.2f %6.2f   %8zu    %6.1f %6.1f %6.1f\n", name, used.half,
                used.most, used.max, count_above(all.used, milliseconds(fair_part)), latency.half,
                latency.most, latency.max);
}

}  // namespace

int main(int argc, char** argv) {
    std::size_t seconds = 0;
    std::string_view argument = argc > 1 ? argv[1] : "5";
    if (argc > 2 || !take(argument, seconds) || !argument.empty()) {
        std::fprintf(stderr, "usage: %s [SECONDS]\n", argv[0]);
        return 2;
    }
    const std::size_t frames = std::max<std::size_t>(seconds * 60, 1);

    const figures calm = play_round(frames, false);
    print("64 players", calm);
    const figures flooded = play_round(frames, true);
    print("64 players, and one who floods", flooded);

    std::printf("                 processor time of       frames       latency of the\n"
                "                 the network, ms         over         64 players, ms\n"
                "                    p50    p99    max     2.5 ms       p50    p99    max\n");
    print_row("64 players", calm);
    print_row("with a flood", flooded);

    const auto heard = static_cast<double>(flooded.counts.loudest);
    std::printf("\nOf the one who floods the server heard %.0f lines, %.1f a frame. It got rid of "
                "%zu kB,\nmost of which fills the system's buffers; for the rest of the time it "
                "waited.\n",
                heard, heard / static_cast<double>(frames), flooded.seen.flooded / 1000);
}
