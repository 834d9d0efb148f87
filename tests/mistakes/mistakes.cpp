// Mistakes that users make: each, compiled alone (-DMISTAKE=n), fails with the sentence that stands
// beside it, and without any the file compiles.
#include <curfew/curfew.hpp>

using namespace curfew;
using namespace std::chrono_literals;

namespace theirs {

/// Knows nothing of curfew.
struct callback {
    bool await_ready() const noexcept { return true; }
    void await_suspend(std::coroutine_handle<>) const noexcept {}
    int await_resume() const noexcept { return 1; }
};

/// The same, but always soon at its end.
struct lookup : callback {};

}  // namespace theirs

template <>
inline constexpr bool curfew::enable_limits<theirs::lookup> = true;

task<> subject(io_context& ctx, tcp::socket& socket, udp::socket& datagrams, char* pointer) {
    std::array<char, 64> buffer;
    char plain[64];
    ip::endpoint peer;
    game_clock game;
    static_cast<void>(pointer);

    co_await sleep_for(500ms);
    if ((co_await write_all(socket, buffer)).ok()) co_return;
    (void)co_await socket.read_some(plain);
    (void)co_await socket.write_some("text");
    (void)co_await datagrams.send_to(plain, peer);
    (void)co_await when_all(theirs::callback{}, sleep_for(1ms));
    (void)co_await with_timeout(theirs::lookup{}, 1s);
    (void)co_await when_any(theirs::lookup{}, with_timeout(when_all(theirs::lookup{}), 1s));
    (void)co_await cancel_on(shielded(theirs::callback{}), std::stop_token());
    (void)co_await about(theirs::callback{}, socket);
    buffered referring(socket);
    (void)co_await with_timeout(about(referring.read_line(80), referring, datagrams), 1s);

#if MISTAKE == 1  // takes a duration, with its unit
    co_await sleep_for(500);
#elif MISTAKE == 2  // takes a point in time of its clock
    co_await sleep_until(std::chrono::system_clock::now());
#elif MISTAKE == 3  // takes a duration, with its unit
    co_await game.sleep_for(0.5);
#elif MISTAKE == 4  // takes a duration, with its unit
    ctx.run_for(5);
#elif MISTAKE == 5  // takes a duration, with its unit
    ctx.poll_for(2);
#elif MISTAKE == 6  // takes a point in time of its clock
    ctx.run_until(7);
#elif MISTAKE == 7  // takes a point in time of its clock
    ctx.poll_until(2ms);
#elif MISTAKE == 10  // ask .ok\(\), or look at .ec
    if (co_await write_all(socket, buffer)) co_return;
#elif MISTAKE == 11  // ask .ok\(\), or look at .ec
    while (!co_await socket.shutdown(shutdown_how::send)) co_return;
#elif MISTAKE == 20  // has no size: std::span\(p, size\)
    (void)co_await socket.read_some(pointer);
#elif MISTAKE == 21  // has no size: std::span\(p, size\)
    (void)co_await socket.write_some(pointer, 64);
#elif MISTAKE == 22  // has no size: std::span\(p, size\)
    (void)co_await socket.read_exactly(pointer, sizeof buffer);
#elif MISTAKE == 23  // has no size: std::span\(p, size\)
    const char* const text = "text";
    (void)co_await socket.write_all(text);
#elif MISTAKE == 24  // of a pointer, std::span\(pointer, size\)
    (void)co_await read_exactly(socket, pointer);
#elif MISTAKE == 25  // of a pointer, std::span\(pointer, size\)
    (void)co_await write_all(socket, pointer);
#elif MISTAKE == 26  // has no size: std::span\(p, size\)
    (void)co_await datagrams.send_to(pointer, peer);
#elif MISTAKE == 27  // has no size: std::span\(p, size\)
    (void)co_await datagrams.receive_from(pointer, 64, peer);
#elif MISTAKE == 28  // has no size: std::span\(p, size\)
    (void)co_await datagrams.send(pointer);
#elif MISTAKE == 29  // has no size: std::span\(p, size\)
    (void)co_await datagrams.receive(static_cast<void*>(pointer), 64);
#elif MISTAKE == 30  // block_on takes a task, a function that makes one
    ctx.block_on(7);
#elif MISTAKE == 50  // could not cut this short
    (void)co_await with_timeout(theirs::callback{}, 1s);
#elif MISTAKE == 51  // could not cut this short
    (void)co_await with_deadline(theirs::callback{}, curfew::clock::now());
#elif MISTAKE == 52  // could not cut this short
    (void)co_await cancel_on(theirs::callback{}, std::stop_token());
#elif MISTAKE == 53  // could not cut this branch short
    (void)co_await when_any(theirs::callback{}, sleep_for(1s));
#elif MISTAKE == 54  // could not cut this short
    (void)co_await with_timeout(when_all(sleep_for(1s), theirs::callback{}), 1s);
#elif MISTAKE == 55  // could not cut this branch short
    (void)co_await when_any(std::vector<theirs::callback>(2));
#elif MISTAKE == 56  // could not cut this short
    (void)co_await game.with_timeout(theirs::callback{}, 1s);
#elif MISTAKE == 60  // take sockets, or streams with a member
    const scope_about here(plain);
#elif MISTAKE == 61  // take sockets, or streams with a member
    (void)co_await about(sleep_for(1s), ctx);
#elif MISTAKE == 62  // takes the sockets behind the awaitable
    (void)co_await about(sleep_for(1s));
#elif MISTAKE == 63  // needs a member read_some\(mutable_buffer\)
    buffered in(theirs::callback{});
#elif MISTAKE == 64  // could not cut this short
    (void)co_await with_timeout(about(theirs::callback{}, socket), 1s);
#endif
    static_cast<void>(ctx);
}

task<result<>> no_value() { co_return {}; }

int no_task(io_context& ctx) {
    return ctx.block_on([]() -> task<int> { co_return 7; });
}
