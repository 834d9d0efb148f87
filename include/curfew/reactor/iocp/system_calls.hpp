// What iocp needs of the system that is not simply declared: the calls that Winsock hands out at
// run time, and those of ntdll.
#pragma once

#include "../../platform/platform.hpp"

#if defined(CURFEW_HAS_IOCP)

#include <cstdint>

CURFEW_SYSTEM_HEADER

namespace curfew::detail::iocp {

/// What the system calls an NTSTATUS.
using nt_status = LONG;
inline constexpr nt_status nt_success = 0;
inline constexpr nt_status nt_pending = 0x103;

/// A question for AFD, the driver behind Winsock: which of these sockets is ready? It is what
/// `select` and WSAPoll ask, and may be asked asynchronously. (No header has it; libuv, wepoll and
/// mio have relied on it since Windows Vista.)
struct afd_poll {
    LARGE_INTEGER timeout;
    ULONG count;
    ULONG exclusive;
    struct {
        HANDLE handle;
        ULONG events;
        nt_status status;
    } sockets[1];

    static constexpr DWORD control_code = 0x12024;  // IOCTL_AFD_POLL
    // Data, an orderly end, a reset, a connection to accept:
    static constexpr ULONG readable = 0x01 | 0x08 | 0x10 | 0x80;
    // Room, a reset, a connect that has failed:
    static constexpr ULONG writable = 0x04 | 0x10 | 0x100;
    static constexpr ULONG closed_here = 0x20;
};

/// Calls of ntdll; null where the system lacks them.
struct nt_calls {
    nt_status(NTAPI* device_io_control_file)(HANDLE, HANDLE event, void* routine, void* context,
                                             void* status, ULONG code, void* in, ULONG in_size,
                                             void* out, ULONG out_size);
    nt_status(NTAPI* set_information_file)(HANDLE, void* status, void* data, ULONG size, int what);
    // Since Windows 8; not in Wine 8.
    nt_status(NTAPI* create_wait_completion_packet)(HANDLE*, ACCESS_MASK, void* attributes);
    nt_status(NTAPI* associate_wait_completion_packet)(HANDLE packet, HANDLE port, HANDLE object,
                                                       void* key, void* context, nt_status,
                                                       ULONG_PTR information, BOOLEAN* signaled);
    nt_status(NTAPI* cancel_wait_completion_packet)(HANDLE packet, BOOLEAN remove_signaled);

    nt_calls() noexcept {
        const HMODULE library = ::GetModuleHandleW(L"ntdll.dll");
        find(library, "NtDeviceIoControlFile", device_io_control_file);
        find(library, "NtSetInformationFile", set_information_file);
        find(library, "NtCreateWaitCompletionPacket", create_wait_completion_packet);
        find(library, "NtAssociateWaitCompletionPacket", associate_wait_completion_packet);
        find(library, "NtCancelWaitCompletionPacket", cancel_wait_completion_packet);
    }

private:
    template <class Call>
    static void find(HMODULE library, const char* name, Call& call) noexcept {
        call =
            library
                ? reinterpret_cast<Call>(reinterpret_cast<void*>(::GetProcAddress(library, name)))
                : nullptr;
    }
};

inline const nt_calls& nt() noexcept {
    static const nt_calls calls;
    return calls;
}

/// A function of Winsock's that is asked for at run time, such as AcceptEx.
template <class Call>
int find_extension(platform::socket_handle socket, GUID which, Call& call) noexcept {
    if (call) return 0;
    DWORD size = 0;
    return platform::detail::error_of(::WSAIoctl(socket, SIO_GET_EXTENSION_FUNCTION_POINTER, &which,
                                                 sizeof which, &call, sizeof call, &size, nullptr,
                                                 nullptr));
}

}  // namespace curfew::detail::iocp

#endif
