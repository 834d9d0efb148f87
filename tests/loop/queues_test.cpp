#include <curfew/loop/queues.hpp>

#include <doctest/doctest.h>

#include <vector>

using namespace curfew::detail;

namespace {

/// A function that notes whether it was called or dropped.
struct numbered : posted_function {
    explicit numbered(int number) : id(number) {
        run = [](posted_function& self, bool call) {
            static_cast<numbered&>(self).was = call ? called : dropped;
        };
    }
    enum { waiting, called, dropped } was = waiting;
    int id;
};

/// Who stands in a queue; 0 stands for those who gave way.
std::vector<int> order(ready_queue& queue, queues& of) {
    std::vector<int> found;
    while (ready_node* const node = queue.pop())
        found.push_back(of.take_yielded_entry(*node) ? 0 : static_cast<numbered&>(*node).id);
    return found;
}

using list = std::vector<int>;

}  // namespace

TEST_CASE("one entry, behind all who are ready, stands for all who gave way before") {
    queues own;
    numbered first(1), second(2), third(3), fourth(4);
    own.defer(first);
    own.defer(second);
    CHECK_FALSE(own.may_wait());
    own.ready.push(third);
    own.queue_deferred();
    own.queue_deferred();
    own.ready.push(fourth);
    CHECK(order(own.ready, own) == list{3, 0, 4});
    CHECK(own.yielded.pop() == &first);
    own.defer(third);
    own.queue_yielded();  // some are left
    CHECK(order(own.ready, own) == list{0});
    CHECK(order(own.yielded, own) == list{2});
    own.queue_yielded();  // who gave way in this turn has to wait for the next
    CHECK(own.ready.empty());
    own.queue_deferred();
    CHECK(order(own.ready, own) == list{0});
    CHECK(order(own.yielded, own) == list{3});
}

TEST_CASE("whose limits have expired go on before the others, but for too many of them") {
    queues own;
    numbered first(1), second(2), third(3), fourth(4), fifth(5);
    own.ready.push(first);
    own.ready.push(second);
    ready_queue others;
    own.set_aside(others);
    own.ready.push(third);
    own.ready.push(fourth);
    own.ready.push(fifth);
    own.queue_expired(others, 2);
    CHECK_FALSE(own.may_wait());
    CHECK(order(own.expired, own) == list{3, 4});
    CHECK(order(own.ready, own) == list{1, 2, 5});
}

TEST_CASE("in one queue, all go on in the order of the queues") {
    queues own;
    numbered expired(1), ready(2), yielded(3), deferred(4);
    own.defer(yielded);
    own.queue_deferred();
    own.ready.pop();
    own.defer(deferred);
    own.ready.push(ready);
    own.expired.push(expired);
    own.join_all();
    CHECK(order(own.ready, own) == list{1, 2, 3, 4});
    CHECK(own.empty());
}

TEST_CASE("functions that are left when a loop ends are dropped, each once, and not called") {
    queues own;
    numbered each[]{numbered(1), numbered(2), numbered(3), numbered(4)};
    own.ready.push(each[0]);
    own.expired.push(each[1]);
    own.yielded.push(each[2]);
    own.defer(each[3]);
    own.queue_yielded();  // whose entry is dropped, too
    own.discard();
    CHECK(own.empty());
    for (const numbered& one : each) CHECK(one.was == numbered::dropped);
}
