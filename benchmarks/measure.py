"""Running the programs, counting, and timing."""

import os
import re
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor


class Peer:
    """One way to do the work: a program and its options."""

    def __init__(self, label, program, *options, limit_over=None):
        self.label = label
        self.program = program
        self.options = list(options)
        self.limit_over = limit_over  # the peer that is the same without a limit

    def command(self, **options):
        words = [str(self.program), *self.options]
        for name, value in options.items():
            words += ["--" + name.replace("_", "-"), str(value)]
        return words


def run(command, **how):
    """Runs a command; stops with its output if it fails."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, **how)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}"
                 f"ended with {done.returncode}")
    return done.stdout


def figures(output):
    """The `name=value` pairs that every program prints."""
    return {name: float(value) for name, value in re.findall(r"(\w+)=(\S+)", output)}


# --- Counts, which are the same on a busy machine ---

def instructions(command, file):
    """User-space instructions of a whole run, and what it printed.

    Valgrind has no vDSO: under it clock_gettime is a real system call, whose cost lies in the
    kernel and is not counted. Natively the clock costs some 50 instructions more each time.
    """
    output = run(["valgrind", "--tool=callgrind", f"--callgrind-out-file={file}", *command])
    total = re.search(r"^(?:totals|summary): (\d+)", file.read_text(), re.M).group(1)
    return int(total), output


def name_of(*parts):
    return re.sub("[^a-zA-Z0-9]+", "-", " ".join(map(str, parts))).strip("-")


def count_echo(peers, directory, short=2000, long=7000, **options):
    """User-space instructions and allocations per round trip: a long run minus a short one, so that
    neither the start nor the end of the program counts."""

    def measure(peer):
        count = {}
        for rounds in (short, long):
            file = directory / f"{name_of(peer.label, *options.values())}.{rounds}.callgrind"
            count[rounds], output = instructions(peer.command(rounds=rounds, **options), file)
        return ((count[long] - count[short]) / (long - short),
                figures(output)["allocations_per_round"])

    return dict(zip(peers, side_by_side(measure, peers)))


def count_limit(peer, what, directory, short=1280, long=6400, **options):
    """Instructions of a read in a limits program, `what` being "plain" or "limited"."""
    count = {}
    for rounds in (short, long):
        file = directory / f"{name_of(peer.label, *options.values(), what)}.{rounds}.callgrind"
        count[rounds], _ = instructions(peer.command(**options, what=what, rounds=rounds), file)
    return (count[long] - count[short]) / (long - short)


def side_by_side(function, items):
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(function, items))


def count_system_calls(peer, directory, short=500, long=1500, **options):
    """System calls per round trip of an echo, by name."""

    def calls(rounds):
        file = directory / f"{name_of(peer.label, *options.values())}.{rounds}.strace"
        run(["strace", "-f", "-c", "-o", file, *peer.command(rounds=rounds, **options)])
        rows = re.findall(r"^ *[\d.]+ +[\d.]+ +\d+ +(\d+) (?: *\d+)? *(\w+)$",
                          file.read_text(), re.M)
        return {name: int(count) for count, name in rows if name != "total"}

    before, after = calls(short), calls(long)
    each = {name: (after[name] - before.get(name, 0)) / (long - short) for name in after}
    return {name: count for name, count in each.items() if count >= 0.01}


# --- Times ---

class OneProcessor:
    """While it lasts, all that is run stays on one processor, the last: these programs have one
    thread, and moving it only adds noise."""

    def __enter__(self):
        self.allowed = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {max(self.allowed)})

    def __exit__(self, *_):
        os.sched_setaffinity(0, self.allowed)


def compare_rates(peers, repetitions, seconds, amount, **options):
    """What each peer does per second, in pairs with the first of them, one after the other and each
    in turn first. `amount` is the option that says how much to do. Returns a list of pairs for
    each peer but the first: (its figures, the reference's)."""
    reference = peers[0]

    def measure(peer, count):
        return figures(run(peer.command(**{amount: count}, **options)))

    with OneProcessor():
        count = {peer: max(1, int(measure(peer, 3000)["per_second"] * seconds)) for peer in peers}
        result = {peer: [] for peer in peers[1:]}
        for repetition in range(repetitions):
            for peer in peers[1:]:
                pair = [reference, peer] if repetition % 2 == 0 else [peer, reference]
                measured = {each: measure(each, count[each]) for each in pair}
                result[peer].append((measured[peer], measured[reference]))
    return result


def measure_alone(peers, repetitions, **options):
    """The median of each figure of each peer, all run in turn."""
    measured = {peer: [] for peer in peers}
    with OneProcessor():
        for _ in range(repetitions):
            for peer in peers:
                measured[peer].append(figures(run(peer.command(**options))))
    return {peer: {name: statistics.median(each[name] for each in runs) for name in runs[0]}
            for peer, runs in measured.items()}


def cpu_seconds(command):
    before = os.times()
    run(command)
    after = os.times()
    return (after.children_user + after.children_system
            - before.children_user - before.children_system)
