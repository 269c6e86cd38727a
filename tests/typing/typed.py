"""What type checkers see.  Never run; read by test_typing.py.

A line that a checker has to refuse says "error".  One that pyright takes
rightly and mypy refuses says "error of mypy only": mypy does not compare the
parameters of self in the overloads of __get__, and so takes the first
parameter of a static method, or of Class.method(obj), for a class.
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
from typing import Any, TypeVar, assert_type

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
async def opened(name: str) -> AsyncIterator[bytes]:
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


# --- calls ---

assert_type(f(1), str)
assert_type(f(1, scale=2), str)
assert_type(same(1), int)
assert_type(same("x"), str)
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
assert_type(Board.add(1, 2), int)  # error of mypy only
assert_type(board.add(1, 2), int)  # error of mypy only
assert_type(Board.add_above(1, 2), int)  # error of mypy only
assert_type([x for x in board.items()], list[int])
assert_type(Fast().tune(1), str)
assert_type(board.tune.__name__, str)

Board.tune(board, 1)  # error of mypy only
board.tune("1")  # error
board.tune()  # error
Board.make(1)  # error
Board.add("1", 2)  # error


async def use_methods() -> None:
    assert_type(await (~board.tune)(1), str)
    assert_type(await board.tune.aio(1), str)
    assert_type(await (~Board.make)("a"), int)
    assert_type(await (~board.make)("a"), int)
    assert_type(await (~Board.add)(1, 2), int)  # error of mypy only
    assert_type(await (~board.add)(1, 2), int)  # error of mypy only
    await (~board.tune)("1")  # error


Abstract()  # error


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
takes_tworoutine(board.tune)
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
    assert_type(tworoutine(same_plain, home=asyncio.get_running_loop)(1), int)
    assert_type(f.at(thread)(1), str)
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


async def same_plain(x: T) -> T:
    return x


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
    assert_type(~D, type[Client])
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
