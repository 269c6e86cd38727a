"""Calls in gevent's greenlets: one asyncio loop serves all of a thread.

It runs in a greenlet of its own for as long as calls wait.  Where it would
wait for events it lets gevent's hub go on, so that other greenlets do.

    hub > Run._main > turns of the loop > steps of the tasks of all calls
    hub > greenlet of the user > f(x)    waits in Run.wait, for its task

Other greenlets must not take the loop for one that runs in them, so it is
the running loop only while its own code runs.
"""

import asyncio
import os
import sys
import threading

import gevent
import gevent.event
from gevent._hub_local import get_hub_if_exists, set_hub
from gevent.selectors import GeventSelector
from greenlet import getcurrent, greenlet

from tworoutine._core import drivable, run_in, stepper, thread_loop

_RUN_ONCE = asyncio.BaseEventLoop._run_once.__code__

_runs = {}  # hub -> Run, while calls wait
_killed = {}  # loop whose thread ends -> greenlets whose calls were killed

# A forked child cannot go on with the loop of its parent: what waits for that
# waits for ever.
os.register_at_fork(after_in_child=_runs.clear)


def find_backend(hub, loop):
    """What serves a call made here; see core/backends/others.c."""
    if loop is not None and _runs_below(loop):
        return None
    if getcurrent() is hub:
        return (
            "this is a callback of gevent's hub; run it in a greenlet of its "
            "own: gevent.spawn(function)"
        )
    run = _runs.get(hub)
    if run is None:
        loop = thread_loop()
        if not drivable(loop):
            return None
        run = _runs[hub] = Run(hub, loop)
    return run


def loop_here():
    """The loop of this thread that runs while calls wait; or None."""
    run = _runs.get(get_hub_if_exists())
    return None if run is None else run.loop


def wake_here():
    """That loop, which may poll in its greenlet, has something to do."""
    _runs[get_hub_if_exists()]._wake()


def end_calls(loop):
    """Kill the calls that wait in a loop whose thread ends.

    As asyncio.Runner cancels tasks: each once, and all are waited for, and so
    are the calls that they make while they end.  Returns whether they have
    ended: a hub that is destroyed lets nobody go on.
    """
    _killed[loop] = {getcurrent()}
    local_hub = get_hub_if_exists()
    try:
        while (run := _run_of(loop)) and run.hub.loop is not None:
            set_hub(run.hub)  # the thread's locals may be gone already
            run.kill_all()
            run.over.wait()
    except gevent.hub.LoopExit:
        pass  # they wait for what nobody is going to do
    finally:
        set_hub(local_hub)
        del _killed[loop]
    if run is not None:
        run.abandon()
    return run is None


def take_greenlets_for_threads(loop):
    """gevent patched threading: ids of threads are ids of greenlets.

    asyncio's debug mode must not complain when steps change greenlets.
    """
    if threading.get_ident.__module__ == "gevent.thread":
        loop._check_thread = lambda: None


def _run_of(loop):
    """The Run of loop, if calls wait there."""
    runs = list(_runs.values())  # other threads add theirs
    return next((run for run in runs if run.loop is loop), None)


def _runs_below(loop):
    """Whether this is the code of a step of loop, or called by such."""
    stepping = stepper(loop)
    current = who = getcurrent()
    while who is not None:
        if who is stepping:
            return True
        if stepping is None:
            frame = sys._getframe() if who is current else who.gr_frame
            while frame is not None:
                if (
                    frame.f_code is _RUN_ONCE
                    and frame.f_locals["self"] is loop
                ):
                    return True
                frame = frame.f_back
        who = who.parent
    return False


