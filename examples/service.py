"""A service that tunes all boards, in one of three ways, and is measured.

The demo runs each way in a process of its own:

    python examples/service.py WAY --boards N --latency MS

prints a line of JSON about a full tuning and one that is cancelled half-way,
and then tunes again until Ctrl-C.
"""

import argparse
import ast
import asyncio
import inspect
import json
import signal
import sys
import textwrap
import threading
import time

import adapter
import byhand
import telescope
from boards import Crate
from monitor import Monitor
from plan import SHARE, Tuning, early
from report import said_by

LONGEST = 20.0  # s to wait for the end of what was cancelled


async def called(boards):
    return telescope.tune_all(boards, limit=SHARE)  # no await: a call


async def in_threads(addresses):
    return await asyncio.to_thread(byhand.tune_all_in_threads, addresses)


async def later(addresses):
    """Each thread makes connections of its own, which no other can use."""
    return addresses


# Each way: how it connects, what tunes, what somebody has written for it, and
# what of that is there a second time, for synchronous callers.
WAYS = {
    "tune.map": (
        ~adapter.connect.map,
        called,
        [adapter.Board, adapter.connect, telescope.tune, telescope.tune_all],
        {},
    ),
    "async by hand": (
        byhand.connect_all,
        byhand.tune_all,
        [*byhand.TWICE, *list(byhand.TWICE.values())[:3]],
        byhand.TWICE,
    ),
    "threads": (
        later,
        in_threads,
        [byhand.tune_alone, byhand.tune_all_in_threads],
        {},
    ),
}


def lines(things):
    """How many lines of code these have, without comments and docstrings."""
    count = 0
    for one in things:
        one = getattr(one, "__wrapped__", one)
        tree = ast.parse(textwrap.dedent(inspect.getsource(one)))
        used = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.Expr) and isinstance(
                node.value, ast.Constant
            ):
                continue  # a docstring
            if isinstance(node, ast.stmt | ast.expr) and not isinstance(
                node, ast.Constant
            ):
                used |= {node.lineno, node.end_lineno}
        count += len(used)
    return count


async def cancelled(work, boards, delay):
    """How long a tuning goes on after it was cancelled, in seconds."""
    task = asyncio.create_task(work(boards))
    await asyncio.sleep(delay)
    task.cancel()
    begin = time.monotonic()
    await asyncio.wait([task])
    while at_work():
        if time.monotonic() - begin > LONGEST:
            break
        await asyncio.sleep(0.01)
    return time.monotonic() - begin


def at_work():
    """Whether there are threads but ours and those that asyncio keeps."""
    names = (thread.name for thread in threading.enumerate())
    ours = threading.main_thread().name
    return any(n != ours and not n.startswith("asyncio_") for n in names)


async def serve(way, crate):
    connect, work, written, twice = WAYS[way]
    monitor = Monitor(crate.addresses)
    boards = await connect(crate.addresses)
    async with monitor.watching():
        began = time.monotonic()
        results = await work(boards)
        wall = time.monotonic() - began
    report = {
        "wall": wall,
        "tunings": [
            [one.began - began, one.ended - began, one.bias]
            if isinstance(one, Tuning)
            else said_by(one)
            for one in results
        ],
        "resonances": crate.resonances,
        "gap": monitor.gap,
        "threads": monitor.threads,
        "memory": monitor.memory,
        "lines": lines(written),
        "twice": len(twice),
        "cancel": await cancelled(work, boards, early(wall)),
    }
    print(json.dumps(report), flush=True)
    await work(boards)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("way", choices=WAYS)
    parser.add_argument("--boards", type=int, required=True)
    parser.add_argument("--latency", type=float, required=True)
    options = parser.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with Crate(options.boards, options.latency) as crate:
        try:
            asyncio.run(serve(options.way, crate))
        except KeyboardInterrupt:
            sys.exit(128 + signal.SIGINT)


if __name__ == "__main__":
    main()
