// The reference for io_uring: datagrams as a C programmer would echo them with liburing. All of
// them go through the ring, and one system call a turn hands them over and waits.
//
// `--receive multishot` does as liburing's own example for UDP: each socket receives once and for
// all, into buffers that the ring is provided with; a buffer goes back to it when what was in it
// has been sent on. With `one` each datagram is asked for.

#include "ring.hpp"
#include "udp.hpp"

#include <cstdint>
#include <vector>

using plain::entry_for;
using plain::must;
using plain::ring;

namespace {

enum class step : std::uint32_t { received, sent };

/// One datagram, on its way in or out.
struct slot {
    msghdr header;
    iovec part;
    sockaddr_in address;
    alignas(16) std::array<std::byte, 128> bytes;  // multishot: a header, the sender, the datagram
};

constexpr unsigned slot_count = 256;  // a power of two; 64 in flight need 130
constexpr int group = 0;

std::array<slot, slot_count> slots;
bool multishot;
io_uring_buf_ring* provided;   // multishot: the slots that are free
std::vector<unsigned> unused;  // else

struct end {
    int descriptor = plain::bound(SOCK_DGRAM);
    msghdr header{};         // multishot: what to receive
    unsigned receiving = 0;  // else: the slot
};

void describe(slot& here, void* bytes, std::size_t size, void* address) {
    here.part = {bytes, size};
    here.header = {};
    here.header.msg_name = address;
    here.header.msg_namelen = sizeof here.address;
    here.header.msg_iov = &here.part;
    here.header.msg_iovlen = 1;
}

void set_free(unsigned which) {
    if (!multishot) {
        unused.push_back(which);
        return;
    }
    io_uring_buf_ring_add(
        provided, slots[which].bytes.data(), static_cast<unsigned>(slots[which].bytes.size()),
        static_cast<unsigned short>(which), io_uring_buf_ring_mask(slot_count), 0);
    io_uring_buf_ring_advance(provided, 1);
}

void receive(end& here, std::uint32_t number) {
    io_uring_sqe* entry = entry_for(step::received, number);
    if (multishot) {
        here.header.msg_namelen = sizeof(sockaddr_in);
        io_uring_prep_recvmsg_multishot(entry, here.descriptor, &here.header, MSG_TRUNC);
        io_uring_sqe_set_flags(entry, IOSQE_BUFFER_SELECT);
        entry->buf_group = group;
        return;
    }
    must(!unused.empty(), "a slot");
    here.receiving = unused.back();
    unused.pop_back();
    slot& into = slots[here.receiving];
    describe(into, into.bytes.data(), bench::datagram_size, &into.address);
    io_uring_prep_recvmsg(entry, here.descriptor, &into.header, MSG_TRUNC);
}

/// The slot with the datagram that has come, described so that it can be sent back.
unsigned came(end& here, const io_uring_cqe& completion) {
    if (!multishot) return here.receiving;
    const unsigned which = completion.flags >> IORING_CQE_BUFFER_SHIFT;
    slot& into = slots[which];
    io_uring_recvmsg_out* const out =
        io_uring_recvmsg_validate(into.bytes.data(), completion.res, &here.header);
    must(out && out->namelen == sizeof(sockaddr_in), "recvmsg");
    describe(into, io_uring_recvmsg_payload(out, &here.header), out->payloadlen,
             io_uring_recvmsg_name(out));
    return which;
}

void send(end& from, unsigned which) {
    io_uring_prep_sendmsg(entry_for(step::sent, which), from.descriptor, &slots[which].header,
                          MSG_NOSIGNAL);
}

}  // namespace

int main(int argc, char** argv) {
    bench::arguments arguments(argc, argv, {"--packets", "--in-flight", "--receive"});
    bench::udp_meter meter(arguments);
    bench::datagrams datagrams(meter.rounds());
    multishot = arguments.choice("--receive", {"one", "multishot"}) == "multishot";

    plain::make_ring();
    if (multishot) {
        constexpr std::size_t size = slot_count * sizeof(io_uring_buf);
        provided = static_cast<io_uring_buf_ring*>(std::aligned_alloc(4096, size));
        io_uring_buf_ring_init(provided);
        io_uring_buf_reg registration{};
        registration.ring_addr = reinterpret_cast<std::uintptr_t>(provided);
        registration.ring_entries = slot_count;
        registration.bgid = group;
        errno = -io_uring_register_buf_ring(&ring, &registration, 0);
        must(errno == 0, "io_uring_register_buf_ring");
    }
    unused.reserve(slot_count);
    for (unsigned i = static_cast<unsigned>(meter.in_flight()); i < slot_count; ++i) set_free(i);

    std::array<end, 2> ends;  // the first, and the one that echoes
    sockaddr_in there = plain::address_of(ends[1].descriptor);
    for (std::uint32_t i = 0; i < ends.size(); ++i) receive(ends[i], i);
    for (unsigned i = 0; i < meter.in_flight() && datagrams.one_more(); ++i) {
        std::memcpy(slots[i].bytes.data(), datagrams.next().data(), bench::datagram_size);
        describe(slots[i], slots[i].bytes.data(), bench::datagram_size, &there);
        send(ends[0], i);
    }

    while (!meter.finished()) {
        plain::turn([&](const io_uring_cqe& completion) {
            const std::uint64_t data = io_uring_cqe_get_data64(&completion);
            const auto which = static_cast<std::uint32_t>(data);
            if (static_cast<step>(data >> 32) == step::sent) {
                must(completion.res == static_cast<int>(bench::datagram_size), "sendmsg");
                set_free(which);
                return;
            }
            must(completion.res >= static_cast<int>(bench::datagram_size), "recvmsg");
            end& here = ends[which];
            const unsigned got = came(here, completion);
            slot& in = slots[got];
            meter.one_received();
            if (which == 1) {
                send(here, got);
            } else {
                datagrams.check(static_cast<std::byte*>(in.part.iov_base), in.part.iov_len);
                if (datagrams.one_more()) {
                    std::memcpy(in.part.iov_base, datagrams.next().data(), bench::datagram_size);
                    in.header.msg_name = &there;
                    send(here, got);
                } else {
                    set_free(got);
                }
            }
            if (!(completion.flags & IORING_CQE_F_MORE)) receive(here, which);
        });
    }
    meter.report();
}
