"""The tables of docs/errors.md, line by line: the type, every word of the
message, nothing left behind, and a good call afterwards.

A line that is code is run as it stands, in each place.  A line that is a
sentence has a function here, found by its words.
"""

import asyncio
import contextlib
import gc
import inspect
import os
import pathlib
import pickle
import re
import selectors
import signal
import sys
import threading
import types
from collections.abc import AsyncIterable
from contextlib import AbstractAsyncContextManager
from typing import NamedTuple

import pytest

import tworoutine as package
from conftest import PLACES
from tworoutine import CannotSuspend, await_, tworoutine

DOC = pathlib.Path(__file__).parent.parent / "docs" / "errors.md"
DEFINITIONS = re.search(r"```python\n(.*?)```", DOC.read_text(), re.DOTALL)[1]

ERRORS = {
    "AttributeError": AttributeError,
    "CannotSuspend": CannotSuspend,
    "FailedCalls": package.FailedCalls,
    "PicklingError": pickle.PicklingError,
    "RuntimeError": RuntimeError,
    "TypeError": TypeError,
    "UnpicklingError": pickle.UnpicklingError,
    "TimeoutError": TimeoutError,
    "ValueError": ValueError,
}

# What Python itself says in other words in later versions than the one that
# the page was written with.
OTHER_WORDS = {}
if sys.version_info >= (3, 14):
    NO_EXIT = (
        "does not support the context manager protocol "
        "(missed __exit__ method)"
    )
    OTHER_WORDS = {
        "`await double(1)`": ["TypeError", "'int' object can't be awaited"],
        "`await dual(Client()).get(1)`": [
            "TypeError",
            "'int' object can't be awaited",
        ],
        "`await double`": [
            "TypeError",
            "'tworoutine.tworoutine' object can't be awaited",
        ],
        "`with double(3): pass`": ["TypeError", f"'int' object {NO_EXIT}"],
        "`with ticks(3): pass`": [
            "TypeError",
            f"'tworoutine._core.SyncGenerator' object {NO_EXIT}",
        ],
        "`with upside_down(1): pass`": [
            "TypeError",
            f"'contextlib._AsyncGeneratorContextManager' object {NO_EXIT} but "
            "it supports the asynchronous context manager protocol. Did you "
            "mean to use 'async with'?",
        ],
        "`with opened: pass`": [
            "TypeError",
            f"'tworoutine.tworoutine' object {NO_EXIT}",
        ],
        "`asyncio.run(double(1))`, without a loop": [
            "TypeError",
            "An asyncio.Future, a coroutine or an awaitable is required",
        ],
        "`pickle.dumps(tworoutine(lambda: double(1)))`": [
            "PicklingError",
            "Can't pickle <function <lambda> at 0x...>: it's not found as "
            "example.<lambda>",
        ],
    }
if sys.version_info >= (3, 15):
    OTHER_WORDS["`wait(Broken())`"] = [
        "TypeError",
        "example.Broken.__await__() must return an iterator, not int",
    ]


class Line(NamedTuple):
    """A line of a table."""

    what: str
    error: str
    message: str

    @property
    def code(self):
        found = re.fullmatch(
            r"`([^`]+)`(, (not )?in a \w+|, without a loop)?", self.what
        )
        return found and found[1]

    def is_at(self, place):
        _, _, where = self.what.rpartition("`, ")
        is_task = place.name.endswith("task")
        return {
            "without a loop": not place.in_loop,
            "in a loop": place.in_loop,
            "in a task": is_task,
            "not in a task": not is_task,
        }.get(where, True)


def read_lines():
    for text in DOC.read_text().splitlines():
        if not text.startswith("| ") or text.startswith("| what you write"):
            continue
        what, error, message = text[2:-2].split(" | ")
        raised = [error.strip("`"), message.strip("`")]
        yield Line(what, *OTHER_WORDS.get(what, raised))


LINES = list(read_lines())


