"""Loops that are not asyncio's own: portals, and how tasks inherit them."""

import asyncio
import contextlib
import functools
import sys
import weakref
from collections.abc import Coroutine

from tworoutine._core import (
    Portal,
    adopt,
    adopting,
    drivable,
    in_portal,
    tworoutine,
)
from tworoutine._private import is_task, mark


def portal(afn, /):
    """An async function in which synchronous calls can wait under any loop.

    For loops that tworoutine does not start: ``trio.run(portal(main))``,
    ``uvloop.run(portal(main)())``.  Tasks that are started inside inherit it:
    with trio and curio those that tasks in a portal start, with uvloop and
    other asyncio loops every task that is made while the portal is open.  On
    asyncio's own loops nothing is needed, and nothing is done, unless there is
    a task factory: it may make its tasks eager, whose calls would hold up who
    makes them if they were not in a portal.

    Args:
        afn: an async function, or a tworoutine.

    Returns:
        An async function with the same arguments, name and docstring.

    Raises:
        TypeError: afn is not callable; or, when the result is called, what
            afn returns is not a coroutine.
    """
    if not callable(afn):
        hint = ""
        if isinstance(afn, Coroutine):
            hint = ", not the coroutine that it made: portal(main)()"
            afn.close()
        raise TypeError(f"portal() takes an async function{hint or _not(afn)}")
    fn = ~afn if isinstance(afn, tworoutine) else afn

    @functools.wraps(fn)
    def begin(*args, **kwargs):
        coro = fn(*args, **kwargs)
        if not isinstance(coro, Coroutine):  # no generator: 3.11
            raise TypeError(
                f"portal() takes an async function; {fn!r} returned {coro!r}"
            )
        return Portal(coro, hook=_inherit)

    mark(begin)
    return begin


def _not(op):
    return f", not {op!r}"


def run(main, *, debug=None, loop_factory=None):
    """``asyncio.run`` in whose tasks synchronous calls can wait.

    So they can under plain ``asyncio.run``; this one is for a loop_factory
    that makes another kind of loop, such as ``uvloop.new_event_loop``.

    Args:
        main: a coroutine.
        debug: asyncio's debug mode on or off; None for the default, as for
            ``asyncio.run``.
        loop_factory: a function that makes the loop; None for asyncio's
            default.

    Returns:
        What main returns.

    Raises:
        RuntimeError: a loop runs in this thread.
        TypeError: main is not a coroutine.
        BaseException: what main raises.
    """
    if not isinstance(main, Coroutine):
        hint = ""
        if callable(main):
            made = "(~main)()" if isinstance(main, tworoutine) else "main()"
            hint = f": run({made})"
        raise TypeError(f"run() takes a coroutine{hint}, not {main!r}")
    if asyncio._get_running_loop() is not None:
        main.close()
        raise RuntimeError(
            "tworoutine.run() cannot be called while a loop runs in this "
            "thread: await main(), or make it a tworoutine and call it"
        )
    runner = asyncio.Runner(debug=debug, loop_factory=loop_factory)
    try:
        loop = runner.get_loop()
    except BaseException:
        main.close()
        raise
    with runner:
        chain(loop)
        with _adopting(loop):
            return runner.run(main)


@contextlib.contextmanager
def _adopting(loop):
    """Serve tasks that are made past the loop's factory, too."""
    names = getattr(loop, "__dict__", None)
    if names is None or "call_soon" in names or drivable(loop):
        yield
        return
    loop.call_soon = adopting(loop.call_soon)
    try:
        yield
    finally:
        del loop.call_soon  # a cycle


