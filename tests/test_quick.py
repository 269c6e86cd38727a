"""A turn in C, where everything is asyncio's own; and what is not is honoured.

Each of these puts something of its own where the quick way would do without
asking.  The loop is one that we drive: a call has been made in it before.
"""

import asyncio
import gc
import selectors
import signal
import sys
import threading
import time

import pytest

import tworoutine as tworoutine_package
from tworoutine import tworoutine


@tworoutine
async def nap(seconds=0):
    await asyncio.sleep(seconds)
    return seconds


def run(main, loop=None):
    """Not in debug mode, which the quick way leaves alone."""
    factory = None if loop is None else lambda: loop
    with asyncio.Runner(debug=False, loop_factory=factory) as runner:
        return runner.run(main())


def test_events_are_processed_by_the_loop_itself():
    class Loop(asyncio.SelectorEventLoop):
        turns = 0

        def _process_events(self, events):
            self.turns += 1
            super()._process_events(events)

    loop = Loop()

    async def main():
        nap()
        before = loop.turns
        for _ in range(5):
            nap()
            await asyncio.sleep(0)
        return loop.turns - before

    assert run(main, loop) >= 5


@pytest.mark.parametrize("where", ["class", "instance"])
def test_call_soon_of_a_loop(where):
    seen = []

    class Loop(asyncio.SelectorEventLoop):
        if where == "class":

            def call_soon(self, callback, *args, context=None):
                seen.append(callback)
                return super().call_soon(callback, *args, context=context)

    loop = Loop()

    async def main():
        nap()
        if where == "instance":

            def call_soon(callback, *args, context=None):
                seen.append(callback)
                return Loop.call_soon(loop, callback, *args, context=context)

            loop.call_soon = call_soon
        before = len(seen)
        nap()
        count = len(seen) - before
        if where == "instance":
            del loop.call_soon
        return count

    assert run(main, loop) == 1


def test_call_soon_of_an_instance_that_has_it_in_place_of_another_attribute():
    """Its dictionary is as long as before."""
    loop = asyncio.SelectorEventLoop()
    loop.note = "of somebody's"
    seen = []

    def call_soon(callback, *args, context=None):
        seen.append(callback)
        return type(loop).call_soon(loop, callback, *args, context=context)

    async def main():
        nap()
        del loop.note
        loop.call_soon = call_soon
        before = len(seen)
        nap()
        count = len(seen) - before
        del loop.call_soon
        return count

    assert run(main, loop) == 1


@pytest.mark.parametrize("where", ["instance", "module"])
def test_the_clock_of_a_loop(where, monkeypatch):
    loop = asyncio.SelectorEventLoop()
    real, ahead = time.monotonic, []

    async def main():
        nap()
        if where == "instance":
            loop.time = lambda: real() + sum(ahead)
        else:
            monkeypatch.setattr(time, "monotonic", lambda: real() + sum(ahead))
        fired = loop.create_future()
        loop.call_later(3600, fired.set_result, "fired")
        await asyncio.sleep(0)
        ahead.append(7200)
        nap()
        return await asyncio.wait_for(fired, 60)

    assert run(main, loop) == "fired"


def test_a_selector_of_ones_own():
    class Selector(selectors.DefaultSelector):
        polls = 0

        def select(self, timeout=None):
            Selector.polls += 1
            return super().select(timeout)

    async def main():
        nap()
        before = Selector.polls
        for _ in range(5):
            nap()
        return Selector.polls - before

    assert run(main, asyncio.SelectorEventLoop(Selector())) >= 5


def test_a_selector_that_is_replaced_meanwhile():
    loop = asyncio.SelectorEventLoop()

    async def main():
        nap()
        old, polls = loop._selector, []

        class Selector:
            def select(self, timeout=None):
                polls.append(timeout)
                return old.select(timeout)

            def __getattr__(self, name):
                return getattr(old, name)

        loop._selector = Selector()
        nap()
        await asyncio.sleep(0)
        loop._selector = old
        return len(polls)

    assert run(main, loop) >= 2