def words(exc):
    """What exc says, without what differs from run to run."""
    text = re.sub(r" at 0x[0-9a-f]+", " at 0x...", str(exc))
    text = re.sub(r" debug=(True|False)", " debug=False", text)
    for kind in ("Task", "Future"):
        text = _without_details(text, f"<{kind} ")
    return text


def _without_details(text, start):
    """`<Task pending name=... coro=<f() running> ...>` as `<Task ...>`."""
    result = ""
    before, found, after = text.partition(start)
    while found:
        depth = end = 0
        while depth >= 0:
            depth += {"<": 1, ">": -1}.get(after[end], 0)
            end += 1
        result += f"{before}{start}...>"
        before, found, after = after[end:].partition(start)
    return result + before


@pytest.fixture
def example(monkeypatch):
    """The module of which the page speaks."""
    module = types.ModuleType("example")
    # It has none, and from 3.15 on linecache wants a loader of one that is.
    del module.__spec__
    monkeypatch.setitem(sys.modules, "example", module)
    exec(compile(DEFINITIONS, "example.py", "exec"), vars(module))
    yield module
    module.stray.get_loop().close()


def run(code, example):
    """Run a line; one with `await` or `async` inside a coroutine."""
    if re.search(r"\b(await|async) ", code):
        exec(f"async def main():\n    {code}", vars(example))
        await_(example.main())
    else:
        exec(code, vars(example))


@tworoutine
async def pending_tasks():
    return asyncio.all_tasks() - {asyncio.current_task()}


def check(line, fn, good_call):
    """fn raises what the line says, and leaves nothing behind."""
    before = pending_tasks()
    with pytest.raises(ERRORS[line.error]) as caught:
        fn()
    assert words(caught.value) == line.message
    assert type(caught.value) is ERRORS[line.error]
    del caught
    gc.collect()  # what was never awaited would say so, and fail the test
    assert pending_tasks() == before
    assert good_call() == 42


# --- lines that are code ----------------------------------------------------


@pytest.mark.parametrize(
    ("line", "place"),
    [
        pytest.param(line, place, id=f"{line.what}-{place.name}")
        for line in LINES
        for place in PLACES
        if line.code and line.is_at(place)
    ],
)
def test_code(line, place, example):
    place(
        lambda: check(
            line, lambda: run(line.code, example), lambda: example.double(21)
        )
    )


# --- lines that are sentences -----------------------------------------------

# What a line says -> a function that takes the module, and maybe `program`,
# and returns what was raised, as (type, words).
SENTENCES = {}


def sentence(what):
    def register(function):
        SENTENCES[what] = function
        return function

    return register


def raised(fn):
    try:
        fn()
    except Exception as exc:
        return type(exc).__name__, words(exc)
    return None


def in_loop(fn, loop_factory=None):
    """What fn raises in a task of a loop, which goes on undisturbed."""

    async def main():
        before = asyncio.all_tasks()
        result = raised(fn)
        gc.collect()
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == before
        return result

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        return runner.run(main())


def uvloop():
    module = pytest.importorskip("uvloop", reason="needs uvloop")
    return module.new_event_loop