class TaskFactory:
    """Makes the tasks of a loop so that synchronous calls can wait in them.

    For a loop that something else starts: ``loop.set_task_factory(
    tworoutine.task_factory)``.  Serves every task made afterwards, and once it
    has made the first one, those that were there, from their next step on.
    """

    def __init__(self, before):
        self._before = before  # the factory in place before, or None
        self._seen = weakref.WeakSet()  # loops whose tasks are served

    def __call__(self, loop, coro, **kwargs):
        if loop not in self._seen:
            self._seen.add(loop)
            _nest(loop)
            _adopt_all(loop)
        if asyncio.iscoroutine(coro) and not isinstance(coro, Portal):
            coro = Portal(coro)
        # uvloop passes what nobody asked for, as None, which asyncio's eager
        # task factory may not know.
        kwargs = {k: v for k, v in kwargs.items() if v is not None}
        if self._before is None:
            return asyncio.Task(coro, loop=loop, **kwargs)
        return self._before(loop, coro, **kwargs)


def _adopt_all(loop):
    """Serve the tasks that loop has, in their next steps."""
    if not drivable(loop):
        for task in asyncio.all_tasks(loop):
            if is_task(task):
                adopt(task)


def _nest(loop):
    """Serve loop as nested.apply() says, if that has been called."""
    nested = sys.modules.get("tworoutine.nested")
    if nested is not None:
        nested.serve(loop)


task_factory = TaskFactory(None)
if sys.version_info >= (3, 12):
    eager_task_factory = TaskFactory(asyncio.eager_task_factory)


def chain(loop):
    """Have loop make its tasks in portals, if it needs that; what undoes it.

    Asyncio's own loops need it for eager tasks, which a factory may make.
    """
    before = loop.get_task_factory()
    if isinstance(before, TaskFactory) or (before is None and drivable(loop)):
        return None
    _nest(loop)
    factory = TaskFactory(before)
    loop.set_task_factory(factory)

    def undo():
        if not loop.is_closed() and loop.get_task_factory() is factory:
            loop.set_task_factory(before)

    return undo


def has_factory(loop):
    """Whether the tasks of loop come to have portals, if it makes them."""
    return isinstance(loop.get_task_factory(), TaskFactory)


# --- what a portal does when it begins --------------------------------------


def foreign_library():
    """The name of the library that runs this thread if not asyncio; or None.

    Asked only when one of them has been imported.
    """
    if "trio" in sys.modules:
        sniffio = sys.modules.get("sniffio")
        if sniffio is not None and sniffio.thread_local.name == "trio":
            return "trio"
    if "curio" in sys.modules and sys.modules["curio"].meta.curio_running():
        return "curio"
    return None


def _inherit():
    """Have tasks inherit the portal that begins; what undoes it, or None."""
    library = foreign_library()
    if library == "trio":
        return _inherit_in_trio()
    if library == "curio":
        return _inherit_in_curio()
    loop = asyncio._get_running_loop()
    return None if loop is None else chain(loop)


@functools.cache
def _trio_instrument():
    import trio

    class Instrument(trio.abc.Instrument):
        def task_spawned(self, task):
            if in_portal():
                task.coro = Portal(task.coro)

    return Instrument(), trio.lowlevel.RunVar("tworoutine")


def _inherit_in_trio():
    import trio

    instrument, present = _trio_instrument()
    if not present.get(None):
        present.set(True)
        trio.lowlevel.add_instrument(instrument)  # for the rest of this run


def _inherit_in_curio():
    import curio

    kernel = curio.meta._locals.kernel
    for activation in kernel._activations:
        if isinstance(activation, _curio_activation()):
            break
    else:
        activation = _curio_activation()()
        kernel._activations.append(activation)
    for task in kernel._tasks.values():
        if task.state == "RUNNING":
            activation.current = task.id
            activation.inside.add(task.id)


@functools.cache
def _curio_activation():
    from curio.kernel import Activation

    class Inherit(Activation):
        def __init__(self):
            self.inside = set()  # ids of the tasks that run in a portal
            self.current = None

        def running(self, task):
            self.current = task.id

        def created(self, task):
            # Not task.parentid, which curio's ContextTask leaves out.
            if self.current in self.inside:
                self.inside.add(task.id)
                task._run_coro = Portal(task._run_coro)
                task._send = task._run_coro.send
                task._throw = task._run_coro.throw

        def terminated(self, task):
            self.inside.discard(task.id)

    return Inherit
