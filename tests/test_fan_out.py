"""f.map and f.as_completed."""

import asyncio
import contextvars
import gc
import inspect
import itertools
import pickle
import signal
import sys

import pytest

import tworoutine as package
from tworoutine import await_, tworoutine


async def turns(n):
    for _ in range(n):
        await asyncio.sleep(0)


class Work:
    """An async function that counts who is at work in it."""

    def __init__(self):
        self.at_work = 0
        self.peak = 0
        self.started = []
        self.ended = []

    @tworoutine
    async def do(self, x):
        self.at_work += 1
        self.peak = max(self.peak, self.at_work)
        self.started.append(x)
        try:
            await turns(3)
            return x * 10
        finally:
            self.at_work -= 1
            self.ended.append(x)

    @tworoutine
    async def wait_but_for(self, x, *, free=0):
        """Wait for ever, unless x is free."""
        self.at_work += 1
        try:
            if x != free:
                await asyncio.Event().wait()
            return x
        finally:
            await turns(2)
            self.at_work -= 1
            self.ended.append(x)


@tworoutine
async def slowest_first(x):
    await turns(20 - 3 * x)
    return x * 10


@tworoutine
async def odd_fail(x):
    await turns(1)
    if x % 2:
        raise ValueError(f"odd: {x}")
    return x


# --- map: order, limit ------------------------------------------------------


def test_results_are_in_the_order_of_the_items(place):
    assert place(lambda: slowest_first.map(range(6))) == [
        0,
        10,
        20,
        30,
        40,
        50,
    ]


def test_all_run_at_once_without_a_limit(place):
    work = Work()
    place(lambda: work.do.map(range(20)))
    assert work.peak == 20
    assert work.started == list(range(20))


@pytest.mark.parametrize("limit", [1, 3, 50])
def test_at_most_limit_run_at_once(limit, place):
    work = Work()
    assert place(lambda: work.do.map(range(20), limit=limit)) == [
        *range(0, 200, 10)
    ]
    assert work.peak == min(limit, 20)
    assert work.at_work == 0


def test_as_completed_keeps_the_limit_too(place):
    work = Work()
    done = place(lambda: dict(work.do.as_completed(range(20), limit=3)))
    assert done == {x: x * 10 for x in range(20)}
    assert work.peak == 3


def test_items_are_taken_as_they_are_started(place):
    work = Work()
    ahead = []

    def items():
        for i in range(10):
            ahead.append(i - len(work.ended))
            yield i

    place(lambda: work.do.map(items(), limit=2))
    assert len(ahead) == 10
    assert max(ahead) <= 2


def test_no_items(place):
    assert place(lambda: odd_fail.map([])) == []
    assert place(lambda: list(odd_fail.as_completed(iter(())))) == []


def test_any_iterable_and_items_that_cannot_be_hashed(place):
    @tworoutine
    async def size(x):
        return len(x)

    assert place(lambda: size.map({"ab": 1, "c": 2})) == [2, 1]
    assert place(lambda: size.map(iter([[1], [], [1]]))) == [1, 0, 1]


def test_a_thousand_items():
    @tworoutine
    async def double(x):
        await asyncio.sleep(0)
        return 2 * x

    async def main():
        return double.map(range(1000), limit=100)

    assert double.map(range(1000)) == [*range(0, 2000, 2)]
    assert asyncio.run(main()) == [*range(0, 2000, 2)]


def test_items_that_make_synchronous_calls(place):
    @tworoutine
    async def outer(x):
        return sum(slowest_first.map([x, x + 1]))

    assert place(lambda: outer.map(range(3))) == [10, 30, 50]


def test_items_that_need_each_other(place):
    @tworoutine
    async def meet(x):
        await_(asyncio.wait_for(barrier[0].wait(), 0.2))
        return x

    @tworoutine
    async def prepare():
        return [asyncio.Barrier(3)]

    barrier = []

    def use():
        barrier.extend(prepare())
        return meet.map("abc")

    assert place(use) == ["a", "b", "c"]


