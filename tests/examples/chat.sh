#!/usr/bin/env bash
# Clients of a chat hear each other; who sleeps, does not listen or does not stop is dropped.
source "$(dirname "$0")/lib.sh"
probe=('no address:')

# enter NAME: a new client, $NAME is its descriptor.
enter() {
    exec {descriptor}<>"/dev/tcp/127.0.0.1/$port"
    printf -v "$1" '%s' "$descriptor"
}

leave() {
    local descriptor=$1
    exec {descriptor}>&-
}

say() {
    printf '%s\n' "${*:2}" >&"$1"
}

# hear CLIENT LINE [ANSWER]: reads until it hears that line. Asked whether it is there, it answers
# "yes", or what is given; nothing if that is empty.
hear() {
    local line
    while read -r -t 10 -u "$1" line; do
        if [[ $line == "$2" ]]; then return; fi
        if [[ $line == '* are you there?' && ${3-yes} ]]; then say "$1" "${3-yes}"; fi
    done
    fail "the client never heard '$2'"
}

# hear_the_end CLIENT: there is nothing more to hear, and the server has closed in peace.
hear_the_end() {
    timeout 10 cat <&"$1" >"$work/rest" || fail "the connection does not end in peace"
    if [[ -s $work/rest ]]; then fail "there was more to hear: $(head -n 3 "$work/rest")"; fi
    leave "$1"
}

talks() {
    start 0
    enter ann
    hear "$ann" '* hello guest-1, there are 1 here'
    enter bob
    hear "$bob" '* hello guest-2, there are 2 here'
    hear "$ann" '* guest-2 has come'
    enter cid
    hear "$bob" '* guest-3 has come'
    hear "$cid" '* hello guest-3, there are 3 here'

    say "$ann" 'good evening'
    hear "$bob" 'guest-1: good evening'
    hear "$cid" 'guest-1: good evening'
    say "$bob" $'two\r\nlines'
    hear "$ann" 'guest-2: two'
    hear "$ann" 'guest-2: lines'

    say "$cid" /quit
    hear "$cid" 'guest-2: two'
    hear "$cid" 'guest-2: lines'
    hear "$cid" '* goodbye'
    hear_the_end "$cid"
    hear "$ann" '* guest-3 says goodbye'

    printf '%2000s' 'word without end' >&"$bob"
    hear "$ann" '* guest-2 talks without end'
    hear "$bob" '* goodbye'
    leave "$bob"

    enter dan
    hear "$ann" '* guest-4 has come'
    leave "$dan"
    hear "$ann" '* guest-4 has gone'
    leave "$ann"
    stop
}

asks_the_idle() {
    start 0 --idle 200 --answer 1000
    enter ann
    enter bob
    hear "$bob" '* hello guest-2, there are 2 here'

    # The question does not break the line that is being typed.
    printf 'half a ' >&"$ann"
    hear "$ann" '* are you there?'
    say "$ann" 'line'
    hear "$bob" 'guest-1: half a line'

    # From now on Ann is silent. (An answer that comes too late would be left unread by the server,
    # and its connection would end with a RST.)
    hear "$bob" '* guest-1 has fallen asleep'
    hear "$ann" '* goodbye' ''
    hear_the_end "$ann"
    leave "$bob"
    stop
}

cuts_off_the_deaf() {
    start 0 --write 200
    enter ann
    enter bob
    hear "$bob" '* hello guest-2, there are 2 here'

    # Bob says more than the system keeps for Ann, who reads nothing of it.
    head -c 9000000 /dev/zero | tr '\0' z | fold -w 80 >&"$bob"
    hear "$bob" '* guest-1 does not listen'
    logged '^. guest-1 does not listen$'
    if timeout 10 cat <&"$ann" >/dev/null 2>"$work/error"; then
        fail "Ann's connection ended in peace"
    fi
    grep -q 'reset' "$work/error" || fail "Ann saw no reset but: $(cat "$work/error")"
    leave "$ann"

    # For the others all goes on.
    enter cid
    hear "$bob" '* guest-3 has come'
    say "$cid" 'what a quiet place'
    hear "$bob" 'guest-3: what a quiet place'
    leave "$bob"
    leave "$cid"
    stop
}

on_each_reactor talks
on_each_reactor asks_the_idle
on_each_reactor cuts_off_the_deaf
