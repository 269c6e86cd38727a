"""dual(x): the same object in both idioms.

A test that takes ``place`` makes its calls without a loop, in a task, in a
callback and in an eager task.
"""

import _thread
import abc
import ast
import asyncio
import collections.abc
import contextlib
import copy
import dataclasses
import functools
import gc
import inspect
import pickle
import pydoc
import re
import subprocess
import sys
import threading
import traceback
import types
import weakref
from pathlib import Path
from unittest import mock

import pytest
import trio
import uvloop

import tworoutine as package
from tworoutine import LoopThread, dual, home, portal, tworoutine


class Opened:
    """What aiohttp's session.get() returns: for `await`, and for `with`."""

    def __init__(self, client):
        self.client = client

    def __await__(self):
        return self.client.get("awaited").__await__()

    async def __aenter__(self):
        await asyncio.sleep(0)
        self.client.log.append("in")
        return "entered"

    async def __aexit__(self, *exc_info):
        await asyncio.sleep(0)
        self.client.log.append("out")


class Rows:
    """What asyncpg's cursor() returns: for `await`, and for `for`."""

    def __await__(self):
        yield from asyncio.sleep(0).__await__()
        return "awaited"

    async def __aiter__(self):
        for i in range(3):
            await asyncio.sleep(0)
            yield i


class Node:
    def __init__(self, name):
        self.name = name

    async def read(self):
        await asyncio.sleep(0)
        return f"value of {self.name}"

    async def same_as(self, other):
        assert type(other) is Node
        return other is self

    async def all_are(self, nodes):
        return all(type(node) is Node for node in nodes)

    async def fan(self, n):
        for i in range(n):
            await asyncio.sleep(0)
            yield Node(str(i))

    def __eq__(self, other):
        return isinstance(other, Node) and self.name == other.name

    def __hash__(self):
        return hash(self.name)


class Holder:
    def __init__(self):
        self.root = Node("root")


class Client:
    """Somebody else's client."""

    base = "http"

    def __init__(self, number=0):
        self.number = number
        self.log = []
        self.root = Node("root")
        self.nodes = Holder()
        self.callback = len

    async def get(self, x):
        """Get it."""
        await asyncio.sleep(0)
        return self.number, x

    async def get_twice(self):
        return [await self.get(1), await self.get(2)]

    async def me(self):
        await asyncio.sleep(0)
        return self

    async def fail(self, exc):
        await asyncio.sleep(0)
        raise exc

    def add(self, x):
        self.number += x
        return self

    def plus(self, x):
        return self.number + x

    def begun(self, x):
        return asyncio.get_running_loop().create_task(self.get(x))

    def open(self):
        asyncio.get_running_loop()
        return Opened(self)

    def rows(self):
        return Rows()

    async def ticks(self, n):
        try:
            for i in range(n):
                await asyncio.sleep(0)
                yield i
        finally:
            await asyncio.sleep(0)
            self.log.append("finally")

    @contextlib.asynccontextmanager
    async def locked(self, x):
        await asyncio.sleep(0)
        self.log.append("lock")
        try:
            yield x
        finally:
            await asyncio.sleep(0)
            self.log.append("unlock")

    @property
    def size(self):
        return self.number

    @size.setter
    def size(self, value):
        self.number = value

    @property
    async def remote(self):
        await asyncio.sleep(0)
        return "remote"

    @functools.cached_property
    def info(self):
        return asyncio.ensure_future(self.get("info"))

    @classmethod
    async def create(cls, number):
        await asyncio.sleep(0)
        return cls(number)

    @classmethod
    def made(cls, number):
        return cls(number)

    @staticmethod
    async def double(x):
        await asyncio.sleep(0)
        return 2 * x

    async def children(self):
        return [Node("a"), Node("b")]

    async def node(self, name):
        return Node(name)

    async def by_name(self):
        return {"a": (Node("a"), 1)}

    def __getattr__(self, name):
        if not name.startswith("remote_"):
            raise AttributeError(name)

        async def method(x):
            await asyncio.sleep(0)
            return name, x

        return method

    async def __aenter__(self):
        await asyncio.sleep(0)
        self.log.append("enter")
        return self

    async def __aexit__(self, *exc_info):
        await asyncio.sleep(0)
        self.log.append(exc_info[0])

    async def __call__(self, x):
        await asyncio.sleep(0)
        return self.number * x

    def __repr__(self):
        return f"Client({self.number})"


# --- methods ----------------------------------------------------------------


def test_a_method_is_a_call_and_a_coroutine(place):
    d = dual(Client(3))
    assert place(lambda: d.get(1)) == (3, 1)
    assert isinstance(d.get, tworoutine)
    assert inspect.iscoroutinefunction(~d.get)
    assert not inspect.iscoroutinefunction(d.get)
    assert asyncio.run((~d.get)(1)) == (3, 1)
    assert asyncio.run(d.get.aio(1)) == (3, 1)
    assert d.get.map([1, 2]) == [(3, 1), (3, 2)]


def test_the_object_calls_itself_as_ever(place):
    client = Client(3)
    assert place(lambda: dual(client).get_twice()) == [(3, 1), (3, 2)]
    seen = []
    client.get = lambda x: seen.append(x) or asyncio.sleep(0, x)
    assert place(lambda: dual(client).get_twice()) == [1, 2]
    assert seen == [1, 2]


