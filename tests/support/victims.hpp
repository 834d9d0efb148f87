// The story that the sanitising of select and poll is for: many connections in one loop, whose
// peers reset theirs one after the other while the others go on talking.
#pragma once

#include <array>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "loop.hpp"
#include "watched_reactor.hpp"

namespace test {

/// What became of a connection.
struct victim {
    int rounds = 0;
    std::error_code end;
};

inline task<> echo_until_error(tcp::socket socket, victim& self) {
    std::array<char, 8> buffer;
    for (;;) {
        self.end = (co_await read_exactly(socket, buffer)).error();
        if (self.end) co_return;
        self.end = (co_await write_all(socket, buffer)).error();
        if (self.end) co_return;
        ++self.rounds;
    }
}

/// One peer after the other, from `first` up to `last`, resets its connection; after each of them
/// all that are left get an answer. Returns how many answers there were before one failed to come.
inline int reset_one_by_one(std::vector<blocking_socket>& peers, std::size_t first,
                            std::size_t last) {
    int answers = 0;
    for (std::size_t i = first; i < last; ++i) {
        peers[i].reset();
        for (std::size_t left = i + 1; left < peers.size(); ++left) {
            if (peers[left].send("are you?") != 0) return answers;
            if (peers[left].receive_all(8).bytes != "are you?") return answers;
            ++answers;
        }
    }
    return answers;
}

/// How many it returns if none failed to come, for the first `last` of `peers` peers.
inline int answers_in_all(std::size_t peers, std::size_t last) {
    return static_cast<int>(last * (2 * peers - last - 1) / 2);
}

/// Plays it with `count` connections, and checks that each victim's own operation got
/// `connection_reset`, that the others saw nothing and went on, and that the loop did not spin.
inline void check_victims(reactor_kind kind, int count) {
    const auto log = std::make_shared<watched_reactor::log>();
    std::vector<victim> victims(static_cast<std::size_t>(count));
    std::vector<blocking_socket> peers;
    int answers = 0;
    std::thread others;
    {
        struct joiner {
            std::thread& thread;
            ~joiner() {
                if (thread.joinable()) thread.join();
            }
        } const join_at_the_end{others};  // when the context is gone, so that nobody waits for it
        io_context ctx(std::make_unique<watched_reactor>(kind, log));
        blocking_listener listener;
        for (victim& each : victims) {
            auto made = ctx.block_on(test::connect(ctx, listener));
            peers.push_back(std::move(made.peer));
            ctx.spawn(echo_until_error(std::move(made.socket), each));
        }
        const auto half = peers.size() / 2;
        others = std::thread([&] {
            answers = reset_one_by_one(peers, 0, half);
            // Else the loop has ended by itself, and may be gone.
            if (answers == answers_in_all(peers.size(), half)) ctx.stop();
        });
        ctx.run();
        others.join();
        // Half of them are gone, and nobody speaks: a loop that spins makes thousands of waits.
        log->waits.clear();
        ctx.run_for(50ms);
        CHECK(log->waits.size() < 20);

        others = std::thread([&] { answers += reset_one_by_one(peers, half, peers.size()); });
        ctx.run();
    }
    CHECK(answers == answers_in_all(peers.size(), peers.size()));
    for (int i = 0; i < count; ++i) {
        CHECK(says_reset(victims[static_cast<std::size_t>(i)].end));
        CHECK(victims[static_cast<std::size_t>(i)].rounds == i);
    }
}

}  // namespace test
