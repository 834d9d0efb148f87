#!/usr/bin/env bash
# On this system it is the peer: it tells what became of a connection, and ends when it is told to.
source "$(dirname "$0")/lib.sh"

if "$program" >"$log" 2>&1; then fail "it did not say that it needs Windows"; fi
grep -q '^usage: close_report' "$log" || fail "no usage"
if "$program" --nonsense >"$log" 2>&1; then fail "it took nonsense"; fi

timeout 60 "$program" --serve 0 >"$log" &
server=$!
for ((i = 0; i < 200; i++)); do
    port=$(sed -n 's/^listening on //p' "$log")
    if [[ -n $port ]]; then break; fi
    sleep 0.05
done
[[ -n $port ]] || fail "it does not listen"

exec 3<>"/dev/tcp/127.0.0.1/$port" # the connection that asks
echo control >&3
answer() {
    local line
    echo "$1" >&3
    read -r -t 20 line <&3 || fail "no answer to '$1'"
    [[ $line == "$2" ]] || fail "'$1': $line"
}

printf 'first read\nhello' >"/dev/tcp/127.0.0.1/$port"
answer 'what first' 'end of stream after 5 bytes'

exec 4<>"/dev/tcp/127.0.0.1/$port"
printf 'second hold\nheld back' >&4
answer 'go second' ok
exec 4>&-
answer 'what second' 'end of stream after 9 bytes'

echo quit >&3
wait "$server" || fail "it ended with $?"
server=
