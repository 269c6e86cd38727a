"""A storm of programs that end while calls wait.

    python tools/storm.py [programs] [first seed]

where tworoutine is installed.  Each program is run twice: with calls, and with
every call awaited.  Exit status, what it prints, and what Python and asyncio
complain of must agree; a
program that hangs when it awaits may do what it likes.  Differences that are
explained stand in EXPLAINED; any other is printed, with its source, and makes
the exit status 1.  In a program, CALL(f, x) is f(x), or `await (~f)(x)`.

Environment:
    TWR_STORM_TIMEOUT  seconds, on a slow machine: 20 by default
"""

import concurrent.futures
import os
import random
import re
import subprocess
import sys
import tempfile

import tworoutine  # noqa: F401  the programs would all fail alike without it

# Seconds, after which a program hangs; it needs half of one.
TIMEOUT = float(os.environ.get("TWR_STORM_TIMEOUT", 20))

HEAD = """\
import asyncio, atexit, gc, os, signal, sys, threading
from tworoutine import tworoutine

gc.disable()  # tasks that wait may be garbage, and go at any time

PARENT = os.getpid()
LOOPS = []

def say(*words):
    if os.getpid() == PARENT:
        os.write(1, (" ".join(map(str, words)) + "\\n").encode())

@tworoutine
async def nap(turns=1):
    for _ in range(turns):
        await asyncio.sleep(0)

@tworoutine
async def wait(event):
    await event.wait()

@tworoutine
async def deep(levels, event):
    if levels:
        CALL(deep, levels - 1, event)
    else:
        CALL(wait, event)
"""

WAITS = ["CALL(wait, event)", "CALL(deep, 2, event)"]

# How a task that waits takes its end.
ENDS = [
    "finally:\n        say({name!r}, 'ends')",
    "finally:\n        CALL(nap, 2)\n        say({name!r}, 'ends')",
    "except asyncio.CancelledError:\n        say({name!r}, 'stays')",
    "except asyncio.CancelledError:\n        raise KeyError({name!r})",
    "finally:\n        pass",
]

WAITER = """
async def {name}(event):
    try:
        {wait}
    {end}
"""

# How the program ends: lines of main().
ENDINGS = {
    "return": "return",
    "raise": "raise ValueError('main')",
    "memory": "raise MemoryError",
    "exit": "sys.exit(4)",
    "exit in a call": """
@tworoutine
async def leave():
    await asyncio.sleep(0)
    sys.exit(4)
CALL(leave)""",
    "exit in a task": """
async def leave():
    CALL(nap)
    sys.exit(4)
task = asyncio.create_task(leave())
CALL(wait, event)""",
    "memory in a task": """
async def leave():
    CALL(nap)
    raise MemoryError
task = asyncio.create_task(leave())
CALL(nap, 9)""",
    "exit in a callback": """
loop.call_soon(sys.exit, 4)
CALL(wait, event)""",
    "exit in a thread": """
thread = threading.Thread(target=sys.exit, args=(4,))
thread.start()
thread.join()""",
    "_exit in a thread": """
threading.Thread(target=os._exit, args=(4,)).start()
CALL(wait, event)""",
    "terminated": """
os.kill(PARENT, signal.SIGTERM)
CALL(wait, event)""",
    "terminated, exit": """
signal.signal(signal.SIGTERM, lambda *args: sys.exit(4))
os.kill(PARENT, signal.SIGTERM)
CALL(wait, event)""",
    "terminated, loop": """
task = asyncio.current_task()
loop.add_signal_handler(signal.SIGTERM, task.cancel)
os.kill(PARENT, signal.SIGTERM)
CALL(wait, event)""",
    "interrupted": """
loop.call_soon(os.kill, PARENT, signal.SIGINT)
CALL(wait, event)""",
    "stopped": """
loop.call_soon(loop.stop)
CALL(wait, event)""",
    "daemon": """
def endless():
    async def beside():
        while True:
            CALL(nap)
            begun.set()
    begun = threading.Event()
    threads.append(begun)
    asyncio.run(beside())
threads = []
threading.Thread(target=endless, daemon=True).start()
while not threads or not threads[0].is_set():
    CALL(nap)""",
    "child": """
sys.stdout.flush()
pid = os.fork()
if pid == 0:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    {child}
say("child", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))""",
    "atexit": "atexit.register(at_exit)",
}

