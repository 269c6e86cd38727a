"""Calls under Twisted.

Its coroutines need a portal: ``ensureDeferred(tworoutine.portal(main)())``,
``task.react(tworoutine.portal(main))``.  Ordinary functions that Twisted calls
need `callback`.  On the asyncio reactor neither is needed, and both work.
"""

import asyncio
import functools
import sys

from twisted.internet.defer import Deferred
from twisted.python.threadable import isInIOThread

from tworoutine._portal import portal

__all__ = ["callback"]


def callback(fn, /):
    """An ordinary function in which calls can wait, whatever the reactor.

    For what Twisted calls: callbacks of Deferreds, callLater.  What has to
    return None, such as dataReceived of a protocol, cannot be one itself, but
    can call one.

    Args:
        fn: a function.  If it returns an awaitable, such as a Deferred or a
            coroutine, that is waited for.

    Returns:
        A function with the same arguments, which returns a Deferred.  That
        fires with what fn returns or raises.
    """

    async def run(*args, **kwargs):
        result = fn(*args, **kwargs)
        return await result if hasattr(result, "__await__") else result

    begin = portal(run)

    @functools.wraps(fn)
    def call(*args, **kwargs):
        return Deferred.fromCoroutine(begin(*args, **kwargs))

    return call


def _find_backend():
    """What serves a call where no loop runs; see core/backends/others.c."""
    reactor = sys.modules["twisted.internet.reactor"]
    if not getattr(reactor, "running", False) or not isInIOThread():
        return None
    loop = _asyncio_loop()
    if loop is not None:  # about to run, or just stopped
        return None if loop.is_closed() else (loop,)
    return (
        f"{type(reactor).__name__} of Twisted runs in this thread; use "
        "ensureDeferred(tworoutine.portal(main)()), or for an ordinary "
        "function @tworoutine.twisted.callback"
    )


def _asyncio_loop():
    """The loop of the reactor, if it has one."""
    reactor = sys.modules.get("twisted.internet.reactor")
    return getattr(reactor, "_asyncioEventloop", None)


def _adapt(coro, loop):
    """coro, of which a task of loop is made because a callback calls.

    It may wait for Deferreds if the reactor runs on that loop.
    """
    return _with_deferreds(coro, loop) if loop is _asyncio_loop() else coro


async def _with_deferreds(coro, loop):
    return await _Adapted(coro, loop)


class _Adapted:
    def __init__(self, coro, loop):
        self._coro = coro
        self._loop = loop

    def __await__(self):
        reactor = sys.modules["twisted.internet.reactor"]
        error = None
        while True:
            try:
                if error is None:
                    waits_for = self._coro.send(None)
                else:
                    waits_for = self._coro.throw(error)
            except StopIteration as stop:
                return stop.value
            # The reactor sets its next timer after the one that calls us.
            reactor.callLater(0, _nothing)
            error = None
            try:
                if isinstance(waits_for, Deferred):
                    yield from self._wait(waits_for)
                else:
                    yield waits_for
            except BaseException as exc:
                error = exc

    def _wait(self, deferred):
        future = self._loop.create_future()

        def fired(result):
            if not future.done():
                future.set_result(None)
            return result  # for the coroutine to look at

        deferred.addBoth(fired)
        try:
            yield from future
        except asyncio.CancelledError:
            deferred.addErrback(_nothing)
            deferred.cancel()
            raise


def _nothing(*_):
    pass
