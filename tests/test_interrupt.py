"""Ctrl-C: real signals, in processes of their own."""

import subprocess
import sys

import pytest

# SIGINT comes from a thread, once the loop waits: the child says so by
# writing its step to `waiting`, and the thread reads it.
PRELUDE = """
import asyncio, os, resource, signal, sys, threading, time
from tworoutine import tworoutine

log = []

def interrupt_when_waiting(times=1):
    read, write = os.pipe()
    def watch():
        for _ in range(times):
            os.read(read, 1)
            time.sleep(0.05)  # into the selector
            os.kill(os.getpid(), signal.SIGINT)
    threading.Thread(target=watch, daemon=True).start()
    return lambda: os.write(write, b"x")

@tworoutine
async def wait_long(waiting):
    try:
        asyncio.get_running_loop().call_soon(waiting)
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        log.append("cancelled")
        raise
    finally:
        await asyncio.sleep(0.001)
        log.append("finally")

@tworoutine
async def tick(n=1):
    for _ in range(n):
        await asyncio.sleep(0)
    return "tick"
"""


def run(program, *, code=0, timeout=30):
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", PRELUDE + program],
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    assert done.returncode == code, done.stderr
    return done


def test_without_a_loop():
    run("""
@tworoutine
async def start_background():
    async def background():
        while True:
            await asyncio.sleep(0.001)
            beats.append(1)
    return asyncio.create_task(background())

beats = []
task = start_background()
for _ in range(3):
    log.clear()
    try:
        wait_long(interrupt_when_waiting())
    except KeyboardInterrupt as exc:
        log.append("interrupted")
        names = []
        tb = exc.__traceback__
        while tb:
            names.append(tb.tb_frame.f_code.co_name)
            tb = tb.tb_next
        assert names == ["<module>"], names
        assert exc.__context__ is None
    assert log == ["cancelled", "finally", "interrupted"], log
    assert tick() == "tick"
    assert not task.done() and beats
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
""")


def test_without_a_loop_in_the_coroutines_own_code():
    run("""
@tworoutine
async def busy():
    await asyncio.sleep(0)
    try:
        signal.raise_signal(signal.SIGINT)
        while True:
            pass
    finally:
        log.append("finally")

for _ in range(2):
    try:
        busy()
    except KeyboardInterrupt:
        log.append("interrupted")
    assert log == ["finally", "interrupted"]
    log.clear()
    assert tick() == "tick"
""")


def test_wherever_it_hits_no_task_is_left_behind():
    """Most of these come while asyncio's code runs, not while it waits."""
    run("""
import random

@tworoutine
async def busy():
    await asyncio.sleep(0.0005)
    await asyncio.sleep(0)

def interrupt_soon():
    while True:
        go.acquire()
        time.sleep(0.002 * random.random())
        os.kill(os.getpid(), signal.SIGINT)

go = threading.Semaphore(0)
threading.Thread(target=interrupt_soon, daemon=True).start()

@tworoutine
async def tasks():
    return asyncio.all_tasks() - {asyncio.current_task()}

for _ in range(150):
    try:
        go.release()
        while True:
            busy()
    except KeyboardInterrupt:
        pass
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert asyncio._get_running_loop() is None
    assert tasks() == set()
assert tick() == "tick"
""")


def test_a_second_one_during_cleanup():
    run("""
@tworoutine
async def stubborn(waiting):
    try:
        asyncio.get_running_loop().call_soon(waiting)
        await asyncio.sleep(60)
    finally:
        log.append("cleaning")
        asyncio.get_running_loop().call_soon(waiting)
        await asyncio.sleep(60)

waiting = interrupt_when_waiting(2)
begin = time.monotonic()
try:
    stubborn(waiting)
except KeyboardInterrupt:
    log.append("interrupted")
assert time.monotonic() - begin < 20
assert log == ["cleaning", "interrupted"], log
assert tick() == "tick"
""")


def test_a_swallowed_one_goes_on():
    run("""
@tworoutine
async def swallow(waiting):
    try:
        asyncio.get_running_loop().call_soon(waiting)
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        return "swallowed"

assert swallow(interrupt_when_waiting()) == "swallowed"
assert tick() == "tick"
""")


def test_a_nested_call():
    run("""
@tworoutine
async def outer(waiting):
    try:
        wait_long(waiting)
    finally:
        log.append("outer")

try:
    outer(interrupt_when_waiting())
except KeyboardInterrupt:
    log.append("interrupted")
assert log == ["cancelled", "finally", "outer", "interrupted"], log
assert tick() == "tick"
""")


def test_map():
    run("""
ended = []
begun = []

@tworoutine
async def one(number):
    begun.append(number)
    if len(begun) == 20:
        waiting()
    try:
        await asyncio.sleep(60)
    finally:
        await asyncio.sleep(0)
        ended.append(number)

waiting = interrupt_when_waiting()
try:
    one.map(range(100), limit=20)
except KeyboardInterrupt:
    log.append("interrupted")
assert log == ["interrupted"]
assert sorted(ended) == list(range(20))
assert tick() == "tick"
""")


def test_in_asyncio_run():
    run("""
async def main():
    tick()
    try:
        wait_long(interrupt_when_waiting())
    finally:
        log.append("main")

try:
    asyncio.run(main())
except KeyboardInterrupt:
    log.append("interrupted")
assert log == ["cancelled", "finally", "main", "interrupted"], log
assert tick() == "tick"
""")


def test_in_a_loop_without_a_handler_the_latest_call_is_interrupted():
    """A Jupyter cell: the call raises, the loop and its tasks live on."""
    run("""
loop = asyncio.new_event_loop()

async def background():
    while True:
        log.append("beat")
        await asyncio.sleep(0.005)  # a call here could be the latest one

async def cell(waiting):
    try:
        wait_long(waiting)
    except KeyboardInterrupt:
        return "interrupted"

async def main():
    tick()
    task = loop.create_task(background())
    await asyncio.sleep(0.01)
    for _ in range(3):
        assert await cell(interrupt_when_waiting()) == "interrupted"
        assert tick() == "tick"
    log.clear()
    await asyncio.sleep(0.05)
    assert "beat" in log
    assert not task.done()
    task.cancel()

loop.run_until_complete(main())
loop.close()
assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
""")


@pytest.mark.parametrize("main", ["wait()", "asyncio.run(in_loop())"])
def test_waiting_uses_no_cpu(main):
    run(
        """
@tworoutine
async def wait():
    await asyncio.sleep(1)

async def in_loop():
    tick()
    wait()

def used():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime

before = used()
"""
        + main
        + """
assert used() - before < 0.2
"""
    )


def test_an_uncaught_one_ends_the_program_as_usual():
    done = run("wait_long(interrupt_when_waiting())", code=-2)
    assert done.stderr.rstrip().endswith("KeyboardInterrupt")
    assert "asyncio" not in done.stderr
    assert "never" not in done.stderr
