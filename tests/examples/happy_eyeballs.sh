#!/usr/bin/env bash
# The first address that answers wins: silence costs 250 ms, a refusal nothing, and a limit ends it.
source "$(dirname "$0")/lib.sh"
probe=('no address:')

peers=()
trap 'end_peers; rm -rf "$work"' EXIT

end_peers() {
    if ((${#peers[@]})); then kill -KILL "${peers[@]}" 2>/dev/null || true; fi
}

# listener OPTIONS: a listener on any free port; sets $port and $pid.
listener() {
    : >"$work/peer"
    timeout 90 bash -c 'echo $$ >"$0"; exec socat -d -d "$1" SYSTEM:cat' \
        "$work/pid" "TCP-LISTEN:0,bind=127.0.0.1,$1" 2>"$work/peer" &
    disown  # so that its end is nobody's news
    port=
    local i
    for ((i = 0; i < 200; i++)); do
        port=$(sed -n 's/.* listening on AF=[0-9]* .*:\([0-9][0-9]*\)$/\1/p' "$work/peer")
        if [[ -n $port ]]; then break; fi
        sleep 0.05
    done
    [[ -n $port ]] || fail "socat does not listen: $(cat "$work/peer")"
    pid=$(cat "$work/pid")
    peers+=("$pid")
}

can_connect() {
    timeout 0.5 bash -c "exec 3<>/dev/tcp/127.0.0.1/$1" 2>/dev/null
}

# A process that is stopped accepts nothing. When the queue of its listener is full, which with a
# backlog of 0 is soon, the system does not answer any more.
silent_port() {
    listener backlog=0
    silent=$port
    kill -STOP "$pid"
    local i
    for ((i = 0; i < 20; i++)); do
        if ! can_connect "$silent"; then return; fi
    done
    fail "a listener that accepts nothing still answers"
}

refused_port() {
    listener fork
    refused=$port
    kill -KILL "$pid"
    local i
    for ((i = 0; i < 200; i++)); do
        if ! can_connect "$refused"; then return; fi
        sleep 0.05
    done
    fail "a listener that is gone still answers"
}

# race STATUS ARGUMENT...: runs the program, which should end so.
race() {
    local status=0
    timeout 20 "$program" "${@:2}" >"$log" 2>&1 || status=$?
    ((status == $1)) || fail "it ended with $status"
}

# when ADDRESS EVENT: sets $ms to the time at which that happened.
when() {
    ms=$(awk -v address="$1" -v event="$2" \
        '$3 == address && substr($0, index($0, address)) ~ " " event "$" { print int($1) }' "$log")
    [[ -n $ms ]] || fail "$1 was never '$2'"
}

never() {
    if grep -q "$1" "$log"; then fail "it said '$1'"; fi
}

good_first() {
    race 0 "127.0.0.1:$good" "127.0.0.1:$silent"
    when "127.0.0.1:$good" connected
    never "$silent"
    logged "^connected to 127.0.0.1:$good\$"
}

silence_first() {
    race 0 "127.0.0.1:$silent" "127.0.0.1:$good"
    when "127.0.0.1:$good" connecting
    ((ms >= 250 && ms < 2000)) || fail "the second attempt began after $ms ms"
    when "127.0.0.1:$silent" cancelled
    logged "^connected to 127.0.0.1:$good\$"
}

refusal_first() {
    race 0 "[::1]:$refused" "127.0.0.1:$refused" "127.0.0.1:$good" "127.0.0.1:$silent"
    when "127.0.0.1:$refused" 'Connection refused'
    when "127.0.0.1:$good" connecting
    ((ms < 250)) || fail "the third attempt began after $ms ms"
    never "$silent"
}

silence_and_refusal() {
    race 0 "127.0.0.1:$silent" "127.0.0.1:$refused" "127.0.0.1:$good"
    when "127.0.0.1:$good" connecting
    ((ms >= 250 && ms < 500)) || fail "the third attempt began after $ms ms"
    when "127.0.0.1:$silent" cancelled
}

nobody() {
    race 1 "127.0.0.1:$refused" "127.0.0.1:$refused"
    logged '^no connection: Connection refused$'

    race 1 --limit 400 "127.0.0.1:$silent" "127.0.0.1:$refused"
    when "127.0.0.1:$silent" cancelled
    ((ms >= 400 && ms < 2000)) || fail "the limit expired after $ms ms"
    logged '^no connection: time limit expired$'
}

listener fork
good=$port
refused_port
silent_port
on_each_reactor good_first
on_each_reactor silence_first
on_each_reactor refusal_first
on_each_reactor silence_and_refusal
on_each_reactor nobody
