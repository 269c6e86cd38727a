"""Tune an array of 256 readout boards: one source, two idioms.

    python examples/telescope.py [--boards N] [--latency MS]

`tune(board)` finds a board's resonance with SciPy's minimiser, an ordinary
synchronous routine that knows nothing of asyncio, while each measurement is
an HTTP request by an asyncio client.  The same function is called at a prompt,
fanned out over the array and run within the loop of a service; then compared
with hand-written async, with threads and with a plain loop.

Prints a table and writes telescope.png to the current directory.
"""

import argparse
import asyncio
import os
import signal
import sys
import threading
import time

from scipy.optimize import minimize_scalar

import byhand
import report
from adapter import connect
from boards import FAULTY, HANGING, LATENCY, Crate
from monitor import Monitor
from plan import GRID, LIMIT, PATIENCE, TOLERANCE, Tuning, bracket
from report import Way
from tworoutine import tworoutine

BOARDS = 256
SAMPLE = 8  # boards tuned one after another, to extrapolate from
SHARE = 32  # boards under way in a service, which has other work as well


@tworoutine
async def tune(board):
    """Find the board's resonance, put the bias there and verify it."""
    began = time.monotonic()
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(PATIENCE) as patience:

        def measure(frequency):
            """Measure |S21|, synchronously.  An answer renews the patience."""
            amplitude = board.measure(frequency)
            patience.reschedule(loop.time() + PATIENCE)
            return amplitude

        sweep = [(frequency, measure(frequency)) for frequency in GRID]
        resonance = minimize_scalar(
            measure,
            bounds=bracket(sweep),
            method="bounded",
            options={"xatol": TOLERANCE},
        ).x
        await (~board.set_bias)(resonance)
        bias = await (~board.get_bias)()
        amplitude = measure(bias)
    return Tuning(sweep, bias, amplitude, began)


def tune_all(boards, limit=LIMIT):
    """Tune the boards; return a Tuning or an exception for each."""
    return tune.map(boards, limit=limit, progress=True, return_exceptions=True)


def at_a_prompt(crate):
    """(a) No loop runs: a call waits, as any function does."""
    print("\n(a) as typed at a prompt")
    print(">>> boards = connect.map(addresses)")
    boards = connect.map(crate.addresses)
    print(">>> print(tune(boards[0]))")
    print(tune(boards[0]))


def one_after_another(crate):
    """A plain loop, on a sample of the array."""
    print("\none board after another")
    healthy = set(range(len(crate.addresses))) - {FAULTY, HANGING}
    sample = sorted(healthy)[:SAMPLE]
    boards = connect.map([crate.addresses[number] for number in sample])
    began = time.monotonic()
    results = [tune(board) for board in boards]
    return Way("one after another", began, results, crate, sample=sample)


def fan_out(crate):
    """(b) No loop runs: a fan-out over the array, under a progress bar."""
    print(f"\n(b) tune.map(boards, limit={LIMIT}, progress=True)")
    boards = connect.map(crate.addresses)
    began = time.monotonic()
    return Way("(b) tune.map", began, tune_all(boards), crate)


def interrupted(crate, delay):
    """(b) once more, with a Ctrl-C after `delay` seconds."""
    print("\n(b) with a Ctrl-C half-way")
    boards = connect.map(crate.addresses)
    due = time.monotonic() + delay
    finger = threading.Timer(delay, os.kill, (os.getpid(), signal.SIGINT))
    finger.start()
    try:
        tune_all(boards)
    except KeyboardInterrupt:
        if time.monotonic() < due:  # then it was a real one
            raise
        print("KeyboardInterrupt; the next call:", tune(boards[0]))
    finally:
        finger.cancel()


async def service(crate):
    """(c) A loop runs: the call of (b), synchronous, in one of its tasks."""
    print("\n(c) in a service that polls all temperatures each 100 ms")
    boards = await (~connect.map)(crate.addresses)
    monitor = Monitor(crate.addresses)
    async with monitor.watching():
        began = time.monotonic()
        results = tune_all(boards, limit=SHARE)
    name = f"(c) in a service, limit {SHARE}"
    return Way(name, began, results, crate, gap=monitor.gap)


async def hand_written(crate):
    """The same in async from top to bottom, with a minimiser of its own."""
    print("\nhand-written async")
    boards = await byhand.connect_all(crate.addresses)
    began = time.monotonic()
    results = await byhand.tune_all(boards)
    return Way("hand-written async", began, results, crate)


def threaded(crate):
    """One thread a board, each with an event loop of its own."""
    print("\none thread a board, all at once")
    began = time.monotonic()
    results = byhand.each_in_a_thread(byhand.tune_alone, crate.addresses)
    return Way("one thread a board", began, results, crate)


def demo(boards, latency):
    """Tune the array in each way, always with boards fresh from the shelf."""

    def run(way, *args):
        with Crate(boards, latency) as crate:
            done = way(crate, *args)
            return asyncio.run(done) if asyncio.iscoroutine(done) else done

    run(at_a_prompt)
    serial = run(one_after_another)
    ways = [run(fan_out)]
    run(interrupted, (ways[0].ended - ways[0].began) / 2)
    ways += [run(service), run(hand_written), run(threaded)]

    report.failures(ways)
    print()
    report.table(ways, serial)
    if boards > HANGING:
        print(f"(all but the last wait {PATIENCE:.0f} s for board {HANGING})")
    report.picture(ways, serial, "telescope.png")


def main():
    parser = argparse.ArgumentParser(description="Tune simulated boards.")
    parser.add_argument(
        "--boards",
        type=int,
        default=BOARDS,
        help="number of boards (default %(default)d)",
    )
    parser.add_argument(
        "--latency",
        type=float,
        default=LATENCY,
        help="of the slowest board, in ms (default %(default)g)",
    )
    options = parser.parse_args()
    if options.boards < 1 or options.latency < 0:
        parser.error("--boards must be at least 1, --latency at least 0")
    # A shell ignores Ctrl-C for what it runs in the background.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        demo(options.boards, options.latency)
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)


if __name__ == "__main__":
    main()
