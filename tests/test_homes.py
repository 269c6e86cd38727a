"""Homes: one loop in which the calls of many threads run.

From everywhere a call can be made, both ways: no loop, a task of another loop,
the home's own thread, many threads, a pool, a forked child, the exit.
"""

import asyncio
import concurrent.futures
import contextlib
import contextvars
import gc
import sys
import threading
import traceback

import pytest

from tworoutine import CannotSuspend, LoopThread, await_, home, run, tworoutine

var = contextvars.ContextVar("var", default=None)


@pytest.fixture
def thread():
    with LoopThread() as it:
        yield it


async def where(x=None):
    """The thread and loop in which this runs, and x."""
    await asyncio.sleep(0)
    return threading.get_ident(), asyncio.get_running_loop(), x


def thread_of(loop):
    return asyncio.run_coroutine_threadsafe(where(), loop).result(60)[0]


def in_thread(fn):
    """What fn returns in a thread of its own."""
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        return pool.submit(fn).result(60)


class Latch:
    """What a coroutine reaches, and where it is then held."""

    def __init__(self):
        self.reached = threading.Event()
        self.ended = threading.Event()
        self.how = None

    async def hold(self, *_):
        self.reached.set()
        try:
            await asyncio.sleep(600)
        except asyncio.CancelledError as exc:
            await asyncio.sleep(0)
            self.how = exc
            raise
        finally:
            self.ended.set()


# --- who calls --------------------------------------------------------------


def forms(fn, loop):
    """Each way to give the calls of fn a home, as a function that calls."""

    def below(*args):
        with home(loop):
            return tworoutine(fn)(*args)

    return [
        tworoutine(fn, home=loop),
        tworoutine(home=loop)(fn),
        tworoutine(fn).at(loop),
        tworoutine(fn).at(lambda: loop),
        below,
    ]


def test_from_everywhere(place, thread):
    at_home = thread_of(thread.loop), thread.loop
    for given in (thread, thread.loop):
        for f in forms(where, given):
            assert place(lambda f=f: f(1)) == (*at_home, 1)
            assert place(lambda f=f: [f(1), f(2)]) == [
                (*at_home, 1),
                (*at_home, 2),
            ]


def test_the_async_form_in_any_loop(thread):
    f = tworoutine(where, home=thread)
    expected = asyncio.run((~f)(1))
    assert expected[1] is thread.loop
    assert f(1) == expected
    assert await_((~f)(1)) == expected
    assert in_thread(lambda: asyncio.run((~f)(1))) == expected
    there = asyncio.run_coroutine_threadsafe((~f)(1), thread.loop)
    assert there.result(60) == expected


def test_below_other_threads(thread):
    """In a thread of no loop, of a pool, of to_thread."""
    f = tworoutine(where).at(thread)
    expected = f(1)
    assert in_thread(lambda: f(1)) == expected

    async def main():
        return await asyncio.to_thread(f, 1)

    assert asyncio.run(main()) == expected


def test_calls_come_back_from_to_thread():
    async def main():
        here = threading.get_ident(), asyncio.get_running_loop(), 1
        with home(asyncio.get_running_loop()):
            assert await asyncio.to_thread(lambda: await_(where(1))) == here
            assert await asyncio.to_thread(tworoutine(where), 1) == here
            assert tworoutine(where)(1) == here
        thread, *_ = await asyncio.to_thread(tworoutine(where), 1)
        assert thread != here[0]

    asyncio.run(main())


def test_at_home_a_call_is_an_ordinary_one(thread):
    """In the same task, and in order."""

    @tworoutine(home=thread)
    async def task():
        return asyncio.current_task()

    @tworoutine(home=thread)
    async def outer():
        assert task() is asyncio.current_task()
        assert await (~task)() is asyncio.current_task()
        with home(thread):
            assert await_((~task)()) is asyncio.current_task()
        return True

    assert outer()


