"""A soak: random sessions of calls, for as long as one likes.

    python tools/soak.py [seconds] [seed]

Every call that begins ends: begun == ended.  Nothing grows: memory, blocks of
Python's allocator, file descriptors, threads, greenlets.  At the end it prints
how many there were of each, what nobody could catch ("unraisable"), by kind,
and fails if something has grown.  Coroutines "never awaited", if any, are of
tasks that had not begun when their loop was closed, as gather leaves them.
"lingered" counts callbacks that made calls after asyncio.run had cancelled all
tasks, and whose generator awaits in its finally as it is destroyed with the
loop: from 3.13 on, Python says that it "ignored GeneratorExit".
"""

import asyncio
import collections
import contextlib
import gc
import os
import random
import sys
import threading
import time
import traceback

import greenlet

import tworoutine
from tworoutine import await_

counts = collections.Counter()
unraisable = collections.Counter()


def call(fn, *args):
    """Make a call, and count it."""
    counts["begun"] += 1
    try:
        return fn(*args)
    finally:
        counts["ended"] += 1


@tworoutine.tworoutine
async def nap(seconds=0):
    await asyncio.sleep(seconds)
    return seconds


@tworoutine.tworoutine
async def fail(seconds=0):
    await asyncio.sleep(seconds)
    raise KeyError(seconds)


@tworoutine.tworoutine
async def limited(seconds):
    async with asyncio.timeout(seconds):
        call(nap, 0.01)


@tworoutine.tworoutine
async def nested(depth, seconds):
    if depth == 0:
        return call(nap, seconds)
    await asyncio.sleep(0)
    return call(nested, depth - 1, seconds)


@tworoutine.tworoutine
async def ticks(n, seconds=0):
    try:
        for i in range(n):
            await asyncio.sleep(seconds)
            yield i
    finally:
        await asyncio.sleep(0)


@tworoutine.tworoutine
@contextlib.asynccontextmanager
async def held(seconds):
    await asyncio.sleep(seconds)
    try:
        yield seconds
    finally:
        await asyncio.sleep(0)


# --- steps: what a piece of synchronous code does ----------------------------


def step_nap(rng):
    seconds = rng.choice([0, 0.0001, 0.001])
    call(rng.choice([nap, lambda s: await_(asyncio.sleep(s))]), seconds)


def step_fail(rng):
    with contextlib.suppress(KeyError):
        call(fail, rng.choice([0, 0.0001]))


def step_nested(rng):
    call(nested, rng.randrange(8), rng.choice([0, 0.0001]))


def step_iterate(rng):
    for _ in ticks(rng.randrange(4)):
        call(nap)


def step_leave(rng):
    for i in ticks(9, 0.0001):
        if i >= rng.randrange(4):
            break


def step_with(rng):
    with held(rng.choice([0, 0.0001])):
        call(nap)


def step_map(rng):
    nap.map([0, 0.0001, 0] * rng.randrange(1, 3), limit=rng.choice([None, 2]))


def step_garbage(rng):
    cycle = [ticks(3)]
    cycle.append(cycle)
    next(cycle[0])


def step_timeout(rng):
    with contextlib.suppress(TimeoutError):
        call(limited, rng.choice([0, 0.0002, 0.001]))


def step_collect(rng):
    if rng.random() < 0.02:
        gc.collect()


STEPS = [
    *(step_nap, step_fail, step_nested, step_iterate, step_leave, step_with),
    *(step_map, step_garbage, step_timeout, step_collect),
]


def work(rng):
    for _ in range(rng.randrange(1, 6)):
        counts["steps"] += 1
        rng.choice(STEPS)(rng)


# --- sessions ----------------------------------------------------------------


async def tasks(rng):
    """Tasks that work; some are cancelled, some have little time."""

    async def one(rng):
        with contextlib.suppress(asyncio.CancelledError, TimeoutError):
            async with asyncio.timeout(rng.choice([None, None, 0.002])):
                work(rng)

    loop = asyncio.get_running_loop()
    started = [
        loop.create_task(one(random.Random(rng.random())))
        for _ in range(rng.randrange(1, 9))
    ]
    for task in started:
        if rng.random() < 0.3:
            loop.call_later(rng.random() * 0.003, task.cancel)
            counts["cancels"] += 1
    if rng.random() < 0.5:
        loop.call_soon(work_quietly, random.Random(rng.random()))
    if rng.random() < 0.9:  # else they end as asyncio.run does
        await asyncio.gather(*started, return_exceptions=True)


