"""Greenlets of others: a call works there, or is refused; no loop suffers."""

import _thread
import asyncio
import contextvars
import gc
import operator
import signal
from concurrent.futures import ThreadPoolExecutor

import greenback
import greenlet
import pytest
from sqlalchemy import ForeignKey, event, select, text
from sqlalchemy.ext.asyncio import (
    AsyncAttrs,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    mapped_column,
    relationship,
)
from sqlalchemy.pool import AsyncAdaptedQueuePool, NullPool

import greenlets
from tworoutine import CannotSuspend, tworoutine


@tworoutine
async def nap(seconds=0.001):
    await asyncio.sleep(seconds)
    return seconds


class Spawned(greenlet.greenlet):
    """As SQLAlchemy's: its parent is whoever made it."""

    def __init__(self, fn):
        super().__init__(fn, greenlet.getcurrent())


def await_only(coro):
    return greenlet.getcurrent().parent.switch(coro)


async def spawn(fn, kind=Spawned):
    child = kind(fn)
    result = child.switch()
    while not child.dead:
        try:
            value = await result
        except BaseException as exc:
            result = child.throw(exc)
        else:
            result = child.switch(value)
    return result


async def noisy():
    for number in range(30):
        nap(0.001 * (number % 3))


def many(work, kind=Spawned):
    async def main():
        bystanders = [asyncio.create_task(noisy()) for _ in range(40)]
        results = await asyncio.gather(*(spawn(work, kind) for _ in range(40)))
        await asyncio.gather(*bystanders)
        return results

    return asyncio.run(asyncio.wait_for(main(), 30))


def test_bystanders_that_use_greenlets_are_not_disturbed():
    def work():
        return sum(await_only((~nap)(0.002)) for _ in range(10))

    assert many(work) == [pytest.approx(0.02)] * 40


def test_calls_in_greenlets_that_say_how_to_await():
    class Provider(Spawned):
        __sqlalchemy_greenlet_provider__ = True

    def work():
        return sum(await_only((~nap)()) + nap(0.002) for _ in range(5))

    assert many(work, Provider) == [pytest.approx(0.015)] * 40


def test_calls_in_other_greenlets_are_refused():
    def work():
        with pytest.raises(CannotSuspend, match="greenlet"):
            nap()
        return await_only((~nap)())

    assert many(work) == [0.001] * 40


def test_a_call_without_a_loop_works_in_any_greenlet():
    assert greenlet.greenlet(nap).switch() == 0.001
    assert nap() == 0.001


class Dispatcher:
    """As Playwright's synchronous API.

    One greenlet runs the loop; its callbacks switch straight to the
    greenlet of the user's code that waits, which switches back to wait.
    """

    def __enter__(self):
        self.loop = asyncio.new_event_loop()
        self.closed = self.loop.create_future()
        self.greenlet = greenlet.greenlet(self._run)
        user = greenlet.getcurrent()
        self.loop.call_soon(user.switch)
        self.greenlet.switch()
        return self

    def _run(self):
        self.loop.run_until_complete(self.closed)

    def __call__(self, coro):
        """Wait for coro in user's code."""
        user = greenlet.getcurrent()
        task = self.loop.create_task(coro)
        task.add_done_callback(lambda _: user.switch())
        while not task.done():
            self.greenlet.switch()
        asyncio._set_running_loop(self.loop)
        return task.result()

    def emit(self, handler):
        """Run a handler of the user's in a greenlet of its own."""
        self.loop.call_soon(lambda: greenlet.greenlet(handler).switch())

    def __exit__(self, *exc):
        self.closed.set_result(None)
        self.greenlet.switch()
        assert self.greenlet.dead
        assert asyncio.all_tasks(self.loop) == set()
        self.loop.close()


def test_calls_in_the_users_code_of_a_dispatcher_are_refused():
    begun = []

    @tworoutine
    async def begins():
        begun.append(1)
        await asyncio.sleep(0)

    def refused():
        with pytest.raises(CannotSuspend, match="greenlet"):
            begins()
        assert begun == []

    async def calls(count):
        for _ in range(count):
            nap()
        return count

    nap()
    with Dispatcher() as wait:
        refused()
        assert wait((~nap)()) == 0.001
        refused()
        # A step of that loop may call; user's code still may not.
        assert wait(calls(3)) == 3
        refused()
        tasks = [wait.loop.create_task(calls(20)) for _ in range(10)]
        for number in range(10):
            assert wait(asyncio.sleep(0.001, number)) == number
            refused()
        handled = []

        def handler():
            refused()
            handled.append(wait((~nap)()))

        wait.emit(handler)
        assert wait(gather(tasks)) == [20] * 10
        while not handled:
            wait(asyncio.sleep(0))
        assert handled == [0.001]
    assert nap() == 0.001
    assert asyncio.run(calls(2)) == 2


