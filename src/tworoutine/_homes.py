"""Homes: loops in which calls run whoever makes them.

A call whose home is another loop than the one that runs here makes a bridge: a
coroutine that has the home run a task, and waits for that.  In a loop, it
waits as every coroutine does; where none runs, its one step blocks the thread.

Imported by the first home.  From then on every call asks for its home: see
core/backends/home.h.
"""

import asyncio
import concurrent.futures
import contextlib
import contextvars
import functools
import inspect
import itertools
import os
import sys
import threading
import time
import types
import weakref
from time import monotonic

from tworoutine._core import (
    Awaiting,
    CannotSuspend,
    run_in,
    thread_loop,
    tworoutine,
)
from tworoutine._core import home as _home_here
from tworoutine._hosts import asgiref
from tworoutine._loops import end_loop
from tworoutine._portal import chain, foreign_library
from tworoutine._private import discard_loop, thread_of

# --- which loop -------------------------------------------------------------


class Home:
    """Where calls run: a loop, a LoopThread, or what returns one of these."""

    def __init__(self, given):
        what = "a home is a loop, a LoopThread, or a function that returns one"
        if isinstance(given, type):
            raise TypeError(f"{what}, not {given!r}; make one of it")
        if isinstance(given, asyncio.AbstractEventLoop | LoopThread):
            self._find = None
        elif callable(given):
            self._find = given
        else:
            raise TypeError(f"{what}, not {given!r}")
        self._given = given

    def loop(self):
        given = self._given if self._find is None else self._find()
        if isinstance(given, LoopThread):
            return given.loop
        if isinstance(given, asyncio.AbstractEventLoop):
            return given
        if inspect.iscoroutine(given):
            given.close()
        raise TypeError(
            f"{self._find!r}, which is to return the home of a call, "
            f"returned {given!r}"
        )


class home:
    """``with home(loop)``: the calls made inside run in loop.

    Whoever makes them: the setting is a context variable, which threads of
    ``asyncio.to_thread`` and tasks inherit.

    Args:
        loop: a loop, a LoopThread, or a function that returns one of these,
            which is asked on entry.

    Raises:
        TypeError: loop is none of these.
        RuntimeError: left where another home was entered, or in another
            context.  A call raises it if its home is closed or does not run.
    """

    def __init__(self, loop, /):
        self._home = Home(loop)

    def __enter__(self):
        entered = _Entered(self._home)
        entered.token = _home_here.set(entered)
        return self

    def __exit__(self, *exc_info):
        entered = _home_here.get(None)
        if entered is None or entered.home is not self._home:
            raise RuntimeError(
                "home() is left where another one was entered, or in another "
                "context"
            )
        _home_here.reset(entered.token)


class _Entered:
    def __init__(self, entered):
        self.home = entered
        self.loop = entered.loop
        self.token = None


def away(home, running):
    """The loop of home if a call made where running runs has to go there.

    None if that is the very one: the call is an ordinary one.
    """
    loop = home.loop()
    if loop is running:
        return None
    if _is_of_parent(loop):
        raise RuntimeError(
            f"the home of this call, {loop!r}, is of the parent process: make "
            "one after the fork, or give a LoopThread, which does"
        )
    if loop.is_closed():
        raise RuntimeError(f"the home of this call, {loop!r}, is closed")
    if not loop.is_running():
        if running is None and thread_loop() is loop:
            return None
        raise RuntimeError(
            f"the home of this call, {loop!r}, does not run: a LoopThread does"
        )
    if thread_of(loop) == threading.get_ident():
        raise CannotSuspend(
            f"the home of this call, {loop!r}, runs in this thread further "
            "out: it cannot go on before what runs inside it has ended"
        )
    return loop


# --- what is known of a loop that is a home ---------------------------------


class _Lane:
    """The calls that wait for a loop."""

    def __init__(self, loop):
        thread = thread_of(loop)
        self.is_of_parent = (
            _process["is_child"]
            and thread is not None
            and thread not in sys._current_frames()
        )
        self.calls = set()
        self._is_guarded = False

    def guard(self, loop):
        """Called in the loop: have its close() end the calls."""
        if not self._is_guarded:
            self._is_guarded = True
            loop.call_later(_FOREVER, _Guard(self.calls))


