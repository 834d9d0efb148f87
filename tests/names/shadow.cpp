// A program's global names are its own business: with -Wshadow, and whichever come first, they or
// the include (NAMES_FIRST), nothing is said of the library's.
#define CURFEW_TEST_NAMES                                                                          \
    int ended, self, message, own, each, waiting, arrived, holder, done, result_, ready, work,     \
        range, value, found, list, op, socket_, next, first, last, node, count, size, buffer,      \
        error, state, loop, owner, parent, scope, made, call, target, pause_, sleep_, join, sent,  \
        oldest, taken, record, frame, promise, handle, index_, timer, terms, leave, suspended,     \
        all, limit, seen, phase_, pending, report, name, branch, results, total, ec, n, add,       \
        task_, stream, text, kind, type, begin_, end_, when, gone, any, one, root, out, info,      \
        what, now, start, to, from, with, at, function, reader, writer, data, bytes, fiber, inner, \
        outer, policy, awaitable, token, verdict, living, failed, home, block, which, entry,       \
        deadline, ticks, budget, on, of, by, how, why, where, who, answer, peer, guard, inside,    \
        outside, current, position, length, number, code, condition, family, port, address,        \
        endpoint, options, backlog, option, flag, flags, level, step, clock_, shared, unit, slot,  \
        place, bits, mask, bin, head, tail, queue, letter, envelope, host, guest, group, child,    \
        children, exception, expected, made_reactor, events, poller, waker

#if defined(NAMES_FIRST)
CURFEW_TEST_NAMES;
#endif
#include <curfew/curfew.hpp>
#if !defined(NAMES_FIRST)
CURFEW_TEST_NAMES;
#endif

namespace program {

using namespace std::chrono_literals;
using curfew::task;

task<int> answer_7() { co_return 7; }

task<> everything(curfew::io_context& ctx) {
    curfew::tcp::acceptor acceptor(ctx);
    curfew::tcp::socket socket(ctx);
    curfew::udp::socket datagrams(ctx);
    std::array<char, 4> room;
    std::vector<curfew::mutable_buffer> rooms;
    std::vector<curfew::const_buffer> texts;
    curfew::ip::endpoint there;
    (void)co_await curfew::when_any(acceptor.accept(), curfew::sleep_for(1s));
    (void)co_await curfew::when_all(socket.connect(there), answer_7());
    std::vector<task<int>> many;
    many.push_back(answer_7());
    (void)co_await curfew::when_all(std::move(many));
    (void)co_await curfew::with_timeout(curfew::read_exactly(socket, room), 1s);
    (void)co_await curfew::with_timeout(answer_7(), 1s, curfew::on_timeout::close);
    (void)co_await curfew::shielded(curfew::write_all(socket, "x"));
    (void)co_await curfew::read_exactly(socket, rooms);
    (void)co_await curfew::write_all(socket, texts);
    (void)co_await datagrams.receive_from(room, there);
    (void)co_await datagrams.send(room, room);
    curfew::channel<int> numbers(1);
    (void)co_await numbers.send(1);
    (void)co_await numbers.receive();
    curfew::event happened;
    co_await happened.wait();
    curfew::semaphore permits(1);
    (void)co_await permits.acquire();
    curfew::task_group tasks;
    tasks.spawn(answer_7());
    (void)co_await tasks.join();
    auto spawned = ctx.spawn(answer_7());
    spawned.cancel();
    (void)co_await spawned;
    (void)co_await ctx.spawn([]() -> task<> { co_return; });
    std::stop_source source;
    (void)co_await curfew::cancel_on(socket.read_some(room), source.get_token());
    curfew::thread_promise<int> elsewhere;
    (void)co_await curfew::with_timeout(elsewhere.get_future(), 1s);
    curfew::game_clock game;
    co_await game.sleep_for(1s);
    (void)co_await game.with_timeout(happened.wait(), 1s);
    (void)ctx.tasks();
    ctx.post([] {});
    (void)ctx.block_on(curfew::sleep_for(1s));
}

}  // namespace program

int main() { curfew::io_context ctx; }