def test_at_home_where_the_home_does_not_run():
    """The loop of the thread's own calls."""
    loop = await_(asyncio.sleep(0, 1)) and tworoutine(where)()[1]
    assert tworoutine(where).at(loop)()[1] is loop
    with home(loop):
        assert tworoutine(where)()[1] is loop


def test_100_threads_share_one_loop(thread):
    n = 100
    inside, everyone = [], None

    @tworoutine(home=thread)
    async def meet(i):
        nonlocal everyone
        if everyone is None:
            everyone = asyncio.Event()
        inside.append(i)
        if len(inside) == n:
            everyone.set()
        await everyone.wait()
        return i, asyncio.get_running_loop()

    with concurrent.futures.ThreadPoolExecutor(n) as pool:
        results = list(pool.map(meet, range(n), timeout=60))
    assert results == [(i, thread.loop) for i in range(n)]


def test_uvloop_both_ways(thread):
    """As the loop of the caller, and as the home."""
    uvloop = pytest.importorskip("uvloop", reason="needs uvloop")
    f = tworoutine(where)

    async def main():
        here = asyncio.get_running_loop()
        assert f.at(thread)(1)[1] is thread.loop
        assert (await (~f.at(thread))(1))[1] is thread.loop
        with home(thread):
            assert f(1)[1] is thread.loop
        with home(here):
            assert (await asyncio.to_thread(f, 1))[1] is here

    run(main(), loop_factory=uvloop.new_event_loop)


@pytest.mark.skipif(
    sys.version_info < (3, 12), reason="no eager tasks before 3.12"
)
def test_a_home_whose_tasks_are_eager(thread):
    @tworoutine(home=thread)
    async def set_factory():
        asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)

    @tworoutine(home=thread)
    async def quick():
        return var.get()

    set_factory()
    var.set(1)
    assert quick() == asyncio.run((~quick)()) == 1
    assert tworoutine(where, home=thread)(1)[1:] == (thread.loop, 1)


def test_only_the_calling_task_waits(thread):
    latch, open_ = Latch(), threading.Event()

    @tworoutine(home=thread)
    async def held():
        latch.reached.set()
        while not open_.is_set():
            await asyncio.sleep(0)
        return 1

    async def call(way):
        return held() if way == "sync" else await (~held)()

    async def main(way):
        task = asyncio.create_task(call(way))
        while not latch.reached.is_set():
            await asyncio.sleep(0)
        assert not task.done()
        open_.set()
        assert await task == 1

    for way in ("sync", "async"):
        latch.reached.clear()
        open_.clear()
        asyncio.run(main(way))


def test_two_homes_call_each_other(thread):
    with LoopThread("other") as other:

        async def ping(n):
            if n == 0:
                return [threading.current_thread().name]
            f = tworoutine(ping).at(thread if n % 2 else other)
            return [threading.current_thread().name, *f(n - 1)]

        names = tworoutine(ping).at(thread)(4)
        assert len(names) == 5
        assert names[1::2] == ["other", "other"]
        assert "other" not in names[::2]


def test_a_resource_serves_all_threads(thread):
    """An asyncio.Lock and a Queue, made in one thread and used in others."""

    @tworoutine(home=thread)
    async def make():
        return asyncio.Queue()

    queue = make()
    put, get = (
        tworoutine(each, home=thread) for each in (queue.put, queue.get)
    )
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        got = [pool.submit(get) for _ in range(2)]
        pool.submit(put, 1).result(60)
        put(2)
        assert sorted(each.result(60) for each in got) == [1, 2]


# --- what is called ---------------------------------------------------------


