// For the programs that use liburing: their one ring, set up and turned as its documentation
// recommends. (The echo has its own: these cost it fifty instructions a round trip, and it is what
// curfew is measured by.)
#pragma once

#include "plain.hpp"

#include <cstdint>

#include <liburing.h>

namespace plain {

// (Not shared between files, so that the compiler knows who uses it.)
static io_uring ring;

/// To be called before all else. The ring belongs to the one thread, where the kernel has that.
inline void make_ring() {
    constexpr unsigned fastest = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN;
    errno = -io_uring_queue_init(256, &ring, fastest);
    if (errno == EINVAL) errno = -io_uring_queue_init(256, &ring, 0);  // before Linux 6.1
    must(errno == 0, "io_uring_queue_init");
}

/// An entry whose completion says what was done, and for whom.
template <class Step>
io_uring_sqe* entry_for(Step what, std::uint32_t whose) {
    io_uring_sqe* entry = io_uring_get_sqe(&ring);
    if (!entry) {
        must(io_uring_submit(&ring) >= 0, "io_uring_submit");
        entry = io_uring_get_sqe(&ring);
    }
    io_uring_sqe_set_data64(entry, std::uint64_t{static_cast<std::uint32_t>(what)} << 32 | whose);
    return entry;
}

/// One system call hands over what is queued and waits; then all completions are taken. `take` sees
/// each with `errno` set to its error, if it is one.
template <class Take>
void turn(Take take) {
    must(io_uring_submit_and_wait(&ring, 1) >= 0, "io_uring_submit_and_wait");
    unsigned head = 0;
    unsigned count = 0;
    io_uring_cqe* completion = nullptr;
    io_uring_for_each_cqe(&ring, head, completion) {
        ++count;
        errno = -completion->res;
        take(*completion);
    }
    io_uring_cq_advance(&ring, count);
}

}  // namespace plain
