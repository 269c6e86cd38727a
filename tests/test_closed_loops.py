"""Calls that still wait when their loop has been closed, or their thread ends.

A task that awaits in such a loop is collected, and its coroutine closed.
"""

import asyncio
import contextvars
import gc
import os
import sys
import threading
import weakref

import pytest

from tworoutine import CannotSuspend, await_, tworoutine

var = contextvars.ContextVar("var")


@tworoutine
async def nap(seconds=0.001):
    await asyncio.sleep(seconds)
    return seconds


@tworoutine
async def waits_for(event, log):
    try:
        await event.wait()
    except GeneratorExit:
        log.append("exit")
        raise
    finally:
        log.append("inner")


class Thing:
    pass


def leave_behind(log, count=1, *, background=None, first=True):
    """A loop that has been closed in the middle of calls in its tasks."""
    loop = asyncio.new_event_loop()
    event = asyncio.Event()

    async def blocked(number):
        thing = Thing()
        things.append(weakref.ref(thing))
        var.set(number)
        try:
            waits_for(event, log)
        finally:
            log.append(f"outer {number} {var.get()}")

    async def main():
        if first:
            nap(0)  # or the native greenlet is below a call that waits
        tasks = [
            asyncio.create_task((background or blocked)(number))
            for number in range(count)
        ]
        things.extend(map(weakref.ref, tasks))
        await asyncio.sleep(0.001)

    things = [weakref.ref(loop)]
    loop.run_until_complete(main())
    loop.close()
    return things


def destroyed(errors, count):
    """Take these out of the errors."""
    told = [e for e in errors if "was destroyed but it is pending" in e]
    assert len(told) == count, errors
    for error in told:
        errors.remove(error)


def alive(things):
    gc.collect()
    return [thing() for thing in things if thing() is not None]


def call_in_the_kept_loop():
    nap(0)


def call_in_a_loop():
    async def main():
        nap()

    asyncio.run(main())


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("next_", [call_in_the_kept_loop, call_in_a_loop])
def test_they_end_when_another_loop_runs(next_, count, asyncio_errors):
    log = []
    things = leave_behind(log, count)
    assert log == []
    next_()
    assert log == [
        line
        for number in reversed(range(count))
        for line in ("exit", "inner", f"outer {number} {number}")
    ]
    destroyed(asyncio_errors, count)
    next_()  # what the first one drove with is free
    assert alive(things) == []


def test_again_and_again(asyncio_errors):
    log, things = [], []
    for _ in range(200):
        things += leave_behind(log, 2)
    nap()
    destroyed(asyncio_errors, 400)
    assert log.count("inner") == 400
    assert alive(things) == []


def test_calls_in_other_loops_go_on(asyncio_errors):
    """Even in one that is not closed, and runs again."""
    log = []
    other = asyncio.new_event_loop()
    event = asyncio.Event()

    async def blocked():
        waits_for(event, log)
        return "done"

    async def begin():
        nap(0)
        task = asyncio.create_task(blocked())
        await asyncio.sleep(0.001)
        return task

    async def end(task):
        event.set()
        return await task

    task = other.run_until_complete(begin())
    leave_behind(log)
    nap()
    assert log == ["exit", "inner", "outer 0 0"]
    destroyed(asyncio_errors, 1)
    assert other.run_until_complete(end(task)) == "done"
    other.close()


def test_one_that_makes_calls_as_it_ends(asyncio_errors):
    log = []

    async def blocked(number):
        try:
            await_(asyncio.Event().wait())
        finally:
            with pytest.raises(CannotSuspend):
                nap()
            log.append("refused")

    leave_behind(log, background=blocked)
    nap()
    assert log == ["refused"]
    call_in_a_loop()
    destroyed(asyncio_errors, 1)


def end_in_a_later_loop(leave):
    leave()
    nap()


def end_with_its_thread(leave):
    thread = threading.Thread(target=leave)
    thread.start()
    thread.join()