def test_handles_whose_run_is_patched(monkeypatch):
    ran, original = [], asyncio.Handle._run

    def _run(self):
        ran.append(self)
        return original(self)

    async def main():
        nap()
        monkeypatch.setattr(asyncio.Handle, "_run", _run)
        done = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(done.set_result, "done")
        nap()
        value = await done
        monkeypatch.undo()
        return value

    assert run(main) == "done"
    assert ran


def test_a_handle_of_ones_own():
    loop = asyncio.SelectorEventLoop()
    ran = []

    class Handle(asyncio.Handle):
        __slots__ = ()

        def _run(self):
            ran.append("own")
            super()._run()

    async def main():
        nap()
        done = loop.create_future()
        loop._ready.append(Handle(done.set_result, ("done",), loop))
        return await done

    assert run(main, loop) == "done"
    assert ran == ["own"]


class Secretive(asyncio.Handle):
    """A handle that tells its callback to nobody."""

    __slots__ = ("hidden",)

    @property
    def _callback(self):
        raise ValueError("secret")

    @_callback.setter
    def _callback(self, callback):
        self.hidden = callback


def test_a_handle_that_does_not_tell_its_callback():
    loop = asyncio.SelectorEventLoop()

    class Handle(Secretive):
        __slots__ = ()

        def _run(self):
            self.hidden(*self._args)

    async def main():
        nap()
        done = loop.create_future()
        loop._ready.append(Handle(done.set_result, ("done",), loop))
        return await asyncio.wait_for(done, 10)

    assert run(main, loop) == "done"


def test_such_a_handle_behind_the_first_step_of_a_call():
    ran = []

    class Handle(Secretive):
        __slots__ = ()

        def _run(self):
            ran.append("own")

    class Loop(asyncio.SelectorEventLoop):
        follows = False

        def call_soon(self, *args, context=None):
            handle = super().call_soon(*args, context=context)
            if self.follows:
                self.follows = False
                self._ready.append(Handle(print, (), self))
            return handle

    loop = Loop()

    def callback(done):
        loop.follows = True
        done.set_result(nap(0.001))

    async def main():
        done = loop.create_future()
        loop.call_soon(callback, done)
        return await asyncio.wait_for(done, 10)

    assert run(main, loop) == 0.001
    assert ran == ["own"]


@pytest.mark.parametrize("called", [True, False])
def test_a_handle_that_cannot_run_its_callback_ends_the_run(called):
    loop = asyncio.SelectorEventLoop()

    async def main():
        nap() if called else await (~nap)()
        await asyncio.sleep(0)
        loop._ready.append(Secretive(print, (), loop))
        nap(0.001) if called else await (~nap)(0.001)

    with pytest.raises(ValueError, match="secret"):
        run(main, loop)


class Curious:
    """A callback that does not like to be asked for what it has not."""

    def __init__(self, function):
        self.function, self.asked = function, []

    def __call__(self):
        self.function()

    def __getattr__(self, name):
        self.asked.append(name)
        raise KeyboardInterrupt


@pytest.mark.parametrize("where", ["in a task", "in a callback", "no loop"])
def test_a_callback_is_asked_nothing(where):
    """Only what is known to be a step of a task is looked into."""
    asked = []

    @tworoutine
    async def waits():
        loop = asyncio.get_running_loop()
        debug = loop.get_debug()
        loop.set_debug(False)  # asyncio itself asks in debug mode
        done = loop.create_future()
        curious = Curious(lambda: done.set_result("done"))
        loop.call_soon(curious)
        result = await done
        asked.extend(curious.asked)
        loop.set_debug(debug)
        return result

    async def main():
        nap()
        if where == "in a task":
            return waits()
        done = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(lambda: done.set_result(waits()))
        return await done

    assert (waits() if where == "no loop" else run(main)) == "done"
    assert asked == []


