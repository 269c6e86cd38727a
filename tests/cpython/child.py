"""Run some of CPython's tests in one mode: python child.py MODE OUT NAME...

Started by run.py, which tells what the modes are.  OUT receives one JSON list
a line, as the tests go:

    ["start", id]
    ["end", id, outcome, text]
    ["done", counts, odd]

An outcome is "ok", "fail", "error", "skip", "xfail", "xpass", or "noise": the
test passed, but something was written to stderr.  counts is what the harness
has counted, odd the tests in which a run of a loop was not ours to drive.
"""

import asyncio
import collections.abc
import faulthandler
import gc
import inspect
import io
import json
import signal
import sys
import unittest
from asyncio import base_events, selector_events

SECONDS = 120  # for one test; none takes more than 15 on an idle machine


class Recorder(unittest.TestResult):
    """Writes down how each test ends."""

    def __init__(self, out):
        super().__init__()
        self._out = out
        self._worst = ("ok", "")
        self.current = None
        self.end_calls = None  # tworoutine's, where it is in use

    def write(self, *row):
        # In one go: a test may fork in the middle.
        self._out.write(json.dumps(row) + "\n")
        self._out.flush()

    def startTest(self, test):
        super().startTest(test)
        faulthandler.dump_traceback_later(
            SECONDS, exit=True, file=sys.__stderr__
        )
        self.current = test.id()
        self._worst = ("ok", "")
        self.write("start", self.current)
        sys.stderr = io.StringIO()

    def stopTest(self, test):
        super().stopTest(test)
        self._begin(test)
        gc.collect()  # what the test has left behind is its own noise
        noise = sys.stderr.getvalue()
        if self.end_calls is not None:
            # Most are the harness's, in loops that the test has stopped at
            # once: what they say is no noise of the test, nor of the next.
            sys.stderr = io.StringIO()
            self.end_calls()
            gc.collect()
        sys.stderr = sys.__stderr__
        outcome, text = self._worst
        if outcome == "ok" and noise:
            outcome, text = "noise", noise
        self.write("end", test.id(), outcome, text)
        faulthandler.cancel_dump_traceback_later()
        self.current = None

    def _begin(self, test):
        # 3.12.1 says of some that they are skipped, but not that they begin.
        if self.current is None:
            self.startTest(test)

    def _note(self, outcome, test, err=None):
        text = self._exc_info_to_string(err, test) if err else ""
        if not isinstance(test, unittest.TestCase):
            self.write("end", test.id(), outcome, text)  # setUpModule, say
            return
        self._begin(test)
        if self._worst[0] in ("ok", "skip"):
            self._worst = (outcome, text)

    def addError(self, test, err):
        self._note("error", test, err)

    def addFailure(self, test, err):
        self._note("fail", test, err)

    def addSubTest(self, test, subtest, err):
        if err is not None:
            self._note("fail", test, err)

    def addSkip(self, test, reason):
        self._note("skip", test)

    def addExpectedFailure(self, test, err):
        self._note("xfail", test)

    def addUnexpectedSuccess(self, test):
        self._note("xpass", test)


class Run:
    """One run of a loop."""

    def __init__(self, greenlet):
        self.native = greenlet  # in which run_forever was called
        self.marked = False  # it began with a marker
        self.begun = False  # the first handle was run
        self.driven_at_once = False  # ... by a driver
        self.own_turns = 0  # turns by the loop's own _run_once