CHILDREN = [
    "os._exit(6)",
    "sys.exit(6)",
    "raise ValueError",
    "os.kill(os.getpid(), signal.SIGKILL)",
]

MAIN = """
async def main():
    loop = asyncio.get_running_loop()
    LOOPS.append(loop)
    event = asyncio.Event()
    {warm}
    tasks = [{tasks}]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
{ending}
    say("main ends")

main_ = tworoutine(main)

def at_exit():
    {at_exit}
    say("at exit")
"""

# How it is run; where they differ, with calls and awaited.
RUNS = {
    "run": ["asyncio.run(main())"] * 2,
    "runner": [
        "with asyncio.Runner() as runner:\n    runner.run(main())",
    ]
    * 2,
    "by hand": [
        "loop = asyncio.new_event_loop()\n"
        "try:\n    loop.run_until_complete(main())\n"
        "finally:\n    loop.close()",
    ]
    * 2,
    "thread": [
        "thread = threading.Thread(target=lambda: asyncio.run(main()))\n"
        "thread.start()\nthread.join()",
    ]
    * 2,
    "alone": [
        "main_()",
        "runner = asyncio.Runner()\natexit.register(runner.close)\n"
        "runner.run(main())",
    ],
}

EXITS = {
    *("exit", "exit in a call", "exit in a task", "exit in a callback"),
    "terminated, exit",
}
IN_MAIN_THREAD = {"terminated, loop", "terminated, exit", "interrupted"}


class Program:
    """The program of a seed: its name, and its source, called or awaited."""

    def __init__(self, seed):
        rng = random.Random(seed)
        self.run = rng.choice(list(RUNS))
        endings = list(ENDINGS)
        if self.run == "thread":
            endings = [e for e in endings if e not in IN_MAIN_THREAD]
        self.ending = rng.choice(endings)
        self.warm = rng.random() < 0.7
        names = [f"task{i}" for i in range(rng.randrange(5))]
        child = rng.choice(CHILDREN)
        self.source = HEAD + "".join(
            WAITER.format(
                name=name,
                wait=rng.choice(WAITS),
                end=rng.choice(ENDS).format(name=name),
            )
            for name in names
        )
        ending = ENDINGS[self.ending].strip().replace("{child}", child)
        self.source += MAIN.format(
            warm="CALL(nap)" if self.warm else "pass",
            tasks=", ".join(f"asyncio.create_task({n}(event))" for n in names),
            ending="\n".join(f"    {line}" for line in ending.splitlines()),
            at_exit="AT_EXIT",
        )
        self.name = (
            f"seed {seed}: {self.run}, {self.ending}, "
            f"{'main' if self.warm else 'a task'} calls first"
            + (f", {child}" if self.ending == "child" else "")
        )

    def text(self, awaited):
        text = self.source + "\n" + RUNS[self.run][awaited] + "\n"
        if awaited:
            text = text.replace("AT_EXIT", "asyncio.run((~nap)())")
            return re.sub(r"CALL\((\w+)(?:, )?", r"await (~\1)(", text)
        text = text.replace("AT_EXIT", "nap()")
        return re.sub(r"CALL\((\w+)(?:, )?", r"\1(", text)


COMPLAINT = re.compile(
    r"^(?:\w+\.)*\w*(?:Error|Interrupt|Exit|Exception|CannotSuspend)(?:: .*)?$"
    r"|^Task (?:was destroyed|exception was never)|^Exception (?:ignored|in)"
    r"|never awaited|^Fatal|^Logging|^--- Log",
    re.MULTILINE,
)


# An exception that another one has for its context or its cause: whatever is
# being handled below a task becomes the context of what it raises, and below
# one that waits in a call that is not the same.
CHAINED = re.compile(
    r"^.*\n\n(?=During handling of the above|The above exception was)",
    re.MULTILINE,
)


def complaints(stderr):
    """What is complained of, without where, and in which order."""
    stderr = CHAINED.sub("", stderr)
    found = [match.group() for match in COMPLAINT.finditer(stderr)]
    return sorted(re.sub(r"0x[0-9a-f]+|Task-\d+", "...", f) for f in found)


