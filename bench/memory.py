"""Memory of one blocked call: what the process grows by, in KiB.

Resident memory is read before so many tasks are started and when each of them
is in a call that waits; the task itself is part of the figure, and so is the
plain function that makes the call.  (Only where /proc/self/statm tells;
elsewhere it is the growth of the peak.)
"""

import asyncio
import resource
import sys
from pathlib import Path

from blocked import gather_blocked
from cost import Cost

STATM = Path("/proc/self/statm")


def resident():
    """KiB of memory in use."""
    if STATM.exists():
        pages = int(STATM.read_text().split()[1])
        return pages * resource.getpagesize() / 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1024 if sys.platform == "darwin" else peak


def per_call(count):
    def prepare(way, seconds):
        def figure():
            sizes = []

            async def measure():
                await gather_blocked(way, 1)  # loads what is loaded late
                sizes.append(resident())
                await gather_blocked(
                    way, count, lambda: sizes.append(resident())
                )

            asyncio.run(measure())
            return (sizes[1] - sizes[0]) / count

        return figure

    return prepare


COSTS = [
    Cost(title, per_call(count), "KiB", ratio=False, once=True, patience=6)
    for title, count in (
        ("memory of a blocked call: one of 100", 100),
        ("  one of 1,000", 1_000),
        ("  one of 10,000", 10_000),
        ("  one of 100,000", 100_000),
    )
]

if __name__ == "__main__":
    from harness import main

    main(COSTS, __doc__)
