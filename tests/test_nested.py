"""tworoutine.nested: asyncio.run and run_until_complete where a loop runs."""

import asyncio
import asyncio.base_events
import contextlib
import contextvars
import functools
import gc
import pathlib
import random
import selectors
import subprocess
import sys
import threading
import types
from asyncio import run as run_by_name

import pytest

from conftest import Place, _callback, _task
from test_hosts_doc import PRINTS
from tworoutine import CannotSuspend, await_, nested, tworoutine


@pytest.fixture(autouse=True)
def applied():
    nested.apply()
    yield
    nested.undo()


@pytest.fixture(
    params=[Place("task", _task), Place("callback", _callback)],
    ids=lambda place: place.name,
)
def in_loop(request):
    return request.param


@tworoutine
async def double(x):
    await asyncio.sleep(0.001)
    return 2 * x


def complete(awaitable):
    """As libraries do that have a synchronous face."""
    return asyncio.get_event_loop().run_until_complete(awaitable)


WAYS = [asyncio.run, run_by_name, complete]
ways = pytest.mark.parametrize("wait", WAYS, ids=["run", "by-name", "loop"])


# --- waiting ----------------------------------------------------------------


@ways
def test_the_result(in_loop, wait):
    assert in_loop(lambda: wait((~double)(2))) == 4


@ways
def test_an_exception_is_the_same_object(in_loop, wait):
    error = KeyError(1)

    async def fails():
        await asyncio.sleep(0)
        raise error

    with pytest.raises(KeyError) as caught:
        in_loop(lambda: wait(fails()))
    assert caught.value is error
    assert error.__context__ is None


@ways
def test_several_deep(in_loop, wait):
    async def deep(n):
        await asyncio.sleep(0)
        return 1 + (wait(deep(n - 1)) if n else await (~double)(0))

    assert in_loop(lambda: wait(deep(20))) == 21


@ways
def test_below_code_in_c(in_loop, wait):
    assert in_loop(
        lambda: sorted([3, 1, 2], key=lambda x: wait((~double)(x)))
    ) == [1, 2, 3]


def test_tasks_and_what_gathers_them(in_loop):
    def waits():
        task = asyncio.ensure_future((~double)(1))
        both = asyncio.gather((~double)(2), (~double)(3))
        done, _ = complete(asyncio.wait([asyncio.ensure_future(task)]))
        assert complete(task) == 2  # it has ended
        return complete(both), asyncio.run(both), [t.result() for t in done]

    assert in_loop(waits) == ([4, 6], [4, 6], [2])


def test_in_any_order():
    """Not last-in first-out; and two that need each other both end."""
    order = []

    async def one(name, event, then):
        async def inner():
            await event.wait()
            order.append(name)

        asyncio.run(inner())
        order.append(f"{name} returned")
        then.set()

    async def main():
        a, b, end = asyncio.Event(), asyncio.Event(), asyncio.Event()
        asyncio.get_running_loop().call_later(0.005, b.set)
        await asyncio.gather(one("a", a, end), one("b", b, a))

    asyncio.run(main())
    assert order == ["b", "b returned", "a", "a returned"]


def test_others_go_on():
    async def main():
        beats = []

        async def beat():
            while True:
                beats.append(1)
                await asyncio.sleep(0)

        task = asyncio.create_task(beat())
        asyncio.run(asyncio.sleep(0.01))
        task.cancel()
        return len(beats)

    assert asyncio.run(main()) > 10


@ways
def test_it_is_the_callers_task_and_context(wait):
    var = contextvars.ContextVar("var", default=0)

    async def sets():
        await asyncio.sleep(0)
        return asyncio.current_task(), var.set(1)

    async def main():
        task, token = wait(sets())
        assert task is asyncio.current_task()
        assert var.get() == 1
        var.reset(token)
        assert var.get() == 0

    asyncio.run(main())


