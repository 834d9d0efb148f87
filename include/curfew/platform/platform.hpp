// Chooses the platform header: the only files that include the system's socket headers.
//
// A port to another system is one more header like posix.hpp; a program names it with
// CURFEW_PLATFORM_HEADER (with its quotes or angle brackets) and the library uses nothing else.
//
// This is all that such a header must have, in the namespace curfew::platform. docs/porting.md says
// what each is to do, and tests/platform/platform_test.cpp that it is there with the right types.
//
//   handles    socket_handle invalid_socket close is_closed
//   errors     error_code would_block interrupted connect_pending accept_may_go_on
//              already_connected already_in_progress bad_descriptor broken_pipe message_too_long
//              out_of_memory too_many_descriptors clear_last_error
//   sockets    open adopt is_tcp bind listen max_backlog connect connect_result accept shutdown
//   addresses  local_address remote_address last_remote_address is_connected interface_index
//   options    set_option get_option reset_on_close allow_lingering
//   transfer   receive send receive_from send_to max_buffers
//   time       steady_now pause
//   waker      waker, or CURFEW_LOOPBACK_WAKER
//
// And where it says with a macro that it has them:
//
//   CURFEW_HAS_POLL              poll poll_entry poll_in poll_out poll_problem poll_invalid
//   CURFEW_HAS_SELECT            select select_set
//   CURFEW_HAS_ERROR_QUEUE       queue_errors receive_error
//   CURFEW_HAS_SIGNALS           can_watch_signal watch_signals forget_signals
//   CURFEW_TELLS_WHAT_IS_LEFT    tell_what_is_left, and a receive with `nothing_left`
//   CURFEW_HAS_LOCAL             own_name peer_name open_pair remove_name peer_credentials
//                                send_with receive_with max_descriptors
//   CURFEW_HAS_FILES             open_pipe adopt_file share_file standard_input_number
//                                read_file read_shared write_file
//   CURFEW_HAS_MULTICAST         join_group leave_group
//   CURFEW_HAS_PATHS             tell_paths receive_path send_path
//   CURFEW_HAS_MANY_DATAGRAMS    send_many receive_many
//   CURFEW_HAS_SOCKADDR          from_sockaddr to_sockaddr
//   CURFEW_HAS_THREADS           start_thread
//   CURFEW_HAS_NAMES             found_names look_up for_each
//   CURFEW_EMULATED_THREAD_LOCAL until_thread_ends
#pragma once

#if defined(CURFEW_PLATFORM_HEADER)
#include CURFEW_PLATFORM_HEADER
#elif defined(_WIN32)
#include "winsock.hpp"
#else
#include "posix.hpp"
#endif

#include "one_by_one.hpp"
#include "unsupported.hpp"
#if defined(CURFEW_LOOPBACK_WAKER)  // the platform header has no waker of its own
#include "loopback_waker.hpp"
#endif
