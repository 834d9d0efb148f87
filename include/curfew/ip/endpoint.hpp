// An address and a port: one type for TCP and UDP.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <system_error>

#include "address.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew::ip {

/// An address and a port. The default one is unspecified: it stands for "there is none".
class endpoint {
public:
    /// None.
    endpoint() = default;
    /// An address and a port, in the machine's own byte order.
    endpoint(const ip::address& address, std::uint16_t port) noexcept : raw_(address.raw_) {
        raw_.port = port;
    }
    /// What the platform has said.
    explicit endpoint(const platform::socket_address& raw) noexcept : raw_(raw) {}

    /// Reads "127.0.0.1:7000" and "[::1]:7000". `std::errc::invalid_argument` for anything else.
    CURFEW_API static result<endpoint> parse(std::string_view text);

    /// The address.
    ip::address address() const noexcept {
        ip::address without_port;
        without_port.raw_ = raw_;
        without_port.raw_.port = 0;
        return without_port;
    }
    /// The port, in the machine's own byte order.
    std::uint16_t port() const noexcept { return raw_.port; }
    /// IPv4, IPv6, or unspecified.
    ip::family family() const noexcept { return raw_.family; }

    /// True where there is no endpoint.
    bool is_unspecified() const noexcept { return raw_.family == ip::family::unspecified; }

    /// "127.0.0.1:7000", "[::1]:7000"; empty for no endpoint.
    CURFEW_API std::string to_string() const;

    /// From the system's form: a `sockaddr_in` or `sockaddr_in6` of `size` bytes.
    /// `std::errc::address_family_not_supported` for any other, or one that is cut short.
    static result<endpoint> from_sockaddr(const void* address, std::size_t size) noexcept {
        const endpoint read(platform::from_sockaddr(address, size));
        if (read.is_unspecified())
            return std::make_error_code(std::errc::address_family_not_supported);
        return read;
    }

    /// Writes the system's form into `room` bytes, say of a `sockaddr_storage`. Returns its size; 0
    /// if there is no endpoint, not enough room, or no such form on the platform.
    std::size_t to_sockaddr(void* to, std::size_t room) const noexcept {
        return platform::to_sockaddr(raw_, to, room);
    }

    /// The form in which the platform takes it.
    const platform::socket_address& raw() const noexcept { return raw_; }
    /// The same, to be written by the platform.
    platform::socket_address& raw() noexcept { return raw_; }

    friend bool operator==(const endpoint&, const endpoint&) = default;
    friend std::strong_ordering operator<=>(const endpoint& a, const endpoint& b) noexcept {
        if (const auto order = a.address() <=> b.address(); order != 0) return order;
        return a.port() <=> b.port();
    }

private:
    platform::socket_address raw_;
};

#if CURFEW_DEFINITIONS

CURFEW_INLINE result<endpoint> endpoint::parse(std::string_view text) {
    const auto colon = text.rfind(':');
    if (colon == text.npos) return std::make_error_code(std::errc::invalid_argument);
    std::string_view host = text.substr(0, colon);
    std::string_view digits = text.substr(colon + 1);
    const bool bracketed = host.size() >= 2 && host.front() == '[' && host.back() == ']';
    if (bracketed) host = host.substr(1, host.size() - 2);
    const auto [ec, address] = ip::address::parse(host);
    const long long port = detail::take_number(digits, 10, 5);
    if (ec || address.is_v6() != bracketed || !digits.empty() || port < 0 || port > 65535)
        return std::make_error_code(std::errc::invalid_argument);
    return endpoint(address, static_cast<std::uint16_t>(port));
}

CURFEW_INLINE std::string endpoint::to_string() const {
    if (is_unspecified()) return {};
    const bool bracketed = raw_.family == ip::family::v6;
    detail::text_writer out;
    if (bracketed) out.add('[');
    out.add(raw_);
    if (bracketed) out.add(']');
    out.add(':');
    out.add(raw_.port, 10);
    return out.text();
}

#endif

}  // namespace curfew::ip