def test_what_returns_the_object_returns_the_dual(place):
    d = dual(Client())
    assert place(lambda: d.me()) is d
    assert place(lambda: d.add(1).add(2)) is d
    assert d.number == 3


def test_methods_that_are_not_async(place):
    d = dual(Client(3))
    assert place(lambda: d.plus(1)) == 4
    assert place(lambda: d.begun(1)) == (3, 1)


def test_methods_made_by_getattr(place):
    d = dual(Client())
    assert place(lambda: d.remote_read(1)) == ("remote_read", 1)
    with pytest.raises(AttributeError, match=r"^missing$"):
        d.missing  # noqa: B018


def test_async_methods_of_other_kinds(place):
    class Kinds:
        def __init__(self):
            self.partial = functools.partial(self.method, 1)
            self.mock = mock.AsyncMock(return_value=5)
            self.function = Client.double

        async def method(self, x):
            return x

        part = functools.partialmethod(method, 2)
        ours = tworoutine(method)

    d = dual(Kinds())
    assert place(lambda: d.partial()) == 1
    assert place(lambda: d.part()) == 2
    assert place(lambda: d.mock()) == 5
    assert place(lambda: d.function(3)) == 6
    assert place(lambda: d.ours(4)) == 4


def test_an_error_is_the_same_object_and_no_frame_is_ours(place):
    d, exc = dual(Client()), OSError("broken")

    def fails():
        d.fail(exc)

    with pytest.raises(OSError, match="broken") as info:
        place(fails)
    assert info.value is exc
    assert exc.__context__ is None
    frames = [f.name for f in traceback.extract_tb(exc.__traceback__)]
    assert frames[-2:] == ["fails", "fail"]


def test_no_frame_is_ours_in_special_methods(place):
    class Fails:
        async def __aenter__(self):
            raise OSError

        async def __aexit__(self, *exc_info):
            raise AssertionError

        async def __call__(self):
            raise OSError

        def __aiter__(self):
            return self

        async def __anext__(self):
            raise OSError

        def __getitem__(self, key):
            raise OSError

    d = dual(Fails())

    def enters():
        with d:
            raise AssertionError

    def iterates():
        for _ in d:
            raise AssertionError

    ways = [enters, iterates, lambda: d(), lambda: d[1], lambda: next(d)]
    for way in ways:
        with pytest.raises(OSError) as info:
            place(way)
        frames = traceback.extract_tb(info.value.__traceback__)
        assert frames[-2].name == way.__name__


def test_wrong_arguments_are_told_as_of_the_method():
    with pytest.raises(TypeError, match=r"Client\.get\(\) missing 1"):
        dual(Client()).get()


def test_signal_handlers_and_timeouts_reach_inside():
    class Slow:
        cancelled = False

        async def wait(self):
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.cancelled = True
                raise

    slow = Slow()

    async def main():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                dual(slow).wait()

    asyncio.run(main())
    assert slow.cancelled


# --- what is for `await` and for more ---------------------------------------


def test_what_can_be_awaited_and_entered(place):
    d = dual(Client(3))

    def both():
        opened = d.open()
        with d.open() as value:
            inside = list(d.log)
        return opened, value, inside

    assert place(both) == ((3, "awaited"), "entered", ["in"])
    assert d.log == ["in", "out"]


def test_what_can_be_awaited_and_iterated_over(place):
    d = dual(Client())

    def both():
        items = []
        for i in d.rows():
            items.append(i)
        return (
            d.rows(),
            items,
            [i for i in d.rows() if i],
            {i + 1 for i in d.rows()},
            {i: 2 * i for i in d.rows()},
        )

    assert place(both) == (
        "awaited",
        [0, 1, 2],
        [1, 2],
        {1, 2, 3},
        {0: 0, 1: 2, 2: 4},
    )


def test_in_the_async_idiom_what_follows_is_async():
    async def main():
        d = dual(Client())
        async with d.open() as entered, d.locked(1) as locked:
            assert (entered, locked) == ("entered", 1)
        return [i async for i in d.rows()]

    assert asyncio.run(main()) == [0, 1, 2]


def test_what_follows_counts_for_that_call_alone(place):
    d = dual(Client(3))

    def inside():
        with contextlib.nullcontext(d.open()) as value:
            for each in [d.rows()]:
                return value, each

    assert place(inside) == ((3, "awaited"), "awaited")


def test_a_with_of_several_and_in_parentheses(place):
    d = dual(Client())

    def several():
        with (
            d.open() as a,
            d.locked(2) as b,
            d.open() as c,
        ):
            return a, b, c

    assert place(several) == ("entered", 2, "entered")
    assert d.log == ["in", "lock", "in", "out", "unlock", "out"]


@pytest.mark.parametrize("tool", ["settrace", "setprofile", "monitoring"])
def test_a_with_is_seen_under_tools(tool):
    d = dual(Client())
    if tool == "monitoring":
        monitoring = getattr(sys, "monitoring", None)
        if monitoring is None:
            pytest.skip("no sys.monitoring before 3.12")
        monitoring.use_tool_id(3, "test")
        monitoring.set_events(3, monitoring.events.INSTRUCTION)
    else:
        before = getattr(sys, tool.replace("set", "get"))()
        getattr(sys, tool)(lambda *args: None)
    try:
        with d.open() as value:
            assert value == "entered"
    finally:
        if tool == "monitoring":
            monitoring.set_events(3, 0)
            monitoring.free_tool_id(3)
        else:
            getattr(sys, tool)(before)


