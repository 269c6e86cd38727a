"""Dask's distributed: tasks and actors on worker processes and on threads.

`make dask` has what these need, which is too much for every run of the tests.
A task that is a plain callable runs in a thread of its worker, a coroutine
function on the worker's loop, where Dask's heartbeats run, too.
"""

import asyncio
import io
import os
import queue
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tworoutine import (
    FailedCalls,
    LoopThread,
    await_,
    dual,
    print_calls,
    task_factory,
    tworoutine,
)

pytest.importorskip("distributed", reason="distributed is not installed")

from distributed import (
    Client,
    LocalCluster,
    WorkerPlugin,
    as_completed,
    get_client,
    get_worker,
    worker_client,
)

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "dask.md"
QUIET = {"dashboard_address": ":0", "silence_logs": 60}
LONGEST = 60  # s for any result

# Of distributed and of the sockets of its clusters in this process, not ours.
pytestmark = [
    pytest.mark.filterwarnings("default::ResourceWarning"),
    pytest.mark.filterwarnings("default::DeprecationWarning"),
]


@pytest.fixture(scope="module", params=["processes", "threads"])
def client(request):
    """A client of two workers with two threads each."""
    with (
        LocalCluster(
            n_workers=2,
            threads_per_worker=2,
            processes=request.param == "processes",
            **QUIET,
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


@tworoutine
async def where(x=0):
    """x, and whether this is the thread of the worker's loop."""
    await asyncio.sleep(0.001)
    return x, threading.get_ident() == get_worker().thread_id


def calls(x):
    return where(x)


async def calls_in_a_coroutine(x):
    return where(x)


# --- tasks ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("task", "on_the_loop"),
    [
        (where, False),
        (~where, True),
        (calls, False),
        (calls_in_a_coroutine, True),
    ],
    ids=["f", "~f", "def", "async def"],
)
def test_where_a_task_runs(client, task, on_the_loop):
    expected = [(x, on_the_loop) for x in range(4)]
    assert client.submit(task, 1, pure=False).result(LONGEST) == (
        1,
        on_the_loop,
    )
    futures = client.map(task, range(4), pure=False)
    assert client.gather(futures) == expected


def test_functions_of_main_and_of_notebooks_go_by_value(client):
    source = "async def double(x):\n    return 2 * x"
    names = {"__name__": "__main__"}
    exec(source, names)
    f = tworoutine(names["double"])
    assert client.submit(f, 1).result(LONGEST) == 2
    assert client.submit(~f, 2).result(LONGEST) == 4
    assert client.submit(f.map, range(3)).result(LONGEST) == [0, 2, 4]


class Board:
    bias = None

    @tworoutine
    async def tune(self, bias):
        await asyncio.sleep(0.001)
        self.bias = bias
        return bias, threading.get_ident()

    async def awaits(self, bias):
        return await (~self.tune)(bias)

    async def calls(self, bias):
        return self.tune(bias)


def test_bound_methods(client):
    assert client.submit(Board().tune, 3).result(LONGEST)[0] == 3
    assert client.submit(~Board().tune, 4).result(LONGEST)[0] == 4


def test_actors(client):
    """A tworoutine runs in the thread of actors; an async def on the loop."""
    board = client.submit(Board, actor=True).result(LONGEST)
    bias, actors = board.tune(1).result(LONGEST)
    assert (bias, board.bias) == (1, 1)
    assert board.tune(2).result(LONGEST) == (2, actors)
    bias, loops = board.calls(3).result(LONGEST)
    assert (bias, board.bias) == (3, 3)
    assert board.awaits(4).result(LONGEST) == (4, loops)
    assert loops != actors


# --- on the worker's loop ---------------------------------------------------


async def heartbeats(number):
    """A call that ends when Dask's heartbeats have gone on; what was late."""
    loop = asyncio.get_running_loop()
    beaten = asyncio.Event()
    beats = get_worker().periodic_callbacks["heartbeat"]
    beat, left, gaps = beats.callback, number, []

    def counted():
        nonlocal left
        left -= 1
        if left == 0:
            beaten.set()
        return beat()

    async def tick():
        while True:
            began = loop.time()
            await asyncio.sleep(0.005)
            gaps.append(loop.time() - began)

    beats.callback = counted
    ticks = asyncio.ensure_future(tick())
    began = loop.time()
    try:
        await_(beaten.wait())
    finally:
        beats.callback = beat
        ticks.cancel()
    return loop.time() - began, max(gaps)


def test_heartbeats_go_on_while_a_call_waits(client):
    future = client.submit(heartbeats, 2, pure=False)
    waited, gap = future.result(LONGEST)
    print(f"a call of {waited:.2f} s; longest gap {gap * 1e3:.1f} ms")
    assert gap < waited / 2


async def meets(mine, other):
    loop = asyncio.get_running_loop()
    events = loop.__dict__.setdefault("meetings", {})
    for name in (mine, other):
        events.setdefault(name, asyncio.Event())
    events[mine].set()
    return await_(events[other].wait())


def test_two_calls_on_one_worker_that_need_each_other(client):
    worker = next(iter(client.scheduler_info()["workers"]))
    one, other = (
        client.submit(meets, *names, workers=[worker], pure=False)
        for names in ("ab", "ba")
    )
    assert client.gather([one, other]) == [True, True]


def worker_loop():
    return get_worker().loop.asyncio_loop


@tworoutine
async def shares_a_loop():
    """Of calls with the worker's loop as their home."""
    await asyncio.sleep(0)
    return where.at(worker_loop)()


def test_the_loop_of_the_worker_is_the_home_of_calls(client):
    assert client.submit(shares_a_loop).result(LONGEST) == (0, True)
    assert client.submit(~shares_a_loop).result(LONGEST) == (0, True)


thread = LoopThread("of this process")


@tworoutine(home=thread)
async def in_a_thread_of_its_own():
    return threading.current_thread().name


def test_a_home_of_a_module(client):
    """Each process has one of its own; no function takes it along."""
    for task in (in_a_thread_of_its_own, ~in_a_thread_of_its_own):
        name = client.submit(task, pure=False).result(LONGEST)
        assert name == "of this process"
    with pytest.raises(TypeError) as caught:
        client.submit(where.at(thread), 1)
    assert "cannot pickle <LoopThread" in str(caught.value.__cause__)


# --- functions that are run, and what waits ---------------------------------


@tworoutine
async def given_the_worker(x, dask_worker):
    await asyncio.sleep(0.001)
    return x, threading.get_ident() == dask_worker.thread_id


def test_run_on_every_worker(client):
    for function in (given_the_worker, ~given_the_worker):
        results = client.run(function, 1).values()
        assert list(results) == [(1, True)] * 2


def waits_for_ever(name):
    get_worker().log_event(name, "begun")
    return await_(asyncio.sleep(600))


async def waits_on_the_loop(name):
    return waits_for_ever(name)


def shown():
    out = io.StringIO()
    print_calls(out)
    return out.getvalue()


def test_print_calls_on_the_workers():
    """As docs/dask.md has it: calls of threads and of the loop."""
    begun = queue.SimpleQueue()
    with (
        LocalCluster(n_workers=1, threads_per_worker=2, **QUIET) as cluster,
        Client(cluster) as client,
    ):
        client.subscribe_topic("begun", begun.put)
        tasks = [
            client.submit(task, "begun", pure=False)
            for task in (waits_for_ever, waits_on_the_loop)
        ]
        for _ in tasks:
            begun.get(timeout=LONGEST)
        (text,) = client.run(shown).values()
        assert text.startswith("2 synchronous calls wait:\n"), text
        assert re.search(r"in thread '.*Dask.*', where no loop runs", text)
        assert "in task \"execute('waits_on_the_loop" in text
        (pid,) = client.run(os.getpid).values()
        os.kill(pid, signal.SIGKILL)  # Dask would give the thread 4 s
        client.cancel(tasks)


# --- clients in tasks -------------------------------------------------------


@tworoutine
async def asks(x):
    """Asks for another task, wherever it runs."""
    client = get_client()
    future = client.submit(where, x, pure=False)
    return dual(future).result(), *dual(client).gather([future])


@pytest.mark.parametrize("task", [asks, ~asks], ids=["f", "~f"])
def test_get_client_in_a_task(client, task):
    expected = ((1, False), (1, False))
    assert client.submit(task, 1, pure=False).result(LONGEST) == expected


def gives_its_place_up(x):
    """A call in a thread before, while and after it has left the worker's."""
    before = where(x)
    with worker_client() as client:
        inside = client.submit(where, x, pure=False).result(), where(x)
    return {before, *inside, where(x)}


def test_a_task_that_gives_its_place_up(client):
    tasks = client.map(gives_its_place_up, range(8), pure=False)
    expected = [{(x, False)} for x in range(8)]
    assert client.gather(tasks) == expected


async def awaits_in_a_call(x):
    return await_(get_client().submit(where, x, pure=False))


def test_a_future_is_awaited_by_a_call_on_the_loop(client):
    assert client.submit(awaits_in_a_call, 2).result(LONGEST) == (2, False)


# --- errors -----------------------------------------------------------------


@tworoutine
async def odd(x):
    if x % 2:
        raise ValueError(x)
    return x


@pytest.mark.parametrize("task", [odd, ~odd], ids=["f", "~f"])
def test_an_error(client, task):
    with pytest.raises(ValueError, match=r"\A3\Z"):
        client.submit(task, 3).result(LONGEST)


@pytest.mark.parametrize("task", [odd.map, ~odd.map], ids=["f", "~f"])
def test_failed_calls_keep_results_and_notes(client, task):
    with pytest.raises(FailedCalls, match="2 of 4 calls of odd") as caught:
        client.submit(task, range(4), pure=False).result(LONGEST)
    assert caught.value.results == [0, 2]
    notes = [one.__notes__ for one in caught.value.exceptions]
    assert notes == [["in odd.map, on 1"], ["in odd.map, on 3"]]


# --- an asynchronous client -------------------------------------------------


@pytest.mark.parametrize("processes", [True, False])
def test_both_idioms_with_an_asynchronous_client(processes):
    async def main():
        async with (
            LocalCluster(
                n_workers=1,
                threads_per_worker=2,
                processes=processes,
                asynchronous=True,
                **QUIET,
            ) as cluster,
            Client(cluster, asynchronous=True) as client,
        ):
            assert await client.submit(where, 1) == (1, False)
            assert await_(client.submit(~where, 2)) == (2, True)
            both = dual(client)
            assert both.submit(where, 3) == (3, False)
            futures = client.map(where, range(3))
            expected = [(x, False) for x in range(3)]
            assert await client.gather(futures) == expected
            assert both.gather(futures) == expected
            assert await (~both.gather)(futures) == expected
            ended = [await_(one) for one in dual(as_completed(futures))]
            assert sorted(ended) == expected
            (process,) = both.run(os.getpid).values()
            assert processes == (process != os.getpid())

    asyncio.run(main())


# --- uvloop -----------------------------------------------------------------


class CallsOnTheLoop(WorkerPlugin):
    """As docs/dask.md has it."""

    def setup(self, worker):
        worker.loop.asyncio_loop.set_task_factory(task_factory)


def test_workers_on_uvloop():
    pytest.importorskip("uvloop", reason="uvloop is not installed")
    dask = pytest.importorskip("dask")
    with (
        dask.config.set({"distributed.admin.event-loop": "uvloop"}),
        LocalCluster(n_workers=1, threads_per_worker=2, **QUIET) as cluster,
        Client(cluster) as client,
    ):
        refused = client.submit(calls_in_a_coroutine, 1, pure=False)
        with pytest.raises(RuntimeError, match=r"tworoutine\.task_factory"):
            refused.result(LONGEST)
        client.register_plugin(CallsOnTheLoop())
        served = client.submit(calls_in_a_coroutine, 1, pure=False)
        assert served.result(LONGEST)[0] == 1


# --- programs ---------------------------------------------------------------

MAIN = """
import asyncio, os, sys
import dask
from distributed import Client, LocalCluster
from tworoutine import tworoutine

@tworoutine
async def square(x):
    await asyncio.sleep(0.001)
    return x * x, os.getpid()

@tworoutine
async def squares(xs):
    return [y for y, _ in square.map(xs)]

if __name__ == "__main__":
    method = sys.argv[1]
    with (
        dask.config.set({"distributed.worker.multiprocessing-method": method}),
        LocalCluster(n_workers=2, dashboard_address=":0") as cluster,
        Client(cluster) as client,
    ):
        for f in (square, ~square):
            results = client.gather(client.map(f, range(3), pure=False))
            print([y for y, _ in results])
            assert os.getpid() not in {pid for _, pid in results}
        for f in (squares, ~squares):
            print(client.submit(f, range(3)).result(60))
"""


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_functions_of_a_script(program, method):
    assert program(MAIN, method, flags=()) == "[0, 1, 4]\n" * 4


def test_the_page(program):
    """Each block of docs/dask.md is a program and prints what it says."""
    block = r"^(?<! -->\n)```python\n(.*?)^```"
    blocks = re.findall(block, PAGE.read_text(), re.M | re.S)
    assert len(blocks) == 4
    for source in blocks:
        prints = re.findall(r"\bprint\(.*\)  # (.*)", source)
        assert program(source, flags=()).splitlines() == prints


def test_the_observatory(tmp_path):
    """With few boards; the worker of a site is killed, as in the example."""
    for name in ("scipy", "tuber"):
        pytest.importorskip(name, reason=f"{name} is not installed")
    ran = subprocess.run(
        [sys.executable, ROOT / "examples" / "observatory.py", "--boards=16"],
        capture_output=True,
        text=True,
        timeout=180,
        cwd=tmp_path,
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    assert re.search("Atacama: half of its boards .* is killed\n", ran.stdout)
    assert re.search(r"Atacama: tuned again by \d+, 16 of 16", ran.stdout)
    assert "\ntuned: 62 of 64, within " in ran.stdout
    assert all(len(line) <= 80 for line in ran.stdout.splitlines()[:-1])
    ElementTree.parse(tmp_path / "observatory.svg")


# --- a notebook -------------------------------------------------------------


@pytest.fixture
def kernel(lab, monkeypatch):
    reason = "is not installed"
    for name in ("ipykernel", "nbclient"):
        pytest.importorskip(name, reason=f"{name} {reason}")
    from test_jupyter import Kernel, ensure_event_loop

    for name in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(lab))
    connection = {"transport": "ipc", "ip": str(lab / "kernel")}
    kernel = Kernel(lab, connection)
    yield kernel
    kernel.close()
    loop = ensure_event_loop()
    asyncio.set_event_loop(None)
    loop.close()


@pytest.mark.parametrize("asynchronous", [False, True])
def test_functions_of_a_cell(kernel, asynchronous):
    options = f"n_workers=1, dashboard_address=':0', {asynchronous=}"
    kernel.run(
        "from distributed import Client\n"
        "from tworoutine import await_, dual, tworoutine\n"
        "@tworoutine\n"
        "async def square(x):\n"
        "    await asyncio.sleep(0.001)\n"
        "    return x * x\n"
        "async def calls(x):\n"
        "    return square(x)\n"
    )
    if asynchronous:
        kernel.run(f"client = await Client({options})")
        assert kernel.run("await client.submit(square, 2)") == "4"
        assert kernel.run("await_(client.submit(~square, 3))") == "9"
        assert kernel.run("dual(client).submit(calls, 4)") == "16"
        kernel.run("await client.close()")
    else:
        kernel.run(f"client = Client({options})")
        assert kernel.run("client.submit(square, 2).result(60)") == "4"
        assert kernel.run("client.submit(~square, 3).result(60)") == "9"
        assert kernel.run("client.submit(calls, 4).result(60)") == "16"
        kernel.run("client.close()")
