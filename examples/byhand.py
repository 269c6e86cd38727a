"""The same tuning without tworoutine: in hand-written async, and in threads.

Whoever writes async by hand, and wants to call it at a prompt too, writes some
functions twice: TWICE has them.  Frequencies are in MHz, times in seconds.
"""

import asyncio
import math
import time
from concurrent.futures import ThreadPoolExecutor

import tuber
from scipy.optimize import minimize_scalar

from adapter import lift_connection_limit
from plan import GRID, PATIENCE, SHARE, TOLERANCE, Tuning, bracket


async def connect_all(addresses):
    """Connect to the boards at these addresses."""
    first = await tuber.resolve(addresses[0], "Board")
    lift_connection_limit()
    others = [tuber.resolve(address, "Board") for address in addresses[1:]]
    return [first, *await asyncio.gather(*others)]


async def tune_all(boards, limit=SHARE):
    """Tune the boards; return a Tuning or an exception for each."""
    semaphore = asyncio.Semaphore(limit)

    async def limited(board):
        async with semaphore:
            return await tune(board)

    tunings = map(limited, boards)
    return await asyncio.gather(*tunings, return_exceptions=True)


async def tune(board):
    """Find the board's resonance, put the bias there and verify it."""
    began = time.monotonic()
    loop = asyncio.get_running_loop()
    search = []
    async with asyncio.timeout(PATIENCE) as patience:

        async def measure(frequency):
            search.append(frequency)
            amplitude = await board.measure(frequency)
            patience.reschedule(loop.time() + PATIENCE)
            return amplitude

        sweep = [(frequency, await measure(frequency)) for frequency in GRID]
        search.clear()
        # SciPy's minimiser cannot await a measurement: one more of our own.
        resonance = await minimize_bounded(measure, *bracket(sweep), TOLERANCE)
        await board.set_bias(resonance)
        bias = await board.get_bias()
        amplitude = await measure(bias)
    return Tuning(sweep, search, bias, amplitude, began)


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


RUNNER = asyncio.Runner()  # of the calls at a prompt: connections stay open


def connect_all_now(addresses):
    """connect_all, at a prompt."""
    return RUNNER.run(connect_all(addresses))


def tune_now(board):
    """tune, at a prompt."""
    return RUNNER.run(tune(board))


def tune_all_now(boards):
    """tune_all, at a prompt."""
    return RUNNER.run(tune_all(boards))


TWICE = {
    connect_all: connect_all_now,
    tune: tune_now,
    tune_all: tune_all_now,
    minimize_bounded: minimize_scalar,
}


# --- threads ----------------------------------------------------------------


def tune_alone(address):
    """Connect to a board and tune it, in a thread: all of it waits there."""
    began = time.monotonic()
    search = []
    with asyncio.Runner() as runner:

        async def patiently(awaitable):
            async with asyncio.timeout(PATIENCE):
                return await awaitable

        def measure(frequency):
            search.append(frequency)
            return runner.run(patiently(board.measure(frequency)))

        board = runner.run(patiently(tuber.resolve(address, "Board")))
        sweep = [(frequency, measure(frequency)) for frequency in GRID]
        search.clear()
        resonance = minimize_scalar(
            measure,
            bounds=bracket(sweep),
            method="bounded",
            options={"xatol": TOLERANCE},
        ).x
        runner.run(patiently(board.set_bias(resonance)))
        bias = runner.run(patiently(board.get_bias()))
        amplitude = measure(bias)
        return Tuning(sweep, search, bias, amplitude, began)


def tune_all_in_threads(addresses):
    """Tune the boards at these addresses, in threads.

    Returns a Tuning or an exception for each.  Nothing can stop a thread.
    """
    with ThreadPoolExecutor(SHARE) as pool:
        futures = [pool.submit(tune_alone, address) for address in addresses]
        return [one.exception() or one.result() for one in futures]
