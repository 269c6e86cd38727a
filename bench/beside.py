"""What each library does with the same small programs, as a table.

Requires: tworoutine nest_asyncio greenback anyio asgiref synchronicity
          trio uvloop gevent packaging

    python bench/beside.py [--markdown] [--only QUESTION]

Each cell is a process of its own, with a limit of time: `python
bench/beside.py QUESTION PEER` runs one.  What a library has to write is in
peers.py; the programs are there and in questions.py.
"""

import argparse
import platform
import subprocess
import sys
from importlib import metadata

TIMEOUT = 10  # seconds

# Question -> what the table calls it.
QUESTIONS = {
    "no_loop": "call without a loop",
    "one_loop": "the next such call has the same loop",
    "in_task": "call in a task that nobody prepared",
    "in_callback": "call in a plain callback",
    "in_call": "call below another call",
    "any_order": "calls end in any order",
    "need_each_other": "two calls that need each other end",
    "thousand": "1,000 calls blocked at once",
    "of_the_caller": "the caller's task, context, timeouts, `cancel()`",
    "home": "one loop for many threads",
    "back": "from a worker thread back into its loop",
    "dual": "objects of an async class, both ways",
    "generator": "async generator in a `for`",
    "manager": "async context manager in a `with`",
    "nested": "a library's `asyncio.run`, in a task",
    "fan_out": "many at once, a limit, partial results",
    "start": "begun, not waited for",
    "looks": "tells which calls wait",
    "on_uvloop": "call in a task of uvloop",
    "on_trio": "call in a task of trio",
    "on_gevent": "calls in gevent's greenlets",
    "own_thread": "async code that blocks holds up nobody",
    "between": "without a loop, tasks go on between calls",
    "patches": "patches asyncio",
    "pure": "pure Python",
    "others_needed": "other packages needed",
    "status": "status, in its own words",
}


def answer(question, peer):
    """What the cell says; runs the program here."""
    if question == "on_gevent":
        from gevent import monkey

        monkey.patch_all()
    import questions  # looks at asyncio before a library has patched it
    from peers import PEERS

    one = PEERS[peer]()
    program = getattr(one, question, None)
    if program is None and hasattr(questions, question):
        program = lambda: getattr(questions, question)(one)  # noqa: E731
    if program is None:
        return "-"
    try:
        said = program()
    except BaseException as error:
        if type(error) is AssertionError:
            return f"no: {error}" if str(error) else "no"
        return f"no: `{type(error).__name__}`"
    return "yes" if said is None else said


def ask(question, peer):
    """The same, from a process of its own."""
    try:
        ran = subprocess.run(
            [sys.executable, "-W", "ignore", __file__, question, peer],
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
        )
    except subprocess.TimeoutExpired:
        return "hang"
    lines = ran.stdout.splitlines()
    return lines[-1] if lines else f"exit {ran.returncode}"


def version(package):
    return f"{package} {metadata.version(package)}"


def table(questions, peers):
    rows = [("", *peers)]
    for question in questions:
        cells = [ask(question, peer) for peer in peers]
        rows.append((QUESTIONS[question], *cells))
        if sys.stderr.isatty():
            print(f"{question:20}", end="\r", file=sys.stderr, flush=True)
    return rows


def main():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("cell", nargs="*", help="QUESTION PEER: here")
    parser.add_argument("--markdown", action="store_true", help="for a page")
    parser.add_argument("--only", choices=QUESTIONS, help="this one alone")
    options = parser.parse_args()
    if options.cell:
        print(answer(*options.cell), flush=True)
        return
    from peers import PEERS

    asked = [options.only] if options.only else QUESTIONS
    rows = table(asked, PEERS)
    if options.markdown:
        print_markdown(rows)
    else:
        print_text(rows)
    names = [peer.package for peer in PEERS.values()]
    print()
    print(
        f"{platform.python_implementation()} {platform.python_version()},",
        f"{platform.system()};",
        ", ".join(map(version, [*names, "greenlet"])) + ".",
    )


def print_markdown(rows):
    for row in rows[0], ["---"] * len(rows[0]), *rows[1:]:
        print("|", " | ".join(row), "|")


def print_text(rows):
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(map(str.ljust, row, widths)).rstrip())


if __name__ == "__main__":
    main()
