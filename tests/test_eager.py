"""Eager tasks: their first step runs on the stack of who makes them.

With tworoutine.eager_task_factory a call in that step holds nobody up, as an
await does not.  Without it the creator is held up, and its cancel ends that.
"""

import asyncio
import contextvars
import sys

import greenlet
import pytest

import tworoutine as package
from tworoutine import CannotSuspend, await_, tworoutine

if sys.version_info < (3, 12):
    pytest.skip("no eager tasks before 3.12", allow_module_level=True)

nap = tworoutine(asyncio.sleep)
VAR = contextvars.ContextVar("VAR", default=0)


async def job(number):
    nap(0.01)
    return number


# --- in portals -------------------------------------------------------------


def by_factory(main):
    async def with_factory():
        loop = asyncio.get_running_loop()
        loop.set_task_factory(package.eager_task_factory)
        return await main()

    return asyncio.run(with_factory())


def by_portal(main):
    async def with_factory():
        loop = asyncio.get_running_loop()
        loop.set_task_factory(asyncio.eager_task_factory)
        result = await package.portal(main)()
        assert loop.get_task_factory() is asyncio.eager_task_factory
        return result

    return asyncio.run(with_factory())


def eager_loop():
    loop = asyncio.new_event_loop()
    loop.set_task_factory(asyncio.eager_task_factory)
    return loop


def by_run(main):
    return package.run(main(), loop_factory=eager_loop)


def below_portals(main):
    """Each task is made past any factory, and awaits a portal."""

    def factory(loop, coro, **kwargs):
        async def around():
            return await package.portal(lambda: coro)()

        return asyncio.Task(around(), loop=loop, eager_start=True)

    async def with_factory():
        asyncio.get_running_loop().set_task_factory(factory)
        return await main()

    return asyncio.run(with_factory())


EACH_WAY = pytest.mark.parametrize(
    "run", [by_factory, by_portal, by_run, below_portals]
)


@EACH_WAY
def test_calls_in_first_steps_overlap(run):
    async def main():
        loop = asyncio.get_running_loop()
        began = loop.time()
        jobs = [job(number) for number in range(100)]
        assert await asyncio.gather(*jobs) == list(range(100))
        return loop.time() - began

    assert run(main) < 0.8  # one after the other: 1 s


@EACH_WAY
def test_two_that_need_each_other(run):
    async def main():
        queue, answers = asyncio.Queue(), asyncio.Queue()

        async def consumer():
            answers.put_nowait(await_(queue.get()))
            return "consumed"

        async def producer():
            queue.put_nowait(5)
            return await_(answers.get())

        async with asyncio.TaskGroup() as group:
            one = group.create_task(consumer())
            other = group.create_task(producer())
        return one.result(), other.result()

    assert run(main) == ("consumed", 5)


@EACH_WAY
def test_the_order_is_that_of_await(run):
    async def main():
        events = []

        async def task(name):
            events.append(f"{name} begins")
            nap(0)
            events.append(f"{name} goes on")
            nap(0)
            events.append(f"{name} ends")

        tasks = [asyncio.get_running_loop().create_task(task("a"))]
        events.append("main")
        tasks.append(asyncio.get_running_loop().create_task(task("b")))
        await asyncio.wait(tasks)
        return events

    begins = ["a begins", "main", "b begins"]
    goes_on = ["a goes on", "b goes on", "a ends", "b ends"]
    assert run(main) == [*begins, *goes_on]


@EACH_WAY
def test_cancelling_and_timeouts(run):
    async def main():
        async def waits():
            try:
                async with asyncio.timeout(0.01):
                    nap(60)
            except TimeoutError:
                nap(60)

        task = asyncio.get_running_loop().create_task(waits())
        nap(0.02)
        assert not task.done()
        task.cancel("enough")
        with pytest.raises(asyncio.CancelledError, match="enough"):
            await task
        return asyncio.current_task().cancelling()

    assert run(main) == 0


@EACH_WAY
def test_the_task_and_its_context(run):
    async def main():
        async def task(number):
            me = asyncio.current_task()
            VAR.set(number)
            nap(0.001)
            assert asyncio.current_task() is me
            return VAR.get()

        me = asyncio.current_task()
        tasks = [asyncio.ensure_future(task(n)) for n in range(1, 6)]
        assert asyncio.current_task() is me
        assert await asyncio.gather(*tasks) == [1, 2, 3, 4, 5]
        return VAR.get()

    assert run(main) == 0


