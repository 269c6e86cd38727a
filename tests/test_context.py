"""The same task, the same Context, the same exceptions: nobody can tell."""

import asyncio
import contextvars
import sys
import traceback

import pytest

from tworoutine import tworoutine

var = contextvars.ContextVar("var", default="unset")


@tworoutine
async def pause():
    await asyncio.sleep(0)


@tworoutine
async def set_var(value):
    await asyncio.sleep(0)
    token = var.set(value)
    await asyncio.sleep(0)
    return token


def test_same_task_and_same_context():
    @tworoutine
    async def look():
        await asyncio.sleep(0)
        return asyncio.current_task()

    async def main():
        assert look() is asyncio.current_task()

    asyncio.run(main())


def test_values_pass_both_ways_and_a_token_resets(place):
    def calls():
        var.set("outside")
        token = set_var("inside")
        assert var.get() == "inside"
        pause()
        var.reset(token)
        return var.get()

    assert contextvars.copy_context().run(place, calls) == "outside"


def test_without_a_loop_it_is_the_callers_own_context():
    context = contextvars.copy_context()
    context.run(set_var, "kept")
    assert context[var] == "kept"
    assert var.get() == "unset"


def test_a_callback_in_the_waiting_tasks_context_runs():
    """As in a Jupyter kernel, which runs all its cells in one Context."""
    seen = []

    async def main():
        loop = asyncio.get_running_loop()
        context = contextvars.copy_context()
        event = asyncio.Event()

        @tworoutine
        async def wait():
            await event.wait()

        async def waits(name):
            wait()
            seen.append(name)

        def callback():
            seen.append("callback")
            event.set()

        tasks = [
            loop.create_task(waits(name), context=context) for name in "ab"
        ]
        loop.call_soon(callback, context=context)
        await asyncio.gather(*tasks)

    asyncio.run(main())
    assert seen == ["callback", "a", "b"]


def test_nested_contexts_are_left_and_entered_in_order():
    async def main():
        outer, inner = contextvars.copy_context(), contextvars.copy_context()

        def inside():
            var.set("inner")
            pause()
            return var.get()

        def outside():
            var.set("outer")
            assert inner.run(inside) == "inner"
            return var.get()

        assert outer.run(outside) == "outer"
        assert var.get() == "unset"

    asyncio.run(main())


@pytest.mark.parametrize("suspends", [False, True])
def test_the_same_exception_object_with_nothing_added(place, suspends):
    error = ValueError("mine")

    @tworoutine
    async def fails():
        if suspends:
            await asyncio.sleep(0)
        raise error

    def calls():
        try:
            fails()
        except ValueError as caught:
            assert caught is error
            assert caught.__context__ is None
            assert caught.__cause__ is None
            return [
                frame.name
                for frame in traceback.extract_tb(caught.__traceback__)
            ]

    assert place(calls) == ["calls", "fails"]


def test_an_exception_of_a_future_keeps_its_context(place):
    error = OSError("of the future")

    @tworoutine
    async def fails():
        future = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(future.set_exception, error)
        await future

    def calls():
        with pytest.raises(OSError) as caught:
            fails()
        assert caught.value is error
        assert caught.value.__context__ is None

    place(calls)


def test_the_handled_exception_of_the_caller_is_the_context(place):
    """As for any function that raises while its caller handles another."""

    @tworoutine
    async def fails():
        await asyncio.sleep(0)
        raise ValueError("new")

    def calls():
        try:
            raise KeyError("old")
        except KeyError as old:
            with pytest.raises(ValueError) as caught:
                fails()
            assert caught.value.__context__ is old

    place(calls)


def test_the_stack_inside_shows_the_synchronous_caller(place):
    @tworoutine
    async def look():
        await asyncio.sleep(0)
        return [frame.name for frame in traceback.extract_stack()]

    def the_caller():
        return look()

    names = place(the_caller)
    assert names[-1] == "look"
    assert "the_caller" in names
    assert not [n for n in names[names.index("the_caller") :] if "twr" in n]


def test_trace_and_profile_functions_see_every_line():
    lines, calls = [], []

    @tworoutine
    async def traced():
        await asyncio.sleep(0)
        return 1

    code = (~traced).__code__

    def trace(frame, event, arg):
        if frame.f_code is code and event == "line":
            lines.append(frame.f_lineno - code.co_firstlineno)
        return trace

    def profile(frame, event, arg):
        if frame.f_code is code and event == "call":
            calls.append(event)

    async def main():
        old = sys.gettrace()
        sys.settrace(trace)
        sys.setprofile(profile)
        try:
            traced()
        finally:
            sys.settrace(old)
            sys.setprofile(None)

    asyncio.run(main())
    assert lines == [2, 3]
    assert calls == ["call"] * 2  # begun and resumed


def test_no_code_of_ours_is_traced(place):
    files = set()

    def trace(frame, event, arg):
        files.add(frame.f_code.co_filename)
        return trace

    def calls():
        old = sys.gettrace()
        sys.settrace(trace)
        sys.setprofile(trace)
        try:
            pause()
        finally:
            sys.settrace(old)
            sys.setprofile(None)

    place(calls)
    assert __file__ in files
    assert not [file for file in files if "tworoutine>" in file]


def test_awaitables_that_yield_nonsense_get_the_errors_of_a_task(place):
    class Bad:
        def __init__(self, value):
            self.value = value

        def __await__(self):
            yield self.value

    @tworoutine
    async def waits(value):
        await Bad(value)

    def calls():
        with pytest.raises(RuntimeError, match="bad yield: 3"):
            waits(3)
        with pytest.raises(RuntimeError, match="yield was used instead"):
            waits(number for number in [1])

        @tworoutine
        async def raw():
            await Bad(asyncio.get_running_loop().create_future())

        with pytest.raises(RuntimeError, match="yield was used instead"):
            raw()

        @tworoutine
        async def itself():
            await asyncio.current_task()

        with pytest.raises(RuntimeError, match="cannot await on itself"):
            itself()
        return pause()

    assert place(calls) is None