def test_a_thread_that_does_nothing_else():
    client = Client(3)
    started = threading.Event()

    class Notes(Opened):
        def __await__(self):
            started.set()
            return super().__await__()

    client.open = types.MethodType(lambda self: Notes(self), client)
    _thread.start_new_thread(dual(client).open, ())
    assert started.wait(20)


def test_elsewhere_the_dual_of_the_object_is_entered(place):
    d = dual(Client())

    def stacked():
        with contextlib.ExitStack() as stack:
            return stack.enter_context(dual((~d.open)()))

    async def opens():
        return (~d.open)()

    if place.in_loop:
        assert place(stacked) == "entered"
    with contextlib.ExitStack() as stack:
        opened = dual(asyncio.run(opens()))
        assert stack.enter_context(opened) == "entered"


# --- with and for -----------------------------------------------------------


def test_with_both_ways(place):
    client = Client()
    d = dual(client)

    def enters():
        with d as entered:
            return entered

    assert place(enters) is d
    assert client.log == ["enter", None]

    async def main():
        async with d as entered:
            assert entered is client
            raise KeyError

    with pytest.raises(KeyError):
        asyncio.run(main())
    assert client.log[2:] == ["enter", KeyError]


def test_an_exit_may_suppress(place):
    class Suppresses:
        async def __aenter__(self):
            return 1

        async def __aexit__(self, kind, exc, tb):
            return kind is KeyError

    def enters():
        with dual(Suppresses()) as value:
            assert value == 1
            raise KeyError

    place(enters)


def test_a_method_that_returns_a_context_manager(place):
    d = dual(Client())

    def enters():
        with d.locked(1) as value:
            return value, list(d.log)

    assert place(enters) == (1, ["lock"])
    assert d.log == ["lock", "unlock"]


def test_its_own_synchronous_with_comes_second(place):
    class Both:
        def __enter__(self):
            raise TypeError("Use async with instead")

        def __exit__(self, *exc_info):
            raise AssertionError

        async def __aenter__(self):
            return "async"

        async def __aexit__(self, *exc_info):
            pass

    class Sync:
        async def method(self):
            pass

        def __enter__(self):
            return self

        def __exit__(self, *exc_info):
            pass

    def enters(x):
        with x as value:
            return value

    assert place(lambda: enters(dual(Both()))) == "async"
    d = dual(Sync())
    assert place(lambda: enters(d)) is d


def test_for_both_ways(place):
    d = dual(Client())
    assert place(lambda: list(d.ticks(3))) == [0, 1, 2]
    assert d.log == ["finally"]

    async def main():
        return [i async for i in (~d.ticks)(3)]

    assert asyncio.run(main()) == [0, 1, 2]


def test_what_is_written_for_a_synchronous_iterator_is_right(place):
    """The class has no tworoutines: what one has is d."""
    d = dual(Client())

    async def main():
        with pytest.raises(TypeError) as caught:
            async for _ in d.ticks(3):
                pass
        advised = str(caught.value).partition("async for ... in ")[2]
        return [i async for i in eval(advised.replace("...", "3"), {"d": d})]

    assert place(lambda: tworoutine(main)()) == [0, 1, 2]


def test_leaving_a_for_early_runs_the_finally(place):
    d = dual(Client())

    def leaves():
        for i in d.ticks(3):
            return i

    assert place(leaves) == 0
    assert d.log == ["finally"]


class Counts:
    def __init__(self, n):
        self.n = n

    def __aiter__(self):
        return self

    async def __anext__(self):
        await asyncio.sleep(0)
        if not self.n:
            raise StopAsyncIteration
        self.n -= 1
        return self.n


def test_an_async_iterator(place):
    assert place(lambda: list(dual(Counts(3)))) == [2, 1, 0]

    def steps():
        d = dual(Counts(1))
        return next(d), next(d, "end"), next(d, "end")

    assert place(steps) == (0, "end", "end")

    async def main():
        return [i async for i in dual(Counts(2))], await anext(dual(Counts(1)))

    assert asyncio.run(main()) == ([1, 0], 0)


def test_an_async_generator_itself(place):
    assert place(lambda: list(dual(Client().ticks(2)))) == [0, 1]


def test_an_async_call_both_ways(place):
    d = dual(Client(3))
    assert place(lambda: d(2)) == 6
    assert callable(d)
    assert not callable(dual(Node("a")))

    async def main():
        return await (~d)(2)

    assert asyncio.run(main()) == 6


def test_an_awaitable_object_can_be_awaited():
    async def main():
        return await dual(Rows())

    assert asyncio.run(main()) == "awaited"


# --- attributes -------------------------------------------------------------


def test_attributes_pass_through_also_when_set():
    client = Client(3)
    d = dual(client)
    assert d.base == "http"
    assert d.log is client.log
    assert d.callback is len
    d.number = 4
    d.new = 5
    assert client.number == 4
    assert client.new == 5
    d.size = 6
    assert d.size == client.number == 6
    del d.new
    assert not hasattr(client, "new")
    assert d.__dict__ is client.__dict__
    assert vars(d) is vars(client)


