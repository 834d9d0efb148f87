#!/usr/bin/env bash
# What goes in comes out, an idle connection is closed, and the server ends after its last one.
source "$(dirname "$0")/lib.sh"
probe=('no address:')

# exchange FILE: sends the file on a new connection and prints what comes back.
exchange() {
    if command -v socat >/dev/null; then
        timeout 20 socat -t 10 - "TCP:127.0.0.1:$port" <"$1"
    else
        exec {connection}<>"/dev/tcp/127.0.0.1/$port"
        cat "$1" >&"$connection" &
        timeout 20 head -c "$(stat -c %s "$1")" <&"$connection"
        exec {connection}>&-
    fi
}

echoes() {
    start 0 3

    echo 'hello' >"$work/short"
    exchange "$work/short" >"$work/echoed" || fail "no echo"
    cmp "$work/short" "$work/echoed" || fail "the echo of a line differs"

    # More than any buffer holds, on two connections at a time.
    head -c 5000000 /dev/urandom >"$work/long"
    exchange "$work/long" >"$work/echoed1" &
    exchange "$work/long" >"$work/echoed2" || fail "no echo"
    wait $! || fail "no echo"
    cmp "$work/long" "$work/echoed1" || fail "the echo of 5 MB differs"
    cmp "$work/long" "$work/echoed2" || fail "the echo of 5 MB differs"

    finish
    grep -q '6 bytes echoed, end of stream' "$log" || fail "no word about the first connection"
    (($(grep -c '5000000 bytes echoed' "$log") == 2)) || fail "no word about the others"
}

closes_what_is_idle() {
    start 0 1 200
    exec {connection}<>"/dev/tcp/127.0.0.1/$port"
    timeout 20 cat <&"$connection" || fail "the connection does not end in peace"
    exec {connection}>&-
    finish
    grep -q '0 bytes echoed, time limit expired' "$log" || fail "no word about the limit"
}

on_each_reactor echoes
on_each_reactor closes_what_is_idle
