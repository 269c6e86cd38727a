"""The hosts: what can run a coroutine, and what the checks ask of each.

A host runs an async function in a task of its own loop.  What a check needs
from the library behind it (sleep, events, tasks, timeouts) is in ``lib``, with
the same names for each library.
"""

import asyncio
import contextlib
import importlib
import importlib.metadata
import sys

import pytest

import tworoutine

# --- libraries --------------------------------------------------------------


class Anyio:
    """asyncio, uvloop and trio, by anyio, which knows where it runs."""

    name = "anyio"

    def __init__(self):
        import anyio

        self.sleep = anyio.sleep
        self.Event = anyio.Event
        self.Lock = anyio.Lock
        self.fail_after = anyio.fail_after
        self.timed_out = TimeoutError

    def current_task(self):
        import anyio

        return anyio.get_current_task().id

    async def gather(self, *functions):
        """Run async functions as tasks; their results in order."""
        import anyio

        results = [None] * len(functions)

        async def run(i, function):
            results[i] = await function()

        async with anyio.create_task_group() as group:
            for i, function in enumerate(functions):
                group.start_soon(run, i, function)
        return results

    @contextlib.asynccontextmanager
    async def cancelled_inside(self, function):
        """Start function as a task, run the block, cancel the task, wait."""
        import anyio

        async with anyio.create_task_group() as group:
            group.start_soon(function)
            yield
            group.cancel_scope.cancel()


class Curio:
    name = "curio"

    def __init__(self):
        import curio

        self._curio = curio
        self.sleep = curio.sleep
        self.Lock = curio.Lock
        self.timed_out = curio.TaskTimeout
        self.fail_after = curio.timeout_after

    def Event(self):
        return _CurioEvent(self._curio.Event())

    def current_task(self):
        kernel = self._curio.meta._locals.kernel
        [task] = [t for t in kernel._tasks.values() if t.state == "RUNNING"]
        return task.id

    async def gather(self, *functions):
        tasks = [await self._curio.spawn(function) for function in functions]
        return [await task.join() for task in tasks]

    @contextlib.asynccontextmanager
    async def cancelled_inside(self, function):
        task = await self._curio.spawn(function)
        yield
        await task.cancel()


class _CurioEvent:
    """Its set() is a coroutine function; the kernel runs what it queues."""

    def __init__(self, event):
        self.wait = event.wait
        self._event = event

    def set(self):
        tworoutine.await_(self._event.set())


# --- hosts ------------------------------------------------------------------


class Host:
    """One way to run a coroutine.

    name: as in the README's table.  run(afn): run afn() in it.  needs: names
    of packages, of which the first is the host itself.  write: what a user
    writes.  lib: a class above.
    """

    def __init__(self, name, run, *, write, needs=(), lib=Anyio, until=None):
        self.name = name
        self.run = run
        self.write = write
        self.needs = needs
        self.until = until  # (3, 12): works on older Pythons only
        self._lib = lib

    def __repr__(self):
        return self.name

    @property
    def lib(self):
        return self._lib()

    def version(self):
        if not self.needs:
            return ""
        return importlib.metadata.version(self.needs[0])

    def require(self):
        if self.until is not None and sys.version_info >= self.until:
            version = ".".join(map(str, self.until))
            pytest.skip(f"{self.needs[0]} does not import on {version}+")
        for name in self.needs:
            importlib.import_module(name)


def _no_loop(afn):
    return tworoutine.tworoutine(afn)()


def _asyncio(afn):
    return asyncio.run(afn())


def _asyncio_debug(afn):
    return asyncio.run(afn(), debug=True)


def _eager(afn):
    async def main():
        loop = asyncio.get_running_loop()
        loop.set_task_factory(asyncio.eager_task_factory)
        # Not the task that creates others: those begin on its stack.
        return await afn()

    return asyncio.run(main())


def _callback(afn):
    async def main():
        ended = asyncio.get_running_loop().create_future()

        def callback():
            try:
                ended.set_result((tworoutine.tworoutine(afn)(), None))
            except Exception as exc:
                ended.set_result((None, exc))

        asyncio.get_running_loop().call_soon(callback)
        result, error = await ended
        if error is not None:
            raise error
        return result

    return asyncio.run(main())


def _uvloop_run(afn):
    import uvloop

    return tworoutine.run(afn(), loop_factory=uvloop.new_event_loop)


def _uvloop_portal(afn):
    import uvloop

    return uvloop.run(tworoutine.portal(afn)())


def _trio(afn):
    import trio

    return trio.run(tworoutine.portal(afn))


def _anyio(backend, **options):
    def run(afn):
        import anyio

        return anyio.run(
            tworoutine.portal(afn), backend=backend, backend_options=options
        )

    return run


def _curio(afn):
    import curio
    from curio.task import ContextTask  # else tasks share one context

    return curio.run(tworoutine.portal(afn), taskcls=ContextTask)


HOSTS = [
    Host("no loop", _no_loop, write="`f(x)`"),
    Host("asyncio", _asyncio, write="`asyncio.run(main())`"),
    Host(
        "asyncio, debug mode",
        _asyncio_debug,
        write="`asyncio.run(main(), debug=True)`",
    ),
    Host("asyncio, in a callback", _callback, write="`loop.call_soon(g)`"),
    Host(
        "uvloop",
        _uvloop_run,
        write="`tworoutine.run(main(), loop_factory=uvloop.new_event_loop)`",
        needs=["uvloop"],
    ),
    Host(
        "uvloop, by itself",
        _uvloop_portal,
        write="`uvloop.run(tworoutine.portal(main)())`",
        needs=["uvloop"],
    ),
    Host(
        "trio",
        _trio,
        write="`trio.run(tworoutine.portal(main))`",
        needs=["trio"],
    ),
    Host(
        "anyio on asyncio",
        _anyio("asyncio"),
        write="`anyio.run(main)`",
        needs=["anyio"],
    ),
    Host(
        "anyio on uvloop",
        _anyio("asyncio", use_uvloop=True),
        write="`anyio.run(tworoutine.portal(main), ...)`",
        needs=["anyio", "uvloop"],
    ),
    Host(
        "anyio on trio",
        _anyio("trio"),
        write='`anyio.run(tworoutine.portal(main), backend="trio")`',
        needs=["anyio", "trio"],
    ),
    Host(
        "curio",
        _curio,
        write="`curio.run(tworoutine.portal(main))`",
        needs=["curio"],
        lib=Curio,
        until=(3, 12),
    ),
]
if sys.version_info >= (3, 12):
    HOSTS.insert(
        3,
        Host("asyncio, eager tasks", _eager, write="`asyncio.run(main())`"),
    )
