#!/usr/bin/env bash
# Lost datagrams are sent again, after a limit that grows.
source "$(dirname "$0")/lib.sh"
probe=(serve 'no address:')

# expect PATTERN: the client's output has such a line.
expect() {
    grep -q -- "$1" "$work/client" || fail "no '$1' in: $(cat "$work/client")"
}

in_one_process() {
    timeout 20 "$program" >"$work/client" || fail "it ended with $?"
    expect '^ping 1: no answer in 50 ms (time limit expired)$'
    expect '^ping 1: no answer in 100 ms (time limit expired)$'
    expect '^ping 1: answer after .* ms, try 3$'
    expect '^ping 4: answer after .* ms, try 1$'
}

in_two_processes() {
    start serve 0 3 1
    timeout 20 "$program" ping "127.0.0.1:$port" 2 >"$work/client" || fail "it ended with $?"
    expect '^ping 1: no answer in 50 ms'
    expect '^ping 1: answer after .* ms, try 2$'
    expect '^ping 2: answer after .* ms, try 1$'

    # A stranger asks, too: first nonsense, then something too long, then a ping.
    if command -v socat >/dev/null; then
        printf 'knock knock' | timeout 5 socat -u - "UDP:127.0.0.1:$port"
        printf '%100s' 'ping' | timeout 5 socat -u - "UDP:127.0.0.1:$port"
        printf 'ping me' | timeout 5 socat -t 1 - "UDP:127.0.0.1:$port" >"$work/client"
        expect '^pong me$'
    else
        timeout 20 "$program" ping "127.0.0.1:$port" 1 >"$work/client" || fail "it ended with $?"
    fi
    finish
}

nobody_there() {
    start serve 0 1
    stop
    if timeout 20 "$program" ping "127.0.0.1:$port" 1 >"$work/client"; then fail "who answered?"; fi
    (($(grep -c 'ping 1: no answer in' "$work/client") == 6)) || fail "it did not try 6 times"
    expect '^ping 1: no answer in 1600 ms'
}

on_each_reactor in_one_process
on_each_reactor in_two_processes
nobody_there  # takes its time, so only on one
