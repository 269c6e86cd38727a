"""``f.start(...)``: a call that is begun, and not waited for."""

import asyncio
import contextlib
import inspect
import sys

from tworoutine._core import (
    Awaiting,
    CannotSuspend,
    Portal,
    hidden,
    hide,
    home,
    home_of,
    in_portal,
    show,
    thread_loop,
)
from tworoutine._fan_out_calls import function_of
from tworoutine._names import name_of, name_plainly
from tworoutine._portal import foreign_library, has_factory


def start(f, args, kwargs):
    """``f.start(*args, **kwargs)``."""
    hid = hidden() if asyncio._get_running_loop() is None else None
    if hid is None:
        return _start(f, args, kwargs)
    show()  # the loop of which this is a step, as a call would
    try:
        return _start(f, args, kwargs)
    finally:
        hide(hid)


def _start(f, args, kwargs):
    loop = asyncio._get_running_loop()
    _refuse_others(f, loop)
    if loop is not None:
        coro = _coroutine(f, args, kwargs)
        if in_portal() and not has_factory(loop):
            coro = Portal(coro)
        return _begin(loop, coro)
    gevent = sys.modules.get("tworoutine._gevent")
    running = None if gevent is None else gevent.loop_here()
    loop = running or thread_loop()
    given = home_of(f) or home.get(None)
    if given is not None:
        return _start_at_home(loop, given, f, args, kwargs)
    task = _begin(loop, _coroutine(f, args, kwargs))
    if running is not None:  # in another greenlet
        gevent.wake_here()
    return task


def _refuse_others(f, loop):
    """trio and curio begin tasks in their own way."""
    if loop is not None and asyncio.current_task(loop) is not None:
        return
    library = foreign_library()
    if library is not None:
        raise CannotSuspend(
            f"{name_of(f)}.start(): {library} runs in this thread, and has no "
            f"tasks of asyncio; write {_INSTEAD[library](name_of(f))}"
        )


_INSTEAD = {
    "trio": lambda name: f"nursery.start_soon(~{name}, ...)",
    "curio": lambda name: f"await curio.spawn(~{name}, ...)",
}


def _coroutine(f, args, kwargs):
    """(~f)(*args, **kwargs), as a coroutine."""
    fn = function_of(f)
    if asyncio._get_running_loop() is None and not _only_makes(fn):
        return _call(f, args, kwargs)
    made = _checked(f, _made(fn, args, kwargs))
    return made if asyncio.iscoroutine(made) else Awaiting(made)


def _only_makes(fn):
    """Whether to call fn makes a coroutine, and asks for no running loop."""
    return (
        inspect.iscoroutinefunction(fn)
        or inspect.isasyncgenfunction(fn)
        or getattr(fn, "__code__", None) is _MANAGES  # of a method, too
    )


_MANAGES = contextlib.asynccontextmanager(start).__code__


async def _call(f, args, kwargs):
    return await _checked(f, _made(function_of(f), args, kwargs))


def _made(fn, args, kwargs):
    try:
        return fn(*args, **kwargs)
    except TypeError as exc:
        if exc.__traceback__.tb_next is None:
            name_plainly(fn, exc)
        raise


def _checked(f, made):
    if inspect.isawaitable(made):
        return made
    advice = "start() is for async functions"
    if hasattr(made, "__anext__"):
        advice = "iterate over it in a function, and start that"
    elif hasattr(made, "__aenter__"):
        advice = "enter it in a function, and start that"
    raise TypeError(
        f"{name_of(f)}.start(): {f!r} returned {made!r}, which cannot be "
        f"awaited; {advice}"
    )


# --- the task ---------------------------------------------------------------

_kept = {}  # loop -> its tasks that run: asyncio refers to them weakly


def _begin(loop, coro):
    """A task of loop, kept for as long as it runs."""
    for each in list(_kept):
        if each.is_closed():
            _kept.pop(each, None)
    try:
        task = loop.create_task(coro)
    except BaseException:
        coro.close()
        raise
    if not task.done():
        tasks = _kept.setdefault(loop, set())
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    return task


def _start_at_home(loop, given, f, args, kwargs):
    """A task of loop, the thread's own, for what begins at home now.

    At home f does what it does everywhere, and so goes nowhere else.
    """
    from tworoutine import _homes

    there = _homes.away(getattr(given, "home", given), None)
    if there is None:
        return _begin(loop, _coroutine(f, args, kwargs))
    return _homes.start(there, _coroutine(f, args, kwargs), loop, _begin)
