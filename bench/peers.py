"""What each library has to write for the questions of beside.py.

A question of a library that has nothing for it finds no method here: "-".
Each runs in a process of its own.
"""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

import contenders


async def nap(seconds, value=None):
    await asyncio.sleep(seconds)
    return value


async def numbers():
    for number in range(3):
        await asyncio.sleep(0)
        yield number


@asynccontextmanager
async def opened():
    await asyncio.sleep(0)
    yield "open"
    await asyncio.sleep(0)


class Blocks:
    """Async code that blocks until another loop has gone on."""

    def __init__(self):
        self.went_on = threading.Event()

    async def block(self):
        return self.went_on.wait(2)

    async def beside(self, waiting):
        """Wait for that, while this loop is to go on."""
        task = asyncio.ensure_future(waiting)
        await asyncio.sleep(0.01)
        self.went_on.set()
        assert await task


class Client:
    """Somebody's, who has decorated nothing."""

    async def read(self, x):
        await asyncio.sleep(0)
        return x

    async def items(self):
        yield 1

    async def __aenter__(self):
        return self

    async def __aexit__(self, *error):
        self.left = True


class Shared:
    """A connection: good in the loop alone that opened it."""

    async def open(self):
        self.loop, self.ready = asyncio.get_running_loop(), 0
        self.all_here = asyncio.Event()

    async def meet(self):
        """Return when three have come."""
        assert asyncio.get_running_loop() is self.loop
        self.ready += 1
        if self.ready == 3:
            self.all_here.set()
        await self.all_here.wait()


def three_meet(open_it, meet):
    """From this thread, then from three at once."""
    open_it()
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda _: meet(), range(3)))


def uses(client):
    """In the synchronous idiom."""
    assert client.read(1) == 1
    assert list(client.items()) == [1]
    with client as entered:
        assert entered.read(2) == 2


async def loop_here():
    await asyncio.sleep(0)
    return asyncio.get_running_loop()


class Wrapped:
    """What is wrapped is used as what is not async."""

    def generator(self):
        assert list(self.wrap(numbers)()) == [0, 1, 2]

    def manager(self):
        with self.wrap(opened)() as got:
            assert got == "open"


class TwoRoutine(Wrapped, contenders.TwoRoutine):
    package = "tworoutine"
    prepared = "with a portal"

    def run_on_uvloop(self, main):
        import uvloop

        import tworoutine

        return tworoutine.run(main, loop_factory=uvloop.new_event_loop)

    def run_on_trio(self, main):
        import trio

        import tworoutine

        return trio.run(tworoutine.portal(main))

    def home(self):
        from tworoutine import LoopThread

        with LoopThread() as thread:
            shared = Shared()
            open_it = self.at(shared.open, thread)
            three_meet(open_it, self.at(shared.meet, thread))

    def back(self):
        from tworoutine import home

        where = self.wrap(loop_here)

        async def main():
            loop = asyncio.get_running_loop()
            with home(loop):
                assert await asyncio.to_thread(where) is loop

        asyncio.run(main())

    def dual(self):
        from tworoutine import dual

        client = Client()
        uses(dual(client))

        async def main():
            uses(dual(client))
            assert await (~dual(client).read)(3) == 3

        asyncio.run(main())
        assert isinstance(dual(client), Client)

    def nested(self):
        from tworoutine import nested

        nested.apply()
        in_a_library()
        nested.undo()
        try:
            in_a_library()
        except RuntimeError:
            return "yes, and `undo()`"
        raise AssertionError("not undone")

    def fan_out(self):
        from tworoutine import FailedCalls

        most = under_way = 0

        async def halve(x):
            nonlocal most, under_way
            under_way += 1
            most = max(most, under_way)
            await asyncio.sleep(0.001 * (9 - x))
            under_way -= 1
            if x == 2:
                raise OSError("no carrier")
            return x / 2

        halve = self.wrap(halve)
        try:
            halve.map(range(9), limit=4)
        except FailedCalls as failed:
            assert failed.results == [x / 2 for x in range(9) if x != 2]
            assert most == 4
        else:
            raise AssertionError

    def start(self):
        from tworoutine import await_

        task = self.wrap(nap).start(0.01, "begun")
        assert not task.done()
        assert await_(task) == "begun"

    def looks(self):
        from tworoutine import calls

        wrapped, seen = self.wrap(asyncio.Event.wait), []

        async def main():
            event = asyncio.Event()

            def look():
                seen.extend(calls())
                event.set()

            asyncio.get_running_loop().call_soon(look)
            wrapped(event)

        asyncio.run(main())
        (call,) = seen
        assert call.callee is wrapped and call.age >= 0
        assert call.caller.name == "main"

    def own_thread(self):
        from tworoutine import LoopThread

        with LoopThread() as thread:
            blocks = Blocks()
            call = self.at(blocks.block, thread)
            asyncio.run(blocks.beside(call.aio()))
        return "with a `LoopThread`"

    def between(self):
        from tworoutine import LoopThread

        with LoopThread() as thread:
            goes_on_between(lambda function: self.at(function, thread))
        return "with a `LoopThread`"


