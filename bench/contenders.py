"""The ways to wait for a coroutine that are compared.

Each runs in a process of its own: nest_asyncio patches the whole process.
"""

import asyncio
import functools


class Await:
    """``await f()``, which cannot be had from a synchronous function."""

    name = "await"

    def __init__(self):
        """Do what the way needs once in a process, before any loop runs."""

    def wrap(self, function):
        """Make an asynchronous function one that `call` takes."""
        return function

    def run(self, main):
        """Run a coroutine in a loop of the kind that the way is for."""
        return asyncio.run(main)

    async def enter(self):
        """Do what the way needs once in every task that makes a call."""

    async def call(self, function, times=1):
        """Call a wrapped function so often, in this task."""
        for _ in range(times):
            await function()


class AwaitAsDeep(Await):
    """``await f()`` below as many frames as a synchronous call has here."""

    name = "await, as deep"

    async def call(self, function, times=1):
        await self.enter()
        await self.call_here(function, times)

    async def call_here(self, function, times=1):
        for _ in range(times):
            await function()


class CreateTask(Await):
    """``await asyncio.create_task(f())``."""

    name = "create_task"

    async def call(self, function, times=1):
        for _ in range(times):
            await asyncio.create_task(function())


class Synchronous(Await):
    """``f()``, an ordinary synchronous call."""

    async def call(self, function, times=1):
        await self.enter()
        self.call_here(function, times)

    def call_here(self, function, times=1):
        for _ in range(times):
            function()


class KeptLoop(Synchronous):
    """``loop.run_until_complete(f())`` of one loop, kept between the calls."""

    name = "run_until_complete"

    def __init__(self):
        self.loop = asyncio.new_event_loop()
        asyncio.set_event_loop(self.loop)

    def wrap(self, function):
        @functools.wraps(function)
        def run(*args):
            return self.loop.run_until_complete(function(*args))

        return run


class RunCoroutineThreadsafe(Await):
    """``asyncio.run_coroutine_threadsafe``; its result, or awaited here."""

    name = "run_coroutine_threadsafe"

    def at(self, function, loop):
        return lambda: asyncio.run_coroutine_threadsafe(function(), loop)

    async def call(self, function, times=1):
        for _ in range(times):
            await asyncio.wrap_future(function())

    def call_here(self, function, times=1):
        for _ in range(times):
            function().result()


class NestAsyncio(KeptLoop):
    """The same after ``nest_asyncio.apply()``, so in a running loop, too."""

    name = "nest_asyncio"

    def __init__(self):
        import nest_asyncio

        super().__init__()
        nest_asyncio.apply(self.loop)


class Greenback(Synchronous):
    """``greenback.autoawait``; each task awaits ``ensure_portal()`` first."""

    name = "greenback"

    def __init__(self):
        import greenback

        self.wrap = greenback.autoawait
        self.enter = greenback.ensure_portal


class AsyncToSync(Synchronous):
    """``asgiref.sync.async_to_sync``."""

    name = "asgiref"

    def __init__(self):
        from asgiref.sync import async_to_sync

        self.wrap = async_to_sync


class Anyio(Synchronous):
    """``anyio.run``."""

    name = "anyio"

    def wrap(self, function):
        import anyio

        @functools.wraps(function)
        def run(*args):
            return anyio.run(function, *args)

        return run


class Synchronicity(Synchronous):
    """A function wrapped by a ``Synchronizer``, whose loop has a thread."""

    name = "synchronicity"

    def __init__(self):
        from synchronicity import Synchronizer

        self.synchronizer = Synchronizer()

    def wrap(self, what):
        return self.synchronizer.wrap(
            what, name=what.__name__, target_module=__name__
        )


class Gather(Await):
    """``asyncio.gather``, of all at once."""

    name = "gather"

    async def map(self, function, items, limit):
        await asyncio.gather(*[function(item) for item in items])


class GatherWithin(Await):
    """``asyncio.gather``, and a semaphore around each."""

    name = "gather, semaphore"

    async def map(self, function, items, limit):
        semaphore = asyncio.Semaphore(limit)

        async def within(item):
            async with semaphore:
                return await function(item)

        await asyncio.gather(*[within(item) for item in items])


class TwoRoutine(Synchronous):
    """The decorator of this project."""

    name = "tworoutine"

    def __init__(self):
        import tworoutine

        self.wrap = tworoutine.tworoutine

    def at(self, function, loop):
        """Make it one whose calls run in that loop of another thread."""
        return self.wrap(function, home=loop)

    async def map(self, function, items, limit):
        function.map(items, limit=limit)


class Uvloop(Await):
    """``await f()`` on uvloop."""

    name = "uvloop"

    def run(self, main):
        import uvloop

        return uvloop.run(main)


class UvloopPortal(TwoRoutine):
    """``f()`` on uvloop, where each task is in a portal."""

    name = "uvloop, portal"

    def run(self, main):
        import uvloop

        import tworoutine

        return tworoutine.run(main, loop_factory=uvloop.new_event_loop)


WAYS = {
    way.name: way
    for way in (
        Await,
        AwaitAsDeep,
        CreateTask,
        KeptLoop,
        RunCoroutineThreadsafe,
        Gather,
        GatherWithin,
        TwoRoutine,
        NestAsyncio,
        Greenback,
        AsyncToSync,
        Anyio,
        Synchronicity,
        Uvloop,
        UvloopPortal,
    )
}