def test_methods_and_their_kin(thread):
    class Board:
        @tworoutine(home=thread)
        async def read(self, x):
            return self, x, asyncio.get_running_loop()

        @tworoutine(home=thread)
        @classmethod
        async def make(cls, x):
            return cls, x, asyncio.get_running_loop()

        @tworoutine(home=thread)
        @staticmethod
        async def free(x):
            return x, asyncio.get_running_loop()

        @tworoutine
        async def plain(self, x):
            return self, x, asyncio.get_running_loop()

    board, loop = Board(), thread.loop
    assert board.read(1) == Board.read(board, 1) == (board, 1, loop)
    assert Board.make(1) == board.make(1) == (Board, 1, loop)
    assert Board.free(1) == board.free(1) == (1, loop)
    assert board.plain.at(thread)(1) == (board, 1, loop)
    assert Board.plain.at(thread)(board, 1) == (board, 1, loop)
    assert board.read.map([1]) == [(board, 1, loop)]
    assert board.read.__self__ is board
    assert tworoutine(board.read, home=thread)(1) == (board, 1, loop)


def test_it_looks_like_the_function(thread):
    import inspect

    @tworoutine
    async def f(x: int) -> int:
        """Doc."""

    g = f.at(thread)
    assert (g.__name__, g.__doc__) == ("f", "Doc.")
    assert g.__qualname__ == f.__qualname__
    assert inspect.signature(g) == inspect.signature(f)
    assert inspect.iscoroutinefunction(~g)
    assert not inspect.iscoroutinefunction(g)
    assert inspect.unwrap(~g) is ~f


def test_another_home_takes_the_place_of_the_first(thread):
    with LoopThread() as other:
        f = tworoutine(where, home=thread)
        assert f.at(other)()[1] is other.loop
        with home(other):
            assert f()[1] is thread.loop
            with home(thread):
                assert tworoutine(where)()[1] is thread.loop
            assert tworoutine(where)()[1] is other.loop


def test_what_needs_a_loop_is_called_at_home(place, thread):
    def plain(x):
        return asyncio.get_running_loop().create_task(where(x))

    for f in forms(plain, thread):
        assert place(lambda f=f: f(1))[1:] == (thread.loop, 1)


def test_a_future_of_the_running_loop_is_awaited_there(thread):
    async def main():
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        loop.call_soon(future.set_result, 1)
        with home(thread):
            return await_(future)

    assert asyncio.run(main()) == 1


def test_fan_out(place, thread):
    f = tworoutine(where, home=thread)
    ident = thread_of(thread.loop)
    expected = [(ident, thread.loop, i) for i in range(5)]
    assert place(lambda: f.map(range(5), limit=2)) == expected
    found = place(lambda: sorted(f.as_completed(range(5)), key=lambda p: p[0]))
    assert found == list(enumerate(expected))

    async def main():
        assert await (~f.map)(range(5)) == expected
        return [each async for each in (~f.as_completed)(range(5))]

    assert sorted(asyncio.run(main()), key=lambda p: p[0]) == found

    def below():
        with home(thread):
            return tworoutine(where).map(range(5))

    assert place(below) == expected


def test_leaving_as_completed_ends_the_rest(thread):
    latch = Latch()

    @tworoutine(home=thread)
    async def f(x):
        if x:
            await latch.hold()
        while not latch.reached.is_set():
            await asyncio.sleep(0)

    for item, _ in f.as_completed([0, 1]):
        assert item == 0
        break
    assert latch.ended.wait(60)


def test_generators(place, thread):
    ended = []

    async def ticks(n):
        try:
            for i in range(n):
                await asyncio.sleep(0)
                yield i, asyncio.get_running_loop()
        finally:
            await asyncio.sleep(0)
            ended.append(asyncio.get_running_loop())

    expected = [(i, thread.loop) for i in range(3)]

    def below():
        with home(thread):
            return list(tworoutine(ticks)(3))

    f = tworoutine(ticks, home=thread)
    assert place(lambda: list(f(3))) == expected
    assert place(below) == expected

    def leave():
        for each in f(3):
            return each

    assert place(leave) == expected[0]

    def close():
        generator = f(3)
        first = next(generator)
        generator.close()
        return first

    assert place(close) == expected[0]
    assert ended == [thread.loop] * 4

    async def main():
        return [each async for each in (~f)(3)]

    assert asyncio.run(main()) == expected


