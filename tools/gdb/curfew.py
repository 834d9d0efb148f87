"""gdb: `curfew tasks` prints what `io_context::dump` prints, from a stopped process or a core file.

    (gdb) source tools/gdb/curfew.py
    (gdb) curfew tasks             # of the contexts that run, whichever thread runs them
    (gdb) curfew tasks my_context  # or of what an expression names

Nothing of the program is called, so that it works with a core file and in the middle of anything. It
needs debug information (-g, with or without optimisation) and the symbol table.
"""

import os
import re
import struct
import time

import gdb

# --- What it knows of the library, all of it here -------------------------------------------------

# Names of types, of variables and of members.
THREAD_STATE = ["curfew::detail::v0_1::thread_state_of_all", "curfew::detail::thread_state_of_all"]
NODE = "curfew::detail::ready_node"
TIMER = "curfew::detail::timer_node"
SUSPENSION = "curfew::detail::suspension"
FIBER = "curfew::fiber"
OPERATION = "curfew::operation"
SLEEP = "curfew::detail::sleep_awaiter"
OPERATION_KIND = "curfew::operation_kind"
OPERATION_STATE = "curfew::operation::state"
MEMBERS = {
    "run of a thread": "run",                # thread_state
    "loop of a run": "running",              # run_state
    "loop of a context": "loop_",            # io_context
    "reactor": "turns_.reaping.reactor",     # loop
    "clock": "turns_.reaping.clock",
    "last reading": "last_",                 # turn_clock
    "gaps": "gaps_.gaps_",
    "begin of a gap": "from",                # clock_gap
    "end of a gap": "to",
    "one wait": "one_wait",
    "limits": "turns_.limited.armed",
    "queues": "turns_.queued",
    "those queues": ["ready", "expired", "deferred", "yielded"],
    "outside": "tree_.outside",
    "ends of a queue": "ends_",              # ready_queue
    "next node": "next",                     # ready_node
    "owner": "owner",
    "waiter": "waiter",
    "fresh limits": "fresh_",                # deadlines
    "young limits": "young_",
    "first of a generation": "first",
    "birth": "birth",
    "next limit": "next",                    # timer_node
    "link": "link",
    "deadline": "deadline",
    "expired": "expired",
    "root": "root",                          # fiber
    "scope": "scope",
    "waiting": "waiting",
    "innermost": "innermost",
    "ended": "ended",
    "next fiber": "next",
    "in cancelled": "in_cancelled",
    "parent": "parent",                      # cancel_scope
    "nurseries": "nurseries",
    "limit": "limit",
    "shield": "shield",
    "cause": "cause",                        # (none is 0)
    "next nursery": "next",                  # nursery
    "first fiber": "first",
    "type": "type",                          # suspension
    "since": "since",
    "is start": "is_start",                  # suspension_type
    "caller": "caller",                      # promise_base
    "where": "where",
    "kind": "kind",                          # operation
    "progress": "progress",
    "pending": "pending",
    "socket": "socket",
    "address": "address",
    "call": "call",
    "name of a call": "name",                # operation_call
    "handle": "handle",                      # socket_state
    "timer of a sleep": "timer_",            # sleep_awaiter
    "clock of a sleep": "time_",
    "now": "now",                            # manual_time
    "clock of a limit": "on",                # limit_clock
}

# What a suspension is, by the name of the table that its `type` points at.
SUSPENSIONS = [
    ("operation_suspension", None),  # the operation says what it is
    ("read_steps<.*>::reading", None),
    ("accept_steps::accepting", None),
    (r"next_turn::.*::kind", "read"),  # of a buffered stream
    ("start_suspension", ""),
    ("sleep_awaiter::sleeping", "sleep"),
    ("cuttable_wait::.*::until_next_turn", "next turn"),
    ("sleep_awaiter::until_tick", "next tick"),
    ("event::awaiter::", "event"),
    ("semaphore::awaiter::", "semaphore"),
    ("channel<.*>::sender::", "send to a channel"),
    ("channel<.*>::receiver::", "receive from a channel"),
    ("join_handle<.*>::awaiter::", "join"),
    ("task_group::joiner::", "join of a task_group"),
    ("signal_set::awaiter::", "signal"),
    ("thread_future<.*>::awaiter::", "another thread"),
    ("branch_set::.*::all", "when_all"),
    ("branch_set::.*::any", "when_any"),
]
OTHERWISE = "something else"

