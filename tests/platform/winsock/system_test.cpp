// What including the headers of Windows' sockets brings in.
#include <curfew/platform/platform.hpp>

#if defined(_WIN32)

// A user's names are the user's, and the rest of <windows.h> is left where it is.
#if defined(min) || defined(max)
#error "curfew has let macros of <windows.h> out"
#endif
#if defined(_OLE2_H_) || defined(_INC_SHELLAPI) || defined(_COMMDLG_H)
#error "curfew has brought in all of <windows.h>"
#endif

// Who wants more of it still gets it.
#define NOMINMAX
#include <windows.h>

#include <doctest/doctest.h>

TEST_CASE("<windows.h> after curfew brings what it always does") {
    CHECK(RGB(1, 2, 3) == 0x030201);
    CHECK(sizeof(HDROP) == sizeof(void*));  // of the part that is not lean
}

#endif
