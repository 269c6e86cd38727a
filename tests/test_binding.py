"""A tworoutine in a class binds as a function does, and ~ of it too."""

import abc
import asyncio
import copy
import functools
import gc
import inspect
import sys
import types
import weakref

import pytest

from tworoutine import tworoutine
from tworoutine._core import refit


def run_async(function, *args):
    """The result of an async form, called where it belongs."""

    async def main():
        made = function(*args)
        assert inspect.iscoroutine(made)
        return await made

    return asyncio.run(main())


class Board:
    def __init__(self, name):
        self.name = name

    @tworoutine
    async def read(self, x):
        await asyncio.sleep(0)
        return "read", self.name, x

    @tworoutine
    @classmethod
    async def make(cls, x):
        await asyncio.sleep(0)
        return cls.__name__, x

    @classmethod
    @tworoutine
    async def make_above(cls, x):
        await asyncio.sleep(0)
        return cls.__name__, x

    @tworoutine
    @staticmethod
    async def add(x, y):
        await asyncio.sleep(0)
        return x + y

    @staticmethod
    @tworoutine
    async def add_above(x, y):
        await asyncio.sleep(0)
        return x + y

    @property
    def temperature(self):
        return self.read("temperature")

    def __getattr__(self, name):
        if name.startswith("_"):
            raise AttributeError(name)
        return self.read(name)


class Fast(Board):
    @tworoutine
    async def read(self, x):
        return "fast", *super().read(x)

    @tworoutine
    async def read_async(self, x):
        return "fast", *await (~super().read)(x)

    @tworoutine
    @classmethod
    async def make(cls, x):
        return "fast", *super().make(x)

    @classmethod
    @tworoutine
    async def make_above(cls, x):
        return "fast", *super().make_above(x)

    @staticmethod
    @tworoutine
    async def add_above(x, y):
        return -await (~Board.add_above)(x, y)


# --- methods ----------------------------------------------------------------


def test_a_method_through_the_instance(place):
    board = Board("a")
    assert place(lambda: board.read(1)) == ("read", "a", 1)
    assert run_async(~board.read, 2) == ("read", "a", 2)
    assert run_async(board.read.aio, 3) == ("read", "a", 3)


def test_a_method_through_the_class(place):
    board = Board("a")
    assert Board.read is Board.__dict__["read"]
    assert place(lambda: Board.read(board, 1)) == ("read", "a", 1)
    assert run_async(~Board.read, board, 2) == ("read", "a", 2)


def test_a_method_through_a_subclass_and_super(place):
    board = Fast("a")
    assert place(lambda: board.read(1)) == ("fast", "read", "a", 1)
    assert place(lambda: board.read_async(2)) == ("fast", "read", "a", 2)
    assert place(lambda: Board.read(board, 3)) == ("read", "a", 3)
    assert run_async(~board.read, 4) == ("fast", "read", "a", 4)
    assert run_async(~super(Fast, board).read, 5) == ("read", "a", 5)


def test_a_method_that_is_stored_and_called_later(place):
    read = Board("a").read
    assert place(lambda: read(1)) == ("read", "a", 1)
    assert place(lambda: list(map(read, "bc"))) == [
        ("read", "a", "b"),
        ("read", "a", "c"),
    ]


def test_an_instance_attribute_is_not_bound(place):
    board = Board("a")
    board.scale = tworoutine(Board("b").add)
    board.double = tworoutine(lambda x: Board.add.aio(x, x))
    assert place(lambda: board.scale(1, 2)) == 3
    assert place(lambda: board.double(2)) == 4


def test_a_method_added_to_the_class_later(place):
    class Empty:
        pass

    async def me(self):
        return self

    Empty.me = tworoutine(me)
    empty = Empty()
    assert place(empty.me) is empty
    assert (~empty.me).__func__ is me


def test_what_is_no_function_is_not_given_the_object(place):
    """Called as a method, at once, as CPython calls functions of classes."""

    async def fn(*args):
        await asyncio.sleep(0)
        return args

    class Callable:
        async def __call__(self, *args):
            return await fn("called", *args)

    class Holder:
        callable = tworoutine(Callable())
        static = tworoutine(staticmethod(fn))
        of_class = tworoutine(classmethod(fn))
        function = tworoutine(fn)

    held = Holder()

    def use():
        for _ in range(100):  # until the interpreter has specialized it
            assert held.callable(2) == ("called", 2)
            assert held.static(2) == (2,)
            assert held.of_class(2) == (Holder, 2)
            assert held.function(2) == (held, 2)

    place(use)
    names = "callable", "static", "of_class", "function"
    kinds = [type(vars(Holder)[name]) for name in names]
    assert kinds[-1] is tworoutine and tworoutine not in kinds[:-1]
    assert all(issubclass(kind, tworoutine) for kind in kinds)
    with pytest.raises(TypeError, match="not an acceptable base type"):
        type("Derived", (tworoutine,), {})


