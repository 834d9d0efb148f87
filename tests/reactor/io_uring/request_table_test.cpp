// What is kept of the requests.
#include <curfew/reactor/io_uring/request_table.hpp>

#if defined(CURFEW_HAS_IO_URING)

#include <malloc.h>

#include <array>
#include <cstddef>
#include <vector>

#include "support/crowd.hpp"
#include "support/loop.hpp"
#include "support/rings.hpp"

using namespace test;

TEST_CASE(
    "cancellations stand before all else in the queue, and what ends there is free behind it") {
    using detail::uring::request_id;
    using detail::uring::request_state;
    detail::uring::request_table table;
    socket_state socket;
    const auto take = [&](operation& op) {
        op.progress = operation::state::pending;
        REQUIRE(table.make_room(op));
        return table.take(op);
    };
    operation first(operation_kind::accept, readiness::readable, &socket);
    operation second(operation_kind::accept, readiness::readable, &socket);
    operation third(operation_kind::accept, readiness::readable, &socket);
    const request_id held = take(first);
    const request_id ended = take(second);
    const request_id submitted = take(third);
    table.enqueue(held);
    table.enqueue(ended);
    table[submitted].state = request_state::submitted;
    table.enqueue_cancellation(submitted);
    table.give_back(ended);
    CHECK(table[ended].state == request_state::ended_in_queue);
    CHECK(table.in_flight() == 1);

    CHECK(table.dequeue() == submitted);
    CHECK(table[submitted].state == request_state::cancel_queued);
    table[submitted].state = request_state::submitted;
    CHECK(table.dequeue() == held);
    table[held].state = request_state::submitted;
    CHECK(table.dequeue() == ended);
    CHECK(table[ended].state == request_state::free);
    CHECK(table.queue_is_empty());
    CHECK(take(second) == ended);  // and used again
    table[ended].state = request_state::submitted;
    for (const request_id each : {held, ended, submitted}) table.give_back(each);
    CHECK(table.in_flight() == 0);
    for (operation* each : {&first, &second, &third}) each->finish(outcome::canceled);
}

namespace {

/// Bytes that malloc has given; 0 where nobody tells.
std::size_t bytes_in_use() {
#if defined(__GLIBC_PREREQ)
#if __GLIBC_PREREQ(2, 33)
    const auto info = ::mallinfo2();
    return info.uordblks + info.hblkhd;
#endif
#endif
    return 0;
}

/// Not with the address sanitizer, whose malloc is another one.
bool tells_bytes_in_use() {
    const std::size_t before = bytes_in_use();
    const std::vector<char> more(100'000);
    return bytes_in_use() >= before + more.size();
}

/// Keeps nothing.
struct plain_memory final : frame_resource {
    void* allocate(std::size_t bytes) override { return ::operator new(bytes); }
    void deallocate(void* block, std::size_t) noexcept override { ::operator delete(block); }
};

}  // namespace

TEST_CASE("what a peak has left behind is given back, and nothing that is pending is touched") {
    plain_memory memory;
    io_context ctx(small_ring(io_uring_reactor::default_entries));
    ctx.frames(&memory);
    const frame_resource_scope use(&memory);
    ctx.block_on([](io_context& c) -> task<> {
        constexpr std::size_t many = 1'000;
        crowd all(c, many);
        std::size_t received = 0;
        std::size_t canceled = 0;
        const auto receive = [&](udp::socket& from) -> task<> {
            std::array<char, 4> buffer;
            const auto got = co_await from.receive(buffer);
            received += got.ok();
            canceled += got.ec == errc::canceled;
        };
        for (int round = 0; round < 3; ++round) {
            received = canceled = 0;
            task_group group;
            for (udp::socket& each : all.sockets) group.spawn(receive(each));
            for (int turns = 0; turns < 3; ++turns) co_await yield();  // the kernel has them
            auto& last = all.sockets[many / 2];                        // which waits on
            for (udp::socket& each : all.sockets)
                if (&each != &last) each.cancel();
            while (canceled < many - 1) co_await yield();
            const std::size_t before = bytes_in_use();
            for (int turns = 0; turns < 5'000; ++turns) co_await yield();
            if (tells_bytes_in_use()) CHECK(before > bytes_in_use() + many * 100);
            (co_await last.send_to("!", last.local_endpoint())).value();
            (co_await group.join()).value();
            CHECK(received == 1);
        }
    }(ctx));
}

#endif
