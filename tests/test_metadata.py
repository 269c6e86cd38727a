"""What people look at: names, signature, help, copies, pickles."""

import asyncio
import contextlib
import copy
import doctest
import functools
import gc
import inspect
import pickle
import pydoc
import sys
import types
import typing
import weakref

import cloudpickle
import pytest

from tworoutine import tworoutine

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)


async def plain(x: int, *, scale: float = 1.0) -> float:
    """Scale x.

    >>> 1 + 1
    2
    """
    return x * scale


plain.unit = "K"


@tworoutine
async def documented(x: int, *, scale: float = 1.0) -> float:
    """Scale x in a documented way.

    >>> documented(2, scale=3)
    6
    """
    return x * scale


class Board:
    def __init__(self, name="a"):
        self.name = name

    @tworoutine
    async def tune(self, frequency, /, power=0):
        """Tune this board.

        >>> Board().tune(5)
        ('a', 5)
        """
        return self.name, frequency

    @tworoutine
    @classmethod
    async def make(cls, name):
        """Make a board."""
        return cls(name)

    @tworoutine
    @staticmethod
    async def ping(host):
        """Ping a board."""
        return host


@tworoutine
async def numbers(n):
    """Count."""
    for i in range(n):
        yield i


@tworoutine
@contextlib.asynccontextmanager
async def opened(name):
    """Open it."""
    yield name


NAMES = [
    "__name__",
    "__qualname__",
    "__doc__",
    "__module__",
    "__annotations__",
    "__defaults__",
    "__kwdefaults__",
]
if sys.version_info >= (3, 12):
    NAMES.append("__type_params__")
if sys.version_info >= (3, 14):
    NAMES.append("__annotate__")


# --- names ------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_that_of_the_function(name):
    f = tworoutine(plain)
    assert getattr(f, name) == getattr(plain, name)
    bound = Board().tune
    assert getattr(bound, name) == getattr(Board.tune, name)


def test_wrapped_is_the_function():
    assert tworoutine(plain).__wrapped__ is plain
    assert documented.__wrapped__ is ~documented
    assert inspect.unwrap(documented) is ~documented


def test_names_do_not_change_when_the_async_form_is_taken():
    for f in (documented, Board.tune, Board().tune):
        assert callable(~f) and callable(f.aio)
    assert documented.__name__ == documented.__qualname__ == "documented"
    assert Board.tune.__qualname__ == "Board.tune"
    assert Board().tune.__qualname__ == "Board.tune"
    assert (~documented).__name__ == "documented"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("__name__", "other"),
        ("__qualname__", "Some.other"),
        ("__doc__", "Another text."),
        ("__doc__", None),
        ("__module__", "elsewhere"),
        ("__wrapped__", len),
        ("__signature__", inspect.Signature()),
        ("__annotations__", {"x": str}),
        ("__type_params__", (typing.TypeVar("T"),)),
        ("__dict__", {"unit": "mK"}),
        ("anything", 3),
    ],
)
def test_a_name_can_be_assigned(name, value):
    f = tworoutine(plain)
    setattr(f, name, value)
    assert getattr(f, name) == value


def test_assigned_names_are_seen_through_a_bound_access():
    class Local:
        @tworoutine
        async def m(self):
            """One text."""

    Local.m.__doc__ = "Another text."
    Local.m.__name__ = "n"
    Local.m.unit = "K"
    assert Local().m.__doc__ == "Another text."
    assert Local().m.__name__ == "n"
    assert Local().m.unit == "K"
    assert Local().m.__dict__["unit"] == "K"


def test_assigning_touches_this_object_only():
    f, g = tworoutine(plain), tworoutine(plain)
    f.__doc__ = "Another text."
    f.__name__ = "other"
    f.unit = "mK"
    assert plain.__doc__.startswith("Scale x.")
    assert (g.__name__, plain.__name__) == ("plain", "plain")
    assert (g.unit, plain.unit) == ("K", "K")