def test_every_item_has_a_copy_of_the_context(place):
    var = contextvars.ContextVar("var")

    @tworoutine
    async def f(x):
        seen = var.get()
        var.set(x)
        await turns(2)
        return seen, var.get()

    def use():
        var.set("caller")
        return f.map("ab"), var.get()

    run = contextvars.copy_context().run
    assert place(lambda: run(use)) == (
        [("caller", "a"), ("caller", "b")],
        "caller",
    )


# --- methods and other kinds ------------------------------------------------


class Board:
    def __init__(self, name):
        self.name = name

    @tworoutine
    async def tune(self, x=0):
        await turns(1)
        return self.name, x

    @tworoutine
    @classmethod
    async def make(cls, name):
        return cls(name)


def test_a_bound_method(place):
    assert place(lambda: Board("a").tune.map([1, 2])) == [("a", 1), ("a", 2)]
    assert place(lambda: dict(Board("a").tune.as_completed([1]))) == {
        1: ("a", 1)
    }


def test_a_method_over_objects(place):
    boards = place(lambda: Board.make.map("ab"))
    assert place(lambda: Board.tune.map(boards)) == [("a", 0), ("b", 0)]


def test_a_function_that_returns_a_future(place):
    @tworoutine
    def later(x):
        future = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(future.set_result, -x)
        return future

    assert place(lambda: later.map([1, 2])) == [-1, -2]


def test_map_is_not_for_generators(place):
    @tworoutine
    async def numbers(n):
        yield n

    with pytest.raises((TypeError, ExceptionGroup)) as caught:
        place(lambda: numbers.map([1]))
    error = caught.value
    if isinstance(error, ExceptionGroup):
        assert [type(each) for each in error.exceptions] == [TypeError]
    assert "numbers" in str(error)


def test_names_and_help():
    assert odd_fail.map.__name__ == "map"
    assert odd_fail.map.__qualname__ == "odd_fail.map"
    assert odd_fail.as_completed.__name__ == "as_completed"
    assert "order of items" in inspect.getdoc(odd_fail.map)
    assert str(inspect.signature(odd_fail.map)) == (
        "(items, *more, limit=None, progress=False, return_exceptions=False)"
    )
    assert str(inspect.signature(odd_fail.as_completed)) == (
        "(items, *, limit=None, return_exceptions=False)"
    )


# --- errors -----------------------------------------------------------------


def test_errors_come_in_a_group_after_all_have_run(place):
    ran = []

    @tworoutine
    async def record(x):
        ran.append(x)
        return await (~odd_fail)(x)

    with pytest.raises(ExceptionGroup, match=r"record") as caught:
        place(lambda: record.map(range(6), limit=2))
    assert ran == [0, 1, 2, 3, 4, 5]
    errors = caught.value.exceptions
    assert [str(error) for error in errors] == ["odd: 1", "odd: 3", "odd: 5"]


def test_an_error_notes_its_item(place):
    with pytest.raises(ExceptionGroup) as caught:
        place(lambda: odd_fail.map([0, 17]))
    (error,) = caught.value.exceptions
    (note,) = error.__notes__
    assert "17" in note
    assert "odd_fail" in note


def test_an_error_that_as_completed_raises_notes_its_item(place):
    with pytest.raises(ValueError, match="odd: 17") as caught:
        place(lambda: list(odd_fail.as_completed([17])))
    (note,) = caught.value.__notes__
    assert "17" in note
    assert "odd_fail.as_completed" in note


def test_except_star(place):
    def use():
        try:
            odd_fail.map(range(4))
        except* ValueError as group:
            return_value.append(len(group.exceptions))

    return_value = []
    place(use)
    assert return_value == [2]


def test_return_exceptions(place):
    got = place(lambda: odd_fail.map(range(4), return_exceptions=True))
    assert got[0::2] == [0, 2]
    assert [str(error) for error in got[1::2]] == ["odd: 1", "odd: 3"]
    assert not any(hasattr(error, "__notes__") for error in got[1::2])


