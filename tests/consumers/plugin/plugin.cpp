// Compiled into a shared library, with its symbols hidden.
#include "plugin.hpp"

#include <array>
#include <cstdio>
#include <cstdlib>
#include <string_view>

using namespace curfew;
using namespace std::chrono_literals;

namespace {

std::error_code error_of(errc code) { return make_error_code(code); }

std::error_code system_error_of(int number) { return platform::error_code(number); }

bool is(const std::error_code& error, errc code) { return error == code; }

task<> nap() { co_await sleep_for(1ms); }

task<int> receive_in_vain(io_context& ctx) {
    udp::socket socket(ctx);
    socket.bind(ip::endpoint(ip::address::loopback_v4(), 0)).value();
    std::array<char, 8> bytes;
    ip::endpoint sender;
    const auto [ec, n] = co_await with_timeout(socket.receive_from(bytes, sender), 1ms);
    co_return ec == errc::timed_out ? 7 : 1;
}

task<int> work(io_context& ctx, const char* name) {
    const std::string_view what = name;
    if (what == "return") co_return 7;
    if (what == "sleep") {
        const auto [ec] = co_await sleep_for(1ms);
        co_return ec ? 1 : 7;
    }
    if (what == "limit") co_return co_await receive_in_vain(ctx);
    if (what == "when_any") {
        const auto [index, results] = co_await when_any(sleep_for(1ms), sleep_for(1h));
        co_return index == 0 && std::get<1>(results).ec == errc::canceled ? 7 : 1;
    }
    if (what == "group") {
        task_group group;
        group.spawn(nap());
        const auto [ec] = co_await group.join();
        co_return ec ? 1 : 7;
    }
    if (what == "context") {
        co_await yield();
        co_return &this_context() == &ctx ? 7 : 1;
    }
    if (what == "canceled") {
        task_group group;  // it belongs to this task, which is cancelled
        group.spawn([]() -> task<> { co_await sleep_for(1h); });
        const auto [ec] = co_await group.join();
        co_return ec == errc::canceled ? 7 : 1;
    }
    co_return 2;
}

task<> work_for(io_context& ctx, int& out) {
    co_await sleep_for(1ms);
    out = co_await work(ctx, "limit");
}

void spawn(io_context& ctx, int& out) { ctx.spawn(work_for(ctx, out)); }

tcp::socket moved_from(io_context& ctx) {
    tcp::socket socket(ctx);
    tcp::socket other(std::move(socket));
    return socket;
}

void fail() { detail::fatal("out of cheese"); }

void end_quietly() {
    set_fatal_handler([](const char* message) {
        std::puts(message);
        std::exit(0);
    });
}

task<int> frame_from(int& counted) {
    counted = static_cast<int>(this_thread_frame_counters().handed_out);
    co_return 7;
}

constexpr plugin_functions all{error_of, system_error_of, is,        work, spawn, moved_from,
                               fail,     end_quietly,     frame_from};

}  // namespace

PLUGIN_EXPORT const plugin_functions* plugin() { return &all; }
