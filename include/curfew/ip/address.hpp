// IP addresses, versions 4 and 6.
#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <system_error>

#include "../platform/platform.hpp"
#include "../result.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew::ip {

using platform::family;

/// An IPv4 or IPv6 address, or none (the default, `is_unspecified()` too).
class address {
public:
    /// The bytes of an IPv4 address, in network order.
    using v4_bytes = std::array<std::uint8_t, 4>;  // in network order
    /// The bytes of an IPv6 address, in network order.
    using v6_bytes = std::array<std::uint8_t, 16>;

    /// No address.
    address() = default;

    /// An IPv4 address.
    explicit address(const v4_bytes& bytes) noexcept {
        raw_.family = family::v4;
        std::memcpy(raw_.bytes, bytes.data(), bytes.size());
    }

    /// `scope` is the number of a network interface, for link-local addresses.
    explicit address(const v6_bytes& bytes, std::uint32_t scope = 0) noexcept {
        raw_.family = family::v6;
        raw_.scope = scope;
        std::memcpy(raw_.bytes, bytes.data(), bytes.size());
    }

    /// 0.0.0.0: to listen on all of the machine's.
    static address any_v4() noexcept { return address(v4_bytes{}); }
    /// ::, the same for IPv6.
    static address any_v6() noexcept { return address(v6_bytes{}); }
    /// 127.0.0.1
    static address loopback_v4() noexcept { return address(v4_bytes{127, 0, 0, 1}); }
    /// ::1
    static address loopback_v6() noexcept {
        v6_bytes bytes{};
        bytes[15] = 1;
        return address(bytes);
    }

    /// Reads "127.0.0.1", "::1", "fe80::1%eth0". `std::errc::invalid_argument` for anything else;
    /// names of hosts are not looked up.
    CURFEW_API static result<address> parse(std::string_view text);

    /// IPv4, IPv6, or unspecified.
    ip::family family() const noexcept { return raw_.family; }
    /// Whether it is an IPv4 address.
    bool is_v4() const noexcept { return raw_.family == ip::family::v4; }
    /// Whether it is an IPv6 address, also one that stands for an IPv4 address.
    bool is_v6() const noexcept { return raw_.family == ip::family::v6; }
    /// The number of the interface of a link-local address; 0 if it has none.
    std::uint32_t scope() const noexcept { return raw_.scope; }

    /// True for no address, 0.0.0.0 and ::.
    bool is_unspecified() const noexcept {
        for (const auto byte : raw_.bytes)
            if (byte) return false;
        return true;
    }

    /// True for 127.0.0.0/8 and ::1.
    /// 127.0.0.0/8, whether or not it is mapped into IPv6, and ::1.
    bool is_loopback() const noexcept {
        const address own = unmapped();
        return own.is_v4() ? own.raw_.bytes[0] == 127 : address(own.to_v6()) == loopback_v6();
    }

    /// True for ::ffff:a.b.c.d, as which an IPv6 socket sees an IPv4 address.
    bool is_v4_mapped() const noexcept {
        if (!is_v6()) return false;
        for (int i = 0; i < 12; ++i)
            if (raw_.bytes[i] != (i < 10 ? 0 : 0xff)) return false;
        return true;
    }

    /// The IPv4 address that is mapped into this one; any other address as it is.
    address unmapped() const noexcept {
        if (!is_v4_mapped()) return *this;
        return address(v4_bytes{raw_.bytes[12], raw_.bytes[13], raw_.bytes[14], raw_.bytes[15]});
    }

    /// The bytes of an IPv4 address; zeros for another.
    v4_bytes to_v4() const noexcept {
        v4_bytes bytes{};
        if (is_v4()) std::memcpy(bytes.data(), raw_.bytes, bytes.size());
        return bytes;
    }

    /// The bytes of an IPv6 address; zeros for another.
    v6_bytes to_v6() const noexcept {
        v6_bytes bytes{};
        if (is_v6()) std::memcpy(bytes.data(), raw_.bytes, bytes.size());
        return bytes;
    }

    /// As in RFC 5952; empty for no address.
    CURFEW_API std::string to_string() const;

    friend bool operator==(const address&, const address&) = default;
    friend std::strong_ordering operator<=>(const address& a, const address& b) noexcept {
        if (const auto order = a.raw_.family <=> b.raw_.family; order != 0) return order;
        for (int i = 0; i < 16; ++i)
            if (const auto order = a.raw_.bytes[i] <=> b.raw_.bytes[i]; order != 0) return order;
        return a.raw_.scope <=> b.raw_.scope;
    }

private:
    friend class endpoint;
    platform::socket_address raw_;  // its port is 0
};

namespace detail {

/// Reads the digits at the start of `text`, at most `most` of them, and takes them away. -1:
/// there are none, or too many.
inline long long take_number(std::string_view& text, int base, std::size_t most) noexcept {
    long long value = 0;
    std::size_t count = 0;
    for (; count < text.size(); ++count) {
        const char c = text[count];
        int digit = -1;
        if (c >= '0' && c <= '9')
            digit = c - '0';
        else if (base == 16 && c >= 'a' && c <= 'f')
            digit = c - 'a' + 10;
        else if (base == 16 && c >= 'A' && c <= 'F')
            digit = c - 'A' + 10;
        if (digit < 0) break;
        if (count == most) return -1;
        value = value * base + digit;
    }
    text.remove_prefix(count);
    return count ? value : -1;
}

}  // namespace detail

#if CURFEW_DEFINITIONS