def test_what_was_assigned_can_be_deleted():
    f = tworoutine(plain)
    f.note = 1
    del f.note
    assert not hasattr(f, "note")
    with pytest.raises(AttributeError):
        del f.note


def test_attributes_of_the_function_are_found():
    assert tworoutine(plain).unit == "K"
    with pytest.raises(AttributeError, match="nothing"):
        _ = tworoutine(plain).nothing


@pytest.mark.parametrize(
    "f",
    [
        tworoutine(plain),
        tworoutine(functools.partial(plain, scale=2)),
        Board.tune,
        Board().tune,
        Board.make,
        Board.ping,
    ],
    ids=repr,
)
def test_dir_lists_what_can_be_asked_for(f):
    listed = dir(f)
    assert listed == sorted(set(listed))
    for name in listed:
        if name != "__abstractmethods__":
            assert hasattr(f, name), name
    assert {"aio", "map", "as_completed", "__wrapped__"} <= set(listed)
    for name in dir(f.__wrapped__):
        assert name.startswith("_") or name in listed


def test_dir_lists_nothing_of_the_type_alone():
    assert tworoutine.__annotations__ == {}  # which it keeps from now on
    f = tworoutine(functools.partial(plain))
    assert "__annotations__" not in dir(f)


def test_dir_lists_what_was_assigned_later():
    f = tworoutine(plain)
    f.note = 1
    assert {"unit", "note", "__name__", "__qualname__"} <= set(dir(f))
    assert {"func", "args"} <= set(dir(tworoutine(functools.partial(plain))))
    assert "__self__" in dir(Board().tune)
    assert "__self__" not in dir(Board.tune)


@pytest.mark.parametrize("name", ["__name__", "__qualname__"])
def test_a_name_has_to_be_a_str(name):
    f = tworoutine(plain)
    with pytest.raises(TypeError, match=f"{name}.*must be a str, not 5"):
        setattr(f, name, 5)
    assert getattr(f, name) == "plain"


def test_wrapped_is_for_others_to_look_at():
    async def other(*args):
        return "not this one"

    def of(x):  # not an async function: it is called where a loop runs
        return plain(x)

    f = tworoutine(of)
    functools.update_wrapper(f, other)
    assert f.__wrapped__ is other
    assert f(2) == 2
    assert asyncio.run((~f)(2)) == 2
    assert f.map([2]) == [2]
    assert ~f is of


def test_a_deep_copy_goes_by_the_method_not_by_wrapped():
    class Local:
        @tworoutine
        async def m(self):
            return self

    Local.m.__wrapped__ = plain
    obj = Local()
    copied = copy.deepcopy(obj.m)
    assert type(copied()) is Local
    assert copied() is not obj


class Client:
    @tworoutine
    async def aio(self):
        return 5


def test_a_function_called_aio_keeps_its_name():
    assert Client.aio.__qualname__ == "Client.aio"
    assert callable(~Client.aio)
    assert Client.aio.__qualname__ == (~Client.aio).__qualname__
    assert repr(Client.aio).startswith("<tworoutine Client.aio(...)")
    with pytest.raises(TypeError, match=r"^Client\.aio\(\) takes"):
        Client().aio(1)


def test_a_signature_of_the_function_is_kept():
    async def fn(*args):
        pass

    fn.__signature__ = inspect.signature(plain)
    f = tworoutine(fn)
    assert f.__signature__ == fn.__signature__
    assert inspect.signature(f) == fn.__signature__


def test_what_has_no_name_still_works():
    class Nameless:
        async def __call__(self, x):
            return x

    f = tworoutine(Nameless())
    assert not hasattr(f, "__name__")
    assert "Nameless" in repr(f)
    assert f(1) == 1


# --- inspect, help ----------------------------------------------------------


