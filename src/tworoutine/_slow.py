"""``tworoutine.warn_slow()``: which calls hold others up.

A thread looks at the calls that wait, now and then.  So the calls themselves
pay nothing, and one that never returns is told of, too.
"""

import os
import sys
import threading
import warnings
import weakref

from tworoutine._calls import IN_CALLBACK, Look


class SlowCallWarning(RuntimeWarning):
    """A synchronous call holds somebody up, and has waited for too long."""


SlowCallWarning.__module__ = "tworoutine"


def warn_slow(seconds):
    """Have a SlowCallWarning name each call that holds somebody up for longer.

    A call in a plain callback holds up that callback, and whoever has called
    it; a call in the first step of an eager task holds up the one that creates
    the task.  The warning is issued while the call waits, at the line that
    made it, by a thread that looks twice in that time: calls are as fast as
    without.  Calls of other tasks hold nobody up, and are not looked at.

    Args:
        seconds: how long, at least 0.01; None to warn no more.

    Raises:
        TypeError: seconds is no number.
        ValueError: seconds is less than 0.01, or too much.
    """
    if seconds is not None:
        if isinstance(seconds, bool) or not isinstance(seconds, int | float):
            raise TypeError(
                "warn_slow() takes seconds, a number, or None, not "
                f"{seconds!r}"
            )
        if not 0.01 <= seconds <= threading.TIMEOUT_MAX:
            raise ValueError(
                f"warn_slow(): seconds must be at least 0.01, not {seconds!r}"
            )
    watch, _now["watch"] = _now["watch"], None
    if watch is not None:
        watch.end.set()
    if seconds is not None:
        _now["watch"] = _Watch(seconds)


_now = {"watch": None}


class _Watch:
    def __init__(self, seconds):
        self.seconds = seconds
        self.end = threading.Event()
        self._known = set()  # ids of the calls that have been looked at
        self._warned = weakref.WeakKeyDictionary()  # task -> lines
        threading.Thread(
            target=self._run, name="tworoutine.warn_slow", daemon=True
        ).start()

    def _run(self):
        while not self.end.wait(self.seconds / 2):
            self._look()

    def _look(self):
        seen, known = set(), self._known

        def is_wanted(found):
            if found.age is None:
                return found.kind == "callback"  # another may wait below it
            if found.age < self.seconds:
                return False
            key = found.id, found.since
            seen.add(key)
            return key not in known

        for call in Look(is_wanted).calls():
            if call.holds_up is not None and (call.age or 0) >= self.seconds:
                self._warn(call)
        self._known = seen

    def _warn(self, call):
        line = call.caller or (call.stack[0] if call.stack else None)
        where = ("tworoutine", 0) if line is None else tuple(line)[:2]
        lines = self._warned.setdefault(call.task, set())
        if where in lines:
            return
        lines.add(where)
        advice = (
            f"begin a task there, {call.name}.start(...)"
            if call.holds_up == IN_CALLBACK
            else "make such tasks with tworoutine.eager_task_factory"
        )
        try:
            warnings.warn_explicit(
                f"{call.name}() has waited for {call.age:.2f} s, and holds up "
                f"{call.holds_up}; {advice}",
                SlowCallWarning,
                *where,
            )
        except SlowCallWarning:  # the filters make an error of it
            me = threading.current_thread()
            args = threading.ExceptHookArgs((*sys.exc_info(), me))
            threading.excepthook(args)


def _after_fork():
    if _now["watch"] is not None:
        _now["watch"] = _Watch(_now["watch"].seconds)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
