"""Prompts and notebooks: which loop calls use, and whom Ctrl-C is for."""

import asyncio
import functools
import inspect
import os
import sys
import warnings

from tworoutine._core import prime, refit, tworoutine
from tworoutine._private import (
    ends_run,
    error_of,
    is_woken,
    runs_handle,
    selector_of,
)

# --- IPython's loop ---------------------------------------------------------

_state = {"forked": False}


def _forked():
    _state["forked"] = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


def prompt_loop():
    """The loop in which IPython's prompt runs what is awaited there, or None.

    So that ``f(x)`` and ``await (~f)(x)``, typed one after the other, share
    their connections.  It is IPython's: we do not close it.

    Asked in the main thread, where no loop runs, if IPython is imported.
    None in a forked child, which must not touch its parent's loop; in a
    notebook's kernel when it ends, whose cells ran in the loop that is set;
    and in ``IPython.embed()``, where the program that embeds the prompt has
    used a loop before.
    """
    helpers = sys.modules.get("IPython.core.async_helpers")
    try:
        return None if _shell() is None else helpers.get_asyncio_loop()
    except AttributeError:
        return None  # half imported, or of another time


def prompt_runner():
    """What IPython's prompt runs coroutines by, if somebody has set that.

    As libraries do that have a loop of their own, in another thread perhaps.
    """
    helpers = sys.modules.get("IPython.core.async_helpers")
    try:
        runner = None if _shell() is None else _shell().loop_runner
        if runner is None or runner.__module__ == helpers.__name__:
            return None
        return runner
    except AttributeError:
        return None


def _shell():
    """IPython's shell, if calls use what its prompt awaits by."""
    shells = sys.modules.get("IPython.core.interactiveshell")
    embeds = sys.modules.get("IPython.terminal.embed")
    embedded = getattr(embeds, "InteractiveShellEmbed", ())
    if not shells.InteractiveShell.initialized() or _in_child():
        return None
    shell = shells.InteractiveShell.instance()
    if hasattr(shell, "kernel") or isinstance(shell, embedded):
        return None
    return shell


def _in_child():
    if _state["forked"]:
        return True
    processes = sys.modules.get("multiprocessing.process")
    return processes is not None and processes.parent_process() is not None


def prime_prompt():
    """Have background tasks at IPython's prompt outlive the cell they are of.

    Also one that makes the first call of all: see core/engine/drive.h.
    """
    loop = prompt_loop()
    if loop is not None:
        prime(loop)


def teach_ipython():
    """Have IPython, if it runs, know tworoutines for what they are."""
    shells = sys.modules.get("IPython.core.interactiveshell")
    shell = getattr(shells, "InteractiveShell", None)
    if shell is not None and shell.initialized():
        _teach_autoreload()
        _teach_help()
        _teach_completer(shell.instance())


def _teach_help():
    """Have ``f?`` show what f is, and not what all tworoutines are, too.

    As it does with functions, by the docstrings of their types.
    """
    inspector = sys.modules.get("IPython.core.oinspect")
    known = getattr(inspector, "_builtin_type_docstrings", None)
    if isinstance(known, set):
        known.add(inspect.getdoc(tworoutine))


def _teach_completer(shell):
    """Have the Tab key offer, after ``f(x).``, what f(x) has."""
    completer = getattr(shell, "Completer", None)
    matchers = getattr(completer, "custom_matchers", None)
    if isinstance(matchers, list) and _teach_jedi not in matchers:
        matchers.append(_teach_jedi)


def _teach_jedi(text):
    """A matcher, which IPython asks before jedi: nothing matches.

    jedi takes long to import, so IPython does so when it first completes.
    """
    from IPython import get_ipython

    if get_ipython().Completer.use_jedi:
        from tworoutine import _jedi

        _jedi.teach()
    return []


