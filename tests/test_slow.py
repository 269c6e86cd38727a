"""tworoutine.warn_slow(): calls that hold others up are named."""

import asyncio
import contextlib
import functools
import sys
import threading
import warnings

import pytest

import tworoutine as package
from tworoutine import SlowCallWarning, tworoutine, warn_slow

LIMIT = 0.02  # seconds


@contextlib.contextmanager
def watch():
    """The messages and lines of what is warned of, and an event.

    Not a fixture: pytest records warnings of its own around a test.
    """
    found = Found()
    with warnings.catch_warnings():
        warnings.simplefilter("always", SlowCallWarning)
        warnings.showwarning = found.add
        warn_slow(LIMIT)
        try:
            yield found
        finally:
            warn_slow(None)


def watched(test):
    @functools.wraps(test)
    def run():
        with watch() as warned:
            test(warned)

    del run.__wrapped__  # which pytest would ask for its arguments
    return run


class Found(list):
    def __init__(self):
        super().__init__()
        self.any = threading.Event()

    def add(self, message, category, filename, lineno, *_):
        assert category is SlowCallWarning
        self.append((str(message), filename, lineno))
        self.any.set()


@tworoutine
async def wait(event):
    """Wait until another thread sets event."""
    loop = asyncio.get_running_loop()
    assert await loop.run_in_executor(None, event.wait, 60)


@tworoutine
async def nap(seconds):
    await asyncio.sleep(seconds)


def line_of(function):
    return function.__code__.co_firstlineno + 1


@watched
def test_a_callback(warned):
    async def main():
        loop = asyncio.get_running_loop()
        done = loop.create_future()

        def callback():
            wait(warned.any), done.set_result(None)

        loop.call_soon(callback)
        await done
        return callback

    callback = asyncio.run(main())
    [(message, filename, lineno)] = warned
    assert message.startswith("wait() has waited for 0.0")
    assert message.endswith(
        " s, and holds up the callback in which it was made, and who called "
        "that; begin a task there, wait.start(...)"
    )
    assert (filename, lineno) == (__file__, line_of(callback))


@pytest.mark.skipif(
    sys.version_info < (3, 12), reason="no eager tasks before 3.12"
)
@watched
def test_an_eager_task(warned):
    async def eager():
        wait(warned.any)

    async def main():
        loop = asyncio.get_running_loop()
        loop.set_task_factory(asyncio.eager_task_factory)
        await loop.create_task(eager())

    asyncio.run(main())
    [(message, filename, lineno)] = warned
    assert "and holds up who creates its task, which is eager: main() at " in (
        message
    )
    assert message.endswith(
        "make such tasks with tworoutine.eager_task_factory"
    )
    assert (filename, lineno) == (__file__, line_of(eager))


@watched
def test_a_call_below_another_one(warned):
    """It is the call in the callback that holds up the callback."""

    @tworoutine
    async def outer():
        wait(warned.any)

    async def main():
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        loop.call_soon(lambda: (outer(), done.set_result(None)))
        await done

    asyncio.run(main())
    [(message, *_)] = warned
    assert message.startswith("test_a_call_below_another_one.<locals>.outer()")


@watched
def test_others_are_not_named(warned):
    async def main():
        nap(5 * LIMIT)  # in a task, which only waits as it would by await
        if sys.version_info >= (3, 12):
            factory = package.eager_task_factory
            loop = asyncio.get_running_loop()
            await factory(loop, step())

    async def step():
        nap(5 * LIMIT)

    nap(5 * LIMIT)  # where no loop runs
    asyncio.run(main())
    assert warned == []


@watched
def test_each_call_is_named_once(warned):
    async def main():
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        loop.call_soon(lambda: (nap(10 * LIMIT), done.set_result(None)))
        await done

    asyncio.run(main())
    assert len(warned) == 1


def test_as_an_error(monkeypatch):
    """Where the filters make an error of it, the thread's hook is told."""
    seen, told = [], threading.Event()
    monkeypatch.setattr(
        threading, "excepthook", lambda args: (seen.append(args), told.set())
    )
    warn_slow(LIMIT)
    try:

        async def main():
            loop = asyncio.get_running_loop()
            done = loop.create_future()
            loop.call_soon(lambda: (wait(told), done.set_result(None)))
            await done

        asyncio.run(main())
    finally:
        warn_slow(None)
    [args] = seen
    assert args.exc_type is SlowCallWarning


def test_it_is_off_and_can_be_switched_off(program):
    assert (
        program(
            """
import threading
from tworoutine import warn_slow

n = threading.active_count()
warn_slow(60)
warn_slow(30)
names = [thread.name for thread in threading.enumerate()]
warn_slow(None)
while threading.active_count() > n:
    pass
print(names[-1])
"""
        )
        == "tworoutine.warn_slow\n"
    )


def test_in_a_forked_child(program):
    program(
        """
import asyncio, os, threading, warnings
from tworoutine import SlowCallWarning, tworoutine, warn_slow
warnings.simplefilter("ignore", DeprecationWarning)
warn_slow(0.02)
child = os.fork()
if not child:
    warned = threading.Event()
    warnings.simplefilter("always", SlowCallWarning)
    warnings.showwarning = lambda *_: warned.set()

    @tworoutine
    async def wait():
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, warned.wait)

    async def main():
        done = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(
            lambda: (wait(), done.set_result(None)))
        await done

    asyncio.run(main())
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
"""
    )


@pytest.mark.parametrize("seconds", ["1", True, 1j])
def test_no_number(seconds):
    with pytest.raises(
        TypeError, match=r"warn_slow\(\) takes seconds, a number, or None"
    ):
        warn_slow(seconds)


@pytest.mark.parametrize("seconds", [0, -1, 0.001, float("nan"), 1e300])
def test_no_number_of_seconds(seconds):
    with pytest.raises(
        ValueError, match=r"warn_slow\(\): seconds must be at least 0.01, not"
    ):
        warn_slow(seconds)


def test_its_own_class():
    assert issubclass(SlowCallWarning, RuntimeWarning)
    assert SlowCallWarning.__module__ == "tworoutine"