@sentence("`double.map([1], progress=True)`, without tqdm")
def no_tqdm(example, monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    return raised(lambda: example.double.map([1], progress=True))


@pytest.fixture
def applied(example):
    example.nested.apply()
    yield
    example.nested.undo()


@sentence("`asyncio.run(5)` after `nested.apply()`, in a loop")
def nested_run_of_nothing(applied):
    return in_loop(lambda: asyncio.run(5))


@sentence(
    "`asyncio.run((~double)(1))` after `nested.apply()`, in a task of uvloop"
)
def nested_run_in_uvloop(applied, example):
    return in_loop(lambda: asyncio.run((~example.double)(1)), uvloop())


@sentence(
    "`run_until_complete()` after `nested.apply()`, of a loop further out, in "
    "one whose selector is none that another loop can wait for"
)
def nested_run_further_out(applied, example):
    async def main():
        async def inner():
            coro = (~example.double)(1)
            return raised(lambda: loop.run_until_complete(coro))

        loop, selector = asyncio.get_running_loop(), selectors.SelectSelector()
        with contextlib.closing(asyncio.SelectorEventLoop(selector)) as other:
            return other.run_until_complete(inner())

    return asyncio.run(main())


# Homes: `blocks` is a function of example.py, in its line 1.
BLOCKS = "def blocks(wait): wait()"


@pytest.fixture
def thread():
    with package.LoopThread("mine") as it:
        yield it


@sentence("`close()` of a `LoopThread`, called in its own thread")
def closed_in_its_own_thread(thread):
    async def close():
        return raised(thread.close)

    return tworoutine(close, home=thread)()


@sentence("`home(a)` is left where `home(b)` was entered later")
def home_left_in_disorder(thread):
    a, b = package.home(thread), package.home(thread)
    with b:
        pass
    with a, b:
        return raised(lambda: a.__exit__(None, None, None))


OF_PARENT = """
import asyncio, os, warnings
from tworoutine import LoopThread, tworoutine

warnings.simplefilter("ignore", DeprecationWarning)  # fork beside threads

@tworoutine(home=LoopThread())
async def loop():
    return asyncio.get_running_loop()

parents = loop()
if os.fork() == 0:
    try:
        loop.at(parents)()
    except Exception as exc:
        print(type(exc).__name__, exc, sep="|", flush=True)
    os._exit(0)
os.wait()
"""


@sentence("a call whose home is a loop of the parent process")
def home_of_parent(program):
    name, _, text = program(OF_PARENT, flags=()).strip().partition("|")
    return name, text


@sentence("a call whose home is closed while the call waits")
def home_closed_meanwhile(example):
    loop, waits = asyncio.new_event_loop(), threading.Event()

    def run():
        loop.run_forever()
        for task in asyncio.all_tasks(loop):
            task._log_destroy_pending = False
        loop.close()

    async def hold():
        waits.set()
        loop.call_soon(loop.stop)
        await asyncio.sleep(600)

    running = threading.Event()
    loop.call_soon(running.set)
    runner = threading.Thread(target=run)
    runner.start()
    assert running.wait(60)
    result = raised(tworoutine(hold, home=loop))
    runner.join()
    assert waits.is_set()
    return result


@sentence(
    "a call whose home runs in the same thread, with another loop inside it"
)
def home_further_out(example):
    results = []
    outer, inner = asyncio.new_event_loop(), asyncio.new_event_loop()

    async def call():
        results.append(raised(lambda: example.double.at(outer)(1)))

    def callback():
        asyncio._set_running_loop(None)
        inner.run_until_complete(call())
        asyncio._set_running_loop(outer)
        outer.stop()

    outer.call_soon(callback)
    outer.run_forever()
    outer.close()
    inner.close()
    return results[0]


@sentence("a call in a task of trio, below a portal")
def home_in_trio(example, thread):
    trio = pytest.importorskip("trio", reason="needs trio")

    async def main():
        return raised(lambda: example.double.at(thread)(1))

    return trio.run(package.portal(main))


PATCHED = """
import gevent.monkey
gevent.monkey.patch_all()
from tworoutine import LoopThread, tworoutine

@tworoutine
async def double(x):
    return 2 * x

try:
    double.at(LoopThread("mine"))(1)
except Exception as exc:
    print(type(exc).__name__, exc, sep="|")
"""


@sentence(
    '`double.at(LoopThread("mine"))(1)` after gevent\'s `monkey.patch_all()`'
)
def home_beside_gevent(program):
    pytest.importorskip("gevent", reason="needs gevent")
    name, _, text = program(PATCHED, flags=()).strip().partition("|")
    return name, text


@pytest.fixture
def impatient(monkeypatch):
    from tworoutine import _homes

    monkeypatch.setattr(_homes, "PAUSE", 0.01)
    return _homes


@sentence("a call whose home waits for the thread that makes the call")
def home_waits_for_us(example, thread, impatient):
    results = []
    exec(compile(BLOCKS, "example.py", "exec"), vars(example))
    worker = threading.Thread(
        target=lambda: results.append(
            raised(lambda: example.double.at(thread)(1))
        )
    )

    async def block():
        worker.start()
        example.blocks(worker.join)

    tworoutine(block, home=thread)()
    return results[0]


@sentence("a call whose home has not answered for a minute")
def home_does_not_answer(example, thread, impatient, monkeypatch):
    exec(compile(BLOCKS, "example.py", "exec"), vars(example))
    go_on, clock = threading.Event(), [0, 60]
    blocks = threading.Event()

    async def block():
        blocks.set()
        example.blocks(go_on.wait)

    monkeypatch.setattr(impatient, "PATIENCE", 59)
    monkeypatch.setattr(
        impatient,
        "time",
        types.SimpleNamespace(monotonic=lambda: clock.pop(0)),
    )
    # Nobody waits for this one by our means.
    asyncio.run_coroutine_threadsafe(block(), thread.loop)
    assert blocks.wait(60)
    try:
        return raised(lambda: example.double.at(thread)(1))
    finally:
        go_on.set()


@sentence("a coroutine that a task awaits already, to `await_`")
def awaited_already(example):
    async def main():
        coro = (~example.double)(21)
        task = asyncio.ensure_future(coro)
        await asyncio.sleep(0)
        result = raised(lambda: await_(coro))
        assert await task == 42
        return result

    return asyncio.run(main())


@sentence("a coroutine that calls `await_` on itself")
def awaits_itself(example):
    async def double():
        return raised(lambda: await_(coro))

    double.__qualname__ = "double.aio"
    coro = double()
    return await_(coro)


@sentence("`double(1)` in a task of uvloop")
def in_uvloop(example):
    return in_loop(lambda: example.double(1), uvloop())


@sentence(
    "`double(1)` below a portal of uvloop, in a task made past its task "
    "factory"
)
def past_the_factory(example):
    async def call():
        return raised(lambda: example.double(1))

    async def main():
        return await asyncio.Task(call(), loop=asyncio.get_running_loop())

    with asyncio.Runner(loop_factory=uvloop()) as runner:
        return runner.run(package.portal(main)())


@sentence(
    "`double(1)` in the first step of an eager task, below a portal that no "
    "task steps"
)
def eager_past_the_factory(example):
    if sys.version_info < (3, 12):
        pytest.skip("no eager tasks before 3.12")

    async def call():
        return raised(lambda: example.double(1))

    async def main():
        loop = asyncio.get_running_loop()
        task = asyncio.Task(call(), loop=loop, eager_start=True)
        return task.result()

    def step():
        try:
            package.portal(main)().send(None)
        except StopIteration as exc:
            return exc.value

    async def by_callback():
        loop = asyncio.get_running_loop()
        result = loop.create_future()
        loop.call_soon(lambda: result.set_result(step()))
        return await result

    return asyncio.run(by_callback())


@sentence("`await_((~double)(1))` in a task of uvloop")
def await_in_uvloop(example):
    return in_loop(lambda: await_((~example.double)(1)), uvloop())


@sentence("`list(ticks(3))` in a task of uvloop")
def ticks_in_uvloop(example):
    return in_loop(lambda: list(example.ticks(3)), uvloop())


@sentence("`double(1)` in a plain callback of uvloop, in any case")
def in_a_callback_of_uvloop(example):
    async def main():
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        loop.call_soon(
            lambda: done.set_result(raised(lambda: example.double(1)))
        )
        return await done

    return package.run(main(), loop_factory=uvloop())


NESTS = """
import asyncio, nest_asyncio, tworoutine

@tworoutine.tworoutine
async def double(x):
    return 2 * x

nest_asyncio.apply()

def callback():
    try:
        double(1)
    except Exception as exc:
        print(type(exc).__name__, exc, sep="|")

loop = asyncio.get_event_loop()
loop.call_soon(callback)
asyncio._set_running_loop(loop)
loop._run_once()
"""


@sentence(
    "`double(1)` in a loop whose `_run_once` somebody calls after "
    "`nest_asyncio.apply()`"
)
def in_a_patched_loop(program):
    # It cannot be undone, and asyncio deprecates what it does.
    pytest.importorskip("nest_asyncio", reason="needs nest_asyncio")
    name, _, text = program(NESTS, flags=()).strip().partition("|")
    return name, text


@sentence("`double(1)` in a loop that has a `_run_once` of its own")
def in_a_loop_of_another_kind(example):
    class Loop(asyncio.SelectorEventLoop):
        def _run_once(self):
            super()._run_once()

    Loop.__module__, Loop.__qualname__ = "example", "Loop"
    return in_loop(lambda: example.double(1), Loop)


@sentence("`double(1)` in a task of trio")
def in_trio(example):
    trio = pytest.importorskip("trio", reason="needs trio")

    async def main():
        return raised(lambda: example.double(1))

    return trio.run(main)


@sentence("`double(1)` in a task of curio")
def in_curio(example):
    if sys.version_info >= (3, 12):
        pytest.skip("curio 1.6 cannot be imported by Python 3.12")
    curio = pytest.importorskip("curio", reason="needs curio")

    async def main():
        return raised(lambda: example.double(1))

    return curio.run(main)


@sentence(
    "`double(1)` in a greenlet that a step of the loop switched to, where "
    "SQLAlchemy's asyncio is loaded"
)
def in_a_greenlet(example):
    import greenlet

    pytest.importorskip("sqlalchemy.ext.asyncio")

    return in_loop(greenlet.greenlet(lambda: example.double(1)).switch)


@sentence(
    "`double(1)` in a callback of a loop whose `_run_once` somebody calls in "
    "place of `run_forever`"
)
def in_a_loop_turned_by_hand(example):
    results = []
    loop = asyncio.new_event_loop()
    loop.call_soon(lambda: results.append(raised(lambda: example.double(1))))
    asyncio._set_running_loop(loop)
    try:
        loop._run_once()
    finally:
        asyncio._set_running_loop(None)
        loop.close()
    return results[0]


class Selector(selectors.DefaultSelector):
    """Calls what stands in `meanwhile` while the loop polls."""

    def __init__(self):
        super().__init__()
        self.meanwhile = []

    def select(self, timeout=None):
        if self.meanwhile:
            self.meanwhile.pop()()
        return super().select(timeout)


def while_polling(example, make_call):
    """What double(1) raises if make_call(it) calls it while a loop polls: one
    that runs by itself, and one in which a call waits."""
    results = []
    selector = Selector()

    def double():
        results.append(raised(lambda: example.double(1)))

    async def main():
        selector.meanwhile.append(lambda: make_call(double))
        await asyncio.sleep(0.001)
        selector.meanwhile.append(lambda: make_call(double))
        example.wait(asyncio.sleep(0.001))

    with asyncio.Runner(
        loop_factory=lambda: asyncio.SelectorEventLoop(selector)
    ) as runner:
        runner.run(main())
    assert results[0] == results[1]
    return results[0]


@sentence("`double(1)` in a signal handler, while the loop polls")
def in_a_signal_handler(example):
    def make_call(double):
        old = signal.signal(signal.SIGUSR1, lambda *_: double())
        signal.raise_signal(signal.SIGUSR1)
        signal.signal(signal.SIGUSR1, old)

    return while_polling(example, make_call)


@sentence("`double(1)` in a `__del__`, while the loop polls")
def in_a_finalizer(example):
    class Cycle:
        def __init__(self, double):
            self.double, self.me = double, self

        def __del__(self):
            self.double()

    def make_call(double):
        Cycle(double)
        gc.collect()

    return while_polling(example, make_call)


def beside_a_call_that_waits(example, fn):
    """What fn(loop) returns in a task, where no loop seems to run, while a
    call waits in another task."""

    async def waits(future):
        example.wait(future)

    async def main():
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        task = asyncio.ensure_future(waits(future))
        await asyncio.sleep(0)
        asyncio._set_running_loop(None)
        try:
            return fn()
        finally:
            asyncio._set_running_loop(loop)
            future.set_result(None)
            await task

    return asyncio.run(main())


@sentence(
    "`double(1)` where somebody has hidden the running loop, while another "
    "call waits in it"
)
def in_a_hidden_loop(example):
    return beside_a_call_that_waits(
        example, lambda: raised(lambda: example.double(1))
    )


@sentence(
    "`double(1)` in the `finally` of a call that waited when its loop was "
    "closed"
)
def in_a_closed_loop(example):
    errors = []

    async def waits():
        try:
            example.wait(asyncio.Event().wait())
        finally:
            errors.append(raised(lambda: example.double(1)))

    async def main(loop):
        example.double(1)
        loop.task = asyncio.ensure_future(waits())
        await asyncio.sleep(0)

    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda loop, context: None)
    loop.run_until_complete(main(loop))
    loop.close()
    example.double(1)  # in another one
    return errors[0]


