"""What comes while `break` closes an iterator, which cannot raise it."""

import asyncio
import sys

import pytest

from tworoutine import portal, tworoutine


class Peer:
    """Takes its time to say goodbye, until somebody says that it may."""

    def __init__(self):
        self.leaving = asyncio.Event()
        self.may_leave = asyncio.Event()

    @tworoutine
    async def messages(self):
        try:
            for i in range(5):
                await asyncio.sleep(0)
                yield i
        finally:
            self.leaving.set()
            await self.may_leave.wait()


def leave_early(peer):
    for _ in peer.messages():
        break


async def leave_and_wait(peer):
    leave_early(peer)
    await asyncio.sleep(60)


@pytest.mark.parametrize(
    "task_type", [asyncio.Task, asyncio.tasks._PyTask], ids=["c", "python"]
)
def test_a_cancel_comes_at_the_next_wait(task_type):
    async def main():
        peer = Peer()
        loop = asyncio.get_running_loop()
        task = task_type(leave_and_wait(peer), loop=loop)
        await peer.leaving.wait()
        task.cancel("enough")
        with pytest.raises(asyncio.CancelledError, match="enough"):
            await task
        assert task.cancelled() and task.cancelling() == 1

    asyncio.run(main())


def test_a_cancel_comes_to_the_next_call():
    async def main():
        peer = Peer()

        @tworoutine
        async def wait():
            await asyncio.sleep(60)

        async def leave_and_call():
            leave_early(peer)
            wait()

        task = asyncio.create_task(leave_and_call())
        await peer.leaving.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())


def test_a_timeout_ends_what_it_is_around():
    async def main():
        peer = Peer()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await leave_and_wait(peer)
        assert asyncio.current_task().cancelling() == 0
        await asyncio.sleep(0)  # and nothing else

    asyncio.run(main())


def test_a_group_ends_all_its_tasks():
    async def main():
        peer = Peer()

        async def fail():
            await peer.leaving.wait()
            raise ValueError("the other one")

        with pytest.raises(ExceptionGroup) as caught:
            async with asyncio.TaskGroup() as group:
                group.create_task(leave_and_wait(peer))
                group.create_task(fail())
        assert [str(exc) for exc in caught.value.exceptions] == [
            "the other one"
        ]

    asyncio.run(main())


def test_a_cancel_in_a_portal():
    uvloop = pytest.importorskip("uvloop")

    async def main():
        peer = Peer()
        task = asyncio.create_task(leave_and_wait(peer))
        await peer.leaving.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(portal(main)())


def test_a_cancel_of_trio():
    trio = pytest.importorskip("trio")
    passed = []

    @tworoutine
    async def messages():
        try:
            yield 1
        finally:
            await trio.sleep(60)

    async def main():
        with trio.move_on_after(0.01) as scope:
            for _ in messages():
                break
            passed.append("break")
            await trio.sleep(60)
        assert scope.cancelled_caught

    trio.run(portal(main))
    assert passed == ["break"]


@pytest.mark.parametrize("signal", ["SIGINT", "SIGUSR1"])
def test_a_signal_without_a_loop_is_raised_thereafter(program, signal):
    program(
        """
import asyncio, os, signal, sys, threading, time
from tworoutine import tworoutine

class Limit(Exception):
    pass

def limit(signum, frame):
    raise Limit

signal.signal(signal.SIGUSR1, limit)
number = signal.Signals[sys.argv[1]]
wanted = {"SIGINT": KeyboardInterrupt, "SIGUSR1": Limit}[sys.argv[1]]
polls = threading.Event()

def send():
    polls.wait()
    time.sleep(0.05)  # into the selector: one that comes just before is late
    signal.pthread_kill(threading.main_thread().ident, number)

@tworoutine
async def messages():
    try:
        yield 1
    finally:
        loop = asyncio.get_running_loop()
        poll = loop._selector.select
        def select(timeout=None):
            if timeout is None or timeout > 1:
                polls.set()
            return poll(timeout)
        loop._selector.select = select
        try:
            await asyncio.sleep(60)
        finally:
            del loop._selector.select

@tworoutine
async def tick():
    await asyncio.sleep(0)
    return "tick"

threading.Thread(target=send).start()
try:
    for _ in messages():
        break
    while True:
        pass
except wanted:
    assert tick() == "tick"
""",
        signal,
    )


def test_a_cancel_in_a_callback_is_nobodys():
    """That of all tasks, as the loop ends: no task of anybody's is left."""
    seen = []

    async def main():
        peer = Peer()
        asyncio.get_running_loop().call_soon(leave_early, peer)
        await peer.leaving.wait()

    hook, sys.unraisablehook = sys.unraisablehook, seen.append
    try:
        asyncio.run(main())
    finally:
        sys.unraisablehook = hook
    assert seen == []


def test_a_cleanup_that_fails_is_reported():
    seen = []

    @tworoutine
    async def careless():
        try:
            yield 1
        finally:
            await asyncio.sleep(0)
            raise ValueError("cleanup")

    async def main():
        for _ in careless():
            break
        await asyncio.sleep(0)
        return "went on"

    hook, sys.unraisablehook = sys.unraisablehook, seen.append
    try:
        assert asyncio.run(main()) == "went on"
    finally:
        sys.unraisablehook = hook
    assert [str(it.exc_value) for it in seen] == ["cleanup"]
