"""The questions of beside.py that are the same program for all.

Each is a function of a peer (peers.py), whose `wrap` makes a synchronous
function of an asynchronous one.  It returns what the table says: None is
"yes".  It may raise.
"""

import asyncio
import contextvars
import sys
import time
from importlib import metadata

from blocked import gather_blocked
from peers import nap

VAR = contextvars.ContextVar("VAR", default="old")


LIMIT = 2  # seconds, after which a loop is taken to be held up


class Beats:
    """A task that goes on, and a call that waits for it."""

    def __init__(self, sleep=asyncio.sleep):
        self.sleep, self.seen, self.waits = sleep, 0, False

    async def beat(self):
        while True:
            await self.sleep(0.001)
            self.seen += self.waits

    async def until(self):
        """Wait until the task has gone on: whether that has been."""
        self.waits, end = True, time.monotonic() + LIMIT
        while self.seen < 3 and time.monotonic() < end:
            await self.sleep(0.001)
        return self.seen >= 3


async def others_go_on(peer, call_it):
    """What becomes of the loop while call_it() calls what it is given."""
    beats = Beats()

    async def until():
        return await beats.until()

    task = asyncio.create_task(beats.beat())
    await asyncio.sleep(0)
    went_on = await call_it(peer.wrap(until))
    task.cancel()
    return None if went_on else "blocks the loop"


def no_loop(peer):
    call = peer.wrap(nap)
    assert call(0.001, 1) == call(0.001, 1) == 1


def one_loop(peer):
    """Whether what one call opens serves the next."""

    async def here():
        return asyncio.get_running_loop()

    call = peer.wrap(here)
    if call() is not call():
        return "no: another loop"


def in_task(peer):
    async def in_this_task(call):
        return call()

    return peer.run(others_go_on(peer, in_this_task))


def in_callback(peer):
    async def by_callback(call):
        loop = asyncio.get_running_loop()
        done = loop.create_future()

        def callback():
            try:
                done.set_result(call())
            except Exception as error:
                done.set_exception(error)

        loop.call_soon(callback)
        return await done

    return peer.run(others_go_on(peer, by_callback))


def in_call(peer):
    """Synchronous code below a call calls, as a minimiser does."""
    inner = peer.wrap(nap)

    async def asks(x):
        await asyncio.sleep(0)
        return sorted(x, key=lambda n: inner(0.001, n))

    outer = peer.wrap(asks)

    async def main():
        await peer.enter()
        return outer([2, 1])

    ways = [lambda: peer.run(main())]
    if peer.name != "greenback":
        ways.append(lambda: outer([2, 1]))
    errors = []
    for way in ways:
        try:
            assert way() == [1, 2]
        except Exception as error:
            errors.append(error)
    if len(errors) == len(ways):
        raise errors[-1]


def any_order(peer):
    """Two tasks, of which the one that calls first is to end first."""
    call, events = peer.wrap(nap), []

    async def one(name, seconds):
        await peer.enter()
        events.append(f"{name} begins")
        call(seconds)
        events.append(f"{name} ends")

    async def main():
        await asyncio.gather(one("short", 0.01), one("long", 0.1))

    peer.run(main())
    if events[1] == "short ends":
        return "one at a time"
    return None if events[2] == "short ends" else "last-in first-out"


def need_each_other(peer):
    async def main():
        a, b = asyncio.Event(), asyncio.Event()

        async def wait(event):
            await event.wait()

        call = peer.wrap(wait)

        async def first():
            await peer.enter()
            call(a)
            b.set()

        async def second():
            await peer.enter()
            asyncio.get_running_loop().call_soon(a.set)
            call(b)

        await asyncio.gather(first(), second())

    peer.run(main())


def thousand(peer):
    peer.run(gather_blocked(peer, 1000))