def test_generators_take_what_is_sent_and_thrown(thread):
    @tworoutine(home=thread)
    async def echo():
        got = None
        while got != "end":
            try:
                got = yield got, asyncio.get_running_loop()
            except ValueError as exc:
                got = exc

    generator = echo()
    error = ValueError()
    assert next(generator) == (None, thread.loop)
    assert generator.send(1) == (1, thread.loop)
    assert generator.throw(error) == (error, thread.loop)
    with pytest.raises(StopIteration):
        generator.send("end")


def test_a_generator_that_has_ended_is_dropped_when_its_home_is_closed(
    monkeypatch,
):
    failed = []
    monkeypatch.setattr(sys, "unraisablehook", failed.append)
    with LoopThread() as thread:

        @tworoutine(home=thread)
        async def count():
            yield 1

        generator = count()
        assert list(generator) == [1]
    del generator
    gc.collect()
    assert failed == []


def test_context_managers(place, thread):
    log = []

    @contextlib.asynccontextmanager
    async def opened(name):
        log.append(asyncio.get_running_loop())
        try:
            yield name
        except KeyError:
            await asyncio.sleep(0)
            log.append(asyncio.get_running_loop())

    class Opened:
        def __init__(self, name):
            log.append(asyncio.get_running_loop())
            self.name = name

        async def __aenter__(self):
            return self.name

        async def __aexit__(self, kind, exc, traceback):
            log.append(asyncio.get_running_loop())
            return kind is KeyError

    for fn in (opened, Opened):
        for f in forms(fn, thread):

            def use(f=f):
                with home(thread), f(1) as name:
                    assert name == 1
                    raise KeyError

            place(use)
            assert log == [thread.loop] * 2
            log.clear()

        async def main(f):
            async with (~f)(1) as name:
                assert name == 1
                raise KeyError

        asyncio.run(main(tworoutine(fn, home=thread)))
        assert log == [thread.loop] * 2
        log.clear()


# --- contexts, exceptions ---------------------------------------------------


def test_context_variables_go_and_come_back(place, thread):
    async def inside(x):
        before = var.get()
        var.set(x)
        await asyncio.sleep(0)
        return before

    def calls(f):
        token = var.set("outer")
        assert f("inner") == "outer"
        assert var.get() == "inner"
        var.reset(token)

    for f in forms(inside, thread):
        place(lambda f=f: calls(f))


def test_the_exception_is_the_same_object(place, thread):
    error = KeyError("mine")

    async def fail():
        await asyncio.sleep(0)
        raise error

    for f in forms(fail, thread):

        def call(f=f):
            with pytest.raises(KeyError) as caught:
                f()
            assert caught.value is error
            assert error.__context__ is error.__cause__ is None

        place(call)


def test_no_frame_of_the_way_is_in_the_traceback(place, thread):
    async def fail():
        await asyncio.sleep(0)
        raise KeyError

    async def items():
        yield await fail()

    calls = forms(fail, thread)
    calls.append(lambda: list(tworoutine(items, home=thread)()))
    for f in calls:
        try:
            place(f)
        except KeyError as exc:
            shown = traceback.extract_tb(exc.__traceback__)
        names = [each.filename for each in shown]
        assert __file__ in names
        assert not [name for name in names if name.endswith("/_homes.py")]

    @tworoutine(home=thread)
    async def outer():
        return tworoutine(fail, home=thread)()

    try:
        place(outer)
    except KeyError as exc:
        shown = traceback.extract_tb(exc.__traceback__)
    assert [each.name for each in shown][-2:] == ["outer", "fail"]