def test_a_cancelled_handle_is_skipped():
    async def main():
        loop = asyncio.get_running_loop()
        nap()
        ran = []
        handle = loop.call_soon(ran.append, "not me")
        loop.call_soon(ran.append, "me")
        handle.cancel()
        nap()
        await asyncio.sleep(0)
        return ran

    assert run(main) == ["me"]


def test_timers_are_fired_weeded_and_waited_for():
    async def main():
        loop = asyncio.get_running_loop()
        nap()
        fired = []
        early = loop.call_later(0.001, fired.append, "cancelled")
        early.cancel()
        loop.call_later(0.002, fired.append, "fired")
        many = [loop.call_later(3600, print) for _ in range(300)]
        for timer in many:
            timer.cancel()
        nap(0.01)
        await asyncio.sleep(0)
        return fired, len(loop._scheduled)

    fired, left = run(main)
    assert fired == ["fired"]
    assert left < 150


def test_debug_mode_that_is_switched_on_meanwhile(caplog):
    async def main():
        loop = asyncio.get_running_loop()
        nap()
        loop.slow_callback_duration = 0.01
        loop.set_debug(True)
        loop.call_soon(time.sleep, 0.02)
        nap()
        await asyncio.sleep(0)
        loop.set_debug(False)

    run(main)
    assert "Executing <Handle" in caplog.text


def test_what_a_trace_function_sees():
    def main_of(call):
        async def main():
            call()
            calls = []
            done = asyncio.get_running_loop().create_future()

            def trace(frame, event, arg):
                calls.append(frame.f_code.co_name)

            asyncio.get_running_loop().call_soon(done.set_result, None)
            sys.settrace(trace)
            await done
            sys.settrace(None)
            return "_run" in calls

        return main

    assert run(main_of(nap)) == run(main_of(lambda: None)) is True


def test_the_frame_below_a_callback_is_that_of_a_handle():
    def look(done):
        frame = sys._getframe(1)
        done.set_result((frame.f_code.co_name, frame.f_globals["__name__"]))

    async def main():
        nap()
        done = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(look, done)
        return await done

    assert run(main) == ("_run", "asyncio.events")


def test_the_traceback_of_a_callback_that_fails():
    said = []

    async def main(calls):
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: said.append(context))
        if calls:
            nap()
        handle = loop.call_soon(int, "no number")
        if calls:
            nap()
        await asyncio.sleep(0)
        return handle

    run(lambda: main(False))  # what asyncio says
    handle = run(lambda: main(True))
    plain, context = said
    assert context["message"] == plain["message"]
    assert context["handle"] is handle
    assert context["exception"].__traceback__.tb_frame.f_code.co_name == "_run"


def test_the_exception_is_handled_while_it_is_told():
    said = []

    async def main():
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda *_: said.append(sys.exc_info()[0]))
        nap()
        loop.call_soon(int, "no number")
        nap()
        await asyncio.sleep(0)
        return sys.exc_info()[0]

    assert run(main) is None
    assert said == [ValueError]


def test_threads_get_their_turn_while_calls_spin():
    ticks = []

    def tick(stop):
        while not stop.is_set():
            ticks.append(1)

    async def main():
        nap()
        stop = threading.Event()
        thread = threading.Thread(target=tick, args=(stop,))
        thread.start()
        while not ticks:
            nap()
        stop.set()
        thread.join()

    run(main)
    assert ticks


@pytest.mark.parametrize("handler", ["python", "loop"])
def test_signals_come_while_calls_spin(handler):
    got = []

    async def main():
        loop = asyncio.get_running_loop()
        nap()
        if handler == "loop":
            loop.add_signal_handler(signal.SIGUSR1, got.append, 1)
        else:
            old = signal.signal(signal.SIGUSR1, lambda *_: got.append(1))
        signal.raise_signal(signal.SIGUSR1)
        while not got:
            nap()
        if handler == "loop":
            loop.remove_signal_handler(signal.SIGUSR1)
        else:
            signal.signal(signal.SIGUSR1, old)

    run(main)
    assert got == [1]


