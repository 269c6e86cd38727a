"""The core of the contract, on every host.

`make hosts` runs this file and writes the table of docs/tested.md.
"""

import contextvars
import gc
import sys
import traceback

import pytest

from hosts import HOSTS
from tworoutine import await_, tworoutine


@pytest.fixture(params=HOSTS, ids=repr)
def host(request):
    request.param.require()
    return request.param


def sleeper(lib):
    @tworoutine
    async def nap(seconds=0, result=None):
        await lib.sleep(seconds)
        return result

    return nap


def test_identity_the_caller_s_own_task(host):
    lib = host.lib

    @tworoutine
    async def inside():
        before = lib.current_task()
        await lib.sleep(0)
        return before, lib.current_task()

    async def main():
        return lib.current_task(), *inside(), lib.current_task()

    assert len(set(host.run(main))) == 1


def test_context_the_caller_s_own_both_directions(host):
    lib = host.lib
    var = contextvars.ContextVar("var", default="unset")

    @tworoutine
    async def inside():
        seen = var.get()
        token = var.set("inside")
        await lib.sleep(0)
        return seen, token

    async def child(name):
        token = var.set(name)
        seen, _ = inside()
        assert (seen, var.get()) == (name, "inside")
        var.set(name)
        await lib.sleep(0.001)
        assert inside()[0] == name
        var.reset(token)
        return var.get()

    async def main():
        var.set("outside")
        seen, token = inside()
        assert (seen, var.get()) == ("outside", "inside")
        var.reset(token)
        assert var.get() == "outside"
        return await lib.gather(*[lambda i=i: child(f"{i}") for i in range(9)])

    assert host.run(main) == ["outside"] * 9


def test_cancel_reaches_the_coroutine_at_its_await(host):
    lib = host.lib
    steps = []

    async def cleanup():
        steps.append("cleanup")

    @tworoutine
    async def blocks(waiting):
        waiting.set()
        try:
            await lib.sleep(60)
        except BaseException as exc:
            steps.append(type(exc))
            raise
        finally:
            await cleanup()

    async def main():
        waiting = lib.Event()

        async def victim():
            try:
                blocks(waiting)
            finally:
                steps.append("caller")

        async with lib.cancelled_inside(victim):
            await waiting.wait()
        return sleeper(lib)(0, "alive")

    assert host.run(main) == "alive"
    assert len(steps) == 3 and steps[1:] == ["cleanup", "caller"]
    assert not issubclass(steps[0], Exception) or lib.name in (
        "curio",
        "twisted",
    )


@pytest.mark.parametrize("where", ["around", "inside"])
def test_timeout(host, where):
    lib = host.lib
    nap = sleeper(lib)

    def fail_after(seconds):
        scope = lib.fail_after(seconds)
        return scope if hasattr(scope, "__aenter__") else Scope(scope)

    @tworoutine
    async def inside():
        with pytest.raises(lib.timed_out):
            async with fail_after(0.01):
                await lib.sleep(60)
        return "inside"

    @tworoutine
    async def around():
        await lib.sleep(60)

    async def main():
        for _ in range(3):
            if where == "inside":
                assert inside() == "inside"
            else:
                with pytest.raises(lib.timed_out):
                    async with fail_after(0.01):
                        around()
            assert nap(0, 5) == 5
        return "done"

    assert host.run(main) == "done"


class Scope:
    """anyio's scopes are synchronous context managers."""

    def __init__(self, scope):
        self._scope = scope

    async def __aenter__(self):
        return self._scope.__enter__()

    async def __aexit__(self, *error):
        return self._scope.__exit__(*error)


