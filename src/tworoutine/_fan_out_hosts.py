"""f.map and f.as_completed under trio and curio.

What runs the calls there, each library with its own means.  Those who use
them, in _fan_out.py, know no difference.
"""

import math

from tworoutine._fan_out_calls import Ended
from tworoutine._fan_out_items import item_of, refuse_async
from tworoutine._names import name_of


class _Call:
    """How a call on an item went, asked as an asyncio.Task is."""

    value = error = None

    def cancelled(self):
        return False

    def exception(self):
        return self.error

    def result(self):
        if self.error is None:
            return self.value
        try:
            raise self.error
        finally:
            del self  # which the traceback would keep


async def _outcome(awaitable, caught):
    """What it returns, and what it raises, if that is of a type in caught."""
    try:
        return await awaitable, None
    except caught as exc:
        return None, exc.with_traceback(exc.__traceback__.tb_next)


# --- trio -------------------------------------------------------------------


class _InTrio(Ended):
    """The tasks of the calls live in a nursery.

    That of map() is open while map() runs, so that the tasks are below the
    caller's and in its cancel scopes.  as_completed() is a generator, and must
    not hold a nursery over a yield: whoever leaves or enters a cancel scope
    between two items, or goes on in another task, would find the scopes
    nested wrongly.  So a system task holds that one, and what cancels the
    caller cancels its tasks when the generator ends for that reason.
    """

    def __init__(self, f, method, iterables, limit):
        super().__init__(f, method, iterables, limit)
        refuse_async(f"{name_of(f)}.{method}()", self._rows, "trio")
        import trio

        self._trio = trio
        self._apart = method == "as_completed"
        self._send, self._receive = trio.open_memory_channel(math.inf)
        self._scope = trio.CancelScope()
        self._nursery = None
        self._close = None  # an async function that waits for the tasks

    async def next(self):
        if self._close is None:
            await (self._open_apart if self._apart else self._open)()
        call = None
        while call is None:
            self._start_more()
            if not self._running:
                return None
            call = await self._receive.receive()
        index, item = self._running.pop(call)
        self._raise_if_fatal(call)
        if self._was_cancelled(call):
            raise RuntimeError(
                f"trio's run ends, with it the call on {item!r}"
            )
        return index, item, call

    def _start_more(self):
        for index, row in self._to_start():
            call = _Call()
            self._running[call] = index, item_of(row)
            awaitable = self._coroutine(row)
            self._nursery.start_soon(
                self._run, call, awaitable, name=_task_name(awaitable)
            )

    def ring(self):
        self._send.send_nowait(None)

    async def _open(self):
        manager = self._trio.open_nursery()
        self._nursery = await manager.__aenter__()
        self._scope = self._nursery.cancel_scope

        async def close():
            await manager.__aexit__(None, None, None)

        self._close = close

    async def _open_apart(self):
        opened, closed = self._trio.Event(), self._trio.Event()

        async def close():
            with self._trio.CancelScope(shield=True):
                await closed.wait()

        async def hold():
            try:
                with self._scope:
                    async with self._trio.open_nursery() as self._nursery:
                        opened.set()
                        await self._trio.sleep_forever()
            finally:
                closed.set()

        self._trio.lowlevel.spawn_system_task(
            hold, name="tasks of as_completed"
        )
        self._close = close
        await opened.wait()

    async def _run(self, call, awaitable):
        """A task.  It raises nothing: the nursery must not cancel others."""
        call.value, call.error = await _outcome(awaitable, BaseException)
        self._send.send_nowait(call)

    def _was_cancelled(self, call):
        error, cancelled = call.error, self._trio.Cancelled
        if isinstance(error, BaseExceptionGroup):
            return error.subgroup(cancelled) is not None
        return isinstance(error, cancelled)

    def _raise_if_fatal(self, call):
        """KeyboardInterrupt and the like are not an item's affair."""
        error, cancelled = call.error, self._trio.Cancelled
        if isinstance(error, BaseExceptionGroup):
            error = error.split(cancelled)[1]
        if not isinstance(error, (Exception, cancelled, type(None))):
            raise error

    async def cancel_rest(self):
        if self._close is None:
            return
        self._scope.cancel()
        await self._close()
        for call in self._running:
            self._raise_if_fatal(call)


def _task_name(awaitable):
    """As trio names a task, so that the item's function is seen."""
    return getattr(awaitable, "__qualname__", None) or repr(awaitable)


# --- curio ------------------------------------------------------------------


class _InCurio(Ended):
    """The tasks of the calls are in a TaskGroup, used without `async with`.

    So it does not cancel the others when one fails.
    """

    def __init__(self, f, method, iterables, limit):
        super().__init__(f, method, iterables, limit)
        refuse_async(f"{name_of(f)}.{method}()", self._rows, "curio")
        import curio

        self._curio = curio
        self._group = curio.TaskGroup()

    async def next(self):
        for index, row in self._to_start():
            task = await self._group.spawn(self._run, self._coroutine(row))
            self._running[task] = index, item_of(row)
        task = await self._group.next_done()
        if task is None:
            return None
        index, item = self._running.pop(task)
        return index, item, task.result

    def _has_room(self):
        """Nobody hears when a call enters a limiter: all go there at once."""
        return self._limiter is not None or super()._has_room()

    async def _run(self, awaitable):
        """A task.  It returns the call: curio logs what a task raises."""
        call = _Call()
        caught = Exception, self._curio.CancelledError
        call.value, call.error = await _outcome(awaitable, caught)
        return call

    async def cancel_rest(self):
        async with self._curio.disable_cancellation():
            await self._group.cancel_remaining()
            for task in self._running:
                await task.wait()


IN = {"trio": _InTrio, "curio": _InCurio}
