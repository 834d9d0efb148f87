#!/usr/bin/env bash
# The frames go on under a flood, the network needs little of them, and strangers may join.
source "$(dirname "$0")/lib.sh"
probe=(0)  # a single frame

# row NAME: reads a row of the table into $p50, $own (frames) and $latency.
row() {
    read -r p50 _ _ own latency _ < <(sed -n "s/^  $1 \(.*[0-9]\)\$/\1/p" "$log") ||
        fail "there is no row for $1"
    awk "BEGIN { exit !($p50 < 2) }" || fail "the network used $p50 ms and more in half of the frames"
    ((own <= 2)) || fail "the network used more than is fair in $own frames"
    awk "BEGIN { exit !($latency > 0 && $latency < 200) }" || fail "a latency of $latency ms"
}

plays() {
    start 2
    { printf 'hello 9\n'; sleep 1; } | timeout 5 nc 127.0.0.1 "$port" >"$work/stranger" || true
    grep -q '^welcome [0-9]* [0-9]*$' "$work/stranger" || fail "the stranger is not welcome"
    grep -q '^gem$' "$work/stranger" || fail "the stranger heard of no gem"
    grep -q '^taken [0-9]*$' "$work/stranger" || fail "nobody took the gem"
    finish

    logged '^  120 frames, 64 bots; '
    logged '^  120 frames, 65 bots; '
    row '64 players'
    row 'with a flood'

    # At 256 bytes a frame, and 11 a line. More than that is not read, so the flood is dammed up.
    local heard kilobytes
    heard=$(sed -n 's/^Of the one who floods the server heard \([0-9]*\) lines.*/\1/p' "$log")
    kilobytes=$(sed -n 's/.*It got rid of \([0-9]*\) kB.*/\1/p' "$log")
    ((heard > 120 && heard <= 120 * 24)) || fail "$heard lines of the flood were heard"
    ((kilobytes > 64)) || fail "a flood of $kilobytes kB is none"
    if grep -q ' $' "$log"; then fail "there are blanks at the end of lines"; fi
    if grep -q '.\{101\}' "$log"; then fail "there are lines of more than 100 columns"; fi
}

on_each_reactor plays