def test_one_over_a_function_is_given_functions_only():
    """Code that has called it as a method goes on to do so."""

    async def fn(*args):
        return args

    async def other(*args):
        return "other", *args

    class Holder:
        f = tworoutine(fn)

    held, f = Holder(), Holder.f
    for make, expected in [(fn, (held, 2)), (other, ("other", held, 2))]:
        refit(f, tworoutine(make))
        for _ in range(20):
            assert held.f(2) == expected
    with pytest.raises(TypeError, match=r"only one of .* is over a function"):
        refit(f, tworoutine(staticmethod(fn)))
    assert held.f(2) == expected


def test_a_function_that_is_replaced_as_it_is_called(place):
    """functools looks at its cache after the function has returned."""

    async def result(value):
        return value

    def make():
        refit(f, tworoutine(functools.lru_cache(lambda: result("new"))))
        gc.collect()
        return result("old")

    f = tworoutine(functools.lru_cache(make))
    assert place(f) == "old"
    assert f() == "new"


def test_missing_self_is_a_type_error(place):
    with pytest.raises(TypeError, match="read"):
        place(lambda: Board.read())


def test_the_async_form_of_a_method_is_the_bound_method():
    board = Board("a")
    assert type(~board.read) is types.MethodType
    assert (~board.read).__self__ is board
    assert (~board.read).__func__ is ~Board.read
    assert board.read.__self__ is board
    assert board.read.__name__ == "read"


# --- classmethod and staticmethod -------------------------------------------


@pytest.mark.parametrize("name", ["make", "make_above"])
def test_a_classmethod_in_both_orders(name, place):
    assert place(lambda: getattr(Board, name)(1)) == ("Board", 1)
    assert place(lambda: getattr(Board("a"), name)(1)) == ("Board", 1)
    assert place(lambda: getattr(Fast, name)(1)) == ("fast", "Fast", 1)
    assert place(lambda: getattr(super(Fast, Fast), name)(1)) == ("Fast", 1)


def test_the_async_form_of_a_classmethod():
    assert run_async(~Board.make, 1) == ("Board", 1)
    assert run_async(~Board("a").make, 1) == ("Board", 1)
    assert run_async(~Fast.make, 1) == ("fast", "Fast", 1)
    assert run_async(~super(Fast, Fast).make, 1) == ("Fast", 1)


def test_the_async_form_of_a_classmethod_above(place):
    assert run_async(~tworoutine(Board.make_above), 1) == ("Board", 1)
    assert run_async(~tworoutine(Fast("a").make_above), 1) == (
        "fast",
        "Fast",
        1,
    )
    assert place(lambda: tworoutine(Fast.make_above)(1)) == ("fast", "Fast", 1)


@pytest.mark.skipif(
    sys.version_info >= (3, 13),
    reason="classmethod no longer calls __get__ of what it wraps",
)
def test_tilde_of_a_classmethod_above():
    assert run_async(~Board.make_above, 1) == ("Board", 1)
    assert run_async(~Fast("a").make_above, 1) == ("fast", "Fast", 1)


@pytest.mark.parametrize("name", ["add", "add_above"])
def test_a_staticmethod_in_both_orders(name, place):
    assert place(lambda: getattr(Board, name)(1, 2)) == 3
    assert place(lambda: getattr(Board("a"), name)(1, 2)) == 3
    assert run_async(~getattr(Board, name), 1, 2) == 3
    assert run_async(~getattr(Board("a"), name), 1, 2) == 3


def test_a_staticmethod_that_is_overridden(place):
    assert place(lambda: Fast.add(1, 2)) == 3
    assert place(lambda: Fast.add_above(1, 2)) == -3
    assert place(lambda: super(Fast, Fast("a")).add_above(1, 2)) == 3


# --- other spellings --------------------------------------------------------


def test_method_type(place):
    board = Board("a")
    bound = types.MethodType(Board.read, board)
    assert place(lambda: bound(1)) == ("read", "a", 1)
    assert place(lambda: tworoutine(bound)(1)) == ("read", "a", 1)
    assert run_async(~tworoutine(bound), 1) == ("read", "a", 1)
    assert ~tworoutine(bound) == ~board.read


class Shape:
    """One of each kind that binds."""

    async def plain(self, x):
        await asyncio.sleep(0)
        return self, x

    part = tworoutine(plain)

    @tworoutine
    @classmethod
    async def make(cls, x):
        await asyncio.sleep(0)
        return cls, x


class Child(Shape):
    @property
    def above(self):
        return super().part


