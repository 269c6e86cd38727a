"""Somebody's library calls nest_asyncio.apply(): calls go on working.

It changes asyncio for the whole process, and nothing undoes it: programs of
their own.  asyncio deprecates what it does, so its warnings are let pass.
"""

import pytest

pytest.importorskip("nest_asyncio", reason="needs nest_asyncio")

IGNORING = ["-X", "dev", "-W", "ignore::DeprecationWarning"]

PARTS = """
import asyncio, os, signal, sys, threading
import nest_asyncio
from tworoutine import await_, tworoutine

@tworoutine
async def double(x, delay=0.001):
    await asyncio.sleep(delay)
    return 2 * x

@tworoutine
async def twice(x):
    return double(double(x))

def run(coro):
    # as synchronous functions of such a library do
    return asyncio.get_event_loop().run_until_complete(coro)

async def calls(n):
    return [double(x, 0.002) for x in range(n)]

@tworoutine
async def runs_a_task_that_calls():
    task = asyncio.create_task(calls(3))
    await asyncio.sleep(0.001)  # it waits in a call now
    return run(task)

@tworoutine
async def calls_in_a_run():
    return [run((~twice)(x)) for x in (3, 1)]

async def mixed(n):
    return run((~double)(n)), double(n), run((~twice)(n))

@tworoutine
async def side_by_side():
    return await asyncio.gather(*(mixed(n) for n in range(8)))

def use():
    assert double(1) == 2
    assert twice(1) == 4
    assert runs_a_task_that_calls() == [0, 2, 4]
    assert calls_in_a_run() == [12, 4]
    assert side_by_side() == [(2 * n, 2 * n, 4 * n) for n in range(8)]
    assert double.map([1, 2]) == [2, 4]
"""


@pytest.fixture
def nested(program):
    def run(source):
        return program(PARTS + source, flags=IGNORING)

    return run


def test_without_a_loop(nested):
    out = nested(
        """
double(1)
nest_asyncio.apply()
use()
use()
thread = threading.Thread(target=lambda: print(double(4), twice(1)))
thread.start()
thread.join()
"""
    )
    assert out == "8 4\n"


def test_ctrl_c_without_a_loop(nested):
    out = nested(
        """
nest_asyncio.apply()

@tworoutine
async def blocks():
    asyncio.get_running_loop().call_later(
        0.01, os.kill, os.getpid(), signal.SIGINT
    )
    try:
        await asyncio.sleep(600)
    finally:
        await asyncio.sleep(0)
        print("cleaned up")

try:
    blocks()
except KeyboardInterrupt:
    print("interrupted")
use()
"""
    )
    assert out == "cleaned up\ninterrupted\n"


def test_a_run_inside_the_task_of_a_call(nested):
    """Its task is in C, as that of the call may be, or in Python: apart."""
    out = nested("""
loop = asyncio.new_event_loop()
asyncio.set_event_loop(loop)
nest_asyncio.apply()
begun, ended = asyncio.Event(), asyncio.Event()
log = []

async def other():
    tworoutine(begun.wait)()
    log.append("other")
    ended.set()

async def inner():
    begun.set()
    tworoutine(ended.wait)()
    log.append("inner")

@tworoutine
async def outer():
    return loop.run_until_complete(inner())

def callback():
    outer()
    loop.stop()

task = loop.create_task(other())
loop.call_soon(loop.call_soon, callback)
loop.run_forever()
loop.run_until_complete(task)
loop.close()
print(log)
""")
    assert out == "['other', 'inner']\n"


@pytest.mark.parametrize("when", ["before", "in a callback"])
def test_in_a_loop_that_run_forever_runs(nested, when):
    """As that of a notebook's kernel."""
    out = nested(
        f"""
loop = asyncio.new_event_loop()
asyncio.set_event_loop(loop)
if {when!r} == "before":
    nest_asyncio.apply(loop)
tasks = []

async def task():
    use()
    tasks.append(asyncio.create_task(calls(5)))
    await asyncio.sleep(0.001)
    loop.stop()

def callback():
    nest_asyncio.apply(loop)
    use()
    tasks.append(loop.create_task(task()))

loop.call_soon(callback)
loop.run_forever()
first, second = tasks
assert first.done() and not second.done()
loop.call_soon(lambda: (use(), loop.stop()))
loop.run_forever()
print(loop.run_until_complete(second))
loop.close()
"""
    )
    assert out == "[0, 2, 4, 6, 8]\n"