def _teach_autoreload():
    """Have ``%autoreload`` of IPython update tworoutines in place.

    So that those imported by name, and bound ones, do what the new text says.
    """
    try:
        from IPython.extensions.autoreload import UPDATE_RULES, update_function
    except ImportError:
        return

    def update(old, new):
        old, new = _below(old), _below(new)
        before, after = _function(~old), _function(~new)
        if before is not None and after is not None:
            update_function(before, after)
            refit(old, old)
        else:
            refit(old, new)

    if not any(rule[0] is _are_tworoutines for rule in UPDATE_RULES):
        UPDATE_RULES.insert(0, (_are_tworoutines, update))


def _below(op):
    """The tworoutine below a method; other objects as they are."""
    return op.__func__ if inspect.ismethod(op) else op


def _are_tworoutines(old, new):
    """Whether both are, over functions or both over other objects."""
    old, new = _below(old), _below(new)
    return isinstance(old, tworoutine) and type(old) is type(new)


def _function(fn):
    """The function of fn if another code is all that it needs, or None."""
    fn = getattr(fn, "__func__", fn)
    plain = inspect.isfunction(fn) and not fn.__code__.co_freevars
    return fn if plain else None


def load_ipython_extension(shell):
    """``%load_ext tworoutine``: background tasks go on while one types.

    As by ``%gui asyncio``; not where another GUI is set, or the prompt is a
    simple one.  Calls work whether it is loaded or not.
    """
    prime_prompt()
    teach_ipython()
    if _may_run_while_typing(shell):
        shell.enable_gui("asyncio")


def unload_ipython_extension(shell):
    """``%unload_ext tworoutine``: they stop between two lines again."""
    if getattr(shell, "active_eventloop", None) == "asyncio":
        shell.enable_gui(None)


def _may_run_while_typing(shell):
    """Whether shell is IPython's own in a terminal, with no GUI yet."""
    terminals = sys.modules.get("IPython.terminal.interactiveshell")
    kind = getattr(terminals, "TerminalInteractiveShell", ())
    return (
        isinstance(shell, kind)
        and not shell.simple_prompt
        and shell.active_eventloop is None
        and prompt_loop() is not None
    )


def warn_cancelled(name, task, greenlet):
    """Say that task is cancelled, in the line of its call, which name names.

    Not in ``asyncio.run``, which ends and would cancel it anyway, and then say
    how it has failed.
    """
    caller = frame = greenlet.gr_frame
    while frame is not None:
        # nest_asyncio has another asyncio.run, which cancels nothing.
        if frame.f_code is asyncio.runners.run.__code__:
            task.add_done_callback(
                functools.partial(_tell_failed, task.cancelling() + 1)
            )
            return
        frame = frame.f_back
    coro = getattr(task.get_coro(), "__qualname__", "")
    warnings.warn_explicit(
        f"{task.get_name()}, of {coro}(), is cancelled: its loop stops while "
        f"{name} waits in it, in the step that made the first call ever made "
        "in that loop; make "
        "another call in the loop before this task begins",
        RuntimeWarning,
        caller.f_code.co_filename,
        caller.f_lineno,
        caller.f_globals.get("__name__"),
    )


def _tell_failed(cancels, task):
    """Say what asyncio.run says of a task that fails when it is cancelled.

    It does so itself if the task has gone on, and is cancelled once more.
    """
    error = error_of(task)
    if error is None or isinstance(error, (KeyboardInterrupt, SystemExit)):
        return  # these two end the run
    if task.cancelling() > cancels:
        return
    task.get_loop().call_exception_handler(
        {
            "message": "unhandled exception during asyncio.run() shutdown",
            "exception": task.exception(),
            "task": task,
        }
    )


# --- callbacks of a GUI -----------------------------------------------------


