# shellcheck shell=bash
# What the commands in this directory share: seeing to it that the machine has what they need.

die() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 2
}

# have PACKAGE: is what this Debian package brings there, whichever way it got there?
have() {
    case $1 in
        clang-*) command -v "clang++-${1#clang-}" ;;
        dnsmasq-base) command -v dnsmasq || [[ -x /usr/sbin/dnsmasq ]] ;;
        doxygen-awesome-css) [[ -e /usr/share/doxygen-awesome-css/doxygen-awesome.css ]] ;;
        doctest-dev) g++ -fsyntax-only -include doctest/doctest.h -x c++ /dev/null ;;
        librust-*-dev)
            local crate=${1#librust-}
            compgen -G "/usr/share/cargo/registry/${crate%-dev}-[0-9]*" ;;
        graphviz) command -v dot ;;
        libclang-rt-*-dev)
            local version=${1//[!0-9]/}
            g++ --version && "clang++-$version" -fsanitize=address -x c++ -o /dev/null - <<<'int main() {}' ;;
        g++-mingw-w64-x86-64-posix) command -v x86_64-w64-mingw32-g++-posix ;;
        g++-*-linux-gnu) command -v "${1#g++-}-g++" ;;
        iproute2) command -v ip ;;
        netcat-openbsd) command -v nc ;;
        ninja-build) command -v ninja ;;
        qemu-user-static) command -v qemu-ppc64-static ;;
        *) command -v "$1" ;;
    esac &>/dev/null
}

as_root() {
    if ((EUID == 0)); then "$@"; else sudo "$@"; fi
}

can_install() {
    command -v apt-get >/dev/null && { ((EUID == 0)) || command -v sudo >/dev/null; }
}

# Refreshes apt's lists, at most once a run.
update_lists() {
    if [[ -z ${lists_updated-} ]]; then
        as_root apt-get update -q || die "apt-get update failed; is there a network?"
        lists_updated=1
    fi
}

# need PACKAGE...: installs those that are missing. Without apt-get it names them and stops.
need() {
    local package missing=()
    for package in "$@"; do
        have "$package" || missing+=("$package")
    done
    ((${#missing[@]})) || return 0

    can_install || die "please install what these Debian packages bring: ${missing[*]}"
    echo "Installing ${missing[*]}"
    update_lists
    as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -q --no-install-recommends "${missing[@]}" ||
        die "apt-get could not install: ${missing[*]}"
}

# at_least NAME MINIMUM VERSION: stops if the distribution's version is too old.
at_least() {
    [[ $(printf '%s\n' "$2" "$3" | sort -V | head -n 1) == "$2" ]] ||
        die "$1 $2 or later is needed, and this is $3 (Debian 12 and Ubuntu 24.04 have it)"
}

need_gcc() {
    need g++
    at_least g++ 12 "$(g++ -dumpfullversion)"
}