@EACH_WAY
def test_plain_tasks_and_callbacks_beside_them(run):
    """Which are handed off while calls in portals wait, and the reverse."""

    async def main():
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        loop.call_soon(lambda: done.set_result(nap(0.01, "callback")))
        plain = asyncio.Task(job(5), loop=loop)
        jobs = [asyncio.ensure_future(job(number)) for number in range(5)]
        return [nap(0.005, "main"), await done, await plain, len(jobs)], [
            await each for each in jobs
        ]

    assert run(main) == (["main", "callback", 5, 5], [0, 1, 2, 3, 4])


def test_a_later_step_of_an_eager_task_is_handed_off():
    """A portal there is as direct as everywhere on asyncio's own loops."""

    async def main():
        async def late():
            await asyncio.sleep(0)
            return await package.portal(job)(5)

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(late()) for _ in range(3)]
        return [task.result() for task in tasks]

    async def with_factory():
        loop = asyncio.get_running_loop()
        loop.set_task_factory(asyncio.eager_task_factory)
        return await main()

    assert asyncio.run(with_factory()) == [5, 5, 5]


# --- past the factory: below a portal, which waits for the call -------------


def in_uvloop(main):
    uvloop = pytest.importorskip("uvloop")
    return package.run(main(), loop_factory=uvloop.new_event_loop)


def below_a_portal_of_uvloop(main):
    uvloop = pytest.importorskip("uvloop")
    return uvloop.run(package.portal(main)())


PAST = pytest.mark.parametrize(
    "run", [by_factory, in_uvloop, below_a_portal_of_uvloop]
)


def make_past(coro, kind=asyncio.Task):
    loop = asyncio.get_running_loop()
    return kind(coro, loop=loop, eager_start=True)


def in_step(run, inside):
    """A step, not the first, of an eager task that has a portal."""

    async def main():
        await asyncio.sleep(0)
        return await asyncio.ensure_future(inside())

    return run(main)


@PAST
@pytest.mark.parametrize("kind", [asyncio.Task, asyncio.tasks._PyTask])
def test_the_portal_below_waits_for_an_eager_task(run, kind):
    events = []

    async def past():
        me = asyncio.current_task()
        events.append("begins")
        assert nap(0.001, 5) == 5
        assert asyncio.current_task() is me
        events.append("goes on")
        VAR.set("past")
        nap(0)
        assert asyncio.current_task() is me and VAR.get() == "past"
        return 6

    async def inside():
        me = asyncio.current_task()
        VAR.set("inside")
        task = make_past(past(), kind)
        events.append("made")
        assert asyncio.current_task() is me and VAR.get() == "inside"
        nap(0)
        return await task

    async def bystander():
        while "made" not in events:
            await asyncio.sleep(0)
            assert asyncio.current_task().get_name() == "bystander"
            events.append("bystander")

    async def both():
        beside = asyncio.create_task(bystander(), name="bystander")
        result = await inside()
        await beside
        return result

    assert in_step(run, both) == 6
    # One that is in a portal from its first step on need not be held.
    assert events.index("begins") < events.index("goes on")
    assert "bystander" in events


@PAST
def test_eager_tasks_in_eager_tasks_in_a_portal(run):
    async def nested(depth):
        if depth == 0:
            return nap(0.001, 1)
        task = make_past(nested(depth - 1))
        nap(0)
        return 1 + await task

    async def inside():
        return await asyncio.gather(*[make_past(nested(3)) for _ in range(3)])

    assert in_step(run, inside) == [4, 4, 4]


@PAST
def test_who_cancels_the_creator_cancels_what_it_waits_for(run):
    events = []

    async def past():
        try:
            nap(10)
        except asyncio.CancelledError:
            events.append("cancelled")
            nap(0.001)
            raise
        finally:
            events.append("finally")

    async def inside():
        try:
            async with asyncio.timeout(0.01):
                await make_past(past())
        except TimeoutError:
            return "timeout"

    assert in_step(run, inside) == "timeout"
    assert events == ["cancelled", "finally"]


@PAST
def test_an_eager_task_that_holds_a_portal_is_cancelled(run):
    tasks = []

    async def past(wait):
        tasks.append(asyncio.current_task())
        try:
            wait()
        except asyncio.CancelledError as exc:
            assert not asyncio.current_task()._must_cancel
            return exc.args
        return "not cancelled"

    async def inside():
        loop = asyncio.get_running_loop()
        results = []
        for wait in (lambda: nap(10)), (lambda: (nap(0), nap(0))):
            loop.call_soon(lambda: tasks[-1].cancel("now"))
            results.append(await make_past(past(wait)))
        return results

    assert in_step(run, inside) == [("now",), ("now",)]


