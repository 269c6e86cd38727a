"""For code that cannot be changed: ``asyncio.run`` inside a running loop.

    >>> from tworoutine import nested
    >>> nested.apply()

From then on ``asyncio.run(main())`` and ``loop.run_until_complete(future)``,
called where a loop runs, wait as ``await_`` does, and do not raise: the loop
goes on, only who has called them waits.  Where no loop runs they do what they
always did.  Nothing else is touched: no task, no loop, no policy.

The two functions stay the same objects, also where somebody has imported them
by name: they are given other code, and by undo() their own again.

A loop that is not the one that runs here, as a library has that keeps one for
itself, is run where it stands, on the caller's stack.  Where it would wait for
its events, the caller waits in the loop that runs here.
"""

import asyncio
import contextlib
import functools
import inspect
import sys
import threading
import types
from asyncio import events

from tworoutine._core import CannotSuspend, await_
from tworoutine._portal import chain

__all__ = ["apply", "undo"]

_NAME = "run_until_complete"
_lock = threading.Lock()
_undo = []  # what takes back what apply() has done


def apply(loop=None):
    """Have asyncio.run and run_until_complete wait inside a running loop.

    Until undo(), in all threads.  Done once, however often it is called.

    Args:
        loop: one whose type has a run_until_complete of its own, as those of
            uvloop have: that of the type, too, waits from then on.  None: the
            loop that runs here, if one does.  Not needed for one whose tasks
            tworoutine makes: by run(), portal() or task_factory.

    Raises:
        TypeError: loop is no event loop.
    """
    if loop is None:
        loop = events._get_running_loop()
    elif not isinstance(loop, asyncio.AbstractEventLoop):
        raise TypeError(f"apply() takes an event loop, not {loop!r}")
    with _lock:
        if not _undo:
            _give_code(asyncio.runners.run, _asyncio_run)
            _give_code(_BASE.run_until_complete, _run_until_complete)
        for kind in (type(loop), *_KINDS):
            _change_own(kind)


def serve(loop):
    """Do for the type of loop what apply(loop) does, if that is in force."""
    with _lock:
        if _undo:
            _change_own(type(loop))


def undo():
    """Take back what apply() has done, however often that was called.

    Calls that wait go on waiting, and return.
    """
    with _lock:
        while _undo:
            _undo.pop()()


# --- what is changed --------------------------------------------------------

_BASE = asyncio.BaseEventLoop
_KINDS = [  # nest_asyncio, if it has come before, has given them their own
    getattr(asyncio, name)
    for name in ("SelectorEventLoop", "ProactorEventLoop")
    if hasattr(asyncio, name)
]

# These two run as functions of asyncio's, with the names of its modules.

if sys.version_info >= (3, 12):

    def _asyncio_run(main, *, debug=None, loop_factory=None):
        import tworoutine

        return tworoutine.nested._run(
            main, debug=debug, loop_factory=loop_factory
        )

else:

    def _asyncio_run(main, *, debug=None):
        import tworoutine

        return tworoutine.nested._run(main, debug=debug)


def _run_until_complete(self, future):
    import tworoutine

    return tworoutine.nested._complete(self, future)


