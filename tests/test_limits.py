"""What docs/limits.md says, where no other file tests it."""

import asyncio
import contextlib
import contextvars
import cProfile
import ctypes
import functools
import gc
import io
import json
import linecache
import logging
import pathlib
import pstats
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import types
import warnings

import pytest

from tworoutine import await_, tworoutine

HERE = pathlib.Path(__file__).parent
PAGE = (HERE.parent / "docs" / "limits.md").read_text()


@tworoutine
async def nap(seconds=0.001):
    await asyncio.sleep(seconds)
    return seconds


def meanwhile(waits, other):
    """[what waits() returns or raises, the same of other()]: two functions,
    each in a task.  other runs while waits, which makes a call, waits."""

    async def task(fn):
        return fn()

    async def main():
        first = asyncio.create_task(task(waits))
        await asyncio.sleep(0)
        second = asyncio.create_task(task(other))
        return await asyncio.gather(first, second, return_exceptions=True)

    return asyncio.run(main())


# --- the page ---------------------------------------------------------------


def test_every_test_that_the_page_names_exists_and_none_is_missing():
    named = set(re.findall(r"`(test_\w+)`", PAGE))
    sources = {path: path.read_text() for path in HERE.glob("test_*.py")}
    existing = {
        name
        for source in sources.values()
        for name in re.findall(r"^def (test_\w+)", source, re.MULTILINE)
    }
    here = sources[pathlib.Path(__file__)]
    ours = set(re.findall(r"^def (test_\w+)", here, re.MULTILINE))
    ours -= {"test_every_test_that_the_page_names_exists_and_none_is_missing"}
    assert named <= existing
    assert ours <= named


# --- others run meanwhile ---------------------------------------------------


def test_what_was_read_before_a_call_may_have_changed_after_it():
    account = {"balance": 100}

    def pay(amount):
        balance = account["balance"]
        nap()
        account["balance"] = balance - amount

    meanwhile(lambda: pay(10), lambda: pay(20))
    assert account["balance"] == 80  # and not 70


def test_code_that_computes_holds_the_loop_up():
    async def main():
        ran = []
        asyncio.get_running_loop().call_soon(ran.append, 1)
        time.sleep(0.01)
        before = list(ran)
        nap()
        return before, ran

    assert asyncio.run(main()) == ([], [1])


# --- locks ------------------------------------------------------------------


def test_a_lock_of_a_thread_is_held_while_others_run():
    lock, rlock = threading.Lock(), threading.RLock()

    def holds():
        with lock, rlock:
            nap()

    def wants():
        with contextlib.ExitStack() as stack:
            if again := rlock.acquire(blocking=False):
                stack.callback(rlock.release)
            # Waiting for it would stop the loop, and so its holder, for ever.
            return lock.acquire(blocking=False), again

    assert meanwhile(holds, wants) == [None, (False, True)]


def test_a_lock_of_asyncio_is_right():
    lock = asyncio.Lock()
    inside = []

    @tworoutine
    @contextlib.asynccontextmanager
    async def locked():
        async with lock:
            yield

    def use(name):
        with locked():
            inside.append(name)
            nap()
            inside.append(name)

    meanwhile(lambda: use("a"), lambda: use("b"))
    assert inside == ["a", "a", "b", "b"]


# --- what belongs to the thread ---------------------------------------------


def test_what_belongs_to_the_thread_is_shared_by_its_tasks():
    local, out = threading.local(), io.StringIO()

    def sets():
        local.x = 1
        with contextlib.redirect_stdout(out), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            nap()

    def sees():
        print("from elsewhere")
        return local.x, warnings.filters[0][0]

    assert meanwhile(sets, sees) == [None, (1, "ignore")]
    assert out.getvalue() == "from elsewhere\n"


def test_a_context_variable_belongs_to_the_task():
    var = contextvars.ContextVar("var", default=0)

    def sets():
        var.set(1)
        nap()
        return var.get()

    assert meanwhile(sets, var.get) == [1, 0]


# --- code that is entered again ---------------------------------------------


def sort_a_list():
    items = [3, 1, 2]

    def key(x):
        nap()
        return x

    def other():
        items.append(9)
        return len(items)

    return lambda: items.sort(key=key), other


