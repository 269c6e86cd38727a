"""What type checkers see.  Never run; read by test_typing.py.

A line that each checker has to refuse says "error".  What a checker cannot do
is marked, with its name.  The releases meant are in test_typing.py, or here:

    # error of NAME, NAME: these refuse what is right
    # error, but not of NAME, NAME: these do not see what is wrong

docs/typing.md says what the marks come from.
"""

# ruff: noqa: B007, B018, C416

import asyncio
import contextlib
import sys
import warnings
from abc import ABC, abstractmethod
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Generator,
)
from typing import (
    Any,
    Generic,
    ParamSpec,
    Protocol,
    Self,
    TypeVar,
    assert_type,
    overload,
)

from tworoutine import (
    CannotSuspend,
    FailedCalls,
    LoopThread,
    SlowCallWarning,
    WaitingCall,
    await_,
    calls,
    dual,
    home,
    portal,
    print_calls,
    run,
    task_factory,
    tworoutine,
    warn_slow,
)

T = TypeVar("T")
R = TypeVar("R")
P = ParamSpec("P")


@tworoutine
async def f(x: int, *, scale: float = 1.0) -> str:
    return str(x * scale)


@tworoutine
async def two(x: int, y: str) -> bytes:
    return bytes(x)


async def agen(n: int) -> AsyncGenerator[int, None]:
    yield n


@tworoutine
async def same(x: T) -> T:
    return x


@tworoutine
async def count(n: int) -> AsyncGenerator[int, str]:
    yield n


@tworoutine
async def lines(n: int) -> AsyncIterator[str]:
    yield str(n)


@tworoutine
@contextlib.asynccontextmanager
async def opened(name: str) -> AsyncGenerator[bytes]:
    yield name.encode()


@tworoutine
def later(x: int) -> asyncio.Future[str]:
    raise NotImplementedError


class Board:
    @tworoutine
    async def tune(self, x: int) -> str:
        return str(x)

    @tworoutine
    @classmethod
    async def make(cls, name: str) -> int:
        return len(name)

    @classmethod
    @tworoutine
    async def make_above(cls, name: str) -> int:
        return len(name)

    @tworoutine
    @staticmethod
    async def add(x: int, y: int) -> int:
        return x + y

    @staticmethod
    @tworoutine
    async def add_above(x: int, y: int) -> int:
        return x + y

    @staticmethod
    @tworoutine
    async def add_any(x: Any, y: int) -> int:
        return y

    @tworoutine
    async def items(self) -> AsyncGenerator[int, None]:
        yield 1


class Fast(Board):
    def tune_twice(self, x: int) -> str:
        return super().tune(x) + self.tune(x)

    async def tune_async(self, x: int) -> str:
        return await (~super().tune)(x)


class Abstract(ABC):
    @tworoutine
    @abstractmethod
    async def read(self) -> int: ...


# --- overrides ---


class Base:
    @tworoutine
    async def read(self, x: int) -> str:
        return str(x)

    @tworoutine
    @classmethod
    async def make(cls, x: int) -> str:
        return str(x)

    @tworoutine
    @staticmethod
    async def add(x: int) -> str:
        return str(x)

    @tworoutine
    async def lines(self) -> AsyncGenerator[str]:
        yield ""


class Good(Base):
    @tworoutine
    async def read(self, x: int) -> str:  # error of pyright, pyrefly
        return super().read(x)

    @tworoutine
    @classmethod
    async def make(cls, x: int) -> str:  # error of pyright, pyrefly
        return await (~super().make)(x)

    @tworoutine
    @staticmethod
    async def add(x: int) -> str:
        return str(x)

    @tworoutine
    async def lines(self) -> AsyncGenerator[str]:  # error of pyright, pyrefly
        yield ""


class Bad(Base):
    @tworoutine
    async def read(self, x: str) -> str:  # error
        return x

    @tworoutine
    @staticmethod
    async def add(x: str) -> str:  # error, but not of mypy
        return x


class Concrete(Abstract):
    @tworoutine
    async def read(self) -> int:  # error of pyright, pyrefly
        return 1


assert_type(Concrete().read(), int)


# --- protocols ---


class Reads(Protocol):
    def read(self, x: int, /) -> str: ...


