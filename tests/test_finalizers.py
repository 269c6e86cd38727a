"""Finalizers in the middle of asyncio's own code, and of greenlet's.

The collector may run them anywhere: also while asyncio.run makes ready for the
next run of its loop.
"""

import asyncio
import gc

import pytest

from tworoutine import tworoutine

PROGRAM = """
import asyncio, gc, signal, sys
from tworoutine import tworoutine

events = []

@tworoutine
async def items():
    loop = asyncio.get_running_loop()
    try:
        yield 1
    finally:
        await asyncio.sleep(0)
        assert asyncio.get_running_loop() is loop
        events.append("finally")

@tworoutine
async def tick():
    await asyncio.sleep(0)
    events.append("tick")

def an_iterator():
    cycle = [items()]
    cycle.append(cycle)
    next(cycle[0])

class Thing:
    def __del__(self):
        tick()

def dropped():
    kept.append(items())
    next(kept[0])

def an_object():
    cycle = [Thing()]
    cycle.append(cycle)

def a_signal():
    signal.signal(signal.SIGTERM, lambda signum, frame: tick())

kept = []
make = globals()[sys.argv[1]]

class Task(asyncio.Task):
    # What asyncio.gather calls, in the middle of its own work.
    def add_done_callback(self, callback, **kwargs):
        super().add_done_callback(callback, **kwargs)
        if callback.__qualname__ == "gather.<locals>._done_callback":
            if make is a_signal:
                signal.raise_signal(signal.SIGTERM)
            kept.clear()
            gc.collect()

async def sleep():
    await asyncio.sleep(3600)

async def main():
    loop = asyncio.get_running_loop()
    task = Task(sleep(), loop=loop)  # is cancelled as the loop ends
    main.kept = task
    await asyncio.sleep(0)
    {where}

{before}
gc.disable()  # but for here
asyncio.run(main())
{after}
print(*events)
"""
ITERATORS = ["an_iterator", "dropped"]
CALLS = ["an_object", "a_signal"]


@pytest.mark.parametrize("made", CALLS)
def test_calls_run_the_loop_of_calls(program, made):
    source = PROGRAM.format(before="make()", where="pass", after="")
    assert program(source, made, timeout=30) == "tick\n"


@pytest.mark.parametrize("made", ITERATORS)
def test_iterators_are_closed_by_their_loop(program, made):
    source = PROGRAM.format(before="", where="make()", after="")
    assert program(source, made, timeout=30) == "finally\n"


@pytest.mark.parametrize("made", ITERATORS)
def test_iterators_of_no_loop_are_closed_by_the_next_call(program, made):
    source = PROGRAM.format(before="make()", where="pass", after="tick()")
    events = program(source, made, timeout=30).split()
    assert sorted(events) == ["finally", "tick"]


@pytest.mark.parametrize("turns", [0, 1, 2])
def test_what_was_collected_last_is_closed_as_by_a_runner(program, turns):
    out = program(
        """
import asyncio, sys
from tworoutine import await_

async def items():
    try:
        yield 1
    finally:
        for _ in range(int(sys.argv[1])):
            await asyncio.sleep(0)
        print("finally")

async def begin(kept):
    kept.append(items())
    await anext(kept[0])

def by_a_runner():
    kept = []
    with asyncio.Runner() as runner:
        runner.run(begin(kept))
        kept.clear()

def by_a_call():
    kept = []
    await_(begin(kept))
    kept.clear()

by_a_runner()
by_a_call()
""",
        str(turns),
    )
    assert out == "finally\n" * 2


def test_the_collector_in_a_loop_that_is_hidden():
    """As below sync_to_async: the loop runs, although it does not look so."""
    sync = pytest.importorskip("asgiref.sync", reason="needs asgiref")
    log = []

    @tworoutine
    async def items():
        try:
            yield 1
        finally:
            await asyncio.sleep(0)
            log.append("finally")

    def plain():
        cycle = [iter(items())]
        cycle.append(cycle)
        next(cycle[0])
        del cycle
        gc.collect()
        log.append("collected")

    @tworoutine
    async def call():
        await sync.sync_to_async(plain)()
        async with asyncio.timeout(10):
            while len(log) < 2:
                await asyncio.sleep(0)

    call()
    assert log == ["collected", "finally"]


def test_as_greenlet_meets_a_thread(program):
    """On 3.11, which collects as objects are made; later ones do so later."""
    program(
        """
import asyncio, gc, sys, threading
from tworoutine import tworoutine

@tworoutine
async def items():
    await asyncio.sleep(0)
    yield 1

@tworoutine
async def tick():
    await asyncio.sleep(0)

class Thing:
    def __del__(self):
        tick()

class Loop(asyncio.SelectorEventLoop):
    armed = False

    # The last Python code before the first call of a thread looks where it is.
    def is_running(self):
        running = super().is_running()
        asker = sys._getframe(1).f_code.co_name
        if Loop.armed and asker != "set_debug":
            Loop.armed = False
            gc.set_threshold(max(1, gc.get_count()[0] - 3))  # the next object
        return running

def call():
    frames = [sys._getframe()]  # so that these need not be made then
    while frames[-1].f_back:
        frames.append(frames[-1].f_back)
    asyncio.set_event_loop(Loop())
    cycle = [Thing()]
    cycle.append(cycle)
    del cycle
    Loop.armed = True
    for _ in range(2):
        for _ in items():
            done.append(1)
        gc.set_threshold(0)
    gc.collect()
    asyncio.get_event_loop_policy().get_event_loop().close()

done = []
gc.set_threshold(0)
thread = threading.Thread(target=call)
thread.start()
thread.join()
assert done == [1, 1]
""",
        flags=("-W", "ignore::DeprecationWarning"),
        timeout=30,
    )
