"""Time of one item of many, in microseconds.

`f.map` of items, each of which sleeps for a turn of the loop, in a task;
beside `asyncio.gather`, with a semaphore where there is a limit.
"""

import asyncio
import time

from cost import Cost

FEW, MANY, LIMIT = 256, 100_000, 128


async def sleep(item):
    await asyncio.sleep(0)


def fan_out(n, limit):
    def prepare(way, seconds):
        function = way.wrap(sleep)

        async def once():
            began = time.perf_counter()
            await way.map(function, range(n), limit)
            return time.perf_counter() - began

        return lambda: asyncio.run(once()) / n * 1e6

    return prepare


def cost(title, n, limit):
    base = "gather" if limit is None else "gather, semaphore"
    return Cost(title, fan_out(n, limit), ways=(base, "tworoutine"))


COSTS = [
    cost("map of 256 items", FEW, None),
    cost("  at most 128 at once", FEW, LIMIT),
    cost("map of 100,000, at most 128", MANY, LIMIT),
]

if __name__ == "__main__":
    from harness import main

    main(COSTS, __doc__)
