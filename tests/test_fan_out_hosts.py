"""f.map and f.as_completed under trio and curio, and by anyio."""

import contextlib
import contextvars
import gc
import itertools
import logging
import math

import pytest

from hosts import HOSTS
from tworoutine import portal, tworoutine

NAMES = ("trio", "curio", "anyio on asyncio", "anyio on trio")


@pytest.fixture(params=[h for h in HOSTS if h.name in NAMES], ids=repr)
def host(request):
    request.param.require()
    return request.param


@pytest.fixture(autouse=True)
def crashes(caplog):
    """curio logs tasks that crash, and those that nobody has joined."""
    caplog.set_level(logging.WARNING)
    yield
    gc.collect()
    assert caplog.messages == []


class Synchronous:
    """The two spellings, with the same methods."""

    async def map(self, f, *args, **kwargs):
        return f.map(*args, **kwargs)

    async def pairs(self, f, *args, until=math.inf, **kwargs):
        """The first pairs of as_completed; then the loop is left."""
        got = []
        for pair in f.as_completed(*args, **kwargs):
            got.append(pair)
            if len(got) >= until:
                break
        return got


class Asynchronous:
    async def map(self, f, *args, **kwargs):
        return await (~f.map)(*args, **kwargs)

    async def pairs(self, f, *args, until=math.inf, **kwargs):
        got = []
        pairs = (~f.as_completed)(*args, **kwargs)
        async with contextlib.aclosing(pairs):
            async for pair in pairs:
                got.append(pair)
                if len(got) >= until:
                    break
        return got


@pytest.fixture(params=[Synchronous, Asynchronous], ids=["f", "~f"])
def form(request):
    return request.param()


@pytest.fixture(params=["map", "pairs"], ids=["map", "as_completed"])
def both(form, request):
    """``await both(f, items, ...)`` by map or by as_completed."""
    return getattr(form, request.param)


class Work:
    """An async function that counts who is at work in it."""

    def __init__(self, lib):
        self.lib = lib
        self.at_work = self.peak = 0
        self.started, self.ended = [], []
        self.tasks = set()

    def _begin(self, x):
        self.tasks.add(self.lib.current_task())
        self.started.append(x)
        self.at_work += 1
        self.peak = max(self.peak, self.at_work)

    def _end(self, x):
        self.at_work -= 1
        self.ended.append(x)

    @tworoutine
    async def do(self, x):
        self._begin(x)
        try:
            await self.lib.sleep(0)
            return x * 10
        finally:
            self._end(x)

    @tworoutine
    async def odd_fail(self, x):
        self._begin(x)
        try:
            await self.lib.sleep(0)
            if x % 2:
                raise ValueError(f"odd: {x}")
            return x
        finally:
            self._end(x)

    @tworoutine
    async def wait_but_for(self, x, *, free=0):
        """Wait for ever, unless x is free; take a while to end."""
        self._begin(x)
        try:
            if x != free:
                await self.lib.Event().wait()
            return x
        finally:
            await slowly(self.lib)
            self._end(x)

    @tworoutine
    async def by_calls(self, x):
        """Make synchronous calls."""
        return sum(self.do.map([x, x + 1])) + self.do(x)


async def slowly(lib):
    """Take turns, although cancelled."""
    if lib.name == "curio":
        import curio

        async with curio.disable_cancellation():
            for _ in range(3):
                await lib.sleep(0)
        return
    import anyio

    with anyio.CancelScope(shield=True):
        for _ in range(3):
            await anyio.sleep(0)


def results(got):
    """In the order of the items: trio steps its tasks in any order."""
    if got and isinstance(got[0], tuple):
        return [result for _, result in sorted(got)]
    return got


def run(host, test):
    """Run test(work), an async function."""

    async def main():
        return await test(Work(host.lib))

    return host.run(main)


# --- results ----------------------------------------------------------------


def test_map_in_order_of_the_items(host, form):
    async def test(work):
        gates = [work.lib.Event() for _ in range(5)]
        gates[4].set()

        @tworoutine
        async def last_first(i):
            await gates[i].wait()
            work.ended.append(i)
            if i > 0:
                gates[i - 1].set()
            return i

        assert await form.map(last_first, range(5)) == list(range(5))
        return work.ended

    assert run(host, test) == [4, 3, 2, 1, 0]


def test_pairs_come_as_they_finish(host, form):
    async def test(work):
        gates = {x: work.lib.Event() for x in "abc"}
        gates["c"].set()
        opens = {"c": "a", "a": "b"}

        @tworoutine
        async def wait(x):
            await gates[x].wait()
            if x in opens:
                gates[opens[x]].set()
            return x.upper()

        return await form.pairs(wait, "abc")

    assert run(host, test) == [("c", "C"), ("a", "A"), ("b", "B")]


