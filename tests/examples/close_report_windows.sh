#!/usr/bin/env bash
# The report itself, made under Wine against a peer of this system (see ../support/with_native_peer):
# all its rows are there, and those whose outcome is promised have it. Arguments: the emulator and the
# program.
set -Eeuo pipefail

report=$(timeout 100 "$@" --peer "127.0.0.1:$CURFEW_TEST_NATIVE_PEER" | tr -d '\r')
printf '%s\n' "$report"

# rows COUNT PATTERN: there are so many lines like that.
rows() {
    local found
    found=$(grep -c -- "$2" <<<"$report" || true)
    if ((found != $1)); then
        echo "FAILED: $found rows, not $1: $2" >&2
        exit 1
    fi
}

rows 1 '^System: .*Date: .*another process'
rows 12 '^| \(receive\|send\) '
rows 8 '^| \(read\|write\) '
rows 6 '^| \(receive\|send\) .*| abort | .* | reset after '
rows 2 '^| \(read\|write\) *| close() .*| closed on this side .*| end of stream after '
rows 2 '^| \(read\|write\) *| abort() .*| closed on this side .*| reset after '
rows 2 '^| \(read\|write\) *| a limit, cancel; .*| time limit expired .*| end of stream after '
rows 2 '^| \(read\|write\) *| a limit, close .*| time limit expired .*| reset after '
