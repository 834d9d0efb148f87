#!/usr/bin/env bash
# check.sh PROGRAM: names as real name servers tell them, in namespaces of its own, where the system's
# files are others and dnsmasq answers, or nobody does. Exits with 77 where that cannot be tried.
set -Eeuo pipefail
PATH=$PATH:/usr/sbin:/sbin  # which not every user has

if [[ ${2-} != inside ]]; then
    skip() {
        printf 'skipped: %s\n' "$*"
        exit 77
    }
    for tool in unshare mount ip dnsmasq socat getent; do
        command -v "$tool" >/dev/null || skip "$tool is not there"
    done
    [[ -e /etc/resolv.conf && -e /etc/nsswitch.conf && -e /etc/hosts ]] ||
        skip "the system keeps its names elsewhere"
    # A namespace of processes, too: who is still there at the end ends with this script.
    namespaces=(unshare --mount --net --pid --fork --kill-child)
    ((EUID == 0)) || namespaces+=(--map-root-user)
    "${namespaces[@]}" bash -c 'ip link set lo up && ip address add 2001:db8::1/128 dev lo &&
        mount --bind /etc/hosts /etc/hosts' 2>/dev/null ||
        skip "namespaces (or IPv6 in them) are forbidden here"
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    timeout --kill-after=1 100 "${namespaces[@]}" bash "$0" "$1" inside "$work" </dev/null
    exit
fi

program=$1 work=$3

fail() {
    printf 'FAILED: %s\n' "$*" >&2
    exit 1
}
trap 'fail "line $LINENO: $BASH_COMMAND"' ERR

# says EXPECTED ARGUMENT...: what the program prints, line by line.
says() {
    local said
    said=$(timeout 60 "$program" "${@:2}" 2>&1) || fail "${*:2}: ended with $?: $said"
    [[ $said == "$1" ]] || fail "${*:2}: said"$'\n'"$said"$'\n'"instead of"$'\n'"$1"
    echo "${*:2}: good"
}

# takes_over FILE: the system's file is $work's from now on, whatever will be written there.
takes_over() {
    mount --bind "$work/${1##*/}" "$(readlink --canonicalize "$1")"
}

# asks SERVER: whom the system asks, for half a minute if there is no answer.
asks() {
    printf 'nameserver %s\noptions timeout:30 attempts:1\n' "$1" >"$work/resolv.conf"
}

# as_the_system NAME: the addresses in the order in which the system has them.
as_the_system() {
    getent ahosts "$1" | sed -n 's/ .*STREAM.*//p'
}

# --- A network of one host, with a black hole, into which 192.0.2.64 to 192.0.2.127 lead: these packets
# come back, but are for nobody here. ---
ip link set lo up
ip address add 192.0.2.10/32 dev lo
ip address add 2001:db8::10/128 dev lo nodad
ip route add 192.0.2.64/26 dev lo
mount -t proc proc /proc 2>/dev/null || true  # that of these processes, for the sanitizers
if [[ -d /run/nscd ]]; then mount -t tmpfs names /run/nscd; fi  # who would answer instead

asks 127.0.0.1
echo 'hosts: files dns' >"$work/nsswitch.conf"
echo '127.0.0.1 localhost' >"$work/hosts"
for file in /etc/resolv.conf /etc/nsswitch.conf /etc/hosts; do takes_over "$file"; done

records=(
    --host-record=both.test,192.0.2.10,2001:db8::10
    --host-record=four.test,192.0.2.10
    --host-record=six.test,2001:db8::10
    --host-record=hole.test,192.0.2.66,2001:db8::10
    --host-record=holes.test,192.0.2.66 --host-record=holes.test,192.0.2.67
    --txt-record=text.test,text
    --host-record=ten.test,192.0.2.10 --cname=alias.test,ten.test
)
# silent.test is asked of a server in the black hole.
dnsmasq --keep-in-foreground --conf-file=/dev/null --pid-file --log-facility=- --user=root --group= \
    --no-resolv --no-hosts --listen-address=127.0.0.1,::1 --bind-interfaces --local=/test/ \
    --server=/silent.test/192.0.2.100 "${records[@]}" >"$work/dnsmasq" 2>&1 &
