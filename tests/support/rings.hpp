// What the tests of io_uring share.
#pragma once

#include <curfew/reactor/io_uring.hpp>

#if defined(CURFEW_HAS_IO_URING)

#include <cstddef>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "support/loop.hpp"

namespace test {

inline std::unique_ptr<reactor> small_ring(unsigned entries) {
    auto made = std::make_unique<io_uring_reactor>(entries);
    REQUIRE(made->error() == 0);
    return made;
}

/// Runs `body(ctx)` on a ring of that many entries.
template <class Body>
void run_on(unsigned entries, Body body) {
    io_context ctx(small_ring(entries));
    ctx.block_on(body(ctx));
}

/// Whether this kernel has rings that belong to one thread.
inline bool can_settle() {
    using detail::uring::ring;
    if (ring(1, ring::users::one_thread).error() == 0) return true;
    MESSAGE("not tried: this kernel has no rings of one thread's own");
    return false;
}

/// Returns in a loop that has settled, if the loop is one that does.
inline task<> settle() {
    for (int i = 0; i < CURFEW_SETTLE_AFTER + 2'000; ++i) co_await yield();
}

inline std::vector<int> descriptors_of_rings() {
    std::vector<int> found;
    for (const auto& each : std::filesystem::directory_iterator("/proc/self/fd")) {
        std::error_code gone;  // the descriptor that the directory is read through
        if (std::filesystem::read_symlink(each, gone) == "anon_inode:[io_uring]")
            found.push_back(std::stoi(each.path().filename()));
    }
    return found;
}

/// How many rings this process has.
inline int rings() { return static_cast<int>(descriptors_of_rings().size()); }

/// The same while `ctx` has settled.
inline int rings_when_settled(io_context& ctx) {
    int count = 0;
    ctx.block_on([](int& out) -> task<> {
        co_await settle();
        out = rings();
    }(count));
    return count;
}

inline udp::socket bound(io_context& ctx) {
    udp::socket socket(ctx);
    socket.bind(any_port()).value();
    return socket;
}

inline task<result<std::size_t>> read_into(tcp::socket& socket, std::span<char> buffer) {
    co_return co_await socket.read_some(buffer);
}

}  // namespace test

#endif