def test_order_each_call_ends_at_its_own_time(host):
    lib = host.lib
    ended = []

    async def main():
        events = [lib.Event() for _ in range(5)]

        @tworoutine
        async def wait(event):
            await event.wait()

        async def child(i):
            wait(events[i])
            ended.append(i)
            if i + 3 < 5 or i > 0:
                events[i + 3 if i + 3 < 5 else i - 1].set()

        async def first():
            sleeper(lib)(0)
            events[0].set()

        # 0 releases 3, that 2, that 1, that 4.
        await lib.gather(*[lambda i=i: child(i) for i in range(5)], first)

    host.run(main)
    assert ended == [0, 3, 2, 1, 4]


def test_two_calls_that_need_each_other(host):
    lib = host.lib

    async def main():
        ping, pong = lib.Event(), lib.Event()

        @tworoutine
        async def meet(mine, other):
            mine.set()
            await other.wait()
            return "met"

        async def child(mine, other):
            return meet(mine, other)

        return await lib.gather(
            lambda: child(ping, pong), lambda: child(pong, ping)
        )

    assert host.run(main) == ["met"] * 2


def test_a_thousand_blocked_at_once(host):
    lib = host.lib

    async def main():
        gate, blocked = lib.Event(), []

        @tworoutine
        async def wait(i):
            blocked.append(i)
            await gate.wait()
            await lib.sleep(0)
            return i

        async def child(i):
            return wait(i)

        async def opens():
            while len(blocked) < 1000:
                await lib.sleep(0)
            gate.set()

        return await lib.gather(
            *[lambda i=i: child(i) for i in range(1000)], opens
        )

    assert host.run(main)[:-1] == list(range(1000))
    gc.collect()


def test_errors_the_same_object_and_no_frame_of_ours(host):
    lib = host.lib
    error = KeyError("mine")

    def fails():
        raise error

    @tworoutine
    async def inside():
        await lib.sleep(0)
        fails()

    async def main():
        try:
            inside()
        except KeyError as exc:
            assert exc is error and exc.__context__ is None
            frames = traceback.extract_tb(exc.__traceback__)
            return [frame.name for frame in frames]

    assert host.run(main) == ["main", "inside", "fails"]


def test_below_c_code(host):
    lib = host.lib
    nap = sleeper(lib)

    async def main():
        return sorted([3, 1, 2], key=lambda x: nap(0.0001, -x))

    assert host.run(main) == [3, 2, 1]


def test_nested_calls(host):
    lib = host.lib

    @tworoutine
    async def down(n):
        await lib.sleep(0)
        return n if n == 0 else down(n - 1) + 1

    async def main():
        return down(20)

    assert host.run(main) == 20


def test_generators_and_context_managers(host):
    lib = host.lib
    steps = []

    @tworoutine
    async def count(n):
        try:
            for i in range(n):
                await lib.sleep(0)
                yield i
        finally:
            await lib.sleep(0)
            steps.append("finally")

    async def main():
        assert list(count(3)) == [0, 1, 2]
        generator = count(3)
        assert next(generator) == 0
        generator.close()
        return [i async for i in (~count)(2)]

    assert host.run(main) == [0, 1]
    assert steps == ["finally"] * 3


def test_await_of_a_coroutine(host):
    lib = host.lib

    async def coroutine():
        await lib.sleep(0)
        return 5

    async def main():
        return await_(coroutine())

    assert host.run(main) == 5


def test_locks_hold_across_a_call(host):
    lib = host.lib
    nap = sleeper(lib)
    inside = []

    async def main():
        lock = lib.Lock()

        async def child():
            async with lock:
                inside.append(1)
                nap(0.0001)
                assert sum(inside) == 1
                inside.pop()

        await lib.gather(*[child] * 10)
        return inside

    assert host.run(main) == []


def test_the_recursion_limit_is_an_error_and_no_more(host):
    lib = host.lib

    @tworoutine
    async def down():
        return down()

    async def main():
        limit = sys.getrecursionlimit()
        sys.setrecursionlimit(400)
        try:
            with pytest.raises(RecursionError):
                down()
        finally:
            sys.setrecursionlimit(limit)
        return sleeper(lib)(0, 5)

    assert host.run(main) == 5