def test_the_error_is_the_object_that_was_raised(place):
    class Falsy(Exception):
        def __bool__(self):
            return False

    error = Falsy("also an error")

    @tworoutine
    async def fail(x):
        await turns(x)
        raise error

    assert place(lambda: fail.map([1], return_exceptions=True)) == [error]
    assert place(
        lambda: [*fail.as_completed([1], return_exceptions=True)]
    ) == [(1, error)]
    with pytest.raises(ExceptionGroup) as caught:
        place(lambda: fail.map([1]))
    assert caught.value.exceptions == (error,)
    assert error.__context__ is None


def test_a_call_that_fails_before_it_starts(place):
    @tworoutine
    def refuse(x):
        raise ValueError(f"refused: {x}")

    with pytest.raises(ExceptionGroup) as caught:
        place(lambda: refuse.map([1, 2]))
    assert [str(error) for error in caught.value.exceptions] == [
        "refused: 1",
        "refused: 2",
    ]


def test_wrong_arguments_of_the_function(place):
    @tworoutine
    async def takes_nothing():
        pass

    with pytest.raises(ExceptionGroup) as caught:
        place(lambda: takes_nothing.map([1]))
    (error,) = caught.value.exceptions
    assert isinstance(error, TypeError)
    assert "takes_nothing" in str(error)


def test_an_item_that_is_cancelled_from_within(place):
    @tworoutine
    async def cancel_odd(x):
        if x % 2:
            asyncio.current_task().cancel()
        await turns(1)
        return x

    got = place(lambda: cancel_odd.map(range(3), return_exceptions=True))
    assert got[0::2] == [0, 2]
    assert isinstance(got[1], asyncio.CancelledError)
    with pytest.raises(BaseExceptionGroup) as caught:
        place(lambda: cancel_odd.map(range(3)))
    (error,) = caught.value.exceptions
    assert isinstance(error, asyncio.CancelledError)


@pytest.mark.parametrize("name", ["map", "as_completed"])
def test_items_that_break_off(name, place):
    work = Work()

    def items():
        yield 1
        yield 2
        raise LookupError("no more items")

    with pytest.raises(LookupError, match="no more items"):
        place(lambda: list(getattr(work.wait_but_for, name)(items())))
    assert work.at_work == 0


@pytest.mark.parametrize("limit", [0, -1])
@pytest.mark.parametrize("name", ["map", "as_completed"])
def test_a_limit_below_one(name, limit, place):
    work = Work()
    with pytest.raises(ValueError, match="limit"):
        place(lambda: list(getattr(work.do, name)([1], limit=limit)))
    assert work.started == []


@pytest.mark.parametrize("name", ["map", "as_completed"])
@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        ((), {}),
        ((3,), {}),
        (([1], 2), {}),
        (([1],), {"limit": "two"}),
        (([1],), {"unknown": 1}),
    ],
    ids=["no items", "not iterable", "two positional", "limit", "unknown"],
)
def test_wrong_arguments(name, args, kwargs, place):
    work = Work()
    with pytest.raises(TypeError):
        place(lambda: list(getattr(work.do, name)(*args, **kwargs)))
    assert work.started == []


# --- progress ---------------------------------------------------------------


def test_progress_shows_a_bar(place, capsys):
    assert place(lambda: odd_fail.map([0, 2, 4], progress=True)) == [0, 2, 4]
    bar = capsys.readouterr().err
    assert "odd_fail" in bar
    assert "3/3" in bar
    assert bar.endswith("\n")  # the bar is closed


def test_progress_counts_what_failed_too(capsys):
    odd_fail.map(range(4), progress=True, return_exceptions=True)
    assert "4/4" in capsys.readouterr().err


def test_progress_without_a_length(capsys):
    odd_fail.map(iter([0, 2]), progress=True)
    assert "2it" in capsys.readouterr().err


def test_no_bar_unless_asked_for(capsys):
    odd_fail.map([0, 2])
    assert capsys.readouterr().err == ""


def test_progress_without_tqdm(monkeypatch, place):
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    with pytest.raises(ImportError, match="pip install"):
        place(lambda: odd_fail.map([0], progress=True))


# --- as_completed -----------------------------------------------------------


