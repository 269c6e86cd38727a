"""Measure costs side by side, and print one table.

In each round every contender gets a fresh process.  They take turns of a few
milliseconds, never two at once, and the best of a contender's turns counts.
It is divided by the baseline's of the same round, so that a drift of the
machine cancels out.  The table has the median of these ratios over all
rounds, with the least and the most.  What does not drift, as memory, is
measured in one round.
"""

import argparse
import statistics
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass

from goals import missed
from process import Failed, Process
from table import number, print_table


@dataclass(frozen=True)
class Effort:
    rounds: int
    turns: int  # of a contender in a round
    seconds: float  # of a turn
    enough: float  # seconds, after which a round has no further turn
    limit: float  # seconds, after which a contender is taken to hang


FULL = Effort(rounds=3, turns=8, seconds=0.02, enough=2, limit=10)
QUICK = Effort(rounds=2, turns=3, seconds=0.005, enough=0.3, limit=6)


def one_round(cost, effort, names):
    """Return {name: best figure, or a text that says how it failed}."""
    figures, failed = {name: [] for name in names}, {}
    turns = [Process.measure] * (1 if cost.once else effort.turns)
    with ExitStack() as stack:
        processes = {
            name: stack.enter_context(Process(cost, name, effort))
            for name in names
        }
        end = time.monotonic() + effort.enough
        for number, turn in enumerate((Process.get_ready, *turns)):
            if number > 1 and time.monotonic() > end:
                break
            names = names[::-1]
            for name in names:
                try:
                    if name not in failed:
                        figures[name].append(turn(processes[name]))
                except Failed as error:
                    failed[name] = str(error)
    return {name: failed.get(name) or min(figures[name]) for name in names}


def measure(cost, effort):
    """Return the baseline's median, and what the table says of each way.

    That is (median, least, most), or how it failed.
    """
    names, failed, rounds = cost.ways, {}, []
    for _ in range(effort.rounds if cost.ratio else 1):
        rounds.append(one_round(cost, effort, names))
        failed |= {n: f for n, f in rounds[-1].items() if isinstance(f, str)}
        names = tuple(name for name in names if name not in failed)
    base = cost.ways[0]
    if base in failed:
        sys.exit(f"{cost.title}: {base}: {failed[base]}")
    results = dict(failed)
    for name in names:
        figures = [r[name] / (r[base] if cost.ratio else 1) for r in rounds]
        results[name] = statistics.median(figures), min(figures), max(figures)
    return statistics.median(r[base] for r in rounds), results


def main(costs, description):
    """The command line of every file here."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="but rougher")
    parser.add_argument("--markdown", action="store_true", help="for a page")
    parser.add_argument(
        "--check", action="store_true", help="fail where a goal is missed"
    )
    options = parser.parse_args()
    effort = QUICK if options.quick else FULL
    began = time.monotonic()
    rows = []
    for cost in costs:
        if sys.stderr.isatty():
            print(f"{cost.title:70}", end="\r", file=sys.stderr, flush=True)
        rows.append((cost, *measure(cost, effort)))
    seconds = time.monotonic() - began
    print_table(rows, options.markdown, effort.rounds, seconds)
    if options.check:
        worse = [
            f"{title}: {figure if isinstance(figure, str) else number(figure)}"
            f", and not {goal}"
            for title, figure, goal in missed(rows)
        ]
        sys.exit("\n".join(["Missed:", *worse]) if worse else 0)
