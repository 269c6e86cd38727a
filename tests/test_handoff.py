"""Calls in a running loop: the loop goes on, and each ends at its own time."""

import asyncio
import functools
import re
import sys
import time

import pytest

from oracle import VirtualLoop
from tworoutine import CannotSuspend, await_, tworoutine


@tworoutine
async def sleep(seconds):
    await asyncio.sleep(seconds)
    return seconds


@tworoutine
async def wait(event):
    await event.wait()


@pytest.mark.parametrize("above", range(4))
def test_at_the_limit_no_coroutine_is_left_that_was_never_awaited(
    place, above, monkeypatch
):
    """It takes a call to close one: which step hits the limit depends on how
    deep the first call stands."""
    caught = []
    # pytest's own has no room for its work there.
    monkeypatch.setattr(sys, "unraisablehook", caught.append)

    @tworoutine
    async def down():
        return down()

    def go_down(count):
        return go_down(count - 1) if count else down()

    def limited():
        limit = sys.getrecursionlimit()
        sys.setrecursionlimit(400)
        try:
            with pytest.raises(RecursionError):
                go_down(above)
        finally:
            sys.setrecursionlimit(limit)

    place(limited)
    assert [str(args.exc_value) for args in caught] == []


def test_a_thousand_tasks_with_two_calls_each_end_at_their_own_time():
    async def one(number):
        first, second = number % 5, number % 7
        assert sleep(first) == first
        assert sleep(second) == second
        ended = asyncio.get_running_loop().time()
        assert ended == pytest.approx(first + second, abs=1e-6)
        return number

    async def main():
        return await asyncio.gather(*map(one, range(1000)))

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        assert runner.run(main()) == list(range(1000))


def test_calls_return_in_the_order_in_which_what_they_wait_for_is_done():
    order = []

    async def waiter(number, events):
        wait(events[number])
        order.append(number)

    async def main():
        events = [asyncio.Event() for _ in range(5)]
        tasks = [
            asyncio.create_task(waiter(number, events)) for number in range(5)
        ]
        await asyncio.sleep(0)
        for number in [2, 0, 4, 1, 3]:
            events[number].set()
            await asyncio.sleep(0)
        await asyncio.gather(*tasks)

    asyncio.run(main())
    assert order == [2, 0, 4, 1, 3]


def test_two_blocked_calls_that_need_each_other_both_end():
    async def main():
        here, there = asyncio.Event(), asyncio.Event()

        async def one():
            there.set()
            wait(here)

        async def other():
            wait(there)
            here.set()

        await asyncio.wait_for(asyncio.gather(one(), other()), 5)

    asyncio.run(main())


def test_run_returns_at_once_while_another_task_is_blocked():
    ended = []

    async def blocked(event):
        try:
            wait(event)
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise
        finally:
            ended.append("finally")

    async def main(first):
        event = asyncio.Event()
        if first:
            sleep(0)  # so that the blocked call is not the first of the run
        task = asyncio.create_task(blocked(event))
        await asyncio.sleep(0)
        assert not task.done()

    for first in [True, False]:
        asyncio.run(asyncio.wait_for(main(first), 5))
        assert ended == ["cancelled", "finally"]
        ended.clear()


def test_a_daemon_that_calls_for_ever_does_not_keep_run_from_returning():
    async def daemon(turns):
        while True:
            sleep(0)
            turns.append(1)

    async def main():
        turns = []
        task = asyncio.create_task(daemon(turns))
        while len(turns) < 10:
            await asyncio.sleep(0)
        return task

    task = asyncio.run(asyncio.wait_for(main(), 5))
    assert task.cancelled()


def test_ten_thousand_calls_blocked_at_once():
    async def main():
        event = asyncio.Event()
        blocked = 0

        async def one():
            nonlocal blocked
            blocked += 1
            wait(event)
            return 1

        tasks = [asyncio.create_task(one()) for _ in range(10_000)]
        while blocked < 10_000:
            await asyncio.sleep(0)
        event.set()
        return sum(await asyncio.gather(*tasks))

    assert asyncio.run(main()) == 10_000


def test_depth_is_bounded_by_the_recursion_limit_alone():
    reached = 0

    @tworoutine
    async def deeper():
        nonlocal reached
        reached += 1
        await asyncio.sleep(0)
        return deeper()

    async def main():
        with pytest.raises(RecursionError):
            deeper()
        return sleep(0)

    assert asyncio.run(main()) == 0
    assert reached > 150
    with pytest.raises(RecursionError):
        deeper()
    assert sleep(0) == 0


