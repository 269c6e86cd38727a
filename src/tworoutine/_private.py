"""What asyncio keeps private: in Python, only here.

Beside this file, those use such names that take a loop's turns apart:
``nested.py`` and ``_gevent.py``, which put another selector into a loop.
tests/test_house.py sees to that.
"""

import asyncio
import inspect
import selectors
import socket
import sys
from asyncio import format_helpers

# --- handles ----------------------------------------------------------------


def runs_handle(frame):
    """Whether frame is one of ``Handle._run``, which runs a callback."""
    code = frame.f_code
    return code.co_name == "_run" and code.co_filename == _RUN.co_filename


_RUN = asyncio.Handle._run.__code__


def loop_of(handle):
    """The loop of a handle; None if it is something else."""
    return getattr(handle, "_loop", None)


def handle_failed(handle, exc):
    """A handle's callback has raised exc: what ``Handle._run`` does then."""
    try:
        callback = format_helpers._format_callback_source(
            handle._callback, handle._args, debug=handle._loop.get_debug()
        )
    except TypeError:  # before 3.13
        callback = format_helpers._format_callback_source(
            handle._callback, handle._args
        )
    context = {
        "message": f"Exception in callback {callback}",
        "exception": exc,
        "handle": handle,
    }
    if handle._source_traceback:
        context["source_traceback"] = handle._source_traceback
    handle._loop.call_exception_handler(context)


# --- tasks ------------------------------------------------------------------


def is_task(op):
    """Whether op is a task of asyncio's, be it written in C or Python."""
    return isinstance(op, (asyncio.Task, asyncio.tasks._PyTask))


def made_at(task):
    """The stack that made task, known in debug mode; else None."""
    return task._source_traceback


def waits_for(task):
    """The future that task waits for, or None."""
    return getattr(task, "_fut_waiter", None)


def callbacks_of(task):
    """What is called when task is done."""
    callbacks = getattr(task, "_callbacks", None) or ()
    return [callback for callback, _ in list(callbacks)]


def ends_run(task):
    """Whether run_until_complete waits for task."""
    ended = getattr(asyncio.base_events, "_run_until_complete_cb", None)
    return any(callback is ended for callback in callbacks_of(task))


def error_of(task):
    """What task, which is done, has raised; to look is not to ask for it."""
    return None if task.cancelled() else task._exception


def take_untold(task):
    """What task has raised and nobody has asked for: asyncio tells it not."""
    error = error_of(task)
    if error is None or not task._log_traceback:
        return None
    task._log_traceback = False
    return error


def lose(task):
    """Cancel a task whose step never ends: no step of it may follow."""
    is_c = isinstance(task, asyncio.Future)
    (asyncio.Future if is_c else asyncio.futures._PyFuture).cancel(task)


# --- functions --------------------------------------------------------------


def mark(function):
    """Mark a callable as a coroutine function."""
    if sys.version_info >= (3, 12):
        inspect.markcoroutinefunction(function)
    else:
        function._is_coroutine = asyncio.coroutines._is_coroutine


def is_marked(function):
    """Whether a callable is marked as a coroutine function, as mocks are."""
    return inspect.iscoroutinefunction(function) or (
        _MARK is not None and getattr(function, "_is_coroutine", None) is _MARK
    )


_MARK = getattr(asyncio.coroutines, "_is_coroutine", None)


# --- loops ------------------------------------------------------------------


def thread_of(loop):
    """The id of the thread in which loop runs, or None."""
    return getattr(loop, "_thread_id", None)


def selector_of(loop):
    """What loop polls; None if it is not of asyncio's kind."""
    return getattr(loop, "_selector", None)


def is_woken(loop):
    """Whether call_soon_threadsafe was called since loop has last run."""
    try:
        return bool(loop._ssock.recv(1, socket.MSG_PEEK))
    except (AttributeError, OSError):  # there is nothing, in most cases
        return False


def unset(loop):
    """If a thread's own loop is set as its current one, have none set."""
    local = getattr(asyncio.events._event_loop_policy, "_local", None)
    if loop is None or getattr(local, "_loop", None) is not loop:
        return
    asyncio.set_event_loop(None)
    if hasattr(local, "_set_called"):  # until 3.13: nobody has set one
        local._set_called = False


def poll_nothing(loop):
    """Have loop, inherited by a forked child, poll nothing of the parent's."""
    if hasattr(loop, "_selector"):
        loop._selector.close()
        loop._selector = selectors.SelectSelector()


def executor_shut_down(loop):
    """Have loop start no more threads; the executor that did, or None."""
    executor = getattr(loop, "_default_executor", None)
    if executor is not None:
        loop._executor_shutdown_called = True
    return executor


_of_parents = []  # loops of parent processes that only lie here


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