socat TCP6-LISTEN:7000,ipv6only=0,reuseaddr,fork SYSTEM:cat >"$work/socat" 2>&1 &

# is_up COMMAND...: waits until it succeeds.
is_up() {
    local i
    for ((i = 0; i < 200; i++)); do
        if "$@" >/dev/null 2>&1; then return; fi
        sleep 0.05
    done
    fail "not up: $* $(cat "$work/dnsmasq" "$work/socat")"
}
is_up getent ahosts four.test
is_up bash -c 'exec 3<>/dev/tcp/192.0.2.10/7000'

# --- What servers say ---
says 127.0.0.1 addresses localhost
says 192.0.2.10 addresses four.test
says 2001:db8::10 addresses six.test
says 192.0.2.10 addresses alias.test
says "$(as_the_system both.test)" addresses both.test
[[ $(as_the_system both.test | wc -l) == 2 ]] || fail "the system knows one address only"
says 192.0.2.10 addresses both.test v4
says 2001:db8::10 addresses both.test v6
says 'host has no such address' addresses four.test v6
says 'host has no such address' addresses six.test v4
says 'host has no such address' addresses text.test
says 'host not found' addresses unknown.test
asks 127.0.0.9  # where nobody is
says 'no answer from a name server' addresses four.test
asks 127.0.0.1

# The administrator's order is the system's, and ours.
if [[ -e /etc/gai.conf ]]; then
    for precedence in 100 5; do
        echo "precedence ::ffff:0:0/96 $precedence" >"$work/gai.conf"
        if ((precedence == 100)); then takes_over /etc/gai.conf; fi
        first=2001:db8::10
        if ((precedence == 100)); then first=192.0.2.10; fi
        [[ $(as_the_system both.test) == "$first"* ]] || fail "the system does not know gai.conf"
        says "$(as_the_system both.test)" addresses both.test
    done
    # The black hole is the better address, and yet the other one wins.
    echo 'precedence ::ffff:0:0/96 100' >"$work/gai.conf"
    [[ $("$program" addresses hole.test) == 192.0.2.66* ]] || fail "the black hole is not the first"
fi

# --- Happy eyeballs ---
says 'connected to [2001:db8::10]:7000' connect hole.test 7000
says 'connected to 192.0.2.10:7000' connect 192.0.2.66:7000 192.0.2.67:7000 192.0.2.10:7000
says 'connected to [2001:db8::10]:7000' connect 192.0.2.66:7000 192.0.2.67:7000 '[2001:db8::10]:7000'
says 'no connection: time limit expired' connect holes.test 7000
says $'192.0.2.10:7001: Connection refused\nno connection: Connection refused' connect four.test 7001

# --- Silence ---
# (Half a minute passes until the system gives up.)
for _ in 1 2 3; do
    SECONDS=0
    says 'time limit expired' limited silent.test
    says exit exit silent.test
    ((SECONDS < 20)) || fail "programs whose look-ups hang took $SECONDS s to end"
done
says '3000 found, 8 hang' crowd silent.test both.test

# --- Without one family, and without the other ---
good() { grep --quiet "^connected to $1$" <<<"$("$program" connect both.test 7000)" || fail "not connected to $1"; }
asks ::1
ip -4 address flush dev lo
ip -4 route flush dev lo
good '\[2001:db8::10\]:7000'
says $'2001:db8::10\n192.0.2.10' addresses both.test  # that of no use last, whatever gai.conf says
says '2001:db8::10' addresses both.test v6
says $'192.0.2.10:7000: Network is unreachable\nno connection: Network is unreachable' connect four.test 7000
ip address add 127.0.0.1/8 dev lo
ip address add 192.0.2.10/32 dev lo
asks 127.0.0.1
ip -6 address flush dev lo
ip -6 route flush dev lo
if [[ -e /etc/gai.conf ]]; then : >"$work/gai.conf"; fi
good 192.0.2.10:7000
says $'192.0.2.10\n2001:db8::10' addresses both.test
echo 'good without IPv4, and without IPv6'