def test_depth_does_not_grow_with_the_number_of_blocked_calls():
    """Drivers are started from a shallow stack, also if the first call is
    made at the bottom of a deep one."""

    def at_depth(depth, function):
        return at_depth(depth - 1, function) if depth else function()

    async def one(event):
        at_depth(100, lambda: wait(event))
        at_depth(600, lambda: sleep(0))

    async def main():
        event = asyncio.Event()
        at_depth(sys.getrecursionlimit() - 300, lambda: sleep(0))
        tasks = [asyncio.create_task(one(event)) for _ in range(300)]
        await asyncio.sleep(0)
        event.set()
        await asyncio.gather(*tasks)

    asyncio.run(main())


def test_a_callback_may_wait_and_callbacks_overlap():
    async def main():
        loop = asyncio.get_running_loop()
        events = {n: asyncio.Event() for n in (1, 2, 3)}
        begun, order = [], []

        @tworoutine
        async def waits(n):
            begun.append(n)
            await events[n].wait()
            return n

        for n in (3, 2, 1):
            loop.call_soon(lambda n=n: order.append(waits(n)))
        while len(begun) < 3:
            await asyncio.sleep(0)
        for n in (1, 2, 3):
            events[n].set()
            while len(order) < n:
                await asyncio.sleep(0)
        return begun, order

    assert asyncio.run(main()) == ([3, 2, 1], [1, 2, 3])


def test_all_kinds_of_callbacks():
    import os
    import signal
    import socket

    async def main():
        loop = asyncio.get_running_loop()
        ended = asyncio.Queue()

        def callback(name):
            sleep(0.001)
            ended.put_nowait(name)

        left, right = socket.socketpair()
        left.send(b"x")

        def readable():
            right.recv(1)
            callback("reader")

        loop.add_reader(right, readable)
        loop.call_later(0.001, callback, "timer")
        loop.call_soon_threadsafe(callback, "threadsafe")
        loop.add_signal_handler(signal.SIGUSR1, callback, "signal")
        os.kill(os.getpid(), signal.SIGUSR1)
        task = loop.create_task(asyncio.sleep(0))
        task.add_done_callback(lambda _: callback("done"))
        names = {await asyncio.wait_for(ended.get(), 5) for _ in range(5)}
        loop.remove_signal_handler(signal.SIGUSR1)
        loop.remove_reader(right)
        left.close()
        right.close()
        return names

    assert asyncio.run(main()) == {
        "reader", "timer", "threadsafe", "signal", "done",
    }  # fmt: skip


def test_below_c_frames(place):
    import re
    import sqlite3

    @tworoutine
    async def double(x):
        await asyncio.sleep(0)
        return 2 * x

    class Remote:
        def __getattr__(self, name):
            if name.startswith("__"):
                raise AttributeError(name)
            return sleep(0) or name.upper()

        def __repr__(self):
            return f"<remote {double(2)}>"

        def __iter__(self):
            return map(double, range(3))

    def calls():
        assert sorted([3, 1, 2], key=double) == [1, 2, 3]
        assert list(map(double, [1, 2])) == [2, 4]
        assert re.sub("a", lambda _: double("b"), "xa") == "xbb"
        assert Remote().name == "NAME"
        assert repr(Remote()) == "<remote 4>"
        assert list(Remote()) == [0, 2, 4]
        database = sqlite3.connect(":memory:")
        database.create_function("double", 1, double)
        rows = database.execute("select double(21)").fetchall()
        database.close()
        return rows

    assert place(calls) == [(42,)]


def test_the_loop_can_be_run_again_and_again():
    loop = asyncio.new_event_loop()

    async def background(log):
        for _ in range(6):
            sleep(0)
            log.append(1)

    async def main():
        sleep(0)

    loop.run_until_complete(main())
    log = []
    task = loop.create_task(background(log))
    while not task.done():
        loop.run_until_complete(main())
    loop.close()
    assert len(log) == 6


def test_a_call_parked_when_the_loop_stops_goes_on_when_it_runs_again():
    loop = asyncio.new_event_loop()
    event = asyncio.Event()

    async def background():
        wait(event)
        return "went on"

    async def begin():
        sleep(0)
        task = loop.create_task(background())
        await asyncio.sleep(0)
        return task

    task = loop.run_until_complete(begin())
    assert not task.done()
    event.set()
    assert loop.run_until_complete(task) == "went on"
    loop.close()


def test_stop_from_within_a_call_and_run_again():
    loop = asyncio.new_event_loop()

    @tworoutine
    async def stop():
        loop.stop()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return "after"

    async def main():
        sleep(0)
        await asyncio.sleep(0)  # a call in the first step would be cancelled
        return stop()

    task = loop.create_task(main())
    loop.run_forever()
    assert not task.done()
    assert loop.run_until_complete(task) == "after"
    loop.close()