def in_input_hook(loop):
    """Whether loop runs IPython's prompt, which lets a GUI handle its events.

    prompt_toolkit does that instead of polling: between two callbacks.
    """
    hooks = sys.modules.get("prompt_toolkit.eventloop.inputhook")
    kind = getattr(hooks, "InputHookSelector", ())
    if not isinstance(selector_of(loop), kind):
        return False
    frame = sys._getframe(1)
    while frame is not None and not runs_handle(frame):
        if frame.f_code is kind.select.__code__:
            return True
        frame = frame.f_back
    return False


# --- objects of other loops --------------------------------------------------

_OTHER_LOOP = (
    "attached to a different loop",
    "bound to a different event loop",
    "Event loop is closed",
    "Timeout context manager should be used inside a task",  # aiohttp
)
_IN_ITS_LOOP = (
    "{} waits in the loop that runs here. What a call has opened where no "
    "loop ran, as at top level, belongs to the loop of the calls of that "
    "thread: open it by a call inside the loop that runs, or use it where "
    "none does; or give all its calls one home: @tworoutine(home=LoopThread())"
)
_IN_ANOTHER = (
    "{} waits in the loop that runs here. What was opened in another one, as "
    "in another thread, belongs to that: open it here; or give all its calls "
    "one home: f.at(loop) where that loop runs on, or "
    "@tworoutine(home=LoopThread())"
)
_IN_VAIN = (
    "{} waits in the loop that runs here, and meanwhile callbacks wait in the "
    "loop of the calls of this thread, which does not run. What a call has "
    "opened where no loop ran, as at top level, belongs to that one: open it "
    "by a call inside the loop that runs, or use it where none does; or give "
    "all its calls one home: @tworoutine(home=LoopThread())"
)
_IN_OURS = (
    "{} waits in the loop of the calls of this thread. What was opened in "
    "asyncio.run, or in another thread, belongs to another loop: open it by "
    "a call in this thread, too; or give all its calls one home: f.at(loop) "
    "where that loop runs on, or @tworoutine(home=LoopThread())"
)


def explain(error, name, running, own):
    """If error is about two loops, add a note that says whose they are.

    name: of the call that failed.  running: False if it waited in the loop of
    the thread's calls, True if in one that somebody else runs, None if in such
    a one where no call was ever made without a loop.  own: the loop of the
    thread's calls, if error is the time limit of a wait that may have been in
    vain; or None.
    """
    if own is not None:
        if not _is_wanted(own):
            return
        note = _IN_VAIN
    else:
        text = str(error)
        if not any(words in text for words in _OTHER_LOOP):
            return
        note = {True: _IN_ITS_LOOP, False: _IN_OURS, None: _IN_ANOTHER}[
            running
        ]
    if not any("one home: " in n for n in _notes(error)):
        error.add_note(note.format(name))


def _is_wanted(loop):
    """Whether callbacks of other threads wait in loop, which does not run."""
    return not (loop.is_running() or loop.is_closed()) and is_woken(loop)


def _notes(error):
    return getattr(error, "__notes__", ())


# --- Ctrl-C -----------------------------------------------------------------


def foreground(frame, task, parked):
    """Whom Ctrl-C is for in a running loop: see core/engine/interrupt.h.

    frame, task: those of the code that runs now; either may be None.
    parked: (call, greenlet, task) of each call that waits, the latest first.
    Returns one of these calls; None for the code that runs now.
    """
    rank, chosen = _rank(frame, task), None
    for call, greenlet, waiting in parked:
        its = _rank(greenlet.gr_frame, waiting)
        if its > rank:
            rank, chosen = its, call
    return chosen


def _rank(frame, task):
    """How much what runs in frame, in a step of task, is in the foreground."""
    message = top_level = 0
    while frame is not None and not runs_handle(frame):
        code = frame.f_code
        if not code.co_flags & inspect.CO_OPTIMIZED:
            top_level = 1
        elif (
            code.co_name == "dispatch_shell"
            and frame.f_globals.get("__name__") == "ipykernel.kernelbase"
        ):
            message = 2
        frame = frame.f_back
    return message + top_level or int(ends_run(task))