# Of those, what makes operations, and how many bytes of its own it has before them.
MAKES_OPERATIONS = "read_steps<.*>::reading"
MOST_BEFORE_OPERATION = 1024

# The reactors by their type.
REACTOR = r"^(?:.*::)?(\w+?)_reactor$"

# Waits in this file are none of the user's.
BRANCHES_FILE = "curfew/await/branches.hpp"

ENDLESS = 2 ** 63 - 1


def member(value, name):
    for part in MEMBERS[name].split("."):
        value = value[part]
    return value


def address(value):
    """Of a pointer, or where an object is."""
    if value.type.strip_typedefs().code != gdb.TYPE_CODE_PTR:
        value = value.address
    return int(value)


def at(where, type_name):
    return gdb.Value(where).cast(gdb.lookup_type(type_name).pointer()).dereference()


def linked(first, following):
    """The objects of a list that a pointer begins and null ends."""
    while int(first) != 0:
        yield first.dereference()
        first = member(first.dereference(), following)


def symbol_at(where):
    """The name of what lies at an address, templates and all; empty if it has none."""
    text = gdb.execute(f"info symbol {where}", to_string=True)
    return re.sub(r" \+ \d+$", "", text.split(" in section ")[0].strip()) if " in section " in text else ""


def pointer_at(where):
    size = gdb.lookup_type("void").pointer().sizeof
    return int.from_bytes(bytes(gdb.selected_inferior().read_memory(where, size)), byte_order())


def byte_order():
    return "big" if "big" in gdb.execute("show endian", to_string=True) else "little"


# --- Contexts -------------------------------------------------------------------------------------

def running_loops():
    """The loops that run, in the order of the threads; with one within another, the inner one."""
    found = {}
    selected = gdb.selected_thread()
    try:
        for thread in sorted(gdb.selected_inferior().threads(), key=lambda each: each.num):
            thread.switch()
            for name in THREAD_STATE:
                try:
                    run = member(gdb.parse_and_eval(name), "run of a thread")
                    if int(run) == 0:
                        continue
                    running = member(run.dereference(), "loop of a run")
                    if int(running) != 0:
                        found.setdefault(int(running), running.dereference())
                    break
                except gdb.error:
                    continue
    finally:
        if selected is not None and selected.is_valid():
            selected.switch()
    return list(found.values())


def loop_in(value):
    """The loop of an expression: an io_context, a pointer or a reference to one."""
    value = value.referenced_value() if value.type.strip_typedefs().code in (
        gdb.TYPE_CODE_REF, gdb.TYPE_CODE_RVALUE_REF) else value
    while value.type.strip_typedefs().code == gdb.TYPE_CODE_PTR:
        value = value.dereference()
    for field in value.type.strip_typedefs().fields():  # unique_ptr and optional are for others
        if field.name == MEMBERS["loop of a context"]:
            return member(value, "loop of a context")
    if str(value.type.strip_typedefs().unqualified()).endswith("detail::loop"):
        return value
    raise gdb.GdbError(f"this is a {value.type}, and no curfew::io_context")


# --- Time -----------------------------------------------------------------------------------------

def time_since_last_reading(last):
    """In a live process of this machine the clock has gone on since the loop has read it."""
    pid = gdb.selected_inferior().pid
    try:
        native = gdb.selected_inferior().connection.type == "native"
        if native and pid and os.path.exists(f"/proc/{pid}"):
            return max(0, time.clock_gettime_ns(time.CLOCK_MONOTONIC) - last)
    except AttributeError:  # a gdb that does not say
        pass
    return 0


def text_of_time(nanoseconds):
    """As io_context::dump writes it."""
    seconds = nanoseconds / 1e9
    if seconds < 0.001:
        return f"{seconds * 1e6:.0f} us"
    if seconds < 1:
        return f"{seconds * 1e3:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{int(seconds) // 60} min {int(seconds) % 60} s"


# --- Addresses ------------------------------------------------------------------------------------