class ReadsTwice(Protocol):
    @tworoutine
    async def read(self, x: int, /) -> str: ...


def takes_reads(reader: Reads) -> None: ...


async def takes_reads_twice(reader: ReadsTwice) -> None:
    assert_type(reader.read(1), str)
    assert_type(await (~reader.read)(1), str)


takes_reads(Base())  # error of pyright
takes_reads(Good())  # error of pyright
takes_reads(Bad())  # error


async def protocols() -> None:
    await takes_reads_twice(Base())  # error of pyrefly, ty


# --- Self, and generic methods and classes ---


class Chain:
    @tworoutine
    async def then(self, x: int) -> Self:
        return self

    @classmethod
    @tworoutine
    async def make(cls, x: int) -> Self:
        return cls()

    @tworoutine
    @classmethod
    async def make_below(cls, x: int) -> Self:
        return cls()

    @tworoutine
    async def same(self, x: T) -> list[T]:
        return [x]


class Longer(Chain): ...


class Box(Generic[T]):
    @tworoutine
    async def get(self, x: int) -> T:
        raise NotImplementedError

    @tworoutine
    async def put(self, x: T) -> None: ...


async def chains(chain: Chain, longer: Longer, box: Box[int], n: int) -> None:
    assert_type(chain.then(1), Chain)  # error of mypy
    assert_type(longer.then(1), Longer)  # error of mypy
    assert_type(await (~longer.then)(1), Longer)  # error of mypy
    assert_type(Longer.make(1), Longer)  # error of mypy
    assert_type(Longer.make_below(1), Longer)  # error of mypy, ty
    assert_type(chain.same(n), list[int])  # error of pyrefly
    assert_type(await (~chain.same)(n), list[int])  # error of pyrefly
    each = chain.same.map([n])
    assert_type(each, list[list[int]])  # error of mypy, pyrefly, ty
    assert_type(box.get(1), int)
    assert_type(await (~box.get)(1), int)
    assert_type(box.get.map([1]), list[int])
    box.put(1)
    box.put("1")  # error


# --- with the decorators of others ---


def timed(fn: Callable[P, R]) -> Callable[P, R]:
    return fn


def retried(fn: Callable[P, Awaitable[R]]) -> Callable[P, Awaitable[R]]:
    return fn


def traced(
    fn: Callable[P, Coroutine[Any, Any, R]],
) -> Callable[P, Coroutine[Any, Any, R]]:
    return fn


def limited(n: int) -> Callable[[Callable[P, R]], Callable[P, R]]:
    return lambda fn: fn


@timed
@tworoutine
async def timed_above(x: int) -> str:
    return str(x)


@tworoutine
@retried
async def retried_below(x: int) -> str:
    return str(x)


@tworoutine
@traced
async def traced_below(x: int) -> str:
    return str(x)


@tworoutine
@limited(3)
async def limited_below(x: int) -> str:
    return str(x)


@tworoutine
@timed
async def timed_below(x: int) -> str:
    return str(x)


@overload
async def either(x: int) -> str: ...
@overload
async def either(x: str) -> int: ...
async def either(x: int | str) -> int | str:
    return x


async def others() -> None:
    assert_type(timed_above(1), str)
    timed_above("1")  # error
    ~timed_above  # error
    assert_type(retried_below(1), str)
    assert_type(await (~retried_below)(1), str)
    retried_below("1")  # error
    assert_type(timed_below(1), str)  # error of mypy 1.17
    assert_type(await (~timed_below)(1), str)  # error of mypy 1.17
    assert_type(retried_below.map([1]), list[str])
    assert_type(traced_below(1), str)  # error of mypy
    traced_below("1")  # error, but not of mypy
    assert_type(limited_below(1), str)  # error of mypy 1.17
    both = tworoutine(either)
    assert_type(both(1), str)  # error of ty
    assert_type(both("1"), int)  # error of mypy, pyright, ty


# --- names ---

f.mapp  # error
f.as_complete  # error
board_of_names = Board
board_of_names().tune.atio  # error
(~f).map  # error
f.map.ai  # error
assert_type(f.__name__, str)
assert_type(f.__doc__, str | None)
assert_type(f.__dict__, dict[str, Any])
f.unit = "mK"
f.unit  # error: for checkers, as with a function
f.__name__ = 1  # error
f.__name__ = "g"


