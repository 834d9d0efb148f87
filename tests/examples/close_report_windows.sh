#!/usr/bin/env bash
# The report itself, made under Wine against a peer of this system (run by
# ../support/with_native_peer): all its rows are there, and those whose outcome is known beforehand
# have it. Arguments: the emulator and the program.
set -Eeuo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fail() {
    echo "FAILED: $*" >&2
    exit 1
}

timeout 100 "$@" --peer "127.0.0.1:$CURFEW_TEST_NATIVE_PEER" >"$work/report" 2>"$work/errors" ||
    fail "it ended with $?: $(cat "$work/errors")"
report=$(tr -d '\r' <"$work/report")
printf '%s\n' "$report"

# rows COUNT PATTERN: so many lines of the report are like that.
rows() {
    local found
    found=$(grep -c -- "$2" <<<"$report" || true)
    ((found == $1)) || fail "$found rows, not $1: $2"
}

rows 1 '^- System: Wine [0-9].*(not Windows'
rows 1 '^- Date: 20[0-9-]* [0-9:]* UTC$'
rows 1 '^- Provider: .*IFS handles'
rows 1 "^- Peer: another process, on $(uname -s) $(uname -r)\$"

# An end without more ado, and an abort, are what they are.
rows 4 '^| none'
rows 6 '^| WSARecv '
rows 6 '^| WSASend '
rows 0 'no experiment'
rows 1 '^| none  .* | close .* | end of stream after 1000 bytes'
rows 8 '^| \(none\|WSA\).* | abort .* | reset after '
rows 12 '^| WSA.* | 0x[0-9A-F]*, Win32 [0-9]* .* bytes '

# What curfew promises.
rows 4 '^| read '
rows 4 '^| write '
rows 1 '^| read  *| close() .*| closed  *| 1000 .*| end of stream after 1000 bytes'
rows 1 '^| read .* on_timeout::cancel.*| timed_out  *| 2000 .*| end of stream after 2000 bytes'
rows 1 '^| write  *| close() .*| closed  *| \([0-9]*\)  *| end of stream after \1 bytes'
rows 1 '^| write .* on_timeout::cancel.*| timed_out  *| \([0-9]*\)  *| end of stream after \1 bytes'
rows 2 '^| [a-z]*  *| abort() .*| closed .*| reset after '
rows 2 '^| [a-z]* .* on_timeout::close) .*| timed_out .*| reset after '

# It does not take what it cannot do.
for each in nonsense --serve '--serve 65536' '--peer 7000' '--peer 192.0.2.1:7000'; do
    status=0
    # shellcheck disable=SC2086
    timeout 20 "$@" $each >"$work/report" 2>"$work/errors" || status=$?
    ((status == 2)) || fail "'$each' ended with $status"
    grep -q '^usage: close_report' "$work/errors" || fail "'$each': no usage"
done
