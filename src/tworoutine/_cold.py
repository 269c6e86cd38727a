"""What the C core leaves to Python, because it is not hot.

Fan-out, pickling, and the end of a thread's own loop.
"""

import asyncio
import atexit
import collections
import contextlib
import copy
import functools
import importlib
import inspect
import operator
import pickle
import selectors
import sys
import threading
import types
import weakref

from tworoutine._core import (
    Awaiting,
    Portal,
    cold,
    end_thread,
    in_portal,
    run_in,
    tworoutine,
    unregistered,
)
from tworoutine._hosts import adapt as adapt
from tworoutine._hosts import end_calls, take_greenlets_for_threads
from tworoutine._hosts import find_backend as find_backend
from tworoutine._hosts import for_asgiref as for_asgiref
from tworoutine._portal import foreign_library as foreign_library
from tworoutine._portal import has_factory as has_factory
from tworoutine._prompts import explain as explain
from tworoutine._prompts import foreground as foreground
from tworoutine._prompts import in_input_hook as in_input_hook
from tworoutine._prompts import prompt_loop as prompt_loop
from tworoutine._prompts import prompt_runner as prompt_runner
from tworoutine._prompts import warn_cancelled as warn_cancelled

# --- calls ------------------------------------------------------------------


def name_plainly(fn, exc):
    """Let exc, of the call f(...) itself, name f and not its form f.aio."""
    while isinstance(fn, functools.partial):
        fn = fn.func
    name = getattr(fn, "__qualname__", "")
    if name.endswith(".aio") and fn.__name__ != "aio" and len(exc.args) == 1:
        plain = name.removesuffix(".aio")
        exc.args = (exc.args[0].replace(f"{name}()", f"{plain}()", 1),)


def comes_again(exc):
    """Whether exc, a cancel of trio's, is raised anew at the next wait."""
    trio = sys.modules.get("trio")
    return trio is not None and isinstance(exc, trio.Cancelled)


# --- the end of a loop ------------------------------------------------------

_THREAD_JOIN_TIMEOUT = 300  # seconds, as asyncio.Runner


def close_loop(loop):
    """Close a thread's own loop the way ``asyncio.Runner`` closes one."""
    if threading.get_ident() == threading.main_thread().ident:
        _unset(loop)  # what another thread has set ends with it
    if loop.is_closed():
        return
    if not end_calls(loop):
        discard_loop(loop)
        return
    take_greenlets_for_threads(loop)
    try:
        # From outside: inside, 3.14 looks at the tasks of this thread alone,
        # and as the thread ends these are no longer its own.
        tasks = asyncio.all_tasks(loop)
        if tasks:
            run_in(loop, _cancel(loop, tasks))
        # Two runs, as Runner has them: so many turns are there for what is
        # queued, as the closing of generators that were collected.
        run_in(loop, loop.shutdown_asyncgens())
        run_in(loop, _shutdown_executor(loop))
    finally:
        loop.close()


async def _cancel(loop, tasks):
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for task in tasks:
        if not task.cancelled() and task.exception() is not None:
            loop.call_exception_handler(
                {
                    "message": "unhandled exception while closing the loop "
                    "of synchronous calls",
                    "exception": task.exception(),
                    "task": task,
                }
            )


async def _shutdown_executor(loop):
    """As ``loop.shutdown_default_executor``, which starts a thread to wait.

    At the end of the interpreter none can be started, and at the end of a
    thread, starting one registers the thread that ends as a dummy, for ever.
    """
    executor = getattr(loop, "_default_executor", None)
    if executor is None:
        return
    loop._executor_shutdown_called = True
    executor.shutdown(wait=False)
    end = loop.time() + _THREAD_JOIN_TIMEOUT
    while any(thread.is_alive() for thread in executor._threads):
        if loop.time() > end:
            return
        await asyncio.sleep(0.001)


_of_parents = []  # loops of parent processes that only lie here


def inherit_loop(loop):
    """In a forked child, what is done with the loop of its parent's calls.

    While a call on this stack runs it, it takes what ends that call; it polls
    nothing, and touches nothing of the parent's.  It is not the current one.
    """
    _unset(loop)
    if loop is None or loop.is_closed():
        return
    if not loop.is_running():
        discard_loop(loop)
        return
    if hasattr(loop, "_selector"):
        loop._selector.close()
        loop._selector = selectors.SelectSelector()
    # 3.14+: a step that ends finds that its loop does not run.
    handler = loop.get_exception_handler()

    def complain(loop, context):
        if _is_of_fork(context.get("exception")):
            return
        if handler is None:
            loop.default_exception_handler(context)
        else:
            handler(loop, context)

    loop.set_exception_handler(complain)


def _is_of_fork(exc):
    return isinstance(exc, RuntimeError) and str(exc).endswith(
        "is not the running loop"
    )


