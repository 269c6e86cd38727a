"""Calls in greenlets that a step of the running loop has switched to.

In programs of their own: where SQLAlchemy's asyncio is loaded, which switches
to greenlets by itself, such calls are refused.
"""

from pathlib import Path

import pytest

import greenlets

PRELUDE = """
import asyncio, contextvars, sys
from greenlet import getcurrent, greenlet
from tworoutine import CannotSuspend, tworoutine

@tworoutine
async def nap(seconds=0):
    await asyncio.sleep(seconds)
    return asyncio.current_task().get_name()

def inside(function):
    '''function(), in a greenlet of its own.'''
    return greenlet(function).switch()
"""


def test_in_tasks_and_callbacks(program):
    program(
        PRELUDE
        + """
async def task():
    name = asyncio.current_task().get_name()
    assert inside(nap) == name
    assert inside(lambda: [nap(), nap(0.001)]) == [name] * 2
    assert inside(lambda: inside(lambda: inside(nap))) == name
    assert nap() == name
    await asyncio.sleep(0)

async def main():
    # The first call of the loop, and later ones.
    await task()
    await asyncio.gather(*[task() for _ in range(20)])
    done = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(
        lambda: done.set_result(inside(nap)))
    assert (await done).startswith("Task-")

async def first_in_a_callback():
    done = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(
        lambda: done.set_result(inside(lambda: nap(0.001))))
    return await done

for _ in range(3):
    asyncio.run(main())
    assert asyncio.run(first_in_a_callback()).startswith("Task-")
assert inside(nap).startswith("Task-")  # no loop runs

@tworoutine
async def without_a_loop():
    return inside(nap)

assert without_a_loop().startswith("Task-")
"""
    )


def test_others_go_on_in_the_same_context(program):
    program(
        PRELUDE
        + """
var = contextvars.ContextVar("var", default="main")
beats = []

async def beat():
    while True:
        beats.append(var.get())
        await asyncio.sleep(0)

async def main():
    # As in a notebook: all tasks share one context.
    context = contextvars.copy_context()
    loop = asyncio.get_running_loop()
    other = loop.create_task(beat(), context=context)
    async def calls():
        var.set("calls")
        inside(lambda: nap(0.01))
        assert var.get() == "calls"
        entered = contextvars.copy_context()
        entered.run(lambda: inside(lambda: nap(0.01)))
        return "done"
    assert await loop.create_task(calls(), context=context) == "done"
    assert len(beats) > 10 and beats[-1] == "calls", beats
    other.cancel()

asyncio.run(main())
"""
    )


def test_cancel_and_timeout(program):
    program(
        PRELUDE
        + """
log = []

async def waits():
    try:
        inside(lambda: inside(lambda: nap(60)))
    finally:
        log.append("finally")

async def main():
    for first in True, False:
        task = asyncio.create_task(waits())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            pass
        try:
            async with asyncio.timeout(0.01):
                inside(lambda: nap(60))
        except TimeoutError:
            log.append("timeout")
    assert log == ["finally", "timeout"] * 2, log

asyncio.run(main())
"""
    )


def test_greenlets_that_come_and_go_between_steps(program):
    """One may be begun in a step, parked by hand, and resumed in another."""
    program(
        PRELUDE
        + """
async def main():
    def generator():
        for i in range(5):
            nap()
            getcurrent().parent.switch(i)
        return "end"

    async def consume():
        got = []
        it = greenlet(generator)
        while not it.dead:
            got.append(it.switch())
            it.parent = getcurrent()  # the step that resumes it
            await asyncio.sleep(0)
            it.parent = getcurrent()
        return got

    results = await asyncio.gather(*[consume() for _ in range(20)])
    assert results == [[0, 1, 2, 3, 4, "end"]] * 20, results

asyncio.run(main())
"""
    )


def test_at_random(program):
    """They begin, are resumed by other tasks, are killed and dropped."""
    program(Path(greenlets.__file__).read_text(), "100", flags=())


@pytest.mark.parametrize("library", ["sqlalchemy.ext.asyncio"])
def test_refused_where_others_switch_by_themselves(program, library):
    pytest.importorskip(library)
    program(
        PRELUDE
        + """
import importlib
importlib.import_module(sys.argv[1])

async def main():
    try:
        inside(nap)
    except CannotSuspend as exc:
        assert "greenlet" in str(exc) and "nap" in str(exc)
        assert "ThreadPoolExecutor" in str(exc)
    else:
        raise AssertionError
    assert nap() == asyncio.current_task().get_name()

asyncio.run(main())
""",
        library,
    )


