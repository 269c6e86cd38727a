"""Async generators and async context managers, used synchronously."""

import asyncio
import contextlib
import contextvars
import gc
import inspect
import itertools
import types

import pytest

from tworoutine import await_, tworoutine


@tworoutine
async def count(n):
    for i in range(n):
        await asyncio.sleep(0)
        yield i


class Watched:
    """An async generator function that tells what happens to it."""

    def __init__(self):
        self.events = []

    @tworoutine
    async def items(self, n=3):
        try:
            for i in range(n):
                await asyncio.sleep(0)
                yield i
            self.events.append("done")
        finally:
            await asyncio.sleep(0)
            self.events.append("finally")


def turn_the_loop():
    """Let a running loop do what it has been told to do."""
    for _ in range(5):
        await_(asyncio.sleep(0))


# --- for --------------------------------------------------------------------


def test_for_runs_through_all_items(place):
    watched = Watched()
    assert place(lambda: list(watched.items())) == [0, 1, 2]
    assert watched.events == ["done", "finally"]


def test_the_iterator_is_its_own_iterator(place):
    def use():
        iterator = count(3)
        assert iter(iterator) is iterator
        assert next(iterator) == 0
        rest = [*iterator]
        assert next(iterator, "end") == "end"
        with pytest.raises(StopIteration):
            next(iterator)
        return rest

    assert place(use) == [1, 2]


def test_nothing_runs_before_the_first_item(place):
    watched = Watched()

    def make():
        watched.items().close()
        watched.items()

    place(make)
    assert watched.events == []


def test_no_items(place):
    assert place(lambda: list(count(0))) == []


def test_two_iterators_take_turns(place):
    both = place(lambda: list(zip(count(3), count(3), strict=True)))
    assert both == [(0, 0), (1, 1), (2, 2)]


def test_below_c_functions(place):
    assert place(lambda: sum(map(abs, count(4)))) == 6
    assert place(lambda: [*itertools.islice(count(9), 2)]) == [0, 1]
    assert place(lambda: sorted(count(3), reverse=True)) == [2, 1, 0]


def test_yield_from(place):
    def twice(n):
        yield from count(n)
        yield from count(n)

    assert place(lambda: list(twice(2))) == [0, 1, 0, 1]


def test_a_generator_over_a_generator(place):
    @tworoutine
    async def squares(n):
        for i in count(n):
            await asyncio.sleep(0)
            yield i * i

    assert place(lambda: list(squares(4))) == [0, 1, 4, 9]


def test_other_tasks_go_on_while_an_item_is_awaited():
    ticks = []

    async def tick():
        while True:
            ticks.append(1)
            await asyncio.sleep(0)

    async def main():
        task = asyncio.create_task(tick())
        seen = [len(ticks) for _ in count(5)]
        task.cancel()
        return seen

    seen = asyncio.run(main())
    assert seen == sorted(set(seen))  # more each time


def test_an_item_that_another_task_provides():
    async def main():
        queue = asyncio.Queue()

        @tworoutine
        async def received():
            while (item := await queue.get()) is not None:
                yield item

        async def send():
            for item in ["a", "b", None]:
                await asyncio.sleep(0)
                await queue.put(item)

        task = asyncio.create_task(send())
        items = list(received())
        await task
        return items

    assert asyncio.run(main()) == ["a", "b"]


def test_two_tasks_iterate_at_once():
    async def main():
        async def collect(n):
            return list(count(n))

        return await asyncio.gather(collect(3), collect(5))

    assert asyncio.run(main()) == [[0, 1, 2], [0, 1, 2, 3, 4]]


def test_the_context_of_the_caller(place):
    var = contextvars.ContextVar("var", default="unset")

    @tworoutine
    async def g():
        seen = var.get()
        var.set("by the generator")
        await asyncio.sleep(0)
        yield seen

    def use():
        var.set("by the caller")
        return next(g()), var.get()

    run = contextvars.copy_context().run
    assert place(lambda: run(use)) == ("by the caller", "by the generator")


def test_an_async_iterator_that_is_no_generator(place):
    class Countdown:
        def __init__(self, n):
            self.n = n

        def __aiter__(self):
            return self

        async def __anext__(self):
            await asyncio.sleep(0)
            if self.n == 0:
                raise StopAsyncIteration
            self.n -= 1
            return self.n

    def use():
        iterator = tworoutine(Countdown)(3)
        items = list(iterator)
        iterator.close()
        return items

    assert place(use) == [2, 1, 0]


# --- send, throw, close -----------------------------------------------------


@tworoutine
async def echo():
    value = "ready"
    while True:
        try:
            value = yield value
            await asyncio.sleep(0)
        except KeyError as exc:
            value = exc
        if value == "stop":
            return


def test_send(place):
    def use():
        gen = echo()
        got = [next(gen), gen.send(1), gen.send(None), next(gen)]
        with pytest.raises(StopIteration):
            gen.send("stop")
        with pytest.raises(StopIteration):
            gen.send(1)
        return got

    assert place(use) == ["ready", 1, None, None]