def discard_loop(loop):
    """Drop a loop that cannot be closed.

    If it was inherited by a forked child, its selector is shared with the
    parent, so nothing may be unregistered there; only this process's
    descriptors are closed.  Its tasks go on there: here, nobody misses them.
    """
    if loop is None or loop.is_closed():
        return
    if not hasattr(loop, "_selector"):
        _of_parents.append(loop)  # not of asyncio's kind: nothing is known
        return
    for task in asyncio.all_tasks(loop):
        task._log_destroy_pending = False
    for name in ("_selector", "_ssock", "_csock"):
        resource = getattr(loop, name, None)
        if resource is not None:
            resource.close()
    loop._closed = True


def _unset(loop):
    """If a thread's own loop is set as its current one, have none set."""
    local = getattr(asyncio.events._event_loop_policy, "_local", None)
    if loop is None or getattr(local, "_loop", None) is not loop:
        return
    asyncio.set_event_loop(None)
    if hasattr(local, "_set_called"):  # until 3.13: nobody has set one
        local._set_called = False


class _AtExit:
    """What atexit runs, and lets go of when it has run it, perhaps by hand."""

    def __call__(self):
        end_thread()

    def __del__(self, unregistered=unregistered):
        unregistered()


def register():
    """Have the main thread's loop closed as the interpreter ends."""
    atexit.register(_AtExit())


class _Left:
    """What asyncio would say of a task that is dropped while it waits.

    The call in it is ended, and with it the task.  But who holds the task has
    not dropped it: asyncio would say nothing of it yet, nor do we.
    """

    def __init__(self, task):
        self._handler = task.get_loop().call_exception_handler
        self._context = {
            "task": _Was(task),
            "message": "Task was destroyed but it is pending!",
        }
        if task._source_traceback:
            self._context["source_traceback"] = task._source_traceback
        self.is_dropped = self.is_held = False

    def tell(self):
        """Tell that the task is dropped, now or when it is."""
        if self.is_dropped:
            self._handler(self._context)
        self.is_held = True


class _HeldByTask:
    def __init__(self, left):
        self._left = left

    def __del__(self):
        self._left.is_dropped = True
        if self._left.is_held:
            self._left.tell()


class _Was:
    """A task as it was when it waited."""

    def __init__(self, task):
        self._repr = repr(task)
        self._name = task.get_name()
        self._coro = task.get_coro()

    def __repr__(self):
        return self._repr

    def get_name(self):
        return self._name

    def get_coro(self):
        return self._coro


def destroying(task):
    """The call in which task waits is about to be ended; see orphan.c.

    What is returned tells of it when our own references are gone.
    """
    # Its callbacks could not be queued in a loop that is closed.
    for callback, _ in list(task._callbacks or ()):
        task.remove_done_callback(callback)
    left = _Left(task)
    task._tworoutine_left = _HeldByTask(left)
    return left


def destroyed(task):
    """It has been.  Tell of an error, which nobody is there to ask for.

    At once, since when the task is dropped it may be too late.
    """
    if not task.done():  # its step never ends, so it is never dropped
        task._tworoutine_left = None
        return
    error = None if task.cancelled() else task._exception
    if error is None or not task._log_traceback:
        return
    task._log_traceback = False
    if not isinstance(error, GeneratorExit):
        task.get_loop().call_exception_handler(
            {
                "message": f"{type(task).__name__} exception was never "
                "retrieved",
                "exception": error,
                "future": task,
            }
        )


def forget_thread():
    """Unregister the thread that ends, if what ran at its end asked for it.

    Logging does: threading takes it for one that has just appeared.
    """
    thread = threading._active.get(threading.get_ident())
    if not isinstance(thread, threading._DummyThread):
        return  # to look further would give the thread locals anew, for ever
    local = getattr(threading, "_thread_local_info", None)
    if hasattr(local, "_track_dummy_thread_ref"):  # 3.13: it does the same
        del local._track_dummy_thread_ref
    threading._active.pop(threading.get_ident(), None)


def lose(task):
    """Cancel a task whose step never ends: no step of it may follow."""
    is_c = isinstance(task, asyncio.Future)
    (asyncio.Future if is_c else asyncio.futures._PyFuture).cancel(task)


# --- eager tasks ------------------------------------------------------------


class _Held:
    """What the tasks seem to wait for that an eager one holds up.

    Their cancel reaches the one, which may then end, and themselves as well.
    """

    def __init__(self, task):
        self._task = task

    def cancel(self, msg=None):
        self._task.cancel(msg=msg)
        return False

    def __repr__(self):
        return f"<held up by {self._task!r}>"