_FOREVER = 1e8  # seconds


class _Guard:
    """Lies in the loop's queue of timers, until that is emptied."""

    def __init__(self, calls):
        self._calls = calls

    def __call__(self):
        pass

    def __del__(self):
        for call in list(self._calls):
            call.give_up(_closed(call.loop))


def _closed(loop):
    return RuntimeError(
        f"the home of this call, {loop!r}, was closed before the call ended"
    )


_lanes = weakref.WeakKeyDictionary()
_process = {"is_child": False}


def _lane(loop):
    lane = _lanes.get(loop)
    if lane is None:
        lane = _lanes.setdefault(loop, _Lane(loop))
    return lane


def _is_of_parent(loop):
    return _lane(loop).is_of_parent


def _after_fork():
    """In a forked child: loops of other threads are the parent's."""
    _process["is_child"] = True
    for loop, lane in list(_lanes.items()):
        lane.calls.clear()
        thread = thread_of(loop)
        lane.is_of_parent = thread is None or thread != threading.get_ident()
    for each in list(_started):
        each._start_anew()
    _started.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


# --- calls ------------------------------------------------------------------


class _Call:
    """A call on its way: what runs at home, and how that ended."""

    def __init__(self, loop, awaitable, answered):
        self.loop = loop
        self.is_ended = False
        self._awaitable = awaitable
        self._answered = answered  # called when it has ended
        self._lane = _lane(loop)
        self._before = contextvars.copy_context()
        self._context = self._before.copy()
        self._task = None
        self._value = self._error = None
        self._asked = self._heard = 0  # how often it was to be cancelled
        self.since = monotonic()
        self._pinged = None  # since when the home has been asked to answer

    def send(self):
        self._lane.calls.add(self)
        try:
            self.loop.call_soon_threadsafe(_Begin(self))
        except RuntimeError:
            self.give_up(_closed(self.loop))

    # in the home's thread

    def begin(self):
        self._lane.guard(self.loop)
        known = asgiref()
        if known:
            known.move(self._context)
        coro, self._awaitable = self._awaitable, None
        if not asyncio.iscoroutine(coro):
            coro = Awaiting(coro)
        try:
            self._task = self.loop.create_task(coro, context=self._context)
        except BaseException as exc:
            coro.close()
            self._end(None, exc)
            raise
        self._task.add_done_callback(self._task_ended)

    def _task_ended(self, task):
        value = error = None
        if task.cancelled():
            try:
                task.result()
            except asyncio.CancelledError as exc:
                error = exc.with_traceback(exc.__traceback__.tb_next)
        else:
            error = task.exception()
            value = task.result() if error is None else None
        self._end(value, error)

    def _end(self, value, error):
        if self.is_ended:
            return
        self._value, self._error = value, error
        self.is_ended = True
        if self._asked > self._heard and error is None:
            self._error = asyncio.CancelledError()
        self._lane.calls.discard(self)
        self._answered()

    def _cancel(self, msg):
        if self._task is not None and not self._task.done():
            self._heard += 1
            self._task.cancel(msg)

    def _pong(self):
        self._pinged = None

    # in any thread

    def give_up(self, error):
        self._end(None, error)
        awaitable, self._awaitable = self._awaitable, None
        if awaitable is not None:
            _close(awaitable)

    def cancel(self, msg=None):
        """As of a future: whether there is something to cancel."""
        self._asked += 1
        if self.is_ended:
            return False
        try:
            self.loop.call_soon_threadsafe(self._cancel, msg)
        except RuntimeError:
            return False
        return True

    def result(self):
        """What the call returned.  Its context variables are the caller's."""
        known = asgiref()
        for var, value in self._context.items():
            before = self._before.get(var, self)
            if known:
                value = known.moved(value, before)
            if before is not value:
                var.set(value)
        if self._error is None:
            return self._value
        try:
            raise self._error
        finally:
            self._error = None

    def look_after(self):
        """Done now and then: give up if the home cannot go on."""
        error = self._why_not()
        if error is not None:
            self.cancel()  # should it go on later
            self.give_up(error)

    def _why_not(self):
        if self.loop.is_closed():
            return _closed(self.loop)
        if self._pinged is None:
            self._pinged = time.monotonic()
            with contextlib.suppress(RuntimeError):  # closed just now
                self.loop.call_soon_threadsafe(self._pong)
            return None
        waited = time.monotonic() - self._pinged
        place, is_for_us = _where(thread_of(self.loop))
        if is_for_us:
            return RuntimeError(
                f"deadlock: the home of this call, {self.loop!r}, waits for "
                f"this thread{place}, and this thread for the home"
            )
        if waited > PATIENCE:
            return TimeoutError(
                f"the home of this call, {self.loop!r}, has not answered for "
                f"{waited:.0f} seconds{place or ': it does not run'}"
            )
        return None


