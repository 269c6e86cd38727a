"""tworoutine.calls() and print_calls(): what waits, seen from anywhere."""

import asyncio
import contextlib
import contextvars
import gc
import importlib
import io
import signal
import sys
import threading
import time
import types

import pytest
from greenlet import greenlet

import tworoutine as package
from tworoutine import WaitingCall, await_, calls, print_calls, tworoutine

HERE = __file__


def look_here():
    return calls()


def look_from_a_thread():
    seen = []
    thread = threading.Thread(target=lambda: seen.append(calls()))
    thread.start()
    thread.join()
    return seen[0]


def look_from_a_signal_handler():
    seen = []
    before = signal.signal(signal.SIGUSR1, lambda *_: seen.append(calls()))
    try:
        signal.raise_signal(signal.SIGUSR1)
    finally:
        signal.signal(signal.SIGUSR1, before)
    return seen[0]


LOOKS = [look_here, look_from_a_thread, look_from_a_signal_handler]


@pytest.fixture(params=LOOKS, ids=lambda look: look.__name__)
def look(request):
    return request.param


@tworoutine
async def wait(look, seen):
    """Wait, and look meanwhile: the next callback of the loop does."""
    await waits(look, seen)


async def waits(look, seen):
    loop = asyncio.get_running_loop()
    done = loop.create_future()

    def ring():
        seen.append(look())
        done.set_result(None)

    loop.call_soon(ring)
    await done


@tworoutine
async def outer(look, seen):
    between(look, seen)


def between(look, seen):
    wait(look, seen)


@tworoutine
async def items(look, seen):
    await waits(look, seen)
    yield 1


@tworoutine
@contextlib.asynccontextmanager
async def manager(look, seen):
    await waits(look, seen)
    yield 1


def names_of(call):
    return [line.name for line in call.stack]


KIND = {"no-loop": "no loop", "eager-task": "task"}


def test_a_call(place, look):
    seen = []
    place(lambda: wait(look, seen))
    [[call]] = seen
    assert call.name == "wait"
    assert call.callee == wait
    assert call.kind == KIND.get(place.name, place.name)
    assert isinstance(call.task, asyncio.Task)
    assert call.thread == threading.current_thread().name
    assert call.thread_id == threading.get_ident()
    assert 0 <= call.age < 60
    assert isinstance(call.waits_for, asyncio.Future)
    assert (call.caller.filename, call.caller.name) == (HERE, "<lambda>")
    assert call.outer is None
    assert names_of(call)[-3:] == ["<lambda>", "wait", "waits"]
    assert call.stack[-1].line == "await done"
    assert (call.holds_up is None) == (place.name in ("no-loop", "task"))
    assert calls() == []


def test_a_call_below_a_call(place, look):
    seen = []
    place(lambda: outer(look, seen))
    [[out, inner]] = seen
    assert (out.name, inner.name) == ("outer", "wait")
    assert inner.outer is out
    assert out.outer is None
    assert out.caller.name == "<lambda>"
    assert inner.caller.name == "between"
    assert 0 <= out.age < 60
    assert out.stack == inner.stack
    assert names_of(out)[-5:] == [
        "<lambda>",
        "outer",
        "between",
        "wait",
        "waits",
    ]
    assert calls() == []


def test_three_levels_and_await_(place):
    @tworoutine
    async def outermost(seen):
        await deeper(seen)

    async def deeper(seen):
        outer(look_here, seen)

    seen = []
    place(lambda: outermost(seen))
    assert [call.name.rpartition(".")[2] for call in seen[0]] == [
        "outermost",
        "outer",
        "wait",
    ]
    seen.clear()
    place(lambda: await_(waits(look_here, seen)))
    [[call]] = seen
    assert call.name == "await_"
    assert call.callee is None
    assert names_of(call)[-2:] == ["<lambda>", "waits"]


def test_generators_and_managers(place, look):
    seen = []
    place(lambda: list(items(look, seen)))
    [[call]] = seen
    assert call.name == "items"
    assert names_of(call)[-3:] == ["<lambda>", "items", "waits"]
    seen.clear()

    def enter():
        with manager(look, seen):
            pass

    place(enter)
    [[call]] = seen
    assert call.name == "manager"
    assert names_of(call)[-1] == "waits"
    assert "enter" in names_of(call)
    assert call.caller.name == "enter"


def test_below_c_code(place, look):
    seen = []

    def key(item):
        wait(look, seen)
        return item

    place(lambda: sorted([1], key=key))
    [[call]] = seen
    assert names_of(call)[-4:] == ["<lambda>", "key", "wait", "waits"]


