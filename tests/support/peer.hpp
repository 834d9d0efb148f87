// The other side of a connection, written with plain blocking socket calls: programs that know
// nothing of curfew.
#pragma once

#include <doctest/doctest.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <string>
#include <thread>
#include <utility>

#include <curfew/curfew.hpp>

namespace test {

/// Repeats a call that was interrupted: by a signal, or by the kernel, which lets io_uring's work
/// be done in a thread that is blocked elsewhere.
template <class Call>
auto repeated(Call call) {
    auto n = call();
    while (n < 0 && errno == EINTR) n = call();
    return n;
}

/// A blocking descriptor that gives up after ten seconds, so that a broken test ends.
class blocking_socket {
public:
    explicit blocking_socket(int fd = -1) : fd_(fd) {
        if (fd_ < 0) return;
        const timeval limit{10, 0};
        ::setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
        ::setsockopt(fd_, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    }
    blocking_socket(blocking_socket&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
    blocking_socket& operator=(blocking_socket&& other) noexcept {
        std::swap(fd_, other.fd_);
        return *this;
    }
    ~blocking_socket() { close(); }

    int fd() const { return fd_; }

    void close() {
        if (fd_ >= 0) ::close(std::exchange(fd_, -1));
    }

    void reset() {
        const linger abortive{1, 0};
        ::setsockopt(fd_, SOL_SOCKET, SO_LINGER, &abortive, sizeof abortive);
        close();
    }

    /// Sends all; the error number, 0 if all went.
    int send(std::string_view bytes) {
        while (!bytes.empty()) {
            const auto n =
                repeated([&] { return ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL); });
            if (n < 0) return errno;
            bytes.remove_prefix(static_cast<std::size_t>(n));
        }
        return 0;
    }

    struct received {
        std::string bytes;  // empty without an error: end of stream
        int error = 0;
    };

    received receive(std::size_t most = 4096) {
        received got;
        got.bytes.resize(most);
        const auto n = repeated([&] { return ::recv(fd_, got.bytes.data(), most, 0); });
        got.error = n < 0 ? errno : 0;
        got.bytes.resize(n < 0 ? 0 : static_cast<std::size_t>(n));
        return got;
    }

    /// Receives until `size` bytes are there, or an error or the end comes first.
    received receive_all(std::size_t size) {
        received all;
        while (all.bytes.size() < size) {
            auto part = receive(std::min<std::size_t>(size - all.bytes.size(), 1 << 20));
            all.error = part.error;
            if (part.bytes.empty()) break;
            all.bytes += part.bytes;
        }
        return all;
    }

private:
    int fd_;
};

inline sockaddr_in loopback(std::uint16_t port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

class blocking_listener {
public:
    blocking_listener() : socket_(::socket(AF_INET, SOCK_STREAM, 0)) {
        const auto address = loopback(0);
        REQUIRE(::bind(socket_.fd(), reinterpret_cast<const sockaddr*>(&address), sizeof address) ==
                0);
        REQUIRE(::listen(socket_.fd(), 128) == 0);
    }

    curfew::ip::endpoint endpoint() const {
        sockaddr_in address{};
        socklen_t size = sizeof address;
        ::getsockname(socket_.fd(), reinterpret_cast<sockaddr*>(&address), &size);
        return {curfew::ip::address::loopback_v4(), ntohs(address.sin_port)};
    }

    int fd() const { return socket_.fd(); }
    blocking_socket accept() {
        return blocking_socket(repeated([&] { return ::accept(fd(), nullptr, nullptr); }));
    }
    void close() { socket_.close(); }

private:
    blocking_socket socket_;
};

inline blocking_socket blocking_connect(const curfew::ip::endpoint& to) {
    const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
    const auto address = loopback(to.port());
    // Without a time limit as yet: then the system itself goes on after an interruption.
    REQUIRE(::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
    return blocking_socket(fd);
}

/// A loopback port that nobody listens on.
inline curfew::ip::endpoint closed_port() {
    blocking_listener listener;
    return listener.endpoint();
}

}  // namespace test