def outcome(source):
    """(exit status, lines printed, complaints), or None if it hangs."""
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "program.py")
        with open(path, "w") as file:
            file.write(source)
        try:
            ran = subprocess.run(
                [sys.executable, path],
                capture_output=True,
                text=True,
                timeout=TIMEOUT,
                stdin=subprocess.DEVNULL,
            )
        except subprocess.TimeoutExpired:
            return None
    lines = sorted(ran.stdout.splitlines())
    return ran.returncode, lines, complaints(ran.stderr), ran.stderr


# --- what is explained: each looks at one difference, and says why ----------


def without(complaints, *told):
    """complaints without those that begin with one of told."""
    return [line for line in complaints if not line.startswith(told)]


def closed_loop(program, called, awaited):
    told = (
        *("Task was destroyed", "Exception ignored"),
        *("RuntimeError: coroutine ignored GeneratorExit",),
        *("Task exception was never", "tworoutine.CannotSuspend: "),
    )
    waits = "KeyboardInterrupt", "SystemExit: 4"  # in the first call, too
    if not program.warm:
        told += waits
    names = () if program.warm else ("task0",)
    if (
        program.run == "by hand"
        and called[0] == awaited[0]
        and without(called[1], *names) == without(awaited[1], *names)
        and without(called[2], *told) == without(awaited[2], *told)
        and called[2].count("Task exception was never")
        <= awaited[2].count("Task exception was never")
        + called[3].count("tworoutine.CannotSuspend: <tworoutine nap")
        + (0 if program.warm else 2)
    ):
        return (
            "calls that wait when their loop is closed end as the thread "
            "does, all of them: a call in their finally is refused, where an "
            "await ignores GeneratorExit"
        )
    return None


def first_call(program, called, awaited):
    told = "Task exception was never", "Task was destroyed", "KeyError: "
    if program.ending == "stopped":  # main() may have made it
        told += "RuntimeError: Event loop stopped before", "Exception in"
    names = "task0", "'task0'"
    if (
        not program.warm
        and called[0] == awaited[0]
        and without(called[1], *names) == without(awaited[1], *names)
        and without(called[2], *told, "asyncio.exceptions.CancelledError")
        == without(awaited[2], *told, "asyncio.exceptions.CancelledError")
    ):
        return (
            "a task made the first call of its loop, and waits as that stops: "
            "it is cancelled by then (docs/limits.md)"
        )
    return None


EXPLAINED = [closed_loop, first_call]


def explanation(program, called, awaited):
    """Why the two may differ; None: nobody knows."""
    if called is None:
        return None
    for explains in EXPLAINED:
        reason = explains(program, called, awaited)
        if reason is not None:
            return reason
    return None


def compare(seed):
    """(program, reason or None, called, awaited) if they differ, or None."""
    program = Program(seed)
    awaited = outcome(program.text(True))
    if awaited is None:
        return None
    called = outcome(program.text(False))
    if called is not None and called[:3] == awaited[:3]:
        return None
    return program, explanation(program, called, awaited), called, awaited


def storm(programs, first=0, jobs=2):
    """The differences that nothing explains, and counts of the others."""
    unknown, known = [], {}
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        for difference in pool.map(compare, range(first, first + programs)):
            if difference is None:
                continue
            if difference[1] is None:
                unknown.append(difference)
            else:
                known[difference[1]] = known.get(difference[1], 0) + 1
    return unknown, known


def describe(difference):
    program, _, called, awaited = difference
    return "\n".join(
        [
            program.name,
            f"  called:  {called[:3] if called else 'hangs'}",
            f"  awaited: {awaited[:3]}",
        ]
    )


def main(programs=1000, first=0):
    unknown, known = storm(programs, first, os.cpu_count() or 2)
    for difference in unknown:
        print(describe(difference))
        if os.environ.get("TWR_STORM") == "source":
            print(difference[0].text(False))
            print(difference[2] and difference[2][3])
    for reason, count in known.items():
        print(f"{count}: {reason}")
    print(f"{programs} programs, {len(unknown)} differ and nobody knows why")
    return 1 if unknown else 0


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
