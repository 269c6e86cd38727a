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
