"""What greenlet alone takes, below which no way over it can get.

Requires: greenlet

    python bench/floor.py

So many greenlets, each with a Python function, are parked at once and go on,
in microseconds each: new ones, which end; and old ones, which only park and
go on.  No loop, no task, no coroutine.
"""

import gc
import time

from greenlet import getcurrent, greenlet

ROUNDS = 9


def park(main):
    main.switch()


def park_for_ever(main):
    while True:
        main.switch()


def new_ones(count):
    main = getcurrent()
    began = time.process_time()
    parked = [greenlet(park) for _ in range(count)]
    for each in parked:
        each.switch(main)
    for each in parked:
        each.switch()
    del parked, each
    return (time.process_time() - began) / count * 1e6


def old_ones(count):
    main = getcurrent()
    parked = [greenlet(park_for_ever) for _ in range(count)]
    for each in parked:
        each.switch(main)
    began = time.process_time()
    for each in parked:
        each.switch()
    return (time.process_time() - began) / count * 1e6


def main():
    gc.disable()
    print(f"{'at once':>8}{'new':>8}{'old':>8}")
    for count in 100, 1_000, 10_000, 100_000:
        figures = [
            min(measure(count) for _ in range(ROUNDS))
            for measure in (new_ones, old_ones)
        ]
        print(f"{count:8,}" + "".join(f"{figure:8.2f}" for figure in figures))


if __name__ == "__main__":
    main()