def test_frameworks_see_the_code_of_the_function(thread):
    class Board:
        @tworoutine
        async def read(self, x, y=1, *, z=2):
            pass

    for f in (Board.read, Board().read):
        g = f.at(thread)
        assert g.__code__ == f.__code__
        assert g.__defaults__ == f.__defaults__ == (1,)
        assert g.__kwdefaults__ == f.__kwdefaults__ == {"z": 2}


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
def test_what_ends_a_loop_ends_the_caller_only(thread, kind):
    @tworoutine(home=thread)
    async def leave():
        raise kind(3)

    with pytest.raises(kind):
        leave()
    assert tworoutine(where, home=thread)(1)[1] is thread.loop


def test_wrong_arguments(place, thread):
    def call(f):
        with pytest.raises(TypeError, match=r"where\(\) got an unexpected"):
            f(y=1)

    for f in forms(where, thread)[:-1]:
        place(lambda f=f: call(f))


# --- cancelling -------------------------------------------------------------


@pytest.mark.parametrize("way", ["sync", "async", "context"])
def test_a_cancel_reaches_what_runs_at_home(thread, way):
    latch = Latch()
    f = tworoutine(latch.hold, home=thread)

    async def call():
        if way == "sync":
            f()
        elif way == "async":
            await (~f)()
        else:
            with home(thread):
                await_(latch.hold())

    async def main():
        task = asyncio.create_task(call())
        while not latch.reached.is_set():
            await asyncio.sleep(0)
        task.cancel("why")
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        assert latch.ended.is_set()
        assert latch.how.args == caught.value.args == ("why",)
        assert task.cancelling() == 1

    asyncio.run(main())


@pytest.mark.parametrize("way", ["sync", "async"])
def test_timeouts_around_and_inside(thread, way):
    latch = Latch()

    @tworoutine(home=thread)
    async def inner():
        async with asyncio.timeout(0.01):
            await latch.hold()

    f = tworoutine(latch.hold, home=thread)

    async def call(f):
        return f() if way == "sync" else await (~f)()

    async def expire_once_reached(limit):
        await asyncio.to_thread(latch.reached.wait)
        limit.reschedule(asyncio.get_running_loop().time())

    async def main():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(None) as limit:
                expiry = asyncio.create_task(expire_once_reached(limit))
                await call(f)
        await expiry
        assert latch.ended.is_set()
        assert asyncio.current_task().cancelling() == 0
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(call(f), 0.01)
        with pytest.raises(TimeoutError):
            await call(inner)
        with pytest.raises(ExceptionGroup):
            async with asyncio.TaskGroup() as group:
                group.create_task(call(f))
                group.create_task(fail())

    async def fail():
        await asyncio.sleep(0)
        raise KeyError

    asyncio.run(main())
    with pytest.raises(TimeoutError):
        inner()


def test_a_cancel_that_is_swallowed_at_home(thread):
    reached = threading.Event()

    @tworoutine(home=thread)
    async def stubborn():
        reached.set()
        try:
            await asyncio.sleep(600)
        except asyncio.CancelledError:
            return "went on"

    async def main():
        task = asyncio.create_task((~stubborn)())
        while not reached.is_set():
            await asyncio.sleep(0)
        task.cancel()
        assert await task == "went on"

    asyncio.run(main())


def test_a_cancel_is_never_lost(thread):
    """Whenever it comes: as the call ends, too."""

    @tworoutine(home=thread)
    async def quick(n):
        for _ in range(n):
            await asyncio.sleep(0)

    async def main():
        for i in range(300):
            task = asyncio.create_task((~quick)(i % 3))
            for _ in range(i % 7):
                await asyncio.sleep(0)
            if not task.cancel():
                await task
                continue
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(main())


def test_the_end_of_asyncio_run_cancels_calls(thread):
    latch = Latch()
    f = tworoutine(latch.hold, home=thread)

    async def main():
        task = asyncio.create_task((~f)())
        while not latch.reached.is_set():
            await asyncio.sleep(0)
        return task

    task = asyncio.run(main())
    assert task.cancelled()
    assert latch.ended.is_set()


# --- Ctrl-C -----------------------------------------------------------------