def test_pairs_come_as_they_finish(place):
    assert place(lambda: list(slowest_first.as_completed([1, 3, 5]))) == [
        (5, 50),
        (3, 30),
        (1, 10),
    ]


def test_an_error_is_raised_at_its_turn(place):
    def use():
        seen = []
        with pytest.raises(ValueError, match="odd: 1"):
            for item, _ in odd_fail.as_completed([0, 1], limit=1):
                seen.append(item)
        return seen

    assert place(use) == [0]


def test_an_error_as_a_result(place):
    def use():
        return dict(odd_fail.as_completed(range(3), return_exceptions=True))

    got = place(use)
    assert (got[0], got[2]) == (0, 2)
    assert str(got[1]) == "odd: 1"


def test_an_error_cancels_the_rest(place):
    work = Work()

    @tworoutine
    async def first_fails(x):
        if x == 0:
            await turns(2)
            raise ValueError("the first")
        return await (~work.wait_but_for)(x)

    with pytest.raises(ValueError, match="the first"):
        place(lambda: list(first_fails.as_completed(range(3))))
    assert work.at_work == 0
    assert sorted(work.ended) == [1, 2]


def test_leaving_the_loop_cancels_the_rest_and_waits(place):
    work = Work()

    def use():
        for item, _ in work.wait_but_for.as_completed(range(4)):
            assert item == 0
            break
        return work.at_work, sorted(work.ended)

    assert place(use) == (0, [0, 1, 2, 3])


def test_closing_the_iterator_cancels_the_rest_and_waits(place):
    work = Work()

    def use():
        pairs = work.wait_but_for.as_completed(range(4))
        assert next(pairs) == (0, 0)
        assert work.at_work == 3
        pairs.close()
        return work.at_work, sorted(work.ended)

    assert place(use) == (0, [0, 1, 2, 3])


def test_items_without_end(place):
    work = Work()

    def use():
        pairs = work.do.as_completed(itertools.count(), limit=3)
        first = [item for item, _ in itertools.islice(pairs, 5)]
        pairs.close()
        return first

    assert place(use) == [0, 1, 2, 3, 4]
    assert work.at_work == 0
    assert len(work.started) <= 9


# --- ending early -----------------------------------------------------------


async def cancelled(work, name):
    """A task that has just been cancelled, with three calls under way."""

    async def call():
        list(getattr(work.wait_but_for, name)([1, 2, 3]))

    task = asyncio.create_task(call())
    await turns(3)
    assert work.at_work == 3
    task.cancel()
    return task


@pytest.mark.parametrize("name", ["map", "as_completed"])
def test_cancelling_the_caller_leaves_nothing_running(name):
    work = Work()

    async def main():
        task = await cancelled(work, name)
        with pytest.raises(asyncio.CancelledError):
            await task
        assert work.at_work == 0
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())
    assert sorted(work.ended) == [1, 2, 3]


@pytest.mark.parametrize("name", ["map", "as_completed"])
def test_cancelled_twice_it_still_waits(name):
    work = Work()

    async def main():
        task = await cancelled(work, name)
        await turns(1)
        assert work.at_work == 3  # they take two turns to end
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (work.at_work, task.cancelling()) == (0, 2)

    asyncio.run(main())


def test_a_timeout_around_map():
    work = Work()

    async def main():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                work.wait_but_for.map([1, 2, 3], limit=2)
        assert work.at_work == 0

    asyncio.run(main())
    assert sorted(work.ended) == [1, 2]


def test_ctrl_c_without_a_loop_leaves_nothing_running():
    work = Work()

    @tworoutine
    async def interrupted(x):
        if x == 0:
            asyncio.get_running_loop().call_soon(
                signal.raise_signal, signal.SIGINT
            )
        return await (~work.wait_but_for)(x, free=None)

    with pytest.raises(KeyboardInterrupt):
        interrupted.map(range(3))
    assert work.at_work == 0
    assert sorted(work.ended) == [0, 1, 2]
    assert work.do.map([1]) == [10]


