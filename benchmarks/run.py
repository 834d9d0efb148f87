#!/usr/bin/env python3
"""Builds and runs the benchmarks and prints what they measure; `tools/bench` calls it."""

import argparse
import os
import pathlib
import platform
import re
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent

# Each round trip has two limited reads, the client's and the server's.
LIMITED_READS = 2


class Peer:
    """One way to write the echo: a program and its options."""

    def __init__(self, label, program, *options, limit_over=None):
        self.label = label
        self.program = program
        self.options = list(options)
        self.limit_over = limit_over  # the peer that is the same without a limit

    def command(self, rounds, connections=1):
        return [
            str(self.program), *self.options,
            "--rounds", str(rounds), "--connections", str(connections),
        ]


def run(command, **how):
    """Runs a command; stops with its output if it fails."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, **how)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}"
                 f"ended with {done.returncode}")
    return done.stdout


def figures(output):
    """The `name=value` pairs that every echo program prints."""
    return {name: float(value) for name, value in re.findall(r"(\w+)=(\S+)", output)}


# --- Building ---

def build(arguments, targets):
    tree = arguments.build / "cmake"
    run(["cmake", "-S", ROOT, "-B", tree, "-DCMAKE_BUILD_TYPE=Release",
         f"-DCMAKE_CXX_COMPILER={arguments.cxx}",
         "-DCMAKE_CXX_FLAGS_RELEASE=-O2 -g -DNDEBUG",  # -g names the lines in a profile
         "-DCURFEW_BUILD_BENCHMARKS=ON", "-DCURFEW_BUILD_TESTS=OFF",
         "-DCURFEW_BUILD_EXAMPLES=OFF", "-DCURFEW_INSTALL=OFF"])
    run(["cmake", "--build", tree, "--target", *targets])
    return tree / "benchmarks"


def make_peers(programs):
    """Plain epoll comes first: the others are compared with it."""
    curfew = programs / "bench_echo_curfew"
    plain = Peer("curfew", curfew)
    return [
        Peer("plain epoll", programs / "bench_echo_epoll"),
        plain,
        Peer("curfew, limit cancel", curfew, "--limit", "cancel", limit_over=plain),
        Peer("curfew, limit close", curfew, "--limit", "close", limit_over=plain),
    ]


def make_more_peers(programs):
    curfew = programs / "bench_echo_curfew"
    exact = Peer("curfew, read_exactly/write_all", curfew, "--api", "exact")
    asio = Peer("Asio", programs / "bench_echo_asio")
    return [
        exact,
        Peer("the same, limit cancel", curfew, "--api", "exact", "--limit", "cancel",
             limit_over=exact),
        Peer("curfew on poll", curfew, "--reactor", "poll"),
        asio,
        Peer("Asio, limit (operator or)", asio.program, "--limit", "or", limit_over=asio),
        Peer("Asio, limit (operator or, as_tuple)", asio.program, "--limit", "or_tuple", limit_over=asio),
    ]


def make_io_uring_peers(programs):
    """Plain liburing first; nothing where the kernel, or a sandbox, does not permit io_uring."""
    plain = Peer("plain liburing", programs / "bench_echo_liburing")
    if subprocess.run(plain.command(1), capture_output=True).returncode != 0:
        return []
    curfew = programs / "bench_echo_curfew"
    bare = Peer("curfew on io_uring", curfew, "--reactor", "io_uring")
    return [
        plain,
        bare,
        Peer("the same, limit cancel", curfew, "--reactor", "io_uring", "--limit", "cancel",
             limit_over=bare),
    ]


# --- Measuring ---

def per_round(measure, short, long):
    """What one round trip takes, without the start and the end of the program."""
    return (measure(long) - measure(short)) / (long - short)


def count_instructions(peers, directory):
    """User-space instructions and allocations per round trip.

    Valgrind has no vDSO: under it clock_gettime is a real system call, whose cost lies in the
    kernel and is not counted. Natively the clock costs some 50 instructions more each time.
    """
    directory.mkdir(parents=True, exist_ok=True)

    def measure(peer):
        allocations = None

        def instructions(rounds):
            nonlocal allocations
            file = directory / f"{re.sub('[^a-zA-Z]+', '-', peer.label)}.{rounds}.callgrind"
            output = run(["valgrind", "--tool=callgrind", f"--callgrind-out-file={file}",
                          *peer.command(rounds)])
            allocations = figures(output)["allocations_per_round"]
            return int(re.search(r"^(?:totals|summary): (\d+)", file.read_text(), re.M).group(1))

        return per_round(instructions, 2000, 7000), allocations

    with ThreadPoolExecutor(os.cpu_count()) as pool:  # a count, no time: they may run side by side
        return dict(zip(peers, pool.map(measure, peers)))


def cost_of_limit(counts, peer):
    """Instructions for one limit that does not expire; None for a peer without."""
    if peer.limit_over is None:
        return None
    return (counts[peer][0] - counts[peer.limit_over][0]) / LIMITED_READS


def count_system_calls(peer, directory):
    """System calls per round trip, by name."""

    def calls(rounds):
        file = directory / "strace.txt"
        run(["strace", "-f", "-c", "-o", file, *peer.command(rounds)])
        rows = re.findall(r"^ *[\d.]+ +[\d.]+ +\d+ +(\d+) (?: *\d+)? *(\w+)$",
                          file.read_text(), re.M)
        return {name: int(count) for count, name in rows if name != "total"}

    short, long = 500, 1500
    before, after = calls(short), calls(long)
    each = {name: (after[name] - before.get(name, 0)) / (long - short) for name in after}
    return {name: count for name, count in each.items() if count >= 0.01}


def measure_rates(peers, connections, repetitions, seconds):
    """Round trips per second against the first, both run one after the other, in turn first.

    All on one processor, the last: there is one thread, and moving it only adds noise.
    """
    reference = peers[0]

    def rates(peer, rounds):
        return figures(run(peer.command(rounds, connections)))

    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(allowed)})
    rounds = {peer: int(rates(peer, 5000)["per_second"] * seconds) for peer in peers}
    result = {peer: [] for peer in peers[1:]}
    for repetition in range(repetitions):
        for peer in peers[1:]:
            pair = [reference, peer] if repetition % 2 == 0 else [peer, reference]
            measured = {each: rates(each, rounds[each]) for each in pair}
            result[peer].append((measured[peer], measured[reference]))
    os.sched_setaffinity(0, allowed)
    return result


def measure_include_cost(arguments, repetitions):
    """What including curfew.hpp costs, and including asio.hpp."""
    files = [HERE / "include_curfew.cpp", HERE / "include_asio.cpp"]
    base = [arguments.cxx, "-std=c++20", "-O2", f"-I{ROOT / 'include'}"]

    def cpu_seconds(*options):
        before = os.times()
        run([*base, *options])
        after = os.times()
        return (after.children_user + after.children_system
                - before.children_user - before.children_system)

    lines = [run([*base, "-E", "-P", file]).count("\n") for file in files]
    rows = [("preprocessed lines", *map(str, lines), lines[0] / lines[1])]
    for what, options in [("-fsyntax-only", ["-fsyntax-only"]),
                          ("-c", ["-c", "-o", arguments.build / "include.o"])]:
        seconds = [[cpu_seconds(*options, file) for file in files] for _ in range(repetitions)]
        curfew, asio = (statistics.median(column) for column in zip(*seconds))
        ratio = statistics.median(pair[0] / pair[1] for pair in seconds)
        rows.append((f"g++ -O2 {what}, CPU seconds", f"{curfew:.2f}", f"{asio:.2f}", ratio))
    return rows


# --- Reporting ---

class Report:
    """Goes to the terminal while it grows, and in the end into a Markdown file."""

    def __init__(self):
        self.text = []

    def add(self, text=""):
        print(text, flush=True)
        self.text.append(text)

    def table(self, title, header, rows):
        rows = [[str(cell) for cell in row] for row in [header, *rows]]
        widths = [max(map(len, column)) for column in zip(*rows)]

        numeric = [all(re.fullmatch(r"-|-?[\d.]+", cell) for cell in column[1:])
                   for column in zip(*rows)]

        def line(row):
            return "| " + " | ".join(cell.rjust(width) if right else cell.ljust(width)
                                     for cell, width, right in zip(row, widths, numeric)) + " |"

        rule = "|".join("-" * (width + 1) + (":" if right else "-")
                        for width, right in zip(widths, numeric))
        self.add(f"## {title}\n")
        self.add(line(rows[0]))
        self.add(f"|{rule}|")
        for row in rows[1:]:
            self.add(line(row))
        self.add()


def read_budgets():
    lines = (HERE / "budgets.txt").read_text().splitlines()
    words = [line.split("#")[0].split() for line in lines]
    return {pair[0]: float(pair[1]) for pair in words if pair}


def or_dash(value, form):
    return "-" if value is None else format(value, form)


def check(arguments):
    """The counts that must not grow; none depends on the clock or on what else the machine does."""
    peers = make_peers(build(arguments, ["bench_echo_epoll", "bench_echo_curfew"]))
    counts = count_instructions(peers, arguments.build / "profiles")
    epoll, plain, *limited = peers
    budgets = read_budgets()
    rows = [
        ("instructions_per_round_trip", plain.label, counts[plain][0]),
        *(("instructions_per_limit", peer.label, cost_of_limit(counts, peer)) for peer in limited),
        *(("allocations_per_round_trip", peer.label, counts[peer][1]) for peer in peers[1:]),
    ]
    over = 0
    print(f"plain epoll: {counts[epoll][0]:.1f} instructions per round trip")
    for name, label, value in rows:
        fits = value <= budgets[name]
        over += not fits
        print(f"{label}: {name} {value:.1f}, budget {budgets[name]:g}"
              + ("" if fits else "  OVER THE BUDGET"))
    return 1 if over else 0


def compare(arguments):
    quick = arguments.quick
    programs = build(arguments, ["bench_echo_epoll", "bench_echo_liburing", "bench_echo_curfew",
                                 "bench_echo_asio"])
    io_uring_peers = make_io_uring_peers(programs)
    peers = make_peers(programs) + io_uring_peers + make_more_peers(programs)
    report = Report()
    compiler = run([arguments.cxx, "--version"]).splitlines()[0]
    report.add(f"# curfew: echo benchmarks\n\n{compiler}, Linux {platform.release()}, "
               f"{platform.machine()}. 64-byte echo over loopback, client and server in one "
               "thread and one loop.\n")

    counts = count_instructions(peers, arguments.build / "profiles")
    rows = []
    for peer in peers:
        calls = count_system_calls(peer, arguments.build)
        rows.append((peer.label, f"{counts[peer][0]:.0f}",
                     or_dash(cost_of_limit(counts, peer), ".0f"), f"{counts[peer][1]:g}",
                     f"{sum(calls.values()):.2f}",
                     ", ".join(f"{count:.2f} {name}" for name, count in sorted(calls.items()))))
    report.table("What a round trip takes (one connection)",
                 ("", "instructions", "per limit", "allocations", "system calls", "which"), rows)

    # The median and the quartiles of the paired ratios.
    repetitions, seconds = (9, 0.06) if quick else (41, 0.15)
    rate_of_curfew = None
    for connections in (1, 64):
        for group in filter(None, (peers, io_uring_peers)):
            rates = measure_rates(group, connections, repetitions, seconds)
            rows = []
            for peer, pairs in rates.items():
                wall = [one["per_second"] / other["per_second"] for one, other in pairs]
                cpu = [one["per_cpu_second"] / other["per_cpu_second"] for one, other in pairs]
                low, middle, high = statistics.quantiles(wall, n=4)
                rows.append((peer.label,
                             f"{statistics.median(one['per_second'] for one, _ in pairs):.0f}",
                             f"{statistics.median(other['per_second'] for _, other in pairs):.0f}",
                             f"{middle:.3f}", f"{low:.3f} to {high:.3f}",
                             f"{statistics.median(cpu):.3f}"))
                if peer is peers[1] and connections == 1:
                    rate_of_curfew = middle
            report.table(f"Round trips per second, connections: {connections}",
                         ("", "per second", group[0].label, "ratio", "quartiles", "by CPU time"),
                         rows)

    include = measure_include_cost(arguments, 3 if quick else 9)
    report.table("The include", ("", "curfew", "Asio", "ratio"),
                 [(*row[:3], f"{row[3]:.2f}") for row in include])

    budgets = read_budgets()
    plain, cancel, close = peers[1:4]
    costliest = max(cost_of_limit(counts, cancel), cost_of_limit(counts, close))
    most_allocations = max(counts[peer][1] for peer in (plain, cancel, close))
    costs = [(name, reached, f"at most {budgets[name]:g}", reached <= budgets[name])
             for name, reached in [("instructions_per_round_trip", counts[plain][0]),
                                   ("instructions_per_limit", costliest),
                                   ("allocations_per_round_trip", most_allocations),
                                   ("include_cost_against_asio", include[1][3])]]
    least = budgets["rate_against_plain_epoll"]
    costs.append(("rate_against_plain_epoll", rate_of_curfew, f"at least {least:g}",
                  rate_of_curfew >= least))
    report.table("Budgets", ("", "measured", "budget", ""),
                 [(name, f"{reached:.4g}", budget, "kept" if fits else "MISSED")
                  for name, reached, budget, fits in costs])

    file = arguments.build / "report.md"
    file.write_text("\n".join(report.text))
    print(f"This table: {file}\nWhere the instructions go: "
          f"callgrind_annotate {arguments.build / 'profiles'}/curfew.7000.callgrind")
    return 0


def main():
    parser = argparse.ArgumentParser(prog="tools/bench", description="""
        Measures curfew against plain loops (epoll, liburing) and against Asio: instructions,
        allocations and system calls per round trip of an echo, round trips per second, and what the
        include costs a compiler. The report is also written to build/bench/report.md.""")
    parser.add_argument("--quick", action="store_true",
                        help="fewer repetitions: under two minutes once it is built")
    parser.add_argument("--check", action="store_true",
                        help="only count curfew's instructions and allocations, and fail if they "
                             "are over benchmarks/budgets.txt")
    parser.add_argument("--cxx", default="g++", help="the compiler (g++)")
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build" / "bench",
                        help="where to build and to leave the report (build/bench)")
    arguments = parser.parse_args()
    arguments.build = arguments.build.resolve()
    arguments.build.mkdir(parents=True, exist_ok=True)
    return check(arguments) if arguments.check else compare(arguments)


if __name__ == "__main__":
    sys.exit(main())
