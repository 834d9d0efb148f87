// What a failed `select` or `poll` means, told by the standard's conditions: all that a platform
// has to do for it is to map its error numbers onto them.
#pragma once

#include <cstdint>
#include <system_error>

#include "../config.hpp"
#include "../platform/platform.hpp"

CURFEW_SYSTEM_HEADER

namespace curfew::detail {

/// What it means that `select` or `poll` has failed.
enum class wait_failure : std::uint8_t {
    interrupted,
    out_of_resources,
    of_a_socket,
    bad_descriptor,
    of_the_loop,
};

/// `error` is the system's number; 0 if it failed without one.
CURFEW_COLD inline wait_failure meaning_of(int error) noexcept {
    const auto is_any_of = [code = platform::error_code(error)](auto... conditions) {
        return ((code == conditions) || ...);
    };
    if (platform::interrupted(error)) return wait_failure::interrupted;
#if defined(CURFEW_TEST_WITHOUT_SANITIZING)  // shows what all this is good for
    return wait_failure::of_the_loop;
#endif
    // POSIX lets poll() say EAGAIN where Linux says ENOMEM (poll(2), "Notes").
    if (platform::would_block(error) ||
        is_any_of(std::errc::not_enough_memory, std::errc::no_buffer_space))
        return wait_failure::out_of_resources;
    if (is_any_of(std::errc::bad_file_descriptor, std::errc::not_a_socket))
        return wait_failure::bad_descriptor;
    if (is_any_of(std::errc::invalid_argument, std::errc::bad_address,
                  std::errc::function_not_supported, std::errc::not_supported,
                  std::errc::operation_not_supported, std::errc::operation_not_permitted))
        return wait_failure::of_the_loop;
    return wait_failure::of_a_socket;
}

}  // namespace curfew::detail
