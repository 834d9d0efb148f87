#!/usr/bin/env bash
# What goes in comes out, an idle connection is closed, and the server ends after its last one, or in good
# order when it is told to.
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

# At SIGTERM it accepts no more, lets a connection end that does, and closes the others in peace.
ends_in_good_order() {
    start 0 10
    exec {first}<>"/dev/tcp/127.0.0.1/$port" {second}<>"/dev/tcp/127.0.0.1/$port"
    echo one >&"$first"
    echo two >&"$second"
    read -r -t 20 -u "$first" line && [[ $line == one ]] || fail "no echo"
    read -r -t 20 -u "$second" line && [[ $line == two ]] || fail "no echo"
    tell TERM
    logged 'it ends, with 2 connections left'
    if { exec {third}<>"/dev/tcp/127.0.0.1/$port"; } 2>/dev/null; then fail "it still accepts"; fi
    echo three >&"$first"
    read -r -t 20 -u "$first" line && [[ $line == three ]] || fail "what was under way does not go on"
    exec {first}>&-
    timeout 20 cat <&"$second" || fail "a connection does not end in peace"
    exec {second}>&-
    finish
    grep -q '10 bytes echoed, end of stream' "$log" || fail "no word about the one that has ended"
    grep -q '4 bytes echoed, operation canceled' "$log" || fail "no word about the one that stayed"
}

# A second signal ends it at once.
ends_at_once() {
    start 0 10
    exec {connection}<>"/dev/tcp/127.0.0.1/$port"
    echo one >&"$connection"
    read -r -t 20 -u "$connection" line || fail "no echo"
    tell INT
    logged 'it ends, with 1 connections left'
    tell INT
    timeout 20 cat <&"$connection" || fail "the connection does not end in peace"
    exec {connection}>&-
    finish
}

on_each_reactor echoes
on_each_reactor closes_what_is_idle
on_each_reactor ends_in_good_order
on_each_reactor ends_at_once
