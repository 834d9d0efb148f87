// The reference for io_uring: connections as a C programmer would accept them with liburing. All
// but making a socket goes through the ring, and one system call a turn hands it over and waits.
// A send and the recv after it are handed over together.
//
// `--accept multishot` asks for connections once and for all, as liburing's documentation
// recommends for servers; with `one` each is asked for.

#include "accept.hpp"
#include "ring.hpp"

#include <cstdint>
#include <vector>

using plain::entry_for;
using plain::must;
using plain::ring;

namespace {

enum class step : std::uint32_t { accepted, greeted, server_read, connected, client_read };

struct client {
    int descriptor;
    char byte;
};

void begin(std::vector<client>& clients, std::uint32_t which, const sockaddr_in& to) {
    client& mine = clients[which];
    mine.descriptor = socket(AF_INET, SOCK_STREAM, 0);
    must(mine.descriptor >= 0, "socket");
    io_uring_prep_connect(entry_for(step::connected, which), mine.descriptor, plain::raw(to),
                          sizeof to);
}

void end(int descriptor) {
    io_uring_sqe* entry = entry_for(step::greeted, 0);
    io_uring_prep_close(entry, descriptor);
    io_uring_sqe_set_flags(entry, IOSQE_CQE_SKIP_SUCCESS);
}

}  // namespace

int main(int argc, char** argv) {
    bench::arguments arguments(argc, argv, {"--connections", "--at-once", "--accept"});
    const bool multishot = arguments.choice("--accept", {"one", "multishot"}) == "multishot";
    bench::accept_meter meter(arguments);

    plain::make_ring();

    const int listener = plain::listening(SOCK_STREAM);
    const sockaddr_in address = plain::address_of(listener);
    auto accept_more = [&] {
        io_uring_sqe* entry = entry_for(step::accepted, 0);
        if (multishot)
            io_uring_prep_multishot_accept(entry, listener, nullptr, nullptr, 0);
        else
            io_uring_prep_accept(entry, listener, nullptr, nullptr, 0);
    };
    accept_more();
    std::vector<client> clients(meter.at_once());
    for (std::uint32_t i = 0; i < clients.size() && meter.one_more(); ++i)
        begin(clients, i, address);

    char nothing = 0;  // where servers read to
    while (!meter.finished()) {
        plain::turn([&](const io_uring_cqe& completion) {
            const std::uint64_t data = io_uring_cqe_get_data64(&completion);
            const auto whose = static_cast<std::uint32_t>(data);
            const int result = completion.res;
            switch (static_cast<step>(data >> 32)) {
            case step::accepted: {
                must(result >= 0, "accept");
                const auto server = static_cast<std::uint32_t>(result);
                io_uring_sqe* greet = entry_for(step::greeted, 0);
                io_uring_prep_send(greet, result, &bench::greeting, 1, MSG_NOSIGNAL);
                io_uring_sqe_set_flags(greet, IOSQE_CQE_SKIP_SUCCESS);
                io_uring_prep_recv(entry_for(step::server_read, server), result, &nothing, 1, 0);
                if (!(completion.flags & IORING_CQE_F_MORE)) accept_more();
                break;
            }
            case step::greeted:  // or closed: success says nothing
                must(false, "send or close");
                break;
            case step::server_read:
                must(result <= 0, "the client sent something");
                end(static_cast<int>(whose));
                meter.one_done();
                break;
            case step::connected:
                must(result == 0, "connect");
                io_uring_prep_recv(entry_for(step::client_read, whose), clients[whose].descriptor,
                                   &clients[whose].byte, 1, 0);
                break;
            case step::client_read:
                must(result == 1 && clients[whose].byte == bench::greeting, "recv");
                plain::reset_on_close(clients[whose].descriptor);
                end(clients[whose].descriptor);
                if (meter.one_more()) begin(clients, whose, address);
                break;
            }
        });
    }
    meter.report();
}
