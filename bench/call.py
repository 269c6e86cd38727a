"""Time of one call, in microseconds.

trivial     the coroutine returns without suspending
sleep(0)    it suspends once, for one turn of the loop
future      it suspends once, for a future that call_soon resolves

without a loop, in a task of a running loop, and as the only call of a new
task, which pays for starting the task and what has to be set up in it.
"""

import asyncio
import time

from cost import NO_LOOP, Cost, timer


async def trivial():
    pass


async def sleeping():
    await asyncio.sleep(0)


async def waiting():
    loop = asyncio.get_running_loop()
    future = loop.create_future()
    loop.call_soon(future.set_result, None)
    await future


def wrap(way, function):
    return way.wrap(function)


def without_loop(function, wrap=wrap, clock=time.process_time):
    """Measure calls from synchronous code, with no loop running here."""

    def prepare(way, seconds):
        wrapped = wrap(way, function)

        def spend(times):
            began = clock()
            way.call_here(wrapped, times)
            return clock() - began

        return timer(spend, seconds)

    return prepare


def in_loop(function, wrap=wrap, clock=time.process_time):
    """Measure calls from one task of a loop that runs here."""

    def prepare(way, seconds):
        wrapped = wrap(way, function)

        async def spend(times):
            began = clock()
            await way.call(wrapped, times)
            return clock() - began

        return timer(lambda times: asyncio.run(spend(times)), seconds)

    return prepare


def in_new_tasks(way, seconds):
    """Measure tasks, one after the other, that make one call each."""
    wrapped = way.wrap(sleeping)

    async def spend(times):
        began = time.process_time()
        for _ in range(times):
            await asyncio.create_task(way.call(wrapped))
        return time.process_time() - began

    return timer(lambda times: asyncio.run(spend(times)), seconds)


KINDS = {"trivial": trivial, "sleep(0)": sleeping, "future": waiting}
COSTS = [
    *(
        Cost(f"no loop: {kind}", without_loop(function), ways=NO_LOOP)
        for kind, function in KINDS.items()
    ),
    *(
        Cost(f"in a loop: {kind}", in_loop(function))
        for kind, function in KINDS.items()
    ),
    Cost("a new task with one sleep(0)", in_new_tasks),
]

if __name__ == "__main__":
    from harness import main

    main(COSTS, __doc__)