def test_other_tasks_go_on_meanwhile():
    async def main():
        ticks = []

        async def tick():
            while True:
                ticks.append(1)
                await asyncio.sleep(0)

        task = asyncio.create_task(tick())
        slowest_first.map(range(3))
        task.cancel()
        return len(ticks)

    assert asyncio.run(main()) >= 20


# --- the async forms --------------------------------------------------------


def test_the_async_forms_of_map():
    async def main():
        return (
            await (~slowest_first.map)([1, 2]),
            await slowest_first.map.aio([1, 2], limit=1),
            await (~Board("a").tune.map)([1]),
        )

    assert asyncio.run(main()) == ([10, 20], [10, 20], [("a", 1)])
    assert inspect.iscoroutinefunction(~slowest_first.map)


def test_the_async_form_of_as_completed():
    async def main():
        pairs = (~slowest_first.as_completed)([1, 3])
        return [pair async for pair in pairs]

    assert asyncio.run(main()) == [(3, 30), (1, 10)]


def test_the_async_form_of_map_raises_the_same_group():
    async def main():
        with pytest.raises(ExceptionGroup) as caught:
            await (~odd_fail.map)(range(4))
        return [str(error) for error in caught.value.exceptions]

    assert asyncio.run(main()) == ["odd: 1", "odd: 3"]


def test_closing_the_async_form_of_as_completed_cancels_the_rest():
    work = Work()

    async def main():
        pairs = (~work.wait_but_for.as_completed)(range(3))
        async for item, _ in pairs:
            assert item == 0
            break
        await pairs.aclose()
        return work.at_work

    assert asyncio.run(main()) == 0
    assert sorted(work.ended) == [0, 1, 2]


@pytest.mark.parametrize("made_in", ["callback", "task"])
@pytest.mark.parametrize("method", ["map", "as_completed"])
def test_a_loop_that_is_closed_while_they_run(
    method, made_in, asyncio_errors, monkeypatch
):
    """What they had under way is destroyed with it, and no more is said."""
    unraisable, tasks = [], []
    monkeypatch.setattr(sys, "unraisablehook", unraisable.append)

    @tworoutine
    async def nap(seconds):
        await asyncio.sleep(seconds)

    def callback():
        list(getattr(nap, method)([60, 60]))

    async def task():
        callback()

    async def main():
        nap(0)
        if made_in == "task":
            tasks.append(asyncio.ensure_future(task()))
        else:
            asyncio.get_running_loop().call_soon(callback)
        await asyncio.sleep(0.001)

    loop = asyncio.new_event_loop()
    loop.run_until_complete(main())
    loop.close()
    nap(0)
    nap(0)
    tasks.clear()
    gc.collect()
    assert unraisable == []
    told = [error.split("\n")[0] for error in asyncio_errors]
    asyncio_errors.clear()
    destroyed = "Task was destroyed but it is pending!"
    assert destroyed in told
    assert all(line == destroyed or "callback" in line for line in told)


# --- several iterables ------------------------------------------------------


@tworoutine
async def quotient(x, y, z=1):
    await asyncio.sleep(0)
    return x / y / z


def test_several_iterables(place):
    assert place(lambda: quotient.map([4, 9], [2, 3])) == [2, 3]
    assert place(lambda: quotient.map([4], [2], iter([2]), limit=1)) == [1]
    assert asyncio.run((~quotient.map)([4, 9], [2, 3])) == [2, 3]


def test_the_shortest_iterable_ends_it(place):
    assert place(lambda: quotient.map([4, 9], itertools.count(1))) == [4, 4.5]


def test_an_error_notes_all_the_arguments(place):
    with pytest.raises(ExceptionGroup) as caught:
        place(lambda: quotient.map([4, 5], [2, 0]))
    [error] = caught.value.exceptions
    assert error.__notes__ == ["in quotient.map, on (5, 0)"]


# --- what went well ---------------------------------------------------------


def failed(function):
    with pytest.raises(ExceptionGroup) as caught:
        function()
    return caught.value


def test_the_group_has_the_other_results(place):
    group = failed(lambda: place(lambda: odd_fail.map(range(6))))
    assert group.results == [0, 2, 4]
    assert isinstance(group, package.FailedCalls)
    assert failed(lambda: odd_fail.map([1])).results == []