def iterate_over_a_dict():
    items = {1: 1, 2: 2}
    return lambda: [nap() for _ in items], lambda: items.update({3: 3})


def ask_a_generator():
    def generator():
        nap()
        yield 1

    made = generator()
    return lambda: next(made), lambda: next(made)


@pytest.mark.parametrize(
    ("make", "waits", "other"),
    [
        (
            sort_a_list,
            "ValueError: list modified during sort",
            "1",  # it looks empty meanwhile
        ),
        (
            iterate_over_a_dict,
            "RuntimeError: dictionary changed size during iteration",
            "None",
        ),
        (ask_a_generator, "1", "ValueError: generator already executing"),
    ],
)
def test_objects_that_notice_that_they_are_used_twice(make, waits, other):
    said = [
        f"{type(x).__name__}: {x}" if isinstance(x, Exception) else str(x)
        for x in meanwhile(*make())
    ]
    assert said == [waits, other]


@pytest.mark.parametrize("cache", [functools.cache, functools.cached_property])
def test_a_cache_is_filled_twice(cache):
    class Board:
        @cache
        def value(self):
            nap()
            return object()

    board = Board()

    def ask():
        value = board.value
        return value() if callable(value) else value

    first, second = meanwhile(ask, ask)
    assert first is not second


def test_a_logging_handler_is_entered_twice_in_spite_of_its_lock():
    class Handler(logging.Handler):
        inside = most = 0

        def emit(self, record):
            self.inside += 1
            self.most = max(self.most, self.inside)
            nap()
            self.inside -= 1

    handler = Handler()
    logger = logging.Logger("limits")
    logger.addHandler(handler)
    meanwhile(lambda: logger.error("a"), lambda: logger.error("b"))
    assert handler.most == 2


def test_a_module_whose_import_waits_is_seen_half_made(tmp_path, monkeypatch):
    (tmp_path / "half_made.py").write_text(
        "first = 1\nimport naps\nnaps.nap()\nsecond = 2\n"
    )
    naps = types.ModuleType("naps")
    naps.nap = nap
    monkeypatch.setitem(sys.modules, "naps", naps)
    monkeypatch.syspath_prepend(str(tmp_path))

    def use():
        import half_made

        return hasattr(half_made, "second")

    assert meanwhile(use, use) == [True, False]
    del sys.modules["half_made"]


# --- exceptions below C code ------------------------------------------------


def cancelled_in(fn):
    """What fn() returns or raises in a task that is cancelled while it waits;
    and how many cancels the task knows of then."""

    async def main():
        task = asyncio.current_task()
        asyncio.get_running_loop().call_later(0.001, task.cancel)
        try:
            result = fn()
        except BaseException as exc:
            result = f"{type(exc).__name__}: {exc}"
        return result, task.cancelling()

    return asyncio.run(main())


def test_sqlite_executes_other_statements_meanwhile():
    connection = sqlite3.connect(":memory:")
    connection.create_function("nap", 0, nap)
    with contextlib.closing(connection):
        assert meanwhile(
            lambda: connection.execute("select nap()").fetchone(),
            lambda: connection.execute("select 2").fetchone(),
        ) == [(0.001,), (2,)]


def test_sqlite_makes_another_error_of_a_cancel():
    connection = sqlite3.connect(":memory:")
    connection.create_function("nap", 0, lambda: nap(10))
    with contextlib.closing(connection):
        assert cancelled_in(lambda: connection.execute("select nap()")) == (
            "OperationalError: user-defined function raised exception",
            1,
        )


def test_ctypes_drops_a_cancel(monkeypatch):
    dropped = []
    monkeypatch.setattr(
        sys, "unraisablehook", lambda info: dropped.append(info.exc_type)
    )
    callback = ctypes.CFUNCTYPE(ctypes.c_int)(lambda: nap(10) or 1)
    result, count = cancelled_in(callback)
    assert isinstance(result, int)
    assert count == 1
    assert dropped == [asyncio.CancelledError]


