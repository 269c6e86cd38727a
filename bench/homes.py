"""Time of one call that runs in the loop of another thread, in microseconds.

trivial     the coroutine returns without suspending
sleep(0)    it suspends once, for one turn of that loop

from a thread without a loop, and from a task of another loop.
"""

import asyncio
import threading
import time

from call import sleeping, trivial
from cost import Cost, timer

WAYS = ("run_coroutine_threadsafe", "tworoutine")


def other_loop():
    """A loop that runs in a thread of its own, to the end of the process."""
    loop = asyncio.new_event_loop()
    running = threading.Event()
    loop.call_soon(running.set)
    threading.Thread(target=loop.run_forever, daemon=True).start()
    running.wait()
    return loop


def from_a_thread(function):
    """Measure calls from synchronous code, with no loop running here."""

    def prepare(way, seconds):
        wrapped = way.at(function, other_loop())

        def spend(times):
            began = time.perf_counter()
            way.call_here(wrapped, times)
            return time.perf_counter() - began

        return timer(spend, seconds)

    return prepare


def from_a_task(function):
    """Measure calls from one task of a loop that runs here."""

    def prepare(way, seconds):
        wrapped = way.at(function, other_loop())

        async def spend(times):
            began = time.perf_counter()
            await way.call(wrapped, times)
            return time.perf_counter() - began

        return timer(lambda times: asyncio.run(spend(times)), seconds)

    return prepare


KINDS = {"trivial": trivial, "sleep(0)": sleeping}
COSTS = [
    *(
        Cost(f"home, no loop: {kind}", from_a_thread(function), ways=WAYS)
        for kind, function in KINDS.items()
    ),
    *(
        Cost(f"home, in a loop: {kind}", from_a_task(function), ways=WAYS)
        for kind, function in KINDS.items()
    ),
]

if __name__ == "__main__":
    from harness import main

    main(COSTS, __doc__)
