"""Calls of one function on many items, each in a task of asyncio."""

import asyncio
import collections
import inspect
import operator

from tworoutine._core import Awaiting, Portal, dual_of, in_portal
from tworoutine._names import name_of, name_plainly


class Ended:
    """Calls of an async function on items, in the order in which they end.

    At most `limit` are under way at once; an item is taken from its iterable
    when its call starts.
    """

    def __init__(self, f, method, items, limit):
        method = f"{name_of(f)}.{method}()"
        self._f = f
        self._items = enumerate(_checked_items(method, items))
        self._limit = _checked_limit(method, limit)
        self._running = {}  # task -> (index, item)
        self._done = collections.deque()
        self._wake = None  # a future, while next() waits

    async def next(self):
        """The next call that has ended: (index, item, task), or None."""
        self._start_more()
        while not self._done:
            if not self._running:
                return None
            self._wake = asyncio.get_running_loop().create_future()
            try:
                await self._wake
            finally:
                self._wake = None
        task = self._done.popleft()
        return *self._running.pop(task), task

    def _start_more(self):
        for index, item in self._to_start():
            task = _task_of(self._f, item)
            self._running[task] = index, item
            task.add_done_callback(self._task_ended)

    def _to_start(self):
        """Take the items of which the calls may start: (index, item)."""
        while self._limit is None or len(self._running) < self._limit:
            try:
                taken = next(self._items)
            except StopIteration:
                return
            yield taken

    def _task_ended(self, task):
        self._done.append(task)
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    async def cancel_rest(self):
        """Cancel what is under way, and wait until it has ended.

        Also if the caller is cancelled again meanwhile, as by anyio's cancel
        scopes in every turn of the loop.
        """
        rest = list(self._running)
        if any(task.get_loop().is_closed() for task in rest):
            for task in rest:  # nothing begins or ends there any more
                _close_new(task.get_coro())
            return
        for task in rest:
            task.cancel()
        again = None
        waiting = rest
        while waiting:
            try:
                await asyncio.wait(waiting)
            except asyncio.CancelledError as exc:
                again = exc
            waiting = [task for task in waiting if not task.done()]
        for task in rest:
            error_of(task)  # nobody else will ask for it
        if again is not None:
            try:
                raise again
            finally:
                del again


def _close_new(coro):
    if (
        asyncio.iscoroutine(coro)
        and inspect.getcoroutinestate(coro) == inspect.CORO_CREATED
    ):
        coro.close()


def _checked_items(method, items):
    try:
        return iter(items)
    except TypeError:
        if hasattr(items, "__iter__"):
            raise  # of its own
    advice = ""
    if hasattr(items, "__aiter__"):
        advice = "; collect its items first: [item async for item in ...]"
    elif asyncio.iscoroutine(items):
        advice = "; await it first"
        _close_new(items)
    raise TypeError(f"{method} takes an iterable, not {items!r}{advice}")


def _checked_limit(method, limit):
    if limit is None:
        return None
    try:
        number = operator.index(limit)
    except TypeError:
        number = None
    if number is None or isinstance(limit, bool):
        raise TypeError(
            f"{method}: limit must be an int or None, not {limit!r}"
        )
    if number < 1:
        raise ValueError(f"{method}: limit must be at least 1, not {limit!r}")
    return number


def awaitable_of(f, item):
    """(~f)(item), or what raises the exception that it raised."""
    function, owner = ~f, dual_of(f)
    if owner is not None:
        from tworoutine import _dual

        function = _dual.in_fan_out(owner, function)
    try:
        awaitable = function(item)
        if not inspect.isawaitable(awaitable):
            raise TypeError(
                f"{f!r} returned {awaitable!r}, which cannot be awaited; "
                "map() and as_completed() are for async functions"
            )
    except Exception as exc:
        if isinstance(exc, TypeError) and exc.__traceback__.tb_next is None:
            name_plainly(function, exc)
        awaitable = _raise(exc)
    return awaitable


def _task_of(f, item):
    """A task of (~f)(item), also if that already fails."""
    awaitable = awaitable_of(f, item)
    if not asyncio.iscoroutine(awaitable):
        awaitable = Awaiting(awaitable)
    if in_portal():
        awaitable = Portal(awaitable)
    # Not create_task: an eager task would run its first step inside ours, and
    # a synchronous call in it would hold up the other items.
    try:
        return asyncio.Task(awaitable, loop=asyncio.get_running_loop())
    except MemoryError:
        awaitable.close()
        raise


async def _raise(exc):
    raise exc


def error_of(task):
    """How the task failed, or None."""
    if task.cancelled():
        return asyncio.CancelledError(f"{task!r} was cancelled")
    return task.exception()
