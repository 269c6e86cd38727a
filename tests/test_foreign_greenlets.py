"""Greenlets of others: a call works there, or is refused; no loop suffers."""

import asyncio

import greenlet
import pytest

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
        assert handled == [0.001]
    assert nap() == 0.001
    assert asyncio.run(calls(2)) == 2


async def gather(tasks):
    return await asyncio.gather(*tasks)


def test_sqlalchemy(tmp_path):
    pytest.importorskip("sqlalchemy", reason="needs SQLAlchemy")
    pytest.importorskip("aiosqlite", reason="needs aiosqlite")
    from sqlalchemy import text
    from sqlalchemy.ext.asyncio import create_async_engine
    from sqlalchemy.pool import NullPool

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
