#include <curfew/core/operation.hpp>

#include <doctest/doctest.h>

#include <cstddef>
#include <cstdint>
#include <random>
#include <vector>

using curfew::operation;
using curfew::operation_kind;
using curfew::outcome;
using curfew::readiness;
using curfew::socket_state;
using curfew::platform::buffer;

namespace {

/// Buffers of these sizes, none of which is read or written here.
class buffers_of {
public:
    explicit buffers_of(std::vector<std::size_t> sizes) {
        for (const std::size_t size : sizes) list_.push_back({storage_, size});
    }
    void give_to(operation& op) const {
        op.buffers = list_.data();
        op.buffer_count = static_cast<std::uint32_t>(list_.size());
    }

private:
    std::byte storage_[1];
    std::vector<buffer> list_;
};

struct ended {
    outcome result;
    int error;
};

ended finished(outcome reason, outcome how, int error = 0) {
    socket_state socket;
    operation op(operation_kind::read, readiness::readable, &socket);
    op.progress = operation::state::pending;
    op.reason = reason;
    op.finish(how, error);
    REQUIRE(op.progress == operation::state::complete);
    return {op.result, op.error};
}

}  // namespace

// How an operation ends ---------------------------------------------------------------------------

TEST_CASE("an operation that nobody asked to end says what the system said") {
    CHECK(finished(outcome::success, outcome::success).result == outcome::success);
    CHECK(finished(outcome::success, outcome::eof).result == outcome::eof);
    const ended failed = finished(outcome::success, outcome::system, 111);
    CHECK(failed.result == outcome::system);
    CHECK(failed.error == 111);
}

TEST_CASE("completion beats the limit, and whatever else was a reason to end") {
    for (const auto reason : {outcome::timed_out, outcome::canceled, outcome::closed})
        CHECK(finished(reason, outcome::success).result == outcome::success);
    CHECK(operation::completion_beats_the_limit(outcome::success));
    CHECK_FALSE(operation::completion_beats_the_limit(outcome::eof));
}

TEST_CASE("bytes that were moved before a limit ended the transfer are counted all the same") {
    socket_state socket;
    std::byte storage[10];
    const buffer all{storage, sizeof storage};
    operation op(&socket, &all, true);
    op.describe(operation_kind::read, readiness::readable, 1);
    op.progress = operation::state::pending;
    CHECK_FALSE(op.advance(4));
    op.reason = outcome::timed_out;
    op.finish(outcome::canceled);
    CHECK(op.result == outcome::timed_out);
    CHECK(op.transferred == 4);
}

TEST_CASE("the reason wins over the error it caused") {
    for (const auto reason : {outcome::timed_out, outcome::canceled, outcome::closed}) {
        for (const auto how : {outcome::system, outcome::eof, outcome::canceled, outcome::closed}) {
            CHECK(finished(reason, how, 104).result == reason);
        }
    }
}