@pytest.mark.parametrize("library", ["sqlalchemy.ext.asyncio"])
def test_refused_between_calls_of_the_step_itself(program, library):
    """What a call in the step has found out does not hold in a greenlet."""
    pytest.importorskip(library)
    program(
        PRELUDE
        + """
import importlib
importlib.import_module(sys.argv[1])

@tworoutine
async def trivial():
    return True

def is_refused(call):
    try:
        call()
    except CannotSuspend:
        return True

async def refused():
    return is_refused(trivial)

def step(coro):
    try:
        coro.send(None)
    except StopIteration as stop:
        return stop.value

def deep(levels, function):
    return deep(levels - 1, function) if levels else function()

async def main():
    for _ in range(3):
        for other in [
            lambda: inside(lambda: step(refused())),  # in a frame of its own
            lambda: inside(lambda: deep(200, lambda: step(refused()))),
            lambda: is_refused(lambda: inside(trivial)),  # in none
        ]:
            assert trivial()
            assert deep(200, trivial)
            assert other()
        assert trivial()

asyncio.run(main())
""",
        library,
    )


@pytest.mark.parametrize("library", ["uvloop", "trio"])
def test_in_a_portal(program, library):
    pytest.importorskip(library)
    program(
        PRELUDE
        + """
import tworoutine as two
var = contextvars.ContextVar("var", default=0)
beats = []

if sys.argv[1] == "trio":
    import trio
    sleep = trio.sleep
else:
    import uvloop
    sleep = asyncio.sleep

@tworoutine
async def wait(seconds=0.001):
    await sleep(seconds)
    return var.get()

async def task(number):
    var.set(number)
    def set_and_wait():
        return contextvars.copy_context().run(wait)
    assert inside(lambda: [wait(), wait(0)]) == [0, 0]
    assert inside(lambda: inside(set_and_wait)) == 0
    context = contextvars.copy_context()
    assert inside(lambda: context.run(wait)) == number
    assert wait() == number
    beats.append(number)

async def main():
    await task(1)
    if sys.argv[1] == "trio":
        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(task, number)
        with trio.move_on_after(0.01) as scope:
            inside(lambda: wait(60))
        assert scope.cancelled_caught
    else:
        await asyncio.gather(*[task(number) for number in range(20)])
        try:
            async with asyncio.timeout(0.01):
                inside(lambda: wait(60))
        except TimeoutError:
            pass
        else:
            raise AssertionError
    inside(wait)
    assert sorted(beats) == sorted([1, *range(20)])

for _ in range(3):
    beats.clear()
    if sys.argv[1] == "trio":
        trio.run(two.portal(main))
    else:
        two.run(main(), loop_factory=uvloop.new_event_loop)
""",
        library,
    )


@pytest.mark.parametrize("library", ["asyncio", "uvloop"])
def test_above_a_greenlet_without_a_frame(program, library):
    """It runs a C function, and does not tell its context: refused."""
    pytest.importorskip(library)
    program(
        PRELUDE
        + """
import importlib
import tworoutine as two
loops = importlib.import_module(sys.argv[1])

async def main():
    upper = greenlet(nap)
    lower = greenlet(upper.switch)
    upper.parent = lower
    try:
        lower.switch()
    except CannotSuspend as exc:
        assert "nap" in str(exc)
    else:
        raise AssertionError
    assert nap() == asyncio.current_task().get_name()

two.run(main(), loop_factory=loops.new_event_loop)
""",
        library,
    )


STEPS = """
import threading, weakref
import greenlet as greenlets, tworoutine as package

async def little():
    return 5

refs, got = [], []

def steps(ref):
    portal = package.portal(little)()
    try:
        portal.send(None)
    except StopIteration as stop:
        got.append(stop.value)
    except BaseException as error:
        got.append(error)
"""


def test_the_last_reference_to_one_whose_call_is_over(program):
    """A weakref's callback steps a portal: nowhere in between two of ours."""
    program(
        PRELUDE
        + STEPS
        + """
def one():
    mine = greenlets.greenlet(nap)
    refs.append(weakref.ref(mine, steps))
    mine.switch()

async def more():
    nap(0.001)

async def main():
    one()
    for _ in range(2):
        inside(nap)
    await asyncio.gather(*[more() for _ in range(5)])

for _ in range(3):
    asyncio.run(main())
assert got == [5] * 3, got
"""
    )


def test_the_last_reference_to_a_worker_as_its_thread_ends(program):
    program(
        STEPS
        + """
class Trap:
    def __await__(self):
        return (yield self)

@package.tworoutine
async def trap():
    return await Trap()

async def function():
    refs.append(weakref.ref(greenlets.getcurrent(), steps))
    return trap()

def work():
    portals = [package.portal(function)() for _ in range(3)]
    for portal in portals:
        portal.send(None)
    for portal in portals:
        try:
            portal.send(1)
        except StopIteration:
            pass

for _ in range(3):
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
assert got == [5] * 9, got
"""
    )
