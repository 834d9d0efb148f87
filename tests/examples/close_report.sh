#!/usr/bin/env bash
# On this system it is the peer: it tells what became of a connection, ends when it is told to or
# nobody comes, and refuses nonsense.
source "$(dirname "$0")/lib.sh"

# refuses STATUS PATTERN ARGUMENT...: it ends so, at once, and says why.
refuses() {
    local status=0
    timeout 20 "$program" "${@:3}" >"$work/output" 2>"$log" || status=$?
    ((status == $1)) || fail "'${*:3}' ended with $status"
    logged "$2"
    [[ ! -s $work/output ]] || fail "'${*:3}' made a report: $(cat "$work/output")"
}

refuses_nonsense() {
    local each
    for each in --serve '--serve 65536' '--serve -1' '--serve 70OO' '--serve 7000 soon' \
        '--serve 7000 1 1' '--peer 127.0.0.1:7000' nonsense; do
        # shellcheck disable=SC2086
        refuses 2 '^usage: close_report' $each
    done
}

# connect TEXT: a connection that begins so, as $connection.
connect() {
    exec {connection}<>"/dev/tcp/127.0.0.1/$port"
    printf '%s' "$1" >&"$connection"
}

# asked ORDER ANSWER: the peer's answer on the connection $control.
asked() {
    local line
    echo "$1" >&"$control"
    read -r -t 20 -u "$control" line || fail "no answer to '$1'"
    [[ $line == "$2" ]] || fail "the answer to '$1' is '$line'"
}

is_the_peer() {
    start --serve 0
    connect $'control\n'
    control=$connection

    connect $'first read\nhello'
    exec {connection}>&-
    asked 'what first' 'end of stream after 5 bytes'

    connect $'second hold\nheld back'
    exec {connection}>&-
    asked 'what second' 'nothing for 3 s after 0 bytes'
    asked 'go second' ok
    asked 'what second' 'end of stream after 9 bytes'

    connect $'third greet\n'
    [[ $(timeout 20 head -c 100 <&"$connection") == ggg*ggg ]] || fail "no greeting"
    connect $'fourth greet\n'  # the greeting stays unread
    sleep 0.2
    exec {connection}>&-
    asked 'what fourth' 'reset after 0 bytes'
    asked 'what third' 'nothing for 3 s after 0 bytes'

    asked who "$(uname -s) $(uname -r)"
    asked 'how are you' 'what do you mean?'
    echo quit >&"$control"
    finish

    start --serve 0 1  # and nobody comes
    finish
}

refuses 2 'what Windows does'
refuses_nonsense
is_the_peer