def test_a_loop_that_cannot_be_driven_is_refused_at_once():
    class Strange(asyncio.SelectorEventLoop):
        def _run_once(self):
            super()._run_once()

    begun = []

    @tworoutine
    async def f():
        begun.append(1)

    async def main():
        with pytest.raises(CannotSuspend, match=r"f\(\.\.\.\).*await its ~"):
            f()
        with pytest.raises(CannotSuspend, match="use await"):
            await_((~f)())
        return "alive"

    with asyncio.Runner(loop_factory=Strange) as runner:
        assert runner.run(main()) == "alive"
    assert not begun


def test_a_patched_run_once_is_noticed(monkeypatch):
    async def main():
        sleep(0)
        loop_type = type(asyncio.get_running_loop())
        run_once = loop_type._run_once
        monkeypatch.setattr(
            loop_type, "_run_once", lambda self: run_once(self)
        )
        with pytest.raises(CannotSuspend):
            sleep(0)
        monkeypatch.undo()
        return sleep(0)

    assert asyncio.run(main()) == 0


@pytest.mark.skipif(
    sys.version_info < (3, 12), reason="no eager tasks before 3.12"
)
def test_eager_tasks():
    async def one():
        me = asyncio.current_task()
        assert sleep(0.001) == 0.001
        assert asyncio.current_task() is me
        await asyncio.sleep(0)
        return me

    async def main():
        me = asyncio.current_task()
        loop = asyncio.get_running_loop()
        loop.set_task_factory(asyncio.eager_task_factory)
        tasks = [loop.create_task(one()) for _ in range(5)]
        assert asyncio.current_task() is me
        assert await asyncio.gather(*tasks) == tasks

    asyncio.run(main())


@pytest.mark.skipif(
    sys.version_info >= (3, 14),
    reason="asyncio.current_task() of 3.14 knows C tasks only",
)
def test_a_python_task_works_like_a_c_one():
    loop = asyncio.new_event_loop()
    loop.set_task_factory(
        lambda loop, coro, **kwargs: asyncio.tasks._PyTask(
            coro, loop=loop, **kwargs
        )
    )

    async def main():
        task = asyncio.current_task()
        assert sleep(0.001) == 0.001
        assert asyncio.current_task() is task
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                sleep(10)
        assert task.cancelling() == 0
        return sleep(0)

    assert loop.run_until_complete(main()) == 0
    loop.close()


def slow(texts, what):
    """How often asyncio says that this is slow; on a busy machine all is."""
    return sum(bool(re.match(f"Executing <{what}", text)) for text in texts)


def test_debug_mode_does_not_take_waiting_for_being_slow(caplog):
    async def main():
        asyncio.get_running_loop().slow_callback_duration = 0.1
        sleep(0.2)
        await asyncio.sleep(0)
        sleep(0.2)
        return asyncio.get_running_loop().slow_callback_duration

    assert asyncio.run(main(), debug=True) == 0.1
    assert not slow(caplog.messages, r"Task \w+ name=\S+ coro=<\S*main\(")
    assert not slow(caplog.messages, "tworoutine")  # what we have queued


def test_debug_mode_still_reports_slow_callbacks(caplog):
    async def works():
        time.sleep(0.03)

    async def main():
        asyncio.get_running_loop().slow_callback_duration = 0.02
        sleep(0)
        await asyncio.create_task(works())

    asyncio.run(main(), debug=True)
    assert slow(caplog.messages, r"Task \w+ name=\S+ coro=<\S*works\(") == 1


def test_debug_mode_reports_slow_callbacks_as_asyncio_would(monkeypatch):
    """By the logger that stands in asyncio.base_events at that time."""

    class Logger:
        def __getattr__(self, name):
            return lambda *args: reports.append((name, args[0] % args[1:]))

    async def main():
        asyncio.get_running_loop().slow_callback_duration = 0.02
        sleep(0)
        asyncio.get_running_loop().call_soon(time.sleep, 0.03)
        await asyncio.sleep(0)

    reports = []
    monkeypatch.setattr("asyncio.base_events.logger", Logger())
    asyncio.run(main(), debug=True)
    warnings = [text for name, text in reports if name == "warning"]
    assert slow(warnings, r"Handle sleep\(") == 1