def of_the_caller(peer):
    """What the async function and its caller have in common."""
    common = []

    async def look():
        if asyncio.current_task() is look.caller:
            common.append("task")
        VAR.set("new")
        await asyncio.sleep(0)

    async def long():
        try:
            await asyncio.sleep(0.2)
        except asyncio.CancelledError:
            long.cancelled = True
            raise

    async def waits():
        await peer.enter()
        peer.wrap(long)()

    async def timeout():
        async with asyncio.timeout(0.01):
            await waits()

    async def main():
        await peer.enter()
        look.caller = asyncio.current_task()
        peer.wrap(look)()
        if VAR.get() == "new":
            common.append("context")
        for name, way in (("timeouts", timeout), ("`cancel()`", waits)):
            long.cancelled = False
            task = asyncio.create_task(way())
            if way is waits:
                asyncio.get_running_loop().call_later(0.01, task.cancel)
            await asyncio.wait([task])
            if long.cancelled:
                common.append(name)

    peer.run(main())
    return None if len(common) == 4 else ", ".join(common) or "no"


def on_uvloop(peer):
    import uvloop

    async def in_this_task(call):
        await peer.enter()
        return call()

    run = getattr(peer, "run_on_uvloop", uvloop.run)
    return run(others_go_on(peer, in_this_task)) or peer.prepared


def on_trio(peer):
    """In a task of trio, of what is trio's."""
    import trio

    beats = Beats(trio.sleep)

    async def until():
        return await beats.until()

    call = peer.wrap(until)

    async def main():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(beats.beat)
            await peer.enter()
            went_on = call()
            nursery.cancel_scope.cancel()
        return peer.prepared if went_on else "blocks the loop"

    return getattr(peer, "run_on_trio", trio.run)(main)


def on_gevent(peer):
    """In greenlets, three at once; beside.py has gevent patch all."""
    import gevent

    beats = Beats()

    async def until():
        return await beats.until()

    def beat():
        while True:
            gevent.sleep(0.001)
            beats.seen += beats.waits

    beating = gevent.spawn(beat)
    call = peer.wrap(until)
    calls = [gevent.spawn(call) for _ in range(3)]
    gevent.joinall(calls, raise_error=True)
    beating.kill()
    return None if all(one.value for one in calls) else "blocks the others"


def patches(peer):
    """How many attributes of asyncio are other objects now."""
    after = attributes_of_asyncio()
    changed = sum(BEFORE.get(name) is not now for name, now in after.items())
    return f"yes: {changed}" if changed else "no"


def attributes_of_asyncio():
    names = "asyncio", "asyncio.events", "asyncio.tasks", "asyncio.futures"
    found = {(m, k): v for m in names for k, v in vars(sys.modules[m]).items()}
    for kept in asyncio.BaseEventLoop, asyncio.SelectorEventLoop:
        found |= {(kept, k): v for k, v in vars(kept).items()}
    return found


BEFORE = attributes_of_asyncio()


# --- what is installed ------------------------------------------------------


def needs(name, found=None):
    """The distributions that one needs here, and itself."""
    from packaging.requirements import Requirement

    found = {} if found is None else found
    if name not in found:
        found[name] = metadata.distribution(name)
        for line in found[name].requires or ():
            need = Requirement(line)
            if need.marker is None or need.marker.evaluate({"extra": ""}):
                needs(need.name, found)
    return found


def others_needed(peer):
    return (
        ", ".join(name for name in needs(peer.package) if name != peer.package)
        or "-"
    )


def pure(peer):
    """Whether it and what it needs is pure Python."""
    compiled = [
        name
        for name, dist in needs(peer.package).items()
        if any(file.suffix == ".so" for file in dist.files)
    ]
    return f"no: {', '.join(compiled)}" if compiled else None


def status(peer):
    """What its metadata says."""
    about = metadata.metadata(peer.package)
    for line in about.get_all("Classifier") or ():
        if line.startswith("Development Status"):
            return line.rpartition(" - ")[2]
    return "-"
