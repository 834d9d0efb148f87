// resolve: the addresses that a name stands for.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "error.hpp"
#include "ip/address.hpp"
#include "ip/endpoint.hpp"
#include "loop/worker_threads.hpp"
#include "platform/std_memory.hpp"
#include "result.hpp"
#include "task.hpp"
#include "thread_promise.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew {

/// Why a name has no addresses. Converts to `std::error_code`.
enum class resolve_errc {
    /// There is no such host.
    host_not_found = 1,
    /// The host is known, but has no address (of the family that was asked for).
    no_data,
    /// No name server has answered, or none could: later one may. Equals
    /// `std::errc::resource_unavailable_try_again`.
    try_again,
    /// A name server has failed for good.
    failed,
    /// There is no service of that name.
    service_not_found,
};

namespace detail {

inline constexpr char resolve_category_name[] = "curfew.resolve";

class resolve_error_category final : public std::error_category {
public:
    constexpr resolve_error_category() noexcept = default;

    const char* name() const noexcept override { return resolve_category_name; }

    CURFEW_API std::string message(int code) const override;
    CURFEW_API std::error_condition default_error_condition(int code) const noexcept override;
};

#if CURFEW_DEFINITIONS

CURFEW_INLINE std::string resolve_error_category::message(int code) const {
    switch (static_cast<resolve_errc>(code)) {
    case resolve_errc::host_not_found:
        return "host not found";
    case resolve_errc::no_data:
        return "host has no such address";
    case resolve_errc::try_again:
        return "no answer from a name server";
    case resolve_errc::failed:
        return "name server failed";
    case resolve_errc::service_not_found:
        return "service not found";
    }
    return "unknown error";
}

CURFEW_INLINE std::error_condition
resolve_error_category::default_error_condition(int code) const noexcept {
    if (code == static_cast<int>(resolve_errc::try_again))
        return std::errc::resource_unavailable_try_again;
    return {code, *this};
}

#endif

#if CURFEW_STATE_IS_HERE
/// Never destroyed, so that static destructors may still look at errors.
union immortal_resolve_category {
    resolve_error_category category;
    constexpr immortal_resolve_category() noexcept : category() {}
    ~immortal_resolve_category() {}
};

inline namespace v0_1 {
CURFEW_SHARED inline constinit const immortal_resolve_category resolve_category_of_all;
/// At most so many names of the program are being looked up. (When name servers are silent, each
/// takes a thread for ten seconds, whether or not somebody still waits for it.)
CURFEW_SHARED inline constinit worker_threads lookup_threads_of_all(32);
}  // namespace v0_1
#endif

CURFEW_STATE worker_threads& lookup_threads() noexcept;

}  // namespace detail

/// That of `resolve_errc`.
CURFEW_STATE const std::error_category& resolve_category() noexcept;

#if CURFEW_STATE_IS_HERE
CURFEW_STATE const std::error_category& resolve_category() noexcept {
    return detail::resolve_category_of_all.category;
}

namespace detail {
CURFEW_STATE worker_threads& lookup_threads() noexcept { return lookup_threads_of_all; }
}  // namespace detail
#endif

/// What `std::error_code` is made with.
inline std::error_code make_error_code(resolve_errc code) noexcept {
    return {static_cast<int>(code), resolve_category()};
}

/// Also of a code that was made in a module with a copy of this library of its own (see `errc`).
inline bool operator==(const std::error_code& code, resolve_errc expected) noexcept {
    return code.value() == static_cast<int>(expected) &&
           (code.category() == resolve_category() ||
            std::strcmp(code.category().name(), detail::resolve_category_name) == 0);
}

}  // namespace curfew

template <>
struct std::is_error_code_enum<curfew::resolve_errc> : std::true_type {};

namespace curfew {

/// What a name is looked up for.
struct resolve_options {
    /// Only addresses of this family; unspecified: of both.
    ip::family family = ip::family::unspecified;
    /// The names of services are those of UDP.
    bool udp = false;
};

namespace detail {

// These and `resolve` are templates so that only programs that look up names compile them: GCC
// emits a coroutine that is none in every file, and then the static linker warns of getaddrinfo.

/// A look-up in a thread. It is shared by who waits and by the thread, so each may be gone first.
///
/// Look-ups of the same name are not joined. Who asks again after a limit wants to be answered by
/// the network as it is now, and would wait for a look-up that has asked name servers of before and
/// hangs. And a look-up would have waiters in several contexts, which come and go while it is being
/// answered. Whether answers are kept is up to the system, too.
template <class Names>
struct lookup : job {
    lookup(std::string host_name, std::string service_name, const resolve_options& options)
        : job(&carry_out), host(std::move(host_name)), service(std::move(service_name)),
          family(options.family),
          transport(options.udp ? platform::transport::datagram : platform::transport::stream) {}

    static std::error_code error_of(platform::name_lookup done) noexcept {
        using enum platform::name_error;
        switch (done.why) {
        case none:
            return {};
        case host_not_found:
            return make_error_code(resolve_errc::host_not_found);
        case no_data:
            return make_error_code(resolve_errc::no_data);
        case try_again:
            return make_error_code(resolve_errc::try_again);
        case failed:
            return make_error_code(resolve_errc::failed);
        case service_not_found:
            return make_error_code(resolve_errc::service_not_found);
        case other:
            break;
        }
        return detail::system_error(done.error);
    }