def test_signature():
    assert inspect.signature(tworoutine(plain)) == inspect.signature(plain)
    text = "(self, frequency, /, power=0)"
    assert str(inspect.signature(Board.tune)) == text
    assert str(inspect.signature(Board().tune)) == "(frequency, /, power=0)"
    assert str(inspect.signature(Board.make)) == "(name)"
    assert str(inspect.signature(Board().make)) == "(name)"
    assert str(inspect.signature(Board.ping)) == "(host)"
    assert str(inspect.signature(Board().ping)) == "(host)"
    assert str(inspect.signature(numbers)) == "(n)"
    assert str(inspect.signature(opened)) == "(name)"
    part = tworoutine(functools.partial(documented, 1))
    assert str(inspect.signature(part)) == "(*, scale: float = 1.0) -> float"
    assert str(inspect.signature(tworoutine.at)) == "(self, loop, /)"
    assert str(inspect.signature(part.at)) == "(loop, /)"


def test_type_hints():
    hints = {"x": int, "scale": float, "return": float}
    assert typing.get_type_hints(documented) == hints


def test_source_file_and_doc():
    source = inspect.getsource(documented)
    assert source.startswith("@tworoutine\nasync def documented")
    assert "async def tune" in inspect.getsource(Board().tune)
    assert inspect.getdoc(documented).startswith("Scale x in a documented")
    assert inspect.getdoc(Board().tune).startswith("Tune this board.")
    assert inspect.getmodule(documented) is sys.modules[__name__]


def test_help_of_a_function():
    text = pydoc.plain(pydoc.render_doc(documented))
    assert "documented(x: int, *, scale: float = 1.0) -> float" in text
    assert "Scale x in a documented way." in text


def test_help_of_a_bound_method():
    text = pydoc.plain(pydoc.render_doc(Board().tune))
    assert "tune(frequency, /, power=0)" in text
    assert "Tune this board." in text


def test_help_of_a_class_and_of_a_module():
    text = pydoc.plain(pydoc.render_doc(Board))
    assert "tune(self, frequency, /, power=0)" in text
    assert "Tune this board." in text
    assert "Make a board." in text
    text = pydoc.plain(pydoc.render_doc(sys.modules[__name__]))
    assert "documented(x: int" in text


def test_help_of_the_decorator():
    text = pydoc.plain(pydoc.render_doc(tworoutine))
    assert "await (~f)(x)" in text
    assert "limit=None" in text  # f.map
    assert str(inspect.signature(tworoutine)) == "(fn, /, *, home=Ellipsis)"


def test_repr_names_the_function_and_the_object():
    assert "documented" in repr(documented)
    assert "tworoutine" in repr(documented)
    board = Board()
    assert "Board.tune" in repr(board.tune)
    assert repr(board) in repr(board.tune)
    assert ".aio" not in repr(documented)


def test_functools_wraps_over_it():
    f = tworoutine(plain)
    f.note = 1

    @functools.wraps(f)
    def wrapper(*args, **kwargs):
        return f(*args, **kwargs)

    assert wrapper.__name__ == "plain"
    assert wrapper.__doc__ == plain.__doc__
    assert wrapper.__wrapped__ is f
    assert wrapper.note == 1
    assert wrapper.unit == "K"
    assert inspect.signature(wrapper) == inspect.signature(plain)
    assert wrapper(2, scale=3) == 6
    assert not inspect.iscoroutinefunction(wrapper)


def test_functools_wraps_below_it():
    @tworoutine
    @functools.wraps(plain)
    async def wrapper(*args, **kwargs):
        return await plain(*args, **kwargs)

    assert wrapper.__name__ == "plain"
    assert inspect.signature(wrapper) == inspect.signature(plain)
    assert wrapper(2) == 2


def test_update_wrapper_onto_it():
    async def fn(*args, **kwargs):
        return await plain(*args, **kwargs)

    f = functools.update_wrapper(tworoutine(fn), plain)
    assert f.__name__ == "plain"
    assert f.__wrapped__ is plain
    assert inspect.signature(f) == inspect.signature(plain)
    assert ~f is fn
    assert f(2) == 2