@pytest.mark.parametrize("end", [end_in_a_later_loop, end_with_its_thread])
@pytest.mark.parametrize("awaited", [False, True])
def test_what_its_cleanup_is_told(end, awaited, asyncio_errors):
    """The same, wherever it ends."""
    told = []

    async def blocked(number):
        try:
            await_(asyncio.Event().wait())
        finally:
            try:
                await_(asyncio.sleep(0)) if awaited else nap()
            except CannotSuspend as exc:
                told.append(str(exc))

    end(lambda: leave_behind([], background=blocked))
    name, form = repr(nap), "await its ~ form instead"
    if awaited:
        name, form = "await_()", "use await instead"
    assert told == [
        f"{name} cannot wait here: the loop has been closed meanwhile; {form}"
    ]
    destroyed(asyncio_errors, 1)


def test_one_that_goes_on_awaiting(asyncio_errors):
    """As with coroutine.close()."""
    log = []

    @tworoutine
    async def stubborn():
        for _ in range(2):
            try:
                await asyncio.Event().wait()
            except GeneratorExit:
                log.append("ignored")

    async def blocked(number):
        try:
            stubborn()
        except RuntimeError as exc:
            log.append(str(exc))

    leave_behind(log, background=blocked)
    nap()
    assert "coroutine ignored GeneratorExit" in log
    destroyed(asyncio_errors, 1)
    assert nap() == 0.001


def test_one_that_calls_again_whatever_happens(asyncio_errors, monkeypatch):
    """It is given up, as a coroutine that ignores GeneratorExit is."""
    rounds, caught = [], []
    monkeypatch.setattr(sys, "unraisablehook", caught.append)

    async def blocked(number):
        while True:
            try:
                waits_for(asyncio.Event(), [])
            except:  # noqa: E722
                rounds.append(number)

    for _ in range(3):
        leave_behind([], 2, background=blocked)
    nap()
    destroyed(asyncio_errors, 6)
    assert [str(args.exc_value) for args in caught] == [
        "coroutine ignored GeneratorExit"
    ] * 6
    assert rounds.count(0) == rounds.count(1) < 1000
    caught.clear()
    assert nap() == 0.001
    call_in_a_loop()


def test_one_that_fails_as_it_ends(asyncio_errors):
    async def blocked(number):
        try:
            await_(asyncio.Event().wait())
        finally:
            raise ValueError("as it ended")

    leave_behind([], background=blocked)
    nap()
    destroyed(asyncio_errors, 1)
    nap()
    gc.collect()
    assert any("as it ended" in error for error in asyncio_errors)
    asyncio_errors.clear()


def test_one_with_callbacks(asyncio_errors):
    """They cannot be queued in a closed loop."""

    async def group(number):
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(one())

    async def one():
        await_(asyncio.Event().wait())

    leave_behind([], background=group)
    nap()
    nap()
    gc.collect()
    destroyed(asyncio_errors, 2)  # the group's task, too: it awaits


def test_one_in_a_plain_callback(asyncio_errors):
    log = []

    def callback():
        try:
            await_(asyncio.Event().wait())
        finally:
            log.append("callback")

    async def main():
        nap(0)
        asyncio.get_running_loop().call_soon(callback)
        await asyncio.sleep(0.001)

    loop = asyncio.new_event_loop()
    loop.run_until_complete(main())
    loop.close()
    nap()
    nap()
    gc.collect()
    assert log == ["callback"]
    destroyed(asyncio_errors, 1)
    assert all("GeneratorExit" in error for error in asyncio_errors)
    asyncio_errors.clear()