def test_a_greenlet_of_the_users(place, look):
    if "sqlalchemy.ext.asyncio" in sys.modules:
        pytest.skip("calls are refused there")
    seen = []

    def inside():
        wait(look, seen)

    place(lambda: greenlet(inside).switch())
    [[call]] = seen
    assert names_of(call)[-4:] == ["<lambda>", "inside", "wait", "waits"]


def test_many_tasks():
    seen = []

    @tworoutine
    async def wait_for(future):
        await future

    async def step(future):
        wait_for(future)

    async def main():
        future = asyncio.get_running_loop().create_future()
        tasks = [asyncio.create_task(step(future)) for _ in range(1000)]
        for _ in range(3):
            await asyncio.sleep(0)
        seen.extend(calls())
        future.set_result(None)
        await asyncio.gather(*tasks)
        return tasks

    tasks = asyncio.run(main())
    assert {call.task for call in seen} == set(tasks)
    assert {tuple(names_of(call)) for call in seen} == {("step", "wait_for")}
    assert calls() == []


def test_code_that_runs(place, look):
    """A call that has not had to wait holds up its caller all the same."""
    seen = []

    @tworoutine
    async def computes():
        seen.append(look())

    place(computes)
    [[call]] = seen
    assert call.name.endswith("computes")
    assert call.age is None
    assert call.waits_for is None
    assert any("computes" in name for name in names_of(call))


def test_threads(look):
    """Each with its own loop, and one in a running one."""
    seen, ready, go = [], [], threading.Event()

    @tworoutine
    async def wait_for_go():
        loop = asyncio.get_running_loop()
        loop.call_soon(ready.append, 1)
        await loop.run_in_executor(None, go.wait)

    async def main():
        wait_for_go()

    targets = [wait_for_go, wait_for_go, lambda: asyncio.run(main())]
    threads = [
        threading.Thread(target=target, name=f"thread {n}")
        for n, target in enumerate(targets)
    ]
    for thread in threads:
        thread.start()
    while len(ready) < 3:
        time.sleep(0.001)
    seen = look()
    go.set()
    for thread in threads:
        thread.join()
    assert sorted(call.thread for call in seen) == [t.name for t in threads]
    assert sorted(call.kind for call in seen) == ["no loop", "no loop", "task"]
    assert calls() == []


@pytest.fixture
def look_of_the_main_thread():
    """A signal handler of the main thread looks, asked by another thread."""
    seen, looked = [], threading.Event()

    def handle(*_):
        seen.append(calls())
        looked.set()

    def ask():
        signal.pthread_kill(threading.main_thread().ident, signal.SIGUSR1)
        looked.wait()
        return seen[0]

    before = signal.signal(signal.SIGUSR1, handle)
    yield ask
    signal.signal(signal.SIGUSR1, before)


@pytest.mark.parametrize("handled", [False, True], ids=["home", "signal"])
@pytest.mark.parametrize("loop", ["none", "a task"])
def test_at_home(loop, handled, look_of_the_main_thread):
    seen = []

    def look():
        end = time.monotonic() + 60
        while not waits_in_call_it() and time.monotonic() < end:
            time.sleep(0)  # what the call sends home may begin before it waits
        return look_of_the_main_thread() if handled else look_here()

    def waits_in_call_it():
        return any(
            call.waits_for and names_of(call)[-3:-2] == ["call_it"]
            for call in calls()
        )

    async def main():
        call_it()

    def call_it():
        wait.at(home)(look, seen)

    with package.LoopThread("home") as home:
        call_it() if loop == "none" else asyncio.run(main())
    [call] = seen[0]
    assert call.name == "wait"
    assert call.kind == ("no loop" if loop == "none" else "task")
    assert 0 <= call.age < 60
    assert isinstance(call.waits_for, asyncio.Task)
    assert names_of(call)[-3:] == ["call_it", "wait", "waits"]
    assert call.caller.name == "call_it"


def test_a_call_at_home_below_which_another_waits():
    seen = []
    with package.LoopThread("home") as home:
        outer.at(home)(look_here, seen)
    assert [(each.name, each.thread == "home") for each in seen[0]] == [
        ("outer", False),
        ("wait", True),
    ]


def test_below_a_portal_on_uvloop(look):
    uvloop = pytest.importorskip("uvloop")
    seen = []

    async def main():
        between(look, seen)

    package.run(main(), loop_factory=uvloop.new_event_loop)
    [[call]] = seen
    assert (call.name, call.kind) == ("wait", "portal")
    assert call.callee == wait
    assert isinstance(call.task, asyncio.Task)
    assert 0 <= call.age < 60
    assert isinstance(call.waits_for, asyncio.Future)
    assert names_of(call) == ["main", "between", "wait", "waits"]
    assert call.caller.name == "between"
    assert calls() == []