@pytest.mark.parametrize("limit", [1, 3, 50, None])
def test_at_most_limit_run_at_once(host, both, limit):
    async def test(work):
        got = await both(work.do, range(20), limit=limit)
        assert work.peak == min(limit or 20, 20)
        assert sorted(work.started) == list(range(20))
        assert work.lib.current_task() not in work.tasks
        return got

    assert results(run(host, test)) == [x * 10 for x in range(20)]


def test_items_are_taken_as_their_calls_start(host, both):
    async def test(work):
        ahead = []

        def items():
            for i in range(10):
                ahead.append(i - len(work.ended))
                yield i

        await both(work.do, items(), limit=2)
        assert len(ahead) == 10
        assert max(ahead) <= 2

    run(host, test)


def test_no_items(host, both):
    async def test(work):
        return await both(work.do, [])

    assert run(host, test) == []


def test_items_without_end(host, form):
    async def test(work):
        count = itertools.count()
        got = await form.pairs(work.do, count, limit=1, until=5)
        assert work.at_work == 0
        return [item for item, _ in got]

    assert run(host, test) == [0, 1, 2, 3, 4]


def test_items_that_make_synchronous_calls(host, both):
    async def test(work):
        return await both(work.by_calls, range(3))

    assert results(run(host, test)) == [10, 40, 70]


def test_any_awaitable(host, form):
    class Later:
        def __init__(self, lib, x):
            self.lib, self.x = lib, x

        def __await__(self):
            yield from self.lib.sleep(0).__await__()
            return -self.x

    async def test(work):
        return await form.map(tworoutine(lambda x: Later(work.lib, x)), [1, 2])

    assert run(host, test) == [-1, -2]


def test_every_item_has_a_copy_of_the_context(host, both):
    if host.name == "curio":
        pytest.skip("tasks of curio share one context")
    var = contextvars.ContextVar("var")

    async def test(work):
        @tworoutine
        async def f(x):
            seen = var.get()
            var.set(x)
            await work.lib.sleep(0)
            return f"{seen} {var.get()}"

        var.set("caller")
        got = await both(f, "ab")
        assert var.get() == "caller"
        return got

    assert results(run(host, test)) == ["caller a", "caller b"]


def test_progress(host, form, capsys):
    async def test(work):
        return await form.map(work.do, [1, 2, 3], progress=True)

    assert run(host, test) == [10, 20, 30]
    assert "3/3" in capsys.readouterr().err


def test_a_thousand_items(host, both):
    async def test(work):
        assert len(await both(work.do, range(1000), limit=100)) == 1000
        assert work.peak == 100

    run(host, test)


# --- errors -----------------------------------------------------------------


def test_errors_come_in_a_group_after_all_have_run(host, form):
    async def test(work):
        with pytest.raises(ExceptionGroup, match="3 of 6 calls") as caught:
            await form.map(work.odd_fail, range(6), limit=2)
        assert sorted(work.started) == [0, 1, 2, 3, 4, 5]
        return caught.value.exceptions

    errors = run(host, test)
    assert [str(error) for error in errors] == ["odd: 1", "odd: 3", "odd: 5"]
    assert [("odd_fail" in n, n[-1]) for e in errors for n in e.__notes__] == [
        (True, "1"),
        (True, "3"),
        (True, "5"),
    ]


def test_errors_as_results(host, both):
    async def test(work):
        return await both(work.odd_fail, range(4), return_exceptions=True)

    got = results(run(host, test))
    assert got[0::2] == [0, 2]
    assert [str(error) for error in got[1::2]] == ["odd: 1", "odd: 3"]


def test_a_call_that_fails_before_it_starts(host, form):
    @tworoutine
    def refuse(x):
        raise ValueError(f"refused: {x}")

    async def test(work):
        with pytest.raises(ExceptionGroup) as caught:
            await form.map(refuse, [1, 2])
        return [str(error) for error in caught.value.exceptions]

    assert run(host, test) == ["refused: 1", "refused: 2"]


def test_the_same_object_and_only_the_frames_of_the_function(host, form):
    error = KeyError("mine")

    async def test(work):
        @tworoutine
        async def fail(x):
            await work.lib.sleep(0)
            raise error

        [got] = await form.map(fail, [1], return_exceptions=True)
        assert got is error and error.__context__ is None
        assert error.__traceback__.tb_frame.f_code is (~fail).__code__
        error.__traceback__ = None
        with pytest.raises(KeyError) as caught:
            await form.pairs(fail, [1])
        assert caught.value is error

    run(host, test)


def test_an_error_is_raised_at_its_turn_and_cancels_the_rest(host, form):
    async def test(work):
        @tworoutine
        async def first_fails(x):
            if x == 0:
                await work.lib.sleep(0)
                raise ValueError("the first")
            return await (~work.wait_but_for)(x, free=None)

        with pytest.raises(ValueError, match="the first"):
            await form.pairs(first_fails, range(3))
        assert work.at_work == 0
        assert sorted(work.ended) == [1, 2]

    run(host, test)


