"""The hosts: what can run a coroutine, and what the checks ask of each.

A host runs an async function in a task of its own loop.  What a check needs
from the library behind it (sleep, events, tasks, timeouts) is in ``lib``, with
the same names for each library.
"""

import asyncio
import contextlib
import contextvars
import importlib
import importlib.metadata
import os
import sys
import threading

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


class Twisted:
    """Coroutines are those of Deferreds, which their tasks are here."""

    name = "twisted"
    timed_out = TimeoutError

    def __init__(self):
        from twisted.internet.defer import DeferredLock

        self.Lock = DeferredLock
        self.Event = _TwistedEvent
        self.fail_after = _TwistedTimeout

    def sleep(self, seconds):
        from twisted.internet.task import deferLater

        return deferLater(_reactor(), seconds)

    def current_task(self):
        return id(_twisted_task.get())

    async def gather(self, *functions):
        from twisted.internet.defer import FirstError, gatherResults

        started = [_twisted_spawn(function) for function in functions]
        try:
            return await gatherResults(started, consumeErrors=True)
        except FirstError as exc:
            exc.subFailure.raiseException()

    @contextlib.asynccontextmanager
    async def cancelled_inside(self, function):
        from twisted.internet.defer import CancelledError

        deferred = _twisted_spawn(function)
        yield
        deferred.cancel()
        with contextlib.suppress(CancelledError):
            await deferred


_twisted_task = contextvars.ContextVar("task")  # a list: [its Deferred]


def _reactor():
    return sys.modules["twisted.internet.reactor"]


def _twisted_spawn(function):
    """function() in a portal and a context of its own, as a Deferred."""
    from twisted.internet.defer import ensureDeferred

    task = []

    def start():
        _twisted_task.set(task)
        return ensureDeferred(tworoutine.portal(function)())

    task.append(contextvars.copy_context().run(start))
    return task[0]


class _TwistedEvent:
    def __init__(self):
        self._waiting = []
        self._set = False

    def wait(self):
        from twisted.internet.defer import Deferred, succeed

        if self._set:
            return succeed(None)
        deferred = Deferred()
        self._waiting.append(deferred)
        return deferred

    def set(self):
        self._set = True
        while self._waiting:
            # As in other libraries, nobody runs inside of set().
            _reactor().callLater(0, self._waiting.pop(0).callback, None)


class _TwistedTimeout:
    def __init__(self, seconds):
        self._seconds = seconds
        self._fired = False

    async def __aenter__(self):
        self._task = _twisted_task.get()
        self._call = _reactor().callLater(self._seconds, self._fire)

    def _fire(self):
        self._fired = True
        self._task[0].cancel()

    async def __aexit__(self, kind, error, tb):
        from twisted.internet.defer import CancelledError

        if self._call.active():
            self._call.cancel()
        if self._fired and isinstance(error, CancelledError):
            raise TimeoutError from error


# --- hosts ------------------------------------------------------------------


class Host:
    """One way to run a coroutine.

    name: as in docs/tested.md.  run(afn): run afn() in it.  needs: names
    of packages, of which the first is the host itself.  write: what a user
    writes.  lib: a class above.  optional: an extra that holds what it needs.
    """

    def __init__(
        self,
        name,
        run,
        *,
        write,
        needs=(),
        lib=Anyio,
        until=None,
        optional=None,
    ):
        self.name = name
        self.run = run
        self.write = write
        self.needs = needs
        self.optional = optional
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
        # PySide6 may be installed in parts.
        for distribution in self.needs[0], self.needs[0] + "-Essentials":
            with contextlib.suppress(importlib.metadata.PackageNotFoundError):
                return importlib.metadata.version(distribution)
        return ""

    def require(self):
        if self.until is not None and sys.version_info >= self.until:
            version = ".".join(map(str, self.until))
            pytest.skip(f"{self.needs[0]} does not import on {version}+")
        for name in self.needs:
            if self.optional is not None:
                pytest.importorskip(
                    name,
                    reason=f"needs {name}: the extra `{self.optional}`",
                    exc_type=ImportError,
                )
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


def _tornado(afn):
    from tornado.ioloop import IOLoop

    loop = IOLoop(make_current=False)
    try:
        return loop.run_sync(afn)
    finally:
        loop.close(all_fds=True)


@contextlib.contextmanager
def installed(reactor):
    """A reactor runs once only; so each check has one of its own."""
    sys.modules["twisted.internet.reactor"] = reactor
    try:
        yield
    finally:
        del sys.modules["twisted.internet.reactor"]
        reactor.removeAll()
        for reader in reactor._internalReaders:
            reader.connectionLost(None)


def _run_reactor(reactor, start):
    """Run reactor until the Deferred that start() returns has fired."""
    from twisted.python.failure import Failure

    results = []

    def ended(result):
        results.append(result)
        reactor.stop()

    with installed(reactor):
        reactor.callWhenRunning(lambda: start().addBoth(ended))
        reactor.run(installSignalHandlers=False)
    if isinstance(results[0], Failure):
        results[0].raiseException()
    return results[0]


def _twisted_epoll(afn):
    from twisted.internet.epollreactor import EPollReactor

    reactor = EPollReactor()
    try:
        return _run_reactor(reactor, lambda: _twisted_spawn(afn))
    finally:
        reactor._poller.close()


def _twisted_asyncio(afn):
    from twisted.internet.asyncioreactor import AsyncioSelectorReactor
    from twisted.internet.task import deferLater

    loop = asyncio.new_event_loop()
    reactor = AsyncioSelectorReactor(loop)
    try:
        return _run_reactor(
            reactor, lambda: deferLater(reactor, 0, tworoutine.tworoutine(afn))
        )
    finally:
        loop.close()


def _gevent(afn):
    """In a thread: a hub in this one would serve all later tests."""
    import gevent

    outcome = []

    def run():
        try:
            call = gevent.spawn(tworoutine.tworoutine(afn))
            outcome.append((call.get(), None))
        except BaseException as exc:
            outcome.append((None, exc))
        finally:
            gevent.get_hub().destroy(destroy_loop=True)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    [(result, error)] = outcome
    if error is not None:
        raise error
    return result


def _qt(afn):
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    import qasync
    from PySide6.QtCore import QCoreApplication

    application = QCoreApplication.instance() or QCoreApplication([])
    assert application is not None
    return tworoutine.run(afn(), loop_factory=qasync.QEventLoop)


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
    Host(
        "Tornado",
        _tornado,
        write="`f(x)`",
        needs=["tornado"],
    ),
    Host(
        "Twisted, asyncio reactor",
        _twisted_asyncio,
        write="`f(x)`",
        needs=["twisted"],
    ),
    Host(
        "Twisted, epoll reactor",
        _twisted_epoll,
        write="`ensureDeferred(tworoutine.portal(main)())`",
        needs=["twisted"],
        lib=Twisted,
    ),
    Host(
        "gevent",
        _gevent,
        write="`gevent.spawn(f, x)`",
        needs=["gevent"],
    ),
    Host(
        "Qt",
        _qt,
        write="`tworoutine.run(main(), loop_factory=qasync.QEventLoop)`",
        needs=["PySide6", "qasync"],
        optional="hosts",
    ),
]
if sys.version_info >= (3, 12):
    HOSTS.insert(
        3,
        Host("asyncio, eager tasks", _eager, write="`asyncio.run(main())`"),
    )
