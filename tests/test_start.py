"""f.start(...): a call that is begun and not waited for."""

import asyncio
import contextlib
import contextvars
import gc
import inspect
import sys
import threading
import weakref

import pytest

import tworoutine as package
from tworoutine import CannotSuspend, LoopThread, await_, tworoutine

var = contextvars.ContextVar("var", default=0)


@tworoutine
async def double(x, *, turns=1):
    for _ in range(turns):
        await asyncio.sleep(0)
    return 2 * x


@tworoutine
async def fail():
    await asyncio.sleep(0)
    raise LookupError


class Board:
    @tworoutine
    async def read(self, x):
        await asyncio.sleep(0)
        return self, x

    @tworoutine
    @classmethod
    async def make(cls):
        await asyncio.sleep(0)
        return cls


def test_it_is_a_task_and_its_result_is_taken_by_a_call(place):
    def work():
        task = double.start(3, turns=4)
        assert isinstance(task, asyncio.Task)
        before = task.done()
        return before, await_(task), task.done()

    before, result, after = place(work)
    assert (result, after) == (6, True)
    assert before is False or place.name == "eager-task"


def test_it_is_taken_by_await():
    async def main():
        task = double.start(3)
        assert task in asyncio.all_tasks()
        assert task.get_loop() is asyncio.get_running_loop()
        return await task

    assert asyncio.run(main()) == 6


def test_many_go_on_at_once(place):
    def work():
        tasks = [double.start(x, turns=10) for x in range(10)]
        return [await_(task) for task in tasks]

    assert place(work) == [2 * x for x in range(10)]


def test_without_a_loop_it_goes_on_while_calls_run_the_loop():
    steps = []

    @tworoutine
    async def background():
        for step in range(30):
            steps.append(step)
            await asyncio.sleep(0)
        return "done"

    task = background.start()
    assert steps == []
    double(1, turns=2)
    assert steps and not task.done()
    double(1, turns=50)
    assert steps == list(range(30))
    assert task.result() == "done"


def test_an_error_is_raised_where_it_is_taken(place):
    def work():
        task = fail.start()
        with pytest.raises(LookupError):
            await_(task)

    place(work)


def test_an_error_that_nobody_takes_is_logged(place, asyncio_errors):
    def work():
        fail.start()
        double(1, turns=5)

    place(work)
    gc.collect()
    [message] = asyncio_errors
    assert message.startswith("Task exception was never retrieved")
    asyncio_errors.clear()