def test_a_dual_that_is_set_is_set_as_the_object():
    client, other = Client(), Client()
    dual(client).other = dual(other)
    assert client.other is other


def test_async_properties(place):
    d = dual(Client(3))
    assert place(lambda: d.remote) == "remote"
    if place.in_loop:
        assert place(lambda: (d.info, d.info)) == ((3, "info"), (3, "info"))


def test_a_future_that_is_no_property_passes_through():
    async def main():
        client = Client()
        client.ended = asyncio.get_running_loop().create_future()
        assert dual(client).ended is client.ended

    asyncio.run(main())


def test_slots():
    class Slots:
        __slots__ = ("waiting", "x")

        async def get(self):
            return self.x

    d = dual(Slots())
    d.x = 5
    assert d.get() == 5
    assert d.x == 5
    with pytest.raises(AttributeError):
        d.y = 6


def test_nothing_of_ours_is_in_the_way_of_its_names():
    class Names:
        raw = options = deep = home = at = aio = map = 1

        async def start(self):
            return self.raw

    d = dual(Names())
    names = [name for name in vars(Names) if name[0] != "_"]
    assert [getattr(d, name) for name in names[:-1]] == [1] * 7
    assert d.start() == 1


# --- what it looks like -----------------------------------------------------


def test_isinstance_and_repr_tell_the_truth():
    client = Client(3)
    d = dual(client)
    assert isinstance(d, Client)
    assert isinstance(d, dual(Client))
    assert d.__class__ is Client
    assert type(d) is dual(Client)
    assert repr(d) == "dual(Client(3))"
    assert str(d) == str(client)
    assert f"{d}" == str(client)
    assert ~d is client
    assert not isinstance(client, dual(Client))
    assert not isinstance(d, Node)
    assert not isinstance(d, dual(Node))
    assert repr(type(d)) == f"<dual of {Client!r}>"


def test_equality_and_hash_are_the_objects():
    d = dual(Node("a"))
    assert d == dual(Node("a")) == Node("a") == d
    assert d != dual(Node("b"))
    assert {d, Node("a")} == {Node("a")}

    class Unhashable:
        async def get(self):
            pass

        __hash__ = None

    with pytest.raises(TypeError, match="unhashable"):
        hash(dual(Unhashable()))
    assert not isinstance(dual(Unhashable()), collections.abc.Hashable)


def test_a_dual_of_a_dual_is_the_same():
    d = dual(Client())
    assert dual(d) is d
    assert dual(dual(Client)) is dual(Client)


def test_dir_help_and_signature():
    client = Client()
    d = dual(client)
    assert dir(d) == dir(client)
    assert inspect.signature(d.get) == inspect.signature(client.get)
    assert d.get.__doc__ == "Get it."
    assert d.__doc__ == Client.__doc__
    assert "Get it." in pydoc.render_doc(d)
    assert "Somebody else's client" in pydoc.render_doc(dual(Client))
    assert str(inspect.signature(dual(Client))) == "(number=0)"
    assert inspect.getmembers(dual(Node("a")))


def test_signature_and_help_of_duals_that_can_be_called():
    class Asks:
        async def __call__(self, question, *, limit=1):
            """Ask it."""

    d = dual(Asks())
    for called in d, ~d:
        assert str(inspect.signature(called)) == "(question, *, limit=1)"
        assert inspect.getdoc(called.__call__) == "Ask it."
    node = dual(Node("a"))
    assert callable(d) and not callable(node)
    with pytest.raises(TypeError, match="is not a callable object"):
        inspect.signature(node)
    assert not hasattr(node, "__signature__")


def test_source_of_a_dual_class():
    source = inspect.getsource(Client)
    assert inspect.getsource(dual(Client).__wrapped__) == source
    assert not hasattr(dual(Client()), "__wrapped__")
    if sys.version_info >= (3, 13):  # where a class says which line it is
        assert inspect.getsource(dual(Client)) == source


def test_autospec():
    spec = mock.create_autospec(dual(Node("a")))
    spec.read.return_value = 5
    assert spec.read() == 5
    with pytest.raises(TypeError):
        spec.read(1)


def test_it_has_just_what_the_object_has():
    d = dual(Node("a"))
    for kind in (
        collections.abc.Iterable,
        collections.abc.Sized,
        collections.abc.Container,
        collections.abc.Awaitable,
        collections.abc.AsyncIterable,
        contextlib.AbstractContextManager,
        contextlib.AbstractAsyncContextManager,
    ):
        assert not isinstance(d, kind), kind
    assert bool(d)
    with pytest.raises(TypeError):
        len(d)
    assert isinstance(dual(Client()), contextlib.AbstractContextManager)
    assert isinstance(dual(Counts(1)), collections.abc.Iterator)
    assert isinstance(dual(Counts(1)), collections.abc.AsyncIterator)