async def gather(tasks):
    return await asyncio.gather(*tasks)


@pytest.fixture
def database(tmp_path):
    """An engine, and sessions of it that hold five As of two Bs each."""
    engine = create_async_engine(
        f"sqlite+aiosqlite:///{tmp_path}/test.db",
        poolclass=AsyncAdaptedQueuePool,  # not by itself before 2.0.38
        max_overflow=-1,  # a task here may hold two connections
    )
    sessions = async_sessionmaker(engine)

    async def fill():
        async with engine.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)
        async with sessions() as session:
            session.add_all(A(id=n, bs=[B(), B()]) for n in range(5))
            await session.commit()
        await engine.dispose()

    asyncio.run(fill())
    return engine, sessions


class Base(AsyncAttrs, DeclarativeBase):
    pass


class A(Base):
    __tablename__ = "a"
    id: Mapped[int] = mapped_column(primary_key=True)
    bs: Mapped[list["B"]] = relationship()


class B(Base):
    __tablename__ = "b"
    id: Mapped[int] = mapped_column(primary_key=True)
    a_id: Mapped[int] = mapped_column(ForeignKey("a.id"))


var = contextvars.ContextVar("var")


def test_sqlalchemy_beside_above_and_below_calls(database):
    engine, sessions = database
    executed = []

    @event.listens_for(engine.sync_engine, "before_cursor_execute")
    def listener(*args):
        executed.append(nap(0))  # in a greenlet of SQLAlchemy

    async def beside(number):
        var.set(number)
        async with sessions() as session:
            rows = (await session.scalars(select(A))).all()
            assert len(rows) == 5
            bs = await rows[number % 5].awaitable_attrs.bs
            assert var.get() == number
            return len(bs)

    @tworoutine
    async def below(number):
        async with sessions() as session:
            a = await session.get(A, number % 5)
            return len(await a.awaitable_attrs.bs)

    async def calls_below(number):
        return below(number)

    @tworoutine
    async def fails():
        await asyncio.sleep(0)
        raise LookupError

    def inside(session, number):
        nap(0)
        a = session.get(A, number % 5)
        with pytest.raises(LookupError):
            fails()
        assert below(number) == 2  # another greenlet inside of this one
        return len(a.bs)

    async def above(number):
        async with sessions() as session:
            return await session.run_sync(inside, number)

    @tworoutine
    async def between(number):
        return await above(number)

    async def calls_between(number):
        return between(number)

    async def main():
        bystanders = [asyncio.create_task(noisy()) for _ in range(40)]
        for kind in [beside, calls_below, above, calls_between]:
            assert await asyncio.gather(*map(kind, range(40))) == [2] * 40
        mixed = await asyncio.gather(
            *(
                kind(number)
                for number in range(10)
                for kind in [beside, calls_below, above, calls_between]
            )
        )
        assert mixed == [2] * 40
        await asyncio.gather(*bystanders)
        await engine.dispose()
        return nap()

    assert asyncio.run(asyncio.wait_for(main(), 200)) == 0.001
    assert len(executed) > 500


@pytest.mark.parametrize("limit", ["cancel", "timeout"])
def test_a_call_in_sqlalchemy_is_cancelled(database, limit):
    engine, _ = database
    log = []

    def inside(connection, begun):
        begun.set()
        try:
            nap(60)
        finally:
            log.append("finally")
            nap()
            log.append("ended")

    async def blocked(begun):
        async with engine.connect() as connection:
            await connection.run_sync(inside, begun)

    async def main():
        begun = asyncio.Event()
        task = asyncio.create_task(blocked(begun))
        await begun.wait()
        if limit == "cancel":
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        else:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(task, 0.01)
        assert log == ["finally", "ended"]
        async with engine.connect() as connection:
            assert (await connection.execute(text("select 7"))).scalar() == 7
        await engine.dispose()
        return nap()

    assert asyncio.run(asyncio.wait_for(main(), 30)) == 0.001