@pytest.mark.skipif(
    sys.version_info < (3, 14), reason="no task of each kind at a time"
)
def test_a_task_in_python_above_one_in_c(asyncio_errors):
    """Both are current; both are left, ended, and kept by nobody."""
    kinds = [type("C", (asyncio.Task,), {})]
    kinds.append(type("Python", (asyncio.tasks._PyTask,), {}))
    log, tasks = [], []

    async def above():
        waits_for(asyncio.Event(), log)

    async def below():
        loop = asyncio.get_running_loop()
        task = kinds[1](above(), loop=loop)
        loop._ready.pop()
        tasks.extend(map(weakref.ref, [task, asyncio.current_task()]))
        task._Task__step()  # as nest_asyncio does
        log.append("stepped")

    async def main():
        nap(0)
        await asyncio.sleep(0.001)

    loop = asyncio.new_event_loop()
    loop.run_until_complete(main())
    kinds[0](below(), loop=loop)
    loop.run_until_complete(asyncio.sleep(0.001))
    loop.close()
    assert not log
    nap()
    nap()
    gc.collect()
    assert log == ["exit", "inner", "stepped"]
    assert [task() for task in tasks] == [None, None]
    asyncio_errors.clear()


@pytest.mark.skipif(
    sys.version_info >= (3, 14),
    reason="asyncio of 3.14 steps no task below another one",
)
def test_a_loop_that_runs_when_asked_whether_it_is_closed():
    class Loop(asyncio.SelectorEventLoop):
        asked = True

        def is_closed(self):
            if not self.asked:
                self.asked = True
                running = asyncio._get_running_loop()
                asyncio._set_running_loop(None)
                event.set()
                self.run_until_complete(asyncio.sleep(0.001))
                asyncio._set_running_loop(running)
                return True
            return super().is_closed()

    log = []
    event = asyncio.Event()
    loop = Loop()

    async def blocked():
        waits_for(event, log)
        log.append("went on")

    async def main():
        nap(0)
        loop.task = asyncio.create_task(blocked())
        await asyncio.sleep(0.001)

    loop.run_until_complete(main())
    loop.asked = False
    call_in_a_loop()
    assert log == ["inner", "went on"]
    loop.close()


def test_at_the_end_of_a_thread(asyncio_errors):
    log, things = [], []

    def run():
        things.extend(leave_behind(log, 2))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert log == ["exit", "inner", "outer 1 1", "exit", "inner", "outer 0 0"]
    destroyed(asyncio_errors, 2)
    assert alive(things) == []
    # Logging asks for the thread, which registers it again.
    assert thread.ident not in threading._active


def test_at_the_end_of_a_thread_in_the_step_that_stopped_its_loop(
    asyncio_errors,
):
    log = []

    async def blocked():
        try:
            nap(60)
        finally:
            log.append("finally")

    async def main(loop):
        loop.task = asyncio.create_task(blocked())
        nap()  # the first call: its stack is that of run_forever
        loop.stop()

    def run():
        loop = asyncio.new_event_loop()
        task = loop.create_task(main(loop))
        loop.run_forever()
        assert task.done()
        loop.close()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert log == ["finally"]
    gc.collect()  # the loop holds the task
    destroyed(asyncio_errors, 1)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="fork is not here")
def test_a_fork_as_they_end(program):
    assert (
        program("""
import asyncio, os
from tworoutine import tworoutine

@tworoutine
async def nap():
    await asyncio.sleep(0.001)

@tworoutine
async def forks():
    try:
        await asyncio.Event().wait()
    finally:
        pids.append(os.fork())

async def background():
    forks()

async def main():
    nap()
    loop.task = asyncio.create_task(background())
    await asyncio.sleep(0.001)

pids = []
loop = asyncio.new_event_loop()
loop.set_exception_handler(lambda loop, context: None)
loop.run_until_complete(main())
loop.close()
try:
    nap()
except RuntimeError as exc:
    assert "the process was forked" in str(exc)
    os._exit(7)
assert pids != [0]
_, status = os.waitpid(pids[0], 0)
print(os.waitstatus_to_exitcode(status))
""")
        == "7\n"
    )