def test_items_that_break_off(host, both):
    async def test(work):
        def items():
            yield 1
            yield 2
            raise LookupError("no more items")

        with pytest.raises(LookupError, match="no more items"):
            await both(work.wait_but_for, items())
        assert work.at_work == 0
        assert sorted(work.started) == sorted(work.ended)

    run(host, test)


@pytest.mark.parametrize(
    ("args", "kwargs", "error"),
    [
        ((3,), {}, TypeError),
        (([1],), {"limit": 0}, ValueError),
        (([1],), {"limit": "two"}, TypeError),
    ],
)
def test_wrong_arguments(host, both, args, kwargs, error):
    async def test(work):
        with pytest.raises(error):
            await both(work.do, *args, **kwargs)
        assert work.started == []

    run(host, test)


def test_an_item_that_runs_into_its_own_timeout(host, form):
    async def test(work):
        @tworoutine
        async def late(x):
            if x == 1:
                await tighten(work.lib)
            return x

        got = await form.map(late, range(3), return_exceptions=True)
        assert (got[0], got[2]) == (0, 2)
        assert isinstance(got[1], work.lib.timed_out)

    run(host, test)


async def tighten(lib):
    """Run into a timeout."""
    scope = lib.fail_after(0.001)
    if hasattr(scope, "__aenter__"):
        async with scope:
            await lib.sleep(60)
    else:
        with scope:
            await lib.sleep(60)


# --- ending early -----------------------------------------------------------


def test_leaving_the_loop_cancels_the_rest_and_waits(host, form):
    async def test(work):
        got = await form.pairs(work.wait_but_for, range(4), until=1)
        assert got == [(0, 0)]
        assert work.at_work == 0
        assert sorted(work.ended) == [0, 1, 2, 3]

    run(host, test)


def test_cancelling_the_caller_cancels_all_and_waits(host, both):
    async def test(work):
        outcomes = []

        async def caller():
            try:
                await both(work.wait_but_for, [1, 2, 3])
            except BaseException as exc:
                outcomes.append((type(exc).__name__, work.at_work))
                raise

        async with work.lib.cancelled_inside(caller):
            while work.at_work < 3:
                await work.lib.sleep(0)
        assert sorted(work.ended) == [1, 2, 3]
        return outcomes

    [(name, at_work)] = run(host, test)
    assert name in ("Cancelled", "CancelledError", "TaskCancelled")
    assert at_work == 0


def test_a_timeout_around_it(host, both):
    async def test(work):
        async def use():
            await both(work.wait_but_for, [1, 2, 3], limit=2)

        scope = work.lib.fail_after(0.05)
        with pytest.raises(work.lib.timed_out):
            if hasattr(scope, "__aenter__"):
                async with scope:
                    await use()
            else:
                with scope:
                    await use()
        assert work.at_work == 0
        assert sorted(work.ended) == [1, 2]
        return await both(work.do, [1])

    assert run(host, test) in ([10], [(1, 10)])


def test_a_cancelled_body_of_the_loop(host):
    async def test(work):
        async def caller():
            pairs = work.wait_but_for.as_completed(range(4))
            with contextlib.closing(pairs):
                for _ in pairs:
                    work.at_work += 100
                    await work.lib.Event().wait()

        async with work.lib.cancelled_inside(caller):
            while work.at_work < 100:
                await work.lib.sleep(0)
        assert work.at_work == 100
        assert sorted(work.ended) == [0, 1, 2, 3]

    run(host, test)


# --- trio: cancel scopes and yields -----------------------------------------


def on_trio(test):
    [host] = [h for h in HOSTS if h.name == "trio"]
    return run(host, test)


def test_a_scope_left_between_two_items(form):
    import trio

    async def test(work):
        pairs = (~work.do.as_completed)(range(3), limit=1)
        async with contextlib.aclosing(pairs):
            with trio.move_on_after(60):
                got = [await anext(pairs)]
            with trio.CancelScope() as scope:
                got.append(await anext(pairs))
                scope.cancel()
            got += [pair async for pair in pairs]
        return got

    assert on_trio(test) == [(0, 0), (1, 10), (2, 20)]


def test_an_iterator_begun_in_one_task_and_ended_in_another():
    import trio

    async def test(work):
        begun = []

        async def begins():
            pairs = work.wait_but_for.as_completed(range(3))
            assert next(pairs) == (0, 0)
            begun.append(pairs)

        async def ends():
            begun.pop().close()
            return work.at_work, sorted(work.ended)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(begins)
        assert work.at_work == 2
        return await ends()

    assert on_trio(test) == (0, [0, 1, 2])


