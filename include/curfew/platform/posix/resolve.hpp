// Names of hosts and services, as the system looks them up: a call that may take many seconds.
#pragma once

#include <netdb.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "../types.hpp"
#include "addresses.hpp"
#include "system.hpp"

#define CURFEW_HAS_NAMES 1

CURFEW_SYSTEM_HEADER

namespace curfew::platform {

namespace detail {

/// What getaddrinfo says, of which the systems have some each. (No `switch`: on some of them two of
/// these are one number.)
inline name_lookup to_lookup(int said) noexcept {
    if (said == 0) return {};
    if (said == EAI_SYSTEM) return {name_error::other, errno};
    if (said == EAI_MEMORY) return {name_error::other, ENOMEM};
    if (said == EAI_FAMILY) return {name_error::other, EAFNOSUPPORT};
    if (said == EAI_AGAIN) return {name_error::try_again};
    if (said == EAI_NONAME) return {name_error::host_not_found};
    if (said == EAI_SERVICE || said == EAI_SOCKTYPE) return {name_error::service_not_found};
#if defined(EAI_NODATA)
    if (said == EAI_NODATA) return {name_error::no_data};
#endif
#if defined(EAI_ADDRFAMILY)
    if (said == EAI_ADDRFAMILY) return {name_error::no_data};
#endif
    return {name_error::failed};
}

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
        if (list_) ::freeaddrinfo(list_);
    }

    /// Asks the system, which may take long, and cannot be interrupted. `service` may be null: then
    /// the ports are 0. A family that is unspecified stands for both.
    name_lookup look_up(const char* host, const char* service, family which,
                        transport type) noexcept {
        found_names before(std::move(*this));
        addrinfo wanted{};
        wanted.ai_family = detail::native_family(which);
        wanted.ai_socktype = type == transport::stream ? SOCK_STREAM : SOCK_DGRAM;
        return detail::to_lookup(::getaddrinfo(host, service, &wanted, &list_));
    }

    template <class Look>
    void for_each(Look look) const {
        for (const addrinfo* each = list_; each; each = each->ai_next) {
            const socket_address address = from_sockaddr(each->ai_addr, each->ai_addrlen);
            if (address.family != family::unspecified) look(address);
        }
    }

private:
    addrinfo* list_ = nullptr;
};

}  // namespace curfew::platform
