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


def test_what_is_refused_says_what_to_write(nested):
    out = nested(
        """
nest_asyncio.apply()

async def main():
    return twice(2)

try:
    asyncio.run(main())
except RuntimeError as exc:
    print(str(exc).partition("; ")[2])
print(await_(main()))
"""
    )
    assert out == (
        "run main() by a call, await_(main()), or do without "
        "nest_asyncio.apply(), which no call needs\n8\n"
    )