class Number(collections.abc.Sequence):
    """Operators of all kinds."""

    def __init__(self, *items):
        self.items = list(items)

    async def get(self):
        return self.items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, key):
        return self.items[key]

    def __setitem__(self, key, value):
        self.items[key] = value

    def __delitem__(self, key):
        del self.items[key]

    def __contains__(self, item):
        return item in self.items

    def __add__(self, other):
        if isinstance(other, Number):
            return Number(*self.items, *other.items)
        return NotImplemented

    def __radd__(self, other):
        return ["radd", other]

    def __iadd__(self, other):
        self.items.append(other)
        return self

    def __lt__(self, other):
        return len(self) < len(other)

    def __int__(self):
        return len(self)

    def __index__(self):
        return len(self)

    def __neg__(self):
        return Number(*(-i for i in self.items))

    def __format__(self, spec):
        return f"formatted {spec}"


def test_operators(place):
    def operate():
        d = dual(Number(1, 2))
        assert len(d) == 2
        assert d[1] == 2
        assert d[0:2] == [1, 2]
        d[1] = 5
        assert list(d) == [1, 5]
        assert list(reversed(d)) == [5, 1]
        del d[0]
        assert 5 in d
        assert 1 not in d
        assert (d + dual(Number(6))).items == [5, 6]
        assert (Number(6) + d).items == [6, 5]
        assert 1 + d == ["radd", 1]
        with pytest.raises(TypeError):
            d + 1
        before = d
        d += 7
        assert d is before
        assert d.items == [5, 7]
        assert dual(Number()) < d
        assert int(d) == 2
        assert ["a", "b", "c"][d] == "c"
        assert (-d).items == [-5, -7]
        assert f"{d:x}" == "formatted x"
        assert not dual(Number())
        assert d.get() == [5, 7]

    place(operate)


def test_what_a_special_method_returns_is_waited_for(place):
    class Store:
        async def __getitem__(self, key):
            await asyncio.sleep(0)
            return key

    assert place(lambda: dual(Store())["a"]) == "a"


# --- copies, pickles and references -----------------------------------------


def test_weakref():
    d = dual(Client())
    ref = weakref.ref(d)
    assert ref() is d
    del d
    assert ref() is None


def test_copies():
    d = dual(Client(3), deep=True)
    d.log.append([])
    for copied in (copy.copy(d), copy.deepcopy(d)):
        assert type(copied) is type(d)
        assert ~copied is not ~d
        assert copied.number == 3
    assert copy.copy(d).log is d.log
    assert copy.deepcopy(d).log == d.log
    assert copy.deepcopy(d).log is not d.log
    deep = copy.deepcopy(d.get)
    assert deep(1) == (3, 1)
    assert (~deep).__self__ is not ~d


@dual
class Replaced:
    """Its name is that of the class of duals."""

    def __init__(self, x):
        self.x = x

    async def get(self):
        return self.x

    async def doubled(self):
        return 2 * await self.get()


class Derived(Replaced):
    async def get(self):
        return await super().get() + 1


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickle(protocol):
    def back(x):
        return pickle.loads(pickle.dumps(x, protocol))

    d = back(dual(Node("a"), deep=Node))
    assert d == Node("a")
    assert d.read() == "value of a"
    assert type(d) is type(dual(Node("a"), deep=Node))
    assert back(dual(Node)) is dual(Node)
    assert back(dual(Node("a")).read)() == "value of a"
    assert back(Replaced) is Replaced
    assert back(Replaced(5)).get() == 5
    assert type(back(Replaced(5))) is Replaced
    assert back(Derived(5)).get() == 6


def test_nothing_is_left_of_a_dual():
    client = Client()
    before = sys.getrefcount(client)
    for _ in range(10):
        d = dual(client, deep=True)
        d.get(1)
        d.root.read()
        list(d.ticks(2))
        with d, d.locked(1), d.open():
            pass
        d.loop = d  # a cycle through the object
        del client.loop
    del d
    gc.collect()
    assert sys.getrefcount(client) == before


def test_a_cycle_is_collected():
    client = Client()
    client.both = dual(client)
    client.method = dual(client).get
    ref = weakref.ref(client)
    del client
    gc.collect()
    assert ref() is None


def test_classes_are_not_kept_for_ever():
    refs = []
    for _ in range(300):

        class Once:
            async def get(self):
                return 1

        assert dual(Once()).get() == 1
        refs.append(weakref.ref(Once))
    del Once
    gc.collect()  # the classes of duals,
    gc.collect()  # and then their own
    assert sum(ref() is not None for ref in refs) <= 256


# --- classes ----------------------------------------------------------------


def test_a_class_makes_duals(place):
    D = dual(Client)
    d = place(lambda: D(3))
    assert type(d) is D
    assert type(~d) is Client
    assert place(lambda: D(number=4).get(1)) == (4, 1)
    assert isinstance(d, D)
    assert isinstance(d, Client)


def test_a_class_is_made_where_a_loop_runs(place):
    class NeedsLoop:
        def __init__(self):
            self.loop = asyncio.get_running_loop()

        async def get(self):
            return self.loop is asyncio.get_running_loop()

    assert place(lambda: dual(NeedsLoop)().get())


def test_an_awaitable_object_is_not_awaited_when_it_is_made(place):
    class Redis:
        def __await__(self):
            raise AssertionError

        @classmethod
        def from_url(cls):
            return cls()

        async def ping(self):
            return True

    assert place(lambda: dual(Redis)().ping())
    assert place(lambda: dual(Redis).from_url().ping())


def test_alternative_constructors(place):
    D = dual(Client)
    for make in (D.create, D.made):
        made = place(functools.partial(make, 3))
        assert type(made) is D
        assert made.number == 3

    async def main():
        return await (~D.create)(3)

    assert type(asyncio.run(main())) is Client