@sentence(
    "`double(1)` in a loop that somebody runs inside another one, while "
    "another call waits in that"
)
def in_an_inner_loop(example):
    if sys.version_info >= (3, 14):
        pytest.skip("asyncio of 3.14 steps no task below another one")
    return beside_a_call_that_waits(
        example, lambda: in_loop(lambda: example.double(1))
    )


AT_THE_END = """
class Last:
    def __init__(self, call, print=print):
        self.call, self.print = call, print

    def __del__(self):
        try:
            self.call()
        except Exception as exc:
            self.print(type(exc).__name__)
            self.print(exc)

double(1)
"""


def program_of(program, source):
    """The two lines that source prints after the definitions."""
    definitions = f"{DEFINITIONS}\nstray.get_loop().close()\n"
    error, message = program(definitions + source).splitlines()
    return error, words(message)


@sentence("`double(1)` in a `__del__` at the very end of the interpreter")
def at_the_end(program):
    return program_of(
        program, AT_THE_END + "last = Last(lambda f=double: f(1))"
    )


@sentence(
    "`await_((~double)(1))` in a `__del__` at the very end of the interpreter"
)
def await_at_the_end(program):
    return program_of(
        program,
        AT_THE_END + "last = Last(lambda f=~double, w=await_: w(f(1)))",
    )


