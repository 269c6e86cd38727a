"""CPython's own tests of asyncio, while tworoutine drives the loops.

    python tests/cpython/run.py [MODULE ...]

Each module of test.test_asyncio is run in three modes, each in a process of
its own, and the outcomes of every test are compared:

    plain   as it is
    first   a synchronous call is made first thing in each run of each loop;
            from when it is over, drivers of tworoutine take the turns
    called  drivers take the turns of each run of each loop from its first
            handle on, and each task that a loop makes runs its coroutine by
            a synchronous call

A test that passes in "plain" must pass in the others, and write nothing to
stderr that it does not write there.  What differs is listed in
differences.toml, each with its cause: a difference that is not listed is a
failure, and so is one that is listed and does not happen.  So is a run of a
loop that drivers did not drive; child.py tells how that is known.  A hang or
a crash cannot be listed.

A test whose outcome is not the expected one is run again, by itself and in
all modes, RETRIES times; it is flaky, and no failure, if each time it ends as
expected.
"""

import argparse
import collections
import concurrent.futures
import contextlib
import fnmatch
import importlib
import json
import os
import pkgutil
import platform
import re
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path

HERE = Path(__file__).parent
PACKAGE = "test.test_asyncio"
MODES = ("plain", "first", "called")
RETRIES = 3
SECONDS = 900  # for one module; child.py has a limit for each test
# Rough seconds: what takes longest is begun first.
LONG = {"tasks": 25, "subprocess": 18, "ssl": 14, "events": 12, "sslproto": 5}


class Result:
    """What a child has written."""

    def __init__(self, path, returncode, stderr):
        self.outcomes = {}  # test -> (outcome, text)
        self.counts = collections.Counter()
        self.odd = {}
        self.dead = None  # why it did not come to its end
        current = kind = None
        for line in path.read_text().splitlines():
            try:
                kind, *row = json.loads(line)
            except ValueError:
                break  # it was killed in the middle of a line
            if kind == "start":
                current = row[0]
            elif kind == "end":
                test, *outcome = row
                self.outcomes[short(test)] = tuple(outcome)
            else:
                self.counts.update(row[0])
                self.odd = {short(test): odd for test, odd in row[1].items()}
        if returncode != 0 or kind != "done":
            self.dead = (
                f"hang or crash in {current}: exit status {returncode}\n"
                f"{stderr[-3000:]}"
            )


def is_version(version, wanted):
    """wanted: "3.13" is any 3.13.x, and "3.13+" anything from it on."""

    def numbers(text):
        return [int(number) for number in re.findall(r"\d+", text)]

    if wanted.endswith("+"):
        return numbers(version) >= numbers(wanted)
    return numbers(version)[: len(numbers(wanted))] == numbers(wanted)


def short(test):
    return test.removeprefix(PACKAGE + ".")


running = set()  # children


def end(child):
    running.discard(child)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)