# --- calls ---

assert_type(f(1), str)
assert_type(f(1, scale=2), str)


def generic(x: int, y: str) -> None:
    assert_type(same(x), int)  # error of pyrefly
    assert_type(same(y), str)  # error of pyrefly
    assert_type(same.map([x]), list[int])  # error of mypy, pyrefly, ty
    same.map([x])  # error of ty
    same.as_completed([x])  # error of mypy, ty


assert_type(later(1), str)

f("1")  # error
f()  # error
f(1, 2)  # error
f(1, other=2)  # error
f(1).real  # error: it is a str


async def use_functions() -> None:
    assert_type(await (~f)(1, scale=2), str)
    assert_type(await f.aio(1), str)
    coro: Coroutine[Any, Any, str] = (~f)(1)
    assert_type(await coro, str)
    assert_type(await (~later)(1), str)
    await (~f)("1")  # error
    await f(1)  # error: a str cannot be awaited


# --- await_ ---


async def number() -> int:
    return 1


def use_await(future: asyncio.Future[str], awaitable: Awaitable[int]) -> None:
    assert_type(await_(number()), int)
    assert_type(await_(future), str)
    assert_type(await_(awaitable), int)
    await_(number)  # error


# --- generators and managers ---

assert_type(count(1), Generator[int, str, None])
assert_type([x for x in count(1)], list[int])
assert_type(count(1).send("x"), int)
assert_type([x for x in lines(1)], list[str])

with opened("a") as value:
    assert_type(value, bytes)
for x in f(1).encode():
    assert_type(x, int)


async def use_generators() -> None:
    async for x in (~count)(1):
        assert_type(x, int)
    async for line in (~lines)(1):
        assert_type(line, str)
    async with (~opened)("a") as value:
        assert_type(value, bytes)
    async for x in count(1):  # error
        pass


# --- binding ---

board = Board()
assert_type(board.tune(1), str)
assert_type(Board.make("a"), int)
assert_type(board.make("a"), int)
assert_type(Board.make_above("a"), int)
assert_type(board.make_above("a"), int)
assert_type(Board.add(1, 2), int)
assert_type(board.add(1, 2), int)  # error of mypy
assert_type(Board.add_above(1, 2), int)
assert_type(Board.add_any(1, 2), int)  # error of mypy, pyright, pyrefly
assert_type([x for x in board.items()], list[int])
assert_type(Fast().tune(1), str)
assert_type(board.tune.__name__, str)

Board.tune(board, 1)
board.tune("1")  # error
board.tune()  # error
Board.make(1)  # error
Board.add("1", 2)  # error


async def use_methods() -> None:
    assert_type(await (~board.tune)(1), str)
    assert_type(await board.tune.aio(1), str)
    assert_type(await (~Board.make)("a"), int)
    assert_type(await (~board.make)("a"), int)
    assert_type(await (~Board.add)(1, 2), int)
    assert_type(await (~board.add)(1, 2), int)  # error of mypy
    await (~board.tune)("1")  # error


Abstract()  # error, but not of ty


# --- fan-out ---

assert_type(f.map([1, 2]), list[str])
assert_type(f.map(range(3), limit=2, progress=True), list[str])
assert_type(f.map([1], return_exceptions=True), list[str | BaseException])
assert_type(board.tune.map([1]), list[str])
assert_type(Board.make.map("ab"), list[int])
for item, result in board.tune.as_completed([1, 2], limit=1):
    assert_type(item, int)
    assert_type(result, str)

f.map(["1"])  # error
assert_type(f.map([1], limit=asyncio.Semaphore(2)), list[str])
assert_type(f.map(agen(3)), list[str])
assert_type(two.map([1], ["a"]), list[bytes])
two.map(1, ["a"])  # error
two.map([1], 5)  # error
two.as_completed([1])  # error: it takes two
try:
    f.map([1])
except FailedCalls as failed:
    assert_type(failed.results, list[Any])
f.map([1], limit="2")  # error
f.map([1], unknown=1)  # error


async def use_fan_out() -> None:
    assert_type(await (~f.map)([1]), list[str])
    assert_type(await f.map.aio([1]), list[str])
    async for item, result in (~f.as_completed)([1]):
        assert_type(item, int)
        assert_type(result, str)