def test_a_bare_except_drops_a_cancel():
    def careless():
        try:
            nap(10)
        except:  # noqa: E722
            return "went on"

    def careful():
        try:
            nap(10)
        except Exception:
            return "went on"

    assert cancelled_in(careless) == ("went on", 1)
    assert cancelled_in(careful) == ("CancelledError: ", 1)


# --- signals and finalizers -------------------------------------------------


def test_a_signal_handler_of_the_loop_may_wait():
    async def main():
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        loop.add_signal_handler(
            signal.SIGUSR1, lambda: done.set_result(nap(0.001))
        )
        signal.raise_signal(signal.SIGUSR1)
        try:
            return await done
        finally:
            loop.remove_signal_handler(signal.SIGUSR1)

    assert asyncio.run(main()) == 0.001


def test_a_signal_handler_that_waits_holds_up_the_code_it_interrupts():
    events = []

    def handler(*_):
        nap()
        events.append("handler")

    def interrupted():
        signal.raise_signal(signal.SIGUSR1)
        events.append("interrupted")

    old = signal.signal(signal.SIGUSR1, handler)
    try:
        meanwhile(interrupted, lambda: events.append("other task"))
    finally:
        signal.signal(signal.SIGUSR1, old)
    assert events == ["other task", "handler", "interrupted"]


def test_while_a_finalizer_waits_nothing_is_collected():
    class Cycle:
        def __init__(self):
            self.me = self

    class Waits(Cycle):
        def __del__(self):
            nap()

    def waits():
        Waits()
        gc.collect()

    def other():
        Cycle()
        return gc.collect()

    gc.collect()
    assert meanwhile(waits, other) == [None, 0]
    assert gc.collect() > 0


# --- looking at it ----------------------------------------------------------


def test_the_stack_of_a_task_in_a_call_ends_at_its_coroutine():
    out = io.StringIO()

    async def waits():
        below()

    def below():
        nap()

    async def main():
        task = asyncio.create_task(waits())
        await asyncio.sleep(0)
        task.print_stack(file=out)
        await task

    asyncio.run(main())
    assert out.getvalue().rstrip().endswith("in waits\n    below()")


def test_cprofile_counts_right_but_mixes_the_times_of_calls_that_overlap():
    now = [0]

    def first(future):
        await_(future)

    def second(future):
        await_(future)

    async def task(fn, future):
        fn(future)

    async def main():
        loop = asyncio.get_running_loop()
        tasks, futures = [], []
        for fn in (first, second):
            futures.append(loop.create_future())
            tasks.append(asyncio.create_task(task(fn, futures[-1])))
            await asyncio.sleep(0)
            now[0] += 1
        for future in futures:
            future.set_result(None)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            now[0] += 1
        await asyncio.gather(*tasks)

    profile = cProfile.Profile(lambda: now[0])
    profile.runcall(asyncio.run, main())
    calls, times = {}, {}
    for (_, _, name), entry in pstats.Stats(profile).stats.items():
        calls[name], times[name] = entry[1], entry[3]
    assert (calls["first"], calls["second"]) == (1, 1)
    assert (times["first"], times["second"]) != (2, 2)


def test_pdb_steps_over_a_call_while_others_go_on(tmp_path):
    program = tmp_path / "program.py"
    program.write_text("""
import asyncio
from tworoutine import tworoutine

@tworoutine
async def nap(x):
    for _ in range(5):
        await asyncio.sleep(0)
    return x

async def other():
    print("other runs")

def work():
    x = nap(7)
    print("x is", x)

async def main():
    task = asyncio.ensure_future(other())
    work()

asyncio.run(main())
""")
    ran = subprocess.run(
        [sys.executable, "-m", "pdb", program],
        input="b work\nc\nn\np x + 1\np nap(40) + 1\nc\nq\n",
        capture_output=True,
        text=True,
        timeout=90,
    )
    out = ran.stdout
    assert "-> x = nap(7)" in out, ran.stderr
    assert out.index("other runs") < out.index('-> print("x is", x)')
    assert "(Pdb) 8" in out
    assert "(Pdb) 41" in out
    assert "x is 7" in out


# --- threads and interpreters -----------------------------------------------


