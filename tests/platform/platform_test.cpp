// What every platform header must have is there, with the right types: of the list that platform.hpp
// begins with. It is for the ports that tests are built with (posix, winsock, quirky, faulty); a
// new one is checked by compiling this file.
#include <curfew/platform/platform.hpp>

#include <doctest/doctest.h>

#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <system_error>
#include <type_traits>

namespace curfew::platform {
namespace {

template <class T, class Value>
concept is = std::same_as<std::remove_cvref_t<T>, Value>;

// Handles -----------------------------------------------------------------------------------------
static_assert(std::is_trivially_copyable_v<socket_handle>);
static_assert(std::totally_ordered<socket_handle>);
static_assert(is<decltype(invalid_socket), socket_handle>);
static_assert(noexcept(close(socket_handle{})));
static_assert(is<decltype(is_closed(socket_handle{})), bool>);

// Errors ------------------------------------------------------------------------------------------
static_assert(is<decltype(error_code(0)), std::error_code>);
static_assert(is<decltype(would_block(0)), bool> && is<decltype(interrupted(0)), bool>);
static_assert(is<decltype(connect_pending(0)), bool> && is<decltype(accept_may_go_on(0)), bool>);
constexpr int numbers[]{already_connected, already_in_progress, bad_descriptor, broken_pipe,
                        message_too_long,  out_of_memory,       too_many_descriptors};
static_assert(noexcept(clear_last_error()));

// Sockets -----------------------------------------------------------------------------------------
template <class H>
concept has_sockets = requires(H& handle, const socket_address& address, socket_address* peer) {
    { open(family::v4, transport::stream, handle) } noexcept -> std::same_as<int>;
    { adopt(handle, transport::stream) } noexcept -> std::same_as<int>;
    { is_tcp(handle) } noexcept -> std::same_as<bool>;
    { bind(handle, address) } noexcept -> std::same_as<int>;
    { listen(handle, max_backlog) } noexcept -> std::same_as<int>;
    { connect(handle, address) } noexcept -> std::same_as<int>;
    { connect_result(handle) } noexcept -> std::same_as<int>;
    { accept(handle, handle, peer) } noexcept -> std::same_as<int>;
    { shutdown(handle, shutdown_side::both) } noexcept -> std::same_as<int>;
};
static_assert(has_sockets<socket_handle>);

// Addresses and options ---------------------------------------------------------------------------
template <class H>
concept has_addresses = requires(H handle, const char* name) {
    { local_address(handle) } noexcept -> std::same_as<socket_address>;
    { remote_address(handle) } noexcept -> std::same_as<socket_address>;
    { last_remote_address(handle) } noexcept -> std::same_as<socket_address>;
    { is_connected(handle) } noexcept -> std::same_as<bool>;
    { interface_index(name) } noexcept -> std::same_as<std::uint32_t>;
};
static_assert(has_addresses<socket_handle>);

template <class H>
concept has_options = requires(H handle, int& value) {
    { set_option(handle, option::no_delay, 1) } noexcept -> std::same_as<int>;
    { get_option(handle, option::no_delay, value) } noexcept -> std::same_as<int>;
    { reset_on_close(handle) } noexcept;
    { allow_lingering(handle) } noexcept;
};
static_assert(has_options<socket_handle>);

// Transfer ----------------------------------------------------------------------------------------
// (The faulty platform's, which is for tests only, may throw.)
template <class H>
concept has_transfers = requires(H handle, std::byte* data, const std::byte* constant,
                                 const buffer* list, std::size_t size, socket_address* sender,
                                 const socket_address* receiver) {
    { receive(handle, data, size) } -> std::same_as<std::ptrdiff_t>;
    { send(handle, constant, size) } -> std::same_as<std::ptrdiff_t>;
    { receive(handle, list, size, size) } -> std::same_as<transfer>;
    { send(handle, list, size, size) } -> std::same_as<transfer>;
    { receive_from(handle, list, size, sender) } -> std::same_as<transfer>;
    { send_to(handle, list, size, receiver) } -> std::same_as<transfer>;
};
static_assert(has_transfers<socket_handle>);
static_assert(max_buffers > 0);

// Datagrams: the port's own, or those of unsupported.hpp and one_by_one.hpp -------------------------
#if defined(CURFEW_HAS_MULTICAST)
constexpr bool has_own_multicast = true;
#else
constexpr bool has_own_multicast = false;
#endif
#if defined(CURFEW_HAS_PATHS)
constexpr bool has_own_paths = true;
#else
constexpr bool has_own_paths = false;
#endif
#if defined(CURFEW_HAS_MANY_DATAGRAMS)
constexpr std::size_t many_at_once = datagrams_at_once;
#else
constexpr std::size_t many_at_once = 1;
#endif
static_assert(many_at_once > 0);

template <class H>
concept has_datagrams =
    requires(H handle, const socket_address& group, const buffer* list, std::size_t size,
             datagram_path& path, const datagram_path& chosen, datagram* datagrams) {
        { join_group(handle, group, std::uint32_t{}) } noexcept -> std::same_as<int>;
        { leave_group(handle, group, std::uint32_t{}) } noexcept -> std::same_as<int>;
        { tell_paths(handle, true) } noexcept -> std::same_as<int>;
        { receive_path(handle, list, size, path) } -> std::same_as<transfer>;
        { send_path(handle, list, size, chosen) } -> std::same_as<transfer>;
        { send_many(handle, datagrams, size) } -> std::same_as<transfer>;
        { receive_many(handle, datagrams, size) } -> std::same_as<transfer>;
    };
static_assert(has_datagrams<socket_handle>);

#if defined(CURFEW_HAS_SIGNALS)
template <class Record>
concept has_signals = requires(Record& record, int number) {
    { can_watch_signal(number) } noexcept -> std::same_as<bool>;
    { watch_signals(record) } noexcept -> std::same_as<int>;
    { forget_signals(record) } noexcept;
};
static_assert(has_signals<signal_record>);
#endif

#if defined(CURFEW_HAS_ERROR_QUEUE)
template <class H>
concept has_error_queue =
    requires(H handle, const buffer* list, std::size_t size, queued_error& told) {
        { queue_errors(handle, true) } -> std::same_as<int>;
        { receive_error(handle, list, size, told) } -> std::same_as<transfer>;
    };
static_assert(has_error_queue<socket_handle>);
#endif

#if defined(CURFEW_TELLS_WHAT_IS_LEFT)
template <class H>
concept has_what_is_left =
    requires(H handle, const buffer* list, std::size_t size, bool& nothing_left) {
        { tell_what_is_left(handle, true) } -> std::same_as<int>;
        { receive(handle, list, size, size, nothing_left) } -> std::same_as<transfer>;
    };
static_assert(has_what_is_left<socket_handle>);
#endif

// Local sockets and files: the port's own, or those of unsupported.hpp ------------------------------
#if defined(CURFEW_HAS_LOCAL)
constexpr bool has_own_local = true;
#else
constexpr bool has_own_local = false;
#endif
#if defined(CURFEW_HAS_FILES)
constexpr bool has_own_files = true;
#else
constexpr bool has_own_files = false;
#endif

#if defined(CURFEW_HAS_SOCKADDR)
constexpr bool has_own_sockaddr = true;
#else
constexpr bool has_own_sockaddr = false;
#endif
#if defined(CURFEW_HAS_THREADS)
constexpr bool has_own_threads = true;
#else
constexpr bool has_own_threads = false;
#endif
#if defined(CURFEW_HAS_NAMES)
constexpr bool has_own_names = true;
#else
constexpr bool has_own_names = false;
#endif

static_assert(noexcept(from_sockaddr(nullptr, std::size_t{})));
static_assert(is<decltype(from_sockaddr(nullptr, std::size_t{})), socket_address>);
static_assert(is<decltype(to_sockaddr(socket_address{}, nullptr, std::size_t{})), std::size_t>);

void runs_in_a_thread(void*) noexcept {}
static_assert(is<decltype(start_thread<&runs_in_a_thread>(nullptr)), int>);

template <class Names>
concept has_names = std::movable<Names> && requires(Names& names, const Names& constant,
                                                    const char* text,
                                                    void (*look)(const socket_address&)) {
    { names.look_up(text, text, family::v4, transport::stream) } noexcept
        -> std::same_as<name_lookup>;
    { constant.for_each(look) };
};
static_assert(has_names<found_names>);

template <class H>
concept has_local =
    requires(H& handle, const local_name& name, credentials& peer, const buffer* list,
             std::size_t size, const H* descriptors, H* received, std::size_t& count) {
        { own_name(handle) } noexcept -> std::same_as<local_name>;
        { peer_name(handle) } noexcept -> std::same_as<local_name>;
        { open_pair(transport::stream, handle, handle) } noexcept -> std::same_as<int>;
        { remove_name(name) } noexcept -> std::same_as<int>;
        { peer_credentials(handle, peer) } noexcept -> std::same_as<int>;
        { send_with(handle, list, size, descriptors, size) } -> std::same_as<transfer>;
        { receive_with(handle, list, size, received, count) } -> std::same_as<transfer>;
    };
static_assert(has_local<socket_handle>);
static_assert(max_descriptors > 0);

template <class H>
concept has_files = requires(H& handle, const buffer* list, std::size_t size) {
    { open_pipe(handle, handle) } noexcept -> std::same_as<int>;
    { adopt_file(handle) } noexcept -> std::same_as<int>;
    { share_file(handle, handle) } noexcept -> std::same_as<int>;
    { read_file(handle, list, size) } -> std::same_as<transfer>;
    { read_shared(handle, list, size) } -> std::same_as<transfer>;
    { write_file(handle, list, size) } -> std::same_as<transfer>;
};
static_assert(has_files<socket_handle>);
static_assert(is<decltype(standard_input_number), int> ||
              is<decltype(standard_input_number), socket_handle>);

// Time and waiting --------------------------------------------------------------------------------
static_assert(is<decltype(steady_now()), std::chrono::nanoseconds>);
static_assert(noexcept(pause(std::chrono::nanoseconds{})));

#if defined(CURFEW_HAS_POLL)
template <class Entry>
concept has_poll = requires(Entry* entries, std::size_t count, int& ready) {
    { platform::poll(entries, count, unlimited, ready) } -> std::same_as<int>;
    Entry{invalid_socket, short{poll_in | poll_out}, short{0}};
    entries->revents = poll_problem | poll_invalid;
};
static_assert(has_poll<poll_entry>);
#endif

#if defined(CURFEW_HAS_SELECT)
template <class Set>
concept has_select =
    std::copyable<Set> && requires(Set& set, const Set& constant, socket_handle handle, int& ready) {
        { Set::can_hold(handle) } -> std::same_as<bool>;
        { set.add(handle) } -> std::same_as<bool>;
        { set.remove(handle) };
        { constant.has(handle) } -> std::same_as<bool>;
        { platform::select(handle, set, set, set, unlimited, ready) } -> std::same_as<int>;
    };
static_assert(has_select<select_set>);
#endif

template <class Waker>
concept is_waker = requires(Waker& own, const Waker& constant) {
    { constant.error() } noexcept -> std::same_as<int>;
    { constant.handle() } noexcept -> std::same_as<socket_handle>;
    { own.signal() } noexcept;
    { own.drain() } noexcept;
};
static_assert(is_waker<waker>);

#if defined(CURFEW_EMULATED_THREAD_LOCAL)
static_assert(is<decltype(until_thread_ends<int>()), int>);
#endif

}  // namespace
}  // namespace curfew::platform