PATIENCE = 60.0  # seconds
PAUSE = 0.5  # between two looks after a call, at first
_LONG_PAUSE = 8.0


class _Begin:
    """Lies in the loop's queue until it is the call's turn, or never."""

    def __init__(self, call):
        self._call = call

    def __call__(self):
        call, self._call = self._call, None
        if not call.is_ended:
            call.begin()

    def __del__(self):
        if self._call is not None:
            self._call.give_up(_closed(self._call.loop))


def _close(awaitable):
    if inspect.iscoroutine(awaitable) or isinstance(awaitable, Awaiting):
        awaitable.close()


def _where(thread):
    """Where a thread stands, and whether it waits there for this one."""
    frame = innermost = sys._current_frames().get(thread)
    if frame is None:
        return "", False
    while frame.f_code in _PASSED and frame.f_back is not None:
        frame = frame.f_back
    ours = frame.f_code in _WAITS and _waits_for_us(frame.f_locals)
    while innermost.f_back is not None and _is_of_stdlib(innermost):
        innermost = innermost.f_back
    code = innermost.f_code
    where = f"{code.co_filename}, line {innermost.f_lineno}, {code.co_name}()"
    return f" in {where}", ours


def _waits_for_us(names):
    """Whether what has these local names waits for this thread, for ever."""
    what = names.get("self")
    if names.get("timeout") is not None:
        return False
    if isinstance(what, threading.Thread):
        return what.ident == threading.get_ident()
    return _is_worked_on(what)


def _is_of_stdlib(frame):
    return frame.f_globals.get("__name__", "").partition(".")[0] in _WAITING


_WAITING = {"threading", "concurrent", "queue", "tworoutine"}


def _codes(*functions):
    return {function.__code__ for function in functions}


_WAITS = _codes(
    threading.Thread.join,
    concurrent.futures.Future.result,
    concurrent.futures.Future.exception,
)
_PASSED = _codes(threading.Condition.wait)  # called by these
if hasattr(threading.Thread, "_wait_for_tstate_lock"):  # until 3.12
    _PASSED |= _codes(threading.Thread._wait_for_tstate_lock)


def _is_worked_on(future):
    """Whether this thread runs what future, of an executor, waits for."""
    frame = sys._getframe()
    while frame is not None:
        item = frame.f_locals.get("self") if _is_work(frame.f_code) else None
        if item is not None and getattr(item, "future", None) is future:
            return True
        frame = frame.f_back
    return False


def _is_work(code):
    module = sys.modules.get("concurrent.futures.thread")
    return module is not None and code is module._WorkItem.run.__code__


# --- bridges ----------------------------------------------------------------


async def bridge(loop, awaitable):
    """Have loop await awaitable, and wait for that, wherever this is."""
    here = asyncio._get_running_loop()
    if asyncio.isfuture(awaitable) and awaitable.get_loop() is not loop:
        if here is None and awaitable.get_loop() is thread_loop():
            return run_in(thread_loop(), _only(awaitable))
        return await awaitable
    if here is loop:
        return await awaitable
    if here is not None:
        return await _wait_in_task(loop, awaitable, here)
    library = foreign_library()
    if library is not None:
        _close(awaitable)
        raise CannotSuspend(
            f"a call whose home is a loop of asyncio cannot wait in {library}"
        )
    return _wait_in_thread(loop, awaitable)


