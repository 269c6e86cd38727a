"""The same tuning without tworoutine: in hand-written async, and in threads.

Threads might use tuber's synchronous client and SciPy's minimiser instead, but
that client takes another thread a board, and two and a half times as long.
Frequencies are in MHz, times in seconds.
"""

import asyncio
import math
import threading
import time

import tuber

from adapter import lift_connection_limit
from plan import GRID, LIMIT, PATIENCE, TOLERANCE, Tuning, bracket


async def connect_all(addresses):
    """Connect to the boards at these addresses."""
    first = await tuber.resolve(addresses[0], "Board")
    lift_connection_limit()
    others = [tuber.resolve(address, "Board") for address in addresses[1:]]
    return [first, *await asyncio.gather(*others)]


async def tune_all(boards):
    """Tune the boards; return a Tuning or an exception for each."""
    semaphore = asyncio.Semaphore(LIMIT)

    async def limited(board):
        async with semaphore:
            return await tune(board)

    tunings = map(limited, boards)
    return await asyncio.gather(*tunings, return_exceptions=True)


async def tune(board):
    """Find the board's resonance, put the bias there and verify it."""
    began = time.monotonic()
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(PATIENCE) as patience:

        async def measure(frequency):
            amplitude = await board.measure(frequency)
            patience.reschedule(loop.time() + PATIENCE)
            return amplitude

        sweep = [(frequency, await measure(frequency)) for frequency in GRID]
        # SciPy's minimiser cannot await a measurement: one more of our own.
        resonance = await minimize_bounded(measure, *bracket(sweep), TOLERANCE)
        await board.set_bias(resonance)
        bias = await board.get_bias()
        amplitude = await measure(bias)
    return Tuning(sweep, bias, amplitude, began)


async def minimize_bounded(function, low, high, tolerance):
    """Find the minimum of an async function between bounds: Brent's method.

    Evaluates the same points as SciPy's minimize_scalar(method="bounded").  A
    parabola through the three best points proposes the next one; where it
    leads nowhere, the larger side of the best is cut in the golden ratio.
    """
    golden = (3 - math.sqrt(5)) / 2
    best = second = third = low + golden * (high - low)
    at_best = at_second = at_third = await function(best)
    step = previous = 0.0

    while True:
        middle = (low + high) / 2
        smallest = math.sqrt(2.2e-16) * abs(best) + tolerance / 3
        if abs(best - middle) <= 2 * smallest - (high - low) / 2:
            return best

        fits = False
        if abs(previous) > smallest:
            r = (best - second) * (at_best - at_third)
            q = (best - third) * (at_best - at_second)
            p = (best - third) * q - (best - second) * r
            p, q = (-p if q > r else p), abs(2 * (q - r))
            shrinks = abs(p) < abs(q * previous / 2)
            fits = shrinks and q * (low - best) < p < q * (high - best)
            previous = step
        if fits:
            step = p / q
            if min(best + step - low, high - best - step) < 2 * smallest:
                step = math.copysign(smallest, middle - best)
        else:
            previous = (low if best >= middle else high) - best
            step = golden * previous

        point = best + math.copysign(max(abs(step), smallest), step)
        value = await function(point)

        if value <= at_best:
            if point >= best:
                low = best
            else:
                high = best
            third, at_third = second, at_second
            second, at_second = best, at_best
            best, at_best = point, value
            continue
        if point < best:
            low = point
        else:
            high = point
        if value <= at_second or second == best:
            third, at_third = second, at_second
            second, at_second = point, value
        elif value <= at_third or third in (best, second):
            third, at_third = point, value


def tune_alone(address):
    """Connect to a board and tune it, on an event loop of its own."""

    async def connect_and_tune():
        return await tune(await tuber.resolve(address, "Board"))

    return asyncio.run(connect_and_tune())


def each_in_a_thread(function, items):
    """Call function(item) for all items at once, each in its own thread.

    Returns a result or an exception for each.  The threads are daemons, so
    that a Ctrl-C need not wait for them.
    """
    results = [None] * len(items)

    def call(place, item):
        try:
            results[place] = function(item)
        except Exception as error:
            results[place] = error

    threads = [
        threading.Thread(target=call, args=numbered, daemon=True)
        for numbered in enumerate(items)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results