def test_a_portal_that_is_dropped_ends_the_eager_task():
    uvloop = pytest.importorskip("uvloop")
    events = []

    async def past():
        try:
            nap(10)
        finally:
            events.append(asyncio.current_task().get_name())
            events.append(asyncio.get_running_loop())

    async def inside():
        await make_past(past())

    async def main():
        portal = package.portal(inside)()
        task = asyncio.create_task(portal)
        await asyncio.sleep(0.001)
        me, loop = asyncio.current_task(), asyncio.get_running_loop()
        portal.close()
        assert asyncio.current_task() is me
        assert asyncio.get_running_loop() is loop
        task._log_destroy_pending = False
        return loop

    loop = uvloop.new_event_loop()
    assert loop.run_until_complete(main()) is loop
    loop.close()
    assert len(events) == 2 and events[1] is loop


# --- past the factory of a loop that we run: all tasks ----------------------


@pytest.mark.parametrize("kind", [asyncio.Task, asyncio.tasks._PyTask])
@pytest.mark.parametrize("eager", [True, False])
def test_tasks_made_past_the_factory_of_run(kind, eager):
    """As aiohttp's server makes them."""

    async def waits(gate):
        VAR.set(kind)
        await asyncio.sleep(0)
        nap(0.001)
        gate[0] += 1
        if gate[0] == 100:
            gate[1].set()
        tworoutine(gate[1].wait)()
        assert VAR.get() is kind
        return nap(0, gate[0])

    async def cancelled(reached):
        await asyncio.sleep(0)
        try:
            reached.set()
            nap(10)
        except asyncio.CancelledError:
            return "cancelled"

    async def main():
        loop = asyncio.get_running_loop()
        gate = [0, asyncio.Event()]
        how = {"loop": loop, "eager_start": eager}
        tasks = [kind(waits(gate), **how) for _ in range(100)]
        assert await asyncio.gather(*tasks) == [100] * 100
        reached = asyncio.Event()
        task = kind(cancelled(reached), **how)
        await reached.wait()
        task.cancel()
        return await task

    assert in_uvloop(main) == "cancelled"


def test_the_loop_of_run_has_its_own_call_soon_afterwards():
    uvloop = pytest.importorskip("uvloop")
    loops = []

    def factory():
        loops.append(uvloop.new_event_loop())
        return loops[0]

    async def main():
        assert "call_soon" in vars(loops[0])
        await asyncio.sleep(0)

    package.run(main(), loop_factory=factory)
    assert "call_soon" not in vars(loops[0])


@pytest.mark.parametrize("kind", [asyncio.Task, asyncio.tasks._PyTask])
def test_a_task_that_is_done_has_no_coroutine(kind):
    uvloop = pytest.importorskip("uvloop")

    async def done_at_once():
        pass

    async def main():
        task = make_past(done_at_once(), kind)
        asyncio.get_running_loop().call_soon(task.get_name)
        # 3.12.1 crashes where a task in C that was done at once is asked.
        if kind is not asyncio.Task or sys.version_info >= (3, 13):
            assert task.get_coro() is None

    package.run(main(), loop_factory=uvloop.new_event_loop)


def test_tasks_whose_fields_are_not_found_are_left_alone(program):
    pytest.importorskip("uvloop")
    source = """
import _asyncio, asyncio
class Task(_asyncio.Task):
    __slots__ = "twin",
    def __init__(self, coro, **how):
        self.twin = coro  # of two places, which one is it?
        super().__init__(coro, **how)
_asyncio.Task = asyncio.Task = Task
asyncio.tasks.Task = asyncio.tasks._CTask = Task

import tworoutine, uvloop

async def job():
    try:
        return tworoutine.await_(asyncio.sleep(0.001, 5))
    except tworoutine.CannotSuspend:
        return "refused"

async def main():
    loop = asyncio.get_running_loop()
    task = Task(job(), loop=loop)
    loop.call_soon(task.get_name)
    return await task

print(tworoutine.run(main(), loop_factory=uvloop.new_event_loop))
"""
    assert program(source) == "refused\n"


def test_a_task_made_past_the_factory_is_told_so():
    uvloop = pytest.importorskip("uvloop")

    async def main():
        loop = asyncio.get_running_loop()
        task = asyncio.Task(job(5), loop=loop)
        with pytest.raises(CannotSuspend) as refused:
            await task
        mended = asyncio.Task(package.portal(job)(6), loop=loop)
        return str(refused.value), await mended

    refusal, result = uvloop.run(package.portal(main)())
    assert result == 6
    assert refusal.endswith(
        "await its ~ form instead, or await tworoutine.portal(afn)(...) in "
        "this task, which was made past the loop's task factory, as by "
        "asyncio.Task(...)"
    )


# --- without: the creator is held up ----------------------------------------