@sentence(
    "`double(1)` as the greenlets of this thread are ended, in a trace "
    "function of greenlet's"
)
def as_greenlets_end(program):
    return program_of(
        program,
        """
import greenlet
from tworoutine import _core

said = []

def trace(event, args):
    if not said:
        said.append(event)
        try:
            double(1)
        except Exception as exc:
            print(type(exc).__name__)
            print(exc)

double(1)
greenlet.settrace(trace)
_core.end_thread()
greenlet.settrace(None)
""",
    )


@sentence("a call that goes on waiting in a forked child")
def in_a_forked_child(program):
    return program_of(
        program,
        """
import os, sys

@tworoutine
async def double(x):
    await asyncio.sleep(0)
    child = os.fork()
    if child:
        assert os.waitpid(child, 0)[1] == 0
        return 2 * x
    await asyncio.sleep(0)

async def main():
    try:
        double(1)
    except Exception as exc:
        print(type(exc).__name__)
        print(exc)
        sys.stdout.flush()
        os._exit(0)

asyncio.run(main())
""",
    )


def test_every_sentence_has_a_test():
    sentences = [line.what for line in LINES if not line.code]
    assert sorted(sentences) == sorted(SENTENCES)


@pytest.mark.parametrize(
    "line",
    [line for line in LINES if not line.code],
    ids=lambda line: line.what,
)
def test_sentence(line, request):
    function = SENTENCES[line.what]
    if os.environ.get("TWR_HARD") and function is as_greenlets_end:
        pytest.skip("the hard build switches before, as the loop is closed")
    fixtures = [
        request.getfixturevalue(name)
        for name in inspect.signature(function).parameters
    ]
    assert function(*fixtures) == (line.error, line.message)
    gc.collect()
    assert await_(asyncio.sleep(0, 42)) == 42