def test_which_form_is_a_coroutine_function():
    for f in (documented, Board.tune, Board().tune, Board.make, Board.ping):
        assert not inspect.iscoroutinefunction(f)
        assert inspect.iscoroutinefunction(~f)
        assert inspect.iscoroutinefunction(f.aio)
    assert not inspect.iscoroutinefunction(functools.partial(documented, 1))
    assert not inspect.isasyncgenfunction(numbers)
    assert inspect.isasyncgenfunction(~numbers)


@pytest.mark.skipif(
    sys.version_info >= (3, 14),
    reason="asyncio.iscoroutinefunction is deprecated",
)
def test_asyncio_sees_it_the_same_way():
    assert not asyncio.iscoroutinefunction(documented)
    assert asyncio.iscoroutinefunction(~documented)
    assert asyncio.iscoroutinefunction(~Board().tune)


def test_it_is_a_routine_and_callable():
    assert inspect.isroutine(documented)
    assert inspect.isroutine(Board().tune)
    assert callable(documented)
    assert not inspect.isfunction(documented)


# --- what frameworks want of a function --------------------------------------


FLAGS = {
    inspect.CO_COROUTINE,
    inspect.CO_ASYNC_GENERATOR,
    inspect.CO_ITERABLE_COROUTINE,
    inspect.CO_GENERATOR,
}


def flags_of(f):
    return {flag for flag in FLAGS if f.__code__.co_flags & flag}


def test_the_flags_of_the_code_are_those_of_what_a_call_returns():
    @tworoutine
    @types.coroutine
    def old(x):
        yield

    @tworoutine
    def made(x):
        return plain(x)

    for f in (documented, Board.tune, Board().tune, old, made, opened):
        assert flags_of(f) == set()
    assert flags_of(numbers) == {inspect.CO_GENERATOR}
    assert flags_of(~numbers) == {inspect.CO_ASYNC_GENERATOR}
    assert flags_of(~documented) == {inspect.CO_COROUTINE}


def test_inspect_tells_what_a_call_returns():
    assert inspect.isgeneratorfunction(numbers)
    for f in (documented, Board.tune, Board().tune, opened):
        assert not inspect.isgeneratorfunction(f)
    for f in (documented, Board().tune, numbers, opened):
        assert not inspect.iscoroutinefunction(f)
        assert not inspect.isasyncgenfunction(f)
        assert not inspect.iscoroutinefunction(f.__call__)
    assert inspect.isasyncgenfunction(inspect.unwrap(opened))


def test_the_rest_of_the_code_is_that_of_the_function():
    code, own = documented.__code__, (~documented).__code__
    assert code.co_filename == own.co_filename == __file__
    assert code.co_firstlineno == own.co_firstlineno
    assert code.co_varnames == own.co_varnames
    assert code.co_argcount == 1
    assert code is documented.__code__
    assert own.co_flags & inspect.CO_COROUTINE


def test_the_code_of_a_bound_one_is_without_self():
    class Local:
        @tworoutine
        async def one(self, x, /, y=1, *, z=2):
            return lambda: self

        @tworoutine
        async def two(*args):
            pass

    one = Local().one.__code__
    assert one.co_varnames[: one.co_argcount] == ("x", "y")
    assert (one.co_posonlyargcount, one.co_kwonlyargcount) == (1, 1)
    assert Local().two.__code__.co_argcount == 0
    assert Local.one.__code__.co_argcount == 3
    for name in ("one", "two"):
        f = getattr(Local(), name)
        whole = inspect.signature(f)
        assert inspect.signature(f, follow_wrapped=False) == whole
        assert Local().one(1)() is not None


def test_what_has_no_code_shows_none():
    part = tworoutine(functools.partial(plain, scale=2))
    for name in ("__code__", "__defaults__", "__kwdefaults__"):
        assert not hasattr(part, name)
        assert name not in dir(part)


def test_a_call_by_its_name(place):
    board = Board()
    assert place(lambda: documented.__call__(2)) == 2
    assert place(lambda: board.tune.__call__(5)) == ("a", 5)
    text = "(frequency, /, power=0)"
    assert str(inspect.signature(board.tune.__call__)) == text
    assert documented.__call__.__name__ == "documented"
    assert type(documented).__call__(documented, 3) == 3


