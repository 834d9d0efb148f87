#!/usr/bin/env bash
# A program and its user, whose standard input is a file, nothing, a pipe without an end, or a terminal.
source "$(dirname "$0")/lib.sh"
probe=("$work/nobody")  # where nobody listens

# serve ARGUMENT...: runs the server in the background until it listens.
serve() {
    : >"$log"
    timeout 60 bash -c 'echo $$ >"$0" && exec "$@"' "$work/pid" "$program" serve "$work/socket" "$@" >>"$log" 2>&1 &
    server=$!
    logged 'listening at'
}

talk() { timeout 20 "$program" "$work/socket" "$@"; }

answers() {
    serve --lines 1000
    printf 'hello\nwho\nquit\nnobody hears this\n' >"$work/commands"
    talk <"$work/commands" >"$work/answers" || fail "with a file for its input it ends with $?"
    grep -q '^you said hello$' "$work/answers" || fail "no answer"
    grep -q "^process [0-9]* of user $(id -u)\$" "$work/answers" || fail "it does not know its user"
    (($(wc -l <"$work/answers") == 2)) || fail "it goes on after quit"

    talk </dev/null >"$work/answers" || fail "with no input it ends with $?"
    [[ ! -s $work/answers ]] || fail "an answer to nothing"

    # (yes ends by SIGPIPE.)
    { yes || true; } | talk >"$work/answers" || fail "with input without an end it ends with $?"
    (($(wc -l <"$work/answers") <= 1000)) || fail "more than 1000 answers"
    logged 'that is enough'

    # A limit takes nothing: what comes later is still there for somebody else.
    { sleep 1; echo late; } | { talk --limit 100 2>"$work/said" && cat; } >"$work/rest" || fail "no rest"
    grep -q 'nobody has said anything' "$work/said" || fail "no word about the limit"
    [[ $(<"$work/rest") == late ]] || fail "a line is lost"
    stop

    # The path was left behind, and is taken over.
    serve
    if command -v socat >/dev/null; then
        [[ $(echo hello | timeout 20 socat -t 10 - "UNIX-CONNECT:$work/socket") == 'you said hello' ]] ||
            fail "socat gets another answer"
    fi
    if command -v script >/dev/null; then
        # On a terminal: with the limit it ends at once.
        timeout 20 script -qec "$program $work/socket --limit 100" /dev/null </dev/null >"$work/answers" ||
            fail "on a terminal it ends with $?"
    fi
    stop
}

on_each_reactor answers