namespace {

/// The platform's number for an error.
int number_of(std::errc error) {
    for (int number = 1; number < 20'000; ++number)
        if (curfew::platform::error_code(number) == error) return number;
    FAIL("the platform has no number for it");
    return 0;
}

}  // namespace

TEST_CASE("what one is told of the end of a connection, whoever reads later is told, too") {
    socket_state socket;
    const auto finish = [&](operation_kind kind, outcome how, int error = 0) {
        operation op(kind, readiness::readable, &socket);
        op.progress = operation::state::pending;
        op.finish(how, error);
        return op.result == outcome::system ? op.error : -static_cast<int>(op.result);
    };
    const auto eof = -static_cast<int>(outcome::eof);
    const int reset = number_of(std::errc::connection_reset);
    const int broken_pipe = curfew::platform::broken_pipe;
    finish(operation_kind::write, outcome::system, broken_pipe);
    finish(operation_kind::write, outcome::system, curfew::platform::out_of_memory);
    finish(operation_kind::send_to, outcome::system, reset);
    CHECK(finish(operation_kind::read, outcome::eof) == eof);
    finish(operation_kind::write, outcome::system, reset);
    finish(operation_kind::write, outcome::system, broken_pipe);
    for (int i = 0; i < 2; ++i) CHECK(finish(operation_kind::read, outcome::eof) == reset);
    for (const auto error : {std::errc::timed_out, std::errc::host_unreachable,
                             std::errc::network_unreachable, std::errc::connection_aborted}) {
        const int number = number_of(error);
        finish(operation_kind::read, outcome::system, number);
        CHECK(finish(operation_kind::read, outcome::eof) == number);
    }
}

// Progress through the buffers --------------------------------------------------------------------

TEST_CASE("a single transfer is done with any byte moved") {
    operation op(operation_kind::read, readiness::readable, nullptr);
    const buffers_of buffers({10, 10});
    buffers.give_to(op);
    CHECK(op.advance(1));
    CHECK(op.transferred == 1);
}

TEST_CASE("an exact operation goes on until its buffers are used up, and counts all") {
    operation op(operation_kind::read, readiness::readable, nullptr);
    op.exact = true;
    const buffers_of buffers({10, 5});
    buffers.give_to(op);
    CHECK_FALSE(op.advance(4));
    CHECK(op.buffer_count == 2);
    CHECK(op.offset == 4);
    CHECK_FALSE(op.advance(6));  // the first is full
    CHECK(op.buffer_count == 1);
    CHECK(op.offset == 0);
    CHECK(op.buffers->size == 5);
    CHECK_FALSE(op.advance(4));
    CHECK(op.offset == 4);
    CHECK(op.advance(1));
    CHECK(op.transferred == 15);
}

TEST_CASE("one step may fill several buffers and a part of the next") {
    operation op(operation_kind::read, readiness::readable, nullptr);
    op.exact = true;
    const buffers_of buffers({2, 3, 4, 5});
    buffers.give_to(op);
    CHECK_FALSE(op.advance(2 + 3 + 4 + 1));
    CHECK(op.buffer_count == 1);
    CHECK(op.offset == 1);
    CHECK(op.advance(4));
    CHECK(op.transferred == 14);
}

TEST_CASE("empty buffers are passed over, wherever they stand") {
    operation op(operation_kind::read, readiness::readable, nullptr);
    op.exact = true;
    const buffers_of buffers({0, 3, 0, 0, 2, 0});
    buffers.give_to(op);
    CHECK_FALSE(op.advance(0));
    CHECK(op.buffers->size == 3);
    CHECK_FALSE(op.advance(3));
    CHECK(op.buffers->size == 2);
    CHECK(op.offset == 0);
    CHECK(op.advance(2));  // and the empty one behind it needs no further step
    CHECK(op.buffer_count == 0);
    CHECK(op.transferred == 5);
}

TEST_CASE("in steps of any size an exact operation ends with its last byte and not before") {
    const unsigned seed = std::random_device()();
    CAPTURE(seed);
    std::mt19937 random(seed);
    for (int round = 0; round < 500; ++round) {
        std::vector<std::size_t> sizes(1 + random() % 6);
        std::size_t total = 0;
        for (auto& size : sizes) total += size = random() % 3 ? random() % 20 : 0;
        if (total == 0) continue;
        operation op(operation_kind::read, readiness::readable, nullptr);
        op.exact = true;
        const buffers_of buffers(sizes);
        buffers.give_to(op);
        std::size_t left = total;
        while (left > 0) {
            const std::size_t step = 1 + random() % left;
            left -= step;
            REQUIRE(op.advance(step) == (left == 0));
            REQUIRE(op.transferred == total - left);
        }
    }
}

// Directions ----------------------------------------------------------------------------------

TEST_CASE("an operation waits for one direction, or for both") {
    operation op(operation_kind::read, readiness::readable, nullptr);
    op.interest = readiness::writable;
    CHECK(op.waits_for(readiness::writable));
    CHECK_FALSE(op.waits_for(readiness::readable));
    op.interest = readiness::readable | readiness::writable;
    CHECK(op.waits_for(readiness::readable));
    CHECK(op.waits_for(readiness::writable));
}