# --- what a refusal leaves alone --------------------------------------------


class OtherLoop(asyncio.SelectorEventLoop):
    """One in which calls are refused."""

    def _run_once(self):
        super()._run_once()


def run_refusing(main):
    with asyncio.Runner(loop_factory=OtherLoop) as runner:
        return runner.run(main)


def test_a_coroutine_that_somebody_else_awaits_is_not_closed():
    ended = []

    async def work():
        try:
            await asyncio.sleep(0.001)
        finally:
            ended.append("finally")
        return 5

    async def main():
        coro = work()
        task = asyncio.ensure_future(coro)
        await asyncio.sleep(0)
        with pytest.raises(CannotSuspend):
            await_(coro)
        assert ended == []
        return await asyncio.wait_for(task, 5)

    assert run_refusing(main()) == 5


def test_an_object_that_can_be_awaited_and_closed_is_not_closed():
    class Connection:
        closed = False

        def __await__(self):
            return asyncio.sleep(0).__await__()

        def close(self):
            self.closed = True

    async def main():
        connection = Connection()
        with pytest.raises(CannotSuspend):
            await_(connection)
        assert not connection.closed

    run_refusing(main())


def test_a_generator_that_has_begun_can_go_on_elsewhere(example):
    steps = example.ticks(3)

    async def main():
        with pytest.raises(CannotSuspend):
            next(steps)

    assert next(steps) == 0
    run_refusing(main())
    assert list(steps) == [1, 2]


