#include <curfew/sim/kernel/stack.hpp>

#include <cerrno>

#include <doctest/doctest.h>

#include "two_hosts.hpp"

namespace {

using namespace two_hosts;

descriptor datagrams(stack& on, const address& at) {
    descriptor made = -1;
    on.open(at.family, transport::datagram, made);
    CHECK(on.bind(made, at) == 0);
    return made;
}

TEST_CASE("a datagram arrives whole, or is cut with a word") {
    world in;
    const descriptor from = datagrams(in.a, v4(1, 1000));
    const descriptor to = datagrams(in.b, any(family::v4, 2000));
    const address there = v4(2, 2000);
    const std::string text = "a datagram";
    const auto* const bytes = reinterpret_cast<const std::byte*>(text.data());
    CHECK(in.a.send_to(from, bytes, text.size(), &there) == 10);
    CHECK(in.a.send_to(from, bytes, text.size(), &there) == 10);
    in.run_for(second);
    std::byte buffer[100];
    address sender;
    bool cut = false;
    CHECK(in.b.receive_from(to, buffer, sizeof buffer, &sender, cut) == 10);
    CHECK_FALSE(cut);
    CHECK(sender == v4(1, 1000));
    CHECK(in.b.receive_from(to, buffer, 4, &sender, cut) == 4);
    CHECK(cut);
    CHECK(in.b.receive_from(to, buffer, sizeof buffer, &sender, cut) == -EAGAIN);
    CHECK(in.a.send_to(from, bytes, 65508, &there) == -EMSGSIZE);
}

TEST_CASE("who is connected learns that nobody takes its datagrams") {
    world in;
    const descriptor from = datagrams(in.a, v4(1, 1000));
    CHECK(in.a.connect(from, v4(2, 2000)) == 0);
    CHECK(send(in.a, from, "anybody?") == 8);
    in.run_for(second);
    CHECK((in.a.poll(from) & poll_bit_error) != 0);
    CHECK(receive_error(in.a, from) == ECONNREFUSED);
    CHECK(receive_error(in.a, from) == EAGAIN);
}

TEST_CASE("datagrams to all, and to a group") {
    world in;
    const descriptor from = datagrams(in.a, v4(1, 1000));
    const descriptor to = datagrams(in.b, any(family::v4, 2000));
    const std::byte one{1};
    address all = any(family::v4, 2000);
    for (int i = 0; i < 4; ++i) all.bytes[i] = 255;
    CHECK(in.a.send_to(from, &one, 1, &all) == -EACCES);
    in.a.set_option(from, curfew::platform::option::broadcast, 1);
    CHECK(in.a.send_to(from, &one, 1, &all) == 1);
    in.run_for(second);
    CHECK(receive(in.b, to).size() == 1);

    address group = any(family::v4, 2000);
    group.bytes[0] = 224;
    group.bytes[3] = 5;
    CHECK(in.a.send_to(from, &one, 1, &group) == 1);
    in.run_for(second);
    CHECK(receive_error(in.b, to) == EAGAIN);
    CHECK(in.b.join(to, group, true) == 0);
    CHECK(in.a.send_to(from, &one, 1, &group) == 1);
    in.run_for(second);
    CHECK(receive(in.b, to).size() == 1);
    CHECK(in.b.join(to, group, false) == 0);
    CHECK(in.a.send_to(from, &one, 1, &group) == 1);
    in.run_for(second);
    CHECK(receive_error(in.b, to) == EAGAIN);
}

TEST_CASE("descriptors are used again from the lowest, and run out when told to") {
    world in;
    in.a.most_descriptors = 6;
    descriptor made[3] = {-1, -1, -1};
    for (descriptor& each : made) CHECK(in.a.open(family::v4, transport::stream, each) == 0);
    descriptor more = -1;
    CHECK(in.a.open(family::v4, transport::stream, more) == EMFILE);
    CHECK(in.a.close(made[1]) == 0);
    CHECK(in.a.open(family::v4, transport::stream, more) == 0);
    CHECK(more == made[1]);
}

TEST_CASE("an address is bound once, unless both share it") {
    world in;
    descriptor one = -1, two = -1;
    in.a.open(family::v4, transport::stream, one);
    in.a.open(family::v4, transport::stream, two);
    CHECK(in.a.bind(one, v4(1, 80)) == 0);
    CHECK(in.a.bind(two, any(family::v4, 80)) == EADDRINUSE);
    CHECK(in.a.bind(two, v4(9, 80)) == EADDRNOTAVAIL);
    in.a.close(two);
    in.a.open(family::v4, transport::stream, two);
    in.a.set_option(one, curfew::platform::option::reuse_port, 1);
    in.a.set_option(two, curfew::platform::option::reuse_port, 1);
    CHECK(in.a.bind(two, v4(1, 80)) == 0);
}

TEST_CASE("a host talks to itself") {
    world in;
    descriptor listener = -1, client = -1, server = -1;
    in.a.open(family::v4, transport::stream, listener);
    in.a.bind(listener, any(family::v4, 80));
    in.a.listen(listener, 1);
    in.a.open(family::v4, transport::stream, client);
    for (const address& to : {v4(1, 80), any(family::v4, 80)}) {
        CHECK(in.a.connect(client, to) == EINPROGRESS);
        in.run_for(second);
        CHECK(in.a.accept(listener, server, nullptr) == 0);
        in.a.close(client);
        in.a.close(server);
        in.a.open(family::v4, transport::stream, client);
    }
}

TEST_CASE("a link has a rate, and a queue that overflows") {
    world in;
    link_options& link = in.wire.default_link();
    link.rate = 1'000'000;
    link.queue = 100'000;
    const descriptor from = datagrams(in.a, v4(1, 1000));
    const descriptor to = datagrams(in.b, any(family::v4, 2000));
    const address there = v4(2, 2000);
    std::vector<std::byte> bytes(1000);
    for (int i = 0; i < 500; ++i) in.a.send_to(from, bytes.data(), bytes.size(), &there);
    const nanoseconds begin = in.wire.now();
    int got = 0;
    while (in.run_until([&] { return (in.b.poll(to) & poll_bit_in) != 0; }, second))
        got += receive(in.b, to, 1000).size() == 1000;
    CHECK(got > 90);
    CHECK(got < 110);
    CHECK((in.wire.now() - begin) / millisecond >= 95);
}

}  // namespace
