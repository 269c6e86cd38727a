"""Time of one call that runs in the loop of another thread, in microseconds.

trivial     the coroutine returns without suspending
sleep(0)    it suspends once, for one turn of that loop

from a thread without a loop, and from a task of another loop.
"""

import asyncio
import threading
import time

from call import in_loop, sleeping, trivial, without_loop
from cost import Cost

WAYS = ("run_coroutine_threadsafe", "tworoutine")


def other_loop():
    """A loop that runs in a thread of its own, to the end of the process."""
    loop = asyncio.new_event_loop()
    running = threading.Event()
    loop.call_soon(running.set)
    threading.Thread(target=loop.run_forever, daemon=True).start()
    running.wait()
    return loop


def at_home(way, function):
    return way.at(function, other_loop())


def measure(calls, function):
    """Measure how long calls take: another thread works for them, too."""

    def prepare(way, seconds):
        return calls(function, at_home, time.perf_counter)(way, seconds)

    return prepare


KINDS = {"trivial": trivial, "sleep(0)": sleeping}
COSTS = [
    *(
        Cost(
            f"home, no loop: {kind}",
            measure(without_loop, function),
            ways=WAYS,
        )
        for kind, function in KINDS.items()
    ),
    *(
        Cost(f"home, in a loop: {kind}", measure(in_loop, function), ways=WAYS)
        for kind, function in KINDS.items()
    ),
]

if __name__ == "__main__":
    from harness import main

    main(COSTS, __doc__)