def bound_ones():
    shape, child = Shape(), Child()
    return [
        shape.part,
        child.part,
        child.above,
        Shape.make,
        child.make,
        super(Child, Child).make,
        tworoutine(shape.plain),
        tworoutine(Shape.plain, shape),
        tworoutine(Shape.part, shape),
        tworoutine(types.MethodType(Shape.part, shape)),
    ]


@pytest.mark.parametrize("n", range(10))
def test_a_bound_one_is_rebuilt_from_its_parts(n, place):
    m = bound_ones()[n]
    assert type(m.__func__) is tworoutine
    assert not hasattr(m.__func__, "__self__")
    again = type(m)(m.__func__, m.__self__)
    assert again == m and hash(again) == hash(m)
    assert again.__func__ is m.__func__
    assert again.__name__ == m.__name__
    expected = m.__self__, 1
    assert place(lambda: m(1)) == expected
    assert place(lambda: again(1)) == expected
    assert run_async(~again, 1) == expected
    method = types.MethodType(m.__func__, m.__self__)
    assert place(lambda: method(1)) == expected
    assert tworoutine(method) == m


@pytest.mark.parametrize("n", range(10))
def test_a_weak_reference_to_a_bound_one(n, place):
    m = bound_ones()[n]
    owner, expected = m.__self__, (m.__self__, 1)
    reference = weakref.WeakMethod(m)
    assert weakref.WeakMethod(m) == reference
    del m
    gc.collect()
    assert place(lambda: reference()(1)) == expected
    if not isinstance(owner, type):
        del owner, expected
        gc.collect()
        assert reference() is None


def test_bound_ones_are_equal_as_methods_are():
    shape, other = Shape(), Shape()
    assert shape.part == shape.part != other.part
    assert tworoutine(shape.plain) == tworoutine(shape.plain)
    assert tworoutine(shape.plain) != tworoutine(other.plain)
    assert Shape.make == Shape.make != Child.make
    assert len({shape.part, shape.part, other.part}) == 2
    assert tworoutine(Shape.plain) != tworoutine(Shape.plain)  # as functions


def test_what_is_assigned_shows_in_one_put_together():
    class Local:
        @tworoutine
        async def m(self):
            pass

    Local.m.__name__ = "n"
    m = Local().m
    assert type(m)(m.__func__, m.__self__).__name__ == "n"


def test_binding_what_does_not_bind_itself(place):
    """As types.MethodType does: obj comes first, whatever it is."""

    class Callable:
        async def __call__(self, *args):
            await asyncio.sleep(0)
            return args

    for f in (Callable(), tworoutine(Callable())):
        assert place(lambda f=f: tworoutine(f, 5)(6)) == (5, 6)
    bound = Board("a").read
    assert place(lambda: tworoutine(bound, 5)()) == ("read", "a", 5)
    method = types.MethodType(bound, 6)
    assert place(lambda: tworoutine(method)()) == ("read", "a", 6)


def test_copies_of_one_put_together():
    m = tworoutine(Board.read, Board("a"))
    assert copy.copy(m) is m
    deep = copy.deepcopy(m)
    assert deep != m and deep.__func__ is m.__func__
    assert deep(1) == ("read", "a", 1)


def test_partial(place):
    part = functools.partial(Board.add, 1)
    assert place(lambda: part(2)) == 3
    assert place(lambda: tworoutine(part)(2)) == 3
    assert run_async(~tworoutine(part), 2) == 3


def test_partial_keeps_keywords_and_nests(place):
    @tworoutine
    async def f(*args, **kwargs):
        return args, kwargs

    part = functools.partial(functools.partial(f, 1, a=2), 3, b=4)
    expected = (1, 3, 5), {"a": 2, "b": 4, "c": 6}
    assert place(lambda: tworoutine(part)(5, c=6)) == expected

    async def main():
        return await (~tworoutine(part))(5, c=6)

    assert asyncio.run(main()) == expected


def test_partial_of_a_bound_method(place):
    part = functools.partial(Board("a").read, 1)
    assert place(lambda: tworoutine(part)()) == ("read", "a", 1)
    assert run_async(~tworoutine(part)) == ("read", "a", 1)


def test_partialmethod(place):
    class Counter:
        @tworoutine
        async def count(self, by, x):
            return self, by + x

        count_ten = functools.partialmethod(count, 10)

    counter = Counter()
    assert place(lambda: counter.count_ten(1)) == (counter, 11)


def test_a_property_and_getattr_that_call(place):
    board = Board("a")
    assert place(lambda: board.temperature) == ("read", "a", "temperature")
    assert place(lambda: board.frequency) == ("read", "a", "frequency")
    assert place(lambda: getattr(board, "bias", None)) == ("read", "a", "bias")


def test_a_cached_property(place):
    class Once:
        calls = 0

        @functools.cached_property
        def value(self):
            return self.read()

        @tworoutine
        async def read(self):
            await asyncio.sleep(0)
            self.calls += 1
            return self.calls

    once = Once()
    assert place(lambda: (once.value, once.value)) == (1, 1)