def text_of_address(family, packed, port):
    import ipaddress
    host = ipaddress.ip_address(packed)
    return f"[{host}]:{port}" if family == 6 else f"{host}:{port}"


def address_of_record(record):
    """A platform::socket_address."""
    family = int(record["family"])
    if family == 0:
        return ""
    size = 4 if family == 1 else 16
    packed = bytes(int(record["bytes"][i]) for i in range(size))
    return text_of_address(4 if family == 1 else 6, packed, int(record["port"]))


def address_of_descriptor(descriptor):
    """Of the peer, or the local one where there is none; empty where the system cannot be asked, as
    with a core file."""
    pid = gdb.selected_inferior().pid
    if time_since_last_reading(0) == 0:
        return ""
    try:
        inode = re.match(r"socket:\[(\d+)\]", os.readlink(f"/proc/{pid}/fd/{descriptor}"))
        for table in ("tcp", "tcp6", "udp", "udp6") if inode else ():
            with open(f"/proc/{pid}/net/{table}") as lines:
                for line in lines:
                    words = line.split()
                    if len(words) > 9 and words[9] == inode[1]:
                        local, remote = (decoded(words[1]), decoded(words[2]))
                        return local if remote is None else remote
    except OSError:
        pass
    return ""


def decoded(text):
    """'0100007F:1F90', as in /proc/net/tcp; None if it is the unspecified one."""
    host, port = text.split(":")
    words = [int(host[i:i + 8], 16) for i in range(0, len(host), 8)]
    packed = b"".join(struct.pack("=I", word) for word in words)
    if int(port, 16) == 0 and not any(packed):
        return None
    return text_of_address(6 if len(packed) == 16 else 4, packed, int(port, 16))


# --- Source places --------------------------------------------------------------------------------

def source_place(promise):
    """File, line and function of a coroutine's last co_await; None where they are not kept."""
    try:
        site = member(promise, "where")
    except gdb.error:
        return None
    # A pointer to what the compiler has noted, or an object that is one.
    where = int(site) if site.type.strip_typedefs().code == gdb.TYPE_CODE_PTR else \
        pointer_at(address(site))
    if where == 0:
        return None
    size = gdb.lookup_type("void").pointer().sizeof
    memory = gdb.selected_inferior()
    line = int.from_bytes(bytes(memory.read_memory(where + 2 * size, 4)), byte_order())
    file, function = (text_at(pointer_at(where + i * size)) for i in (0, 1))
    return file, line, tidy(function)


def text_at(where):
    return gdb.Value(where).cast(gdb.lookup_type("char").pointer()).string() if where else ""


def tidy(name):
    """A compiler's name of a function without its type, parameters and unnamed places."""
    for unnamed in ("(anonymous namespace)::", "(anonymous class)::"):
        name = name.replace(unnamed, "")
    name = name.split("(")[0]
    depth = 0
    for i in range(len(name) - 1, -1, -1):
        depth += (name[i] == ">") - (name[i] == "<")
        if depth == 0 and name[i] in " *&":
            return name[i + 1:]
    return name


# --- The tree -------------------------------------------------------------------------------------