def test_so_have_its_parts():
    group = failed(lambda: odd_fail.map([0, 1, 2, "x"]))
    parts = group.split(ValueError)
    assert [len(part.exceptions) for part in parts] == [1, 1]
    assert group.subgroup(TypeError).results == [0, 2]
    assert [part.results for part in parts] == [[0, 2]] * 2
    assert all(type(part) is package.FailedCalls for part in parts)
    seen = []
    try:
        raise group
    except* ValueError as part:
        seen.append(part.results)
    except* TypeError as part:
        seen.append(part.results)
    assert seen == [[0, 2]] * 2


def test_it_can_be_pickled():
    group = failed(lambda: odd_fail.map(range(3)))
    again = pickle.loads(pickle.dumps(group))
    assert type(again) is type(group)
    assert again.results == [0, 2]
    assert [str(error) for error in again.exceptions] == ["odd: 1"]


def test_an_error_that_is_no_exception(place):
    class Stop(BaseException):
        pass

    @tworoutine
    async def stops(x):
        await asyncio.sleep(0)
        if x:
            raise Stop
        return x

    with pytest.raises(BaseExceptionGroup) as caught:
        place(lambda: stops.map([0, 1]))
    group = caught.value
    assert group.results == [0]
    assert not isinstance(group, ExceptionGroup)
    assert group.subgroup(Stop).results == [0]


# --- many items -------------------------------------------------------------


def test_items_are_taken_as_there_is_room():
    """Of 100,000, no more than the limit are in memory, or under way."""
    limit, alive, peak = 128, 0, 0

    class Item:
        def __init__(self, number):
            nonlocal alive, peak
            self.number = number
            alive += 1
            peak = max(peak, alive)

        def __del__(self):
            nonlocal alive
            alive -= 1

    @tworoutine
    async def number_of(item):
        await asyncio.sleep(0)
        return item.number

    n = 100_000
    got = number_of.map((Item(x) for x in range(n)), limit=limit)
    assert got == list(range(n))
    assert peak <= 2 * limit  # those that have ended go in the next turn
    assert alive == 0


# --- async iterables --------------------------------------------------------


async def numbers(n, taken=None, error=None):
    for x in range(n):
        await asyncio.sleep(0)
        if taken is not None:
            taken.append(x)
        yield x
    if error is not None:
        raise error


@pytest.mark.parametrize("limit", [None, 1, 3])
def test_an_async_iterable(limit, place):
    work = Work()
    assert place(lambda: work.do.map(numbers(10), limit=limit)) == [
        x * 10 for x in range(10)
    ]
    assert limit is None or work.peak <= limit


def test_an_async_iterable_beside_another():
    assert quotient.map(numbers(3), [1, 2, 4, 8]) == [0, 0.5, 0.5]


def test_an_async_iterable_is_taken_as_there_is_room(place):
    work, taken, ahead = Work(), [], []

    @tworoutine
    async def do(x):
        ahead.append(len(taken) - len(work.ended))
        return await (~work.do)(x)

    place(lambda: do.map(numbers(20, taken), limit=2))
    assert max(ahead) <= 2
    assert sorted(taken) == sorted(work.ended)


def test_pairs_come_while_an_async_iterable_waits(place):
    go_on = []

    async def items():
        yield 1
        future = asyncio.get_running_loop().create_future()
        go_on.append(future)
        yield await future

    def use():
        got = []
        for pair in slowest_first.as_completed(items()):
            got.append(pair)
            if len(got) == 1:
                go_on[0].set_result(2)
        return got

    assert place(use) == [(1, 10), (2, 20)]


@pytest.mark.parametrize("name", ["map", "as_completed"])
def test_an_async_iterable_that_breaks_off(name, place):
    work = Work()
    items = numbers(2, error=LookupError("no more items"))
    with pytest.raises(LookupError, match="no more items"):
        place(lambda: list(getattr(work.wait_but_for, name)(items)))
    assert work.at_work == 0


