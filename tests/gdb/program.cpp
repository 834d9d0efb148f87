// program FILE OTHER_FILE
//
// Stops in a known state, for check.sh: tasks that wait for everything there is, and in another thread
// a context with one more. It writes what io_context::dump says of both to the files, and then calls
// `stop_here`.
#include <curfew/curfew.hpp>

#include <array>
#include <cstdio>
#include <fstream>
#include <thread>
#include <utility>
#include <vector>

using namespace curfew;
using namespace std::chrono_literals;

#if defined(__clang__)
[[gnu::noinline, clang::optnone]]
#else
[[gnu::noipa]]
#endif
void stop_here() {
    std::puts("stopped");
}

namespace {

task<> read(tcp::socket& from) {
    std::array<char, 16> buffer;
    const auto got = co_await from.read_some(buffer);
    static_cast<void>(got);
}

task<> read_with_limits(tcp::socket& from) {
    std::array<char, 16> buffer;
    const auto got = co_await with_timeout(
        with_timeout(from.read_some(buffer), 2h, on_timeout::close), 1h);
    static_cast<void>(got);
}

task<> within_limits(tcp::socket& from) {
    const auto got = co_await with_timeout(read(from), 90s, on_timeout::close);
    static_cast<void>(got);
}

task<> read_line(tcp::socket& from) {
    buffered<tcp::socket&> in(from);
    const auto got = co_await with_timeout(in.read_line(80), 40min);
    static_cast<void>(got);
}

task<> accept(tcp::acceptor& from) {
    const auto got = co_await from.accept();
    static_cast<void>(got);
}

task<> receive(udp::socket& from) {
    std::array<char, 16> buffer;
    ip::endpoint sender;
    const auto got = co_await with_deadline(from.receive_from(buffer, sender),
                                            curfew::clock::now() + 3h);
    static_cast<void>(got);
}

task<> sleep(std::chrono::seconds time) { co_await sleep_for(time); }

task<> wait(event& e) { co_await e.wait(); }

task<> wait_in_game(event& e, game_clock& clock) {
    const auto got = co_await clock.with_timeout(e.wait(), 5s);
    static_cast<void>(got);
}

task<> sleep_in_game(game_clock& clock) { co_await clock.sleep_for(7s); }

task<> acquire(semaphore& from) {
    const auto got = co_await from.acquire();
    static_cast<void>(got);
}

task<> receive_message(channel<int>& from) {
    const auto got = co_await from.receive();
    static_cast<void>(got);
}

task<> send_message(channel<int>& to) {
    const auto got = co_await to.send(1);
    static_cast<void>(got);
}

task<> join(join_handle<> other) { co_await other; }

task<> tick() { co_await next_tick(); }

task<> hear(thread_future<int> future) {
    const auto got = co_await future;
    static_cast<void>(got);
}

task<> hear_signal(io_context& ctx) {
    signals hangups(ctx, {SIGHUP});
    const auto got = co_await hangups.wait();
    static_cast<void>(got);
}

task<> in_group(event& e) {
    task_group group;
    group.spawn(wait(e));
    group.spawn(sleep(100s));
    co_await group.join();
}

task<> combine(event& e) {
    const auto got = co_await when_any(when_all(wait(e), e.wait()), sleep(1000s));
    static_cast<void>(got);
}

task<> shielded_from_limits(event& e) {
    const auto got = co_await with_timeout(shielded(with_timeout(wait(e), 30s)), 20s);
    static_cast<void>(got);
}

task<> with_shielded_child(event& e) {
    task_group group;
    group.spawn([](event& what) -> task<> { co_await shielded(wait(what)); }(e));
    co_await group.join();
}

task<> never_begins() { co_return; }

void write_dump(io_context& ctx, const char* file) {
    std::ofstream out(file);
    ctx.dump(out);
}

task<> all_of_them(io_context& ctx, const char* file) {
    tcp::acceptor acceptor(ctx);
    acceptor.listen({ip::address::loopback_v4(), 0}).value();
    std::vector<tcp::socket> sockets;
    for (int i = 0; i < 4; ++i) {
        sockets.emplace_back(ctx);
        (co_await sockets.back().connect(acceptor.local_endpoint())).value();
        sockets.push_back((co_await acceptor.accept()).value());
    }
    udp::socket datagrams(ctx);
    datagrams.bind({ip::address::loopback_v4(), 0}).value();
    event never, soon;
    semaphore none(0);
    channel<int> empty(1), full(0);
    game_clock game;
    thread_promise<int> promise;

    std::vector<join_handle<>> all;
    all.push_back(ctx.spawn(read(sockets[0])));
    all.push_back(ctx.spawn(read_with_limits(sockets[2])));
    all.push_back(ctx.spawn(within_limits(sockets[4])));
    all.push_back(ctx.spawn(read_line(sockets[6])));
    all.push_back(ctx.spawn(accept(acceptor)));
    all.push_back(ctx.spawn(receive(datagrams)));
    all.push_back(ctx.spawn(sleep(5s)));
    all.push_back(ctx.spawn(sleep(500s)));
    all.push_back(ctx.spawn(wait(never)));
    all.push_back(ctx.spawn(wait_in_game(never, game)));
    all.push_back(ctx.spawn(sleep_in_game(game)));
    all.push_back(ctx.spawn(acquire(none)));
    all.push_back(ctx.spawn(receive_message(empty)));
    all.push_back(ctx.spawn(send_message(full)));
    all.push_back(ctx.spawn(join(ctx.spawn(wait(never)))));
    all.push_back(ctx.spawn(tick()));
    all.push_back(ctx.spawn(hear(promise.get_future())));
    all.push_back(ctx.spawn(hear_signal(ctx)));
    all.push_back(ctx.spawn(in_group(never)));
    all.push_back(ctx.spawn(combine(never)));
    all.push_back(ctx.spawn(shielded_from_limits(never)));
    all.push_back(ctx.spawn(with_shielded_child(never)));
    all.push_back(ctx.spawn(wait(soon)));
    co_await sleep_for(20ms);
    all[21].cancel();
    soon.set();
    all.push_back(ctx.spawn(never_begins()));
    write_dump(ctx, file);
    stop_here();
    for (join_handle<>& each : all) each.cancel();
    never.set();
    for (join_handle<>& each : all) co_await each;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 3) return 2;
    stop_here();  // when there is no context yet
    io_context ctx, other;
    thread_promise<> is_waiting;
    thread_future<void> waits = is_waiting.get_future();
    other.spawn(sleep(10'000s));
    std::thread second([&, promise = std::move(is_waiting)]() mutable {
        other.post([&] { other.post([&] { write_dump(other, argv[2]), promise.set_value(); }); });
        other.run();
    });
    ctx.block_on([](thread_future<void>& from) -> task<> { (co_await from).value(); }(waits));
    ctx.block_on(all_of_them(ctx, argv[1]));
    other.stop();
    second.join();
}
