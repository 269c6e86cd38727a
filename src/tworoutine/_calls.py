"""The calls that wait: ``tworoutine.calls()``.

The core tells which calls stand in its lists (core/look.h).  Their stacks are
read here, from frames:

    a stack of a greenlet        task's coroutine > plain function > ...
    a coroutine that waits       f's coroutine > what that awaits > ...

A coroutine right above a plain function is a call that is under way: so the
calls further out are found, which never had to wait themselves.
"""

import asyncio
import dis
import functools
import gc
import inspect
import linecache
import os
import sys
import threading
import time
import traceback
from typing import NamedTuple

from tworoutine import _private
from tworoutine._core import Awaiting, look
from tworoutine._private import loop_of, runs_handle


class WaitingCall(NamedTuple):
    """A synchronous call that is under way.

    Args:
        name: what was called, as its ``__qualname__``; or ``"await_"``.
        callee: the tworoutine; None for ``await_()``, and for a call further
            out that has not had to wait itself.
        kind: where it was made: "task", "callback" of a loop, "no loop",
            "portal", or "greenlet", of gevent, greenback or SQLAlchemy.
        task: the asyncio.Task in which it was made; without a loop and in a
            callback, the one that was made for it; or None.
        thread: the name of the thread.
        thread_id: its threading.get_ident().
        age: seconds since it began to wait, in steps of up to 10 ms; of a call
            further out, at least so much; None: it has not had to wait.
        waits_for: what is awaited innermost, a future perhaps; None: its code
            runs.
        caller: the line that made the call, a traceback.FrameSummary.
        stack: the lines from the beginning of the task (without one, of the
            callback or thread) down to the innermost, as
            traceback.FrameSummary.
        outer: the call below which this one was made; or None.
        holds_up: what stands still because this call waits; or None.
    """

    name: str
    callee: object
    kind: str
    task: object
    thread: str
    thread_id: int
    age: float | None
    waits_for: object
    caller: traceback.FrameSummary | None
    stack: tuple
    outer: "WaitingCall | None"
    holds_up: str | None


WaitingCall.__module__ = "tworoutine"


def calls():
    """Every synchronous call of this process that waits.

    May be called from a signal handler and from any thread.

    Returns:
        A list of WaitingCall, by threads; a call stands behind the one below
        which it was made.
    """
    return Look().calls()


class Found(NamedTuple):
    """What the core tells of a call, or of a thread that makes calls."""

    kind: str  # "task", "callback", "run", "portal", "apart", "thread"
    id: int
    ident: int  # of the thread
    callee: object
    task: object
    greenlet: object  # that waits
    iterator: object  # that is stepped
    awaited: object
    loop: object
    frame: object  # that made it, of "apart"
    age: float | None
    since: int

    def coro(self):
        """What runs or waits inside."""
        if self.iterator is None and self.task is not None:
            return self.task.get_coro()
        return self.iterator

    def is_active(self):
        """Whether its coroutine runs: the code further in is what counts."""
        return getattr(self.coro(), "cr_running", False)


KINDS = {"run": "no loop", "apart": "greenlet"}

# Below these a coroutine is a task's, and not that of a call.
_STEPPERS = {
    "anyio",
    "asyncio",
    "curio",
    "greenback",
    "qasync",
    "tornado",
    "trio",
    "twisted",
    "uvloop",
}
_ASYNC = (
    inspect.CO_COROUTINE
    | inspect.CO_ITERABLE_COROUTINE
    | inspect.CO_ASYNC_GENERATOR
)