@ways
def test_cancel_and_time_limits(wait):
    seen = []

    async def inner():
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError as exc:
            seen.append(exc.args)
            await asyncio.sleep(0.001)
            raise

    async def main():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.005):
                wait(inner())
        with pytest.raises(TimeoutError):
            wait(asyncio.wait_for(inner(), 0.005))

        async def caller():
            wait(inner())

        task = asyncio.create_task(caller())
        await asyncio.sleep(0.001)
        task.cancel("enough")
        with pytest.raises(asyncio.CancelledError):
            await task
        assert seen[2] == ("enough",)
        assert asyncio.current_task().cancelling() == 0

    asyncio.run(main())
    assert len(seen) == 3


def test_what_a_run_has_begun_goes_on():
    async def main():
        async def begins():
            return asyncio.create_task((~double)(1))

        task = asyncio.run(begins())
        assert not task.done()
        return await task

    assert asyncio.run(main()) == 2


def test_debug_and_loop_factory_are_for_a_loop_of_its_own():
    """The loop that runs is used as it is."""
    options = {"debug": True}
    if sys.version_info >= (3, 12):
        options["loop_factory"] = lambda: pytest.fail("no loop is made")

    async def main():
        loop = asyncio.get_running_loop()

        async def inner():
            return asyncio.get_running_loop(), loop.get_debug()

        return loop, asyncio.run(inner(), **options)

    loop, got = asyncio.run(main(), debug=False)
    assert got == (loop, False)


def test_where_no_loop_runs_nothing_is_new():
    async def main():
        return asyncio.get_running_loop()

    loop = asyncio.run(main())
    assert loop.is_closed()
    loop = asyncio.new_event_loop()
    assert loop.run_until_complete(main()) is loop
    loop.close()
    with pytest.raises(RuntimeError, match="Event loop is closed"):
        loop.run_until_complete(None)
    assert double(1) == 2
    with pytest.raises((ValueError, TypeError), match="a coroutine"):
        asyncio.run(5)


def test_arguments(in_loop):
    with pytest.raises(TypeError, match=r"asyncio.run\(\) takes a coroutine"):
        in_loop(lambda: asyncio.run(5))
    with pytest.raises(TypeError, match="positional"):
        in_loop(lambda: asyncio.run())
    with pytest.raises(TypeError, match="takes an event loop, not 5"):
        nested.apply(5)


def test_where_a_call_cannot_wait_it_says_so():
    class Loop(asyncio.SelectorEventLoop):
        def _run_once(self):
            super()._run_once()

    async def main():
        with pytest.raises(CannotSuspend, match="take its turns") as caught:
            asyncio.run((~double)(1))
        assert caught.value.__notes__ == [
            "asyncio.run() waits as await_(): tworoutine.nested.apply()"
        ]
        with (
            contextlib.closing(asyncio.new_event_loop()) as other,
            pytest.raises(CannotSuspend, match="take its turns"),
        ):
            other.run_until_complete((~double)(1))

    with asyncio.Runner(loop_factory=Loop) as runner:
        runner.run(main())


def test_run_forever_and_runners_are_left_alone():
    async def main():
        loop = asyncio.get_running_loop()
        coro = (~double)(1)
        with (
            asyncio.Runner() as runner,
            contextlib.closing(coro),
            pytest.raises(RuntimeError, match="running event loop"),
        ):
            runner.run(coro)
        # Last: 3.13 says that, and takes the loop for one that has ended.
        with pytest.raises(RuntimeError, match="already running"):
            loop.run_forever()
        asyncio._set_running_loop(loop)

    asyncio.run(main())


def test_a_loop_of_another_thread():
    async def main():
        def elsewhere():
            coro = (~double)(1)
            with (
                contextlib.closing(coro),
                pytest.raises(RuntimeError, match="already running"),
            ):
                loop.run_until_complete(coro)
            return asyncio.run(waits())

        async def waits():
            coro = (~double)(1)
            with (
                contextlib.closing(coro),
                pytest.raises(RuntimeError, match="already running"),
            ):
                loop.run_until_complete(coro)
            return asyncio.run((~double)(1))

        loop = asyncio.get_running_loop()
        return await asyncio.to_thread(elsewhere)

    assert asyncio.run(main()) == 2


