// The reference for io_uring: the echo as a C programmer would write it with liburing. All recv and
// send go through the ring, which belongs to the one thread, and one system call a turn hands them
// over and waits.

#include "echo.hpp"

#include <memory>
#include <vector>

#include <liburing.h>

using plain::must;

namespace {

struct end {
    int descriptor;
    bool client;
    bool sending = false;
    std::size_t received = 0;  // of the client's current message
    unsigned long round = 0;
    echo::message text;
    std::array<std::byte, echo::buffer_size> buffer;

    end(int socket, bool is_client, unsigned long connection)
        : descriptor(socket), client(is_client), text(connection) {}
};

io_uring ring;

io_uring_sqe* entry_for(end& what) {
    io_uring_sqe* entry = io_uring_get_sqe(&ring);
    if (!entry) {
        must(io_uring_submit(&ring) >= 0, "io_uring_submit");
        entry = io_uring_get_sqe(&ring);
    }
    io_uring_sqe_set_data(entry, &what);
    return entry;
}

void receive(end& here) {
    here.sending = false;
    io_uring_prep_recv(entry_for(here), here.descriptor, here.buffer.data() + here.received,
                       here.buffer.size() - here.received, 0);
}

void send(end& from, const std::byte* bytes, std::size_t size) {
    from.sending = true;
    io_uring_prep_send(entry_for(from), from.descriptor, bytes, size, MSG_NOSIGNAL);
}

void send_message(end& client) {
    send(client, client.text.stamp(client.round).data(), echo::message_size);
}

}  // namespace

int main(int argc, char** argv) {
    echo::arguments arguments(argc, argv, {ECHO_OPTIONS});
    echo::meter meter(arguments);
    const unsigned long connections = meter.connections();

    constexpr unsigned fastest = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN;
    errno = -io_uring_queue_init(256, &ring, fastest);
    if (errno == EINVAL) errno = -io_uring_queue_init(256, &ring, 0);  // before Linux 6.1
    must(errno == 0, "io_uring_queue_init");
    std::vector<std::unique_ptr<end>> ends;
    auto add = [&](int descriptor, bool client, unsigned long connection) {
        ends.push_back(std::make_unique<end>(descriptor, client, connection));
    };
    for (const auto [client, server] : echo::connect_all(connections)) {
        const unsigned long number = ends.size() / 2;
        add(server, false, number);
        add(client, true, number);
    }
    for (auto& each : ends) each->client ? send_message(*each) : receive(*each);

    for (unsigned long working = connections; working > 0;) {
        must(io_uring_submit_and_wait(&ring, 1) >= 0, "io_uring_submit_and_wait");
        unsigned head = 0;
        unsigned count = 0;
        io_uring_cqe* completion = nullptr;
        io_uring_for_each_cqe(&ring, head, completion) {
            ++count;
            end& here = *static_cast<end*>(io_uring_cqe_get_data(completion));
            errno = -completion->res;
            must(completion->res > 0, here.sending ? "send" : "recv");
            const auto n = static_cast<std::size_t>(completion->res);
            if (here.sending) {
                must(n == (here.client ? echo::message_size : here.received), "send");
                here.received = 0;
                receive(here);
                continue;
            }
            here.received += n;
            if (!here.client) {
                send(here, here.buffer.data(), n);
                continue;
            }
            if (here.received < echo::message_size) {
                receive(here);
                continue;
            }
            here.text.check(here.buffer.data());
            here.received = 0;
            meter.round_done();
            if (++here.round < meter.rounds_of_each())
                send_message(here);
            else
                --working;
        }
        io_uring_cq_advance(&ring, count);
    }
    meter.report();
}