def run(mode, names):
    """Run tests in a child."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        out.touch()
        err = Path(folder) / "err"
        work = Path(folder) / "work"
        work.mkdir()
        with err.open("wb") as stderr:
            child = subprocess.Popen(
                [sys.executable, HERE / "child.py", mode, out]
                + [f"{PACKAGE}.{name}" for name in names],
                stdin=subprocess.DEVNULL,
                stdout=stderr,
                stderr=stderr,
                cwd=work,
                start_new_session=True,
            )
            running.add(child.pid)
            try:
                returncode = child.wait(SECONDS)
            except subprocess.TimeoutExpired:
                returncode = "none: it took too long"
            finally:
                end(child.pid)  # and what it has left behind
                child.wait()
        return Result(out, returncode, err.read_text(errors="replace"))


class Differences:
    """The table of what differs."""

    def __init__(self, path, version):
        table = tomllib.loads(path.read_text())
        self._entries = []
        for entry in table["difference"]:
            assert set(entry["modes"]) <= set(MODES) and entry["cause"]
            assert "outcome" in entry or "odd" in entry
            wanted = entry.get("python", ["3.0+"])
            if any(is_version(version, one) for one in wanted):
                entry["seen"] = entry.get("sometimes", False)
                self._entries.append(entry)

    def outcomes(self, mode, test, plain):
        """What test may end as in mode; plain is what it did end as."""
        usual = {"noise", "ok"} if plain == "noise" else {plain}
        for entry in self._find(mode, test, "outcome"):
            other = {entry["outcome"]}
            return usual | other if entry.get("sometimes") else other
        return usual

    def odd(self, mode, test):
        """What is odd about the runs of its loops."""
        for entry in self._find(mode, test, "odd"):
            return set(entry["odd"])
        return set()

    def _find(self, mode, test, kind):
        for entry in self._entries:
            if (
                kind in entry
                and mode in entry["modes"]
                and any(fnmatch.fnmatch(test, one) for one in entry["tests"])
            ):
                entry["seen"] = True
                yield entry

    def unseen(self, modules):
        """Entries about these modules that no test of theirs matches."""
        for entry in self._entries:
            if not entry["seen"] and any(
                test.startswith(f"{module}.")
                for test in entry["tests"]
                for module in modules
            ):
                yield entry


class Comparison:
    def __init__(self, differences):
        self._differences = differences
        self.failures = []
        self.flaky = []
        self.listed = collections.Counter()
        self.tests = collections.Counter()
        self.counts = collections.defaultdict(collections.Counter)

    def add(self, module, results):
        """Compare the results of one module, a dict: mode -> Result."""
        plain = results["plain"].outcomes
        for mode, result in results.items():
            self.tests[mode] += len(result.outcomes)
            self.counts[mode].update(result.counts)
            if result.dead:
                self.failures.append(f"{module}, {mode}: {result.dead}")
            elif result.outcomes.keys() != plain.keys():
                self.failures.append(f"{module}, {mode}: not the same tests")
        suspects = sorted(
            {
                test
                for mode, result in results.items()
                for test in result.outcomes
                if test in plain and self._problem(mode, test, results)
            }
        )
        for test in suspects:
            self._again(test, results)
        for mode, result in results.items():
            self._count_listed(mode, result, plain)

    def check_counts(self):
        """Lest all is well because nothing was looked at."""
        for mode in MODES[1:]:
            for what in ("driven", "driven turns", "parked"):
                if self.counts[mode][what] < 1000:
                    self.failures.append(
                        f"{mode}: only {self.counts[mode][what]} {what}"
                    )

    def _problem(self, mode, test, results):
        """What is not as it should be, or None."""
        if test not in results[mode].outcomes:
            return f"{test}, {mode}: not run"
        was, text = results[mode].outcomes[test]
        plain = results["plain"].outcomes.get(test, (was,))[0]
        if mode == "plain":
            if was in ("fail", "error"):
                return f"{test}, plain: {was}\n{text}"
            return None
        if was == plain == "skip":
            return None
        want = self._differences.outcomes(mode, test, plain)
        if was not in want:
            want = " or ".join(sorted(want))
            return f"{test}, {mode}: {was}, not {want}\n{text}"
        odd = set(results[mode].odd.get(test, ()))
        want = self._differences.odd(mode, test)
        if odd != want:
            odd, want = (sorted(one) or "all driven" for one in (odd, want))
            return f"{test}, {mode}: runs of its loops: {odd}, not {want}"
        return None

    def _problems(self, test, results):
        for mode, result in results.items():
            problem = result.dead or self._problem(mode, test, results)
            if problem:
                yield problem

    def _again(self, test, results):
        before = list(self._problems(test, results))
        for _ in range(RETRIES):
            results = {mode: run(mode, [test]) for mode in MODES}
            problems = list(self._problems(test, results))
            if problems:
                self.failures += problems
                return
        self.flaky += before

    def _count_listed(self, mode, result, plain):
        for test, (outcome, _) in result.outcomes.items():
            if outcome != plain.get(test, (outcome,))[0]:
                self.listed[mode] += 1


def find_modules():
    """Those of this Python's, without Windows'."""
    package = importlib.import_module(PACKAGE)
    names = [module.name for module in pkgutil.iter_modules(package.__path__)]
    return [
        name
        for name in names
        if name.startswith("test_") and "windows" not in name
    ]


def run_all(modules, jobs, comparison):
    """Run all, and compare: what is run again, is so when nothing else is."""
    results = collections.defaultdict(dict)
    work = [(module, mode) for module in modules for mode in MODES]
    work.sort(key=lambda one: -LONG.get(one[0].removeprefix("test_"), 0))
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        futures = {pool.submit(run, mode, [m]): (m, mode) for m, mode in work}
        try:
            for future in concurrent.futures.as_completed(futures):
                module, mode = futures[future]
                result = results[module][mode] = future.result()
                print(f"{module}, {mode}: {len(result.outcomes)}", flush=True)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for child in list(running):
                end(child)
            raise
    for module in modules:
        comparison.add(module, {mode: results[module][mode] for mode in MODES})


def report(comparison):
    for mode in MODES:
        counts = comparison.counts[mode]
        line = f"{mode:7} {comparison.tests[mode]:5} tests"
        if mode != "plain":
            line += (
                f", {comparison.listed[mode]} differ as listed; "
                f"runs of loops: {counts['driven']} of {counts['runs']} "
                f"driven; turns: {counts['driven turns']} by drivers, "
                f"{counts['own turns']} by the loops; calls: "
                f"{counts['calls']}, {counts['parked']} waited"
            )
        print(line)
    for flaky in comparison.flaky:
        print("flaky:", flaky.splitlines()[0])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("modules", nargs="*", help="such as test_tasks")
    parser.add_argument("--jobs", type=int, default=2, help="default: 2")
    args = parser.parse_args()
    version = platform.python_version()
    try:
        known = find_modules()
    except ImportError as exc:
        sys.exit(
            f"{sys.executable} (Python {version}) comes without {PACKAGE}: "
            f"{exc}.\nLinux distributions often leave CPython's tests out; "
            "an interpreter built from source has them: "
            "make cpython-tests PYTHON=..."
        )
    modules = args.modules or known
    if unknown := set(modules) - set(known):
        parser.error(f"no such module: {', '.join(sorted(unknown))}")
    start = time.monotonic()
    differences = Differences(HERE / "differences.toml", version)
    comparison = Comparison(differences)
    run_all(modules, args.jobs, comparison)
    if not comparison.failures:
        comparison.failures += [
            f"listed, but there is no such test: {', '.join(entry['tests'])}"
            for entry in differences.unseen(modules)
        ]
    if modules == known:
        comparison.check_counts()
    print(f"Python {version}, {len(modules)} modules of {PACKAGE}")
    report(comparison)
    for failure in comparison.failures:
        print("\nFAILED:", failure)
    print(f"{time.monotonic() - start:.0f} seconds")
    sys.exit(1 if comparison.failures else 0)


if __name__ == "__main__":
    main()
