// The other side of a connection, written with plain blocking socket calls: programs that know
// nothing of curfew.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <thread>
#include <utility>

#include <curfew/curfew.hpp>

#include "native.hpp"

namespace test {

/// A blocking descriptor that gives up after ten seconds, so that a broken test ends.
class blocking_socket {
public:
    explicit blocking_socket(native::socket fd = native::none) : fd_(fd) {
        if (fd_ == native::none) return;
        native::block(fd_);
        native::limit(fd_, 10);
    }
    blocking_socket(blocking_socket&& other) noexcept
        : fd_(std::exchange(other.fd_, native::none)) {}
    blocking_socket& operator=(blocking_socket&& other) noexcept {
        std::swap(fd_, other.fd_);
        return *this;
    }
    ~blocking_socket() { close(); }

    native::socket fd() const { return fd_; }
    bool is_open() const { return fd_ != native::none; }

    void close() {
        if (is_open()) native::close(std::exchange(fd_, native::none));
    }

    void reset() {
        native::reset_on_close(fd_);
        close();
    }

    /// Sends all; the error number, 0 if all went.
    int send(std::string_view bytes) {
        while (!bytes.empty()) {
            const auto n = native::send(fd_, bytes.data(), bytes.size());
            if (n < 0) return native::last_error();
            bytes.remove_prefix(static_cast<std::size_t>(n));
        }
        return 0;
    }

    /// Gives the descriptor away.
    native::socket release() { return std::exchange(fd_, native::none); }

    struct received {
        std::string bytes;  // empty without an error: end of stream
        int error = 0;
    };

    received receive(std::size_t most = 4096) {
        received got;
        got.bytes.resize(most);
        const auto n = native::receive(fd_, got.bytes.data(), most);
        got.error = n < 0 ? native::last_error() : 0;
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
    native::socket fd_;
};

class blocking_listener {
public:
    blocking_listener() : socket_(native::open(SOCK_STREAM)) {
        REQUIRE(native::bind(fd(), 0));
        REQUIRE(::listen(fd(), 128) == 0);
    }

    curfew::ip::endpoint endpoint() const {
        return {curfew::ip::address::loopback_v4(), native::port_of(fd())};
    }

    native::socket fd() const { return socket_.fd(); }
    blocking_socket accept() {
        for (;;) {
            blocking_socket accepted(::accept(fd(), nullptr, nullptr));
            if (accepted.is_open() || !native::interrupted()) return accepted;
        }
    }
    void close() { socket_.close(); }

private:
    blocking_socket socket_;
};

inline blocking_socket blocking_connect(const curfew::ip::endpoint& to) {
    const native::socket fd = native::open(SOCK_STREAM);
    // Without a time limit as yet: then the system itself goes on after an interruption.
    REQUIRE(native::connect(fd, to.port()));
    return blocking_socket(fd);
}

/// A loopback port that nobody listens on.
inline curfew::ip::endpoint closed_port() {
    blocking_listener listener;
    return listener.endpoint();
}

}  // namespace test