class Harness:
    """Makes calls in every loop, and counts who takes the turns.

    All that is replaced is below what tworoutine looks at: run_forever and
    _run_once of all loops stay as they are.
    """

    def __init__(self, mode, recorder):
        import greenlet

        import tworoutine

        self._mode = mode
        self._recorder = recorder
        self._current = greenlet.getcurrent
        self._dropped = greenlet.GreenletExit
        self._await = tworoutine.await_
        self._refused = tworoutine.CannotSuspend
        recorder.end_calls = tworoutine._core.end_closed
        # A first call that is cancelled as its loop stops: here all are.
        tworoutine._cold.warn_cancelled = lambda *about: None
        tworoutine._core.cold(tworoutine._cold)
        self._run_once = base_events.BaseEventLoop._run_once
        self._run_forever = base_events.BaseEventLoop.run_forever
        self._set_running = asyncio.events._set_running_loop
        self._marker = self._get_marker()
        self._patient = True
        self.counts = collections.Counter()
        self.odd = {}
        self._watch_runs()
        self._watch_turns()
        self._adapt_helpers()
        if mode == "called":
            self._call_all_tasks()

    def _get_marker(self):
        """What is left in front of a loop's queue when we have driven it."""

        async def main():
            self._await(asyncio.sleep(0))

        loop = asyncio.new_event_loop()
        loop.run_until_complete(main())
        marker = loop._ready[0]
        loop.close()
        assert type(marker).__name__ == "Marker"
        return marker

    def _note(self, what):
        self.counts[what] += 1
        odd = self.odd.setdefault(self._recorder.current, [])
        if what not in odd:
            odd.append(what)

    def _drivable(self, loop):
        """Whether run_forever and what it uses is asyncio's own."""
        cls = type(loop)
        return (
            cls._run_once is self._run_once
            and cls.run_forever is self._run_forever
            and asyncio.events._set_running_loop is self._set_running
        )

    # --- runs

    def _watch_runs(self):
        """run_forever calls one method at its beginning and at its end."""
        track = base_events.BaseEventLoop._set_coroutine_origin_tracking

        def tracking(loop, enabled):
            track(loop, enabled)
            caller = sys._getframe(1).f_code.co_name
            run = loop.__dict__.get("_harness_run")
            if caller == "_run_forever_setup" or (
                caller == "run_forever" and run is None  # 3.11, 3.12
            ):
                loop._harness_run = self._begin(loop)
            elif caller in ("_run_forever_cleanup", "run_forever") and run:
                del loop._harness_run
                self._end(loop, run)

        base_events.BaseEventLoop._set_coroutine_origin_tracking = tracking

    def _find_marker(self, loop):
        """Where it is, or -1.  There may be padding in front of it."""
        for at, handle in enumerate(loop._ready):
            if handle is self._marker:
                return at
            if type(handle) is not type(self._marker):
                break
        return -1

    def _begin(self, loop):
        run = Run(self._current())
        self.counts["runs"] += 1
        if not self._drivable(loop):
            self._note("replaced")
            run.begun = None
            return run
        at = self._find_marker(loop)
        if self._mode == "called" and at < 0:
            # As if the loop had been run before: no call of this run can pin
            # run_forever below itself.
            loop._ready.appendleft(self._marker)
            at = 0
        run.marked = at >= 0
        first = asyncio.Handle(self._first, (loop, run), loop)
        loop._ready.insert(at + 1, first)
        return run

    def _first(self, loop, run):
        """The first handle of a run."""
        run.begun = True
        if self._mode == "called":
            run.driven_at_once = self._current() is not run.native
        elif self._patient or not run.marked:
            self._call()

    def _call(self):
        self.counts["calls"] += 1
        try:
            self._await(Pause(self.counts))
            self.counts["returned"] += 1
        except asyncio.CancelledError:
            self.counts["cancelled"] += 1
        except self._dropped:
            self.counts["dropped"] += 1
            raise
        except self._refused:
            self._note("refused")

    def _end(self, loop, run):
        if run.begun is None:
            return
        driven = (
            # A driver leaves it there when it gives the loop back ...
            self._find_marker(loop) >= 0
            # ... which has taken no turn meanwhile.
            and run.own_turns <= (1 if run.marked else 2)
            and (run.driven_at_once or self._mode != "called")
        )
        if not run.begun:
            self._note("not begun")
        elif not driven:
            self._note("not driven")
        else:
            self.counts["driven"] += 1

    # --- turns

    def _count_turn(self, loop):
        run = loop.__dict__.get("_harness_run")
        if run is None:
            return
        # 0 is here, 1 the replaced _process_events; a driver has no frame.
        caller = sys._getframe(1).f_back
        if caller is not None and caller.f_code is self._run_once.__code__:
            run.own_turns += 1
            self.counts["own turns"] += 1
        else:
            self.counts["driven turns"] += 1

    def _watch_turns(self):
        """Each turn calls _process_events once, whoever takes it."""
        process = selector_events.BaseSelectorEventLoop._process_events

        def process_events(loop, events):
            self._count_turn(loop)
            process(loop, events)

        selector_events.BaseSelectorEventLoop._process_events = process_events

    # --- helpers of the tests

    def _adapt_helpers(self):
        from test.test_asyncio import test_tasks, utils

        # TestLoop moves its clock at the end of a _run_once of its own.  Let
        # it do so after the selector was asked, in the turn after, which is
        # the next that looks at the clock.
        del utils.TestLoop._run_once

        def advance(loop):
            timers, loop._timers = loop._timers, []
            for when in timers:
                loop.advance_time(loop._gen.send(when))

        def process_events(loop, events):
            self._count_turn(loop)
            run = loop.__dict__.get("_harness_run")
            if run is not None and not run.begun:
                return  # the first turn of a run
            advance(loop)

        end = self._end

        def end_test_loop(loop, run):
            end(loop, run)
            if isinstance(loop, utils.TestLoop):
                advance(loop)

        utils.TestLoop._process_events = process_events
        self._end = end_test_loop

        # This one runs a loop until its queue is empty; but the marker stays,
        # and each run would add a call.
        def run_loop(test, loop):
            self._patient = False
            while any(handle is not self._marker for handle in loop._ready):
                utils.run_briefly(loop)
            self._patient = True

        test_tasks.GatherTestsBase._run_loop = run_loop

    # --- mode "called"

    def _call_all_tasks(self):
        create_task = base_events.BaseEventLoop.create_task

        def create(loop, coro, **kwargs):
            if not (
                asyncio.iscoroutine(coro)
                and inspect.isawaitable(coro)  # on 3.11, no generator
                and self._drivable(loop)
            ):
                return create_task(loop, coro, **kwargs)
            called = Called(coro, self._await, self.counts)
            try:
                return create_task(loop, called, **kwargs)
            finally:
                called.in_creation = False

        base_events.BaseEventLoop.create_task = create