def test_below_a_portal_in_trio(look):
    trio = pytest.importorskip("trio")
    importlib.import_module("trio.testing")
    seen = []

    @tworoutine
    async def nap(event):
        await event.wait()

    async def main():
        event = trio.Event()

        async def ring():
            await trio.testing.wait_all_tasks_blocked()
            seen.append(look())
            event.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ring)
            nap(event)

    trio.run(package.portal(main))
    [[call]] = seen
    assert (call.name.rpartition(".")[2], call.kind) == ("nap", "portal")
    assert call.task is None
    assert call.thread == threading.current_thread().name
    assert names_of(call)[:3] == ["main", "nap", "wait"]
    assert calls() == []


def test_in_curio(look):
    curio = pytest.importorskip("curio")
    seen = []

    @tworoutine
    async def nap(event):
        await event.wait()

    async def main():
        event = curio.Event()

        async def ring():
            seen.append(look())
            await event.set()

        task = await curio.spawn(ring)
        nap(event)
        await task.join()

    curio.run(package.portal(main))
    [[call]] = seen
    assert call.kind == "portal"
    assert names_of(call)[:3] == ["main", "nap", "wait"]


def test_in_gevent(program):
    pytest.importorskip("gevent")
    assert (
        program(
            """
import asyncio
import gevent
from tworoutine import calls, tworoutine

@tworoutine
async def nap(event):
    await event.wait()

@tworoutine
async def set_event(event):
    event.set()

event = asyncio.Event()

def user():
    nap(event)

waiting = gevent.spawn(user)
gevent.sleep(0.05)
[call] = calls()
print(call.name, call.kind, [line.name for line in call.stack][-3:])
assert 0 < call.age < 60
assert isinstance(call.task, asyncio.Task)
set_event(event)
waiting.join()
assert calls() == []
""",
            flags=("-X", "dev"),
        )
        == "nap greenlet ['user', 'nap', 'wait']\n"
    )


def test_in_a_greenlet_of_sqlalchemy(program):
    pytest.importorskip("sqlalchemy")
    assert (
        program(
            """
import asyncio
from sqlalchemy.ext import asyncio as _
from sqlalchemy.util import greenlet_spawn
from tworoutine import calls, tworoutine

@tworoutine
async def nap():
    loop = asyncio.get_running_loop()
    loop.call_soon(lambda: seen.extend(calls()))
    await asyncio.sleep(0.01)

def user():
    nap()

seen = []
asyncio.run(greenlet_spawn(user))
[call] = seen
print(call.name, call.kind, [line.name for line in call.stack][-3:])
assert calls() == []
""",
            flags=("-X", "dev"),
        )
        == "nap greenlet ['user', 'nap', 'sleep']\n"
    )


def test_in_a_loop_that_is_not_ours_to_drive(look):
    """The thread's current loop is uvloop's: that runs the call."""
    uvloop = pytest.importorskip("uvloop")
    seen = []

    def in_thread():
        loop = uvloop.new_event_loop()
        asyncio.set_event_loop(loop)
        between(look, seen)
        asyncio.set_event_loop(None)
        loop.close()

    thread = threading.Thread(target=in_thread, name="its own")
    if look is look_from_a_signal_handler:
        pytest.skip("signals are handled in the main thread")
    thread.start()
    thread.join()
    [[call]] = seen
    assert call.name == "wait"
    assert call.thread == "its own"
    assert names_of(call)[-3:] == ["between", "wait", "waits"]


def test_a_call_of_a_closed_loop(asyncio_errors):
    loop = asyncio.new_event_loop()

    async def step():
        await_(loop.create_future())

    async def first():  # of this loop, which is ended as the loop stops
        wait(list, [])

    loop.run_until_complete(first())
    task = loop.create_task(step())
    loop.run_until_complete(asyncio.sleep(0.01))
    loop.close()
    [call] = calls()
    assert call.task is task
    assert names_of(call) == ["step"]
    del call, task
    asyncio.run(asyncio.sleep(0))
    wait(look_here, [])
    gc.collect()
    assert calls() == []
    asyncio_errors.clear()


def test_a_forked_child_knows_nothing_of_other_threads(program):
    assert (
        program(
            """
import asyncio, os, threading, warnings
from tworoutine import calls, tworoutine
warnings.simplefilter("ignore", DeprecationWarning)

waiting, go = threading.Event(), threading.Event()

@tworoutine
async def wait():
    loop = asyncio.get_running_loop()
    loop.call_soon(waiting.set)
    await loop.run_in_executor(None, go.wait)

@tworoutine
async def nothing():
    return calls()

thread = threading.Thread(target=wait)
thread.start()
waiting.wait()
assert len(calls()) == 1
child = os.fork()
if not child:
    assert calls() == [], calls()
    [own] = nothing()
    assert own.name == "nothing"
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
go.set()
thread.join()
print(calls())
"""
        )
        == "[]\n"
    )


