"""Portals: what a coroutine with parked calls does when it is handled."""

import asyncio
import contextlib
import contextvars
import gc
import inspect
import io
import os
import sys
import threading
import warnings
import weakref

import greenlet
import pytest

import tworoutine as package
from tworoutine import CannotSuspend, tworoutine
from tworoutine._core import Portal


class Trap:
    """Yields itself to whatever drives the coroutine; gives what it sends."""

    def __await__(self):
        return (yield self)


@tworoutine
async def trap():
    return await Trap()


@tworoutine
async def careful(steps):
    try:
        return await Trap()
    finally:
        steps.append("finally")


def returned(step):
    with pytest.raises(StopIteration) as stop:
        step()
    return stop.value.value


# --- driven by hand ---------------------------------------------------------


def test_what_a_call_waits_for_is_yielded_and_what_is_sent_comes_back():
    async def main():
        return [trap(), await Trap(), trap()]

    portal = package.portal(main)()
    assert isinstance(portal.send(None), Trap)
    assert isinstance(portal.send(1), Trap)
    assert isinstance(portal.send(2), Trap)
    assert returned(lambda: portal.send(3)) == [1, 2, 3]
    with pytest.raises(RuntimeError, match="already awaited"):
        portal.send(None)


@pytest.mark.parametrize("result", [None, (1, 2), ValueError("a value")])
def test_any_result(result):
    async def main():
        trap()
        return result

    portal = Portal(main())
    portal.send(None)
    assert returned(lambda: portal.send(0)) is result

    async def outer():
        return await Portal(main())

    coro = outer()
    coro.send(None)
    assert returned(lambda: coro.send(0)) is result


def test_an_exception_is_thrown_into_the_call():
    error = KeyError("mine")

    async def main():
        try:
            trap()
        except KeyError as exc:
            assert exc is error and exc.__context__ is None
            return trap()

    portal = Portal(main())
    portal.send(None)
    assert isinstance(portal.throw(error), Trap)
    assert returned(lambda: portal.send(5)) == 5