def hold_up(main):
    async def with_factory():
        loop = asyncio.get_running_loop()
        loop.set_task_factory(asyncio.eager_task_factory)
        return await main()

    return asyncio.run(with_factory())


# 3.14 knows the current tasks of both kinds apart: in the first step of one
# that a task of the other kind makes, asyncio.current_task() is that task.
BOTH = [asyncio.Task, asyncio.tasks._PyTask]
KINDS = pytest.mark.parametrize(
    "kind", BOTH[: 1 if sys.version_info >= (3, 14) else 2]
)


def eager(kind, coro):
    return kind(coro, loop=asyncio.get_running_loop(), eager_start=True)


@KINDS
def test_a_timeout_of_the_creator_ends_it(kind):
    """Although the event can only be set by the creator."""

    async def main():
        event = asyncio.Event()
        log = []

        async def waits():
            try:
                await_(event.wait())
            finally:
                log.append("its finally")

        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                task = eager(kind, waits())
                log.append("the creator goes on")
                await asyncio.sleep(60)
        assert asyncio.current_task().cancelling() == 0
        assert task.cancelled()
        return log

    assert hold_up(main) == ["its finally", "the creator goes on"]


@KINDS
def test_a_failing_sibling_of_the_creator_ends_it(kind):
    async def main():
        async def creator():
            eager(kind, job_that_never_ends())

        async def fails():
            await asyncio.sleep(0.01)
            raise ZeroDivisionError

        with pytest.raises(ExceptionGroup) as raised:
            async with asyncio.TaskGroup() as group:
                group.create_task(fails())
                group.create_task(creator())
        assert raised.group_contains(ZeroDivisionError)

    asyncio.run(main())


async def job_that_never_ends():
    nap(3600)


def test_a_cancel_reaches_the_uppermost_of_many(asyncio_errors):
    async def main():
        tasks = []

        async def nested(depth):
            if depth == 0:
                nap(3600)
            tasks.append(eager(asyncio.Task, nested(depth - 1)))
            await asyncio.sleep(3600)

        me = asyncio.current_task()
        asyncio.get_running_loop().call_later(0.01, me.cancel, "stop")
        with pytest.raises(asyncio.CancelledError, match="stop"):
            tasks.append(eager(asyncio.Task, nested(3)))
            assert me._fut_waiter is None
            await asyncio.sleep(3600)
        me.uncancel()
        return [task.cancelled() for task in tasks]

    # Those in the middle still wait, as they would have.
    assert hold_up(main)[0] is True


def test_it_may_refuse_to_end_and_the_creator_is_cancelled_all_the_same():
    async def main():
        async def stubborn():
            try:
                nap(3600)
            except asyncio.CancelledError:
                nap(0.01)
            return "its own way"

        try:
            async with asyncio.timeout(0.01):
                task = eager(asyncio.Task, stubborn())
                assert task.result() == "its own way"
                await asyncio.sleep(3600)
        except TimeoutError:
            return task.cancelling(), asyncio.current_task().cancelling()

    assert hold_up(main) == (1, 0)


def test_nobody_is_held_up_after_its_first_step():
    async def main():
        async def later():
            await asyncio.sleep(0)
            nap(0.02)
            return "ended"

        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                task = eager(asyncio.Task, later())
                await asyncio.sleep(3600)
        return await task

    assert hold_up(main) == "ended"


def test_a_creator_that_was_cancelled_before_is_not_cancelled_twice():
    async def main():
        me = asyncio.current_task()
        me.cancel()
        task = eager(asyncio.Task, job(5))
        assert task.result() == 5
        assert me.cancelling() == 1
        with pytest.raises(asyncio.CancelledError):
            await asyncio.sleep(0)
        me.uncancel()

    hold_up(main)


def test_past_the_factory_in_a_greenlet_of_a_portals_step():
    """(Where SQLAlchemy's asyncio is loaded, a call there is refused.)"""

    @tworoutine
    async def nap():
        await asyncio.sleep(0.001)
        return 5

    async def inner():
        try:
            return nap()
        except CannotSuspend as exc:
            assert "greenlet" in str(exc)
            return 5

    async def parent():
        loop = asyncio.get_running_loop()

        def begin():
            return asyncio.Task(inner(), loop=loop, eager_start=True)

        task = greenlet.greenlet(begin).switch()
        return await task, nap()

    async def main():
        loop = asyncio.get_running_loop()
        tasks = [
            asyncio.Task(package.portal(parent)(), loop=loop, eager_start=True)
            for _ in range(3)
        ]
        assert await asyncio.gather(*tasks) == [(5, 5)] * 3
        assert nap() == 5

    asyncio.run(main())
