"""What code finds that looks down its stack in a loop that a driver runs."""

import asyncio
import gc
import os
import sys
import threading
import traceback
import warnings
import weakref

import pytest

from tworoutine import CannotSuspend, await_, tworoutine


def stack():
    """Name, file and line of each frame below the caller, innermost first."""
    frames, frame = [], sys._getframe(1)
    while frame is not None:
        code = frame.f_code
        frames.append((code.co_name, code.co_filename, frame.f_lineno))
        frame = frame.f_back
    return frames


async def other():
    return stack()[1:]  # but for the line in here


async def before_while_and_after():
    """The stack of another task, each time."""
    event = asyncio.Event()

    async def waits():
        await_(event.wait())

    before = await asyncio.create_task(other())
    task = asyncio.create_task(waits())
    await asyncio.sleep(0)
    meanwhile = await asyncio.create_task(other())
    event.set()
    await task
    await asyncio.sleep(0)
    return before, meanwhile, await asyncio.create_task(other())


def names_and_files(frames):
    return [frame[:2] for frame in frames]


def check(before, meanwhile, after):
    assert "_run_once" in [name for name, _, _ in before]
    assert names_and_files(meanwhile) == names_and_files(before)
    assert names_and_files(after) == names_and_files(before)
    # Lines of the loop move; those of the program do not.
    ours = [frame for frame in before if frame[1] == __file__]
    assert ours
    for frames in meanwhile, after:
        assert [frame for frame in frames if frame[1] == __file__] == ours


def test_the_stack_is_that_of_the_loop(program):
    program("""
import asyncio, sys
from tworoutine import await_

def bottom():
    frame, depth = sys._getframe(), 0
    while frame.f_back is not None:
        frame, depth = frame.f_back, depth + 1
    return frame.f_code.co_name, frame.f_globals["__name__"], depth

async def other():
    return bottom()

async def main():
    before = await asyncio.create_task(other())
    async def waits():
        await_(event.wait())
    event = asyncio.Event()
    task = asyncio.create_task(waits())
    await asyncio.sleep(0)
    assert await asyncio.create_task(other()) == before
    event.set()
    await task
    await asyncio.sleep(0)
    assert await asyncio.create_task(other()) == before
    return before

assert asyncio.run(main())[:2] == ("<module>", "__main__")
""")


def test_each_loop_has_its_own():
    def one():
        return asyncio.run(before_while_and_after())

    def two():
        return one()

    for run in one, two, one, two:
        check(*run())
    check(*asyncio.run(before_while_and_after()))
    for n in [*range(12), *range(0, 12, 2)]:  # more than are kept
        check(*deep(n))


def deep(n):
    if n == 0:
        return asyncio.run(before_while_and_after())
    return deep(n - 1)


def test_a_deep_one_is_shortened_in_the_middle():
    before, meanwhile, after = deep(200)
    assert len(before) > 200
    assert len(meanwhile) == len(after) < 80
    for frames in meanwhile, after:
        assert names_and_files(frames[:10]) == names_and_files(before[:10])
        assert frames[-5:] == before[-5:]


def test_in_a_thread():
    stacks = []

    def run():
        stacks.extend(asyncio.run(before_while_and_after()))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    check(*stacks)
    assert stacks[1][-1][0] == "_bootstrap"


@pytest.mark.parametrize("thread", [False, True])
def test_without_a_loop(thread):
    found = []

    @tworoutine
    async def background():
        task = asyncio.create_task(other())
        await asyncio.sleep(0)
        return await task

    def run():
        found.append([name for name, _, _ in background()])

    if thread:
        other_thread = threading.Thread(target=run)
        other_thread.start()
        other_thread.join()
    else:
        run()
    (names,) = found
    ends = ["_run_once", "run_forever", "run_until_complete"]
    assert names[-4:-1] == ends, names
    assert names[-1] == ("_bootstrap" if thread else "<module>")


def test_a_warning_about_a_caller_below_the_loop():
    async def warn():
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            depth = [name for name, _, _ in stack()].index("run_here")
            warnings.warn("below", stacklevel=depth + 1)
        return caught[0].filename, caught[0].lineno

    async def main():
        before = await asyncio.create_task(warn())
        event = asyncio.Event()

        async def waits():
            await_(event.wait())

        task = asyncio.create_task(waits())
        await asyncio.sleep(0)
        meanwhile = await asyncio.create_task(warn())
        event.set()
        await task
        return before, meanwhile

    def run_here():
        return asyncio.run(main())

    before, meanwhile = run_here()
    assert before == meanwhile
    assert before[0] == __file__


def test_tracebacks_show_none_of_it():
    async def fail():
        raise ValueError

    async def main():
        event = asyncio.Event()

        async def waits():
            await_(event.wait())

        task = asyncio.create_task(waits())
        await asyncio.sleep(0)
        failed = asyncio.create_task(fail())
        await asyncio.wait([failed])
        event.set()
        await task
        return failed.exception()

    exc = asyncio.run(main())
    names = [frame.name for frame in traceback.extract_tb(exc.__traceback__)]
    assert names == ["fail"]