def test_an_engine_kept_between_calls_without_a_loop(database):
    engine, sessions = database

    @tworoutine
    async def count(number):
        async with sessions() as session:
            a = await session.get(A, number)
            return await session.run_sync(lambda _: nap(0) or len(a.bs))

    @tworoutine
    async def close():
        await engine.dispose()

    @tworoutine
    async def connection_of():
        async with engine.connect() as connection:
            return (await connection.get_raw_connection()).driver_connection

    def sync_attribute(session):
        return len(session.get(A, 1).bs)

    @tworoutine
    async def through_the_session():
        async with sessions() as session:
            return await session.run_sync(sync_attribute)

    assert count.map(range(5)) == [2] * 5
    # The connections of the pool serve all calls.
    assert len({connection_of() for _ in range(20)}) <= 5
    assert through_the_session() == 2
    close()


def test_sqlalchemy(tmp_path):
    url = f"sqlite+aiosqlite:///{tmp_path}/test.db"

    @tworoutine
    async def query(engine, number):
        async with engine.connect() as connection:
            result = await connection.execute(text(f"select {number}"))
            return result.scalar()

    async def main():
        engine = create_async_engine(url, poolclass=NullPool)

        async def one(number):
            for _ in range(5):
                assert query(engine, number) == number
                assert await (~query)(engine, number) == number

        def inside(connection):
            nap()
            return connection.execute(text("select 7")).scalar()

        await asyncio.gather(
            *(one(number) for number in range(20)),
            *(noisy() for _ in range(20)),
        )
        async with engine.connect() as connection:
            assert await connection.run_sync(inside) == 7
        await engine.dispose()

    asyncio.run(asyncio.wait_for(main(), 30))


# --- greenback --------------------------------------------------------------


@pytest.mark.parametrize("prepared", [False, True])
@pytest.mark.parametrize("pause", [0, 0.005])
def test_portals_of_greenback_beside_calls(prepared, pause):
    """They are made before the first call of others, or after it."""

    async def portaled(number):
        var.set(number)
        await greenback.ensure_portal()
        for turn in range(20):
            greenback.await_(asyncio.sleep(0.001 * (turn % 3)))
            assert var.get() == number
            await asyncio.sleep(0)
            assert greenback.await_((~nap)()) == 0.001
            assert var.get() == number
        return number

    async def main():
        if prepared:
            nap()
        tasks = [asyncio.create_task(portaled(n)) for n in range(20)]
        await asyncio.sleep(pause)
        bystanders = [asyncio.create_task(noisy()) for _ in range(20)]
        tasks += [asyncio.create_task(portaled(n)) for n in range(20, 40)]
        assert await asyncio.gather(*tasks) == list(range(40))
        await asyncio.gather(*bystanders)
        return nap()

    context = contextvars.copy_context()
    before = dict(context)
    coro = asyncio.wait_for(main(), 30)
    assert context.run(asyncio.run, coro) == 0.001
    assert dict(context) == before


def test_calls_in_a_portal_of_greenback():
    """greenback serves them."""

    @tworoutine
    async def set_var(value):
        await asyncio.sleep(0)
        var.set(value)
        return value

    @tworoutine
    async def fail():
        await asyncio.sleep(0)
        raise ValueError("its own")

    async def portaled(number):
        var.set(number)
        await greenback.ensure_portal()
        me = asyncio.current_task()
        for _ in range(5):
            assert nap() == 0.001
            assert sorted([number + 1, number], key=set_var)[0] == number
            assert var.get() in (number, number + 1)
            assert greenback.await_((~nap)()) == 0.001
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.001):
                    nap(60)
            with pytest.raises(ValueError, match="its own") as caught:
                fail()
            assert caught.value.__context__ is None
            assert asyncio.current_task() is me
        assert me.cancelling() == 0
        return number

    async def main():
        bystanders = [asyncio.create_task(noisy()) for _ in range(10)]
        results = await asyncio.gather(*map(portaled, range(10)))
        assert results == list(range(10))
        await asyncio.gather(*bystanders)
        return nap()

    assert asyncio.run(asyncio.wait_for(main(), 30)) == 0.001