STARTED = """
import warnings
nest_asyncio.apply()
loop = asyncio.get_event_loop()
warnings.simplefilter("ignore", RuntimeWarning)
# It leaves a KeyboardInterrupt in its task, and raises it too.
loop.set_exception_handler(
    lambda loop, context: isinstance(context["exception"], Exception)
    and loop.default_exception_handler(context)
)
if {later!r}:
    async def first():
        double(1)
    asyncio.run(first())

class Limit(Exception):
    pass

def handler(*args):
    raise Limit

def alarm_soon():
    signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.02)

@tworoutine
async def blocks():
    try:
        await asyncio.sleep(600)
    finally:
        await asyncio.sleep(0)
        print("cleaned up")
"""


@pytest.fixture(params=[False, True], ids=["first call", "later"])
def started(request, nested):
    """A program that runs the loop in nest_asyncio's asyncio.run.

    The first call in the life of a loop waits in another way than later ones:
    what would end the run is raised in it, or cancels it and is told of.
    """

    def run(source):
        return nested(STARTED.format(later=request.param) + source)

    run.later = request.param
    return run


def test_in_its_own_runs(started):
    out = started(
        """
import gc, weakref

async def main(n):
    use()
    print(signal.getsignal(signal.SIGINT) is before, loop._stopping)
    return double(n)

def begin(n):  # asyncio.current_task() is none on 3.14
    task = loop.create_task(main(n))
    tasks.add(task)
    return task

tasks = weakref.WeakSet()
before = signal.getsignal(signal.SIGINT)
print([asyncio.run(begin(n)) for n in range(3)], double(5))
print(loop.run_until_complete(begin(4)), loop._stopping)
assert signal.getsignal(signal.SIGINT) is before
gc.collect()
assert not tasks
"""
    )
    assert out == ("True False\n" * 3 + "[0, 2, 4] 10\nTrue False\n8 False\n")


def test_calls_in_its_run_overlap(started):
    out = started(
        """
order = []

@tworoutine
async def waits_for(event, name):
    await event.wait()
    order.append(name)

async def calls_one(event, name, then):
    waits_for(event, name)
    then.set()

async def main():
    a, b, end = asyncio.Event(), asyncio.Event(), asyncio.Event()
    asyncio.get_running_loop().call_later(0.001, b.set)
    await asyncio.gather(calls_one(a, "a", end), calls_one(b, "b", a))
    return end.is_set(), order

print(asyncio.run(main()))
"""
    )
    assert out == "(True, ['b', 'a'])\n"


def test_its_run_ends_with_its_task(started):
    """At the end of that turn, and what waits goes on in the next run."""
    out = started(
        """
turns = []

def turn():
    turns.append(1)
    loop.call_soon(turn)

async def main():
    loop.call_soon(turn)
    first = double(1, 0)
    del turns[:]
    loop.call_soon(print, "not in this run")
    return first

print(asyncio.run(main()), turns)

async def waits():
    await asyncio.sleep(0)
    return double(2)

print(asyncio.run(waits()))
"""
    )
    assert out == "2 []\nnot in this run\n4\n"


def test_tasks_outlive_its_run(nested):
    out = nested(
        STARTED.format(later=True)
        + """
async def main():
    task = asyncio.create_task(calls(20))
    await asyncio.sleep(0.003)
    return task

async def waits(task):
    return await task == [double(n) for n in range(20)]

task = asyncio.run(main())
assert not task.done()
print(asyncio.run(waits(task)))
"""
    )
    assert out == "True\n"


def test_the_first_call_does_not_outlive_its_run(program):
    """It is named, and neither this run nor the next is stopped."""
    out = program(
        PARTS
        + STARTED.format(later=False)
        + """
async def calls_one():
    blocks()

async def main():
    task = asyncio.create_task(calls_one())
    await asyncio.sleep(0.001)
    return task

with warnings.catch_warnings(record=True) as warned:
    warnings.simplefilter("always", RuntimeWarning)
    task = asyncio.run(main())
print(task.cancelled(), loop._stopping)
print(*(w.message for w in warned if w.category is RuntimeWarning))

async def later():
    await asyncio.sleep(0.001)
    return twice(1)

print(asyncio.run(later()))
""",
        flags=IGNORING,
    )
    first, second, third, fourth = out.splitlines()
    assert (first, second, fourth) == ("cleaned up", "True False", "4")
    assert "the first call ever made in that loop" in third


