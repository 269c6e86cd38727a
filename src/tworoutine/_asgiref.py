"""asgiref, and so Django: one thread, connection and transaction.

``async_to_sync`` keeps its thread for what ``sync_to_async`` is given below
it: the ORM's ``a...`` methods use the connection of who called.  So does a
call: its loop runs in the thread of the caller, and what ``sync_to_async`` is
given runs there in a callback of that loop, to which it looks as if no loop
ran.  A thread that waits for a call at home runs what that is given meanwhile.
"""

import asyncio
import collections
import contextlib
import contextvars
import functools
import os
import re
import threading
from concurrent.futures import Executor, Future

import asgiref
from asgiref import local
from asgiref.sync import AsyncToSync, SyncToAsync

from tworoutine._core import hide, show

# Earlier ones look elsewhere for the thread in which something is to run.
KNOWN = [int(n) for n in re.findall(r"\d+", asgiref.__version__)] >= [3, 9, 2]

# What a Local of asgiref's has in a context variable: for one thread alone.
Storage = getattr(local, "_Storage", None)


def begin(loop):
    """Have sync_to_async use this thread, in which a call runs loop.

    In the caller's context, as async_to_sync does.  Returns what undoes
    it, or None.
    """
    if not KNOWN:
        return None
    return _instead(lambda before: InLoop(loop, before))[1]


def serve(wake):
    """Have sync_to_async use this thread, which waits for a call at home.

    As begin().  Returns what runs what it has been given, when wake() has
    been called, in any thread, or late=True; and what ends that.  Or None.
    """
    if not KNOWN:
        return None
    before = getattr(AsyncToSync.executors, "current", None)
    if isinstance(before, InThread) and before.is_here():
        before.wait_also(wake)
        return before.run, before.wait_less
    waiting, undo = _instead(lambda before: InThread(wake, before))

    def end():
        undo()
        waiting.end()

    return waiting.run, end


def _instead(make):
    """An executor made of the one before, and what puts that back."""
    executors = AsyncToSync.executors
    before = getattr(executors, "current", None)
    executors.current = made = make(before)

    def undo():
        if before is not None:
            executors.current = before
        else:  # old releases only look whether there is one
            del executors.current

    return made, undo


def move(context):
    """Have the Locals of a context, of another thread, be of this one."""
    if Storage is not None:
        context.run(_move)


def _move():
    for var, value in contextvars.copy_context().items():
        if isinstance(value, Storage):
            var.set(moved(value))


def moved(value, before=None):
    """A value of a context variable, for this thread; before, if as before."""
    if Storage is None or not isinstance(value, Storage):
        return value
    if isinstance(before, Storage) and before.data is value.data:
        return before
    return Storage(threading.get_ident(), value.data)


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


class InThread(Executor):
    """Runs what it is given in the thread that made it, which waits.

    What is given later, by a task that a call has left behind, goes where it
    would have gone without it.
    """

    def __init__(self, wake, before):
        self._wakes = [wake]  # of the calls that wait, outermost first
        self._thread = threading.get_ident()
        self._given = collections.deque()
        self._interrupted = []  # futures of what has been so
        self._is_over = False
        self._lock = threading.Lock()  # of the two above
        self._work_ready = threading.Lock()
        self._broken = True  # see InLoop
        self._old_executor = before

    def submit(self, fn, /, *args, **kwargs):
        future, work = Future(), functools.partial(fn, *args, **kwargs)
        with self._lock:
            is_over = self._is_over
            if not is_over:
                self._given.append((future, work, contextvars.copy_context()))
                self._wakes[-1]()
        if is_over:
            later = self._old_executor or SyncToAsync.single_thread_executor
            return later.submit(work)
        return future

    # in its thread

    def is_here(self):
        return self._thread == threading.get_ident() and not self._is_over

    def wait_also(self, wake):
        """Another call waits, made by what runs here."""
        with self._lock:
            self._wakes.append(wake)
            wake()  # for what has been given before

    def wait_less(self):
        with self._lock:
            del self._wakes[-1]
            self._wakes[-1]()  # for what has been given just now

    def run(self, late=False):
        """Run what has been given; late: no word has come for a while.

        Who waits for what was interrupted is cancelled with the call, and is
        told again only late: to be cancelled twice would be once too often.
        """
        while late and self._interrupted:
            self._interrupted.pop().set_exception(asyncio.CancelledError())
        while self._given:
            future, work, context = self._given.popleft()
            try:
                context.run(_answer, future, work, _INTERRUPTS)
            except _INTERRUPTS:
                self._interrupted.append(future)
                raise

    def end(self):
        with self._lock:
            self._is_over = True
        self.run(late=True)


def _run(loop, future, fn):
    hide(loop)
    try:
        _answer(future, fn)
    finally:
        show()


# These end the call that waits in this thread, and not its home.
_INTERRUPTS = KeyboardInterrupt, SystemExit


def _answer(future, fn, interrupts=()):
    """Have the future what fn returns, or raises; not so the interrupts."""
    if not future.set_running_or_notify_cancel():
        return
    with _kept():
        try:
            result = fn()
        except interrupts:
            raise
        except BaseException as exc:
            future.set_exception(exc)
            future = None  # no cycle
        else:
            future.set_result(result)


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

    def create_task(self, coro):
        raise AssertionError("it is only looked up")

    def call_soon_threadsafe(self, *args):
        raise RuntimeError("there is no loop")