def test_special_methods(place):
    class Remote:
        @tworoutine
        async def __init__(self, items):
            await asyncio.sleep(0)
            self.items = list(items)

        @tworoutine
        async def __call__(self, x):
            await asyncio.sleep(0)
            return x, len(self.items)

        @tworoutine
        async def __getitem__(self, i):
            await asyncio.sleep(0)
            return self.items[i]

        @tworoutine
        async def __len__(self):
            await asyncio.sleep(0)
            return len(self.items)

        @tworoutine
        async def __iter__(self):
            for item in self.items:
                await asyncio.sleep(0)
                yield item

        @tworoutine
        async def __enter__(self):
            await asyncio.sleep(0)
            return "entered"

        @tworoutine
        async def __exit__(self, *error):
            await asyncio.sleep(0)
            return error[0] is KeyError

        @tworoutine
        async def __lt__(self, other):
            await asyncio.sleep(0)
            return self.items < other.items

        @tworoutine
        async def __repr__(self):
            await asyncio.sleep(0)
            return f"Remote({self.items})"

    def use():
        remote = Remote("ab")
        with remote as entered:
            raise KeyError
        least, most = sorted([Remote("z"), remote])
        return (
            entered,
            remote(1),
            remote[1],
            len(remote),
            list(remote),
            f"{least} {most!r}",
        )

    assert place(use) == (
        "entered",
        (1, 2),
        "b",
        2,
        ["a", "b"],
        "Remote(['a', 'b']) Remote(['z'])",
    )


# --- abstract ---------------------------------------------------------------


class Abstract(abc.ABC):
    @tworoutine
    @abc.abstractmethod
    async def below(self):
        """To be overridden."""

    @abc.abstractmethod
    @tworoutine
    async def above(self):
        """To be overridden."""

    @tworoutine
    @classmethod
    @abc.abstractmethod
    async def of_class(cls):
        """To be overridden."""


def test_abstract_methods_have_to_be_overridden():
    assert Abstract.__abstractmethods__ == {"below", "above", "of_class"}
    with pytest.raises(TypeError, match="abstract"):
        Abstract()


def test_abstract_methods_can_be_overridden(place):
    class Concrete(Abstract):
        @tworoutine
        async def below(self):
            return "below"

        @tworoutine
        async def above(self):
            return "above"

        @tworoutine
        @classmethod
        async def of_class(cls):
            return "of_class"

    assert Concrete.__abstractmethods__ == frozenset()
    assert place(lambda: Concrete().below()) == "below"
    assert place(lambda: Concrete().above()) == "above"
    assert place(lambda: Concrete().of_class()) == "of_class"


# --- equality ---------------------------------------------------------------


def test_two_bound_accesses_are_equal():
    board = Board("a")
    assert board.read == board.read
    assert (board.read != board.read) is False
    assert hash(board.read) == hash(board.read)
    assert board.read in {board.read}
    assert Board.make == Board("b").make
    assert hash(Board.make) == hash(Board.make)


def test_different_ones_are_not_equal():
    class Same:
        def __eq__(self, other):
            return True

        __hash__ = None

        @tworoutine
        async def m(self):
            pass

        @tworoutine
        async def n(self):
            pass

    one, other = Same(), Same()
    assert one.m != other.m  # as for methods: by identity of the object
    assert hash(one.m) == hash(one.m)
    assert one.m != one.n
    assert one.m != Same.m
    assert one.m != ~one.m
    assert Board.make != Fast.make
    assert Fast("a").read != super(Fast, Fast("a")).read


def test_a_function_is_equal_to_itself_only():
    async def fn():
        pass

    f, g = tworoutine(fn), tworoutine(fn)
    assert f == f and hash(f) == hash(f)
    assert f != g
    assert f != fn
    assert len({f, g, f}) == 2
    with pytest.raises(TypeError):
        f < g  # noqa: B015


def test_a_bound_one_keeps_its_object_alive_and_no_longer():
    board = Board("a")
    before = sys.getrefcount(board)
    read = board.read
    assert sys.getrefcount(board) > before
    del read
    assert sys.getrefcount(board) == before


def test_attributes_are_set_on_the_function_only():
    board = Board("a")
    with pytest.raises(AttributeError):
        board.read.unit = "K"
    Board.read.unit = "K"
    try:
        assert board.read.unit == "K"
    finally:
        del Board.read.unit
    assert not hasattr(board.read, "unit")


def test_a_copy_of_the_object_is_bound_to_the_copy(place):
    board = Board("a")
    other = copy.copy(board)
    other.name = "b"
    assert place(lambda: other.read(1)) == ("read", "b", 1)
    assert other.read.__self__ is other
