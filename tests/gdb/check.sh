#!/usr/bin/env bash
# check.sh DIRECTORY SCRIPT COMPILER...: compiles program.cpp with debug information in the directory and
# compares what `curfew tasks` says of it, stopped and as a core file, with the program's own dump.
set -euo pipefail

here=$(dirname "${BASH_SOURCE[0]}")
directory=$1 script=$2
shift 2
mkdir -p "$directory"
program=$directory/program
"$@" -g -pthread "$here/program.cpp" -o "$program"

fail() {
    printf 'FAILED: %s\n' "$*" >&2
    exit 1
}

# in_gdb LOG ARGUMENT...: runs gdb without anybody's settings.
in_gdb() {
    local log=$directory/$1
    shift
    # (Pagination and styles are off in batch mode.)
    timeout 100 gdb --batch -nx -ex 'set debuginfod enabled off' -ex "source $script" "$@" &>"$log" || {
        cat "$log" >&2
        fail "gdb ended with $?"
    }
}

# between LOG N: what stands between the marks N and N + 1.
between() { sed -n "/^mark $2\$/,/^mark $(($2 + 1))\$/p" "$directory/$1" | sed '1d;$d'; }

# In a live process the time goes on; so all times are the same here.
without_times() { sed -E 's/[0-9.]+ (us|ms|s|min)( [0-9]+ s)?/TIME/g'; }

# A core file does not know who is at the other end of a socket.
without_peers() { sed -E 's/^( *- \w+) (127\.0\.0\.1:[0-9]+|on descriptor [0-9]+)/\1 PEER/'; }

same() {
    diff "$1" "$2" >&2 || fail "$3: '<' is the program's own dump, '>' is gdb's"
}

# The script knows all that tasks can wait for.
while read -r what; do
    grep -qF "\"$what\"" "$script" || fail "$script does not know how a wait for \"$what\" is to be told"
done < <(grep -rhoP 'report\.what = "\K[^"]*(?=")' "$here/../../include/curfew")

core=$directory/core
dump=$directory/dump
other=$directory/other_dump
rm -f "$core" "$dump" "$other"
in_gdb live -ex 'break stop_here' -ex "run $dump $other" \
    -ex 'echo mark 0\n' -ex 'python
try:
    gdb.execute("curfew tasks")
except gdb.error as error:
    print(error)' -ex 'echo mark 1\n' -ex continue \
    -ex 'echo mark 2\n' -ex 'curfew tasks' \
    -ex 'echo mark 3\n' -ex 'frame function main' -ex 'echo mark 4\n' -ex 'curfew tasks ctx' \
    -ex 'echo mark 5\n' -ex 'curfew tasks &ctx' \
    -ex 'echo mark 6\n' -ex "generate-core-file $core" "$program"
between live 0 | grep -q 'no thread runs an io_context' || fail "before there is a context"
# (Each part in a file of its own, so that a failure can be looked at.)
cat "$dump" "$other" | without_times >"$directory/expected"
between live 2 | without_times >"$directory/found"
same "$directory/expected" "$directory/found" "a live process"
without_times <"$dump" >"$directory/expected"
for mark in 4 5; do
    between live $mark | without_times >"$directory/found"
    same "$directory/expected" "$directory/found" "a context by its name"
done

in_gdb of_core -ex 'echo mark 0\n' -ex 'curfew tasks' -ex 'echo mark 1\n' "$program" "$core"
between of_core 0 >"$directory/found"
lines=$(wc -l <"$dump")
# The loop that writes the dump has not read the clock since: all times are exact.
without_peers <"$dump" >"$directory/expected"
head -n "$lines" "$directory/found" | without_peers >"$directory/found_first"
same "$directory/expected" "$directory/found_first" "a core file"
without_times <"$other" >"$directory/expected"
tail -n "+$((lines + 1))" "$directory/found" | without_times >"$directory/found_second"
same "$directory/expected" "$directory/found_second" "another thread in a core file"
grep -q 'read on descriptor' "$directory/found" || fail "there are no descriptors"
echo "gdb says what the program says: $(wc -l <"$directory/found") lines"