def test_methods_of_the_class(place):
    D = dual(Client)
    d = D(3)
    assert place(lambda: D.get(d, 1)) == (3, 1)
    assert place(lambda: D.get(~d, 1)) == (3, 1)
    assert place(lambda: D.double(4)) == 8
    assert place(lambda: d.double(4)) == 8
    assert asyncio.run((~D.get)(~d, 1)) == (3, 1)
    assert D.base == "http"


def test_attributes_of_the_class_pass_through():
    class Mine(Client):
        pass

    D = dual(Mine)
    D.base = "https"
    assert Mine.base == "https"
    del D.base
    assert D.base == "http"
    assert ~D is Mine
    assert "get" in dir(D)
    assert D.__name__ == "dual(Mine)"
    assert D.__module__ == __name__


def test_subclasses_of_the_class_itself():
    class Sub(Client):
        async def get(self, x):
            return "sub", await super().get(x)

    d = dual(Sub(1))
    assert isinstance(d, dual(Client))
    assert issubclass(dual(Sub), dual(Client))
    assert not issubclass(dual(Client), dual(Sub))
    assert d.get(1) == ("sub", (1, 1))


def test_subclassing(place):
    def deco(method):
        @functools.wraps(method)
        async def wrapper(self, *args):
            return ["deco", await method(self, *args)]

        return wrapper

    class Mine(
        dual(Client), contextlib.AbstractContextManager if 0 else object
    ):
        def __init__(self, number, *, name="x"):
            super().__init__(number)
            self.name = name
            assert type(self) is ~Mine

        async def get(self, x):
            return self.name, await super().get(x)

        @deco
        async def decorated(self, x):
            return await super().get(x)

        @classmethod
        async def create(cls, number):
            return await super().create(number + 1)

        @property
        def size(self):
            return super().size + 1

    m = place(lambda: Mine(3, name="y"))
    assert place(lambda: m.get(1)) == ("y", (3, 1))
    assert place(lambda: m.get_twice()) == [("y", (3, 1)), ("y", (3, 2))]
    assert place(lambda: m.decorated(1)) == ["deco", (3, 1)]
    assert place(lambda: Mine.create(3)).number == 4
    assert m.size == 4
    assert isinstance(m, Mine)
    assert isinstance(m, Client)
    assert isinstance(m, dual(Client))
    assert issubclass(Mine, dual(Client))
    assert type(m) is Mine
    assert (~Mine).__mro__[1] is Client
    assert Mine.__doc__ is None


def test_as_a_decorator_of_a_class(place):
    assert place(lambda: Replaced(2).doubled()) == 4
    assert place(lambda: Derived(2).doubled()) == 6
    assert isinstance(Replaced(2), Replaced)
    assert isinstance(Derived(2), Replaced)


def test_abstract_and_generic_classes():
    class Base(abc.ABC):
        @abc.abstractmethod
        async def get(self): ...

    class Real(Base):
        async def get(self):
            return 1

    with pytest.raises(TypeError, match="abstract"):
        dual(Base)()
    assert dual(Real)().get() == 1
    assert isinstance(dual(Real)(), Base)


# --- deep -------------------------------------------------------------------


def test_results_are_as_they_are(place):
    d = dual(Client())
    assert type(d.root) is Node
    assert [type(x) for x in place(lambda: d.children())] == [Node, Node]


@pytest.mark.parametrize("deep", [True, Node, (Node, Holder), dual(Node)])
def test_deep_makes_duals_of_what_comes_out(place, deep):
    d = dual(Client(), deep=deep)
    N = type(dual(Node("a"), deep=True if deep is True else deep))
    assert type(d.root) is N
    assert place(lambda: d.root.read()) == "value of root"
    children = place(lambda: d.children())
    assert [type(x) for x in children] == [N, N]
    assert place(lambda: children[1].read()) == "value of b"
    by_name = place(lambda: d.by_name())
    assert place(lambda: by_name["a"][0].read()) == "value of a"
    assert by_name["a"][1] == 1
    assert d.log is (~d).log
    fan = place(lambda: list(d.root.fan(2)))
    assert [place(each.read) for each in fan] == ["value of 0", "value of 1"]


def test_deep_finds_its_way_through_bare_holders(place):
    d = dual(Client(), deep=True)
    assert place(lambda: d.nodes.root.read()) == "value of root"
    named = dual(Client(), deep=Node)
    assert type(named.nodes) is Holder


def test_arguments_are_passed_as_the_objects(place):
    d = dual(Client(), deep=True)
    root = d.root
    assert place(lambda: root.same_as(root))
    assert place(lambda: root.same_as(other=root))
    assert place(lambda: dual(Node("a")).same_as(root)) is False
    assert place(lambda: root.all_are([root, root]))
    assert place(lambda: root.all_are((root, root)))


def test_deep_fan_out(place):
    d = dual(Client(), deep=True)

    def fans():
        nodes = d.children()
        same = nodes[0].same_as.map(nodes)
        found = d.node.map("ab")
        return same, [node.read() for node in found]

    assert place(fans) == ([True, False], ["value of a", "value of b"])