class Look:
    """One look at all calls: what there was at that moment."""

    def __init__(self, is_wanted=None):
        found = [Found(*each) for each in look()]
        if is_wanted is not None:
            found = [each for each in found if is_wanted(each)]
        self._running = sys._current_frames()
        me = threading.get_ident()
        self._running[me] = _caller_of_this()
        self._names = {each.ident: each.name for each in threading.enumerate()}
        self._found = [
            each
            for each in found
            if each.kind != "thread" and not _serves_others(each)
        ]
        self._threads = [each for each in found if each.kind == "thread"]
        self._carriers = {}  # id of the frame of a call's own task -> Found
        for each in self._found:
            if each.iterator is None and each.is_active():
                frame = getattr(each.coro(), "cr_frame", None)
                self._carriers[id(frame)] = each
        self._steps = _frames_of_steps({each.loop for each in found})
        self._outer = {}  # id of the frame of a call further out -> the call
        self._made = []

    def calls(self):
        active = {id(each) for each in self._carriers.values()}
        for each in self._found:
            if id(each) not in active:
                self._add(each)
        for each in self._threads:
            self._add_running(each)
        for each in self._carriers.values():  # wherever their frames are
            self._add(each)
        order = {id(call): n for n, call in enumerate(self._made)}
        return sorted(
            self._made, key=lambda call: _place(call, order, self._names)
        )

    def _add(self, found):
        """A call that waits, and those below which it was made."""
        greenlet = found.greenlet
        if greenlet is None:
            return
        stack = self._stack(found)
        begin = self._begin(stack, found)
        holds_up = _holds_up(found, stack, begin)
        stack = _from_user(stack[begin:])
        inner, waits_for = _awaited_by(found.coro())
        if found.awaited is not None:
            waits_for = found.awaited
        elif inner and waits_for is None and found.task is not None:
            waits_for = _private.waits_for(found.task)
        beyond, waits_for = _beyond(waits_for)
        if found.kind == "apart":
            found = found._replace(task=_task_in_gevent(greenlet))
            if not inner and found.task is not None:
                inner, waits_for = _awaited_by(found.task.get_coro())
        lines = _summary(stack + inner + beyond)
        outer = self._add_outer(found, stack, lines, waits_for)
        self._made.append(
            self._call(
                found,
                name=_name_of(found),
                callee=found.callee,
                age=found.age,
                waits_for=waits_for,
                caller=_line_of(stack),
                stack=lines,
                outer=outer,
                holds_up=holds_up,
            )
        )

    def _add_running(self, found):
        """The calls in the code that runs in a thread."""
        stack = _frames(self._running.get(found.ident))
        at_home = _blocked(stack)
        begin = self._begin(stack, found)
        kind, task = _running_step(stack[begin - 1] if begin else None)
        found = found._replace(kind=kind, task=task)
        stack = _from_user(stack[begin:])
        if not self._outer_frames(stack):
            return
        inner, waits_for = [], None
        if at_home is not None:
            inner, waits_for = _of_home(at_home)
            found = found._replace(age=time.monotonic() - at_home.since)
        lines = _summary(stack + inner)
        self._add_outer(found, stack, lines, waits_for)

    def _add_outer(self, found, stack, lines, waits_for):
        """The calls on stack, from the outermost on; the innermost of them."""
        outer = None
        for index in self._outer_frames(stack):
            frame = stack[index]
            known = self._outer.get(id(frame))
            if known is None:
                carrier = self._carriers.pop(id(frame), None)
                known = self._outer_call(
                    carrier or found,
                    frame,
                    carrier,
                    age=found.age
                    if carrier is None
                    else carrier.age or found.age,
                    waits_for=waits_for,
                    caller=_line_of(stack[:index]),
                    stack=lines,
                    outer=outer,
                )
                self._outer[id(frame)] = known
                self._made.append(known)
            outer = known
        return outer

    def _outer_call(self, found, frame, carrier, **rest):
        callee = None if carrier is None else carrier.callee
        name = _name_of_code(frame) if carrier is None else _name_of(carrier)
        holds_up = None
        if found.kind == "callback" and carrier is not None:
            holds_up = IN_CALLBACK
        return self._call(
            found, name=name, callee=callee, holds_up=holds_up, **rest
        )

    def _call(self, found, **rest):
        return WaitingCall(
            kind=KINDS.get(found.kind, found.kind),
            task=found.task,
            thread=self._names.get(found.ident, "a thread that has ended"),
            thread_id=found.ident,
            **rest,
        )

    # frames

    def _stack(self, found):
        """The frames of the stack on which a call waits, outermost first."""
        if found.frame is not None:
            return _frames(found.frame)
        greenlet, stack = found.greenlet, []
        while greenlet is not None:
            frame = greenlet.gr_frame
            if frame is None and greenlet and not stack:
                frame = self._running.get(found.ident)
            stack = _frames(frame) + stack
            if self._begin(stack, found) or (
                stack and stack[0].f_code.co_flags & _ASYNC
            ):
                break
            greenlet = greenlet.parent
        return stack

    def _begin(self, stack, found):
        """Where on stack the step begins in which a call was made."""
        step = None
        if found.task is not None and found.kind == "task":
            step = getattr(found.task.get_coro(), "cr_frame", None)
        for index in reversed(range(len(stack))):
            frame = stack[index]
            if frame is step and id(frame) not in self._carriers:
                return index
            if runs_handle(frame) and not (
                index + 1 < len(stack)
                and (
                    id(stack[index + 1]) in self._carriers
                    or id(stack[index + 1]) in self._outer
                )
            ):
                return index + 1
        return 0

    def _outer_frames(self, stack):
        """Where on stack the coroutines of calls begin."""
        return [
            index
            for index, frame in enumerate(stack)
            if id(frame) in self._carriers
            or id(frame) in self._outer
            or (
                index
                and frame.f_code.co_flags & _ASYNC
                and id(frame) not in self._steps
                and _is_plain(stack[index - 1])
            )
        ]


