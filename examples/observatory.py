"""Four sites of 64 boards each, tuned by Dask's workers; one is killed.

    python examples/observatory.py [--boards N]

A site is a task of Dask's.  Its boards are tuned by `tune` of telescope.py: at
two sites in a thread of the worker, and at two on the worker's own loop, where
Dask's heartbeats go on.  Half-way the worker of one site is killed, and Dask
runs that site again on another one, or on the one that takes its place.

Prints what happens and writes observatory.svg to the current directory.
"""

import argparse
import contextlib
import os
import pathlib
import signal
import sys
import time
from collections import Counter

from distributed import Client, LocalCluster, as_completed, get_worker

import sky
from adapter import connect
from boards import Crate
from plan import LIMIT, Tuning
from report import said_by
from telescope import tune
from tworoutine import tworoutine

BOARDS = 64  # of a site
SITES = list(sky.PLACES)
DOOMED = "Atacama"  # where the worker is killed
TOPIC = "tuned"  # of the messages of workers
SILENCE = 60  # no log of the worker that is killed on purpose


@tworoutine
async def tune_site(site, addresses):
    """Tune the boards of a site; tell the client of each.

    Returns the process, and a Tuning or the reason why not of each board.
    """
    pid = os.getpid()
    worker = get_worker()
    boards = connect.map(addresses)
    results = dict.fromkeys(boards)
    for board, result in tune.as_completed(
        boards, limit=LIMIT, return_exceptions=True
    ):
        results[board] = said_by(result) or result
        if isinstance(result, Tuning):
            worker.log_event(TOPIC, [site, pid, result.began, result.ended])
    return pid, list(results.values())


class Run:
    """What is told of a run: times in seconds, from its beginning on."""

    def __init__(self, count):
        self.count = count
        # One clock for all processes of a machine.
        self.began = time.monotonic()
        self.victim = self.killed = None  # which process, and when
        self.lost = []  # (began, ended) of the boards that it had tuned

    def now(self):
        return time.monotonic() - self.began

    def say(self, text):
        print(f"{self.now():5.1f} s  {text}", flush=True)

    def tell(self, event):
        """Called by the client, in a thread of its own, for each board."""
        _, (site, pid, began, ended) = event
        if site != DOOMED or pid != (self.victim or pid):
            return
        self.lost.append((began - self.began, ended - self.began))
        if len(self.lost) == self.count // 2:
            self.victim, self.killed = pid, self.now()
            os.kill(pid, signal.SIGKILL)
            self.say(f"{site}: half of its boards are tuned; {pid} is killed")

    def tune(self, client, crates):
        """Tune all sites: {site: results}."""
        client.subscribe_topic(TOPIC, self.tell)
        sites = {}
        for number, site in enumerate(SITES):
            future = client.submit(
                ~tune_site if number % 2 else tune_site,
                site,
                crates[number].addresses,
                workers=[number],  # by preference
                allow_other_workers=True,
            )
            sites[future] = site
        done = {}
        for future, (pid, results) in as_completed(sites, with_results=True):
            site = sites[future]
            tuned = [one for one in results if isinstance(one, Tuning)]
            for one in tuned:
                one.began -= self.began
                one.ended -= self.began
            done[site] = results
            again = self.victim and site == DOOMED and pid != self.victim
            text = f"tuned again by {pid}" if again else f"tuned by {pid}"
            self.say(f"{site}: {text}, {len(tuned)} of {len(results)} boards")
            reasons = Counter(one for one in results if isinstance(one, str))
            for reason, times in reasons.items():
                print(f"{'':8} {times} not: {reason}"[:80])
        return done


def errors(done, crates):
    """How far each bias is from the resonance, in kHz."""
    for site, crate in zip(SITES, crates, strict=True):
        for one, resonance in zip(done[site], crate.resonances, strict=True):
            if isinstance(one, Tuning):
                yield abs(one.bias - resonance) * 1e3


def observe(count):
    """Tune all sites, say what happens and draw it."""
    print(f"{len(SITES)} sites with {count} boards each, {len(SITES)} workers")
    with contextlib.ExitStack() as stack:
        crates = [
            stack.enter_context(Crate(count, first=number * count))
            for number in range(len(SITES))
        ]
        cluster = LocalCluster(
            n_workers=len(SITES),
            threads_per_worker=1,
            dashboard_address=":0",
            silence_logs=SILENCE,
        )
        client = stack.enter_context(Client(stack.enter_context(cluster)))
        run = Run(count)
        done = run.tune(client, crates)
    away = list(errors(done, crates))
    total = count * len(SITES)
    print(f"\ntuned: {len(away)} of {total}, within {max(away):.0f} kHz")
    path = pathlib.Path("observatory.svg").absolute()
    sky.picture(done, (DOOMED, run.lost), run.killed, path)
    print(f"the picture: {path}")


def main():
    parser = argparse.ArgumentParser(description="Tune four sites.")
    parser.add_argument("--boards", type=int, default=BOARDS, help="of a site")
    count = parser.parse_args().boards
    if count < 1:
        parser.error("--boards must be at least 1")
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        observe(count)
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)


if __name__ == "__main__":
    main()