def test_a_subclass_with_its_own_that_calls_asyncios():
    class Loop(asyncio.SelectorEventLoop):
        asked = 0

        def run_until_complete(self, future):
            self.asked += 1
            return super().run_until_complete(future)

    async def main():
        loop = asyncio.get_running_loop()
        return loop.run_until_complete((~double)(1)), loop.asked

    with contextlib.closing(Loop()) as loop:
        assert loop.run_until_complete(main()) == (2, 2)


# --- apply and undo ---------------------------------------------------------


def snapshot():
    """What can be found in asyncio, and the code of all its functions."""
    seen = {}
    for name, module in sorted(sys.modules.items()):
        if name.split(".")[0] not in {"asyncio", "_asyncio", "selectors"}:
            continue
        for key, value in vars(module).items():
            note(seen, (name, key), value)
            if isinstance(value, type):
                for inner, member in vars(value).items():
                    note(seen, (name, key, inner), member)
    return seen


def note(seen, key, value):
    seen[key] = value
    if isinstance(value, types.FunctionType):
        seen[(*key, "code")] = value.__code__
        seen[(*key, "defaults")] = value.__defaults__, value.__kwdefaults__


def changed(before, now):
    return {
        key[-2] if key[-1] == "code" else key[-1]
        for key in before.keys() | now.keys()
        if before.get(key) is not now.get(key) and "defaults" not in key
    } - {"_event_loop_policy", "_running_loop", "__warningregistry__"}


def test_nothing_else_is_touched():
    nested.undo()
    before = snapshot()
    run, complete = asyncio.run, asyncio.BaseEventLoop.run_until_complete
    nested.apply()
    assert changed(before, snapshot()) == {"run", "run_until_complete"}
    assert asyncio.run is run
    assert asyncio.BaseEventLoop.run_until_complete is complete

    async def main():
        loop = asyncio.get_running_loop()
        names = set(vars(loop))
        asyncio.run((~double)(1))
        assert loop.get_task_factory() is None
        assert set(vars(loop)) == names
        other = asyncio.new_event_loop()
        kind, selector, names = type(other), other._selector, set(vars(other))
        assert other.run_until_complete((~double)(1)) == 2
        assert (type(other), other._selector) == (kind, selector)
        assert (set(vars(other)), other._task_factory) == (names, None)
        other.close()

    asyncio.run(main())
    assert changed(before, snapshot()) == {"run", "run_until_complete"}
    nested.undo()
    assert changed(before, snapshot()) == set()


def refuses():
    """Whether asyncio.run refuses to run inside a running loop."""

    async def main():
        coro = (~double)(1)
        with contextlib.closing(coro):
            try:
                return asyncio.run(coro) != 2
            except RuntimeError:
                return True

    return asyncio.run(main())


def test_twice():
    assert not refuses()
    nested.apply()
    assert not refuses()
    nested.undo()
    assert refuses()
    nested.undo()
    assert refuses()
    nested.apply()
    assert not refuses()


def test_while_calls_wait():
    async def main():
        async def inner():
            await asyncio.sleep(0.01)
            return asyncio.current_task().get_name()

        async def caller():
            return asyncio.run(inner())

        async with asyncio.TaskGroup() as tasks:
            names = [tasks.create_task(caller(), name=n) for n in "abc"]
            await asyncio.sleep(0)
            nested.undo()
        assert [task.result() for task in names] == ["a", "b", "c"]
        nested.apply()  # in a running loop
        return asyncio.run(inner())

    assert asyncio.run(main()).startswith("Task-")