def _place(call, order, names):
    """To sort by: the main thread first, then as they were found."""
    first = call.thread_id != threading.main_thread().ident
    chain = []
    while call is not None:
        chain.append(order[id(call)])
        call = call.outer
    return first, chain[::-1]


def _caller_of_this():
    """The frame that was running when somebody looked.

    That is not a frame of ours, and none of a signal handler's.
    """
    frame = sys._getframe()
    while frame is not None and _is_ours(frame):
        frame = frame.f_back
    below = frame
    while below is not None:
        if _is_handler(below):
            frame = below.f_back
        below = below.f_back
    return frame


def _is_handler(frame):
    """Whether frame is that of a signal handler: its caller is an argument."""
    code, caller = frame.f_code, frame.f_back
    if caller is None:
        return False
    n = code.co_argcount
    rest = code.co_flags & inspect.CO_VARARGS
    if not n and not rest:
        return False
    names = frame.f_locals
    given = [names.get(name) for name in code.co_varnames[:n]]
    if rest:
        given += names.get(code.co_varnames[n + code.co_kwonlyargcount], ())
    return any(each is caller for each in given)


_HERE = os.path.dirname(__file__)


def _is_ours(frame):
    return os.path.dirname(frame.f_code.co_filename) == _HERE


def _frames(frame):
    frames = []
    while frame is not None:
        frames.append(frame)
        frame = frame.f_back
    return frames[::-1]


def _from_user(stack):
    """stack without what is asyncio's at its beginning."""
    n = 0
    while n < len(stack) and _package(stack[n]) == "asyncio":
        n += 1
    return stack[n:]


def _package(frame):
    return str(frame.f_globals.get("__name__", "")).partition(".")[0]


def _is_plain(frame):
    """Whether a coroutine right above frame is one that was called."""
    if _package(frame) in _STEPPERS:
        return False
    return not _steps(frame.f_code, frame.f_lasti)


@functools.lru_cache
def _steps(code, index):
    """Whether the instruction there steps a coroutine: await, or send()."""
    before = [
        each for each in dis.get_instructions(code) if each.offset <= index
    ][-6:]
    return before[-1].opname == "SEND" or any(
        each.opname in ("LOAD_ATTR", "LOAD_METHOD")
        and each.argval in ("send", "throw")
        for each in before
    )


def _frames_of_steps(loops):
    """The ids of the frames with which the steps of tasks begin that run."""
    frames = set()
    for loop in loops - {None}:
        try:
            tasks = asyncio.all_tasks(loop)
        except RuntimeError:  # changed meanwhile, again and again
            tasks = ()
        for task in tasks:
            coro = task.get_coro()
            if getattr(coro, "cr_running", False):
                frames.add(id(coro.cr_frame))
    return frames


def _running_step(frame):
    """Where code runs, "task" perhaps, and the task or None.

    frame: that of the handle which runs the code; or None.
    """
    if frame is None:
        return "no loop", None
    loop = loop_of(frame.f_locals.get("self"))
    task = None if loop is None else asyncio.current_task(loop)
    return "callback" if task is None else "task", task


# --- coroutines that wait ---------------------------------------------------


def _awaited_by(coro):
    """The frames from coro on to the innermost, and what that awaits."""
    frames = []
    while coro is not None:
        kind = next((k for k in _PARTS if hasattr(coro, k[0])), None)
        if kind is None:
            inner = _inside(coro)
            if inner is None:
                break
            coro = inner
            continue
        frame = getattr(coro, kind[0])
        if frame is None and type(coro) is Awaiting:
            coro = _inside(coro)
            continue
        awaited = getattr(coro, kind[1], None)
        # An async generator counts as running while it waits, too.
        runs = awaited is None if kind[0] == "ag_frame" else _runs(coro, kind)
        if runs or frame is None:
            coro = None
            break
        frames.append(frame)
        coro = awaited
    return frames, coro


