#!/usr/bin/env bash
# Calls to a flaky server are answered all the same; where nobody answers, they end in time.
source "$(dirname "$0")/lib.sh"
probe=('no number')

# summary CALLS: reads the summary in the client's output.
summary() {
    local pattern='([0-9]+) calls, ([0-9]+) answered, ([0-9]+) timed out, 0 failed; ([0-9]+) tries'
    [[ $(cat "$work/client") =~ $pattern ]] || fail "no summary in: $(cat "$work/client")"
    answered=${BASH_REMATCH[2]} timed_out=${BASH_REMATCH[3]} tries=${BASH_REMATCH[4]}
    ((BASH_REMATCH[1] == $1 && answered + timed_out == $1)) || fail "calls are missing"
}

# most_answered CALLS ARGUMENT...: makes so many calls, of which half at least are to be answered. A
# busy machine may let the time of more pass than that, but not again and again.
most_answered() {
    local calls=$1 i
    shift
    for ((i = 0; i < 20; i++)); do
        timeout 60 "$program" "$@" >"$work/client" || (($? == 1)) || fail "it ended with $?"
        summary "$calls"
        if ((2 * answered >= calls)); then return; fi
    done
    fail "only $answered of $calls calls were answered"
}

in_one_process() {
    most_answered 300 300 7
    ((tries > answered)) || fail "$tries tries: the server was not flaky"
}

in_two_processes() {
    start serve 0 3
    most_answered 100 call "127.0.0.1:$port" 100

    # Somebody else asks, until the server is in the mood to answer.
    local i
    for ((i = 0; i < 20; i++)); do
        answer=$(printf 'x square 12\n' | timeout 5 nc -N 127.0.0.1 "$port" || true)
        if [[ $answer == 'x 144' ]]; then break; fi
    done
    [[ $answer == 'x 144' ]] || fail "the last answer was: $answer"
    stop
}

# unanswered: calls to $port, of which none is answered. That some are tried again takes a machine
# that is not too busy for that.
unanswered() {
    local i
    for ((i = 0; i < 20; i++)); do
        local begin=${EPOCHREALTIME/[.,]/} status=0
        timeout 60 "$program" call "127.0.0.1:$port" 32 >"$work/client" || status=$?
        local ms=$(((${EPOCHREALTIME/[.,]/} - begin) / 1000))
        ((status == 1)) || fail "it ended with $status"
        summary 32
        ((timed_out == 32)) || fail "$answered calls were answered"
        # Two rounds of 16 callers, 300 ms each.
        ((ms >= 600)) || fail "it took $ms ms"
        if ((tries > 32)); then return; fi
    done
    fail "$tries tries: nothing was tried again"
}

nobody_there() {
    start serve 0
    stop
    unanswered
}

only_nonsense() {
    : >"$log"
    timeout 20 socat -d -d TCP-LISTEN:0,bind=127.0.0.1,fork \
        SYSTEM:'while read -r line; do echo "1 nonsense"; done' 2>"$log" &
    server=$!
    port=
    local i
    for ((i = 0; i < 200 && ${#port} == 0; i++)); do
        port=$(sed -n 's/.* listening on AF=[0-9]* .*:\([0-9][0-9]*\)$/\1/p' "$log")
        sleep 0.05
    done
    unanswered
    stop
}

on_each_reactor in_one_process
on_each_reactor in_two_processes
on_each_reactor nobody_there
only_nonsense