class Picture:
    """What a loop's tasks are doing; as detail::task_observer takes it, which see."""

    def __init__(self, loop):
        self.loop = loop
        self.last = int(member(member(loop, "clock"), "last reading"))
        self.now = self.last + time_since_last_reading(self.last)
        self.gaps = {}  # what noted the reading before an idle wait began after it; see clock_gaps
        gaps = member(member(loop, "clock"), "gaps")
        for i in range(gaps.type.range()[0], gaps.type.range()[1] + 1):
            if int(member(gaps[i], "end of a gap")) != 0:
                self.gaps[int(member(gaps[i], "begin of a gap"))] = gaps[i]
        self.dates = {}  # of limits whose deadline is a duration yet: the address, and since when
        limits = member(loop, "limits")
        for each in linked(member(limits, "fresh limits"), "next limit"):
            self.dates[address(each)] = self.now
        young = member(limits, "young limits")
        low, high = young.type.range()
        for i in range(low, high + 1):
            for each in linked(member(young[i], "first of a generation"), "next limit"):
                self.dates[address(each)] = int(member(young[i], "birth"))
        self.ready = set()
        for name in MEMBERS["those queues"]:
            ends = member(member(loop, "queues")[name], "ends of a queue")
            node = member(ends, "next node")
            while int(node) != address(ends):
                if int(member(node.dereference(), "owner")) != 0:
                    self.ready.add(int(member(node.dereference(), "owner")))
                node = member(node.dereference(), "next node")
        self.lines = []
        self.count = 0

    def name(self):
        """The reactor's: of its type."""
        reactor = pointer_at(address(member(self.loop, "reactor")))
        table = symbol_at(pointer_at(reactor))  # "vtable for curfew::epoll_reactor"
        found = re.match(REACTOR, table.replace("vtable for ", ""))
        return found[1] if found else table or "unknown"

    def text(self):
        self.write_all(self.within(member(member(self.loop, "outside"), "root"))[::-1], "")
        tasks = "task" if self.count == 1 else "tasks"
        return "".join([f"{self.name()}: {self.count} {tasks}\n", *self.lines])

    def within(self, scope):
        """The fibers that live in a scope, the newest first."""
        return [child for nursery in linked(member(scope, "nurseries"), "next nursery")
                for child in linked(member(nursery, "first fiber"), "next fiber")
                if int(member(child, "ended")) != 0]

    def write_all(self, fibers, indent):
        # A stack of our own: trees may be deep.
        left = [(fiber, indent) for fiber in reversed(fibers)]
        while left:
            fiber, indent = left.pop()
            self.count += 1
            left += [(child, indent + "  ") for child in reversed(self.write(fiber, indent))]

    def write(self, fiber, indent):
        """One fiber; returns those within it, the oldest first."""
        waiting = member(fiber, "waiting")
        waits = int(waiting) != 0
        starts = waits and bool(member(member(waiting, "type"), "is start"))
        limits = []
        if starts:
            text = "has not begun yet"
        elif not waits:
            text = "runs"
        else:
            text = self.described(waiting.dereference(), address(fiber) in self.ready)
        if waits:
            limits += sorted(self.limits_of(int(waiting)), key=lambda each: each[0])

        children = []
        scope = member(fiber, "scope")
        root = member(fiber, "root")
        reached = True  # by limits further out
        cancelled = int(member(scope, "cause")) != 0 and bool(member(fiber, "in cancelled"))
        while True:
            limit = member(scope, "limit")
            if reached and int(limit) != 0 and int(member(limit.dereference(), "link")) != 0:
                limits.append(self.limit(limit.dereference()))
            if bool(member(scope, "shield")):
                reached = False
            children += self.within(scope)
            if int(scope) == address(root):
                break
            scope = member(scope, "parent")

        for left, closes, of_game in limits:
            text += f"; limit: {'close' if closes else 'cancel'} in {text_of_time(left)}"
            text += " of the game" if of_game else ""
        text += "; cancelled" if cancelled else ""
        self.lines.append(f"{indent}- {text}\n")
        if waits and not starts:
            promise = member(fiber, "innermost")
            while int(promise) != 0:
                place = source_place(promise.dereference())
                if place and not place[0].endswith(BRANCHES_FILE):
                    self.lines.append(f"{indent}    {place[0]}:{place[1]}  {place[2]}\n")
                promise = member(promise.dereference(), "caller")
        return children[::-1]

    def described(self, suspension, ready):
        table = symbol_at(int(member(suspension, "type")))
        what = next((what for pattern, what in SUSPENSIONS if re.search(pattern, table)), OTHERWISE)
        peer = ""
        left = None
        if what is None:
            what, peer = self.operation(suspension)
        elif what == "sleep":
            left = self.sleep(suspension)
        since = int(member(suspension, "since"))
        gap = self.gaps.get(since)
        exact = gap is None or bool(member(gap, "one wait"))
        if gap is not None and exact:
            since = int(member(gap, "end of a gap"))
        text = f"{what} {peer}" if peer else what
        text += f", for {'' if exact else 'at most '}{text_of_time(max(0, self.now - since))}"
        text += ", and will go on now" if ready else ""
        text += f", {text_of_time(left)} left" if left is not None else ""
        return text

    def operation(self, suspension):
        op = at(address(suspension), OPERATION)
        kind = str(member(op, "kind")).split("::")[-1]
        if kind == "call":
            kind = member(member(op, "call").dereference(), "name of a call").string()
        if str(member(op, "progress")).split("::")[-1] != MEMBERS["pending"]:
            return kind, ""  # its socket may be gone
        if kind in ("connect", "send_to") and int(member(op, "address")) != 0:
            return kind, address_of_record(member(op, "address").dereference())
        handle = int(member(member(op, "socket").dereference(), "handle"))
        if handle < 0:
            return kind, ""
        return kind, address_of_descriptor(handle) or f"on descriptor {handle}"

    def sleep(self, suspension):
        slept = at(address(suspension), SLEEP)
        timer = member(slept, "timer of a sleep")
        clock = member(slept, "clock of a sleep")
        now = self.now
        if int(clock) != 0 and int(member(timer, "link")) != 0:
            now = int(member(clock.dereference(), "now"))
        return max(0, self.deadline(timer) - now)

    def deadline(self, timer):
        date = self.dates.get(address(timer))
        if date is None and int(member(timer, "deadline")) == ENDLESS:
            return ENDLESS
        return int(member(timer, "deadline")) + (date or 0)

    def limit(self, timer):
        """What is left of it, whether it closes, and whether it counts on a game's clock."""
        name = symbol_at(int(member(timer, "expired")))
        of_game = bool(re.search(r"limit_kind\)2>::on_expiry|limit_kind::manual>::on_expiry", name))
        now = self.now
        if of_game:
            size = gdb.lookup_type(TIMER).sizeof
            now = pointer_at(pointer_at(address(timer) + size))  # limit_clock<manual>::on, its first
        return max(0, self.deadline(timer) - now), "on_expiry<true>" in name, of_game

    def limits_of(self, operation):
        """Those of an operation stand before it, each around the next."""
        size = gdb.lookup_type(TIMER).sizeof
        step = gdb.lookup_type("void").pointer().sizeof
        found = []
        inner = operation
        # Some of what makes operations has members of its own before them.
        table = symbol_at(int(member(at(operation, SUSPENSION), "type")))
        room = MOST_BEFORE_OPERATION if re.search(MAKES_OPERATIONS, table) else step
        while True:
            outer = next((each for each in range(inner - size, inner - size - room - 1, -step)
                          if self.limits_operation(each)), None)
            if outer is None:
                return found
            timer = at(outer, TIMER)
            if int(member(timer, "link")) != 0:
                found.append(self.limit(timer))
            inner = outer
            room = step  # a limit on a game's clock has one more member

    def limits_operation(self, where):
        try:
            name = symbol_at(int(member(at(where, TIMER), "expired")))
        except gdb.error:
            return False
        return "limited_operation<" in name and "::on_expiry<" in name