INTERRUPT = """
import asyncio, os, signal, sys, threading
from tworoutine import CannotSuspend, LoopThread, home, tworoutine

signal.signal(signal.SIGINT, signal.default_int_handler)
thread = LoopThread()
log = []

@tworoutine
async def held():
    os.kill(os.getpid(), signal.SIGINT)
    try:
        await asyncio.sleep(600)
    finally:
        await asyncio.sleep(0)
        log.append("finally")

@tworoutine
async def quick():
    return threading.current_thread() is not threading.main_thread()

def call():
    if sys.argv[1] == "at":
        held.at(thread)()
    else:
        with home(thread):
            held()

async def main():
    call()

for _ in range(3):
    try:
        call() if sys.argv[2] == "no loop" else asyncio.run(main())
    except KeyboardInterrupt:
        log.append("interrupted")
    assert quick.at(thread)()
print(*log)
"""


@pytest.mark.parametrize("where", ["no loop", "task"])
@pytest.mark.parametrize("way", ["at", "context"])
def test_ctrl_c(program, way, where):
    out = program(INTERRUPT, way, where)
    assert out.split() == ["finally", "interrupted"] * 3


ALARM = """
import asyncio, signal
from tworoutine import CannotSuspend, LoopThread, tworoutine

class TimeLimit(Exception): pass

def handler(*args):
    raise error

error = TimeLimit()
signal.signal(signal.SIGALRM, handler)
log = []

@tworoutine(home=LoopThread())
async def held():
    signal.setitimer(signal.ITIMER_REAL, 0.01)
    try:
        await asyncio.sleep(600)
    finally:
        await asyncio.sleep(0)
        log.append("finally")

try:
    held()
except TimeLimit as exc:
    log.append(exc is error)
print(*log)
"""


def test_an_exception_out_of_a_signal_handler(program):
    assert program(ALARM) == "finally True\n"


# --- LoopThread -------------------------------------------------------------


def test_a_loop_thread_starts_when_used_and_ends():
    before = threading.active_count()
    thread = LoopThread("mine")
    assert threading.active_count() == before
    assert repr(thread) == "<LoopThread 'mine' not started>"
    loop = thread.loop
    assert thread.loop is loop
    assert loop.is_running()
    assert repr(thread) == "<LoopThread 'mine' running>"
    [its] = [t for t in threading.enumerate() if t.name == "mine"]
    assert its.daemon
    thread.close()
    thread.close()
    assert loop.is_closed()
    assert not its.is_alive()
    assert repr(thread) == "<LoopThread 'mine' closed>"
    with pytest.raises(RuntimeError, match="'mine' closed> is closed"):
        thread.loop  # noqa: B018


def test_it_is_started_once():
    with LoopThread() as thread:
        start = threading.Barrier(10)

        def use(_):
            start.wait(60)
            return thread.loop

        with concurrent.futures.ThreadPoolExecutor(10) as pool:
            assert len(set(pool.map(use, range(10), timeout=60))) == 1


def test_close_is_that_of_a_runner():
    """Tasks are cancelled, generators and the executor end."""
    log, reached = [], threading.Event()
    thread = LoopThread()

    async def generator():
        try:
            yield 1
        finally:
            log.append("generator")

    @tworoutine(home=thread)
    async def begin():
        kept.append(generator())
        await anext(kept[0])
        await asyncio.to_thread(log.append, "executor")
        kept.append(asyncio.create_task(background()))

    async def background():
        reached.set()
        try:
            await asyncio.sleep(600)
        finally:
            log.append("task")

    kept = []
    begin()
    assert reached.wait(60)
    thread.close()
    assert log == ["executor", "task", "generator"]
    assert not [t for t in threading.enumerate() if "asyncio" in t.name]


def test_close_ends_the_calls_of_others():
    latch, thread = Latch(), LoopThread()
    f = tworoutine(latch.hold, home=thread)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        sync = pool.submit(f)
        other = pool.submit(lambda: asyncio.run((~f)()))
        assert latch.reached.wait(60)
        tworoutine(asyncio.sleep, home=thread)(0.01)
        thread.close()
        for each in (sync, other):
            with pytest.raises((asyncio.CancelledError, RuntimeError)):
                each.result(60)


