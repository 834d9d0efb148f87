// Names of hosts and services, as the system looks them up: a call that may take many seconds.
#pragma once

#include <cstddef>
#include <utility>

#include "../types.hpp"
#include "addresses.hpp"
#include "sockets.hpp"
#include "system.hpp"

#define CURFEW_HAS_NAMES 1

CURFEW_SYSTEM_HEADER

namespace curfew::platform {

namespace detail {

/// What GetAddrInfoW says.
inline name_lookup to_lookup(int said) noexcept {
    switch (said) {
    case 0:
        return {};
    case WSAHOST_NOT_FOUND:
        return {name_error::host_not_found};
    case WSANO_DATA:
        return {name_error::no_data};
    case WSATRY_AGAIN:
        return {name_error::try_again};
    case WSANO_RECOVERY:
        return {name_error::failed};
    case WSATYPE_NOT_FOUND:
    case WSAESOCKTNOSUPPORT:
        return {name_error::service_not_found};
    default:
        return {name_error::other, said};
    }
}

/// A text of UTF-8 in the system's form.
class wide_text {
public:
    bool assign(const char* text) noexcept {
        return ::MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, text, -1, text_, size) > 0;
    }
    const wchar_t* get() const noexcept { return text_; }

private:
    static constexpr int size = 1026;  // NI_MAXHOST, and the zero
    wchar_t text_[size];
};

}  // namespace detail

/// The addresses that a name has, the best one first (RFC 6724, as the system does it).
class found_names {
public:
    found_names() noexcept = default;
    found_names(found_names&& other) noexcept : list_(std::exchange(other.list_, nullptr)) {}
    found_names& operator=(found_names&& other) noexcept {
        std::swap(list_, other.list_);
        return *this;
    }
    ~found_names() {
        if (list_) ::FreeAddrInfoW(list_);
    }

    /// Asks the system, which may take long, and cannot be interrupted. `service` may be null: then
    /// the ports are 0. A family that is unspecified stands for both.
    name_lookup look_up(const char* host, const char* service, family which,
                        transport type) noexcept {
        found_names before(std::move(*this));
        if (const int error = detail::start_winsock()) return {name_error::other, error};
        detail::wide_text wide_host, wide_service;
        if (!wide_host.assign(host)) return {name_error::other, WSAEINVAL};
        if (service && !wide_service.assign(service)) return {name_error::other, WSAEINVAL};
        ADDRINFOW wanted{};
        wanted.ai_family = which == family::unspecified ? AF_UNSPEC : detail::native_family(which);
        wanted.ai_socktype = type == transport::stream ? SOCK_STREAM : SOCK_DGRAM;
        return detail::to_lookup(::GetAddrInfoW(
            wide_host.get(), service ? wide_service.get() : nullptr, &wanted, &list_));
    }

    template <class Look>
    void for_each(Look look) const {
        for (const ADDRINFOW* each = list_; each; each = each->ai_next) {
            const socket_address address = from_sockaddr(each->ai_addr, each->ai_addrlen);
            if (address.family != family::unspecified) look(address);
        }
    }

private:
    ADDRINFOW* list_ = nullptr;
};

}  // namespace curfew::platform