async def _only(awaitable):
    return await awaitable


class _Answer(asyncio.Future):
    """What a task waits for; who cancels it, cancels what runs at home."""

    call = None

    def cancel(self, msg=None):
        call = self.call
        return not self.done() and call is not None and call.cancel(msg)

    def arrive(self):
        if not self.done():
            self.set_result(None)


async def _wait_in_task(loop, awaitable, here):
    answer = _ask(loop, awaitable, here)
    answer.call.send()
    return await _take(answer, here)


def start(loop, awaitable, here, begin):
    """A task of here, which need not run, for what begins in loop now.

    begin(here, coro): makes the task.
    """
    answer = _ask(loop, awaitable, here)
    answer.call.send()
    task = begin(here, _take(answer, here))
    # Cancelled before its first step, the task runs nothing.
    task.add_done_callback(lambda _: answer.cancel())
    return task


def _ask(loop, awaitable, here):
    """What a task of here waits for: a call on its way to loop."""
    answer = _Answer(loop=here)

    def answered():
        with contextlib.suppress(RuntimeError):  # closed
            here.call_soon_threadsafe(answer.arrive)

    answer.call = _Call(loop, awaitable, answered)
    return answer


async def _take(answer, here):
    call = answer.call
    watch = _watch(here)
    watch.add(here, call)
    try:
        await answer
    except BaseException:
        call.cancel()
        raise
    finally:
        watch.calls.discard(call)
        answer.call = None
    return call.result()


class _Watch:
    """Looks after the calls that wait in one loop for others."""

    def __init__(self):
        self.calls = set()
        self._is_set = False

    def add(self, here, call):
        self.calls.add(call)
        if not self._is_set:
            self._is_set = True
            here.call_later(PAUSE, self._look)

    def _look(self):
        self._is_set = False
        for call in list(self.calls):
            call.look_after()
        if self.calls:
            self._is_set = True
            asyncio.get_running_loop().call_later(PAUSE, self._look)


_watches = weakref.WeakKeyDictionary()


def _watch(here):
    watch = _watches.get(here)
    if watch is None:
        watch = _watches[here] = _Watch()
    return watch


def _wait_in_thread(loop, awaitable):
    woken = threading.Lock()
    woken.acquire()

    def wake():
        with contextlib.suppress(RuntimeError):  # released before
            woken.release()

    known = asgiref()
    served = known and known.serve(wake)
    run_given, end = served or (None, None)
    try:
        call = _Call(loop, awaitable, wake)
        try:
            call.send()
            _wait(call, woken, run_given)
        except BaseException:  # out of a signal handler, as Ctrl-C is
            call.cancel()
            _wait(call, woken, run_given)
            raise
        return call.result()
    finally:
        if end is not None:
            end()


def _wait(call, woken, run_given):
    """Wait until it has ended; meanwhile run what this thread is given."""
    pause = PAUSE
    while not call.is_ended:
        late = not woken.acquire(timeout=pause)
        if late:
            call.look_after()
            pause = min(2 * pause, _LONG_PAUSE)
        if run_given is not None:
            run_given(late)


def hide_bridge(error):
    """Take what is of this file from the beginning of error's traceback."""
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_frame.f_globals is globals():
        traceback = traceback.tb_next
    error.__traceback__ = traceback


# --- tworoutines with a home ------------------------------------------------

_wrappers = weakref.WeakSet()  # what at_home() has made


def at(f, given):
    """``f.at(given)``."""
    fn = ~f
    if isinstance(fn, types.MethodType):
        return tworoutine(at(f.__func__, given), fn.__self__)
    return tworoutine(fn, home=given)


