# shellcheck shell=bash
# What the tests of the examples share. Each test is called with the path of its program, and
# sources this. Everything that waits is bounded in time.
set -Eeuo pipefail

program=$1
work=$(mktemp -d)
log=$work/log
server=
trap 'stop; rm -rf "$work"' EXIT

fail() {
    printf 'FAILED%s: %s\n' "${CURFEW_REACTOR:+ on $CURFEW_REACTOR}" "$*" >&2
    if [[ -s $log ]]; then
        echo '--- what the program said:' >&2
        cat "$log" >&2
    fi
    exit 1
}

trap 'fail "line $LINENO: $BASH_COMMAND"' ERR

# on_each_reactor FUNCTION: calls it with CURFEW_REACTOR set to each reactor that the program has.
on_each_reactor() {
    local tested=0
    for CURFEW_REACTOR in io_uring epoll poll select; do
        export CURFEW_REACTOR
        # Reactors are made before anything else happens, so a wrong address is enough to try one.
        if grep -q "reactor '$CURFEW_REACTOR'" <("$program" "${probe[@]}" 2>&1); then continue; fi
        "$1"
        tested=$((tested + 1))
        echo "$1 on $CURFEW_REACTOR: good"
    done
    unset CURFEW_REACTOR
    ((tested > 0)) || fail "there is no reactor to test"
}

# start ARGUMENT...: runs the program in the background until it listens, and sets $port.
start() {
    : >"$log"
    # (The shell becomes the program, whose number is not that of `timeout`.)
    timeout 60 bash -c 'echo $$ >"$0" && exec "$@"' "$work/pid" "$program" "$@" >>"$log" 2>&1 &
    server=$!
    port=
    local i
    for ((i = 0; i < 200; i++)); do
        port=$(sed -n 's/^listening on .*:\([0-9][0-9]*\)$/\1/p' "$log")
        if [[ -n $port ]]; then return; fi
        sleep 0.05
    done
    fail "it does not listen"
}

# finish: waits until the program has ended by itself, with 0.
finish() {
    wait "$server" || fail "the program ended with $?"
    server=
}

# tell SIGNAL: sends it to the program.
tell() { kill -"$1" "$(<"$work/pid")" || fail "there is nobody to be told $1"; }

stop() {
    if [[ -n $server ]]; then
        kill "$server" 2>/dev/null || true
        wait "$server" 2>/dev/null || true
        server=
    fi
}

# logged PATTERN: waits until the program has said so.
logged() {
    local i
    for ((i = 0; i < 200; i++)); do
        if grep -q -- "$1" "$log"; then return; fi
        sleep 0.05
    done
    fail "it never said '$1'"
}