def test_a_call_as_drivers_on_another_footing_end():
    """What runs then, as the callback of a weakref, must make none."""
    said, refs = [], []

    @tworoutine
    async def nap():
        await asyncio.sleep(0)
        return 5

    def gone(_):
        try:
            said.append(nap())
        except CannotSuspend as exc:
            said.append("being ended" in str(exc))

    async def watch():
        nap()
        frame = sys._getframe()
        while frame.f_code.co_name != "begin":
            frame = frame.f_back
        refs.append(weakref.ref(frame.f_code, gone))
        del frame

    async def main(function):
        await asyncio.gather(function(), function(), function())
        return nap()

    async def none():
        pass

    def other(n):
        return other(n - 1) if n > 0 else asyncio.run(main(none))

    def begin():
        return asyncio.run(main(watch))

    assert begin() == 5
    for n in range(20):  # more footings than are kept
        assert other(n) == 5
    assert said
    assert all(answer in (True, 5) for answer in said)
    assert nap() == 5


def test_the_same_code_in_two_modules():
    """A warning is about the module whose code it is."""
    source = """
import asyncio
from tworoutine import await_

def run():
    return asyncio.run(main())

async def main():
    async def waits():
        await_(asyncio.sleep(0))
    task = asyncio.create_task(waits())
    await asyncio.sleep(0)
    return await asyncio.create_task(look())
"""

    async def look():
        frame = sys._getframe()
        while frame.f_code.co_name != "run" or (
            frame.f_code.co_filename != "<string>"
        ):
            frame = frame.f_back
        return frame.f_globals["__name__"]

    names = ["one", "two"]
    spaces = [{"__name__": name, "look": look} for name in names]
    for space in spaces:
        exec(source, space)
    for _ in range(3):
        assert [space["run"]() for space in spaces] == names


def test_idle_drivers_hold_no_greenlet_of_others(program):
    # A program: beside SQLAlchemy, calls in greenlets of others are refused.
    out = program("""
import asyncio, gc, weakref
import greenlet
from tworoutine import await_

class Other(greenlet.greenlet):
    pass

refs = []

async def main():
    event = asyncio.Event()

    async def waits():
        other = Other(lambda: await_(event.wait()))
        refs.append(weakref.ref(other))
        other.switch()

    tasks = [asyncio.create_task(waits()) for _ in range(100)]
    await asyncio.sleep(0)
    event.set()
    await asyncio.gather(*tasks)

asyncio.run(main())
gc.collect()
print(sum(ref() is not None for ref in refs))
""")
    assert int(out) <= 1


def test_more_drivers_than_are_kept(program):
    """In all, from two places; and from one."""
    counts = [900, 900, 2000, 900]
    out = program(
        """
import asyncio, sys
from tworoutine import await_

def deep(n):
    return deep(n - 1) if n > 0 else 1

async def main(n):
    async def waits(number):
        await_(event.wait())
        return deep(number % 2 * 400)  # one chunk of the data stack, or more
    event = asyncio.Event()
    tasks = [asyncio.create_task(waits(number)) for number in range(n)]
    await asyncio.sleep(0)
    event.set()
    return sum(await asyncio.gather(*tasks))

def elsewhere(n):
    return asyncio.run(main(n))

for n in map(int, sys.argv[1:]):
    for _ in range(2):
        print(asyncio.run(main(n)), elsewhere(n))
""",
        *map(str, counts),
        flags=(),
    )
    assert out.split() == [str(n) for n in counts for _ in range(4)]


@pytest.mark.skipif(
    not os.path.exists("/proc/self/statm"), reason="it measures by /proc"
)
@pytest.mark.skipif(
    "TWR_SANITIZE" in os.environ, reason="sanitizers keep what is freed"
)
def test_what_many_drivers_have_left_is_freed(program):
    out = program(
        """
import asyncio, gc
from tworoutine import await_

def pages():
    gc.collect()
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1])

async def main():
    async def waits():
        await_(event.wait())
    event = asyncio.Event()
    tasks = [asyncio.create_task(waits()) for _ in range(8000)]
    await asyncio.sleep(0)
    event.set()
    await asyncio.gather(*tasks)
    del tasks

async def call(n):
    loop = asyncio.get_running_loop()
    for _ in range(n):
        future = loop.create_future()
        loop.call_soon(future.set_result, None)
        await_(future)

async def all():
    await main()
    before = pages()
    for _ in range(3):
        await asyncio.create_task(call(16384))
    print(before - pages())

asyncio.run(all())
""",
        flags=(),
    )
    assert int(out) > 6000  # a page each, but for the thousand kept


def test_it_keeps_no_module_alive():
    class Kept:
        pass

    space = {
        "__name__": "passing",
        "asyncio": asyncio,
        "await_": await_,
        "kept": Kept(),
    }
    exec(
        """
async def main():
    async def waits():
        await_(asyncio.sleep(0))
    await asyncio.gather(waits(), waits())
asyncio.run(main())
""",
        space,
    )
    watch = weakref.ref(space["kept"])
    del space
    gc.collect()
    assert watch() is None
