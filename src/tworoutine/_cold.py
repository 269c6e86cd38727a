"""What the C core leaves to Python, because it is not hot.

The core looks here for each function of TWR_COLD (core/base/state.h), also
for those that other files define: they are imported "as" what they are.
"""

import asyncio
import atexit
import contextlib
import copy
import functools
import importlib
import inspect
import operator
import pickle
import sys
import threading

from tworoutine._core import (
    cold,
    dual_of,
    end_thread,
    run_in,
    tworoutine,
    unregistered,
)
from tworoutine._fan_out import fan_out_as_completed as fan_out_as_completed
from tworoutine._fan_out import fan_out_map as fan_out_map
from tworoutine._hosts import adapt as adapt
from tworoutine._hosts import end_calls, take_greenlets_for_threads
from tworoutine._hosts import find_backend as find_backend
from tworoutine._hosts import for_asgiref as for_asgiref
from tworoutine._loops import end_loop
from tworoutine._names import bound_signature as bound_signature
from tworoutine._names import lookup
from tworoutine._names import name_async_form as name_async_form
from tworoutine._names import name_plainly as name_plainly
from tworoutine._names import names as names
from tworoutine._names import shown_code as shown_code
from tworoutine._portal import foreign_library as foreign_library
from tworoutine._portal import has_factory as has_factory
from tworoutine._private import (
    callbacks_of,
    made_at,
    poll_nothing,
    take_untold,
    unset,
    waits_for,
)
from tworoutine._private import discard_loop as discard_loop
from tworoutine._private import handle_failed as handle_failed
from tworoutine._private import is_marked as is_marked
from tworoutine._private import lose as lose
from tworoutine._prompts import explain as explain
from tworoutine._prompts import foreground as foreground
from tworoutine._prompts import in_input_hook as in_input_hook
from tworoutine._prompts import prompt_loop as prompt_loop
from tworoutine._prompts import prompt_runner as prompt_runner
from tworoutine._prompts import warn_cancelled as warn_cancelled

# --- calls that are begun ---------------------------------------------------


def start(f, args, kwargs):
    """``f.start(*args, **kwargs)``."""
    from tworoutine import _start

    return _start.start(f, args, kwargs)


# --- generators -------------------------------------------------------------


def comes_again(exc):
    """Whether exc, a cancel of trio's, is raised anew at the next wait."""
    trio = sys.modules.get("trio")
    return trio is not None and isinstance(exc, trio.Cancelled)


# --- the end of a loop ------------------------------------------------------


def close_loop(loop):
    """Close a thread's own loop the way ``asyncio.Runner`` closes one."""
    if threading.get_ident() == threading.main_thread().ident:
        unset(loop)  # what another thread has set ends with it
    if loop.is_closed():
        return
    if not end_calls(loop):
        discard_loop(loop)
        return
    take_greenlets_for_threads(loop)
    try:
        end_loop(loop, functools.partial(run_in, loop))
    finally:
        loop.close()


def inherit_loop(loop):
    """In a forked child, what is done with the loop of its parent's calls.

    While a call on this stack runs it, it takes what ends that call; it polls
    nothing, and touches nothing of the parent's.  It is not the current one.
    """
    unset(loop)
    if loop is None or loop.is_closed():
        return
    if not loop.is_running():
        discard_loop(loop)
        return
    poll_nothing(loop)
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


class _AtExit:
    """What atexit runs, and lets go of when it has run it, perhaps by hand."""

    def __call__(self):
        if "tworoutine._homes" in sys.modules:
            sys.modules["tworoutine._homes"].end_threads()
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
        if made_at(task):
            self._context["source_traceback"] = made_at(task)
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
    """The call in which task waits is about to be ended (engine/closed.h).

    What is returned tells of it when our own references are gone.
    """
    # Its callbacks could not be queued in a loop that is closed.
    for callback in callbacks_of(task):
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
    error = take_untold(task)
    if error is not None and not isinstance(error, GeneratorExit):
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
        and waits_for(each) is None
        and getattr(each.get_coro(), "cr_frame", None) in below
    ]
    return (_Held(task), *held) if held else None


# --- homes ------------------------------------------------------------------

# _homes is imported by the first home: from then on, each call asks for its.


def decorator(home):
    """``tworoutine(home=home)``, which takes the function."""
    return functools.partial(tworoutine, home=home)


def at(f, home):
    """``f.at(home)``."""
    dual = dual_of(f)
    if dual is not None:
        from tworoutine import _dual

        return _dual.at(dual, f, home)
    from tworoutine import _homes

    return _homes.at(f, home)


def at_home(fn, home):
    """For ``tworoutine(fn, home=home)``: see _homes."""
    from tworoutine import _homes

    return _homes.at_home(fn, home)


def away(home, running):
    """Where a call with that home runs if not here: see _homes."""
    from tworoutine import _homes

    return _homes.away(home, running)


def bridge(loop, awaitable):
    """A coroutine that has loop await something: see _homes."""
    from tworoutine import _homes

    return _homes.bridge(loop, awaitable)


def hide_bridge(error):
    """Take the frames of a bridge out of error's traceback: see _homes."""
    from tworoutine import _homes

    _homes.hide_bridge(error)


# --- duals ------------------------------------------------------------------

# _dual is imported by the first dual.


def dual_show(owner, value):
    """What a dual shows of a value that has come out of it: see _dual."""
    from tworoutine import _dual

    return _dual.show(owner, value)


def dual_made(owner, value):
    """What a dual shows of what can only be entered or iterated over."""
    from tworoutine import _dual

    return _dual.made(owner, value)


def dual_refuse(raw, function, *first):
    """A method was called on a class of duals, with no object of it."""
    from tworoutine import _dual

    _dual.refuse(raw, function, *first)


def dual_async(home, function):
    """``~f`` of a method of a dual that has a home: see _dual."""
    from tworoutine import _dual

    return _dual.in_both_forms(home, function)


def how_used():
    """What the code that calls does with what is returned: see _dual."""
    from tworoutine import _dual

    return _dual.how_used()


# --- pickling ---------------------------------------------------------------


def reduce(f):
    """Pickle f by name where its name leads to it, else by value."""
    dual = dual_of(f)
    if dual is not None:
        from tworoutine import _dual

        return _dual.reduce_method(dual, f)
    owner = getattr(f, "__self__", None)
    if owner is not None:
        return getattr, (owner, f.__name__)
    module, qualname = f.__module__, f.__qualname__
    found = lookup(module, qualname) if module != "__main__" else None
    if found is f:
        return qualname
    if found == f:  # a static method: another object at each access
        return find, (module, qualname)
    return wrap, (module, qualname, ~f)


def wrap(module, qualname, fn):
    """Unpickle what was sent by value: the one of that name if it has fn.

    It has if fn came by name, as a plain pickle of ``__main__`` sends it.
    """
    found = lookup(module, qualname)
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
    dual = dual_of(f)
    if dual is not None:
        from tworoutine import _dual

        return _dual.deepcopy_method(dual, f, memo)
    method = ~f
    owner = copy.deepcopy(method.__self__, memo)
    if origin is None:
        return tworoutine(type(method)(method.__func__, owner))
    if isinstance(owner, type):
        return origin.__get__(None, owner)
    return origin.__get__(owner, type(owner))


# --- forms ------------------------------------------------------------------


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


cold(sys.modules[__name__])
