"""Fail the n-th allocation of a call, for every n: see test_memory.py.

    python tests/nomemory.py SCENARIO...

prints what became of each: the number of allocations, and how many ended how.
Every one has a child process of its own, forked from this one.
"""

import _testcapi
import asyncio
import collections
import contextlib
import faulthandler
import functools
import gc
import json
import os
import pickle
import selectors
import signal
import sys
import warnings

import tworoutine as two
from tworoutine import await_, tworoutine

WAITS_FOR_EVER = 99  # a child's exit status
SECONDS = 60  # until a child that is still busy is taken to be so for ever


@tworoutine
async def double(x):
    """Twice x."""
    return 2 * x


@tworoutine
async def nap(x):
    await asyncio.sleep(0)
    await asyncio.sleep(0.0001)
    return 2 * x


@tworoutine
async def count(n):
    for i in range(n):
        await asyncio.sleep(0)
        yield i


@tworoutine
@contextlib.asynccontextmanager
async def managed(x):
    await asyncio.sleep(0)
    yield x
    await asyncio.sleep(0)


class Field:
    @tworoutine
    async def method(self, x):
        await asyncio.sleep(0)
        return 2 * x


class Client:
    """Somebody else's, for dual()."""

    x = 2

    async def method(self, x):
        await asyncio.sleep(0)
        return 2 * x

    def both(self):
        return self

    def __await__(self):
        return self.method(2).__await__()

    async def __aenter__(self):
        await asyncio.sleep(0)
        return 2

    async def __aexit__(self, *exc_info):
        pass

    def __len__(self):
        return 2


async def plain(x):
    return 2 * x


class _Scarce:
    """``with scarce:`` is where an allocation fails."""

    first = last = 0

    def __enter__(self):
        _testcapi.set_nomemory(self.first, self.last)

    def __exit__(self, *exc):
        _testcapi.remove_mem_hooks()


scarce = _Scarce()

# --- where a call is made, and its awaiting twin -----------------------------


def in_task(work, portal=False):
    async def main():
        work()
        with scarce:
            result = work()
        await asyncio.sleep(0)
        assert nap(5) == 10
        return result

    return lambda: asyncio.run((two.portal(main) if portal else main)())


def in_callback(work):
    async def main():
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        work()

        def callback():
            try:
                with scarce:
                    result = work()
            except BaseException as exc:
                done.set_exception(exc)
            else:
                done.set_result(result)

        loop.call_soon(callback)
        try:
            return await done
        finally:
            assert nap(5) == 10

    return lambda: asyncio.run(main())


def alone(work):
    def run():
        work()
        with scarce:
            return work()

    return run


def awaited_in_task(make):
    async def main():
        await make()
        with scarce:
            return await make()

    return lambda: asyncio.run(main())


def awaited_in_callback(make):
    async def main():
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        await make()

        def callback():
            scarce.__enter__()
            try:
                asyncio.Task(make(), loop=loop).add_done_callback(ended)
            except BaseException as exc:
                scarce.__exit__()
                done.set_exception(exc)

        def ended(task):
            scarce.__exit__()
            try:
                done.set_result(task.result())
            except BaseException as exc:
                done.set_exception(exc)

        loop.call_soon(callback)
        return await done

    return lambda: asyncio.run(main())


def awaited_alone(*makes):
    def run():
        loop = asyncio.new_event_loop()
        for make in makes:
            loop.run_until_complete(make())
        with scarce:
            for make in makes:
                result = loop.run_until_complete(make())
        return result

    return run


# --- what is called ----------------------------------------------------------


def counted():
    return sum(count(3)) + 1


def left():
    for x in count(3):
        return x + 4


def entered():
    with managed(2) as x:
        return 2 * x


def completed():
    ((_, result),) = nap.as_completed([2])
    return result


def looked_at():
    return 4 * (
        double.__name__ == double.__qualname__ == "double"
        and double.__doc__ == "Twice x."
        and (~double).__qualname__ == "double.aio"
        and double.__wrapped__ is ~double
        and "map" in dir(double)
    )


def pickled():
    return 4 * (pickle.loads(pickle.dumps(double)) == double)


async def gathered():
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task((~nap)(2)) for _ in range(2)]
    return tasks[0].result()


async def slept(seconds=0):
    await asyncio.sleep(seconds)
    return 4


REPR = repr(double)
field = Field()
client = two.dual(Client())
deep = two.dual(Client(), deep=True)


def dual_entered():
    with client.both() as x:
        return 2 * x


def dual_looked_at():
    made = two.dual(Client())
    assert isinstance(made, Client)
    return len(made) + made.x


_awaited_in_task = awaited_in_task(lambda: (~nap)(2))
_gathered_in_task = awaited_in_task(gathered)