def held_up(task):
    """The tasks on whose stack the first step of task stands, or None.

    Before them in the tuple: what they are to wait for.
    """
    frame = getattr(task.get_coro(), "cr_frame", None) or sys._getframe()
    frame = frame.f_back
    below = set()
    while frame is not None:
        below.add(frame)
        frame = frame.f_back
    if not any(each.f_code.co_flags & inspect.CO_COROUTINE for each in below):
        return None
    held = [
        each
        for each in asyncio.all_tasks(task.get_loop())
        if each is not task
        and each._fut_waiter is None
        and getattr(each.get_coro(), "cr_frame", None) in below
    ]
    return (_Held(task), *held) if held else None


# --- pickling and names -----------------------------------------------------


def _lookup(module, qualname):
    """What the dotted name leads to in an imported module, or None."""
    try:
        return operator.attrgetter(qualname)(sys.modules[module])
    except (KeyError, AttributeError, TypeError):
        return None


def name_async_form(f, fn):
    """Call the function ``<f>.aio`` if its own name leads to f.

    So that it, too, can be found, and pickled, by its qualified name.
    """
    if (
        not fn.__qualname__.endswith(".aio")
        and _lookup(f.__module__, f.__qualname__) == f
    ):
        fn.__qualname__ += ".aio"


_SPECIAL_NAMES = (
    *("__name__", "__qualname__", "__wrapped__", "__signature__"),
    *("__annotations__", "__type_params__", "__isabstractmethod__"),
    *("__annotate__", "__code__", "__defaults__", "__kwdefaults__"),
    *("__self__", "__func__"),
)


def names(f, fn):
    """What dir(f) lists: what the attributes of f lead to."""
    passed_on = [name for name in dir(fn) if not name.startswith("_")]
    # The type has some of its own: __annotations__, once somebody has asked.
    own = set(object.__dir__(f)).difference(_SPECIAL_NAMES)
    special = [name for name in _SPECIAL_NAMES if hasattr(f, name)]
    return sorted({*own, *passed_on, *special})


def reduce(f):
    """Pickle f by name where its name leads to it, else by value."""
    owner = getattr(f, "__self__", None)
    if owner is not None:
        return getattr, (owner, f.__name__)
    module, qualname = f.__module__, f.__qualname__
    found = _lookup(module, qualname) if module != "__main__" else None
    if found is f:
        return qualname
    if found == f:  # a static method: another object at each access
        return find, (module, qualname)
    return wrap, (module, qualname, ~f)


def wrap(module, qualname, fn):
    """Unpickle what was sent by value: the one of that name if it has fn.

    It has if fn came by name, as a plain pickle of ``__main__`` sends it.
    """
    found = _lookup(module, qualname)
    if isinstance(found, tworoutine) and ~found is fn:
        return found
    return tworoutine(fn)


def find(module, qualname):
    """Unpickle what is found by name, which a tworoutine must be.

    Or an Unpickler that admits this function would thereby admit any other.
    """
    found = operator.attrgetter(qualname)(importlib.import_module(module))
    if not isinstance(found, tworoutine):
        raise pickle.UnpicklingError(
            f"{module}.{qualname} is {found!r}, and not a tworoutine, as it "
            "was where this was pickled"
        )
    return found


def deepcopy_bound(f, origin, memo):
    """As for methods: bound to a deep copy of what f is bound to."""
    method = ~f
    owner = copy.deepcopy(method.__self__, memo)
    if origin is None:
        return tworoutine(type(method)(method.__func__, owner))
    if isinstance(owner, type):
        return origin.__get__(None, owner)
    return origin.__get__(owner, type(owner))


def bound_signature(origin, method):
    """The signature assigned to origin, less its first parameter if bound."""
    signature = origin.__signature__
    if not inspect.ismethod(method):
        return signature
    return signature.replace(
        parameters=list(signature.parameters.values())[1:]
    )


_CODES = weakref.WeakKeyDictionary()  # fn's code: f's, if it is another one
_BOUND_CODES = weakref.WeakKeyDictionary()  # the same where f is bound


def shown_code(fn, code):
    """fn's code as that of f: with the flags of what a call of f returns.

    And, since a bound f is no method by type, without the first parameter.
    """
    if not isinstance(code, types.CodeType):
        return code
    bound = inspect.ismethod(fn)
    codes = _BOUND_CODES if bound else _CODES
    made = codes.get(code)
    # Codes are equal, too, that come from files of different names.
    if made is None or made.co_filename != code.co_filename:
        changes = {"co_flags": _synchronous(code.co_flags)}
        if bound and code.co_argcount > 0:
            changes |= {
                "co_argcount": code.co_argcount - 1,
                "co_posonlyargcount": max(code.co_posonlyargcount - 1, 0),
                "co_nlocals": code.co_nlocals - 1,
                "co_varnames": code.co_varnames[1:],
            }
        if all(getattr(code, name) == changes[name] for name in changes):
            return code
        made = codes[code] = code.replace(**changes)
    return made