def work_quietly(rng):
    with contextlib.suppress(asyncio.CancelledError):
        work(rng)


def in_loop(rng):
    asyncio.run(tasks(rng))


def in_closed_loop(rng):
    """Tasks wait in calls as their loop is closed."""
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda loop, context: None)

    async def waits(rng):
        with contextlib.suppress(Exception):
            work(rng)
            with held(0):
                for _ in ticks(9, 60):
                    pass

    async def main():
        call(nap)
        keep = [
            loop.create_task(waits(random.Random(rng.random())))
            for _ in range(3)
        ]
        await asyncio.sleep(rng.choice([0, 0.001]))
        return keep

    with contextlib.closing(loop):
        loop.run_until_complete(main())


def in_portals(rng):
    async def main():
        async with asyncio.TaskGroup() as group:
            for _ in range(rng.randrange(1, 5)):
                task = tworoutine.portal(work_in_task)
                group.create_task(task(random.Random(rng.random())))

    asyncio.run(main())


async def work_in_task(rng):
    work(rng)


def in_thread(rng):
    thread = threading.Thread(target=rng.choice([alone, in_loop]), args=(rng,))
    counts["threads"] += 1
    thread.start()
    thread.join()


def alone(rng):
    work(rng)


SESSIONS = [
    *(in_loop, in_loop, in_portals, in_thread, alone, in_closed_loop),
]


# --- what must not grow ------------------------------------------------------


def _resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _descriptors():
    return len(os.listdir("/proc/self/fd"))


def _greenlets():
    return sum(isinstance(o, greenlet.greenlet) for o in gc.get_objects())


def measure():
    for _ in range(3):
        gc.collect()
    return {
        "blocks": sys.getallocatedblocks(),
        "greenlets": _greenlets(),
        "threads": threading.active_count(),
        "descriptors": _descriptors(),
        "resident": _resident(),
    }


# By how much each may grow, whatever the length of the run.
SLACK = {
    "blocks": 3000,
    "greenlets": 8,
    "threads": 0,
    "descriptors": 0,
    "resident": 3_000_000,
}


def _note(args):
    text = f"{type(args.exc_value).__name__}: {args.exc_value}"
    if text == "RuntimeError: coroutine ignored GeneratorExit":
        counts["lingered"] += 1
        return
    if os.environ.get("TWR_SOAK") == "traceback":
        traceback.print_exception(args.exc_value)
        print(args.err_msg, args.object, file=sys.stderr)
    unraisable[text[:80]] += 1


def soak(seconds, seed=0):
    """Run sessions; what has grown by more than it may, and all figures."""
    hook, sys.unraisablehook = sys.unraisablehook, _note
    rng = random.Random(seed)
    try:
        _run(rng, seconds / 3)  # until pools and caches are full
        before = measure()
        for _ in range(2):  # what fills up does so once, a leak goes on
            _run(rng, seconds)
            after = measure()
            grown = {
                name: (before[name], after[name])
                for name, slack in SLACK.items()
                if after[name] > before[name] + slack
            }
            if not grown:
                break
            before = after
    finally:
        sys.unraisablehook = hook
    if counts["begun"] != counts["ended"]:
        grown["calls"] = counts["begun"], counts["ended"]
    return grown, {"before": before, "after": after}


def _run(rng, seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        counts["sessions"] += 1
        with contextlib.suppress(TimeoutError):
            rng.choice(SESSIONS)(rng)
    call(nap)  # those of closed loops end as this thread runs another


def main(seconds=600, seed=0):
    grown, figures = soak(seconds, seed)
    for title, figure in figures.items():
        print(title, figure)
    print(dict(counts))
    for text, count in unraisable.most_common():
        print(f"unraisable {count}: {text}")
    print("grown:", grown or "nothing")
    return 1 if grown else 0


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
