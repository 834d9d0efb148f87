// The packets of iocp: the system's record of each pending operation, and where they come from.
#pragma once

#include "../../platform/platform.hpp"

#if defined(CURFEW_HAS_IOCP)

#include <cstddef>
#include <cstdint>
#include <new>
#include <utility>

#include "../../core/operation.hpp"
#include "system_calls.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew::detail::iocp {

inline constexpr DWORD accept_address_size = sizeof(sockaddr_storage) + 16;  // see AcceptEx

/// The system's record of an operation. It lives until the operation's completion has been
/// reaped, whatever becomes of the socket, and then serves the next one.
struct packet : OVERLAPPED {
    operation* op = nullptr;  // null: free
    packet* next = nullptr;   // in the list of the free
    std::uint32_t index = 0;
    bool closed = false;      // its socket was closed meanwhile
    bool closes = false;      // its end closes `handle`, if nothing else is pending there
    packet* other = nullptr;  // what is
    platform::socket_handle handle = platform::invalid_socket;
    platform::socket_handle accepted = platform::invalid_socket;
    DWORD flags = 0;
    union {
        platform::detail::native_address address;
        char accept_addresses[2 * accept_address_size];
        afd_poll poll;
    };

    packet() noexcept : OVERLAPPED{}, address() {}

    /// What is pending on a handle, one of these or both (or the same), closes it when the last has
    /// ended. False: nothing is.
    static bool close_at_end(packet* reader, packet* writer) noexcept {
        for (packet* each : {reader, writer}) {
            if (!each) continue;
            each->closes = true;
            each->other = nullptr;
        }
        if (reader && writer && reader != writer) {
            CURFEW_ASSERT(reader->handle == writer->handle);
            reader->other = writer;
            writer->other = reader;
        }
        return reader || writer;
    }

    CURFEW_COLD void close_unless_other() noexcept {
        closes = false;
        if (packet* const left = std::exchange(other, nullptr))
            left->other = nullptr;
        else
            platform::close(handle);
    }
};

/// Packets never move: they come in chunks, each as large as all those before it, and one more. An
/// operation keeps the number of its packet (`reactor_data`).
class packet_pool {
public:
    packet_pool() = default;
    packet_pool(const packet_pool&) = delete;
    packet_pool& operator=(const packet_pool&) = delete;
    ~packet_pool() {
        for (std::size_t i = 0; i < chunks_made_; ++i) {
            for (std::size_t j = 0; j < size_of_chunk(i); ++j) CURFEW_ASSERT(!chunks_[i][j].op);
            delete[] chunks_[i];
        }
    }

    /// Null: there is no memory.
    packet* take(operation& op) noexcept {
        if (!free_ && !add_chunk()) return nullptr;
        packet* const taken = std::exchange(free_, free_->next);
        taken->op = &op;
        taken->handle = op.socket->handle;
        op.reactor_data = taken->index;
        return taken;
    }

    /// That of a pending operation.
    packet& of(const operation& op) noexcept {
        CURFEW_ASSERT(op.progress == operation::state::pending);
        const std::size_t index = op.reactor_data;
        std::size_t which = 0;
        while (index >= begin_of_chunk(which + 1)) ++which;
        return chunks_[which][index - begin_of_chunk(which)];
    }

    /// The packet has been reaped, or was never used. Returns its operation.
    operation& give_back(packet& with) noexcept {
        if (with.closes) [[unlikely]]
            with.close_unless_other();
        with.closed = false;
        with.next = std::exchange(free_, &with);
        operation& op = *std::exchange(with.op, nullptr);
        if (op.socket->handle != with.handle) op.socket->worth_trying = 0;  // closed meanwhile
        return op;
    }

private:
    static constexpr std::size_t smallest_chunk = 16;
    static constexpr std::size_t most_chunks = 24;

    static constexpr std::size_t size_of_chunk(std::size_t which) noexcept {
        return smallest_chunk << which;
    }
    static constexpr std::size_t begin_of_chunk(std::size_t which) noexcept {
        return size_of_chunk(which) - smallest_chunk;
    }

    CURFEW_COLD bool add_chunk() noexcept {
        if (chunks_made_ == most_chunks) return false;
        const std::size_t size = size_of_chunk(chunks_made_);
        packet* const made = new (std::nothrow) packet[size];
        if (!made) return false;
        for (std::size_t i = 0; i < size; ++i) {
            made[i].index = static_cast<std::uint32_t>(begin_of_chunk(chunks_made_) + i);
            made[i].next = i + 1 < size ? &made[i + 1] : nullptr;
        }
        chunks_[chunks_made_++] = made;
        free_ = made;
        return true;
    }

    packet* chunks_[most_chunks] = {};
    std::size_t chunks_made_ = 0;
    packet* free_ = nullptr;
};

}  // namespace curfew::detail::iocp

#endif