def _synchronous(flags):
    if flags & inspect.CO_ITERABLE_COROUTINE:
        flags &= ~inspect.CO_GENERATOR
    if flags & inspect.CO_ASYNC_GENERATOR:
        flags |= inspect.CO_GENERATOR
    return flags & ~(
        inspect.CO_COROUTINE
        | inspect.CO_ASYNC_GENERATOR
        | inspect.CO_ITERABLE_COROUTINE
    )


def unbound(function):
    """The tworoutine of which one over a bound method seems to be made.

    The function keeps it, so that it lives as long: registries of callbacks
    refer to it weakly.
    """
    kept = getattr(function, "__dict__", {}).get("__tworoutine__")
    if isinstance(kept, tworoutine) and kept.aio is function:
        return kept
    made = tworoutine(function)
    with contextlib.suppress(AttributeError, TypeError):
        function.__tworoutine__ = made
    return made


def unwrap_partial(fn):
    """A partial of a tworoutine as one of its asynchronous form."""
    if isinstance(fn.func, tworoutine):
        return functools.partial(~fn.func, *fn.args, **fn.keywords)
    return fn


# --- fan-out ----------------------------------------------------------------


def fan_out_map(f):
    """``f.map``, itself a tworoutine."""

    async def map(
        items, *, limit=None, progress=False, return_exceptions=False
    ):
        ended = _ended(f, "map", items, limit)
        results, errors = [], []
        bar = _progress_bar(f, items) if progress else None
        try:
            while (call := await ended.next()) is not None:
                index, item, task = call
                error = _error_of(task)
                if error is None:
                    results.append((index, task.result()))
                elif return_exceptions:
                    results.append((index, error))
                else:
                    error.add_note(f"in {_name(f)}.map, on {item!r}")
                    errors.append((index, error))
                if bar is not None:
                    bar.update()
        finally:
            if bar is not None:
                bar.close()
            await ended.cancel_rest()
        if errors:
            raise BaseExceptionGroup(
                f"{len(errors)} of {len(errors) + len(results)} calls of "
                f"{_name(f)} failed",
                _in_order(errors),
            )
        return _in_order(results)

    return _as_method_of(f, map)


def fan_out_as_completed(f):
    """``f.as_completed``, itself a tworoutine."""

    async def as_completed(items, *, limit=None, return_exceptions=False):
        ended = _ended(f, "as_completed", items, limit)
        try:
            while (call := await ended.next()) is not None:
                _, item, task = call
                error = _error_of(task)
                if return_exceptions and error is not None:
                    yield item, error
                    continue
                if error is not None:
                    error.add_note(f"in {_name(f)}.as_completed, on {item!r}")
                yield item, task.result()
        finally:
            await ended.cancel_rest()

    return _as_method_of(f, as_completed)


def _ended(f, method, items, limit):
    """Ended calls of f, by the library that runs this thread."""
    loop = asyncio._get_running_loop()
    if loop is None or asyncio.current_task(loop) is None:
        library = foreign_library()
        if library is not None:
            from tworoutine import _fan_out

            return _fan_out.IN[library](f, method, items, limit)
    return Ended(f, method, items, limit)


class Ended:
    """Calls of an async function on items, in the order in which they end.

    At most `limit` are under way at once; an item is taken from its iterable
    when its call starts.
    """

    def __init__(self, f, method, items, limit):
        method = f"{_name(f)}.{method}()"
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
            _error_of(task)  # nobody else will ask for it
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
    function = ~f
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


def _error_of(task):
    """How the task failed, or None."""
    if task.cancelled():
        return asyncio.CancelledError(f"{task!r} was cancelled")
    return task.exception()


def _in_order(indexed):
    return [value for _, value in sorted(indexed, key=operator.itemgetter(0))]


def _name(f):
    return getattr(f, "__qualname__", None) or repr(f)


def _as_method_of(f, fn):
    fn.__qualname__ = f"{_name(f)}.{fn.__name__}"
    fn.__module__ = getattr(f, "__module__", None)
    fn.__doc__ = getattr(tworoutine, fn.__name__).__doc__
    return tworoutine(fn)


def _progress_bar(f, items):
    try:
        from tqdm.auto import tqdm
    except ImportError as exc:
        raise ImportError(
            f"{_name(f)}.map(): progress=True needs tqdm: pip install tqdm"
        ) from exc

    class Bar(tqdm):
        monitor_interval = 0  # no thread beside the loop's

    total = len(items) if hasattr(items, "__len__") else None
    return Bar(total=total, desc=getattr(f, "__name__", None))


cold(sys.modules[__name__])