def test_it_can_be_cancelled(place):
    def work():
        task = double.start(1, turns=1000)
        double(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await_(task)

    place(work)


def test_bound_methods_and_class_methods(place):
    board = Board()
    assert place(lambda: await_(board.read.start(1))) == (board, 1)
    assert place(lambda: await_(Board.read.start(board, x=2))) == (board, 2)
    assert place(lambda: await_(Board.make.start())) is Board


def test_it_runs_in_a_copy_of_the_context(place):
    @tworoutine
    async def get_and_set():
        before = var.get()
        var.set(2)
        return before

    def work():
        token = var.set(1)
        seen = await_(get_and_set.start()), var.get()
        var.reset(token)
        return seen

    assert place(work) == (1, 1)


def test_it_may_make_calls(place):
    @tworoutine
    async def outer():
        return double(5)

    assert place(lambda: await_(outer.start())) == 10


def test_it_is_kept_while_it_runs(place):
    """asyncio refers to tasks weakly: one that waits for what nobody else
    knows is collected."""

    @tworoutine
    async def waits(refs):
        future = asyncio.get_running_loop().create_future()
        refs.append(weakref.ref(future))
        await future
        return "kept"

    def work():
        refs = []
        ref = weakref.ref(waits.start(refs))
        double(1, turns=3)
        gc.collect()
        refs[0]().set_result(None)
        task = ref()
        return await_(task), ref

    result, ref = place(work)
    assert result == "kept"
    double(1)
    gc.collect()
    assert ref() is None


def test_what_a_closed_loop_had_is_let_go(asyncio_errors):
    loop = asyncio.new_event_loop()

    async def begin():
        return weakref.ref(double.start(1, turns=100))

    ref = loop.run_until_complete(begin())
    loop.close()
    await_(double.start(1))
    gc.collect()
    assert ref() is None
    [message] = asyncio_errors
    assert message.startswith("Task was destroyed but it is pending")
    asyncio_errors.clear()


def test_any_callable_that_returns_an_awaitable(place):
    """Also one that asks for the running loop as it is called."""

    @tworoutine
    def future_of(x):
        future = asyncio.get_running_loop().create_future()
        future.set_result(x)
        return future

    assert place(lambda: await_(future_of.start(7))) == 7


def test_generators_and_managers_are_refused(place):
    @tworoutine
    async def ticks():
        yield 1

    @tworoutine
    @contextlib.asynccontextmanager
    async def opened():
        yield 1

    for f, advice in [
        (ticks, "iterate over it in a function, and start that"),
        (opened, "enter it in a function, and start that"),
    ]:

        def work(f=f):
            task = f.start()
            return await_(task)

        with pytest.raises(TypeError, match=advice):
            place(work)


def test_wrong_arguments(place):
    with pytest.raises(TypeError, match=r"double\(\) missing 1 required"):
        place(double.start)


def test_its_signature_and_help():
    assert str(inspect.signature(double.start)) == "(*args, **kwargs)"
    assert double.start.__doc__.startswith("Begin f(...)")


# --- at home ----------------------------------------------------------------


def test_at_home_from_a_thread_without_a_loop():
    """It begins at home at once."""
    began = threading.Event()

    @tworoutine
    async def where():
        began.set()
        await asyncio.sleep(0)
        return threading.current_thread().name

    with LoopThread("home") as home:
        task = where.at(home).start()
        assert isinstance(task, asyncio.Task)
        assert began.wait(60)
        assert not task.done()
        assert await_(task) == "home"
        with package.home(home):
            assert await_(where.start()) == "home"


def test_at_home_from_a_task():
    @tworoutine
    async def where():
        await asyncio.sleep(0)
        return threading.current_thread().name

    async def main():
        task = where.at(home).start()
        assert task.get_loop() is asyncio.get_running_loop()
        return await task

    with LoopThread("home") as home:
        assert asyncio.run(main()) == "home"


def test_a_home_is_told_of_a_cancel_before_the_first_step():
    began, ended = threading.Event(), threading.Event()

    @tworoutine
    async def waits():
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    with LoopThread("home") as home:
        task = waits.at(home).start()
        assert began.wait(60)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await_(task)
        assert ended.wait(60)


def test_in_the_thread_of_the_home():
    async def main():
        f = double.at(asyncio.get_running_loop())
        return await f.start(2)

    assert asyncio.run(main()) == 4


# --- other loops ------------------------------------------------------------


def test_below_a_portal_on_uvloop():
    uvloop = pytest.importorskip("uvloop")

    @tworoutine
    async def outer():
        return double(5)

    async def main():
        task = outer.start()
        assert task.get_loop() is asyncio.get_running_loop()
        return await_(task), await double.start(1)

    assert package.run(main(), loop_factory=uvloop.new_event_loop) == (10, 2)


def test_without_a_portal_on_uvloop():
    """To begin a task needs none."""
    uvloop = pytest.importorskip("uvloop")

    async def main():
        return await double.start(1)

    if sys.version_info >= (3, 12):
        got = asyncio.run(main(), loop_factory=uvloop.new_event_loop)
    else:
        got = uvloop.run(main())
    assert got == 2


def test_trio_has_nurseries():
    trio = pytest.importorskip("trio")

    async def main():
        double.start(1)

    with pytest.raises(CannotSuspend, match="trio runs in this thread") as e:
        trio.run(main)
    assert str(e.value).endswith("write nursery.start_soon(~double, ...)")


def test_curio_spawns():
    curio = pytest.importorskip("curio")

    async def main():
        double.start(1)

    with pytest.raises(CannotSuspend, match="curio runs in this thread") as e:
        curio.run(main)
    assert str(e.value).endswith("write await curio.spawn(~double, ...)")


def test_in_synchronous_code_of_asgiref(place):
    """Where the running loop is hidden, calls are served by that one."""
    asgiref = pytest.importorskip("asgiref.sync")

    def work():
        return await_(double.start(3))

    @tworoutine
    async def main():
        return await asgiref.sync_to_async(work)()

    assert place(main) == 6


def test_in_gevent(program):
    pytest.importorskip("gevent")
    program(
        """
import asyncio
import gevent
from tworoutine import await_, tworoutine

@tworoutine
async def nap(seconds, result):
    await asyncio.sleep(seconds)
    return result

def user(n):
    task = nap.start(0.01, n)
    nap(0.001, None)
    return await_(task)

users = [gevent.spawn(user, n) for n in range(5)]
gevent.joinall(users, raise_error=True)
assert [each.value for each in users] == list(range(5))
task = nap.start(0.01, "more")
assert gevent.spawn(await_, task).get() == "more"

# Where the loop polls in another greenlet, it sees the new task.
steps = []
waiting = gevent.spawn(nap, 0.2, None)
gevent.sleep(0.05)
task = nap.start(0, "soon")
gevent.sleep(0.05)
assert task.done() and not waiting.ready()
waiting.get()
""",
        flags=("-X", "dev"),
    )