class Run:
    """The loop of a thread, running because calls wait."""

    def __init__(self, hub, loop):
        self.loop = loop
        self.hub = hub
        self._tasks = {}  # task of a call that waits -> greenlet
        self._ended = []  # events of calls that may go on
        self._idle = None  # the future that ends the run
        self._fatal = {}  # exception of a call -> has it stopped the loop yet
        self.over = gevent.event.Event()
        hub.loop.run_callback(greenlet(self._main, hub).switch)

    def wait(self, coro, context):
        """Run coro as a task in context; (task, None) when it is done.

        An exception thrown into the waiting greenlet, as by kill() or a
        gevent.Timeout, cancels the task.  When that has ended, and not with
        an error of its own, the exception to raise is in place of the None.
        """
        ended = gevent.event.Event()
        task = asyncio.Task(coro, loop=self.loop, context=context)
        task.add_done_callback(lambda _: self._end(task, ended))
        self._tasks[task] = getcurrent()
        if self.loop in _killed:
            self.kill_all()
        thrown = None
        while not ended.is_set():
            try:
                self._let_go()  # the run goes on
                self._wake()
                ended.wait()
            except BaseException as exc:
                thrown = exc
                self.loop.call_soon(task.cancel)  # after its first step
                self._wake()
        if thrown is not None and (task.cancelled() or not task.exception()):
            return task, thrown.with_traceback(None)
        return task, None

    def _end(self, task, ended):
        """A call is done.  The last one goes on when the run is over."""
        self._note(task)
        del self._tasks[task]
        self._ended.append(ended)
        if self._tasks:
            self._let_go()
        elif self._idle is not None and not self._idle.done():
            self._idle.set_result(None)

    def kill_all(self):
        """Kill the calls that wait, but none that was killed already."""
        killed = _killed[self.loop]
        for who in self._tasks.values():
            if who not in killed:
                killed.add(who)
                gevent.kill(who)

    def _let_go(self):
        while self._ended:
            self._ended.pop(0).set()

    def _wake(self):
        if isinstance(self.loop._selector, _Selector):
            self.loop._selector.wake()

    async def _until_idle(self):
        if self._tasks:
            self._idle = self.loop.create_future()
            await self._idle

    def abandon(self):
        """The calls never go on; make the loop one that can be discarded."""
        del _runs[self.hub]
        if isinstance(self.loop._selector, _Selector):
            self.loop._selector.abandon()

    def abandoned(self):
        return _runs.get(self.hub) is not self

    def _main(self):
        if self.abandoned():
            return
        outside = asyncio._get_running_loop()
        asyncio._set_running_loop(None)
        selector = _Selector(self, self.hub, outside)
        try:
            while self._tasks:
                try:
                    run_in(self.loop, self._until_idle())
                except BaseException as exc:
                    self._failed(exc)
                if self.abandoned():  # by a fork, in the child
                    break
        finally:
            _runs.pop(self.hub, None)
            selector.close()
            asyncio._set_running_loop(selector.outside)
            self._let_go()
            self.over.set()

    def _failed(self, exc):
        """The loop was stopped, by an exception of a call's task perhaps.

        The call then raises that, and it is nobody else's.
        """
        for task in self._tasks:
            self._note(task)
        if exc in self._fatal:
            self._fatal[exc] = True
            return
        if isinstance(exc, KeyboardInterrupt):
            # The core has cancelled _until_idle for it, and raised another.
            for raised, known in self._fatal.items():
                if not known and isinstance(raised, KeyboardInterrupt):
                    self._fatal[raised] = True
                    return
        if isinstance(exc, Exception):
            self.hub.handle_error(self, type(exc), exc, exc.__traceback__)
        else:
            self.hub.handle_system_error(type(exc), exc)

    def _note(self, task):
        if task.done() and not task.cancelled():
            exc = task.exception()
            if isinstance(exc, (KeyboardInterrupt, SystemExit)):
                self._fatal.setdefault(exc, False)


class _Selector:
    """Stands in for the selector of a loop while that runs in a greenlet."""

    def __init__(self, run, hub, outside):
        self.outside = outside  # the running loop of the other greenlets
        self._run = run
        self._loop = loop = run.loop
        self._inner = loop._selector
        self._hooks = sys.get_asyncgen_hooks()
        self._ready = gevent.event.Event()
        self._watcher = None
        if not isinstance(self._inner, GeventSelector):
            self._watcher = hub.loop.io(self._inner.fileno(), 1)
        loop._selector = self
        take_greenlets_for_threads(loop)

    def __getattr__(self, name):
        return getattr(self._inner, name)

    def select(self, timeout=None):
        loop, hooks = self._loop, sys.get_asyncgen_hooks()
        asyncio._set_running_loop(self.outside)
        sys.set_asyncgen_hooks(*self._hooks)
        try:
            return self._select(timeout)
        finally:
            if self._run.abandoned():
                gevent.event.Event().wait()
            self.outside = asyncio._get_running_loop()
            self._hooks = sys.get_asyncgen_hooks()
            asyncio._set_running_loop(loop)
            sys.set_asyncgen_hooks(*hooks)

    def _select(self, timeout):
        if self._watcher is None:
            return self._inner.select(timeout)  # it lets the hub go on
        events = self._inner.select(0)
        poll = timeout is not None and timeout <= 0
        if events or poll or self._ready.is_set():
            gevent.sleep(0)  # let the others have their turn
        else:
            self._watcher.start(self._ready.set)
            try:
                self._ready.wait(timeout)
            finally:
                self._watcher.stop()
        self._ready.clear()
        return events or self._inner.select(0)

    def abandon(self):
        self._loop._selector = self._inner
        if self._watcher is None:
            self._loop._closed = True  # only with the hub could it be closed

    def wake(self):
        if self._watcher is None:
            self._loop.call_soon_threadsafe(lambda: None)
        else:
            self._ready.set()

    def close(self):
        self._loop._selector = self._inner
        vars(self._loop).pop("_check_thread", None)
        if self._watcher is not None:
            self._watcher.close()
            return
        # Its watchers would keep gevent.wait() waiting.
        for key in list(self._inner.get_map().values()):
            self._inner.unregister(key.fileobj)
            self._inner.register(key.fileobj, key.events, key.data)
