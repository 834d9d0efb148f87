#!/usr/bin/env bash
# The lab finds everything as promised, and its page is readable.
source "$(dirname "$0")/lib.sh"

timeout 60 "$program" --quick >"$log" || fail "it ended with $?"
logged '^Everything as promised, in '
if grep -q $'\033' "$log"; then fail "there are colours where there is no terminal"; fi
if grep -q '.\{101\}' "$log"; then fail "there are lines of more than 100 columns"; fi
if grep -q ' $' "$log"; then fail "there are blanks at the end of lines"; fi

for reactor in poll select; do
    (($(grep -c "^  $reactor .*  ok$" "$log") == 7)) || fail "on $reactor something is missing"
    [[ $(grep "^  $reactor .*timed_out" "$log") == *'"done!"'*'connection reset'* ]] ||
        fail "the two policies on $reactor did not do what they are for"
done

timeout 60 "$program" --quick --reactor select >"$log" || fail "on select it ended with $?"
if grep -q '^  poll ' "$log"; then fail "it ran on more than the reactor it was asked for"; fi

"$program" --help >"$log" || fail "--help ended with $?"
logged '^Usage: timeout_lab'
status=0
"$program" --reactor abacus 2>"$log" || status=$?
((status == 2)) || fail "an unknown reactor gave $status"