def test_deep_of_a_class(place):
    D = dual(Client, deep=True)
    assert place(lambda: D(3).root.read()) == "value of root"
    assert isinstance(D(3), dual(Client))
    assert dual(D) is D
    assert dual(dual(Client), deep=True) is D
    assert place(lambda: dual(dual(Client(3)), deep=True).root.read())


# --- the standard library ---------------------------------------------------


def test_asyncio_itself(place):
    def uses():
        queue = dual(asyncio.Queue)(1)
        queue.put(1)
        assert queue.qsize() == 1
        lock = dual(asyncio.Lock())
        with lock:
            assert lock.locked()
        assert not lock.locked()
        return queue.get()

    assert place(uses) == 1


def test_streams(place):
    async def serve(reader, writer):
        writer.write((await reader.readline()).upper())
        await writer.drain()
        writer.close()

    def talks():
        start = tworoutine(asyncio.start_server)
        with dual(start(serve, "127.0.0.1", 0)) as server:
            port = server.sockets[0].getsockname()[1]
            connect = tworoutine(asyncio.open_connection)
            reader, writer = map(dual, connect("127.0.0.1", port))
            writer.write(b"hello\nworld")
            writer.drain()
            lines = list(reader)
            writer.close()
            writer.wait_closed()
        return lines

    assert place(talks) == [b"HELLO\n"]


# --- homes and portals ------------------------------------------------------


class Where:
    def __init__(self):
        self.log = []

    def note(self, what):
        loop = asyncio.get_running_loop()
        self.log.append((what, threading.current_thread().name))
        return loop

    async def get(self, x):
        self.note("get")
        await asyncio.sleep(0)
        return x

    def open(self):
        self.note("open")
        return Entered(self)

    async def ticks(self, n):
        for i in range(n):
            self.note("tick")
            await asyncio.sleep(0)
            yield i

    def me(self):
        return self

    @property
    async def remote(self):
        self.note("remote")
        return "remote"


class Entered:
    def __init__(self, where):
        self.where = where

    def __await__(self):
        return self.where.get("awaited").__await__()

    async def __aenter__(self):
        self.where.note("enter")
        return "entered"

    async def __aexit__(self, *exc_info):
        self.where.note("exit")


@pytest.fixture
def thread():
    with LoopThread("home") as thread:
        yield thread


def test_a_home(thread, place):
    d = dual(Where, home=thread)()

    def uses():
        with d.open() as entered:
            pass
        return d.get(1), d.open(), entered, list(d.ticks(2)), d.remote

    assert place(uses) == (1, "awaited", "entered", [0, 1], "remote")
    assert place(lambda: d.me()) is d
    whats = [what for what, _ in d.log]
    assert whats[:3] == ["open", "enter", "exit"]
    assert {name for _, name in d.log} == {"home"}
    d.log.clear()
    assert asyncio.run((~d.get)(2)) == 2
    assert d.log == [("get", "home")]


def test_a_home_from_many_threads(thread):
    d = dual(Where(), home=thread)
    results = []
    threads = [
        threading.Thread(target=lambda i=i: results.append(d.get(i)))
        for i in range(5)
    ]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert sorted(results) == [0, 1, 2, 3, 4]
    assert {name for _, name in d.log} == {"home"}


def test_a_home_is_handed_down(thread):
    class Root:
        def __init__(self):
            self.where = Where()

        async def get(self):
            return self.where

    d = dual(Root(), home=thread, deep=True)
    d.get().get(1)
    d.where.get(1)
    assert {name for _, name in (~d).where.log} == {"home"}


def test_at_and_home_for_some_calls(thread):
    d = dual(Where())
    assert d.get.at(thread)(1) == 1
    with home(thread):
        with d.open() as entered:
            assert entered == "entered"
        assert d.get(1) == 1
    assert {name for _, name in d.log} == {"home"}
    d.log.clear()
    d.get(1)
    assert {name for _, name in d.log} == {"MainThread"}


def test_uvloop():
    async def main():
        d = dual(Client(3))
        with d.open() as entered:
            assert entered == "entered"
        assert list(d.ticks(2)) == [0, 1]
        assert d.remote == "remote"
        return d.get(1)

    assert package.run(main(), loop_factory=uvloop.new_event_loop) == (3, 1)


def test_trio():
    class Client:
        async def get(self, x):
            await trio.sleep(0)
            return x

        async def __aenter__(self):
            await trio.sleep(0)
            return self

        async def __aexit__(self, *exc_info):
            await trio.sleep(0)

    async def main():
        with dual(Client()) as d:
            return d.get(1)

    assert trio.run(portal(main)) == 1


# --- what is refused --------------------------------------------------------


def test_what_a_dual_cannot_do():
    class Turned:
        async def get(self):
            pass

        def __invert__(self):
            return "turned"

    assert ~~dual(Turned()) == "turned"
    assert not issubclass(dual(Client), Client)

    with pytest.raises(TypeError, match="metaclass conflict"):

        class Mine(dual(Client), collections.abc.Sized):
            pass

    @dual
    class Ours(Client, collections.abc.Hashable):
        __hash__ = object.__hash__

    assert Ours(3).get(1) == (3, 1)
    client = Client()
    client.function = lambda x: client.get(x)
    coro = dual(client).function(1)
    assert inspect.iscoroutine(coro)
    coro.close()
    with pytest.raises(pickle.PicklingError):
        pickle.dumps([~Replaced(5)])