def in_a_library():
    """A synchronous function that calls `asyncio.run`, called in a task."""

    async def main():
        return sorted([3, 1, 2], key=lambda x: asyncio.run(nap(0.001, x)))

    assert asyncio.run(main()) == [1, 2, 3]


def goes_on_between(wrap):
    """A task that a call has begun, while this thread does something else."""
    ended = threading.Event()

    async def background():
        await asyncio.sleep(0.01)
        ended.set()

    async def begin():
        begin.task = asyncio.create_task(background())

    wrap(begin)()
    assert ended.wait(1), "it rests between calls"


class NestAsyncio(contenders.NestAsyncio):
    package = "nest_asyncio"
    prepared = None

    def run(self, main):
        return self.loop.run_until_complete(main)

    def run_on_uvloop(self, main):
        import nest_asyncio
        import uvloop

        self.loop = uvloop.new_event_loop()
        nest_asyncio.apply(self.loop)
        return self.loop.run_until_complete(main)

    def nested(self):
        in_a_library()

    def between(self):
        goes_on_between(self.wrap)


class Greenback(contenders.Greenback):
    package = "greenback"
    prepared = "with a portal"

    def generator(self):
        import greenback

        async def main():
            await self.enter()
            assert list(greenback.async_iter(numbers())) == [0, 1, 2]

        asyncio.run(main())

    def manager(self):
        import greenback

        async def main():
            await self.enter()
            with greenback.async_context(opened()) as got:
                assert got == "open"

        asyncio.run(main())


class Anyio(contenders.Anyio):
    package = "anyio"
    prepared = None

    def home(self):
        from anyio.from_thread import start_blocking_portal

        with start_blocking_portal() as portal:
            shared = Shared()
            three_meet(
                lambda: portal.call(shared.open),
                lambda: portal.call(shared.meet),
            )

    def back(self):
        import anyio

        async def main():
            where = await anyio.to_thread.run_sync(
                anyio.from_thread.run, loop_here
            )
            assert where is asyncio.get_running_loop()

        anyio.run(main)

    def start(self):
        from anyio.from_thread import start_blocking_portal

        with start_blocking_portal() as portal:
            future = portal.start_task_soon(nap, 0.01, "begun")
            assert future.result() == "begun"

    def manager(self):
        from anyio.from_thread import start_blocking_portal

        with (
            start_blocking_portal() as portal,
            portal.wrap_async_context_manager(opened()) as got,
        ):
            assert got == "open"

    def own_thread(self):
        from anyio.from_thread import start_blocking_portal

        with start_blocking_portal() as portal:
            blocks = Blocks()
            future = portal.start_task_soon(blocks.block)
            asyncio.run(blocks.beside(wait_for(future)))
        return "with a portal"

    def between(self):
        from anyio.from_thread import start_blocking_portal

        with start_blocking_portal() as portal:
            goes_on_between(lambda function: lambda: portal.call(function))
        return "with a portal"


async def wait_for(future):
    """A future of concurrent.futures."""
    return await asyncio.wrap_future(future)


class AsyncToSync(contenders.AsyncToSync):
    package = "asgiref"
    prepared = None

    def home(self):
        shared = Shared()
        three_meet(self.wrap(shared.open), self.wrap(shared.meet))

    def back(self):
        from asgiref.sync import sync_to_async

        async def main():
            where = await sync_to_async(self.wrap(loop_here))()
            assert where is asyncio.get_running_loop()

        asyncio.run(main())

    def between(self):
        goes_on_between(self.wrap)


class Synchronicity(Wrapped, contenders.Synchronicity):
    package = "synchronicity"
    prepared = None

    def home(self):
        self.wrap(Shared)

        async def made():
            return Shared()

        shared = self.wrap(made)()
        three_meet(shared.open, shared.meet)

    def back(self):
        async def main():
            where = await asyncio.to_thread(self.wrap(loop_here))
            assert where is asyncio.get_running_loop(), "another loop"

        asyncio.run(main())

    def dual(self):
        self.wrap(Client)
        client = Client()

        async def given():
            return client  # as what a library makes

        client = self.wrap(given)()
        uses(client)

        async def main():
            assert await client.read.aio(3) == 3

        asyncio.run(main())

    def start(self):
        future = self.wrap(nap)(0.01, "begun", _future=True)
        assert future.result() == "begun"

    def own_thread(self):
        blocks = Blocks()

        async def block():
            return await blocks.block()

        asyncio.run(blocks.beside(self.wrap(block).aio()))

    def between(self):
        goes_on_between(self.wrap)


PEERS = {
    peer.name: peer
    for peer in (
        TwoRoutine,
        NestAsyncio,
        Greenback,
        Anyio,
        AsyncToSync,
        Synchronicity,
    )
}