def test_an_exception_in_its_run(started):
    out = started(
        """
async def main():
    double(1)
    raise KeyError(1)

for _ in range(2):
    try:
        asyncio.run(main())
    except KeyError as exc:
        print(repr(exc), exc.__context__)
use()
"""
    )
    assert out == "KeyError(1) None\n" * 2


def test_ctrl_c_in_its_run(started):
    out = started(
        """
async def main():
    loop.call_later(0.01, os.kill, os.getpid(), signal.SIGINT)
    blocks()

for _ in range(2):
    try:
        asyncio.run(main())
    except KeyboardInterrupt:
        print("interrupted")
assert asyncio.run(calls(2)) == [0, 2]
use()
"""
    )
    assert out == "cleaned up\ninterrupted\n" * 2


@pytest.mark.parametrize("how", ["itself", "in another task"])
def test_a_time_limit_in_its_run(started, how):
    out = started(
        f"""
async def calls_one():
    alarm_soon()
    blocks()

async def main():
    if {how!r} == "itself":
        await calls_one()
    await asyncio.create_task(calls_one())

try:
    asyncio.run(main())
except Limit:
    print("Limit", loop._stopping)
del blocks
assert asyncio.run(calls(2)) == [0, 2]
use()
"""
    )
    assert out.splitlines()[-1] == "Limit False"


def test_system_exit_in_its_run(started):
    out = started(
        """
async def main():
    loop.call_later(0.01, sys.exit, 3)
    blocks()

try:
    asyncio.run(main())
except SystemExit as exc:
    print(exc.code, loop._stopping)
assert asyncio.run(calls(2)) == [0, 2]
"""
    )
    assert out == "cleaned up\n3 False\n"


def test_its_run_is_stopped(started):
    """It raises, as without calls, and leaves the loop as it does then."""
    out = started(
        """
async def main():
    loop.call_later(0.01, loop.stop)
    blocks()

async def waits(task):
    await asyncio.wait([task])

task = loop.create_task(main())
try:
    loop.run_until_complete(task)
except RuntimeError as exc:
    print(exc, loop._stopping, task.done())
except asyncio.CancelledError:
    print("cancelled")
loop._stopping = False
task.cancel()
asyncio.run(waits(task))
assert task.cancelled() and asyncio.run(calls(2)) == [0, 2]
"""
    )
    assert out == (
        "Event loop stopped before Future completed. True False\ncleaned up\n"
        if started.later
        else "cleaned up\ncancelled\n"
    )


def test_a_run_in_its_run(started):
    out = started(
        """
async def main():
    task = asyncio.create_task(calls(3))
    await asyncio.sleep(0.001)  # it waits in a call now
    return run(calls(2)), run(task), double(3), run((~twice)(2))

async def in_a_callback():
    future = loop.create_future()
    loop.call_soon(
        lambda: future.set_result((run(calls(2)), double(5), run(main())))
    )
    return await future

async def at_once():
    return asyncio.run(calls(3)), await in_a_callback()

print(asyncio.run(at_once()))
print(asyncio.run(main()), len(asyncio.run(side_by_side.aio())))
"""
    )
    assert out == (
        "([0, 2, 4], ([0, 2], 10, ([0, 2], [0, 2, 4], 6, 8)))\n"
        "([0, 2], [0, 2, 4], 6, 8) 8\n"
    )


def test_what_is_refused_says_what_to_write(nested):
    out = nested(
        """
nest_asyncio.apply()
loop = asyncio.get_event_loop()

def callback():
    try:
        double(1)
    except RuntimeError as exc:
        print(str(exc).partition("; ")[2])

async def main():
    return twice(2)

loop.call_soon(callback)
asyncio._set_running_loop(loop)
loop._run_once()
asyncio._set_running_loop(None)
print(await_(main()))
"""
    )
    assert out == (
        "run main() by a call, await_(main()), or do without "
        "nest_asyncio.apply(), which no call needs\n8\n"
    )
