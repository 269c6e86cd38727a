"""What can be decorated, the two ways to call it, await_, bad input."""

import asyncio
import contextlib
import functools
import inspect
import types

import pytest

import tworoutine as package
from tworoutine import await_, tworoutine


async def add_one(x):
    await asyncio.sleep(0)
    return x + 1


@tworoutine
async def increment(x):
    """One more."""
    return await add_one(x)


class Adder:
    def __init__(self, by=1):
        self.by = by

    async def __call__(self, x):
        await asyncio.sleep(0)
        return x + self.by

    async def add(self, x):
        return await self(x)


def future_of(x):
    future = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(future.set_result, x + 1)
    return future


def task_of(x):
    return asyncio.get_running_loop().create_task(add_one(x))


class Awaitable:
    def __init__(self, x):
        self.x = x

    def __await__(self):
        yield from asyncio.sleep(0).__await__()
        return self.x + 1


@types.coroutine
def old_style(x):
    yield
    return x + 1


@(
    inspect.markcoroutinefunction
    if hasattr(inspect, "markcoroutinefunction")
    else (lambda f: f)
)
def marked(x):
    return add_one(x)


async def keywords(x, /, *, by=1):
    await asyncio.sleep(0)
    return x + by


CALLABLES = {
    "async def": add_one,
    "lambda": lambda x: add_one(x),
    "bound async method": Adder().add,
    "object with async __call__": Adder(),
    "partial": functools.partial(lambda by, x: Adder(by)(x), 1),
    "partial of async def": functools.partial(keywords, by=1),
    "types.coroutine": old_style,
    "marked as a coroutine function": marked,
    "returns a Future": future_of,
    "returns a Task": task_of,
    "class with __await__": Awaitable,
    "another tworoutine": increment,
    "async form of another": ~increment,
}


# --- the two ways -----------------------------------------------------------


def test_the_package_offers_the_names():
    assert package.tworoutine is tworoutine
    assert isinstance(tworoutine, type)
    assert {"tworoutine", "await_", "CannotSuspend"} <= set(package.__all__)
    assert issubclass(package.CannotSuspend, RuntimeError)


def test_names_that_are_loaded_when_first_used_are_listed(program):
    out = program(
        "import sys, tworoutine\n"
        "print({*tworoutine.__all__, 'nested'} - {*dir(tworoutine)})\n"
        "print({'os', 'sys', 'after_fork'} & {*dir(tworoutine)})\n"
        "print('tworoutine.nested' in sys.modules)\n"
        "tworoutine.nested.apply()\n"
        "print('tworoutine.nested' in sys.modules)\n"
    )
    assert out.split() == ["set()", "set()", "False", "True"]


@pytest.mark.parametrize("fn", CALLABLES.values(), ids=CALLABLES)
def test_every_kind_of_callable_can_be_called_synchronously(fn, place):
    assert place(lambda: tworoutine(fn)(20)) == 21


@pytest.mark.parametrize("fn", CALLABLES.values(), ids=CALLABLES)
def test_every_kind_of_callable_can_be_awaited_by_tilde(fn):
    async def main():
        return await (~tworoutine(fn))(20)

    assert asyncio.run(main()) == 21


def test_arguments_arrive_as_they_were_given(place):
    seen = []

    @tworoutine
    async def f(*args, **kwargs):
        await asyncio.sleep(0)
        seen.append((args, kwargs))

    place(lambda: f())
    place(lambda: f(1, 2))
    place(lambda: f(*"ab", c=3, **{"d e": 4}))
    assert seen == [((), {}), ((1, 2), {}), (("a", "b"), {"c": 3, "d e": 4})]


def test_an_async_generator_function(place):
    @tworoutine
    async def count(n):
        for i in range(n):
            await asyncio.sleep(0)
            yield i

    assert place(lambda: list(count(3))) == [0, 1, 2]