def test_the_programs_in_the_docs_are_python():
    page = Path(__file__).parent.parent / "docs" / "dual.md"
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
    assert len(blocks) > 4
    for block in blocks:
        compile(block, page, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


def test_nothing_is_loaded_before_the_first_dual():
    code = (
        "import sys, tworoutine; sys.exit('tworoutine._dual' in sys.modules)"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], check=False).returncode
        == 0
    )


@dataclasses.dataclass
class Bare:
    x: int = 0

    def method(self):
        return 1


def test_an_object_whose_attributes_are_asynchronous_is_taken(place):
    bare = Bare()
    with pytest.raises(TypeError, match="nothing in it is asynchronous"):
        dual(bare)
    bare.get = Client.double
    assert place(lambda: dual(bare).get(2)) == 4
    holder = dual(Holder(), deep=True)
    assert place(lambda: holder.root.read()) == "value of root"


def test_plain_methods_that_say_that_they_return_awaitables_count():
    class Says:
        def get(self) -> asyncio.Future[int]:
            return asyncio.get_running_loop().create_task(asyncio.sleep(0, 5))

    assert dual(Says()).get() == 5


def test_annotations_of_names_that_there_are_not():
    if sys.version_info < (3, 14):
        pytest.skip("annotations are evaluated when the function is made")
    namespace = {}
    exec(
        "class Says:\n"
        "    def other(self) -> missing: ...\n"
        "    async def get(self) -> missing: return 1\n",
        namespace,
    )
    assert dual(namespace["Says"]()).get() == 1


def test_an_object_that_is_a_descriptor_is_taken():
    class Describes:
        def __get__(self, owner, cls):
            return self

        async def get(self):
            return 1

        async def __call__(self):
            return 2

    d = dual(Describes())
    assert (d.get(), d()) == (1, 2)


def test_methods_that_are_tworoutines_already(place):
    class Ours:
        @tworoutine
        async def node(self, node):
            assert type(node) is Node
            return node

        async def theirs(self, node):
            return node

        theirs = tworoutine(theirs)
        kept = tworoutine(Client.double)

    d = dual(Ours(), deep=True)
    node = dual(Node("a"), deep=True)
    assert place(lambda: d.node(node)) == node
    assert type(place(lambda: d.node(node))) is type(node)
    assert asyncio.run((~d.node)(~node)) is ~node
    assert place(lambda: dual(Ours).node(d, node)) == node
    assert d.kept.__wrapped__.__func__ is Client.double


def test_deep_leaves_loops_and_errors_alone():
    class Holds:
        async def get(self):
            self.loop = asyncio.get_running_loop()
            self.error = OSError()
            return self.loop

    async def main():
        d = dual(Holds(), deep=True)
        loop = asyncio.get_running_loop()
        assert d.get() is loop
        assert d.loop is loop
        assert type(d.error) is OSError

    asyncio.run(main())


def test_no_dual_can_be_made_by_hand():
    with pytest.raises(TypeError):
        object.__new__(type(dual(Client())))
    with pytest.raises(TypeError):
        type.__call__(type(dual(Client())))


def test_what_is_returned_fails_to_say_whether_it_can_be_entered(place):
    class Meta(type):
        def __getattr__(cls, name):
            raise (ZeroDivisionError if "enter" in name else AttributeError)(
                name
            )

    class Made(metaclass=Meta):
        def __await__(self):
            return iter(())

        def __aiter__(self):
            return self

        async def __anext__(self):
            raise StopAsyncIteration

    client = Client()
    client.make = types.MethodType(lambda self: Made(), client)
    with pytest.raises(ZeroDivisionError, match="__aenter__"):
        place(dual(client).make)


def test_an_attribute_that_is_a_partial_of_itself():
    client = Client()
    client.round = functools.partial(len)
    client.round.__setstate__((client.round, (), {}, {}))
    assert dual(client).round is client.round


def test_what_is_no_class_of_duals_constructs_none():
    class Fake:
        __tworoutine_dual__ = 5

    construct = vars(type(type(dual(Client()))))["__call__"]
    for fake in Fake, Fake(), object():
        with pytest.raises((TypeError, AttributeError)):
            construct(fake)


def test_a_list_that_a_finalizer_empties_as_it_is_passed_on():
    """3.11 collects as an object is made; the list was read after that."""

    class Empties:
        def __init__(self):
            self.me = self

        def __del__(self):
            items.clear()

    async def count(self, items):
        return len(items)

    d = dual(type("Counts", (), {"count": count})(), deep=True)
    method = d.count
    threshold = gc.get_threshold()
    for kind in list, tuple:
        items = [d] * 200
        given = items if kind is list else tuple(items)
        gc.disable()
        gc.set_threshold(1)
        try:
            gc.collect()
            Empties()
            young = [[] for _ in range(4)]
            gc.enable()
            assert method(given) in {0, 200}
        finally:
            gc.set_threshold(*threshold)
            gc.enable()
        del young


def test_a_coroutine_that_is_refused_is_closed():
    coro = Client().get(1)
    with pytest.raises(TypeError, match=r"; await_\(\) waits for it"):
        dual(coro)
    assert inspect.getcoroutinestate(coro) == inspect.CORO_CLOSED