# --- as types ---


def takes_callable(function: Callable[[int], str]) -> None: ...


def takes_tworoutine(function: "tworoutine[[int], str]") -> None:
    assert_type(function(1), str)


async def takes_the_form(function: "tworoutine[[int], str]") -> str:
    return await (~function)(1)


takes_callable(f)
takes_callable(board.tune)
takes_tworoutine(f)  # error of pyrefly, ty
takes_tworoutine(board.tune)  # error of pyrefly, ty
takes_callable(later)
takes_callable(board.add)  # error

error: type[RuntimeError] = CannotSuspend

# --- what cannot be decorated ---


def plain(x: int) -> int:
    return x


tworoutine(plain)  # error
tworoutine(3)  # error


async def main(board: int, *, fast: bool = False) -> float:
    return board / 2


def hosts(loop: asyncio.AbstractEventLoop) -> None:
    assert_type(run(main(1)), float)
    assert_type(run(main(1), debug=True, loop_factory=None), float)
    run(main)  # error
    assert_type(run(portal(main)(1, fast=True)), float)
    portal(main)("1")  # error
    assert_type(run(portal(f)(1, scale=2.0)), str)
    portal(f)("1")  # error
    portal(3)  # error
    loop.set_task_factory(task_factory)


thread = LoopThread("name")


@tworoutine(home=thread)
async def homely(x: int) -> str:
    return str(x)


@tworoutine(home=lambda: thread)
async def homely_lines(n: int) -> AsyncGenerator[str, None]:
    yield str(n)


async def homes() -> None:
    assert_type(homely(1), str)
    assert_type(await (~homely)(1), str)
    assert_type(homely.map([1]), list[str])
    assert_type(homely_lines(1), Generator[str, None])
    assert_type(tworoutine(main, home=asyncio.get_running_loop)(1), float)
    assert_type(f.at(thread)(1), str)
    assert_type(f.at(thread).map([1]), list[str])
    assert_type(await (~f.at(thread))(1), str)
    f.at(thread)("1")  # error
    assert_type(f.at(thread.loop)(1, scale=2.0), str)
    homely("x")  # error
    f.at(5)  # error
    tworoutine(home=5)  # error
    with home(thread), home(asyncio.get_running_loop()):
        assert_type(f(1), str)


async def start() -> None:
    assert_type(f.start(1, scale=2.0), asyncio.Task[str])
    assert_type(await f.start(1), str)
    assert_type(await_(f.start(1)), str)
    assert_type(homely.start(1), asyncio.Task[str])
    f.start("x")  # error
    assert_type(Board().tune.start(1), asyncio.Task[str])
    f.at(thread).start("x")  # error
    homely_lines.start(1)  # error


def inside() -> None:
    for call in calls():
        assert_type(call, WaitingCall)
        assert_type(call.age, float | None)
        assert_type(call.stack[0].lineno, int | None)
        assert_type(call.outer, WaitingCall | None)
    print_calls()
    print_calls(sys.stdout)
    print_calls("x")  # error
    warn_slow(0.5)
    warn_slow(None)
    warn_slow("1")  # error
    warnings.simplefilter("error", SlowCallWarning)


class Client:
    number = 1

    async def get(self, x: int) -> str:
        return str(x)


async def duals() -> None:
    d = dual(Client(), deep=True, home=thread)
    assert_type(~d, Client)
    assert_type(await (~d).get(1), str)
    assert_type(~dual(d), Client)
    assert_type(d.get(1), Any)
    assert_type(d.number, Any)
    with d as entered, d.get(1):
        assert_type(entered, Any)
    for x in d:
        assert_type(x, Any)
    D = dual(Client)
    assert_type(~D(1), Client)
    assert_type(~D, type[Client])  # error of pyrefly
    assert_type(~dual(D)(), Client)
    assert_type(D.create(1), Any)
    if isinstance(d, D):
        assert_type(~d, Client)
    (~d).get("x")  # error
    dual(Client(), deep=5)  # error
    dual(Client(), home=5)  # error
    needs_client(d)  # error
    needs_client(~d)


def needs_client(client: Client) -> None: ...
