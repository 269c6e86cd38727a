"""Waiting for what is no coroutine: in the task, and without a frame."""

import asyncio
import contextlib
import gc
import inspect
import os
import sys
import traceback
import types
import weakref

import pytest

import tworoutine as package
from tworoutine import await_, tworoutine
from tworoutine._core import Awaiting

OURS = os.path.dirname(package.__file__)


class Failure(Exception):
    pass


async def fails():
    await asyncio.sleep(0)
    raise Failure


class Generator:
    """An awaitable whose __await__ is a generator."""

    def __await__(self):
        yield from asyncio.sleep(0).__await__()
        raise Failure


class Asks:
    """One whose __await__ looks for the running loop, and the task."""

    def __await__(self):
        self.task = asyncio.current_task()
        future = asyncio.get_running_loop().create_future()
        future.get_loop().call_soon(future.set_result, self)
        return future.__await__()


class Items:
    def __aiter__(self):
        return self

    async def __anext__(self):
        raise Failure


@tworoutine
async def generator():
    await asyncio.sleep(0)
    yield 1
    raise Failure


@types.coroutine
def old_style():
    yield from asyncio.sleep(0).__await__()
    raise Failure


def in_future():
    async def set_exception():
        future = asyncio.get_running_loop().create_future()
        future.set_exception(Failure())
        return future

    return await_(set_exception())


def in_task():
    async def begin():
        return asyncio.create_task(fails())

    return await_(begin())


CALLS = {
    "coroutine": lambda: await_(fails()),
    "object": lambda: await_(Generator()),
    "future": lambda: await_(in_future()),
    "task": lambda: await_(in_task()),
    "generator coroutine": lambda: await_(old_style()),
    "async generator": lambda: list(generator()),
    "async iterator": lambda: list(tworoutine(Items)()),
    "function": lambda: tworoutine(lambda: fails())(),
    "function of an object": lambda: tworoutine(lambda: Generator())(),
    "keywords": lambda: tworoutine(lambda *, x: x())(x=fails),
}


@pytest.mark.parametrize("call", CALLS)
def test_no_frame_of_ours_is_in_a_traceback(place, call):
    def frames():
        with pytest.raises(Failure) as caught:
            CALLS[call]()
        return traceback.extract_tb(caught.value.__traceback__)

    files = [frame.filename for frame in place(frames)]
    assert __file__ in files
    assert [name for name in files if name.startswith(OURS)] == []


def test_the_items_of_a_fan_out_have_none_either():
    with pytest.raises(ExceptionGroup) as caught:
        tworoutine(lambda item: Generator()).map([1])
    frames = traceback.extract_tb(caught.value.exceptions[0].__traceback__)
    assert [frame.name for frame in frames] == ["__await__"]


def test_await_is_called_in_the_task_and_its_loop(place):
    def call():
        waited = await_(Asks())
        assert waited.task is not None
        return tworoutine(Asks)().task is not None

    assert place(call)


def test_a_task_made_inside_is_that_of_the_whole_wait(place):
    class Twice:
        def __await__(self):
            first = asyncio.current_task()

            async def later():
                await asyncio.sleep(0)
                return first is asyncio.current_task()

            return later().__await__()

    assert place(lambda: await_(Twice()))


def test_a_function_called_in_the_loop_has_its_arguments_named():
    def function(x):
        raise AssertionError

    function.__qualname__ = "reader.aio"
    with pytest.raises(TypeError, match=r"^reader\(\) missing 1 required"):
        tworoutine(function)()


def test_stop_iteration_is_no_result(place):
    class Stops:
        def __await__(self):
            raise StopIteration(5)

    def call():
        with pytest.raises(RuntimeError) as caught:
            await_(Stops())
        return caught.value

    if place.name not in ("no-loop", "callback"):
        return  # __await__ is called by the call itself there
    error = place(call)
    assert str(error) == "coroutine raised StopIteration"
    assert error.__cause__.value == 5


# --- the coroutine that stands for it ---------------------------------------


class Steps:
    """Notes what is asked of its iterator."""

    def __init__(self):
        self.seen = []

    def __await__(self):
        while True:
            try:
                self.seen.append((yield len(self.seen)))
            except Failure as exc:
                self.seen.append(exc)


def state_of(coro):
    return inspect.getcoroutinestate(coro)


def test_it_passes_on_what_it_is_asked():
    steps = Steps()
    coro = Awaiting(steps)
    assert asyncio.iscoroutine(coro)
    assert state_of(coro) in (inspect.CORO_CREATED, inspect.CORO_CLOSED)
    with pytest.raises(TypeError, match="just-started"):
        coro.send(1)
    assert coro.send(None) == 0
    assert state_of(coro) == inspect.CORO_SUSPENDED
    assert coro.cr_frame.f_code is Steps.__await__.__code__ is coro.cr_code
    failure = Failure()
    assert (coro.send("sent"), coro.throw(failure)) == (1, 2)
    assert steps.seen == ["sent", failure]
    coro.close()
    assert state_of(coro) == inspect.CORO_CLOSED
    with pytest.raises(RuntimeError, match="already awaited"):
        coro.send(None)
    coro.close()


def test_what_was_not_begun_ends_without_having_run():
    for end in (Awaiting.close, lambda coro: coro.throw(Failure)):
        steps = Steps()
        coro = Awaiting(steps)
        with contextlib.suppress(Failure):
            end(coro)
        assert state_of(coro) == inspect.CORO_CLOSED
        assert steps.seen == []


def test_it_cannot_be_entered_twice():
    class Again:
        def __await__(self):
            with pytest.raises(ValueError, match="already executing"):
                coro.send(None)
            with pytest.raises(ValueError, match="already executing"):
                coro.close()
            yield state_of(coro)

    coro = Awaiting(Again())
    assert coro.send(None) == inspect.CORO_RUNNING
    coro.close()


def test_the_collector_finds_it():
    steps = Steps()
    steps.coro = coro = Awaiting(steps)
    coro.send(None)
    gone = weakref.ref(coro)
    del steps, coro
    gc.collect()
    assert gone() is None


class Shown:
    """Shows the task that waits for it."""

    def __init__(self, show):
        self.show = show

    def __await__(self):
        yield from asyncio.sleep(0).__await__()
        return self.show(asyncio.current_task())


def test_the_task_is_shown_by_what_runs_inside():
    shown = await_(Shown(repr))
    assert "coro=<Shown.__await__() running at " in shown
    (frame,) = await_(Shown(lambda task: task.get_stack(limit=1)))
    assert frame.f_code.co_name in ("__await__", "<lambda>")

    class Future:  # no code, no frame
        def __await__(self):
            loop = asyncio.get_running_loop()
            future = loop.create_future()
            show = asyncio.current_task().__repr__
            loop.call_soon(lambda: future.set_result(show()))
            return future.__await__()

    assert "coro=<Future()" in await_(Future())


@pytest.mark.skipif(
    sys.version_info < (3, 14), reason="no call graphs before 3.14"
)
def test_the_call_graph_shows_what_runs_inside():
    graph = await_(Shown(asyncio.format_call_graph))
    assert "Shown.__await__" in graph