def test_a_refused_call_has_not_begun():
    selector = Selector()
    begun = []

    @tworoutine
    async def begins():
        begun.append("a step")
        await asyncio.sleep(0)
        begun.append("another")

    def refused():
        with pytest.raises(CannotSuspend):
            begins()
        begun.append("refused")

    async def main():
        selector.meanwhile.append(refused)
        await asyncio.sleep(0.001)
        await asyncio.sleep(0)

    with asyncio.Runner(
        loop_factory=lambda: asyncio.SelectorEventLoop(selector)
    ) as runner:
        runner.run(main())
    assert begun == ["refused"]


def test_the_synchronous_objects_do_not_look_asynchronous(example):
    for made in (example.ticks(1), example.opened(1)):
        assert not isinstance(made, AsyncIterable)
        assert not isinstance(made, AbstractAsyncContextManager)
        assert not inspect.isawaitable(made)
        for name in ("aiter", "anext", "await", "aenter", "aexit"):
            assert not hasattr(made, f"__{name}__")


def test_anext_with_a_default_says_the_same(example):
    ticks = example.ticks

    async def main():
        with pytest.raises(TypeError, match="write await anext") as said:
            await anext(ticks(3), None)
        with pytest.raises(TypeError) as plain:
            await anext(ticks(3))
        assert str(said.value) == str(plain.value)
        return True

    assert asyncio.run(main())


def test_a_closed_loop_that_is_set_is_passed_over(example):
    closed = asyncio.new_event_loop()
    closed.close()
    asyncio.set_event_loop(closed)
    try:
        assert example.double(21) == 42
    finally:
        asyncio.set_event_loop(None)


async def open_connection():
    ended = asyncio.Event()

    async def echo(reader, writer):
        writer.write(await reader.readline())
        writer.close()
        await writer.wait_closed()
        ended.set()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    address = server.sockets[0].getsockname()
    reader, writer = await asyncio.open_connection(*address)
    return reader, writer, server, ended


@tworoutine
async def read(reader):
    return await reader.readline()


@tworoutine
async def read_and_fail(reader):
    try:
        return await reader.readline()
    except RuntimeError:
        raise OSError("no connection") from None


@tworoutine
async def take(queue):
    return await asyncio.wait_for(queue.get(), 0.001)


@tworoutine
async def close(reader, writer, server, ended):
    writer.close()
    await writer.wait_closed()
    await ended.wait()
    server.close()
    await server.wait_closed()


