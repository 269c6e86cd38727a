"""Calls of one function on many items, each in a task of asyncio."""

import asyncio
import collections
import inspect

from tworoutine._core import Awaiting, Portal, dual_of, in_portal
from tworoutine._fan_out_items import Rows, close_new, item_of, limit_of
from tworoutine._names import name_of, name_plainly


class Ended:
    """Calls of an async function on items, in the order in which they end.

    An item is taken when its call starts: when fewer than the limit are under
    way, or, if the limit is a limiter that others may use, when the call on
    the item before has entered that.
    """

    def __init__(self, f, method, iterables, limit):
        method = f"{name_of(f)}.{method}()"
        self._f = f
        self._rows = Rows(method, iterables)
        self._limit, self._limiter = limit_of(method, limit)
        self._running = {}  # task -> (index, item)
        self._done = collections.deque()
        self._entering = None  # who waits for the limiter; one at a time
        self._wake = None  # a future, while next() waits
        self._drawing = None  # the task that takes items asynchronously
        self._drawn = None  # the row that it has taken
        self._broken = None  # a task that has failed to take one
        self._is_over = False  # there are no more items

    async def next(self):
        """The next call that has ended: (index, item, task), or None."""
        while True:
            self._start_more()
            if self._broken is not None:
                raise error_of(self._broken)
            if self._done:
                task = self._done.popleft()
                index, item = self._running.pop(task)
                return index, item, task
            if self._is_over and not self._running:
                return None
            self._wake = asyncio.get_running_loop().create_future()
            try:
                await self._wake
            finally:
                self._wake = None

    def ahead(self):
        """How many have ended, and next() has not come to tell."""
        return len(self._done)

    def _start_more(self):
        for index, row in self._to_start():
            task = task_of(self._coroutine(row))
            self._running[task] = index, item_of(row)
            task.add_done_callback(self._task_ended)
            if self._entering is not None:  # cancelled before, it runs nothing
                task.add_done_callback(self._entering.over)

    def _to_start(self):
        """Take the rows of which the calls may start: (index, row)."""
        while self._has_room():
            taken = self._take()
            if taken is None:
                return
            yield taken

    def _has_room(self):
        if self._limiter is not None:
            return self._entering is None
        return self._limit is None or len(self._running) < self._limit

    def _take(self):
        """The next row, with its number; None: there is none (yet)."""
        if self._is_over:
            return None
        if not self._rows.is_async:
            taken = self._rows.take()
            self._is_over = taken is None
            return taken
        taken, self._drawn = self._drawn, None
        if taken is None and self._drawing is None:
            self._drawing = task_of(self._rows.take_async())
            self._drawing.add_done_callback(self._task_drew)
        return taken

    def _task_drew(self, task):
        self._drawing = None
        if error_of(task) is None:
            self._drawn = task.result()
        else:
            self._broken = task
        self._is_over = self._drawn is None
        self.ring()

    def _coroutine(self, row):
        """What the task of a call runs."""
        if self._limiter is None:
            return awaitable_of(self._f, row)
        self._entering = entering = Entering(self, self._f, row)
        return entering.run(self._limiter)

    def entered(self, entering):
        """The call has entered the limiter, or will not."""
        if self._entering is entering:
            self._entering = None
            self.ring()

    def _task_ended(self, task):
        self._done.append(task)
        self.ring()

    def ring(self):
        """Have next() look again."""
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    async def cancel_rest(self):
        """Cancel what is under way, and wait until it has ended.

        Also if the caller is cancelled again meanwhile, as by anyio's cancel
        scopes in every turn of the loop.
        """
        rest = list(self._running)
        if self._drawing is not None:
            rest.append(self._drawing)
        if any(task.get_loop().is_closed() for task in rest):
            for task in rest:  # nothing begins or ends there any more
                close_new(task.get_coro())
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


class Entering:
    """A call that has to enter a limiter first."""

    def __init__(self, ended, f, row):
        self._ended = ended
        self._f = f
        self._row = row

    async def run(self, limiter):
        try:
            async with limiter:
                self._ended.entered(self)
                return await awaitable_of(self._f, self._row)
        finally:
            self.over()

    def over(self, *_):
        self._ended.entered(self)


def function_of(f):
    """~f, or what takes and gives duals where f is a method of one."""
    owner = dual_of(f)
    if owner is None:
        return ~f
    from tworoutine import _dual

    return _dual.in_fan_out(owner, ~f)


def awaitable_of(f, row):
    """(~f)(*row), or what raises the exception that it raised."""
    function = function_of(f)
    try:
        awaitable = function(*row)
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


def task_of(awaitable):
    """A task of it, which begins in the next turn of the loop."""
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