def test_an_async_context_manager(place):
    @tworoutine
    @contextlib.asynccontextmanager
    async def opened(x):
        await asyncio.sleep(0)
        yield x

    def use():
        with opened(5) as value:
            return value

    assert place(use) == 5


def test_tilde_and_aio_are_the_function_itself():
    f = tworoutine(add_one)
    assert ~f is add_one
    assert f.aio is add_one
    adder = Adder()
    assert ~tworoutine(adder) is adder
    assert ~tworoutine(adder.add) == adder.add


def test_the_async_form_makes_a_real_coroutine():
    coro = (~increment)(1)
    assert type(coro) is types.CoroutineType
    assert asyncio.run(coro) == 2


def test_the_async_form_works_in_gather_and_tasks():
    async def main():
        task = asyncio.create_task(increment.aio(1))
        return await asyncio.gather((~increment)(2), task)

    assert asyncio.run(main()) == [3, 2]


def test_decorating_twice_is_the_same_as_once():
    assert tworoutine(increment) is increment


def test_the_inner_exception_object_arrives_unchanged(place):
    error = LookupError("no board")

    @tworoutine
    async def fail():
        await asyncio.sleep(0)
        raise error

    with pytest.raises(LookupError) as caught:
        place(fail)
    assert caught.value is error
    assert error.__context__ is None
    assert error.__cause__ is None


def test_a_call_that_never_suspends(place):
    @tworoutine
    async def at_once(x):
        return x

    assert place(lambda: at_once("x")) == "x"


def test_calls_nest(place):
    @tworoutine
    async def down(n):
        await asyncio.sleep(0)
        return 0 if n == 0 else 1 + down(n - 1)

    assert place(lambda: down(20)) == 20


# --- await_ -----------------------------------------------------------------


@pytest.mark.parametrize(
    "make", [add_one, Awaitable, old_style], ids=lambda make: make.__name__
)
def test_await_takes_what_await_takes(make, place):
    assert place(lambda: await_(make(1))) == 2


@pytest.mark.parametrize("make", [future_of, task_of])
def test_await_takes_a_future_of_the_loop(make, place):
    @tworoutine
    async def start(x):
        return [make(x)]

    def start_and_wait():
        (future,) = start(1)
        return await_(future)

    assert place(start_and_wait) == 2


def test_await_of_a_future_that_is_done(place):
    @tworoutine
    async def done(error):
        future = asyncio.get_running_loop().create_future()
        if error is None:
            future.set_result(1)
        else:
            future.set_exception(error)
        return [future]

    error = ValueError("it failed")
    assert place(lambda: await_(done(None)[0])) == 1
    with pytest.raises(ValueError) as caught:
        place(lambda: await_(done(error)[0]))
    assert caught.value is error


def test_await_inside_a_synchronous_call(place):
    @tworoutine
    async def outer():
        return await_(add_one(1)) + await_(Awaitable(1))

    assert place(outer) == 4


@pytest.mark.parametrize("thing", [None, 3, add_one, [add_one], increment])
def test_await_of_anything_else_is_a_type_error(thing, place):
    with pytest.raises(TypeError, match="await"):
        place(lambda: await_(thing))


# --- bad input: type, name, nothing left ------------------------------------


def raised(place, error, fn):
    """What place(fn) raises, notes and all, as text."""
    with pytest.raises(error) as caught:
        place(fn)
    return "\n".join(
        [str(caught.value), *getattr(caught.value, "__notes__", [])]
    )


@pytest.mark.parametrize("thing", [None, 3, "f", [add_one], Awaitable(0)])
def test_what_cannot_be_called_cannot_be_decorated(thing):
    with pytest.raises(TypeError) as caught:
        tworoutine(thing)
    assert repr(thing) in str(caught.value)


def test_a_coroutine_cannot_be_decorated():
    coro = add_one(1)
    with pytest.raises(TypeError, match="add_one"):
        tworoutine(coro)
    coro.close()


