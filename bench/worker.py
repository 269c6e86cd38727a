"""One contender at one cost, in a process of its own.

    python bench/worker.py MODULE:INDEX CONTENDER SECONDS

prints a line when it is ready, and a figure for each line that it reads; or
"!" and the name of an exception.
"""

import importlib
import sys

from contenders import WAYS


def main(place, name, seconds):
    module, _, index = place.partition(":")
    try:
        cost = importlib.import_module(module).COSTS[int(index)]
        figure = cost.prepare(WAYS[name](), float(seconds))
        print("ready", flush=True)
        for _ in sys.stdin:
            print(figure(), flush=True)
    except Exception as error:
        print(f"!{type(error).__name__}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