# Name: (the program, the same awaited if it may wait for ever).  Each gives 4.
SCENARIOS = {
    "task, at once": (in_task(lambda: double(2)), None),
    "task": (in_task(lambda: nap(2)), _awaited_in_task),
    "task, portal": (
        in_task(lambda: nap(2), portal=True),
        _awaited_in_task,
    ),
    "task, method": (in_task(lambda: field.method(2)), None),
    "task, dual": (in_task(lambda: client.method(2)), None),
    "task, deep dual": (in_task(lambda: deep.method(2)), None),
    "task, dual that is entered": (in_task(dual_entered), None),
    "dual": (alone(dual_looked_at), None),
    "task, await_": (in_task(lambda: await_(asyncio.sleep(0, 4))), None),
    "task, generator": (in_task(counted), None),
    "task, generator that is left": (in_task(left), None),
    "task, manager": (in_task(entered), None),
    "task, map": (
        in_task(lambda: nap.map([2, 2])[1]),
        _gathered_in_task,
    ),
    "task, as_completed": (in_task(completed), _gathered_in_task),
    "callback, at once": (
        in_callback(lambda: double(2)),
        awaited_in_callback(lambda: (~double)(2)),
    ),
    "callback": (
        in_callback(lambda: nap(2)),
        awaited_in_callback(lambda: (~nap)(2)),
    ),
    "alone, at once": (
        alone(lambda: double(2)),
        awaited_alone(lambda: (~double)(2)),
    ),
    "alone": (alone(lambda: nap(2)), awaited_alone(lambda: (~nap)(2))),
    "alone, generator": (alone(counted), awaited_alone(*[slept] * 4)),
    "alone, manager": (alone(entered), awaited_alone(*[slept] * 2)),
    "alone, map": (
        alone(lambda: nap.map([2, 2])[1]),
        awaited_alone(gathered),
    ),
    "attributes": (alone(looked_at), None),
    "decoration": (alone(lambda: 4 * callable(tworoutine(plain))), None),
    "repr": (alone(lambda: 4 * (repr(double) == REPR)), None),
    "pickle": (alone(pickled), None),
}

# --- children ----------------------------------------------------------------


def _watch_polls():
    """A loop of a child that waits without a timeout waits for ever."""
    select = selectors.DefaultSelector.select

    def watched(self, timeout=None):
        if timeout is None:
            os._exit(WAITS_FOR_EVER)
        return select(self, timeout)

    selectors.DefaultSelector.select = watched


def _outcome(run, first, last):
    noise = []
    sys.unraisablehook = lambda args: noise.append(str(args.exc_value))
    warnings.simplefilter("always")
    warnings.showwarning = lambda message, *args: noise.append(str(message))
    scarce.first, scarce.last = first, last
    try:
        result = run()
        outcome = "success" if result == 4 else f"gives {result!r}"
    except* MemoryError:
        outcome = "MemoryError"
    except* BaseException as exc:
        outcome = "; ".join(map(repr, exc.exceptions))
    gc.collect()
    assert nap(5) == 10
    gc.collect()
    never = [line for line in noise if "never awaited" in line]
    return never[0] if never else outcome


def _child(run, first, last, seconds, pipe, stderr):
    os.dup2(stderr.fileno(), 2)
    faulthandler.enable()
    signal.setitimer(signal.ITIMER_REAL, seconds)
    _watch_polls()
    try:
        outcome = _outcome(run, first, last)
    except BaseException as exc:
        outcome = f"afterwards: {exc!r}"
    os.write(pipe, outcome.encode())
    os._exit(0)


def _whose_crash(stderr):
    """greenlet's or Python's own, or unknown: 3.14+ shows the C stack."""
    if "g_switchstack" in stderr or "alloc_main" in stderr:
        return "greenlet"
    if "C stack trace" not in stderr:
        return "crash"
    stack = stderr.partition("C stack trace")[2]
    libraries = [
        line.partition('"')[2].partition('"')[0].rpartition("/")[2]
        for line in stack.splitlines()
        if "Binary file" in line
    ]
    ours = [i for i, name in enumerate(libraries) if name.startswith("_core")]
    theirs = [
        i for i, name in enumerate(libraries) if name.startswith("_greenlet")
    ]
    if theirs and (not ours or theirs[0] < ours[0]):
        return "greenlet"
    return "python" if not ours else f"crash: {libraries}"


def fork(run, first, last, seconds=SECONDS):
    """What becomes of run() if the allocations first to last - 1 fail."""
    out, pipe = os.pipe()
    with os.fdopen(
        os.memfd_create("stderr"), "r+", errors="replace"
    ) as stderr:
        pid = os.fork()
        if pid == 0:
            _child(run, first, last, seconds, pipe, stderr)
        os.close(pipe)
        with open(out) as answers:
            outcome = answers.read()
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        stderr.seek(0)
        if code == WAITS_FOR_EVER:
            return "waits for ever"
        if code == -signal.SIGALRM:
            return "is busy for ever"
        return _whose_crash(stderr.read()) if code < 0 else outcome


def allocations(run):
    """How many there are: the least number after which all may fail.

    Where all fail, asyncio may be busy for ever with saying so.
    """

    def enough(n):
        return fork(run, n, 0, seconds=0.3) == "success"

    low, high = 0, 128
    while not enough(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        if enough(middle):
            high = middle
        else:
            low = middle
    return high


@functools.cache
def sweep(run):
    outcomes = collections.defaultdict(list)
    for n in range(allocations(run)):
        outcomes[fork(run, n, n + 1)].append(n)
    return outcomes


def main(names):
    warnings.simplefilter("ignore")
    for name in names or SCENARIOS:
        program, twin = SCENARIOS[name]
        swept = {"call": sweep(program), "await": sweep(twin) if twin else {}}
        print(json.dumps({name: swept}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