@pytest.mark.parametrize(
    ("args", "kwargs"), [((), {}), ((add_one,) * 3, {}), ((), {"fn": 1})]
)
def test_the_decorator_takes_one_positional_argument(args, kwargs):
    with pytest.raises(TypeError, match="tworoutine"):
        tworoutine(*args, **kwargs)


def test_a_function_that_returns_no_awaitable(place):
    @tworoutine
    def forgot_async(x):
        return x

    assert "forgot_async" in raised(place, TypeError, lambda: forgot_async(1))


def test_wrong_arguments(place):
    message = raised(place, TypeError, lambda: increment(1, 2))
    assert "increment" in message
    message = raised(place, TypeError, lambda: increment(y=1))
    assert "increment" in message


def test_a_coroutine_that_has_ended(place):
    coro = add_one(1)
    assert place(lambda: await_(coro)) == 2
    message = raised(place, RuntimeError, lambda: await_(coro))
    assert "already" in message
    assert "add_one" in message


def test_a_function_that_returns_a_coroutine_that_has_ended(place):
    coro = add_one(1)

    @tworoutine
    def again():
        return coro

    assert place(again) == 2
    message = raised(place, RuntimeError, again)
    assert "already" in message
    assert "again" in message


def test_a_coroutine_that_somebody_else_awaits(place):
    async def waits_a_moment():
        await asyncio.sleep(0.01)

    @tworoutine
    async def start():
        coro = waits_a_moment()
        task = asyncio.get_running_loop().create_task(coro)
        await asyncio.sleep(0)
        return coro, [task]

    def await_it_too():
        coro, (task,) = start()
        try:
            await_(coro)
        finally:
            await_(task)

    message = raised(place, RuntimeError, await_it_too)
    assert "already" in message
    assert "waits_a_moment" in message


@pytest.fixture
def other_loop():
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


def test_a_future_of_another_loop(place, other_loop):
    future = other_loop.create_future()

    @tworoutine
    async def waits_for_a_stranger():
        await future

    message = raised(place, RuntimeError, waits_for_a_stranger)
    assert "different loop" in message or "another loop" in message
    assert "waits_for_a_stranger" in message


def test_a_function_that_returns_a_future_of_another_loop(place, other_loop):
    future = other_loop.create_future()

    @tworoutine
    def gives_a_stranger():
        return future

    message = raised(place, RuntimeError, gives_a_stranger)
    assert "different loop" in message or "another loop" in message
    assert "gives_a_stranger" in message


def test_the_inner_coroutine_can_catch_such_an_error_and_go_on(
    place, other_loop
):
    @tworoutine
    async def careful():
        try:
            await other_loop.create_future()
        except RuntimeError:
            await asyncio.sleep(0)
            return "went on"

    assert place(careful) == "went on"


def test_something_that_cannot_be_yielded(place):
    class Odd:
        def __await__(self):
            yield "nonsense"

    @tworoutine
    async def odd():
        await Odd()

    assert "nonsense" in raised(place, RuntimeError, odd)


def test_an_await_method_that_returns_no_iterator(place):
    class Broken:
        def __await__(self):
            return 3

    assert "__await__" in raised(place, TypeError, lambda: await_(Broken()))


def test_a_task_that_awaits_itself(place):
    @tworoutine
    async def selfish():
        await asyncio.current_task()

    assert "await on itself" in raised(place, RuntimeError, selfish)


def test_a_generator_function_is_no_async_function(place):
    @tworoutine
    def numbers():
        yield 1

    assert "numbers" in raised(place, TypeError, numbers)


def test_all_works_after_an_error(place, other_loop):
    def one_after_the_other():
        for wrong in (lambda: increment(), lambda: await_(3)):
            with pytest.raises(TypeError):
                wrong()
        with pytest.raises(RuntimeError):
            await_(other_loop.create_future())
        return increment(1)

    assert place(one_after_the_other) == 2