def test_an_iterator_left_at_the_end_of_the_run():
    work = []

    async def test(w):
        work.append(w)
        pairs = w.wait_but_for.as_completed(range(3))
        assert next(pairs) == (0, 0)
        return pairs

    left = on_trio(test)
    assert work[0].at_work == 0
    assert next(left, "ended") == "ended"


@pytest.mark.filterwarnings("ignore:Async generator")
def test_the_asynchronous_form_dropped():
    """trio warns, and ends it in a task of its own."""
    import trio

    async def test(work):
        async for _ in (~work.wait_but_for.as_completed)(range(3)):
            break
        while work.at_work:
            await trio.sleep(0)
        return sorted(work.ended)

    assert on_trio(test) == [0, 1, 2]


def test_the_tasks_of_map_are_below_the_caller_s():
    import trio

    async def test(work):
        @tworoutine
        async def look(x):
            await trio.sleep(0)
            nursery = trio.lowlevel.current_task().parent_nursery
            return nursery.parent_task, trio.current_effective_deadline()

        with trio.CancelScope(deadline=trio.current_time() + 60) as scope:
            got = look.map([1, 2])
        return got == [(trio.lowlevel.current_task(), scope.deadline)] * 2

    assert on_trio(test)


def test_keyboard_interrupt_in_an_item_ends_all(both):
    async def test(work):
        @tworoutine
        async def interrupted(x):
            if x == 1:
                await work.lib.sleep(0)
                raise KeyboardInterrupt
            await (~work.wait_but_for)(x, free=None)

        with pytest.raises(KeyboardInterrupt):
            await both(interrupted, range(3), return_exceptions=True)
        return work.at_work, sorted(work.ended)

    assert on_trio(test) == (0, [0, 2])


def test_cancelled_is_raised_bare(both):
    """As at any await: not in the group that a nursery makes of it."""
    import trio

    async def test(work):
        with trio.move_on_after(0.01) as scope:
            with pytest.raises(trio.Cancelled) as caught:
                await both(work.wait_but_for, [1, 2])
            raise caught.value
        return scope.cancelled_caught, work.at_work

    assert on_trio(test) == (True, 0)


# --- the asynchronous forms need no portal -----------------------------------


def test_without_a_portal():
    import trio

    async def main():
        work = Work(next(h for h in HOSTS if h.name == "trio").lib)
        got = await (~work.do.map)([1, 2], limit=1)
        return got, [pair async for pair in (~work.do.as_completed)([3])]

    assert trio.run(main) == ([10, 20], [(3, 30)])


def test_curio_tasks_have_a_context_each_if_told_to():
    [host] = [h for h in HOSTS if h.name == "curio"]
    host.require()
    import curio

    var = contextvars.ContextVar("var")

    @tworoutine
    async def f(x):
        seen = var.get()
        var.set(x)
        await curio.sleep(0)
        return seen, var.get()

    async def main():
        var.set("caller")
        return f.map("ab"), var.get()

    kernel = curio.Kernel(taskcls=curio.task.ContextTask)
    with kernel:
        got = kernel.run(portal(main))
    assert got == ([("caller", "a"), ("caller", "b")], "caller")


# --- limiters, async iterables ----------------------------------------------


def limiter_of(host, n):
    if host.name == "curio":
        import curio

        return curio.Semaphore(n)
    import anyio

    return anyio.CapacityLimiter(n)


def test_a_limiter(host, both):
    async def test(work):
        @tworoutine
        async def do_longer(x):
            work._begin(x)
            for _ in range(10):
                await work.lib.sleep(0)
            work._end(x)
            return x * 10

        got = await both(do_longer, range(10), limit=limiter_of(host, 2))
        assert results(got) == [x * 10 for x in range(10)]
        return work.peak

    assert run(host, test) == 2


def test_with_a_limiter_items_are_taken_as_there_is_room(host, both):
    async def test(work):
        ahead = []

        def items():
            for x in range(20):
                ahead.append(x - len(work.ended))
                yield x

        await both(work.do, items(), limit=limiter_of(host, 2))
        return max(ahead)

    most = 20 if host.name == "curio" else 3  # where nobody is told
    assert run(host, test) <= most


async def numbers():
    yield 1
    yield 2


def test_async_iterables_are_for_asyncio(host, both):
    async def test(work):
        if host.name == "anyio on asyncio":
            return results(await both(work.do, numbers()))
        with pytest.raises(TypeError, match="only where asyncio runs, not "):
            await both(work.do, numbers())
        return [10, 20]

    assert run(host, test) == [10, 20]


def test_results_of_the_others(host, form):
    async def test(work):
        with pytest.raises(ExceptionGroup) as caught:
            await form.map(work.odd_fail, range(5))
        return caught.value.results

    assert run(host, test) == [0, 2, 4]
