#!/usr/bin/env bash
# The program of docs/guide/first_program.md: keeps notes, says good bye, and tells what it does.
source "$(dirname "$0")/../examples/lib.sh"
probe=('no address:')

# say TEXT ANSWER: on the connection that is open.
say() {
    echo "$1" >&"$connection"
    read -r -t 20 -u "$connection" line || fail "no answer to '$1'"
    [[ $line == "$2" ]] || fail "'$1' is answered '$line'"
}

keeps_notes_and_ends_in_good_order() {
    start 127.0.0.1 0
    exec {connection}<>"/dev/tcp/127.0.0.1/$port"
    say 'milk two bottles' kept
    say milk 'two bottles'
    say bread unknown
    tell USR1
    logged '- accept 127.0.0.1'
    logged '- read 127.0.0.1.*limit: cancel in'
    tell TERM
    logged 'it ends, with 1 connections'
    read -r -t 20 -u "$connection" line || fail "no good bye"
    [[ $line == 'good bye' ]] || fail "the good bye is '$line'"
    timeout 20 cat <&"$connection" || fail "the connection does not end in peace"
    exec {connection}>&-
    finish
}

on_each_reactor keeps_notes_and_ends_in_good_order
