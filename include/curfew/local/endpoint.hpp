// The name of a local socket.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <system_error>

#include "../config.hpp"
#include "../error.hpp"
#include "../platform/platform.hpp"
#include "../result.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew::local {

/// The name of a local socket: a path, or on Linux an abstract name, which is in no file system.
/// The default one stands for "there is none".
///
/// A path is a file of the kind "socket", which `listen` and `bind` make and nobody removes: it is
/// still there when the program has ended, and connecting to it is refused then. The next `listen`
/// takes such a path over (see `listen_options`); `remove` is for who wants it to be gone.
/// Who may connect is decided by the file's mode, so by the umask and by the directory it is in.
class endpoint {
public:
    /// None.
    endpoint() = default;

    /// A path, at most 107 bytes of it (103 on systems other than Linux and Windows). One that is
    /// longer, or has a zero byte inside, gives no endpoint, and whoever is given that says
    /// `std::errc::invalid_argument`.
    explicit endpoint(std::string_view path) noexcept {
        if (path.find('\0') == path.npos) assign("", path);
    }

    /// An abstract name, at most 106 bytes of any values. It is there for as long as its socket.
    /// Elsewhere than on Linux using it is an error.
    static endpoint abstract(std::string_view name) noexcept {
        endpoint made;
        made.assign(std::string_view("", 1), name);
        return made;
    }

    /// What the platform has said.
    explicit endpoint(const platform::local_name& raw) noexcept : raw_(raw) {}

    /// True where there is no endpoint: of sockets that are bound to no name, most of all.
    bool is_unspecified() const noexcept { return raw_.size == 0; }
    /// Whether it is an abstract name, and no path.
    bool is_abstract() const noexcept { return raw_.size > 0 && raw_.text[0] == '\0'; }

    /// The path, or the abstract name without the zero before it.
    std::string_view name() const noexcept {
        const std::size_t before = is_abstract() ? 1 : 0;
        return {raw_.text + before, raw_.size - before};
    }

    /// The path, or "@" and the abstract name; empty for no endpoint.
    std::string to_string() const {
        return is_abstract() ? "@" + std::string(name()) : std::string(name());
    }

    /// Removes the file that this path names, if it is a socket (else `std::errc::not_a_socket`).
    /// `std::errc::no_such_file_or_directory` if there is none. Nobody can connect any more then,
    /// though an acceptor may be open there. Of an abstract name there is nothing to remove.
    optional_result remove() const noexcept {
        if (is_unspecified()) return std::make_error_code(std::errc::invalid_argument);
        const int error = platform::remove_name(raw_);
        return error ? optional_result(detail::system_error(error)) : optional_result();
    }

    /// The form in which the platform takes it.
    const platform::local_name& raw() const noexcept { return raw_; }
    /// The same, to be written by the platform.
    platform::local_name& raw() noexcept { return raw_; }

    friend bool operator==(const endpoint& a, const endpoint& b) noexcept {
        return a.raw_.size == b.raw_.size &&
               std::memcmp(a.raw_.text, b.raw_.text, a.raw_.size) == 0;
    }

private:
    void assign(std::string_view first, std::string_view rest) noexcept {
        if (first.size() + rest.size() > sizeof raw_.text) return;
        if (!first.empty()) std::memcpy(raw_.text, first.data(), first.size());
        if (!rest.empty()) std::memcpy(raw_.text + first.size(), rest.data(), rest.size());
        raw_.size = static_cast<std::uint8_t>(first.size() + rest.size());
    }

    platform::local_name raw_;
};

}  // namespace curfew::local