def test_in_threads():
    def work(results):
        for _ in range(50):
            nested.apply()
        results.append(refuses())

    results = []
    threads = [threading.Thread(target=work, args=[results]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [False] * 8


def test_nothing_of_it_is_loaded_before():
    source = (
        "import sys, asyncio, tworoutine\n"
        "code = asyncio.run.__code__\n"
        "assert 'tworoutine.nested' not in sys.modules\n"
        "from tworoutine import nested\n"
        "assert asyncio.run.__code__ is code\n"
    )
    subprocess.run([sys.executable, "-c", source], check=True, timeout=90)


# --- another loop -----------------------------------------------------------


@pytest.fixture
def new_loop():
    """Makes loops, which have to be as they were at the end."""
    kinds = {}

    def make():
        loop = asyncio.new_event_loop()
        kinds[loop] = type(loop), loop._selector
        return loop

    yield make
    for loop, (kind, selector) in kinds.items():
        assert not loop.is_running()
        assert loop.get_task_factory() is None
        assert asyncio.all_tasks(loop) == set()
        assert type(loop) is kind
        assert loop._selector is selector
        loop.close()
    kinds.clear()
    gc.collect()


class Client:
    """A library that keeps a loop of its own, and a connection in that."""

    def __init__(self, loop):
        self.loop = loop
        self.order = []

    def open(self):
        async def serve(reader, writer):
            while line := await reader.readline():
                writer.write(line.upper())
            writer.close()

        async def connect():
            server = await asyncio.start_server(serve, "127.0.0.1", 0)
            port = server.sockets[0].getsockname()[1]
            return server, *await asyncio.open_connection("127.0.0.1", port)

        self.server, self.reader, self.writer = self.complete(connect())

    def complete(self, coro):
        return self.loop.run_until_complete(coro)

    def ask(self, question):
        async def ask():
            self.writer.write(question + b"\n")
            return (await self.reader.readline()).strip()

        return self.complete(ask())

    def wait(self, delay, then=lambda: None):
        async def wait():
            await asyncio.sleep(delay)
            self.order.append(delay)
            return then()

        return self.complete(wait())

    def close(self):
        async def close():
            self.server.close()
            self.writer.close()
            await self.writer.wait_closed()
            await self.reader.read()
            await asyncio.sleep(0)  # the server's side closes its own

        self.complete(close())


def test_a_client_with_a_loop_of_its_own(in_loop, new_loop):
    client = Client(new_loop())

    def use():
        if not hasattr(client, "server"):
            client.open()
        return client.ask(b"here")

    assert in_loop(use) == b"HERE"
    assert client.ask(b"without a loop") == b"WITHOUT A LOOP"
    assert in_loop(use) == b"HERE"
    in_loop(client.close)


def test_others_go_on_beside_another_loop(new_loop):
    async def main():
        client, beats = Client(new_loop()), []

        async def beat():
            while True:
                beats.append(1)
                await asyncio.sleep(0)

        task = asyncio.create_task(beat())
        client.wait(0.01)
        count = len(beats)

        async def spins(n=10):
            for _ in range(n):
                await asyncio.sleep(0)

        client.complete(spins())  # it never waits for its selector
        task.cancel()
        return count, len(beats)

    count, end = asyncio.run(main())
    assert 10 < count < end - 5


@pytest.mark.parametrize("loops", [1, 3], ids=["one-loop", "three-loops"])
def test_other_loops_end_in_any_order(new_loop, loops):
    async def main():
        clients = [Client(new_loop()) for _ in range(loops)]
        order = []

        async def one(n):
            client = clients[n % loops]
            event, before = asyncio.Event(), before_it[-1]
            before_it.append((client.loop, event))

            async def inner():
                await event.wait()
                order.append(n)
                if before is not None:
                    loop, earlier = before
                    loop.call_soon_threadsafe(earlier.set)

            client.complete(inner())
            order.append(f"{n} returned")

        before_it = [None]
        tasks = [asyncio.create_task(one(n)) for n in range(3)]
        await asyncio.sleep(0.001)
        loop, event = before_it[-1]
        loop.call_soon_threadsafe(event.set)
        await asyncio.gather(*tasks)
        return order

    ended = [n for n in asyncio.run(main()) if isinstance(n, int)]
    assert ended == [2, 1, 0]


def test_what_runs_in_another_loop_may_wait_as_well(new_loop):
    """For the loop that runs, for one further out, for a third."""

    async def main():
        loop = asyncio.get_running_loop()
        client, third = Client(new_loop()), Client(new_loop())

        async def where():
            await asyncio.sleep(0.001)
            return asyncio.get_running_loop()

        def inside():
            assert double(1) == 2
            assert sorted([2, 1], key=double) == [1, 2]
            assert await_(where()) is client.loop
            assert asyncio.run(where()) is client.loop
            assert client.complete(where()) is client.loop
            assert loop.run_until_complete(where()) is loop
            assert third.complete(where()) is third.loop
            third.wait(0.001, lambda: client.complete(where()))
            return "inside"

        async def one():
            return client.wait(0.001, inside)

        return await asyncio.gather(one(), one(), one())

    assert asyncio.run(main()) == ["inside"] * 3


def test_cancel_and_time_limits_beside_another_loop(new_loop):
    async def main():
        client, seen = Client(new_loop()), []

        async def inner(swallows=False):
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError as exc:
                await asyncio.sleep(0.001)
                seen.append(exc.args)
                if not swallows:
                    raise
            return "swallowed"

        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.005):
                client.complete(inner())

        async def caller(*args):
            return client.complete(inner(*args))

        first, second, third = (
            asyncio.create_task(caller(*args)) for args in [(), (), (True,)]
        )
        await asyncio.sleep(0.005)
        for task in first, second, third:  # the first has run the loop
            task.cancel("enough")
            await asyncio.wait([task])
        assert first.cancelled() and second.cancelled()
        assert third.result() == "swallowed"
        assert seen[1:] == [("enough",)] * 3
        assert asyncio.current_task().cancelling() == 0

    asyncio.run(main())


def test_errors_beside_another_loop(new_loop):
    async def main():
        client = Client(new_loop())
        error = KeyError(1)

        async def fails():
            await asyncio.sleep(0)
            raise error

        with pytest.raises(KeyError) as caught:
            client.complete(fails())
        assert caught.value is error

        async def stops():
            client.loop.call_soon(client.loop.stop)
            await asyncio.sleep(0.001)

        task = client.loop.create_task(stops())
        with pytest.raises(RuntimeError, match="stopped before Future"):
            client.complete(task)
        client.complete(task)

        async def exits():
            await asyncio.sleep(0)
            raise SystemExit(3)

        with pytest.raises(SystemExit) as ended:
            client.complete(exits())
        assert ended.value.code == 3
        foreign = client.loop.create_future()
        with pytest.raises((ValueError, RuntimeError), match="loop"):
            asyncio.run(foreign)
        closed = asyncio.new_event_loop()
        closed.close()
        coro = fails()
        with (
            contextlib.closing(coro),
            pytest.raises(RuntimeError, match="loop is closed"),
        ):
            closed.run_until_complete(coro)

    asyncio.run(main())


def test_a_task_of_before_makes_no_call_beside_another_loop(new_loop):
    async def main():
        client = Client(new_loop())

        async def calls():
            with pytest.raises(CannotSuspend, match="take its turns"):
                double(1)
            return "refused"

        task = client.loop.create_task(calls())
        return client.complete(task)

    assert asyncio.run(main()) == "refused"


def test_a_loop_that_cannot_wait_in_another_one():
    """It holds that up, which therefore cannot be waited for inside."""

    async def main():
        loop, beats = asyncio.get_running_loop(), []

        async def inner():
            for _ in range(3):
                await asyncio.sleep(0.001)
            with pytest.raises(CannotSuspend, match="further out"):
                loop.run_until_complete((~double)(1))
            return len(beats), double(1)

        selector = selectors.SelectSelector()
        with contextlib.closing(asyncio.SelectorEventLoop(selector)) as other:
            loop.call_soon(beats.append, 1)
            loop.call_later(0.0005, beats.append, 2)
            return other.run_until_complete(inner())

    assert asyncio.run(main()) == (1, 2)


def test_generators_and_hooks_beside_another_loop(new_loop):
    async def main():
        client, ended = Client(new_loop()), []

        async def numbers(name):
            try:
                yield 1
            finally:
                await asyncio.sleep(0)
                ended.append(name)

        async def here():
            async for _ in numbers("here"):
                await asyncio.sleep(0.003)
                break
            gc.collect()
            await asyncio.sleep(0.003)

        async def there():
            async for _ in numbers("there"):
                await asyncio.sleep(0.003)
                break
            gc.collect()
            await asyncio.sleep(0.001)

        hooks = sys.get_asyncgen_hooks()
        task = asyncio.create_task(here())
        client.complete(there())
        assert sys.get_asyncgen_hooks() == hooks
        await task
        return sorted(ended)

    assert asyncio.run(main()) == ["here", "there"]


class Storm:
    """Tasks that wait in each way, for each of several loops, at random."""

    def __init__(self, seed, loops):
        self._random = random.Random(seed)
        self._loops = loops

    def _delay(self):
        return self._random.random() * 0.003

    async def work(self, depth, number):
        await asyncio.sleep(self._delay())
        if depth == 0:
            return number
        inner = functools.partial(self.work, depth - 1, number)
        loop = self._random.choice(self._loops)
        way = self._random.choice(["run", "loop", "call", "tasks", "limit"])
        if way == "run":
            return asyncio.run(inner())
        if way == "loop":
            return loop.run_until_complete(inner())
        if way == "call":
            return await inner() if double(number) == 2 * number else None
        if way == "tasks":
            both = asyncio.gather(inner(), self.work(depth - 1, 0))
            return sum(await both)
        try:
            async with asyncio.timeout(3 * self._delay()):
                return loop.run_until_complete(inner())
        except TimeoutError:
            return number

    async def main(self):
        self._loops.append(asyncio.get_running_loop())
        tasks = [asyncio.create_task(self.work(4, n)) for n in range(60)]
        for task in self._random.sample(tasks, 12):
            await asyncio.sleep(self._delay())
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        return [
            result
            for number, result in enumerate(results)
            if result != number
            and not isinstance(result, asyncio.CancelledError)
        ]


@pytest.mark.parametrize("seed", range(8))
def test_random_programs(new_loop, seed):
    """Whoever runs a loop may end before those that wait for it."""
    storm = Storm(seed, [new_loop() for _ in range(4)])
    assert asyncio.run(asyncio.wait_for(storm.main(), 60)) == []


# --- Ctrl-C -----------------------------------------------------------------

INTERRUPTED = """
import asyncio, os, signal
from tworoutine import nested
nested.apply()

async def inner():
    asyncio.get_running_loop().call_later(
        0.01, os.kill, os.getpid(), signal.SIGINT
    )
    try:
        await asyncio.sleep(600)
    finally:
        await asyncio.sleep(0.001)
        print("cleaned up")

async def main():
    other = asyncio.new_event_loop()
    task = asyncio.create_task(asyncio.sleep(0.001, "others go on"))
    try:
        {call}
    finally:
        print(await task)
        other.close()

for _ in range(2):
    try:
        asyncio.run(main())
    except KeyboardInterrupt:
        print("interrupted")
"""


@pytest.mark.parametrize(
    "call", ["asyncio.run(inner())", "other.run_until_complete(inner())"]
)
def test_ctrl_c(program, call):
    out = program(INTERRUPTED.replace("{call}", call))
    assert out == "cleaned up\nothers go on\ninterrupted\n" * 2


# --- the page ---------------------------------------------------------------

PAGE = pathlib.Path(__file__).parent.parent / "docs" / "nested.md"


def test_the_program_of_the_page(program):
    source = PAGE.read_text().split("```")[1].removeprefix("python\n")
    assert program(source).splitlines() == PRINTS.findall(source)


# --- beside others ----------------------------------------------------------

BESIDE = """
import asyncio, nest_asyncio
from tworoutine import nested, tworoutine
{begin}

@tworoutine
async def double(x):
    await asyncio.sleep(0.001)
    return 2 * x

order = []

async def one(delay):
    loop = asyncio.get_running_loop()
    loop.run_until_complete(asyncio.sleep(delay))
    order.append(delay)
    return asyncio.run((~double)(1)), double(2)

async def main():
    {main}
    return await asyncio.gather(one(0.1), one(0.01))

print(asyncio.run(main()), order)
own = asyncio.run, asyncio.get_event_loop().run_until_complete.__func__
nested.undo()
print(asyncio.run(main()), order[2:])
nested.apply()
del order[:]
print(asyncio.run(main()), order)
nested.undo()
print(asyncio.run is own[0])
"""


@pytest.mark.parametrize(
    ("begin", "main"),
    [
        ("nest_asyncio.apply(); nested.apply()", ""),
        ("nested.apply(); nest_asyncio.apply()", ""),
        ("nest_asyncio.apply()", "nested.apply()"),
    ],
    ids=["after", "before", "in-its-loop"],
)
def test_beside_nest_asyncio(program, begin, main):
    pytest.importorskip("nest_asyncio")
    source = BESIDE.replace("{begin}", begin).replace("{main}", main or "pass")
    out = program(
        source, flags=["-X", "dev", "-W", "ignore::DeprecationWarning"]
    )
    results = "[(2, 4), (2, 4)] "
    first, second, again, last = out.splitlines()
    # Where ours comes later, it waits in any order.
    ours = "[0.01, 0.1]" if not begin.endswith("nest_asyncio.apply()") else ""
    assert first.startswith(results + ours)
    assert second.startswith(results)
    assert again == results + "[0.01, 0.1]"
    assert last == "True"


UVLOOP = """
import asyncio, uvloop
import tworoutine
from tworoutine import nested

async def leaf(x):
    await asyncio.sleep(0.001)
    return x

async def main():
    loop = asyncio.get_running_loop()
    {apply}
    other = asyncio.new_event_loop()
    task = asyncio.create_task(leaf("it goes on"))
    got = [asyncio.run(leaf(1)), loop.run_until_complete(leaf(2))]
    got += other.run_until_complete(leaf(3)), await task
    other.close()
    return got

async def refused():
    try:
        asyncio.run(leaf(1))
    except tworoutine.CannotSuspend as exc:
        print(exc.args[0].partition(": ")[0], *exc.__notes__)

{before}
print(tworoutine.run(main(), loop_factory=uvloop.new_event_loop))
with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
    runner.run(refused())
nested.undo()
print("run_until_complete" in vars(uvloop.Loop))
"""


@pytest.mark.parametrize(
    ("before", "apply"),
    [("nested.apply()", "nested.apply()"), ("", "nested.apply(loop)")],
)
def test_under_uvloop(program, before, apply):
    pytest.importorskip("uvloop")
    out = program(UVLOOP.replace("{before}", before).replace("{apply}", apply))
    assert out == (
        "[1, 2, 3, 'it goes on']\n"
        "await_() cannot wait here "
        "asyncio.run() waits as await_(): tworoutine.nested.apply()\n"
        "False\n"
    )


SERVED = """
import asyncio, uvloop
import tworoutine
from tworoutine import nested

async def leaf(x):
    await asyncio.sleep(0.001)
    return x

def library(x):
    return asyncio.get_event_loop().run_until_complete(leaf(x))

async def main():
    return library(1)

async def in_its_task():
    asyncio.get_running_loop().set_task_factory(tworoutine.task_factory)
    return await asyncio.create_task(main())

nested.apply()
{run}
nested.undo()
print("run_until_complete" in vars(uvloop.Loop))
"""


@pytest.mark.parametrize(
    "run",
    [
        "tworoutine.run(main(), loop_factory=uvloop.new_event_loop)",
        "uvloop.run(tworoutine.portal(main)())",
        "uvloop.run(in_its_task())",
    ],
)
def test_a_loop_that_gets_portals_later_is_served_without_an_argument(
    program, run
):
    """As by apply() at the top of a program, which is where one writes it."""
    pytest.importorskip("uvloop")
    assert program(SERVED.replace("{run}", f"print({run})")) == "1\nFalse\n"


PLUGIN = """
import asyncio
import pytest
from tworoutine import nested

@pytest.fixture(autouse=True)
def applied():
    nested.apply()
    yield
    nested.undo()

async def leaf(x):
    await asyncio.sleep(0.001)
    return x

@pytest.mark.asyncio
async def test_asynchronous():
    assert asyncio.run(leaf(1)) == 1
    assert asyncio.get_running_loop().run_until_complete(leaf(2)) == 2

def test_synchronous():
    assert asyncio.run(leaf(1)) == 1
"""


def test_under_pytest_asyncio(tmp_path):
    pytest.importorskip("pytest_asyncio")
    (tmp_path / "test_it.py").write_text(PLUGIN)
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        capture_output=True,
        text=True,
        timeout=90,
        cwd=tmp_path,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "2 passed" in ran.stdout