def test_throw_in_its_three_forms():
    async def main():
        for _ in range(3):
            with pytest.raises(KeyError, match="mine"):
                trap()
        return "done"

    portal = Portal(main())
    portal.send(None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        portal.throw(KeyError, "mine")
        portal.throw(KeyError, KeyError("mine"), None)
    assert returned(lambda: portal.throw(KeyError("mine"))) == "done"
    with pytest.raises(
        TypeError, match=r"throw\(\) takes an exception, not 5"
    ):
        portal.throw(5)


def test_an_exception_class_that_makes_none():
    class Wrong(Exception):
        def __new__(cls, *args):
            return 5

    class Iterator:  # without throw()
        def __await__(self):
            return self

        def __next__(self):
            return 7

    async def main():
        package.await_(Iterator())

    portal = Portal(main())
    portal.send(None)
    for args in (Wrong,), (Wrong, "value"):
        with pytest.raises(TypeError, match="instance of BaseException"):
            portal.throw(*args)
    with pytest.raises(KeyError):
        portal.throw(KeyError)


def test_a_hook_that_fails():
    async def main():
        raise AssertionError

    def hook():
        raise KeyError("hook")

    portal = Portal(main(), hook=hook)
    with pytest.raises(KeyError, match="hook"):
        portal.send(None)
    assert inspect.getcoroutinestate(portal) == "CORO_CLOSED"


@pytest.mark.parametrize("call", [False, True])
def test_a_portal_that_is_dropped_undoes_what_its_hook_did(call):
    steps = []

    async def main():
        if call:
            trap()
        await Trap()

    portal = Portal(main(), hook=lambda: lambda: steps.append("undone"))
    portal.send(None)
    assert steps == []
    del portal
    assert steps == ["undone"]


def test_a_task_that_needs_no_portal_is_no_cycle():
    class Result:
        pass

    async def job():
        return Result()

    async def main():
        task = asyncio.create_task(package.portal(job)())
        return weakref.ref(await task)

    gc.disable()
    try:
        assert asyncio.run(main())() is None
    finally:
        gc.enable()


def test_close_ends_the_call():
    steps = []

    async def main():
        try:
            careful(steps)
        finally:
            steps.append("main")

    portal = Portal(main())
    portal.send(None)
    portal.close()
    assert steps == ["finally", "main"]
    portal.close()


def test_a_value_sent_first_is_refused_and_it_can_still_begin():
    steps = []

    def hook():
        steps.append("begins")
        return lambda: steps.append("ends")

    async def main():
        return trap()

    portal = Portal(main(), hook=hook)
    with pytest.raises(TypeError, match="just-started coroutine"):
        portal.send(1)
    assert steps == []
    portal.send(None)
    assert steps == ["begins"]
    assert returned(lambda: portal.send(2)) == 2
    assert steps == ["begins", "ends"]


def test_close_before_it_begins():
    async def main():
        raise AssertionError

    portal = Portal(main())
    portal.close()
    assert inspect.getcoroutinestate(portal) == "CORO_CLOSED"


def test_a_call_that_ignores_generator_exit():
    @tworoutine
    async def stubborn():
        try:
            await Trap()
        except GeneratorExit:
            return await Trap()

    async def main():
        return stubborn()

    portal = Portal(main())
    portal.send(None)
    with pytest.raises(RuntimeError, match="ignored GeneratorExit"):
        portal.close()
    assert returned(lambda: portal.send(5)) == 5


def test_dropped_with_a_call_parked():
    steps = []

    class Local:
        pass

    async def main():
        local = Local()
        refs.append(weakref.ref(local))
        careful(steps)

    refs = []
    portal = Portal(main())
    portal.send(None)
    del portal
    gc.collect()
    assert steps == ["finally"]
    assert refs[0]() is None


def test_never_begun_is_reported_as_for_any_coroutine():
    async def main():
        raise AssertionError

    with pytest.warns(RuntimeWarning, match="main' was never awaited"):
        Portal(main())
        gc.collect()


def test_while_it_runs():
    async def main():
        for enter in portal.send, portal.throw:
            with pytest.raises(ValueError, match="already executing"):
                enter(ValueError())
        with pytest.raises(ValueError, match="already executing"):
            portal.close()
        states.append(inspect.getcoroutinestate(portal))
        trap()

    states = []
    portal = Portal(main())
    states.append(inspect.getcoroutinestate(portal))
    portal.send(None)
    states.append(inspect.getcoroutinestate(portal))
    assert portal.cr_await.__name__ == "trap"
    assert portal.cr_frame.f_code is main.__code__
    assert portal.cr_code is main.__code__
    assert portal.__name__ == "main"
    assert "main" in repr(portal)
    returned(lambda: portal.send(None))
    states.append(inspect.getcoroutinestate(portal))
    assert states == [
        "CORO_CREATED",
        "CORO_RUNNING",
        "CORO_SUSPENDED",
        "CORO_CLOSED",
    ]
    assert inspect.isawaitable(portal) and asyncio.iscoroutine(portal)


def test_a_portal_in_a_portal():
    async def inside():
        return [trap(), await Trap()]

    async def main():
        first = trap()
        return [first, *await Portal(inside()), trap()]

    portal = Portal(main())
    for sent in None, 1, 2, 3:
        assert isinstance(portal.send(sent), Trap)
    assert returned(lambda: portal.send(4)) == [1, 2, 3, 4]


def test_many_interleaved():
    async def main(i):
        return [trap() for _ in range(5)]

    portals = [Portal(main(i)) for i in range(2000)]
    for portal in portals:
        portal.send(None)
    for sent in range(4):
        for i in range(0, 2000, 7):
            portals[i].send(sent)
    for i in range(0, 2000, 7):
        assert returned(lambda i=i: portals[i].send(4)) == [0, 1, 2, 3, 4]
    portals.clear()


def test_another_thread_cannot_go_on_with_a_parked_call():
    async def main():
        return trap()

    portal = Portal(main())
    errors = []

    def step():
        try:
            portal.send(5)
        except RuntimeError as exc:
            errors.append(str(exc))

    portal.send(None)
    thread = threading.Thread(target=step)
    thread.start()
    thread.join()
    assert len(errors) == 1 and "another thread" in errors[0]
    assert returned(lambda: portal.send(6)) == 6


def test_between_calls_it_may_change_threads():
    async def main():
        first = trap()
        await Trap()
        return [first, trap()]

    portal = Portal(main())
    portal.send(None)
    portal.send(1)
    results = []

    def step():
        portal.send(2)
        results.append(returned(lambda: portal.send(3)))

    thread = threading.Thread(target=step)
    thread.start()
    thread.join()
    assert results == [[1, 3]]


def test_a_call_parked_when_its_thread_ends_ends_too():
    steps = []

    async def main():
        try:
            careful(steps)
        finally:
            steps.append("main")

    portals = [Portal(main()) for _ in range(3)]
    thread = threading.Thread(
        target=lambda: [portal.send(None) for portal in portals]
    )
    thread.start()
    thread.join()
    assert steps == ["finally", "main"] * 3
    with pytest.raises(RuntimeError, match="already awaited"):
        portals[0].send(None)
    portals[1].close()


def test_a_call_parked_when_the_interpreter_ends_ends_too(program):
    source = """
import atexit
atexit.register(print, "before the import")
import tworoutine
atexit.register(print, "after the import")

class Trap:
    def __await__(self):
        return (yield "parked")

@tworoutine.tworoutine
async def careful():
    try:
        await Trap()
    finally:
        print("finally")

async def main():
    try:
        careful()
    finally:
        print("main")

portal = tworoutine.portal(main)()
print(portal.send(None))
"""
    assert program(source).splitlines() == [
        "parked",
        "after the import",
        "finally",
        "main",
        "before the import",
    ]


def test_a_raw_greenlet_in_the_step_is_refused_beside_sqlalchemy():
    pytest.importorskip("sqlalchemy.ext.asyncio")

    async def main():
        with pytest.raises(CannotSuspend):
            greenlet.greenlet(trap).switch()
        return trap()

    async def loop():
        return await asyncio.sleep(0, "driven")

    portal = Portal(main())
    # Without a loop, a call in a raw greenlet runs the thread's own one.
    try:
        import trio
    except ImportError:
        pytest.skip("needs trio")

    async def under_trio():
        @tworoutine
        async def nap():
            await trio.sleep(0)
            return 5

        with pytest.raises(CannotSuspend):
            greenlet.greenlet(nap).switch()
        return nap()

    portal.close()
    loop().close()
    assert trio.run(package.portal(under_trio)) == 5


def test_an_exception_thrown_into_a_parked_worker_comes_back():
    async def main():
        workers.append(greenlet.getcurrent())
        return trap()

    workers = []
    portal = Portal(main())
    portal.send(None)
    for exc in ValueError("mine"), greenlet.GreenletExit():
        with pytest.raises((ValueError, greenlet.GreenletExit)) as caught:
            workers[0].throw(exc)
        assert caught.value is exc
    assert returned(lambda: portal.send(5)) == 5


def test_no_worker_and_no_reference_is_left():
    class Thing:
        pass

    async def main(thing):
        trap()
        return thing

    def live():
        gc.collect()
        # By type: lazy objects must not be asked for their __class__.
        types = map(type, gc.get_objects())
        return sum(issubclass(kind, greenlet.greenlet) for kind in types)

    def once():
        thing = Thing()
        portal = Portal(main(thing))
        portal.send(None)
        returned(lambda: portal.send(None))
        return weakref.ref(thing)

    once()
    before = live()
    things = [once() for _ in range(100)]
    assert live() <= before  # that of a thread that has ended may go late
    assert [thing() for thing in things] == [None] * 100


def test_more_workers_than_are_kept(program):
    """And drivers, which idle beside them."""
    out = program("""
import asyncio
from tworoutine import await_
from tworoutine._core import Portal

class Trap:
    def __await__(self):
        return (yield)

async def steps():
    return await_(Trap())

async def main(count):
    async def waits():
        await_(event.wait())
    event = asyncio.Event()
    tasks = [asyncio.create_task(waits()) for _ in range(count)]
    await asyncio.sleep(0)
    event.set()
    await asyncio.gather(*tasks)

for count in 700, 2000, 700:
    portals = [Portal(steps()) for _ in range(count)]
    for portal in portals:
        portal.send(None)
    asyncio.run(main(count))
    total = 0
    for portal in portals:
        try:
            portal.send(1)
        except StopIteration as stop:
            total += stop.value
    asyncio.run(main(count))
    print(total)
""")
    assert out.split() == ["700", "2000", "700"]


# --- portal() and run() -----------------------------------------------------


def test_portal_looks_like_its_function():
    async def main(a, b=1):
        """Documented."""

    made = package.portal(main)
    assert made.__name__ == "main" and made.__doc__ == "Documented."
    assert str(inspect.signature(made)) == "(a, b=1)"
    if sys.version_info >= (3, 12):
        assert inspect.iscoroutinefunction(made)
    else:
        assert asyncio.iscoroutinefunction(made)


def test_portal_of_a_tworoutine():
    portal = package.portal(trap)()
    portal.send(None)
    assert returned(lambda: portal.send(5)) == 5


def test_bad_arguments_of_portal():
    with pytest.raises(TypeError, match=r"takes an async function, not 5"):
        package.portal(5)

    async def main():
        raise AssertionError

    with pytest.raises(TypeError, match=r"portal\(main\)\(\)"):
        package.portal(main())
    with pytest.raises(TypeError, match=r"<lambda>.* returned 5"):
        package.portal(lambda: 5)()


def test_run_is_asyncio_run():
    async def main():
        return trap_free()

    @tworoutine
    async def trap_free():
        await asyncio.sleep(0)
        return asyncio.get_running_loop().get_debug()

    assert package.run(main(), debug=True) is True
    assert package.run(main(), debug=False) is False


def test_bad_arguments_of_run():
    async def main():
        raise AssertionError

    with pytest.raises(TypeError, match=r"run\(main\(\)\), not <function"):
        package.run(main)

    async def nested():
        with pytest.raises(RuntimeError, match="while a loop runs"):
            package.run(main())

    asyncio.run(nested())

    def no_loop():
        raise OSError("no loop")

    with pytest.raises(OSError, match="no loop"):
        package.run(main(), loop_factory=no_loop)


def test_on_asyncio_s_own_loops_a_portal_does_nothing():
    @tworoutine
    async def nap():
        await asyncio.sleep(0)
        return greenlet.getcurrent()

    async def main():
        loop = asyncio.get_running_loop()
        assert loop.get_task_factory() is None
        return nap() is greenlet.getcurrent()

    assert asyncio.run(package.portal(main)())


# --- uvloop -----------------------------------------------------------------


@tworoutine
async def nap(seconds=0):
    await asyncio.sleep(seconds)
    return 5


def run_uvloop(main):
    import uvloop

    return uvloop.run(package.portal(main)())


def test_the_task_factory_is_chained_and_taken_back():
    import uvloop

    made = []

    def factory(loop, coro, **kwargs):
        made.append(coro)
        return asyncio.Task(coro, loop=loop, **kwargs)

    async def main():
        assert await asyncio.create_task(child()) == 5

    async def child():
        return nap()

    async def outside():
        loop = asyncio.get_running_loop()
        loop.set_task_factory(factory)
        await package.portal(main)()
        assert loop.get_task_factory() is factory

    uvloop.run(outside())
    assert isinstance(made[0], Portal) and made[0].__name__ == "child"
    assert not any(isinstance(coro, Portal) for coro in made[1:])


@pytest.mark.skipif(
    sys.version_info < (3, 12), reason="no eager tasks before 3.12"
)
def test_eager_tasks_have_portals_of_their_own():
    async def child(gate):
        first = nap()
        gate.set_result(None)
        return first + nap()

    async def main():
        loop = asyncio.get_running_loop()
        gate = loop.create_future()
        task = asyncio.ensure_future(child(gate))
        assert not gate.done()
        await gate
        return await task

    async def outside():
        loop = asyncio.get_running_loop()
        loop.set_task_factory(eager_factory)
        return await package.portal(main)()

    def eager_factory(loop, coro, *, context=None, **ignored):
        return asyncio.eager_task_factory(loop, coro, context=context)

    import uvloop

    assert uvloop.run(outside()) == 10


def test_a_task_that_nobody_prepared_is_refused_with_the_mend():
    import uvloop

    async def main():
        with pytest.raises(CannotSuspend) as refused:
            nap()
        return str(refused.value)

    refusal = uvloop.run(main())
    assert "start with tworoutine.run(main(), loop_factory=...)" in refusal
    assert "loop.set_task_factory(tworoutine.task_factory)" in refusal


def test_fan_out_in_a_portal():
    async def main():
        return nap.map([0, 0.001, 0]), dict(nap.as_completed([0, 0.001]))

    assert run_uvloop(main) == ([5, 5, 5], {0: 5, 0.001: 5})


def test_another_loop_inside_a_step():
    """What runs there has nothing to do with the portal around it."""
    import trio

    async def inner():
        return nap()

    async def main():
        await trio.sleep(0)
        # trio runs in this thread: whatever is refused, nothing is mixed up.
        with pytest.raises(CannotSuspend):
            asyncio.run(inner())
        await trio.sleep(0)
        return "alive"

    assert trio.run(package.portal(main)) == "alive"


def test_shutdown_cancels_parked_calls():
    import uvloop

    steps = []

    @tworoutine
    async def forever():
        try:
            await asyncio.sleep(60)
        finally:
            nap()
            steps.append("finally")

    async def background():
        forever()

    async def main():
        tasks.append(asyncio.ensure_future(background()))
        nap()
        return "main"

    tasks = []
    made = package.run(main(), loop_factory=uvloop.new_event_loop)
    assert (made, steps) == ("main", ["finally"])
    assert tasks.pop().cancelled()


def test_a_task_that_waits_in_a_call_looks_as_one_that_awaits():
    uvloop = pytest.importorskip("uvloop", reason="needs uvloop")

    @tworoutine
    async def call(event):
        await event.wait()

    async def waits(event):
        call(event)

    async def awaits(event):
        await (~call)(event)

    async def look(function):
        event = asyncio.Event()
        task = asyncio.create_task(function(event))
        await asyncio.sleep(0)
        text = repr(task)
        (frame,) = task.get_stack()
        stack = io.StringIO()
        task.print_stack(file=stack)
        event.set()
        await task
        line = function.__code__.co_firstlineno + 1
        assert (frame.f_code, frame.f_lineno) == (function.__code__, line)
        assert f"coro=<{function.__qualname__}() running at" in text
        assert "wait_for=<Future pending" in text
        assert f", line {line}, in {function.__name__}\n" in stack.getvalue()
        return stack.getvalue().count("\n")

    async def main():
        return await look(waits), await look(awaits)

    run = package.run(main(), loop_factory=uvloop.new_event_loop)
    assert run == (3, 3)


# --- trio -------------------------------------------------------------------


def test_ctrl_c_under_trio(program):
    assert (
        program("""
import os, signal, trio
import tworoutine

@tworoutine.tworoutine
async def sleep_on():
    try:
        signal.raise_signal(signal.SIGINT)
        await trio.sleep(60)
    finally:
        print("finally")

async def main():
    sleep_on()

signal.signal(signal.SIGINT, signal.default_int_handler)
try:
    trio.run(tworoutine.portal(main))
except KeyboardInterrupt:
    print("interrupted")
""")
        == "finally\ninterrupted\n"
    )


def test_atexit_by_hand_in_a_task_of_trio_without_a_portal(program):
    """trio runs, though no loop does: calls in portals beside it go on."""
    pytest.importorskip("trio", reason="needs trio")
    source = """
import atexit, trio, tworoutine

@tworoutine.tworoutine
async def wait(event):
    await event.wait()
    return "waited"

async def calls(begun, event):
    begun.set()
    print(wait(event))

async def main():
    begun, event = trio.Event(), trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(tworoutine.portal(calls), begun, event)
        await begun.wait()
        atexit._run_exitfuncs()
        event.set()

trio.run(main)
"""
    assert program(source) == "waited\n"


def test_trio_s_protection_from_ctrl_c():
    """trio looks at the frames: user code must not seem to be its own."""
    trio = pytest.importorskip("trio", reason="needs trio")
    from trio.lowlevel import currently_ki_protected as protected

    @tworoutine
    async def call():
        before = protected()
        await trio.sleep(0)
        return before, protected()

    def below(seen):
        seen += [protected(), *call(), protected()]

    async def child(seen, ended):
        below(seen)
        ended.set()

    async def main():
        users, systems, ended = [], [], [trio.Event(), trio.Event()]
        below(users)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(child, users, ended[0])
        task = package.portal(child)
        trio.lowlevel.spawn_system_task(task, systems, ended[1])
        await ended[1].wait()
        return users, systems

    assert trio.run(package.portal(main)) == ([False] * 8, [True] * 4)


@pytest.mark.parametrize("waits", [False, True])
@pytest.mark.parametrize("first", [0, 1])
def test_steps_that_overlap_end_in_any_order(first, waits):
    # As when two of gevent's greenlets step portals of their own.
    test = greenlet.getcurrent()
    workers, ends = [], []

    @tworoutine
    async def switches():
        workers.append(greenlet.getcurrent())
        test.switch()
        return await Trap() if waits else 5

    async def main():
        return switches()

    def step(portal):
        try:
            ends.append(type(portal.send(None)))
        except StopIteration as stop:
            ends.append(stop.value)

    def begin():
        portal = Portal(main())
        greenlet.greenlet(
            lambda: contextvars.Context().run(step, portal)
        ).switch()
        return portal

    portals = [begin(), begin()]
    for turn in first, 1 - first:
        workers[turn].switch()
        if not waits:
            portals[turn] = None
            gc.collect()
    assert ends == [Trap if waits else 5] * 2
    for portal in portals if waits else ():
        assert returned(lambda portal=portal: portal.send(6)) == 6

    async def later():
        return trap()

    portals = [Portal(later()) for _ in range(3)]
    for portal in portals:
        portal.send(None)
    assert [returned(lambda p=p: p.send(7)) for p in portals] == [7] * 3


def stepped(coro):
    return returned(lambda: Portal(coro).send(None))


def test_a_step_may_go_as_deep_as_its_caller():
    def dive(n, then):
        return dive(n - 1, then) if n else then()

    async def deep(n):
        return dive(n, lambda: 5)

    limit = sys.getrecursionlimit()
    depth = len(inspect.stack(0))
    left = limit - depth
    # What was born at the end of the stack serves a caller at its beginning.
    assert dive(left - 100, lambda: stepped(deep(10))) == 5
    assert stepped(deep(left - 100)) == 5
    with pytest.raises(RecursionError):
        dive(left - 200, lambda: stepped(deep(200)))
    assert stepped(deep(left - 100)) == 5


def test_portals_in_portals_end_in_recursion_error():
    deepest = 0

    async def deeper(n):
        nonlocal deepest
        deepest = max(n, deepest)
        stepped(deeper(n + 1))

    for _ in range(3):
        with warnings.catch_warnings(), pytest.raises(RecursionError):
            # The innermost coroutine may come to be made, but not be begun.
            warnings.simplefilter("ignore", RuntimeWarning)
            stepped(deeper(0))
        assert 10 < deepest < sys.getrecursionlimit()


def test_a_call_that_does_not_end_with_its_thread_is_left_for_ever():
    @tworoutine
    async def stubborn():
        while True:
            with contextlib.suppress(GeneratorExit):
                await Trap()

    async def main():
        stubborn()

    portals = [Portal(main()) for _ in range(4)]
    told = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "unraisablehook", lambda e: told.append(str(e)))
        for portal in portals:
            thread = threading.Thread(target=portal.send, args=[None])
            thread.start()
            thread.join()
        assert len(told) == 4 and "ignored GeneratorExit" in told[0]
        told.clear()
        refused = []

        def go_on():
            for portal in portals:
                with pytest.raises(RuntimeError, match="in another thread"):
                    portal.send(1)
                refused.append(portal)

        # The record of the thread may stand where that of an ended one stood.
        for _ in range(3):
            thread = threading.Thread(target=go_on)
            thread.start()
            thread.join()
        assert refused == portals * 3
        refused.clear()
        portals.clear()
        del portal
    assert len(told) == 4 and "another thread" in told[0]