def test_code_that_awaits_is_no_call(place):
    """Frames of coroutines above each other, and above asyncio's, are none."""
    seen = []

    async def inner():
        async for _ in agen():
            async with (~manager)(look_here, []):
                await waits(look_here, seen)

    async def agen():
        yield 1

    place(lambda: await_(inner()))
    assert [call.name for call in seen[0]] == ["await_"]

    async def main():
        await inner()
        seen.append(calls())

    asyncio.run(main())
    assert seen[-1] == []


def test_a_coroutine_stepped_by_hand_is_no_call():
    seen = []

    async def inner():
        wait(look_here, seen)

    def step_by_hand():
        with contextlib.suppress(StopIteration):
            inner().send(None)
        with contextlib.suppress(StopIteration):
            contextvars.copy_context().run(inner().send, None)

    step_by_hand()
    assert [[call.name for call in found] for found in seen] == [["wait"]] * 2


def test_age_is_that_of_the_whole_call():
    """A call that waits again and again has waited all the time."""

    @tworoutine
    async def polls(seen):
        for _ in range(10):
            await asyncio.sleep(0.01)
        await waits(look_here, seen)

    async def main(seen):
        polls(seen)

    seen = []
    asyncio.run(main(seen))
    assert 0.09 < seen[0][0].age < 60


def test_what_is_waited_for_need_not_have_a_repr(place):
    class Bad(asyncio.Future):
        def __repr__(self):
            raise ValueError

    seen = []

    @tworoutine
    async def wait_for_bad():
        loop = asyncio.get_running_loop()
        bad = Bad(loop=loop)

        def ring():
            file = io.StringIO()
            print_calls(file)
            seen.append(file.getvalue())
            bad.set_result(None)

        loop.call_soon(ring)
        await bad

    place(wait_for_bad)
    assert "which has no repr" in seen[0]


# --- print_calls ------------------------------------------------------------


def printed():
    file = io.StringIO()
    print_calls(file)
    return file.getvalue()


def test_print_calls(place):
    seen = []
    place(lambda: outer(printed, seen))
    lines = seen[0].splitlines()
    assert lines[:2] == ["2 synchronous calls wait:", ""]
    assert lines[2].startswith("outer(): waits 0.")
    assert any(line.startswith("    wait(): waits 0.") for line in lines)
    assert lines[-2].startswith(f'  File "{HERE}", line ')
    assert lines[-2].endswith(", in waits")
    assert lines[-1] == "    await done"
    assert printed() == "no synchronous call waits\n"


def test_print_calls_prints_to_stderr(capsys):
    print_calls()
    assert capsys.readouterr() == ("", "no synchronous call waits\n")


def test_print_calls_in_the_middle_of_a_write(tmp_path):
    """As in a signal handler: a buffered file cannot be written to there."""

    class Busy(io.TextIOWrapper):
        def write(self, text):
            raise RuntimeError("reentrant call inside <_io.BufferedWriter>")

    path = tmp_path / "calls"
    with Busy(path.open("wb")) as file:
        print_calls(file)
    assert path.read_text() == "no synchronous call waits\n"


def test_in_a_notebook(monkeypatch):
    shown = []
    shell = types.SimpleNamespace(kernel=True)
    display = types.SimpleNamespace(
        display=lambda data, raw: shown.append(data)
    )
    ipython = types.SimpleNamespace(get_ipython=lambda: shell, display=display)
    monkeypatch.setitem(sys.modules, "IPython", ipython)

    async def main():
        outer(print_calls, [])

    asyncio.run(main())
    [data] = shown
    table = data["text/html"]
    assert table.startswith("<table>")
    assert table.count("<tr>") == 3
    assert "\u2003wait()" in table
    assert "await done" in table
    assert "&lt;Future" in table
    assert data["text/plain"].startswith("2 synchronous calls wait:")


def test_a_call_is_a_tuple_with_names():
    assert WaitingCall.__module__ == "tworoutine"
    assert issubclass(WaitingCall, tuple)
    for name in WaitingCall._fields:
        assert f"{name}:" in WaitingCall.__doc__


def test_nothing_is_loaded_before_it_is_used(program):
    program(
        """
import sys
import tworoutine

tworoutine.tworoutine(__import__("asyncio").sleep)(0)
names = {"_calls", "_calls_shown", "_slow"}
assert not {name for name in names if f"tworoutine.{name}" in sys.modules}
assert tworoutine.calls() == []
assert "tworoutine._calls" in sys.modules
"""
    )