def test_full_argument_specification():
    spec = inspect.getfullargspec(documented)
    assert (spec.args, spec.kwonlyargs) == (["x"], ["scale"])


# --- annotations, which 3.14 makes when they are asked for -------------------


def of_later(x: "Later") -> int: ...


async def of_later_async(x: "Later") -> int: ...


class Later:
    pass


def wrap(f):
    @functools.wraps(f)
    def wrapper(*args, **kwargs):
        return f(*args, **kwargs)

    return wrapper


def test_annotations_through_wrappers():
    expected = typing.get_type_hints(of_later)
    for f in (tworoutine(of_later_async), tworoutine(wrap(of_later_async))):
        for each in (f, wrap(f), wrap(wrap(f))):
            assert typing.get_type_hints(each) == expected
            assert each.__annotations__ == of_later.__annotations__
            assert inspect.get_annotations(each) == each.__annotations__


def test_annotations_of_what_it_is_made_to_look_like():
    f = functools.update_wrapper(tworoutine(plain), of_later)
    assert f.__annotations__ == of_later.__annotations__
    assert typing.get_type_hints(f) == typing.get_type_hints(of_later)


def test_single_dispatch_by_the_annotation(place):
    @functools.singledispatch
    def kind(x):
        return "other"

    @kind.register
    @tworoutine
    async def of_int(x: int):
        await asyncio.sleep(0)
        return "int"

    assert place(lambda: (kind(1), kind(""))) == ("int", "other")


UNKNOWN = """
import annotationlib
from tworoutine import tworoutine

@tworoutine
async def two(x: Unknown) -> int: ...

class Board:
    @tworoutine
    async def read(self, x: Unknown) -> int: ...

for f in (two, Board.read, Board().read):
    for form in ("STRING", "FORWARDREF"):
        form = annotationlib.Format[form]
        found = annotationlib.get_annotations(f, format=form)
        assert list(found) == ["x", "return"]
        called = annotationlib.call_annotate_function(f.__annotate__, form)
        assert list(called) == list(found)
    assert found["x"].__forward_arg__ == "Unknown"
    try:
        f.__annotations__
    except NameError:
        print("unknown")
"""


@pytest.mark.skipif(
    sys.version_info < (3, 14), reason="annotations are made at once"
)
def test_annotations_that_cannot_be_evaluated_yet(program):
    assert program(UNKNOWN) == "unknown\n" * 3


@pytest.mark.skipif(
    sys.version_info < (3, 14), reason="functions have no __annotate__"
)
def test_assigning_annotations_and_what_makes_them():
    f = tworoutine(of_later_async)
    f.__annotate__ = lambda form: {"x": form}
    assert f.__annotations__ == {"x": 1}
    f.__annotations__ = {"y": str}
    assert f.__annotate__ is None
    assert f.__annotations__ == {"y": str}
    f.__annotate__ = lambda form: {"z": form}
    assert f.__annotations__ == {"z": 1}
    assert of_later_async.__annotations__ == of_later.__annotations__


# --- doctest ----------------------------------------------------------------


def test_doctests_are_found_and_run():
    module = sys.modules[__name__]
    found = {
        test.name.removeprefix(f"{__name__}."): test
        for test in doctest.DocTestFinder().find(module)
        if test.examples
    }
    assert {"documented", "Board.tune"} <= set(found)
    runner = doctest.DocTestRunner(verbose=False)
    for name in ("documented", "Board.tune"):
        assert runner.run(found[name]) == (0, 1)


# --- weak references and the collector --------------------------------------


def test_weak_references():
    async def fn():
        pass

    f = tworoutine(fn)
    ref = weakref.ref(f)
    assert ref() is f
    assert weakref.WeakKeyDictionary({f: 1})[f] == 1
    del f
    assert ref() is None