def test_send_to_one_that_has_not_started(place):
    def use():
        gen = echo()
        with pytest.raises(TypeError, match="just-started"):
            gen.send(1)
        return gen.send(None)

    assert place(use) == "ready"


def test_throw(place):
    error = KeyError("board")

    def use():
        gen = echo()
        assert next(gen) == "ready"
        assert gen.throw(error) is error
        with pytest.raises(OSError, match="gone"):
            gen.throw(OSError("gone"))
        return next(gen, "end")

    assert place(use) == "end"


@pytest.mark.parametrize("arguments", [(), (1, 2, 3, 4)])
def test_throw_takes_one_to_three_arguments(arguments):
    gen = count(1)
    with pytest.raises(TypeError, match="throw"):
        gen.throw(*arguments)


def test_close_runs_finally(place):
    watched = Watched()

    def use():
        gen = watched.items()
        next(gen)
        assert watched.events == []
        gen.close()
        assert watched.events == ["finally"]
        gen.close()
        return list(gen)

    assert place(use) == []
    assert watched.events == ["finally"]


def test_contextlib_closing(place):
    watched = Watched()

    def use():
        with contextlib.closing(watched.items()) as gen:
            for i in gen:
                if i == 1:
                    break
        return list(watched.events)

    assert place(use) == ["finally"]


# --- leaving early ----------------------------------------------------------


def test_leaving_early_runs_finally(place):
    watched = Watched()

    def use():
        for i in watched.items():
            if i == 1:
                break
        if place.in_loop:
            turn_the_loop()
        return list(watched.events)

    assert place(use) == ["finally"]


def test_dropping_the_iterator_runs_finally(place):
    watched = Watched()

    def use():
        gen = watched.items()
        next(gen)
        del gen
        if place.in_loop:
            turn_the_loop()
        return list(watched.events)

    assert place(use) == ["finally"]


def test_an_iterator_in_a_garbage_cycle_runs_finally(place):
    watched = Watched()

    def use():
        cycle = [watched.items()]
        cycle.append(cycle)
        next(cycle[0])
        del cycle
        gc.collect()
        turn_the_loop()
        return list(watched.events)

    assert place(use) == ["finally"]


def test_an_iterator_that_outlives_its_loop_runs_finally(place):
    watched = Watched()

    def use():
        gen = watched.items()
        next(gen)
        return gen

    gen = place(use)
    if place.in_loop:  # asyncio.run closes what is left
        assert watched.events == ["finally"]
        assert list(gen) == []
    else:
        assert next(gen) == 1
        gen.close()
        assert watched.events == ["finally"]


def test_an_exception_in_the_body_of_the_loop(place):
    watched = Watched()

    def use():
        try:
            for _ in watched.items():
                raise LookupError("in the body")
        except LookupError as exc:
            exc.__traceback__ = None
        if place.in_loop:
            turn_the_loop()
        return list(watched.events)

    assert place(use) == ["finally"]


def test_an_iterator_left_open_is_closed_at_exit(program):
    assert (
        program(
            """
import asyncio
from tworoutine import tworoutine

@tworoutine
async def g():
    try:
        yield 1
    finally:
        await asyncio.sleep(0)
        print("finally")

iterator = g()
print(next(iterator))
"""
        )
        == "1\nfinally\n"
    )


# --- exceptions -------------------------------------------------------------


def test_an_exception_of_the_generator(place):
    error = LookupError("no item")

    @tworoutine
    async def fail():
        yield 1
        await asyncio.sleep(0)
        raise error

    def use():
        gen = fail()
        assert next(gen) == 1
        with pytest.raises(LookupError) as caught:
            next(gen)
        assert caught.value is error
        return list(gen)

    assert place(use) == []
    assert error.__context__ is None


@pytest.mark.parametrize("kind", [StopIteration, StopAsyncIteration])
def test_stop_iteration_raised_inside_is_an_error(kind, place):
    @tworoutine
    async def fail():
        yield 1
        raise kind

    with pytest.raises(RuntimeError, match=kind.__name__):
        place(lambda: list(fail()))


def test_wrong_arguments(place):
    with pytest.raises(TypeError, match="count"):
        place(lambda: list(count()))


def test_two_tasks_ask_the_same_iterator():
    async def main():
        go = asyncio.Event()

        @tworoutine
        async def slow():
            await go.wait()
            yield "item"

        gen = slow()

        async def take():
            return next(gen)

        first = asyncio.create_task(take())
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="already running"):
            next(gen)
        go.set()
        return await first

    assert asyncio.run(main()) == "item"


def test_cancelling_a_task_that_waits_for_an_item():
    watched = []

    @tworoutine
    async def forever():
        try:
            await asyncio.Event().wait()
            yield
        finally:
            watched.append("finally")

    async def main():
        async def take():
            list(forever())

        task = asyncio.create_task(take())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert watched == ["finally"]


def test_a_timeout_around_the_whole_loop():
    @tworoutine
    async def stuck():
        yield 1
        await asyncio.Event().wait()

    async def main():
        seen = []
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                for item in stuck():
                    seen.append(item)
        return seen

    assert asyncio.run(main()) == [1]


# --- the async form ---------------------------------------------------------


