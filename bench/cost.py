"""What a file of benchmarks is made of."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

PEERS = ("tworoutine", "nest_asyncio", "greenback")
IN_LOOP = ("await", "create_task", *PEERS)
NO_LOOP = ("run_until_complete", "tworoutine", "nest_asyncio")


@dataclass(frozen=True)
class Cost:
    """A row of the table; the first of the ways is the baseline.

    `prepare(way, seconds)` returns a function that measures one figure, for
    about so long.
    """

    title: str
    prepare: Callable
    unit: str = "us"
    ways: tuple = IN_LOOP
    ratio: bool = True  # or the figures as they are, of one round
    once: bool = False  # a process can give one figure only
    patience: int = 1  # how many times as long it may take before it hangs

    @property
    def place(self):
        """Module and index, by which a worker finds it."""
        module = sys.modules[self.prepare.__module__]
        return f"{Path(module.__file__).stem}:{module.COSTS.index(self)}"


def timer(spend, seconds):
    """Return a function that measures the microseconds of one repetition.

    `spend(times)` returns the seconds that so many take.  The best of three
    parts is taken, since another process may get hold of the processor.
    """
    times = 0

    def figure():
        nonlocal times
        if times == 0:
            spend(1)
            times = 1
            while (spent := spend(times)) < seconds / 3:
                times = max(2 * times, int(times * seconds / 3 / spent))
        return min(spend(times) for _ in range(3)) / times * 1e6

    return figure