def test_a_cancel_meets_a_call_that_goes_on_in_place():
    async def main():
        nap()
        asyncio.current_task().cancel()
        with pytest.raises(asyncio.CancelledError):
            nap()
        asyncio.current_task().uncancel()
        return nap()

    assert run(main) == 0


def test_others_have_their_turn_between_the_naps_of_a_call():
    async def main():
        loop = asyncio.get_running_loop()
        nap()
        order = []

        async def other():
            for n in range(3):
                order.append(n)
                await asyncio.sleep(0)

        task = asyncio.create_task(other())
        for name in "abc":
            nap()
            order.append(name)
        await task
        loop.call_soon(order.append, "last")
        nap()
        return order

    async def twin():
        loop = asyncio.get_running_loop()
        await asyncio.sleep(0)
        order = []

        async def other():
            for n in range(3):
                order.append(n)
                await asyncio.sleep(0)

        task = asyncio.create_task(other())
        for name in "abc":
            await asyncio.sleep(0)
            order.append(name)
        await task
        loop.call_soon(order.append, "last")
        await asyncio.sleep(0)
        return order

    assert run(main) == asyncio.run(twin())


def test_a_dictionary_of_a_loop_that_is_replaced():
    loop = asyncio.SelectorEventLoop()

    async def main():
        nap()
        loop.__dict__ = dict(loop.__dict__)
        loop.call_soon(loop.stop)
        nap()
        await asyncio.sleep(3600)

    with pytest.raises(RuntimeError, match="Event loop stopped before"):
        loop.run_until_complete(main())
    for task in asyncio.all_tasks(loop):
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            loop.run_until_complete(task)
    loop.close()


def test_a_loop_is_collected_with_what_was_seen_of_it():
    import weakref

    async def main():
        nap()
        return weakref.ref(asyncio.get_running_loop())

    ref = run(main)
    gc.collect()
    assert ref() is None


# --- what the quick way leaves out is not missed -----------------------------


def test_a_task_that_a_driver_steps_is_not_taken_for_an_eager_one(monkeypatch):
    """Whom an eager task holds up is looked for in Python, at a high price."""
    asked = []

    def held_up(task):
        asked.append(task)

    cold = tworoutine_package._cold
    monkeypatch.setattr(cold, "held_up", held_up)
    tworoutine_package._core.cold(cold)

    async def calls():
        for _ in range(5):
            nap()
            nap(0.0001)

    async def main():
        nap()
        await asyncio.gather(*[calls() for _ in range(10)])

    try:
        run(main)
        assert asked == []
    finally:
        monkeypatch.undo()
        tworoutine_package._core.cold(cold)


@tworoutine
async def who():
    return asyncio.current_task()


def test_the_current_task_is_the_one_that_runs():
    """Several in one step, of several loops, in several threads."""

    async def eager():
        assert who() is asyncio.current_task()
        await asyncio.sleep(0)
        assert who() is asyncio.current_task()

    async def main():
        loop = asyncio.get_running_loop()
        for _ in range(100):
            assert who() is asyncio.current_task()
            if hasattr(asyncio, "eager_task_factory"):
                other = asyncio.eager_task_factory(loop, eager())
                assert who() is asyncio.current_task()
                nap()
                await other
            assert who() is asyncio.current_task()
            await asyncio.sleep(0)

    def work():
        try:
            run(main)
            assert who() is not None  # in a loop of its own
        except BaseException as error:
            failed.append(error)

    failed = []
    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    work()
    for thread in threads:
        thread.join()
    assert failed == []


def test_libraries_come_and_go_between_calls(monkeypatch):
    """Who is asked is chosen anew; and back again."""

    async def main():
        for _ in range(3):
            assert who() is asyncio.current_task()
            with monkeypatch.context() as patch:
                patch.setitem(sys.modules, "trio", None)
                patch.setitem(sys.modules, "sqlalchemy.ext.asyncio", None)
                assert who() is asyncio.current_task()
                assert nap() == 0
            assert nap() == 0

    run(main)
