// What the programs with idle connections share: the clients, and the meter.
//
// All of them do the same: they accept connections from another process, and wait in a read with a
// limit of 30 s on each, into a buffer of 64 bytes that each connection has for itself. Nothing
// comes. What is measured is by how much the memory of the process has grown when all are waiting,
// compared to when all was ready for the first: in the allocator, as the program asked for it with
// what the allocator adds to each block, and in resident pages. None of the libraries maps
// memory of its own for a connection. What the kernel keeps for a socket, its place in an epoll
// or a pending io_uring operation is not counted.
#pragma once

#include "measure.hpp"

#include <array>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include <fcntl.h>
#include <malloc.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

namespace bench {

using idle_buffer = std::array<std::byte, 64>;

struct memory {
    double allocated;  // bytes
    double resident;

    static memory now() {
        const struct mallinfo2 heap = mallinfo2();
        // Without stdio, which would allocate.
        std::array<char, 128> text{};
        const int file = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
        if (read(file, text.data(), text.size() - 1) <= 0) fail("/proc/self/statm", "not there");
        close(file);
        unsigned long pages = 0;
        if (std::sscanf(text.data(), "%*u %lu", &pages) != 1) fail("/proc/self/statm", text.data());
        return {static_cast<double>(heap.uordblks) + static_cast<double>(heap.hblkhd),
                static_cast<double>(pages) * static_cast<double>(sysconf(_SC_PAGESIZE))};
    }
};

/// Makes the process of the clients; to be made before anything else that counts.
class idle_meter {
public:
    explicit idle_meter(const arguments& given)
        : connections_(given.number("--connections", 10'000)) {
        allow_descriptors(connections_ + 64);
        if (pipe(pipe_) != 0) fail("pipe", std::strerror(errno));
        child_ = fork();
        if (child_ < 0) fail("fork", std::strerror(errno));
        if (child_ == 0) be_clients();
        close(pipe_[0]);
        alarm(120);  // for the case that something went wrong
    }
    idle_meter(const idle_meter&) = delete;
    idle_meter& operator=(const idle_meter&) = delete;

    unsigned long connections() const noexcept { return connections_; }

    /// All is ready to accept connections at that port of 127.0.0.1: lets the clients connect.
    void begin(std::uint16_t port) {
        before_ = memory::now();
        if (write(pipe_[1], &port, sizeof port) != sizeof port) fail("pipe", std::strerror(errno));
    }

    /// All connections are waiting; they are ended by the clients now, with a RST.
    void all_wait() {
        after_ = memory::now();
        close(pipe_[1]);
        finished_ = true;
    }

    void report() const {
        if (!finished_) fail("idle", "the program ended before all connections waited");
        waitpid(child_, nullptr, 0);
        const auto count = static_cast<double>(connections_);
        std::printf("connections=%lu bytes_per_connection=%.1f rss_per_connection=%.1f\n",
                    connections_, (after_.allocated - before_.allocated) / count,
                    (after_.resident - before_.resident) / count);
    }

private:
    static void allow_descriptors(unsigned long wanted) {
        rlimit limit{};
        getrlimit(RLIMIT_NOFILE, &limit);
        limit.rlim_cur = limit.rlim_max;
        if (limit.rlim_max < wanted || setrlimit(RLIMIT_NOFILE, &limit) != 0)
            fail("--connections", "more than the hard limit of open files (ulimit -Hn) allows");
    }

    /// In the other process: connects, and waits till the pipe is closed. Ends with a RST for each
    /// connection, so that no port is used up.
    [[noreturn]] void be_clients() const {
        close(pipe_[1]);
        sockaddr_in to{};
        to.sin_family = AF_INET;
        to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        std::uint16_t port = 0;
        if (read(pipe_[0], &port, sizeof port) != sizeof port) _exit(1);
        to.sin_port = htons(port);
        for (unsigned long i = 0; i < connections_; ++i) {
            const int client = socket(AF_INET, SOCK_STREAM, 0);
            const linger reset{1, 0};
            if (client < 0 || connect(client, reinterpret_cast<sockaddr*>(&to), sizeof to) != 0 ||
                setsockopt(client, SOL_SOCKET, SO_LINGER, &reset, sizeof reset) != 0) {
                std::fprintf(stderr, "client %lu: %s\n", i, std::strerror(errno));
                kill(getppid(), SIGTERM);
                _exit(1);
            }
        }
        _exit(read(pipe_[0], &port, 1) == 0 ? 0 : 1);
    }

    unsigned long connections_;
    int pipe_[2];
    pid_t child_;
    bool finished_ = false;
    memory before_{};
    memory after_{};
};

}  // namespace bench