def _as_it_was(function):
    """Another function that does what this one does."""
    copy = types.FunctionType(
        function.__code__,
        function.__globals__,
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    copy.__kwdefaults__ = function.__kwdefaults__
    return copy


_own_run = _as_it_was(asyncio.runners.run)
_own_complete = _as_it_was(_BASE.run_until_complete)


def _give_code(function, other):
    own = function.__code__
    function.__code__ = other.__code__.replace(
        co_name=own.co_name, co_qualname=own.co_qualname
    )

    def give_back():
        function.__code__ = own

    _undo.append(give_back)


def _change_own(kind):
    """If kind has a run_until_complete of its own, have that wait."""
    owner = _owner(kind)
    if owner is None or owner is _BASE:
        return
    own = getattr(owner, _NAME)
    if isinstance(own, _Own):
        return
    changed = _Own(own)
    place = _first_that_can_change(kind, owner, changed)
    if place is owner:
        _undo.append(functools.partial(_put_back, owner, changed, own))
    elif place is not None:
        _undo.append(functools.partial(_take_away, place, changed))


def _owner(kind):
    """The class of which kind has its run_until_complete, or None."""
    owners = (each for each in kind.__mro__ if _NAME in vars(each))
    owner = next(owners, None)
    return None if owner is asyncio.AbstractEventLoop else owner


def _first_that_can_change(kind, owner, changed):
    """The class, owner or one above it, that has been given changed.

    Types that are written in C cannot be.
    """
    mro = kind.__mro__
    for place in reversed(mro[: mro.index(owner) + 1]):
        with contextlib.suppress(TypeError):
            setattr(place, _NAME, changed)
            return place
    return None


def _put_back(place, changed, own):
    if vars(place).get(_NAME) is changed:
        setattr(place, _NAME, own)


def _take_away(place, changed):
    if vars(place).get(_NAME) is changed:
        delattr(place, _NAME)


class _Own:
    """Stands in for the run_until_complete of another type of loops."""

    def __init__(self, own):
        functools.update_wrapper(self, own)

    @property
    def __code__(self):
        """By which the core knows the functions of nest_asyncio."""
        return self.__wrapped__.__code__

    def __get__(self, loop, kind=None):
        return self if loop is None else types.MethodType(self, loop)

    def __call__(self, loop, future):
        if events._get_running_loop() is loop:
            return _wait(future, _NAME)
        return self.__wrapped__(loop, future)


# --- what they do -----------------------------------------------------------


def _run(main, **options):
    """``asyncio.run``."""
    if events._get_running_loop() is None:
        return _own_run(main, **options)
    if not inspect.isawaitable(main):
        raise TypeError(f"asyncio.run() takes a coroutine, not {main!r}")
    return _wait(main, "asyncio.run")


def _complete(loop, future):
    """``run_until_complete`` of asyncio's own loops."""
    here = events._get_running_loop()
    if here is None:
        return _own_complete(loop, future)
    if here is loop:
        return _wait(future, _NAME)
    if loop.is_running() and loop._thread_id != threading.get_ident():
        return _own_complete(loop, future)  # which refuses it
    loop._check_closed()
    beside = _Beside(loop, future, here)
    try:
        beside.check()
        return _wait(beside.result(), _NAME)
    finally:
        beside.close()


def _wait(awaitable, who):
    try:
        return await_(awaitable)
    except CannotSuspend as exc:
        exc.add_note(f"{who}() waits as await_(): tworoutine.nested.apply()")
        raise


# --- another loop of this thread --------------------------------------------

_runs = {}  # loop that is run beside another -> its _Run
_joined = set()  # what has calls look again that wait for what others run


def _lowest(loop):
    """The loop further out in which, in the end, loop waits for its events."""
    while loop in _runs and _runs[loop].lets_go_on:
        loop = _runs[loop].here
    return loop


class _Beside:
    """A run_until_complete of a loop where another one runs."""

    def __init__(self, loop, future, here):
        self._loop = loop
        self._future = future
        self._here = here
        self._task = None  # of loop, for what is waited for
        self._thrown = None  # by which the caller is interrupted

    def check(self):
        lowest = _lowest(self._loop)
        if lowest.is_running() and lowest is not _lowest(self._here):
            raise CannotSuspend(
                f"{self._loop!r} runs in this thread further out: it cannot "
                "go on before what runs inside it has ended"
            )

    async def result(self):
        """In a task of the loop that runs here."""
        # From now on calls of that task can be made on this stack.
        await_(asyncio.sleep(0))
        while self._task is None or not self._task.done():
            self.check()
            lowest = _lowest(self._loop)
            if lowest.is_running():
                self._join()
            else:
                self._run(lowest)
        return self._result()

    def close(self):
        """Close what has not come to be a task."""
        if self._task is None and inspect.iscoroutine(self._future):
            self._future.close()

    def _begin(self):
        if self._task is None:
            made = not asyncio.isfuture(self._future)
            self._task = asyncio.ensure_future(self._future, loop=self._loop)
            if made:
                self._task._log_destroy_pending = False

    def _run(self, loop):
        """Run loop, until the task is done or somebody stops it.

        That is the loop of the task, or one in which that waits for events.
        """
        with _Run(loop, self._here, self._interrupt):
            self._begin()
            if loop is self._loop:
                self._complete(loop, self._task)
                return
            with self._changed(loop) as changed:
                self._complete(loop, changed)

    def _complete(self, loop, future):
        try:
            _own_complete(loop, future)
        except BaseException:
            if not self._task.done():
                raise

    def _join(self):
        """Another call runs the loop, here or further out: wait for that."""
        self._begin()
        with self._changed(self._here) as changed:
            try:
                await_(changed)
            except BaseException as exc:
                self._interrupt(exc)

    @contextlib.contextmanager
    def _changed(self, loop):
        """A future of loop: the task is done, or who runs what is another."""
        changed = loop.create_future()

        def change(_=None):
            with contextlib.suppress(RuntimeError):  # closed meanwhile
                loop.call_soon_threadsafe(_set, changed)

        _joined.add(change)
        self._task.add_done_callback(change)
        self._loop.call_soon_threadsafe(_nothing)
        try:
            yield changed
        finally:
            self._task.remove_done_callback(change)
            _joined.discard(change)

    def _interrupt(self, exc):
        """exc has come where the caller waits; it is raised if it has to be.

        As with await, what is waited for is cancelled, and ends first.
        """
        is_cancel = isinstance(exc, asyncio.CancelledError)
        if isinstance(exc, GeneratorExit) or not (
            is_cancel or self._thrown is None
        ):
            raise exc
        if not is_cancel:
            self._thrown = exc
        self._task.cancel(*exc.args[:1] if is_cancel else ())
        self._loop.call_soon_threadsafe(_nothing)

    def _result(self):
        if self._thrown is None or not (
            self._task.cancelled() or self._task.exception() is None
        ):
            return self._task.result()
        raise self._thrown


def _set(future):
    if not future.done():
        future.set_result(None)


def _nothing():
    pass


class _Run:
    """``with _Run(loop, here, interrupt)``: loop is to run beside here.

    Its selector waits in here.  Its tasks are in portals, so that the calls
    they make do not take it from who runs it.
    """

    def __init__(self, loop, here, interrupt):
        self.lets_go_on = False  # the loop that runs here, meanwhile
        self._loop, self.here = loop, here
        self._interrupt = interrupt
        self._hooks = sys.get_asyncgen_hooks()
        self._task = asyncio.current_task(here)

    def __enter__(self):
        loop = self._loop
        _runs[loop] = self
        self._kind, self._selector = type(loop), _Selector.of(self, loop)
        self.lets_go_on = self._selector is not None
        if self._selector is not None:
            loop._selector = self._selector
        with contextlib.suppress(TypeError):  # of another layout
            loop.__class__ = _kind_beside(self._kind)
        self._unchain = chain(loop)
        self.leave()
        return self

    def __exit__(self, *exc_info):
        loop = self._loop
        self.enter()
        if self._unchain is not None:
            self._unchain()
        if type(loop) is not self._kind:
            loop.__class__ = self._kind
        if self._selector is not None and loop._selector is self._selector:
            loop._selector = self._selector.inner
        del _runs[loop]
        for change in list(_joined):
            change()

    def leave(self):
        """Out of the loop that runs here, and of its task."""
        if self._task is not None:
            asyncio.tasks._leave_task(self.here, self._task)
        events._set_running_loop(None)

    def enter(self):
        events._set_running_loop(self.here)
        if self._task is not None:
            asyncio.tasks._enter_task(self.here, self._task)
        sys.set_asyncgen_hooks(*self._hooks)

    def wait(self, selector, timeout):
        """What selector finds ready within timeout; others run meanwhile."""
        hooks = sys.get_asyncgen_hooks()
        self.enter()
        try:
            await_(_until_ready(selector.fileno(), timeout))
        except BaseException as exc:
            self._interrupt(exc)
        finally:
            self._task = asyncio.current_task(self.here)
            self.leave()
            events._set_running_loop(self._loop)
            sys.set_asyncgen_hooks(*hooks)
        return selector.select(0)


class _Selector:
    """Stands in for the selector of a loop that runs beside another."""

    def __init__(self, run, inner):
        self.inner = inner
        self._run = run

    @classmethod
    def of(cls, run, loop):
        """None if that of the loop cannot be waited for by another one."""
        inner = getattr(loop, "_selector", None)
        return cls(run, inner) if hasattr(inner, "fileno") else None

    def __getattr__(self, name):
        return getattr(self.inner, name)

    def select(self, timeout=None):
        return self._run.wait(self.inner, timeout)


async def _until_ready(fileno, timeout):
    """Until something is ready there; for one turn if timeout is 0."""
    loop = asyncio.get_running_loop()
    if timeout is not None and timeout <= 0:
        return await asyncio.sleep(0)
    ready = loop.create_future()
    timer = timeout and loop.call_later(timeout, _set, ready)
    loop.add_reader(fileno, _set, ready)
    try:
        await ready
    finally:
        loop.remove_reader(fileno)
        if timer is not None:
            timer.cancel()


@functools.cache
def _kind_beside(kind):
    """A type of loops like kind, which tworoutine's calls do not drive."""

    def _run_once(self):
        super(beside, self)._run_once()

    names = {"_run_once": _run_once, "__module__": kind.__module__}
    beside = type(kind.__name__, (kind,), names)
    return beside