def test_a_cycle_is_collected():
    async def fn():
        pass

    f = tworoutine(fn)
    f.me = f
    fn.me = f
    refs = weakref.ref(f), weakref.ref(fn)
    del f, fn
    gc.collect()
    assert [ref() for ref in refs] == [None, None]


# --- copy and pickle --------------------------------------------------------


def test_a_copy_of_a_function_is_the_function():
    assert copy.copy(documented) is documented
    assert copy.deepcopy(documented) is documented
    assert copy.deepcopy({"f": documented})["f"] is documented


def test_copies_of_a_bound_one():
    board = Board()
    assert copy.copy(board.tune).__self__ is board
    deep = copy.deepcopy(board.tune)
    assert deep.__self__ is not board
    assert deep(5) == ("a", 5)
    both = copy.deepcopy([board, board.tune])
    assert both[1].__self__ is both[0]
    assert both[1] == both[0].tune


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    "f",
    [documented, Board.tune, numbers, opened],
    ids=["function", "method", "generator", "manager"],
)
def test_pickle_by_name(f, protocol):
    assert pickle.loads(pickle.dumps(f, protocol)) is f
    assert pickle.loads(pickle.dumps(~f, protocol)) is ~f
    assert pickle.loads(pickle.dumps(f, protocol)) is f


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_pickle_of_bound_ones(protocol):
    def sent(f):
        return pickle.loads(pickle.dumps(f, protocol))

    assert sent(Board("b").tune)(5) == ("b", 5)
    assert sent(Board("b").tune).__self__.name == "b"
    assert sent(Board.make) == Board.make
    assert sent(Board.make)("c").name == "c"
    assert sent(Board.ping)("host") == "host"
    assert sent(Board("b").ping)("host") == "host"


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_pickle_of_one_put_together(protocol):
    sent = pickle.loads(
        pickle.dumps(tworoutine(Board.tune, Board("b")), protocol)
    )
    assert sent(5) == ("b", 5)
    assert sent == sent.__self__.tune


def test_what_is_found_by_name_has_to_be_a_tworoutine():
    """An Unpickler that admits this package only admits nothing else."""

    class Tricked:
        def __reduce__(self):
            return type(Board.ping).__reduce__(Board.ping)[0], ("os", "getcwd")

    assert Board.ping.__reduce__()[1] == (__name__, "Board.ping")
    with pytest.raises(pickle.UnpicklingError, match=r"os\.getcwd is .* not"):
        pickle.loads(pickle.dumps(Tricked()))


METHOD_PICKLE = pytest.mark.xfail(
    strict=True,
    reason="a method pickles as getattr(owner, name), which gives the "
    "tworoutine: pickle the bound tworoutine and turn that over",
)


@pytest.mark.parametrize(
    ("make", "args"),
    [
        pytest.param(lambda: Board("b").tune, (5,), marks=METHOD_PICKLE),
        pytest.param(lambda: Board.make, ("b",), marks=METHOD_PICKLE),
        (lambda: Board.ping, ("host",)),
    ],
    ids=["method", "classmethod", "staticmethod"],
)
def test_pickle_of_the_async_form_of_bound_ones(make, args):
    sent = pickle.loads(pickle.dumps(~make()))
    assert inspect.iscoroutinefunction(sent)
    made = sent(*args)
    assert inspect.iscoroutine(made)
    made.close()


def test_pickle_of_a_local_function_fails_as_for_functions():
    @tworoutine
    async def local():
        pass

    with pytest.raises((pickle.PicklingError, AttributeError), match="local"):
        pickle.dumps(local)


def test_a_name_that_leads_elsewhere_is_not_trusted():
    shadow = tworoutine(plain)
    shadow.__name__ = shadow.__qualname__ = "documented"
    with contextlib.suppress(pickle.PicklingError):
        assert pickle.loads(pickle.dumps(shadow)) is not documented


def test_cloudpickle_of_a_local_function():
    unit = "K"

    @tworoutine
    async def local(x):
        return x, unit

    sent = cloudpickle.loads(cloudpickle.dumps(local))
    assert type(sent) is tworoutine
    assert sent(1) == (1, "K")
    assert asyncio.run((~sent)(1)) == (1, "K")
    assert local(1) == (1, "K")


