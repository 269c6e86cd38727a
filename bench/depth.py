"""How deep calls nest: sync -> async -> sync -> ..., in levels.

The innermost coroutine suspends.  From 10 levels on, 5 % more are tried each
time until that ends in an exception; the last depth that worked counts.  The
recursion limit is Python's default.
"""

import asyncio
import inspect

from cost import PEERS, Cost

MOST = 20_000


def depth(way, seconds):
    async def nest(levels):
        if levels == 0:
            await asyncio.sleep(0)
            return
        result = wrapped(levels - 1)
        if inspect.isawaitable(result):
            await result

    async def enter(levels):
        await way.enter()
        await nest(levels)

    def figure():
        reached, levels = 0, 10
        while levels < MOST:
            try:
                asyncio.run(enter(levels))
            except RecursionError:
                break
            reached = levels
            levels += max(1, levels // 20)
        return reached

    wrapped = way.wrap(nest)
    return figure


COSTS = [
    Cost(
        "depth of nesting",
        depth,
        "levels",
        ("await", *PEERS),
        ratio=False,
        once=True,
    )
]

if __name__ == "__main__":
    from harness import main

    main(COSTS, __doc__)