@pytest.mark.parametrize("made_in", ["callback", "task"])
def test_what_a_call_waits_for_ends_before_its_caller(made_in, asyncio_errors):
    log = []

    @tworoutine
    async def inner():
        try:
            await asyncio.Event().wait()
        finally:
            log.append("inner")

    def outer():
        try:
            inner()
        finally:
            log.append("outer")

    async def task():
        outer()

    async def main():
        nap()
        loop = asyncio.get_running_loop()
        if made_in == "task":
            loop.task = loop.create_task(task())
        else:
            loop.call_soon(outer)
        await asyncio.sleep(0.001)

    def target():
        loop = asyncio.new_event_loop()
        loop.set_exception_handler(lambda loop, context: None)
        loop.run_until_complete(main())
        loop.close()

    thread = threading.Thread(target=target)
    thread.start()
    thread.join()
    gc.collect()
    assert log == ["inner", "outer"]
    asyncio_errors.clear()  # Task was destroyed but it is pending!


def test_a_loop_that_its_exception_handler_runs_at_the_end_of_a_thread(
    asyncio_errors,
):
    log = []

    def handler(loop, context):
        loop.set_exception_handler(None)
        loop.call_soon(call)
        loop.run_until_complete(again())

    def call():
        with pytest.raises(RuntimeError, match="ignored GeneratorExit"):
            nap()
        log.append("refused")

    async def again():
        call()
        await asyncio.sleep(0.001)

    async def blocked():
        try:
            waits_for(asyncio.Event(), log)
        finally:
            raise ValueError("at its end")

    async def main():
        nap(0)
        loop.task = asyncio.create_task(blocked())
        await asyncio.sleep(0.001)

    loop = asyncio.new_event_loop()
    loop.set_exception_handler(handler)
    thread = threading.Thread(target=loop.run_until_complete, args=[main()])
    thread.start()
    thread.join()
    assert log == ["exit", "inner", "refused", "refused"]
    loop.close()
    loop.task = None
    destroyed(asyncio_errors, 1)


def test_at_the_end_of_the_interpreter(program):
    out = program("""
import asyncio
from tworoutine import await_

async def blocked():
    try:
        await_(asyncio.Event().wait())
    finally:
        print("finally")

async def main():
    await_(asyncio.sleep(0))
    loop.task = asyncio.create_task(blocked())
    await asyncio.sleep(0.001)

loop = asyncio.new_event_loop()
loop.set_exception_handler(lambda loop, context: print(context["message"]))
loop.run_until_complete(main())
loop.close()
print("end")
""")
    assert out == "end\nfinally\nTask was destroyed but it is pending!\n"


def test_a_task_that_is_held_has_not_been_dropped(asyncio_errors):
    """Nobody is told that it was, until it is."""
    log = []
    (_, *tasks) = leave_behind(log, 2, background=None)
    held = [task() for task in tasks if isinstance(task(), asyncio.Task)]
    nap()
    assert log.count("inner") == 2
    assert asyncio_errors == []
    del held[0]
    destroyed(asyncio_errors, 1)
    assert held[0].done()
    held.clear()
    destroyed(asyncio_errors, 1)


def test_an_error_at_the_end_of_the_interpreter_is_told_of_in_time(program):
    """When what is left is dropped, it is too late to print a traceback."""
    out = program("""
import asyncio, logging, sys
from tworoutine import CannotSuspend, await_

logging.basicConfig(stream=sys.stdout, format="%(message)s")

async def blocked():
    try:
        await_(asyncio.Event().wait())
    finally:
        await_(asyncio.sleep(0))

async def main():
    global task
    await_(asyncio.sleep(0))
    task = asyncio.create_task(blocked())
    await asyncio.sleep(0.001)

loop = asyncio.new_event_loop()
loop.run_until_complete(main())
loop.close()
print("end")
""")
    assert out.startswith("end\nTask exception was never retrieved\n")
    assert "in blocked\n    await_(asyncio.sleep(0))\n" in out
    assert "\nTask was destroyed but it is pending!\n" in out