def test_a_loop_that_is_closed_ends_the_calls_that_wait():
    """Also one that is closed without any care."""
    latch, other_latch = Latch(), Latch()
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    def run():
        loop.run_until_complete(stop.wait())
        tasks.extend(asyncio.all_tasks(loop))
        for task in tasks:
            task._log_destroy_pending = False
        loop.close()

    tasks = []
    runner = threading.Thread(target=run)
    runner.start()
    thread_of(loop)
    f = tworoutine(latch.hold, home=loop)
    g = tworoutine(other_latch.hold, home=loop)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        sync = pool.submit(f)
        other = pool.submit(lambda: asyncio.run((~g)()))
        assert latch.reached.wait(60)
        assert other_latch.reached.wait(60)
        thread_of(loop)
        loop.call_soon_threadsafe(stop.set)
        for each in (sync, other):
            with pytest.raises(RuntimeError, match="closed"):
                each.result(60)
    runner.join()


EXIT = """
import asyncio, atexit, threading
from tworoutine import tworoutine

atexit.register(lambda: print("at exit", f()))

from tworoutine import LoopThread

thread = LoopThread()

@tworoutine(home=thread)
async def f():
    return threading.current_thread().name

async def background():
    try:
        await asyncio.sleep(600)
    finally:
        await asyncio.sleep(0)
        print("task ended")

@tworoutine(home=thread)
async def begin():
    asyncio.create_task(background())
    await asyncio.to_thread(print, "begun")

begin()

def work():
    threading.main_thread().join()
    print("after main", f())

threading.Thread(target=work).start()
"""


def test_what_atexit_has_registered_is_run_by_hand(program):
    code = """
import asyncio, atexit, threading
from tworoutine import CannotSuspend, LoopThread, tworoutine

@tworoutine(home=LoopThread())
async def f():
    return threading.current_thread().name

print(f())
atexit._run_exitfuncs()
print(threading.active_count(), f())
"""
    assert program(code).split() == ["LoopThread-1", "1", "LoopThread-1"]


def test_at_exit(program):
    lines = program(EXIT).splitlines()
    assert lines == [
        "begun",
        "after main LoopThread-1",
        "at exit LoopThread-1",
        "task ended",
    ]


FORK = """
import asyncio, os, threading, warnings
from tworoutine import CannotSuspend, LoopThread, home, tworoutine

warnings.simplefilter("ignore", DeprecationWarning)  # fork beside threads
thread = LoopThread()

@tworoutine(home=thread)
async def f(x):
    await asyncio.sleep(0)
    return x, os.getpid(), threading.current_thread().name

@tworoutine
async def g(): pass

def say(text):
    os.write(1, text.encode() + b"\\n")

parents = thread.loop
assert f(1)[1] == os.getpid()
with home(thread):
    pid = os.fork()
    if pid == 0:
        assert f(2) == (2, os.getpid(), "LoopThread-1")
        assert asyncio.run((~f)(2))[1] == os.getpid()
        g()
        assert thread.loop is not parents
        try:
            g.at(parents)()
        except RuntimeError as exc:
            say(str(exc).partition(">, ")[2])
        os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
assert f(3)[:2] == (3, os.getpid())
say("parent")
"""


def test_fork(program):
    assert program(FORK).splitlines() == [
        "is of the parent process: make one after the fork, or give a "
        "LoopThread, which does",
        "parent",
    ]


# --- deadlocks --------------------------------------------------------------


@pytest.fixture
def impatient(monkeypatch):
    from tworoutine import _homes

    monkeypatch.setattr(_homes, "PAUSE", 0.01)
    return _homes


def by_thread(f, results):
    def work():
        try:
            f()
        except BaseException as exc:
            results.append(exc)

    worker = threading.Thread(target=work)
    worker.start()
    worker.join()