def test_a_thread_makes_calls_in_a_loop_of_its_own():
    async def main():
        loop = asyncio.get_running_loop()

        @tworoutine
        async def is_here():
            return asyncio.get_running_loop() is loop

        def in_a_thread():
            future = asyncio.run_coroutine_threadsafe((~is_here)(), loop)
            return is_here(), future.result()

        return is_here(), await asyncio.to_thread(in_a_thread)

    assert asyncio.run(main()) == (True, (False, True))


def test_a_future_of_another_threads_loop_is_refused():
    async def main():
        future = asyncio.get_running_loop().create_future()
        with pytest.raises(RuntimeError, match="a different loop"):
            await asyncio.to_thread(await_, future)

    asyncio.run(main())


def test_subinterpreters_are_refused(program):
    source = f"""
import sys
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters

code = '''
import sys
sys.path[:] = {sys.path!r}
try:
    import tworoutine._core
except ImportError as exc:
    print("refused", flush=True)
'''
if sys.version_info >= (3, 13):
    made = interpreters.create("legacy")
else:
    made = interpreters.create(isolated=False)
failed = interpreters.run_string(made, code)
interpreters.destroy(made)
"""
    assert program(source) == "refused\n"


# --- loops ------------------------------------------------------------------


def test_a_timeout_over_two_items_cuts_only_inside_a_loop():
    @tworoutine
    async def steps():
        async with asyncio.timeout(0.001):
            yield 1
            await asyncio.sleep(0.02)
            yield 2

    @tworoutine
    async def all_steps():
        return list(steps())

    assert list(steps()) == [1, 2]
    with pytest.raises(TimeoutError):
        all_steps()


def test_the_first_call_is_cancelled_once_and_may_clean_up():
    log = []

    async def background():
        try:
            nap(60)
        finally:
            for turn in range(3):
                nap(0)
                log.append(turn)

    async def main():
        task = asyncio.ensure_future(background())
        await asyncio.sleep(0)
        return task

    assert asyncio.run(main()).cancelled()
    assert log == [0, 1, 2]


def test_a_loop_that_is_to_stop_waits_without_cpu_for_the_first_call():
    turns = []

    class Loop(asyncio.SelectorEventLoop):
        def _process_events(self, events):
            turns.append(1)
            super()._process_events(events)

    async def background():
        try:
            nap(60)
        finally:
            del turns[:]
            nap(0.05)
            ended.append(len(turns))

    async def main():
        tasks.append(asyncio.ensure_future(background()))
        await asyncio.sleep(0)

    tasks, ended = [], []
    with (
        asyncio.Runner(loop_factory=Loop) as runner,
        pytest.warns(RuntimeWarning, match="is cancelled"),
    ):
        runner.run(main())
    (count,) = ended
    assert count < 10


@pytest.mark.parametrize("goes_on", [False, True])
@pytest.mark.parametrize("main_calls_first", [False, True])
def test_a_first_call_that_fails_as_the_loop_stops_is_told_of_then(
    main_calls_first, goes_on
):
    """Once, and as asyncio.run does of tasks that it has cancelled."""
    told, tasks = [], []

    async def background():
        try:
            nap(60)
        except asyncio.CancelledError:
            if not goes_on:
                raise KeyError("background") from None
        try:
            await asyncio.sleep(0.01)
        finally:
            raise KeyError("background")

    async def main():
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda loop, context: told.append(context))
        if main_calls_first:
            nap()
        tasks.append(asyncio.ensure_future(background()))
        await asyncio.sleep(0)

    asyncio.run(main())
    (task,) = tasks
    (context,) = told
    assert context == {
        "message": "unhandled exception during asyncio.run() shutdown",
        "exception": task.exception(),
        "task": task,
    }
    assert isinstance(task.exception(), KeyError)
    del task, tasks[:], told[0]["task"]
    gc.collect()
    assert len(told) == 1