    /// In the thread. It allocates nothing, so that nothing can fail but the look-up.
    static void carry_out(job& self) noexcept {
        auto& mine = static_cast<lookup&>(self);
        const std::shared_ptr<lookup> kept = std::move(mine.self);
        Names found;
        const auto done =
            found.look_up(mine.host.c_str(), mine.service.empty() ? nullptr : mine.service.c_str(),
                          mine.family, mine.transport);
        if (const std::error_code error = error_of(done))
            mine.promise.set_error(error);
        else
            mine.promise.set_value(std::move(found));
    }

    const std::string host;
    const std::string service;  // empty: none
    const ip::family family;
    const platform::transport transport;
    thread_promise<Names> promise;
    std::shared_ptr<lookup> self;  // while it is queued, or its thread works
};

/// Who waits for a look-up. Gone, a look-up that has not begun never begins; one that has goes on
/// in its thread, since getaddrinfo cannot be interrupted, and what it finds is dropped there.
template <class Names>
class lookup_in_progress {
public:
    explicit lookup_in_progress(std::shared_ptr<lookup<Names>> what) noexcept
        : what_(std::move(what)) {}
    lookup_in_progress(const lookup_in_progress&) = delete;
    lookup_in_progress& operator=(const lookup_in_progress&) = delete;
    ~lookup_in_progress() {
        if (lookup_threads().withdraw(*what_)) what_->self = nullptr;
    }

    /// The error number.
    int begin() noexcept {
        what_->self = what_;  // before any thread sees it
        const int error = lookup_threads().submit(*what_);
        if (error) what_->self = nullptr;
        return error;
    }

private:
    const std::shared_ptr<lookup<Names>> what_;
};

template <class Names>
task<result<std::vector<ip::endpoint>>> resolve_name(std::string host, std::string service,
                                                     std::uint16_t port, resolve_options options) {
    using endpoints = std::vector<ip::endpoint>;
    // The system takes names that end with a zero, and of no more than NI_MAXHOST.
    const auto is_name = [](const std::string& text) {
        return text.size() <= 1024 && text.find('\0') == text.npos;
    };
    if (host.empty() || !is_name(host) || !is_name(service))
        co_return std::make_error_code(std::errc::invalid_argument);
    if (service.empty()) {
        const auto [unreadable, address] = ip::address::parse(host);
        if (!unreadable) {
            if (options.family != ip::family::unspecified && options.family != address.family())
                co_return make_error_code(resolve_errc::no_data);
            co_return endpoints(1, ip::endpoint(address, port));
        }
    }

    const auto what = std::make_shared<lookup<Names>>(std::move(host), std::move(service), options);
    const auto future = what->promise.get_future();
    lookup_in_progress<Names> waiting(what);
    if (const int error = waiting.begin()) co_return detail::system_error(error);
    const auto [ec, found] = co_await future;
    if (ec) co_return ec;
    endpoints all;
    found.for_each([&](platform::socket_address address) {
        if (what->service.empty()) address.port = port;
        all.emplace_back(address);
    });
    if (all.empty()) co_return make_error_code(resolve_errc::no_data);
    co_return std::move(all);
}

}  // namespace detail

/// Looks up the addresses of a host, as the system does it (its hosts file, name servers, whatever
/// it is set up for), the best one first. Each comes with `port`. Yields a
/// `result<std::vector<ip::endpoint>>`, which is not empty without an error.
///
/// ```cpp
/// auto [ec, addresses] = co_await with_timeout(resolve("example.org", 443), 5s);
/// ```
/// The text of an address ("127.0.0.1", "::1") stands for itself, at once. Else a thread asks the
/// system, which may take many seconds when name servers are silent; 32 do so at a time at most,
/// and other look-ups wait until one of them is done.
///
/// Errors: those of `resolve_errc`; `std::errc::invalid_argument` for a host that is empty or can
/// be no name; `errc::not_supported` on platforms that have no names; the system's.
///
/// Cancellation, and limits: it ends at once. A look-up that has not begun never begins. One that
/// has cannot be interrupted: its thread goes on until the system is done, and takes one of the 32
/// places until then, but keeps neither the context nor the program from ending.
///
/// A child that `fork` has made of the process while look-ups were under way has none of their
/// threads: it is to look up names after `exec` only.
///
/// The texts are copied: they may be gone when the task is awaited. (`Names` asks the system.)
template <class Names = platform::found_names>
task<result<std::vector<ip::endpoint>>> resolve(std::string_view host, std::uint16_t port,
                                                const resolve_options& options = {}) {
    return detail::resolve_name<Names>(std::string(host), {}, port, options);
}

/// The same, with the name of a service, such as "https", instead of a port. A number in decimal
/// digits is a port. `resolve_errc::service_not_found`: the system does not know it.
template <class Names = platform::found_names>
task<result<std::vector<ip::endpoint>>> resolve(std::string_view host, std::string_view service,
                                                const resolve_options& options = {}) {
    // (Some systems take a port beyond 65535 for another one.)
    if (service.find_first_not_of("0123456789") == service.npos) {
        std::string_view digits = service;
        const long long port = ip::detail::take_number(digits, 10, 5);
        if (port >= 0 && port <= 65535)
            return resolve<Names>(host, static_cast<std::uint16_t>(port), options);
        service = std::string_view("\0", 1);  // which is no name
    }
    return detail::resolve_name<Names>(std::string(host), std::string(service), 0, options);
}

}  // namespace curfew
