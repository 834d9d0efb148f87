"""Running the programs, counting, and timing."""

import os
import pathlib
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

class Counted:
    """What callgrind has counted of a program, between begin_counting and end_counting: instructions
    in user space, and system calls by the function that makes them.

    Valgrind has no vDSO: under it clock_gettime is a real system call, whose cost lies in the
    kernel and is not counted. Natively the clock costs some 50 instructions more each time, and is
    no system call; so it is left out of those.
    """

    def __init__(self, command, file):
        self.output = run(["valgrind", "--tool=callgrind", "--instr-atstart=no",
                           "--collect-systime=yes", f"--callgrind-out-file={file}", *command])
        total = re.search(r"^totals: (\d+)", file.read_text(), re.M)
        self.instructions = int(total.group(1)) if total else 0
        if self.instructions == 0:
            sys.exit(f"{command[0]} was built without <valgrind/callgrind.h>, and cannot be counted")
        self.file = file

    def system_calls(self):
        rows = re.findall(r"^ *([\d,]+) \([^)]*\) +[^:\n]*:([^ @\n]+)(?:.* \[(.*)\])?$",
                          run(["callgrind_annotate", "--show=sysCount", "--sort=sysCount",
                               "--threshold=100", self.file]), re.M)
        calls = {}
        for count, function, library in rows:
            name = pathlib.Path(library).name if function.startswith("0x") else function
            if name != "clock_gettime":
                calls[name] = calls.get(name, 0) + int(count.replace(",", ""))
        return calls


def name_of(*parts):
    return re.sub("[^a-zA-Z0-9]+", "-", " ".join(map(str, parts))).strip("-")


def side_by_side(function, items):
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(function, items))


class Echoed:
    """What a round trip takes: instructions, allocations, and system calls by name."""

    def __init__(self, peer, directory, rounds, **options):
        counted = Counted(peer.command(rounds=rounds, **options),
                          directory / f"{name_of(peer.label, *options.values())}.callgrind")
        told = figures(counted.output)
        self.instructions = counted.instructions / told["rounds"]
        self.allocations = told["allocations_per_round"]
        each = {name: count / told["rounds"] for name, count in counted.system_calls().items()}
        self.system_calls = {name: count for name, count in each.items() if count >= 0.01}


def count_echo(peers, directory, rounds=5000, **options):
    return dict(zip(peers, side_by_side(
        lambda peer: Echoed(peer, directory, rounds, **options), peers)))


def count_read(peer, directory, what, rounds=6400, **options):
    """Instructions of a read in a limits program, `what` being "plain" or "limited"."""
    file = directory / f"{name_of(peer.label, *options.values(), what)}.callgrind"
    command = peer.command(**options, what=what, rounds=rounds)
    return Counted(command, file).instructions / rounds


def count_parts(program, directory):
    """Instructions of each part of proportion.cpp: {what: {n: instructions}}, of two n."""
    for old in directory.glob("proportion.callgrind*"):
        old.unlink()
    run(["valgrind", "--tool=callgrind", "--instr-atstart=no",
         f"--callgrind-out-file={directory / 'proportion.callgrind'}", program])
    parts = {}
    for file in sorted(directory.glob("proportion.callgrind.*"),
                       key=lambda file: int(file.suffix[1:])):
        text = file.read_text()
        named = re.search(r"^desc: Trigger: Client Request: (.*)\|(\d+)$", text, re.M)
        total = re.search(r"^totals: (\d+)", text, re.M)
        if named and total:
            parts.setdefault(named.group(1), {})[int(named.group(2))] = int(total.group(1))
    if not parts:
        sys.exit(f"{program} was built without <valgrind/callgrind.h>, and cannot be counted")
    return parts


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
    in turn first; `repetitions(peer)` is how many pairs, `amount` the option that says how much to
    do. Returns a list of pairs for each peer but the first: (its figures, the reference's)."""
    reference = peers[0]

    def measure(peer, count):
        return figures(run(peer.command(**{amount: count}, **options)))

    with OneProcessor():
        count = {peer: max(1, int(measure(peer, 3000)["per_second"] * seconds)) for peer in peers}
        result = {peer: [] for peer in peers[1:]}
        for repetition in range(max(map(repetitions, peers[1:]))):
            for peer in peers[1:]:
                if repetition >= repetitions(peer):
                    continue
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