def wait_below_tcl(*seconds):
    """Tasks, each of which waits below Tcl; in which order they end."""
    tkinter = pytest.importorskip("tkinter", reason="this Python lacks it")
    tcl = tkinter.Tcl()
    ended = []

    def command(text):
        nap(float(text))
        ended.append(float(text))

    async def evaluate(value):
        tcl.eval(f"wait {value}; set x {value}")

    async def main():
        nap()
        tasks = []
        for value in seconds:
            tasks.append(asyncio.ensure_future(evaluate(value)))
            await asyncio.sleep(0)
        await asyncio.gather(*tasks)

    tcl.createcommand("wait", command)
    asyncio.run(main())
    assert tcl.eval("expr 1+1") == "2"
    return ended


def test_commands_of_tcl_that_end_in_its_order():
    assert wait_below_tcl(0.04, 0.02, 0) == [0, 0.02, 0.04]


def test_a_command_of_tcl_begins_a_task():
    tkinter = pytest.importorskip("tkinter", reason="this Python lacks it")
    tcl = tkinter.Tcl()
    tasks = []

    def command(text):
        loop = asyncio.get_running_loop()
        tasks.append(loop.create_task((~nap)(float(text))))

    async def main():
        nap()
        tcl.eval("begin 0; begin 0.02")
        tcl.eval("begin 0.01")
        await asyncio.gather(*tasks)

    tcl.createcommand("begin", command)
    asyncio.run(main())
    assert len(tasks) == 3


def test_a_serializer_of_pydantic_makes_another_error_of_a_cancel():
    pydantic = pytest.importorskip("pydantic")

    class Model(pydantic.BaseModel):
        x: int

        @pydantic.field_serializer("x")
        def serialize(self, x):
            nap(60)
            return x

        @pydantic.field_validator("x")
        def validate(cls, x):
            if x == 2:
                nap(60)
            return x

    async def cancelled(fn):
        async def work():
            return fn()

        task = asyncio.ensure_future(work())
        await asyncio.sleep(0.001)
        task.cancel()
        await asyncio.wait([task])
        return task

    async def main():
        model = Model(x=1)
        nap()
        task = await cancelled(model.model_dump_json)
        assert "PydanticSerializationError" in repr(task.exception())
        assert task.cancelling() == 1
        task = await cancelled(lambda: Model(x=2))
        assert task.cancelled()

    asyncio.run(main())


@pytest.mark.skipif(
    sys.version_info < (3, 14), reason="no call graphs before 3.14"
)
def test_the_call_graph_ends_at_the_outermost_coroutine():
    def names(task):
        graph = asyncio.capture_call_graph(task)
        return [entry.frame.f_code.co_name for entry in graph.call_stack]

    async def background():
        inner()

    def inner():
        nap(60)

    async def main():
        nap()
        task = asyncio.ensure_future(background())
        await asyncio.sleep(0.001)
        found = names(task)
        task.cancel()
        return found

    assert asyncio.run(main()) == ["background"]


@pytest.mark.parametrize("main_calls_first", [False, True])
def test_the_first_call_of_a_loop_is_cancelled_when_the_loop_stops(
    main_calls_first,
):
    ended = []

    async def background():
        try:
            nap(10)
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    async def main():
        if main_calls_first:
            nap()
        task = asyncio.ensure_future(background())
        await asyncio.sleep(0.001)
        return task

    async def end(task):
        task.cancel()
        await asyncio.wait([task])

    loop = asyncio.new_event_loop()
    with contextlib.closing(loop), warnings.catch_warnings(record=True) as got:
        warnings.simplefilter("always")
        task = loop.run_until_complete(main())
        assert ended == ([] if main_calls_first else ["cancelled"])
        if not main_calls_first:
            (warning,) = got
            assert re.match(
                r"Task-\d+, of .*background\(\), is cancelled: its loop stops "
                r"while <tworoutine .*nap\(\.\.\.\).*> waits in it, in the "
                "step that made the first call ever made in that loop; make "
                "another call in the loop "
                "before this task begins$",
                str(warning.message),
            )
            assert warning.category is RuntimeWarning
            assert warning.filename == __file__
            line = linecache.getline(__file__, warning.lineno)
            assert line.strip() == "nap(10)"
        loop.run_until_complete(end(task))
    assert ended == ["cancelled"]