def at_home(fn, given):
    """What a tworoutine over fn with a home is made of: function, home.

    Or the tworoutine itself, if it is a bound one.
    """
    home = given if isinstance(given, Home) else Home(given)
    if isinstance(fn, tworoutine):
        fn = ~fn
    if isinstance(fn, types.MethodType):
        bound = tworoutine(fn)
        return at(bound, given)
    if isinstance(fn, classmethod | staticmethod):
        return type(fn)(wrap(fn.__func__, home)), home
    return wrap(fn, home), home


def wrap(fn, home):
    """The function that calls fn at home."""
    if isinstance(fn, tworoutine):
        fn = ~fn
    if isinstance(fn, types.FunctionType) and fn in _wrappers:
        fn = fn.__wrapped__
    at_home = functools.update_wrapper(_WRAP[_kind(fn)](fn, home), fn)
    if isinstance(fn, types.FunctionType):  # for those who look there
        at_home.__defaults__ = fn.__defaults__
        at_home.__kwdefaults__ = fn.__kwdefaults__
    _wrappers.add(at_home)
    return at_home


def code_of(fn, code):
    """The code to be shown of fn, whose own is given."""
    function = getattr(fn, "__func__", fn)
    if isinstance(function, types.FunctionType) and function in _wrappers:
        return getattr(function.__wrapped__, "__code__", code)
    return code


def _kind(fn):
    while isinstance(fn, functools.partial | types.MethodType):
        fn = getattr(fn, "func", None) or fn.__func__
    if isinstance(fn, type):
        return "class" if hasattr(fn, "__aenter__") else "other"
    if not isinstance(fn, types.FunctionType):
        fn = getattr(fn, "__call__", None)  # noqa: B004
    if inspect.isasyncgenfunction(fn):
        return "generator"
    if inspect.iscoroutinefunction(fn):
        return "coroutine"
    return "manager" if getattr(fn, "__code__", None) is _MANAGES else "other"


_MANAGES = contextlib.asynccontextmanager(bridge).__code__


def _wrap_coroutine(fn, home):
    async def at_home(*args, **kwargs):
        return await _go(home, fn(*args, **kwargs))

    return at_home


def _wrap_other(fn, home):
    async def at_home(*args, **kwargs):
        return await _go(home, _call(fn, *args, **kwargs))

    return at_home


def _wrap_generator(fn, home):
    async def at_home(*args, **kwargs):
        agen = fn(*args, **kwargs)
        step = _call(agen.__anext__)
        while True:
            try:
                item = await _go(home, step)
            except StopAsyncIteration:
                return
            try:
                sent = yield item
            except GeneratorExit:
                await _go(home, _call(agen.aclose))
                raise
            except BaseException as exc:
                step = _call(agen.athrow, exc)
            else:
                step = _call(agen.asend, sent)

    return at_home


def _wrap_manager(fn, home):
    def at_home(*args, **kwargs):
        manager = fn(*args, **kwargs)
        return _Manager(home, lambda: manager)

    return at_home


def _wrap_class(fn, home):
    def at_home(*args, **kwargs):
        return _Manager(home, lambda: fn(*args, **kwargs))

    return at_home


_WRAP = {
    "class": _wrap_class,
    "coroutine": _wrap_coroutine,
    "generator": _wrap_generator,
    "manager": _wrap_manager,
    "other": _wrap_other,
}


class _Manager:
    """An async context manager that is entered and left at home."""

    def __init__(self, home, make):
        self._home = home
        self._make = make
        self._manager = None

    async def __aenter__(self):
        return await _go(self._home, self._enter())

    async def __aexit__(self, *exc_info):
        return await _go(self._home, self._leave(exc_info))

    async def _enter(self):
        self._manager = self._make()
        return await self._manager.__aenter__()

    async def _leave(self, exc_info):
        return await self._manager.__aexit__(*exc_info)


async def _call(fn, *args, **kwargs):
    return await fn(*args, **kwargs)


async def _go(home, awaitable):
    """Await awaitable at home."""
    try:
        loop = away(home, asyncio._get_running_loop())
    except BaseException:
        _close(awaitable)
        raise
    if loop is None:
        return await awaitable
    return await bridge(loop, awaitable)