def test_the_async_form_is_a_real_async_generator():
    async def main():
        gen = (~count)(3)
        assert type(gen) is types.AsyncGeneratorType
        return [i async for i in gen]

    assert inspect.isasyncgenfunction(~count)
    assert asyncio.run(main()) == [0, 1, 2]
    assert asyncio.run(main()) == [0, 1, 2]


def test_the_async_form_of_a_method_closed_early():
    watched = Watched()

    async def main():
        async with contextlib.aclosing((~watched.items)()) as gen:
            async for i in gen:
                return i

    assert asyncio.run(main()) == 0
    assert watched.events == ["finally"]


# --- context managers -------------------------------------------------------


class Store:
    def __init__(self):
        self.events = []

    @tworoutine
    @contextlib.asynccontextmanager
    async def opened(self, name, suppress=()):
        await asyncio.sleep(0)
        self.events.append("open")
        try:
            yield name
        except suppress as exc:
            self.events.append(exc)
        finally:
            await asyncio.sleep(0)
            self.events.append("close")


def test_with(place):
    store = Store()

    def use():
        with store.opened("file") as value:
            assert store.events == ["open"]
            return value

    assert place(use) == "file"
    assert store.events == ["open", "close"]


def test_with_and_an_exception(place):
    store = Store()
    error = LookupError("in the body")

    def use():
        with store.opened("file"):
            raise error

    with pytest.raises(LookupError) as caught:
        place(use)
    assert caught.value is error
    assert error.__context__ is None
    assert store.events == ["open", "close"]


def test_with_that_suppresses_an_exception(place):
    store = Store()
    error = LookupError("in the body")

    def use():
        with store.opened("file", suppress=LookupError):
            raise error
        return "went on"

    assert place(use) == "went on"
    assert store.events == ["open", error, "close"]


def test_an_exception_while_entering_and_leaving(place):
    @tworoutine
    @contextlib.asynccontextmanager
    async def broken(when):
        if when == "entering":
            raise OSError(when)
        yield
        raise OSError(when)

    def use(when):
        with broken(when):
            pass

    for when in ("entering", "leaving"):
        with pytest.raises(OSError, match=when):
            place(lambda when=when: use(when))


def test_an_exit_stack(place):
    store = Store()

    def use():
        with contextlib.ExitStack() as stack:
            return [stack.enter_context(store.opened(n)) for n in "ab"]

    assert place(use) == ["a", "b"]
    assert store.events == ["open", "open", "close", "close"]


def test_several_at_once(place):
    store = Store()

    def use():
        with store.opened("a") as a, store.opened("b") as b:
            return a + b

    assert place(use) == "ab"


def test_a_class_with_aenter(place):
    class Session:
        def __init__(self, name):
            self.name = name

        async def __aenter__(self):
            await asyncio.sleep(0)
            return self

        async def __aexit__(self, *error):
            await asyncio.sleep(0)
            self.name = None

    def use():
        with tworoutine(Session)("s") as session:
            assert session.name == "s"
        return session.name

    assert place(use) is None


def test_a_lock_held_over_synchronous_calls(place):
    @tworoutine
    async def new_lock():
        return asyncio.Lock()

    @tworoutine
    def locked(lock):
        return lock

    def use():
        lock = new_lock()
        with locked(lock):
            inside = lock.locked()
            await_(asyncio.sleep(0))
        return inside, lock.locked()

    assert place(use) == (True, False)


def test_the_async_form_of_a_manager():
    store = Store()

    async def main():
        async with (~store.opened)("file") as value:
            await asyncio.sleep(0)
        async with store.opened.aio("file"):
            pass
        return value

    assert asyncio.run(main()) == "file"
    assert store.events == ["open", "close"] * 2


def test_other_tasks_run_while_a_manager_enters():
    async def main():
        ready = asyncio.Event()

        @tworoutine
        @contextlib.asynccontextmanager
        async def connected():
            await ready.wait()
            yield "connected"

        asyncio.get_running_loop().call_soon(ready.set)
        with connected() as value:
            return value

    assert asyncio.run(main()) == "connected"


@pytest.mark.parametrize("made_in", ["callback", "task"])
def test_a_generator_that_waited_in_a_closed_loop(made_in, asyncio_errors):
    """Until 3.12 it is asked for an item for ever; nobody hears of that."""
    generators, tasks = [], []

    @tworoutine
    async def endless():
        while True:
            await asyncio.sleep(60)
            yield

    def callback():
        generators.append(endless())
        next(generators[0])

    async def task():
        callback()

    async def main():
        nap()
        if made_in == "task":
            tasks.append(asyncio.ensure_future(task()))
        else:
            asyncio.get_running_loop().call_soon(callback)
        await asyncio.sleep(0.001)

    @tworoutine
    async def nap():
        await asyncio.sleep(0)

    loop = asyncio.new_event_loop()
    loop.run_until_complete(main())
    loop.close()
    nap()
    nap()
    tasks.clear()
    generators.clear()
    gc.collect()
    assert not [e for e in asyncio_errors if "already running" in e]
    asyncio_errors.clear()  # Task was destroyed but it is pending!
