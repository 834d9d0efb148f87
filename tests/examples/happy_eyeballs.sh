#!/usr/bin/env bash
# A name leads to a connection; a refusal is told, and a limit ends what is silent.
source "$(dirname "$0")/lib.sh"
probe=(localhost)

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

by_name() {
    race 0 localhost "$good"
    logged "^connected to 127.0.0.1:$good\$"
}

by_address() {
    race 0 127.0.0.1 "$good"
    [[ $(<"$log") == "connected to 127.0.0.1:$good" ]] || fail "something else was said"
}

# (Where localhost has an IPv6 address, too, nobody listens at that one.)
refusal() {
    race 1 localhost "$refused"
    logged "^127.0.0.1:$refused: Connection refused\$"
    logged '^no connection: Connection refused$'
}

silence() {
    race 1 --limit 400 localhost "$silent"
    if grep -q "^127.0.0.1:$silent:" "$log"; then fail "the silent one counts as failed"; fi
    logged '^no connection: time limit expired$'
}

no_service() {
    race 1 localhost no-such-service
    logged '^no connection: service not found$'
}

misuse() {
    race 2 localhost
    race 2 --limit soon localhost 80
}

listener fork
good=$port
refused_port
silent_port
on_each_reactor by_name
on_each_reactor by_address
on_each_reactor refusal
on_each_reactor silence
on_each_reactor no_service
misuse