COVERED = """
import asyncio
import sys
from tworoutine import tworoutine

ran = set()

def note():  # a second opinion
    ran.add(sys._getframe(1).f_lineno)

@tworoutine
async def fetch(x):
    await asyncio.sleep(0.001 * (x % 7)); note()
    return x + 1

def middle(x):
    a = fetch(x); note()
    b = sorted([3, 1, 2], key=fetch); note()
    if x > 5:
        c = fetch(a); note()
    else:
        c = fetch(a); note()
    return c + len(b)

def never():
    a = 1; note()
    b = 2; note()
    return a + b

async def task(i):
    await asyncio.sleep(0); note()
    return middle(i)

async def main():
    await asyncio.gather(*[task(i) for i in range(20)]); note()

asyncio.run(main())
fetch(1); note()
print(*sorted(ran))
"""


def test_coverage_counts_the_lines_that_ran(tmp_path):
    (tmp_path / "program.py").write_text(COVERED)
    recipe = "[run]\nconcurrency = greenlet\n"
    if sys.version_info >= (3, 14):
        recipe = "[run]\n"
    (tmp_path / ".coveragerc").write_text(recipe)

    def coverage(*args):
        command = [sys.executable, "-m", "coverage", *args]
        return subprocess.run(
            command,
            cwd=tmp_path,
            check=True,
            capture_output=True,
            text=True,
            timeout=60,
        ).stdout

    ran = coverage("run", "program.py").split()
    coverage("json", "-o", "found.json")
    found = json.loads((tmp_path / "found.json").read_text())
    found = found["files"]["program.py"]
    noted = [
        number
        for number, line in enumerate(COVERED.splitlines(), 1)
        if line.endswith("; note()")
    ]
    assert len(noted) == 10
    counted = [n for n in noted if n in found["executed_lines"]]
    assert counted == [int(n) for n in ran]
    assert len(set(noted) & set(found["missing_lines"])) == 2


@pytest.mark.skipif(
    sys.version_info < (3, 12), reason="no eager tasks before 3.12"
)
def test_an_eager_task_holds_up_the_one_that_creates_it():
    events = []

    async def eager():
        nap()
        events.append("eager")

    async def main():
        loop = asyncio.get_running_loop()
        loop.set_task_factory(asyncio.eager_task_factory)
        loop.call_soon(events.append, "others")
        task = loop.create_task(eager())
        events.append("creator")
        await task

    asyncio.run(main())
    assert events == ["others", "eager", "creator"]


@pytest.mark.parametrize("takes_it_away", [False, True])
def test_the_late_answer_to_a_question_that_was_cut_short(takes_it_away):
    asked, cuts = asyncio.Event(), []

    async def device(reader, writer):
        # An answer that nobody has read resets the connection.
        with contextlib.suppress(ConnectionResetError):
            while question := await reader.readline():
                asked.set()
                await asyncio.sleep(0.02)
                writer.write(b"answer to " + question)
            writer.close()
            await writer.wait_closed()
        asked.set()

    async def interrupt():
        await asked.wait()
        signal.raise_signal(signal.SIGINT)

    @tworoutine
    async def session():
        server = await asyncio.start_server(device, "127.0.0.1", 0)
        address = server.sockets[0].getsockname()
        return *await asyncio.open_connection(*address), server

    reader, writer, server = session()
    lock = asyncio.Lock()

    @tworoutine
    async def ask(question, interrupted=False):
        if interrupted:
            cuts.append(asyncio.ensure_future(interrupt()))
        async with lock:
            writer.write(question)
            if not takes_it_away:
                return await reader.readline()
            answer = asyncio.ensure_future(reader.readline())
            try:
                return await asyncio.shield(answer)
            except asyncio.CancelledError:
                await asyncio.wait([answer], timeout=1)
                answer.cancel()
                raise

    @tworoutine
    async def close():
        asked.clear()
        writer.close()
        await writer.wait_closed()
        await asked.wait()
        server.close()
        await server.wait_closed()

    with pytest.raises(KeyboardInterrupt):
        ask(b"one\n", interrupted=True)
    late = b"answer to two\n" if takes_it_away else b"answer to one\n"
    assert ask(b"two\n") == late
    close()