class Pause:
    """An awaitable that suspends once."""

    def __init__(self, counts):
        self._counts = counts

    def __await__(self):
        self._counts["parked"] += 1
        yield


class Called(collections.abc.Coroutine):
    """A coroutine in one step, which is a call of another one.

    Where no loop is running, as when a test steps a task by itself, it is
    that other one.  So it is in an eager task: a call in the first step of one
    holds up the task that creates it, as the README says.
    """

    def __init__(self, coro, call, counts):
        self.in_creation = True
        self._coro = coro
        self._call = call
        self._counts = counts

    def send(self, value):
        if self.in_creation or asyncio._get_running_loop() is None:
            self._call = None
        if self._call is None:
            return self._coro.send(value)
        before = self._counts["driven turns"]
        self._counts["calls"] += 1
        try:
            raise StopIteration(self._call(self._coro))
        finally:
            self._counts["returned"] += 1
            if self._counts["driven turns"] != before:
                self._counts["parked"] += 1

    def throw(self, *exc):  # before it has begun: a call never suspends
        return self._coro.throw(*exc)

    def close(self):
        self._coro.close()

    def __await__(self):
        return self._coro.__await__()

    def __getattr__(self, name):  # cr_code and the like
        return getattr(self._coro, name)


def main():
    mode, path, *names = sys.argv[1:]
    # A shell starts its background jobs with SIGINT ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with open(path, "w") as out:
        recorder = Recorder(out)
        harness = None
        if mode != "plain":
            harness = Harness(mode, recorder)
        suite = unittest.defaultTestLoader.loadTestsFromNames(names)
        gc.collect()
        gc.freeze()
        suite.run(recorder)
        faulthandler.dump_traceback_later(SECONDS, exit=True)
        recorder.write(
            "done",
            harness.counts if harness else {},
            harness.odd if harness else {},
        )


if __name__ == "__main__":  # multiprocessing imports it again
    main()