def test_an_endless_async_iterable_that_is_left(place):
    work = Work()

    async def items():
        for x in itertools.count():
            await asyncio.sleep(0)
            yield x

    def use():
        got = []
        for item, _ in work.do.as_completed(items(), limit=3):
            got.append(item)
            if len(got) == 10:
                break
        return got

    assert sorted(place(use))[:8] == list(range(8))
    assert work.at_work == 0


# --- limiters ---------------------------------------------------------------


def test_a_limiter_for_two_maps(place):
    """Both together keep within it."""
    work = Work()

    @tworoutine
    async def both():
        limiter = asyncio.Semaphore(3)
        return await asyncio.gather(
            (~work.do.map)(range(10), limit=limiter),
            (~work.do.map)(range(10, 20), limit=limiter),
        )

    assert place(both) == [
        [x * 10 for x in range(10)],
        [x * 10 for x in range(10, 20)],
    ]
    assert work.peak == 3


def test_a_limiter_of_anyio(place):
    anyio = pytest.importorskip("anyio")
    work = Work()

    @tworoutine
    async def limited():
        limiter = anyio.CapacityLimiter(2)
        return await (~work.do.map)(range(10), limit=limiter)

    assert place(limited) == [x * 10 for x in range(10)]
    assert work.peak == 2


def test_with_a_limiter_items_are_taken_as_there_is_room(place):
    work, ahead = Work(), []

    def items():
        for x in range(20):
            ahead.append(x - len(work.ended))
            yield x

    limiter = asyncio.Semaphore(2)
    place(lambda: work.do.map(items(), limit=limiter))
    assert max(ahead) <= 3  # one has been taken, and waits


def test_a_limiter_that_fails(place):
    class Limiter:
        async def __aenter__(self):
            raise LookupError("no room")

        async def __aexit__(self, *exc_info):
            raise AssertionError

    work = Work()
    group = failed(lambda: place(lambda: work.do.map([1, 2], limit=Limiter())))
    assert [str(error) for error in group.exceptions] == ["no room"] * 2
    assert work.started == []


def test_a_cancel_while_calls_wait_for_a_limiter(place):
    """The limiter is as it was, and no coroutine is left behind."""
    limiter, work = asyncio.Semaphore(1), Work()

    @tworoutine
    async def cancelled():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await (~work.wait_but_for.map)([1, 2, 3], limit=limiter)
        return limiter.locked()

    assert place(cancelled) is False
    assert work.ended == [1]


# --- Ctrl-C -----------------------------------------------------------------

INTERRUPTED = """
import asyncio, signal
from tworoutine import tworoutine

@tworoutine
async def read(x):
    if x == 17:
        asyncio.get_running_loop().call_soon(
            signal.raise_signal, signal.SIGINT)
    if x >= 17:
        await asyncio.Event().wait()
    return x
"""


def notes_of(exc):
    notes = []
    while exc is not None:
        notes += getattr(exc, "__notes__", [])
        exc = exc.__context__
    return notes


def interrupted_reader():
    names = {}
    exec(INTERRUPTED, names)
    return names["read"]


def test_ctrl_c_says_how_many_were_done():
    read = interrupted_reader()
    with pytest.raises(KeyboardInterrupt) as caught:
        read.map(range(256))
    assert caught.value.__notes__ == ["in read.map: 17 of 256 done"]


def test_ctrl_c_says_so_in_asyncio_run_too():
    read = interrupted_reader()

    async def main():
        read.map(iter(range(256)))

    with pytest.raises(KeyboardInterrupt) as caught:
        asyncio.run(main())
    assert notes_of(caught.value) == ["in read.map: 17 done"]


def test_so_does_a_timeout():
    @tworoutine
    async def read(seconds):
        await asyncio.sleep(seconds)
        limit.reschedule(asyncio.get_running_loop().time() + 0.05)

    async def main():
        nonlocal limit
        async with asyncio.timeout(None) as limit:
            read.map([0, 60, 60], limit=2)

    limit = None
    with pytest.raises(TimeoutError) as caught:
        asyncio.run(main())
    name = read.__qualname__
    assert notes_of(caught.value) == [f"in {name}.map: 1 of 3 done"]
