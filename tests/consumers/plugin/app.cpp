// A program and a plugin, each of which compiles curfew, understand each other. With an argument
// the two share nothing: then errors, sockets and most tasks still do, and what does not says why.
#include "plugin.hpp"

#include <cstdio>
#include <cstdlib>
#include <cstring>

#if defined(OPEN_PLUGIN)
#include <dlfcn.h>
#endif

using namespace curfew;
using namespace std::chrono_literals;

namespace {

int failures = 0;

void check(bool holds, const char* what) {
    if (holds) return;
    ++failures;
    std::printf("FAILED: %s\n", what);
}

const plugin_functions& the_plugin() {
#if defined(OPEN_PLUGIN)
    void* const library = ::dlopen(OPEN_PLUGIN, RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        std::puts(::dlerror());
        std::exit(1);
    }
    return *reinterpret_cast<const plugin_functions* (*)()>(::dlsym(library, "plugin"))();
#else
    return *plugin();
#endif
}

task<int> call(const plugin_functions& it, io_context& ctx, const char* what) {
    co_await sleep_for(1ms);
    co_return co_await it.work(ctx, what);
}

task<> errors_of_sockets(const plugin_functions& it, io_context& ctx) {
    tcp::socket socket = it.moved_from(ctx);
    std::array<char, 8> bytes;
    const auto [ec, n] = co_await socket.read_some(bytes);
    check(ec == errc::closed, "a socket that was moved from there is closed");
    socket = tcp::socket(ctx);
}

task<> cancel_work(const plugin_functions& it, io_context& ctx) {
    const auto result = co_await with_timeout(it.work(ctx, "canceled"), 1ms);
    check(result.ec == errc::timed_out && result.data == 7, "a limit reaches the plugin's groups");
}

task<> spawn_from_inside(const plugin_functions& it, io_context& ctx) {
    int out = 0;
    it.spawn(ctx, out);
    while (out == 0) co_await sleep_for(1ms);
    check(out == 7, "the plugin spawns into a loop that runs");
}

void check_errors(const plugin_functions& it) {
    for (const errc code :
         {errc::timed_out, errc::canceled, errc::closed, errc::eof, errc::not_supported}) {
        const std::error_code made = it.error_of(code);
        check(made == code && code == made && !(made != code), "its errors equal ours");
        check(it.is(code, code), "our errors equal its");
        for (const errc other : {errc::timed_out, errc::eof})
            check((made == other) == (code == other), "and no others");
    }
    check(it.error_of(errc::timed_out) == std::errc::timed_out, "and the standard's conditions");
    check(it.system_error_of(platform::broken_pipe) == std::errc::broken_pipe,
          "the system's errors equal the standard's conditions");
    check(!it.is(std::error_code(1, std::generic_category()), errc::timed_out),
          "the standard's errors are others");
}

[[noreturn]] void end_well(const char* message) {
    if (std::strcmp(message, "out of cheese") != 0) {
        std::printf("fatal: %s\n", message);
        std::exit(1);
    }
    std::exit(failures ? 1 : 0);
}

/// What needs one state for both.
int as_one(const plugin_functions& it) {
    check(it.error_of(errc::eof) == std::error_code(errc::eof), "codes are equal as such");
    check(it.system_error_of(7) == platform::error_code(7), "the system's, too");
    io_context ctx;
    for (const char* what : {"group", "context"}) {
        check(ctx.block_on(it.work(ctx, what)) == 7, what);
        check(ctx.block_on(call(it, ctx, what)) == 7, what);
    }
    ctx.block_on(cancel_work(it, ctx));

    frame_pool pool;
    {
        const frame_resource_scope use(&pool);
        int counted = 0;
        const auto before = pool.counters().handed_out;
        auto made = it.frame_from(counted);
        check(pool.counters().handed_out == before + 1, "the plugin's frames come from our pool");
        check(ctx.block_on(std::move(made)) == 7, "and go back there");
        check(counted == static_cast<int>(this_thread_frame_counters().handed_out),
              "both look at the same lists");
    }
    set_fatal_handler(&end_well);
    it.fail();
    return 1;
}

/// It says why it does not know our loop, to a fatal handler of its own.
int apart(const plugin_functions& it) {
    if (failures) return 1;
    it.end_quietly();
    io_context ctx;
    return ctx.block_on(it.work(ctx, "context"));
}

}  // namespace

int main(int count, char**) {
    const plugin_functions& it = the_plugin();
    check_errors(it);
    {
        io_context ctx;
        for (const char* what : {"return", "sleep", "limit", "when_any"}) {
            check(ctx.block_on(it.work(ctx, what)) == 7, what);
            check(ctx.block_on(call(it, ctx, what)) == 7, what);
        }
        int out = 0;
        it.spawn(ctx, out);
        ctx.run();
        check(out == 7, "the plugin spawns");
        ctx.block_on(errors_of_sockets(it, ctx));
        ctx.block_on(spawn_from_inside(it, ctx));
    }
    return count > 1 ? apart(it) : as_one(it);
}
