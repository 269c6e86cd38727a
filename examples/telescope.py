"""Tune an array of 256 readout boards: one source, two idioms.

    python examples/telescope.py [--boards N] [--latency MS]

`tune(board)` finds a board's resonance with SciPy's minimiser, an ordinary
synchronous routine that knows nothing of asyncio, while each measurement is
an HTTP request by an asyncio client.  The same function is called at a prompt,
fanned out over the array and run within the loop of a service; then compared
with hand-written async, with threads and with a plain loop.

Prints a table and writes telescope.svg to the current directory.
"""

import argparse
import asyncio
import json
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

from scipy.optimize import minimize_scalar

import report
from adapter import connect
from boards import FAULTY, HANGING, LATENCY, Crate
from plan import GRID, LIMIT, PATIENCE, TOLERANCE, Tuning, bracket, early
from tworoutine import tworoutine

BOARDS = 256
SAMPLE = 4  # boards tuned one after another, to extrapolate from
WAYS = ("tune.map", "async by hand", "threads")  # of service.py


@tworoutine
async def tune(board):
    """Find the board's resonance, put the bias there and verify it."""
    began = time.monotonic()
    loop = asyncio.get_running_loop()
    search = []
    async with asyncio.timeout(PATIENCE) as patience:

        def measure(frequency):
            """Measure |S21|, synchronously.  An answer renews the patience."""
            search.append(frequency)
            amplitude = board.measure(frequency)
            patience.reschedule(loop.time() + PATIENCE)
            return amplitude

        sweep = [(frequency, measure(frequency)) for frequency in GRID]
        search.clear()
        resonance = minimize_scalar(
            measure,
            bounds=bracket(sweep),
            method="bounded",
            options={"xatol": TOLERANCE},
        ).x
        await (~board.set_bias)(resonance)
        bias = await (~board.get_bias)()
        amplitude = measure(bias)
    return Tuning(sweep, search, bias, amplitude, began)


def tune_all(boards, limit=LIMIT, progress=False):
    """Tune the boards; return a Tuning or an exception for each."""
    return tune.map(
        boards, limit=limit, progress=progress, return_exceptions=True
    )


def at_a_prompt(crate):
    """No loop runs: a call waits, as any function does."""
    print("As typed at a prompt:")
    print(">>> boards = connect.map(addresses)")
    boards = connect.map(crate.addresses)
    print(">>> tune(boards[0])")
    print(tune(boards[0]))
    return boards


def one_after_another(boards):
    """A plain loop, on a sample of the array: the length of each, in s."""
    print(f"\nOne after another, for {SAMPLE} of them:")
    print(">>> for board in boards: tune(board)")
    healthy = set(range(len(boards))) - {FAULTY, HANGING}
    spent = []
    for number in sorted(healthy)[:SAMPLE]:
        tuning = tune(boards[number])
        spent.append(tuning.ended - tuning.began)
    mean = sum(spent) / len(spent)
    print(f"{mean:.1f} s each: {mean * len(boards):.0f} s for all")
    return spent


def fan_out(boards):
    """No loop runs: a fan-out over the array."""
    print(f"\nAll of them, {LIMIT} at a time:")
    print(f">>> tune.map(boards, limit={LIMIT})")
    began = time.monotonic()
    results = tune_all(boards, progress=sys.stderr.isatty())  # none in a log
    wall = time.monotonic() - began
    print(f"{wall:.1f} s")
    return report.Way("tune.map, at a prompt", wall, results, began)


def interrupted(boards, delay):
    """The same once more, with a Ctrl-C."""
    print(f"\nOnce more, with a Ctrl-C after {delay:.1f} s:")
    due = time.monotonic() + delay
    finger = threading.Timer(delay, os.kill, (os.getpid(), signal.SIGINT))
    finger.start()
    try:
        tune_all(boards)
    except KeyboardInterrupt:
        late = time.monotonic() - due
        if late < 0:  # then it was a real one
            raise
        print(f"KeyboardInterrupt, {late * 1e3:.0f} ms later. The next call:")
        print(tune(boards[0]))
    finally:
        finger.cancel()


def in_a_service(way, count, latency):
    """A way in a service that polls all boards meanwhile: service.py."""
    print(f"  {way} ...", flush=True)
    script = pathlib.Path(__file__).with_name("service.py")
    command = [sys.executable, *warnings(), script, way]
    options = ["--boards", str(count), "--latency", str(latency)]
    # In its own session: a Ctrl-C in the terminal is for this one alone.
    with subprocess.Popen(
        command + options,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as child:
        try:
            line = child.stdout.readline()
            if not line:
                sys.exit(f"{way}: ended with {child.wait()}")
            said = json.loads(line)
            time.sleep(early(said["wall"]))
            child.send_signal(signal.SIGINT)
            begin = time.monotonic()
            child.wait()
            ended = time.monotonic() - begin
        except BaseException:
            child.kill()
            raise
    return report.Way.of_service(way, said, ended)


def warnings():
    return [flag for option in sys.warnoptions for flag in ("-W", option)]


def demo(count, latency):
    """Tune the array in each way."""
    with Crate(count, latency) as crate:
        boards = at_a_prompt(crate)
        serial = one_after_another(boards)
        first = fan_out(boards)
        first.truth = crate.resonances
        interrupted(boards, early(first.wall))

    print("\nIn a service that polls all temperatures each 100 ms:")
    ways = [first]
    ways += [in_a_service(way, count, latency) for way in WAYS]

    report.failures(ways)
    print()
    report.table(ways, serial)
    path = pathlib.Path("telescope.svg").absolute()
    report.picture(ways, serial, path)
    print(f"\nthe picture: {path}")


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