namespace detail {

inline bool take(std::string_view& text, std::string_view prefix) noexcept {
    if (text.substr(0, prefix.size()) != prefix) return false;
    text.remove_prefix(prefix.size());
    return true;
}

/// Reads four decimal numbers without leading zeros, which some systems take for octal.
inline bool parse_v4(std::string_view text, std::uint8_t* bytes) noexcept {
    for (int i = 0; i < 4; ++i) {
        if (i > 0 && !take(text, ".")) return false;
        const bool zero_first =
            text.size() > 1 && text[0] == '0' && text[1] >= '0' && text[1] <= '9';
        const long long value = take_number(text, 10, 3);
        if (zero_first || value < 0 || value > 255) return false;
        bytes[i] = static_cast<std::uint8_t>(value);
    }
    return text.empty();
}

/// Reads up to eight groups, of which "::" stands for as many zeros as are missing.
inline bool parse_v6(std::string_view text, std::uint8_t* bytes) noexcept {
    std::uint8_t read[16] = {};
    int size = 0;
    int gap = -1;
    if (take(text, "::")) gap = 0;
    while (!text.empty() && size < 16) {
        if (text.find('.') != text.npos && text.find(':') == text.npos) {
            if (size > 12 || !parse_v4(text, read + size)) return false;
            size += 4;
            text = {};
            break;
        }
        const long long group = take_number(text, 16, 4);
        if (group < 0) return false;
        read[size++] = static_cast<std::uint8_t>(group >> 8);
        read[size++] = static_cast<std::uint8_t>(group & 0xff);
        if (text.empty()) break;
        if (take(text, "::")) {
            if (gap >= 0) return false;
            gap = size;
        } else if (!take(text, ":") || text.empty()) {
            return false;
        }
    }
    if (!text.empty() || (gap < 0 ? size != 16 : size > 14)) return false;
    const int tail = gap < 0 ? 0 : size - gap;
    for (int i = 0; i < size - tail; ++i) bytes[i] = read[i];
    for (int i = 0; i < tail; ++i) bytes[16 - tail + i] = read[size - tail + i];
    return true;
}

/// A scope's number, or the name of an interface.
inline bool parse_scope(std::string_view text, std::uint32_t& scope) {
    std::string_view rest = text;
    const long long number = take_number(rest, 10, 10);
    if (number >= 0 && number <= 0xffff'ffff && rest.empty()) {
        scope = static_cast<std::uint32_t>(number);
        return true;
    }
    if (text.find('\0') != text.npos) return false;
    scope = platform::interface_index(std::string(text).c_str());
    return scope != 0;
}

/// The text of an address or endpoint. Strings put together from strings would take a compiler
/// several times as long.
class text_writer {
public:
    void add(char c) noexcept { text_[size_++] = c; }

    CURFEW_COLD void add(std::uint32_t number, unsigned base) noexcept {
        char digits[10];
        int count = 0;
        do digits[count++] = "0123456789abcdef"[number % base];
        while (number /= base);
        while (count > 0) add(digits[--count]);
    }

    CURFEW_COLD void add_v4(const std::uint8_t* bytes) noexcept {
        for (int i = 0; i < 4; ++i) {
            if (i > 0) add('.');
            add(bytes[i], 10);
        }
    }

    CURFEW_COLD void add_v6(const std::uint8_t* bytes) noexcept {
        const auto group = [&](int i) {
            return static_cast<std::uint32_t>(bytes[2 * i] << 8 | bytes[2 * i + 1]);
        };
        static constexpr std::uint8_t mapped_prefix[12] = {0, 0, 0, 0, 0,    0,
                                                           0, 0, 0, 0, 0xff, 0xff};
        const bool mapped = std::memcmp(bytes, mapped_prefix, sizeof mapped_prefix) == 0;
        const int groups = mapped ? 6 : 8;
        // The longest run of at least two zero groups, the first one of that length.
        int gap = -1;
        int gap_size = 1;
        for (int i = 0, size; i < groups; i += size + 1) {
            for (size = 0; i + size < groups && group(i + size) == 0;) ++size;
            if (size > gap_size) gap = i, gap_size = size;
        }
        bool separated = true;
        for (int i = 0; i < groups; ++i) {
            if (i == gap) {
                add(':');
                add(':');
                separated = true;
                i += gap_size - 1;
                continue;
            }
            if (!separated) add(':');
            add(group(i), 16);
            separated = false;
        }
        if (mapped) {
            add(':');
            add_v4(bytes + 12);
        }
    }

    void add(const platform::socket_address& address) noexcept {
        if (address.family == family::v4) add_v4(address.bytes);
        if (address.family != family::v6) return;
        add_v6(address.bytes);
        if (address.scope) {
            add('%');
            add(address.scope, 10);
        }
    }

    std::string text() const { return {text_, size_}; }

private:
    char text_[64];  // eight groups of four digits, a scope, brackets and a port take 58
    std::size_t size_ = 0;
};

}  // namespace detail

CURFEW_INLINE result<address> address::parse(std::string_view text) {
    address parsed;
    const auto percent = text.find('%');
    const std::string_view host = text.substr(0, percent);
    bool good = false;
    if (host.find(':') == host.npos) {
        good = percent == text.npos && detail::parse_v4(host, parsed.raw_.bytes);
        parsed.raw_.family = ip::family::v4;
    } else {
        good = detail::parse_v6(host, parsed.raw_.bytes) &&
               (percent == text.npos ||
                detail::parse_scope(text.substr(percent + 1), parsed.raw_.scope));
        parsed.raw_.family = ip::family::v6;
    }
    if (!good) return std::make_error_code(std::errc::invalid_argument);
    return parsed;
}

CURFEW_INLINE std::string address::to_string() const {
    detail::text_writer out;
    out.add(raw_);
    return out.text();
}

#endif

}  // namespace curfew::ip
