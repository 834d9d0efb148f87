// The reference for io_uring: idle connections as a C programmer would keep them with liburing. A
// read with a limit is a recv linked to a timeout, both of which the kernel keeps: of all the
// programs this one's own memory says least.

#include "idle.hpp"
#include "ring.hpp"

using plain::must;
using plain::ring;

namespace {

struct connection {
    int descriptor;
    bench::idle_buffer buffer;
};

__kernel_timespec limit{30, 0};

/// The entries of a link have to be handed over together: so ask for room for all of them.
void make_room(unsigned entries) {
    if (io_uring_sq_space_left(&ring) < entries)
        must(io_uring_submit(&ring) >= 0, "io_uring_submit");
}

void receive(connection& mine) {
    make_room(2);
    io_uring_sqe* entry = io_uring_get_sqe(&ring);
    io_uring_prep_recv(entry, mine.descriptor, mine.buffer.data(), mine.buffer.size(), 0);
    io_uring_sqe_set_flags(entry, IOSQE_IO_LINK);
    io_uring_sqe_set_data(entry, &mine);
    entry = io_uring_get_sqe(&ring);
    io_uring_prep_link_timeout(entry, &limit, 0);
    io_uring_sqe_set_data(entry, &limit);
}

void accept(int& listener) {
    make_room(1);
    io_uring_sqe* entry = io_uring_get_sqe(&ring);
    io_uring_prep_accept(entry, listener, nullptr, nullptr, 0);
    io_uring_sqe_set_data(entry, &listener);
}

}  // namespace

int main(int argc, char** argv) {
    bench::arguments arguments(argc, argv, {"--connections"});
    bench::idle_meter meter(arguments);

    plain::make_ring();
    int listener = plain::listening(SOCK_STREAM);
    accept(listener);
    meter.begin(ntohs(plain::address_of(listener).sin_port));

    unsigned long accepted = 0;
    for (unsigned long open = 0; accepted < meter.connections() || open > 0;) {
        plain::turn([&](const io_uring_cqe& completion) {
            void* const whose = io_uring_cqe_get_data(&completion);
            if (whose == &limit) return;  // the recv says it all
            if (whose == &listener) {
                must(completion.res >= 0, "accept");
                auto* mine = new connection;
                mine->descriptor = completion.res;
                receive(*mine);
                ++open;
                if (++accepted < meter.connections()) {
                    accept(listener);
                } else {
                    must(io_uring_submit(&ring) >= 0, "io_uring_submit");
                    meter.all_wait();
                }
                return;
            }
            auto& mine = *static_cast<connection*>(whose);
            if (completion.res > 0) {
                receive(mine);
                return;
            }
            close(mine.descriptor);  // the end, a reset, or too late
            delete &mine;
            --open;
        });
    }
    meter.report();
}