def test_what_a_signal_handler_raises_as_a_call_looks_for_a_portal():
    class Alarm(Exception):
        pass

    def handler(*args):
        raise Alarm

    async def portaled():
        await greenback.ensure_portal()
        assert nap() == 0.001
        with pytest.raises(Alarm):
            # No Python code runs between the two.
            calls = [_thread.interrupt_main, nap]
            list(map(operator.call, calls, [signum, 60]))
        return nap()

    signum = signal.SIGUSR1
    old = signal.signal(signum, handler)
    try:
        assert asyncio.run(asyncio.wait_for(portaled(), 10)) == 0.001
    finally:
        signal.signal(signum, old)


def test_greenback_inside_a_call(place):
    def synchronous():
        assert nap() == 0.001
        return greenback.await_((~nap)())

    async def asynchronous():
        assert greenback.await_(asyncio.sleep(0, 1)) == 1
        assert nap() == 0.001
        await asyncio.sleep(0)
        return greenback.await_((~nap)())

    @tworoutine
    async def call():
        nap()
        first = await greenback.with_portal_run_sync(synchronous)
        nap()
        second = await greenback.with_portal_run(asynchronous)
        return first, second, nap()

    assert place(call) == (0.001, 0.001, 0.001)
    assert nap() == 0.001


def test_a_portal_of_greenback_made_inside_a_call():
    """It opens with the next step of the task, which a call is only part of:
    greenback says so.  From then on it serves the task's calls."""

    @tworoutine
    async def call():
        await greenback.ensure_portal()
        with pytest.raises(RuntimeError, match="yield to the event loop"):
            greenback.await_(asyncio.sleep(0))
        return nap()

    async def main():
        bystanders = [asyncio.create_task(noisy()) for _ in range(10)]
        assert call() == 0.001
        await asyncio.sleep(0)
        assert greenback.await_((~nap)()) == 0.001
        assert nap() == 0.001
        await asyncio.gather(*bystanders)
        return await (~nap)()

    assert asyncio.run(asyncio.wait_for(main(), 30)) == 0.001
    assert nap() == 0.001


def test_calls_in_a_portal_of_greenback_on_uvloop():
    """Under any loop that greenback knows."""
    uvloop = pytest.importorskip("uvloop", reason="needs uvloop")

    async def main():
        with pytest.raises(CannotSuspend):
            nap()
        await greenback.ensure_portal()
        return sorted([0.002, 0.001], key=nap)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(main()) == [0.001, 0.002]


def test_calls_in_a_portal_of_greenback_on_trio():
    trio = pytest.importorskip("trio", reason="needs trio")

    @tworoutine
    async def doze(seconds):
        await trio.sleep(seconds)
        return seconds

    async def main():
        with pytest.raises(CannotSuspend):
            doze(0)
        await greenback.ensure_portal()
        with trio.move_on_after(0.001) as scope:
            doze(60)
        assert scope.cancelled_caught
        return sorted([0.002, 0.001], key=doze)

    assert trio.run(main) == [0.001, 0.002]


@pytest.mark.parametrize("kept", [False, True])
def test_an_async_generator_in_a_portal_of_greenback_on_trio(kept):
    """Its hooks are those of trio: no loop of asyncio's is made for it."""
    trio = pytest.importorskip("trio", reason="needs trio")
    ended_in, held, made, tokens = [], [], [], []

    @tworoutine
    async def numbers():
        try:
            yield 1
            yield 2
        finally:
            ended_in.append(trio.lowlevel.current_trio_token())

    async def main():
        await greenback.ensure_portal()
        iterator = iter(numbers())
        assert next(iterator) == 1
        tokens.append(trio.lowlevel.current_trio_token())
        if kept:
            held.append(iterator)
        del iterator
        assert ended_in == ([] if kept else tokens)

    def loops():
        return [
            thing
            for thing in gc.get_objects()
            if isinstance(thing, asyncio.AbstractEventLoop)
        ]

    def run():
        before = loops()
        trio.run(main)
        made.extend(loop for loop in loops() if loop not in before)

    # In a thread that has no loop of its own.
    with ThreadPoolExecutor(1) as pool:
        pool.submit(run).result()
    assert ended_in == tokens
    assert made == []


# --- raw greenlets, at random -----------------------------------------------


def test_raw_greenlets_at_random():
    worked, refused = greenlets.run(50, adopt=False)
    assert worked > 300 and refused > 300