def test_what_runs_straight_above_a_driver_can_import(program):
    """Also C code without a Python frame of its own, which imports lazily."""
    program(
        """
import asyncio, datetime, functools, gc, socket, sys, time, warnings, weakref
from tworoutine import tworoutine

seen = []
sys.unraisablehook = lambda it: seen.append(repr(it.exc_value))
warnings.simplefilter("always")
warnings.showwarning = lambda message, *rest: seen.append(str(message)[:9])

@tworoutine
async def nap():
    await asyncio.sleep(0.001)

async def never():
    pass

class Object:
    pass

async def main(call):
    loop = asyncio.get_running_loop()
    if call:
        nap(), nap()
    dropped = Object()
    watch = weakref.ref(dropped, lambda _: None)
    parse = functools.partial(datetime.datetime.strptime, "2020", "%Y")
    other = weakref.ref(dropped, functools.partial(
        lambda parse, ref: parse(), parse))
    loop.call_soon(lambda coro: None, never())
    loop.call_soon(lambda sock: None, socket.socket())
    loop.call_soon(lambda gone: None, dropped)
    del dropped
    loop.call_soon(time.strptime, "2020", "%Y")
    for _ in range(3):
        await asyncio.sleep(0.001)
    assert watch() is None
    said, seen[:] = list(seen), []
    return said

awaiting = asyncio.run(main(False))
assert awaiting == ["coroutine", "unclosed "], awaiting
for name in "_strptime", "_pydatetime":
    sys.modules.pop(name, None)
assert asyncio.run(main(True)) == awaiting
""",
        flags=("-X", "dev"),
    )


class Wrapping(asyncio.SelectorEventLoop):
    """Wraps what it is given, as instrumentation and context carriers do."""

    def __init__(self, wrap):
        super().__init__()
        self.wrap = wrap

    def call_soon(self, callback, *args, context=None):
        return super().call_soon(self.wrap(callback), *args, context=context)

    def call_at(self, when, callback, *args, context=None):
        return super().call_at(
            when, self.wrap(callback), *args, context=context
        )


def in_a_function(callback):
    def wrapped(*args):
        return callback(*args)

    return wrapped


@pytest.mark.parametrize("wrap", [functools.partial, in_a_function])
@pytest.mark.parametrize("debug", [False, True])
def test_a_loop_whose_callbacks_are_wrapped(wrap, debug):
    events = []

    @tworoutine
    async def wait(name, event):
        events.append((name, "waits"))
        await event.wait()
        await asyncio.sleep(0)
        events.append((name, "goes on"))
        return name

    async def called(name, event):
        return wait(name, event)

    async def main(function):
        loop = asyncio.get_running_loop()
        event = asyncio.Event()
        tasks = [
            loop.create_task(function(number, event)) for number in range(5)
        ]
        loop.call_soon(lambda: events.append(wait("callback", event)))
        for _ in range(3):
            await asyncio.sleep(0)
        event.set()
        results = await asyncio.gather(*tasks)
        await asyncio.sleep(0.001)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.001):
                await function("slow", asyncio.Event())
        said, events[:] = list(events), []
        return results, said

    def run(function):
        with asyncio.Runner(
            loop_factory=lambda: Wrapping(wrap), debug=debug
        ) as runner:
            return [runner.run(main(function)) for _ in range(2)]

    async def awaited(name, event):
        return await (~wait)(name, event)

    assert run(called) == run(awaited)


# --- who awaits whom ---------------------------------------------------------

needs_graph = pytest.mark.skipif(
    sys.version_info < (3, 14), reason="asyncio keeps this graph from 3.14 on"
)


@pytest.fixture(params=["C", "Python"])
def tasks_of_one_kind(request, monkeypatch):
    """asyncio's two implementations; that in Python is put in place by hand,
    all of it, as where there is none in C."""
    if request.param == "Python":
        for name in (
            "future_add_to_awaited_by",
            "future_discard_from_awaited_by",
        ):
            for module in asyncio, asyncio.futures:
                monkeypatch.setattr(
                    module, name, getattr(asyncio.futures, f"_py_{name}")
                )
        futures, tasks = asyncio.futures._PyFuture, asyncio.tasks._PyTask
    else:
        futures, tasks = asyncio.Future, asyncio.Task

    class Loop(asyncio.SelectorEventLoop):
        def create_future(self):
            return futures(loop=self)

        def create_task(self, coro, **kwargs):
            return tasks(coro, loop=self, **kwargs)

    return Loop


@needs_graph
@pytest.mark.parametrize("way", ["await", "call"])
def test_a_future_knows_the_task_that_waits_for_it(tasks_of_one_kind, way):
    async def wait_for(future):
        return await future if way == "await" else await_(future)

    async def main():
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        waiting = [loop.create_task(wait_for(future)) for _ in range(3)]
        chief = loop.create_task(wait_for(waiting[0]))
        await asyncio.sleep(0)
        assert future._asyncio_awaited_by == set(waiting)
        assert waiting[0]._asyncio_awaited_by == {chief}
        future.set_result(1)
        assert await asyncio.gather(chief, *waiting) == [1] * 4
        assert not future._asyncio_awaited_by
        assert not waiting[0]._asyncio_awaited_by

    with asyncio.Runner(loop_factory=tasks_of_one_kind) as runner:
        runner.run(main())