SENDER = """
import asyncio, sys
import cloudpickle
from tworoutine import tworoutine

@tworoutine
async def countdown(n):
    await asyncio.sleep(0)
    return [n, *(await (~countdown)(n - 1) if n else [])]

class Board:
    def __init__(self, name):
        self.name = name

    @tworoutine
    async def tune(self, x):
        return self.name, countdown(x)

    @tworoutine
    @classmethod
    async def make(cls, name):
        return cls(name)

assert countdown(1) == [1, 0]
with open(sys.argv[1], "wb") as file:
    sent = [countdown, ~countdown, Board("a").tune, Board.make]
    cloudpickle.dump(sent, file)
"""

RECEIVER = """
import asyncio, pickle, sys

with open(sys.argv[1], "rb") as file:
    countdown, async_countdown, tune, make = pickle.load(file)
assert countdown(2) == [2, 1, 0]
assert countdown.__name__ == "countdown"
assert asyncio.run((~countdown)(2)) == [2, 1, 0]
assert asyncio.run(async_countdown(1)) == [1, 0]
assert tune(1) == ("a", [1, 0])
assert asyncio.run((~tune)(1)) == ("a", [1, 0])
assert make("b").tune(0) == ("b", [0])
print("all right")
"""


def test_cloudpickle_from_main(program, tmp_path):
    program(SENDER, tmp_path / "sent")
    assert program(RECEIVER, tmp_path / "sent") == "all right\n"


# --- remote methods, as made by tuber ---------------------------------------


def test_names_and_signature_assigned_to_the_wrapper():
    async def remote(self, *args, **kwargs):
        return args, kwargs

    class Resource:
        pass

    method = tworoutine(remote)
    method.__name__ = "set_bias"
    method.__qualname__ = "Resource.set_bias"
    method.__doc__ = "Set the bias."
    parameter = inspect.Parameter("volt", inspect.Parameter.POSITIONAL_ONLY)
    own = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
    method.__signature__ = inspect.Signature([own, parameter])
    Resource.set_bias = method

    resource = Resource()
    assert str(inspect.signature(Resource.set_bias)) == "(self, volt, /)"
    assert str(inspect.signature(resource.set_bias)) == "(volt, /)"
    assert resource.set_bias.__name__ == "set_bias"
    assert inspect.getdoc(resource.set_bias) == "Set the bias."
    text = pydoc.plain(pydoc.render_doc(resource.set_bias))
    assert "set_bias(volt, /)" in text
    assert resource.set_bias(3) == ((3,), {})


def test_a_signature_assigned_to_a_static_method_is_kept_whole():
    async def ping(*args):
        return args

    class Resource:
        pass

    method = tworoutine(staticmethod(ping))
    parameter = inspect.Parameter("host", inspect.Parameter.POSITIONAL_ONLY)
    method.__signature__ = inspect.Signature([parameter])
    Resource.ping = method
    assert str(inspect.signature(Resource.ping)) == "(host, /)"
    assert str(inspect.signature(Resource().ping)) == "(host, /)"


def test_plain_pickle_from_main(program):
    """Also through processes, forked and spawned, which have a __main__."""
    out = program(
        """
import asyncio, multiprocessing, pickle
from tworoutine import tworoutine

@tworoutine
async def double(x):
    await asyncio.sleep(0)
    return 2 * x

if __name__ == "__main__":
    assert pickle.loads(pickle.dumps(double)) is double
    assert pickle.loads(pickle.dumps(~double)) is ~double
    assert pickle.loads(pickle.dumps(double)) is double
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        print(pool.map(double, [1, 2]))
        pool.close()
        pool.join()
"""
    )
    assert out == "[2, 4]\n"


def test_the_types_own_documentation():
    assert tworoutine.__doc__.startswith("One async function")
    assert str(inspect.signature(tworoutine)) == "(fn, /, *, home=Ellipsis)"