# --- a loop for many threads ------------------------------------------------

_numbers = itertools.count(1)
_started = set()


class LoopThread:
    """An asyncio loop in a thread of its own: a home for many threads.

    It is started when first used, and closed by close(), by leaving ``with``,
    or as the interpreter ends, the way ``asyncio.Runner`` closes one.  In a
    forked child it starts anew.

    Args:
        name: of the thread; None for one with a number.

    Raises:
        TypeError: name is not a str.
    """

    def __init__(self, name=None):
        if not isinstance(name, str | None):
            raise TypeError(f"LoopThread(): name must be a str, not {name!r}")
        self._name = name or f"LoopThread-{next(_numbers)}"
        self._is_closed = False
        self._start_anew()

    def _start_anew(self):
        loop = getattr(self, "_loop", None)
        if loop is not None and thread_of(loop) != threading.get_ident():
            discard_loop(loop)
        self._lock = threading.Lock()
        self._loop = self._thread = self._is_to_end = None

    def __reduce__(self):
        raise TypeError(
            f"cannot pickle {self!r}: its thread belongs to this process; "
            "for functions that go to others, let their home be a function "
            "that returns one"
        )

    @property
    def loop(self):
        """The loop, which runs from now on.

        Raises:
            RuntimeError: it is closed.
            CannotSuspend: gevent has patched threads.
        """
        loop = self._loop
        return self._start() if loop is None else loop

    def _start(self):
        with self._lock:
            if self._is_closed:
                raise RuntimeError(
                    f"{self!r} is closed: make another one, and close it last"
                )
            gevent = sys.modules.get("gevent.monkey")
            if gevent is not None and gevent.is_module_patched("threading"):
                raise CannotSuspend(
                    f"{self!r} cannot start, since gevent makes greenlets of "
                    "threads: have monkey.patch_all(thread=False), or no "
                    "home, since the calls of greenlets share one loop"
                )
            if self._loop is None:
                loop = asyncio.new_event_loop()
                runs, is_to_end = threading.Event(), threading.Event()
                loop.call_soon(runs.set)
                thread = threading.Thread(
                    target=_run,
                    args=(loop, is_to_end),
                    name=self._name,
                    daemon=True,
                )
                try:
                    thread.start()
                except BaseException:
                    loop.close()
                    raise
                runs.wait()
                self._loop, self._thread = loop, thread
                self._is_to_end = is_to_end
                _started.add(self)
            return self._loop

    def close(self):
        """Cancel what runs in it, wait for that, and close the loop.

        Raises:
            RuntimeError: called in its own thread.
        """
        if self._thread is threading.current_thread():
            raise RuntimeError(
                f"{self!r} cannot be closed in its own thread, which close() "
                "waits for"
            )
        self._is_closed = True
        self.end()

    def end(self):
        """The same, but that it starts anew when it is used again."""
        with self._lock:
            loop, self._loop = self._loop, None
            thread = self._thread
        if loop is not None:
            self._is_to_end.set()
            loop.call_soon_threadsafe(loop.stop)
        if thread is not None:
            thread.join()
            _started.discard(self)

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.close()

    def __repr__(self):
        state = (
            "closed"
            if self._is_closed
            else "not started"
            if self._loop is None
            else "running"
        )
        return f"<LoopThread {self._name!r} {state}>"


def _run(loop, is_to_end):
    """What the thread of a LoopThread does."""
    asyncio.set_event_loop(loop)
    chain(loop)
    try:
        while not is_to_end.is_set():
            # What a task raises to end the loop, is raised by its call.
            with contextlib.suppress(KeyboardInterrupt, SystemExit):
                loop.run_forever()
        end_loop(loop, loop.run_until_complete)
    finally:
        asyncio.set_event_loop(None)
        loop.close()


def end_threads():
    """As the interpreter ends."""
    for each in list(_started):
        each.end()


for each in (LoopThread, home):
    each.__module__ = "tworoutine"