def test_children_inherit_under_trio_and_others_do_not():
    import trio

    @tworoutine
    async def rest():
        await trio.sleep(0)
        return 5

    results = []

    async def child():
        results.append(rest())

    async def stranger():
        with pytest.raises(CannotSuspend):
            rest()
        results.append("refused")

    async def main():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(child)

    async def outside():
        async with trio.open_nursery() as nursery:
            await package.portal(main)()
            nursery.start_soon(stranger)

    trio.run(outside)
    assert results == [5, "refused"]


def test_a_generator_under_trio_is_trio_s():
    import trio

    @tworoutine
    async def count():
        try:
            yield 1
            yield 2
        finally:
            ended.append(trio.lowlevel.current_task())
            await trio.sleep(0)

    async def main():
        before = sorted(os.listdir("/proc/self/fd"))
        left = count()
        assert next(left) == 1
        for _ in count():
            break
        assert ended == [trio.lowlevel.current_task()]
        # No loop of asyncio has been made.
        assert sorted(os.listdir("/proc/self/fd")) == before
        return left

    ended = []
    left = trio.run(package.portal(main))
    assert len(ended) == 2  # as trio ends all generators
    with pytest.raises(StopIteration):
        next(left)


def test_a_callback_of_trio_is_refused():
    import trio

    refused = []

    @tworoutine
    async def rest():
        await trio.sleep(0)

    async def main():
        done = trio.Event()

        def callback():
            try:
                rest()
            except CannotSuspend as exc:
                refused.append(str(exc))
            done.set()

        trio.lowlevel.current_trio_token().run_sync_soon(callback)
        await done.wait()

    trio.run(package.portal(main))
    assert len(refused) == 1 and "tworoutine.portal" in refused[0]


@pytest.mark.parametrize("how", ["send", "throw"])
def test_a_step_that_cannot_go_on_keeps_nothing(how):
    """Its context is entered by who steps: what was sent is dropped."""

    class Sent(Exception):
        pass

    context = contextvars.copy_context()

    async def main():
        context.run(trap)

    coro = package.portal(main)()
    coro.send(None)
    sent = Sent()
    gone = weakref.ref(sent)
    with pytest.raises(RuntimeError, match="cannot enter context"):
        context.run(getattr(coro, how), sent)
    del sent, coro
    gc.collect()
    assert gone() is None