# --- Commands -------------------------------------------------------------------------------------

class Curfew(gdb.Command):
    """What the tasks of a program that uses curfew are doing."""

    def __init__(self):
        super().__init__("curfew", gdb.COMMAND_DATA, prefix=True)


class Tasks(gdb.Command):
    """Prints the tree of tasks, as io_context::dump does.

Usage: curfew tasks [EXPRESSION]

Without an expression, those of each context that runs, in whichever thread. The expression names
an io_context, or points at one: for a context that nobody runs right now.

A core file does not know the time: there, tasks have waited until their loop has last read the
clock. Nor does it know who is at the other end of a socket: its descriptor is printed instead."""

    def __init__(self):
        super().__init__("curfew tasks", gdb.COMMAND_DATA, gdb.COMPLETE_EXPRESSION)

    def invoke(self, argument, from_tty):
        if not gdb.selected_inferior().threads():
            raise gdb.GdbError("there is no process and no core file")
        language = gdb.parameter("language")  # a thread may stand in a function of another one
        gdb.execute("set language c++")
        try:
            self.write(argument)
        finally:
            gdb.execute(f"set language {language}")

    @staticmethod
    def write(argument):
        loops = [loop_in(gdb.parse_and_eval(argument))] if argument else running_loops()
        if not loops:
            raise gdb.GdbError("no thread runs an io_context: name one, as in `curfew tasks context`")
        for loop in loops:
            gdb.write(Picture(loop).text())


Curfew()
Tasks()