def by_pool(f, results):
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        results.append(pool.submit(f).exception())


@pytest.mark.parametrize("wait", [by_thread, by_pool])
@pytest.mark.parametrize("way", ["sync", "loop"])
def test_a_home_that_waits_for_its_caller(thread, impatient, wait, way):
    f = tworoutine(where, home=thread)
    results = []

    @tworoutine(home=thread)
    async def blocks():
        wait(f if way == "sync" else lambda: asyncio.run((~f)()), results)

    blocks()
    [error] = results
    assert type(error) is RuntimeError
    assert str(error).startswith("deadlock: the home of this call")
    assert "test_homes.py" in str(error)
    assert f()[1] is thread.loop


def test_a_home_that_waits_for_its_caller_for_a_while(thread, impatient):
    f = tworoutine(where, home=thread)
    results = []
    worker = threading.Thread(target=lambda: results.append(f()))

    @tworoutine(home=thread)
    async def blocks():
        worker.start()
        worker.join(0.2)

    blocks()
    worker.join()
    assert results == [f()]


@pytest.mark.parametrize("way", ["sync", "loop"])
def test_a_home_that_does_not_answer(thread, impatient, monkeypatch, way):
    f = tworoutine(where, home=thread)
    begun, release = threading.Event(), threading.Event()

    @tworoutine(home=thread)
    async def blocks():
        begun.set()
        assert release.wait(60)

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        blocked = pool.submit(blocks)
        try:
            assert begun.wait(60)
            monkeypatch.setattr(impatient, "PATIENCE", 0.05)
            with pytest.raises(TimeoutError, match=r"in .*test_homes.py"):
                f() if way == "sync" else asyncio.run((~f)())
        finally:
            release.set()
        blocked.exception(60)
    assert f()[1] is thread.loop


def test_a_home_that_stops(impatient, monkeypatch):
    monkeypatch.setattr(impatient, "PATIENCE", 0.05)
    latch = Latch()
    loop = asyncio.new_event_loop()

    def run():
        loop.run_forever()
        assert ended.wait(60)
        for task in asyncio.all_tasks(loop):
            task._log_destroy_pending = False
        loop.close()

    ended = threading.Event()
    runner = threading.Thread(target=run)
    runner.start()
    thread_of(loop)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        called = pool.submit(tworoutine(latch.hold, home=loop))
        assert latch.reached.wait(60)
        loop.call_soon_threadsafe(loop.stop)
        with pytest.raises(TimeoutError, match="has not answered"):
            called.result(60)
    ended.set()
    runner.join()


def test_a_home_further_out_in_the_same_thread(thread):
    ended = concurrent.futures.Future()

    async def inner():
        return tworoutine(where).at(thread)()

    def callback():
        running = asyncio.get_running_loop()
        asyncio._set_running_loop(None)
        loop = asyncio.new_event_loop()
        try:
            loop.run_until_complete(inner())
        except BaseException as exc:
            ended.set_result(exc)
        finally:
            loop.close()
            asyncio._set_running_loop(running)

    thread.loop.call_soon_threadsafe(callback)
    error = ended.result(60)
    assert type(error) is CannotSuspend
    assert "in this thread further out" in str(error)


def test_home_is_left_in_order(thread):
    with LoopThread() as other:
        outer, inner = home(thread), home(other)
        outer.__enter__()
        inner.__enter__()
        with pytest.raises(RuntimeError, match="another one was entered"):
            outer.__exit__(None, None, None)
        inner.__exit__(None, None, None)
        outer.__exit__(None, None, None)
    assert tworoutine(where)()[1] is not thread.loop


def test_nothing_is_loaded_without_a_home(program):
    code = "import sys, tworoutine; print('tworoutine._homes' in sys.modules)"
    assert program(code) == "False\n"


if __name__ == "__main__":
    sys.exit(pytest.main([__file__, "-q"]))
