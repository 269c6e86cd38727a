"""Time of one call among many that are blocked at once, in microseconds.

So many tasks are started, each of which makes one call that waits for a gate.
When all of them wait, or one has failed, the gate is opened, and all finish.
Starting the task is part of the time, and so is what has to be set up in it.
Like for like: the baseline awaits below as many coroutines as a synchronous
call has frames here.
"""

import asyncio
import time

from cost import Cost


async def gather_blocked(way, count, blocked=None):
    """Let so many calls wait at once; blocked() is called meanwhile."""
    gate = asyncio.Event()
    waiting = 0

    async def wait():
        nonlocal waiting
        waiting += 1
        await gate.wait()

    wrapped = way.wrap(wait)
    tasks = [asyncio.create_task(way.call(wrapped)) for _ in range(count)]
    try:
        while waiting < count and not any(task.done() for task in tasks):
            await asyncio.sleep(0)
        if blocked is not None:
            blocked()
    finally:
        gate.set()
    await asyncio.gather(*tasks)


def blocked(count, anew=False):
    """Measure them in one loop after the other, or in a loop that goes on."""

    def prepare(way, seconds):
        kept = getattr(way, "loop", None) or asyncio.new_event_loop()

        def figure():
            run = asyncio.run if anew else kept.run_until_complete
            began = time.process_time()
            run(gather_blocked(way, count))
            return (time.process_time() - began) / count * 1e6

        return figure

    return prepare


LIKE = ("await, as deep", "tworoutine")  # for like

COSTS = [
    Cost("100 blocked at once", blocked(100)),
    Cost("1,000 blocked at once", blocked(1_000)),
    Cost("  like for like", blocked(1_000), ways=LIKE),
    Cost("  each time in a new loop", blocked(1_000, anew=True)),
    Cost("10,000 blocked at once", blocked(10_000)),
    Cost("  like for like", blocked(10_000), ways=LIKE),
    Cost(
        "100,000 blocked at once",
        blocked(100_000),
        once=True,
        patience=6,
    ),
]

if __name__ == "__main__":
    from harness import main

    main(COSTS, __doc__)
