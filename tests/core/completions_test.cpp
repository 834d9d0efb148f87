#include <curfew/core/completions.hpp>

#include <doctest/doctest.h>

using curfew::completions;
using curfew::operation;
using curfew::operation_kind;
using curfew::outcome;
using curfew::readiness;
using curfew::socket_state;
using curfew::detail::ready_queue;

TEST_CASE("a delivered operation is no longer its socket's pending one, and is queued") {
    ready_queue ready;
    completions done(ready);
    socket_state socket;
    operation reader(operation_kind::read, readiness::readable, &socket);
    operation writer(operation_kind::write, readiness::writable, &socket);
    socket.reader = &reader;
    socket.writer = &writer;

    writer.finish(outcome::success);
    done.push(writer);
    CHECK(socket.reader == &reader);
    CHECK(socket.writer == nullptr);
    CHECK(ready.pop() == &writer);

    reader.finish(outcome::eof);
    done.push(reader);
    CHECK(socket.reader == nullptr);
    CHECK(ready.pop() == &reader);
    CHECK(ready.empty());
}

TEST_CASE("a wait of both directions leaves both places at once") {
    ready_queue ready;
    completions done(ready);
    socket_state socket;
    operation both(operation_kind::wait, readiness::readable | readiness::writable, &socket);
    socket.reader = socket.writer = &both;
    both.finish(outcome::success);
    done.push(both);
    CHECK(socket.reader == nullptr);
    CHECK(socket.writer == nullptr);
    CHECK(ready.pop() == &both);
    CHECK(ready.empty());
}

TEST_CASE("a read and a write that are known as such leave their own place") {
    ready_queue ready;
    completions done(ready);
    socket_state socket;
    operation reader(operation_kind::read, readiness::readable, &socket);
    operation writer(operation_kind::write, readiness::writable, &socket);
    socket.reader = &reader;
    socket.writer = &writer;
    reader.finish(outcome::success);
    done.push_read(reader, socket);
    CHECK(socket.reader == nullptr);
    CHECK(socket.writer == &writer);
    writer.finish(outcome::success);
    done.push_write(writer, socket);
    CHECK(socket.writer == nullptr);
    CHECK(ready.pop() == &reader);
    CHECK(ready.pop() == &writer);
}

TEST_CASE("what a reactor says of what is to come is said until it is asked for") {
    ready_queue ready;
    completions done(ready);
    CHECK_FALSE(done.take_more_may_follow());
    CHECK_FALSE(done.take_transfer_continues());
    done.more_may_follow();
    done.more_may_follow();
    CHECK_FALSE(done.take_transfer_continues());
    CHECK(done.take_more_may_follow());
    CHECK_FALSE(done.take_more_may_follow());
    done.transfer_continues();
    CHECK_FALSE(done.take_more_may_follow());
    CHECK(done.take_transfer_continues());
    CHECK_FALSE(done.take_transfer_continues());
}