def _runs(coro, kind):
    return getattr(coro, kind[2], False)


_PARTS = (
    ("cr_frame", "cr_await", "cr_running"),
    ("gi_frame", "gi_yieldfrom", "gi_running"),
    ("ag_frame", "ag_await", "ag_running"),
)


def _inside(op):
    """The coroutine, generator or future in an iterator that does not tell.

    As that of an async generator's item, or of a future.
    """
    if asyncio.isfuture(op):
        return None
    for inner in gc.get_referents(op):
        if isinstance(inner, type):
            continue
        if (
            asyncio.isfuture(inner)
            or type(inner).__name__ in _ITERATORS
            or any(hasattr(inner, kind[0]) for kind in _PARTS)
        ):
            return inner
    return None


_ITERATORS = {
    "anext_awaitable",
    "async_generator_asend",
    "async_generator_athrow",
    "coroutine_wrapper",
}


def _beyond(waits_for):
    """If a call waits for its home, what is there instead."""
    homes = sys.modules.get("tworoutine._homes")
    if homes is None or not isinstance(waits_for, homes._Answer):
        return [], waits_for
    frames, task = _of_home(waits_for.call)
    return frames, task or waits_for


def _of_home(call):
    """The frames of the task that a call has at home, and that task."""
    task = getattr(call, "_task", None)
    if task is None:
        return [], None
    frames, _ = _awaited_by(task.get_coro())
    return frames, task


def _blocked(stack):
    """The call at home for which a thread without a loop waits."""
    homes = sys.modules.get("tworoutine._homes")
    for frame in reversed(stack if homes is not None else ()):
        if frame.f_code is homes._wait_in_thread.__code__:
            return frame.f_locals.get("call")
    return None


def _serves_others(found):
    """Whether it is no call, but what runs the loop for calls in gevent."""
    if found.kind != "run" or found.callee is not None:
        return False
    module = sys.modules.get("tworoutine._gevent")
    code = getattr(found.coro(), "cr_code", None)
    return module is not None and code is module.Run._until_idle.__code__


def _task_in_gevent(greenlet):
    module = sys.modules.get("tworoutine._gevent")
    for run in [] if module is None else list(module._runs.values()):
        for task, who in list(run._tasks.items()):
            if who is greenlet:
                return task
    return None


# --- names and lines --------------------------------------------------------


def _name_of(found):
    if found.callee is None:
        return "await_"
    name = getattr(found.callee, "__qualname__", None)
    return name if isinstance(name, str) else repr(found.callee)


def _name_of_code(frame):
    """The name of what was called, of which frame is the coroutine's."""
    if _is_ours(frame):
        given = frame.f_locals.get("fn")
        name = getattr(given, "__qualname__", None)
        if name is not None:
            return name.removesuffix(".aio")
    return frame.f_code.co_qualname


def _line_of(stack):
    """The innermost line of stack that is not asyncio's or ours."""
    for frame in reversed(stack):
        if _package(frame) not in ("asyncio", "tworoutine"):
            return _summary([frame])[0]
    return None


def _summary(frames):
    lines = []
    for frame in frames:
        if not _is_ours(frame) and not runs_handle(frame):
            code = frame.f_code
            linecache.lazycache(code.co_filename, frame.f_globals)
            lines.append(
                traceback.FrameSummary(
                    code.co_filename,
                    frame.f_lineno,
                    code.co_name,
                    lookup_line=False,
                )
            )
    return tuple(lines)


IN_CALLBACK = "the callback in which it was made, and who called that"


def _holds_up(found, stack, begin):
    """What stands still because a call waits, but for its own task."""
    if found.kind == "callback":
        return IN_CALLBACK
    if found.kind != "task":
        return None
    for frame in reversed(stack[:begin]):
        if runs_handle(frame):
            return None
        if _package(frame) not in ("asyncio", "tworoutine"):
            line = _summary([frame])[0]
            return (
                f"who creates its task, which is eager: {line.name}() at "
                f"{line.filename}:{line.lineno}"
            )
    return None