TEST_CASE("what a port has none of says so") {
    namespace platform = curfew::platform;
    platform::socket_handle first{}, second{};
    if (!platform::has_own_local)
        CHECK(platform::open_pair(platform::transport::stream, first, second) ==
              platform::unsupported);
    if (!platform::has_own_sockaddr) CHECK(platform::to_sockaddr({}, nullptr, 0) == 0);
    if (!platform::has_own_threads)
        CHECK(platform::start_thread<&platform::runs_in_a_thread>(nullptr) ==
              platform::unsupported);
    if (!platform::has_own_names)
        CHECK(platform::found_names().look_up("", nullptr, {}, {}).error == platform::unsupported);
    if (!platform::has_own_multicast)
        CHECK(platform::join_group(first, {}, 0) == platform::unsupported);
    if (!platform::has_own_paths) CHECK(platform::tell_paths(first, true) == platform::unsupported);
    if (!platform::has_own_files) CHECK(platform::open_pipe(first, second) == platform::unsupported);
}

TEST_CASE("the numbers that the library itself reports are different errors") {
    for (const int each : curfew::platform::numbers) {
        CHECK(each != 0);
        CHECK(each != curfew::platform::unsupported);
        int same = 0;
        for (const int other : curfew::platform::numbers) same += each == other ? 1 : 0;
        CHECK(same == 1);
    }
}
