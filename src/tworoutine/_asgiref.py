"""asgiref, and so Django: one thread, connection and transaction.

``async_to_sync`` keeps its thread for what ``sync_to_async`` is given below
it: the ORM's ``a...`` methods use the connection of who called.  So does a
call: its loop runs in the thread of the caller, and what ``sync_to_async`` is
given runs there in a callback of that loop, to which it looks as if no loop
ran.
"""

import contextlib
import contextvars
import functools
import os
import re
import threading
from concurrent.futures import Executor, Future

import asgiref
from asgiref.sync import AsyncToSync, SyncToAsync

from tworoutine._core import hide, show

# Earlier ones look elsewhere for the thread in which something is to run.
KNOWN = [int(n) for n in re.findall(r"\d+", asgiref.__version__)] >= [3, 9, 2]


def begin(loop):
    """Have sync_to_async use this thread, in which a call runs loop.

    In the caller's context, as async_to_sync does.  Returns what undoes
    it, or None.
    """
    if not KNOWN:
        return None
    executors = AsyncToSync.executors
    before = getattr(executors, "current", None)
    executors.current = InLoop(loop, before)

    def undo():
        if before is not None:
            executors.current = before
        else:  # old releases only look whether there is one
            del executors.current

    return undo


class InLoop(Executor):
    """Runs in a loop, and its thread, what it is given.

    Other threads may find it as the one above theirs, when that is over: it
    looks broken to them, and sends them on to the one before.
    """

    def __init__(self, loop, before):
        self._loop = loop
        self._work_ready = threading.Lock()
        self._broken = True
        self._old_executor = before

    def submit(self, fn, /, *args, **kwargs):
        if not self._loop.is_running():  # asked by another thread, too late
            if self._old_executor is None:
                raise RuntimeError(
                    "the call whose thread is asked for is over"
                )
            return self._old_executor.submit(fn, *args, **kwargs)
        future = Future()
        self._loop.call_soon_threadsafe(
            _run,
            self._loop,
            future,
            functools.partial(_elsewhere(fn), *args, **kwargs),
            context=contextvars.copy_context(),
        )
        return future


def _run(loop, future, fn):
    if not future.set_running_or_notify_cancel():
        return
    with _kept():
        hide(loop)
        try:
            result = fn()
        except BaseException as exc:
            future.set_exception(exc)
            future = None  # no cycle
        else:
            future.set_result(result)
        finally:
            show()


@contextlib.contextmanager
def _kept():
    """What asgiref notes about this thread is what it was, afterwards."""
    noted = vars(SyncToAsync.threadlocal)
    before = dict(noted)
    try:
        yield
    finally:
        noted.clear()
        noted.update(before)


def _elsewhere(fn):
    """fn, whose async_to_sync must not wait for the loop of this thread.

    It waits for the loop that this thread works for, or runs one of its own.
    """
    if getattr(fn, "func", None) is None or not fn.args:
        return fn
    noted = SyncToAsync.threadlocal
    main = None
    if getattr(noted, "main_event_loop_pid", None) == os.getpid():
        main = getattr(noted, "main_event_loop", None)
    return functools.partial(fn.func, main or _NoLoop(), *fn.args[1:])


class _NoLoop:
    """A loop that does not run, whatever is asked of it."""

    def is_running(self):
        return False

    def call_soon_threadsafe(self, *args):
        raise RuntimeError("there is no loop")