def notes_in_the_docs():
    """In a loop that runs; with no calls outside; the first, in vain;
    without a loop.
    """
    quotes = re.findall(r"(?:^> .*\n)+", DOC.read_text(), re.M)
    return [" ".join(re.sub("^> ", "", q, flags=re.M).split()) for q in quotes]


def note_of(fn, *args, error=RuntimeError):
    """The note that fn(*args) raises, on the error or what it came of."""
    with pytest.raises(error) as caught:
        fn(*args)
    exc = caught.value
    while exc is not None and not hasattr(exc, "__notes__"):
        exc = exc.__context__
    assert exc is not None, "no note"
    (note,) = exc.__notes__
    return note.replace(repr(fn), "double(...)")


def test_whose_the_two_loops_are():
    inside, _, _, outside = notes_in_the_docs()
    opened = await_(open_connection())
    queue = asyncio.Queue()
    with pytest.raises(TimeoutError):
        take(queue)

    async def main():
        assert note_of(read, opened[0]) == inside
        assert note_of(take, queue) == inside
        assert note_of(read_and_fail, opened[0], error=OSError) == inside
        # The inner one of two calls is named.
        outer = tworoutine(tworoutine(nested).aio)
        assert note_of(outer) == inside.replace("double(...)", repr(read))

    async def nested():
        return read(opened[0])

    async def callback():
        done = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(
            lambda: done.set_result(note_of(read, opened[0]))
        )
        assert await done == inside

    asyncio.run(main())
    asyncio.run(callback())
    notes = []
    thread = threading.Thread(
        target=lambda: notes.append(note_of(read, opened[0]))
    )
    thread.start()
    thread.join()
    assert notes == [outside]
    close(*opened)


TWO_RUNS = """
import asyncio, threading
from tworoutine import tworoutine

@tworoutine
async def double(queue):
    await asyncio.wait_for(queue.get(), 0.001)

async def make():
    queue = asyncio.Queue()
    try:
        double(queue)
    except TimeoutError:
        return queue

async def use(queue):
    try:
        double(queue)
    except RuntimeError as exc:
        print(*exc.__notes__)

queue = asyncio.run(make())
thread = threading.Thread(target=lambda: asyncio.run(use(queue)))
thread.start()
thread.join()
"""


def test_whose_the_two_loops_are_without_calls_outside(program):
    _, other, _, _ = notes_in_the_docs()
    note = program(TWO_RUNS).strip()
    assert re.sub("^<.*?> waits", "double(...) waits", note) == other


class Client:
    """Hears from its own loop alone, as aiomqtt does, and from a thread."""

    def __init__(self):
        self.loop = asyncio.get_running_loop()

    async def ask(self, error=TimeoutError):
        answered = asyncio.Event()
        self.loop.call_soon_threadsafe(answered.set)
        try:
            await asyncio.wait_for(answered.wait(), 0.2)
        except TimeoutError:
            raise error from None


@tworoutine
async def connect():
    return Client()


def test_a_wait_in_vain_for_the_other_loop():
    _, _, vain, _ = notes_in_the_docs()
    client = connect()
    ask = tworoutine(client.ask)

    async def main():
        assert note_of(ask, error=TimeoutError) == vain
        assert note_of(ask, OSError, error=OSError) == vain

    async def callback():
        done = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(
            lambda: done.set_result(note_of(ask, error=TimeoutError))
        )
        assert await done == vain

    async def no_answer():
        with pytest.raises(TimeoutError) as caught:
            take(asyncio.Queue())
        assert not hasattr(caught.value, "__notes__")

    ask()
    asyncio.run(no_answer())
    asyncio.run(main())
    asyncio.run(callback())
    ask()
    asyncio.run(no_answer())


def test_no_note_where_only_one_loop_is_there(place):
    async def fails():
        raise RuntimeError("some connection is attached to a different host")

    def call():
        with pytest.raises(RuntimeError) as caught:
            await_(fails())
        return caught.value

    assert not hasattr(place(call), "__notes__")
