"""dual(x): an object of somebody's asynchronous class, in both idioms.

The core does what is hot, attributes and calls (core/face/dual.h).  Here each
class C gets a class of duals, with the special methods that C has.

Imported by the first dual.
"""

import asyncio
import collections
import contextlib
import copy
import copyreg
import functools
import inspect
import opcode
import sys
import types
import weakref

from tworoutine._core import (
    Dual,
    Special,
    dual_method,
    dual_new,
    tworoutine,
)
from tworoutine._names import lookup

# --- what was asked for -----------------------------------------------------


class _Options:
    """What duals have beside their objects: how to make others of them."""

    def __init__(self, deep, home):
        self.deep, self.given = deep, home
        self.home = None
        if home is not None:
            from tworoutine._homes import Home

            self.home = Home(home)

    def __eq__(self, other):
        return (self.deep, self.given) == (other.deep, other.given)

    def __hash__(self):
        return hash((self.deep, self.given))

    def __reduce__(self):
        return _Options, (self.deep, self.given)

    def takes(self, value):
        """Whether value, which has come out of a dual, becomes one."""
        if isinstance(value, type | types.ModuleType):
            return False
        if self.deep is True:
            return _is_for_sync(type(value)) or _holds_such(value)
        return isinstance(value, self.deep)

    def deepen(self, value):
        """Value as it is shown: containers may hold what becomes a dual."""
        kind = type(value)
        if kind in _SEQUENCES:
            return kind(map(self.deepen, value))
        if kind is dict:
            return {k: self.deepen(v) for k, v in value.items()}
        if isinstance(kind, DualType) or not self.takes(value):
            return value
        return make(value, self)


_SEQUENCES = {list, tuple, set, frozenset}


def _check_deep(deep):
    kinds = deep if isinstance(deep, tuple) else (deep,)
    if isinstance(deep, bool) or all(isinstance(k, type) for k in kinds):
        return (
            tuple(map(_raw_class, kinds))
            if deep and deep is not True
            else deep
        )
    raise TypeError(
        "dual(): deep is True, False, a class or a tuple of classes, not "
        f"{deep!r}"
    )


# --- duals ------------------------------------------------------------------


def dual(x, /, *, deep=None, home=None):
    """The object x of an asynchronous class, in both idioms; or such a class.

    Methods of ``d = dual(x)`` are called as those of a tworoutine:
    ``d.get(1)`` waits, ``(~d.get)(1)`` is the coroutine.  ``with`` and
    ``async with``, ``for`` and ``async for`` work; attributes are those of x,
    also when set; ``~d`` is x.  What x does by itself is as ever.  ``dual(C)``
    is a class whose instances are such objects.

    Args:
        x: An object of a class with asynchronous methods, or such a class.
            Of a dual, the same one.
        deep: Whether results, attributes and items become duals, too: True,
            those whose class is asynchronous; or a class, or a tuple of
            classes.  What a call returns and can only be entered or iterated
            over becomes one in any case.
        home: Where all calls run, whoever makes them: a loop, a LoopThread,
            or a function that returns one.

    Returns:
        The dual; ``isinstance(d, type(x))`` is true.

    Raises:
        TypeError: Nothing in x is asynchronous, or an option is of a wrong
            type.  Calls raise what the methods of x raise.
    """
    if isinstance(type(x), DualType) or type(x) is DualType:
        return _again(x, deep, home)
    _check(x)
    options = _Options(_check_deep(deep or False), home)
    if isinstance(x, type):
        return _class_of(x, options)
    return make(x, options)


def make(raw, options):
    """The dual of raw."""
    return _new(_class_of(type(raw), options), raw, options, False)


def _new(cls, raw, options, is_class):
    deep = bool(options.deep)
    return dual_new(cls, raw, options, options.home, deep, is_class)


def _options(op):
    return _get_options(op if type(op) is not DualType else _hidden(op))


_get_options = Dual.__options__.__get__


def _again(x, deep, home):
    """A dual of a dual: the same, but for the options that are given."""
    if deep is None and home is None:
        return x
    old = _options(x)
    options = _Options(
        old.deep if deep is None else _check_deep(deep),
        old.given if home is None else home,
    )
    raw = _raw_class(x) if type(x) is DualType else ~x
    return (
        _class_of(raw, options) if type(x) is DualType else make(raw, options)
    )


_checked = weakref.WeakSet()


def _check(x):
    cls = x if isinstance(x, type) else type(x)
    if cls in _checked:
        return
    hint = _hint(x)
    if hint is None and _is_async(cls):
        _checked.add(cls)
    elif hint is not None or isinstance(x, type) or not _has_such(x):
        if inspect.iscoroutine(x):
            x.close()
        raise TypeError(
            "dual() takes an object of an asynchronous class, or such a "
            f"class, not {x!r}{hint or ': nothing in it is asynchronous'}"
        )


def _hint(x):
    """What is to be done with x, of which there is no dual; or None."""
    if inspect.iscoroutine(x) or asyncio.isfuture(x):
        return "; await_() waits for it"
    if isinstance(x, tworoutine):
        return ", which is in both idioms already"
    if isinstance(x, _FUNCTIONS):
        return "; tworoutine() is for functions"
    if isinstance(x, types.ModuleType):
        return "; tworoutine() takes its functions"
    return None


_FUNCTIONS = (
    functools.partial,
    classmethod,
    staticmethod,
    types.FunctionType,
    types.MethodType,
    types.BuiltinFunctionType,
    types.MethodDescriptorType,
    types.WrapperDescriptorType,
    types.MethodWrapperType,
)


def _has_such(x):
    """Whether x, of a class that has nothing asynchronous, has it itself."""
    held = getattr(x, "__dict__", {}).values()
    return any(map(_is_async_member, held)) or _holds_such(x)


# --- what is asynchronous ---------------------------------------------------

_NEVER = BaseException, asyncio.AbstractEventLoop, asyncio.Future
_WAITING = {"__aiter__", "__anext__", "__aenter__"}
_kinds = weakref.WeakKeyDictionary()


def _is_async(cls):
    """Whether objects of cls have anything asynchronous, or may have."""
    members = _members(cls)
    return (
        bool(_WAITING & members.keys())
        or "__await__" in members
        or "__getattr__" in members
        or any(map(_is_async_member, members.values()))
    )


def _is_for_sync(cls):
    """Whether deep=True makes duals of the objects of cls."""
    known = _kinds.get(cls)
    if known is None:
        members = _members(cls)
        known = _kinds[cls] = not issubclass(cls, _NEVER) and (
            bool(_WAITING & members.keys())
            or any(map(_is_async_member, members.values()))
        )
    return known


def _holds_such(value):
    """Whether value has attributes for which it is, as a bare holder has."""
    held = getattr(value, "__dict__", None)
    return type(held) is dict and any(
        _is_for_sync(type(each)) for each in held.values()
    )


def _members(cls):
    found = {}
    for each in reversed(cls.__mro__[:-1]):
        found |= vars(each)
    return found


def _is_async_member(member):
    if isinstance(member, tworoutine):
        return True
    if isinstance(member, property):
        member = member.fget
    member = getattr(member, "__func__", None) or member
    if isinstance(member, functools.cached_property):
        member = member.func
    if not callable(member) or isinstance(member, type):
        return False
    return (
        inspect.iscoroutinefunction(member)
        or inspect.isasyncgenfunction(member)
        or getattr(member, "__code__", None) is _MANAGES
        or _says_so(member)
    )


_MANAGES = contextlib.asynccontextmanager(_check).__code__


def _says_so(member):
    """Whether a plain function is annotated as one that is to be awaited."""
    if not inspect.isfunction(member):
        return False
    returns = str(_get_annotations(member).get("return"))
    return any(
        word in returns
        for word in ("Async", "Awaitable", "Coroutine", "Future")
    )


if sys.version_info >= (3, 14):
    import annotationlib

    _get_annotations = functools.partial(  # of names that nothing may have
        annotationlib.get_annotations, format=annotationlib.Format.STRING
    )
else:
    _get_annotations = inspect.get_annotations

# --- classes of duals -------------------------------------------------------

_CALLS, _DOES, _IS_ASYNC, _NEXT, _ITERATES, _CONSTRUCTS = range(6)

_BINARY = (
    "add sub mul matmul truediv floordiv mod divmod pow lshift rshift and xor "
    "or"
)
_OTHERS = (
    "len length_hint getitem setitem delitem contains reversed missing neg "
    "pos abs int float complex index round trunc floor ceil bytes fspath"
)
_DONE = [f"__{name}__" for name in _OTHERS.split()] + [
    f"__{prefix}{name}__"
    for name in _BINARY.split()
    for prefix in ("", "r", "i")
]
_AWAITED = ["__await__", "__aiter__", "__anext__", "__aenter__", "__aexit__"]
# Under which name a class of duals has which method of C; the first counts.
_SYNC = [
    ("__enter__", "__aenter__", _CALLS),
    ("__exit__", "__aexit__", _CALLS),
    ("__enter__", "__enter__", _DOES),
    ("__exit__", "__exit__", _DOES),
    ("__iter__", "__aiter__", _ITERATES),
    ("__next__", "__anext__", _NEXT),
    ("__iter__", "__iter__", _DOES),
    ("__next__", "__next__", _DOES),
    ("__call__", "__call__", _CALLS),
    *((name, name, _IS_ASYNC) for name in _AWAITED),
    *((name, name, _DOES) for name in _DONE),
]


class DualType(type):
    """The class of the classes of duals."""

    __call__ = Special("__call__", _CONSTRUCTS)

    def __new__(meta, name, bases, namespace, **keywords):
        """``class Name(dual(C))``: the dual class of a subclass of C."""
        options = next(_options(b) for b in bases if type(b) is DualType)
        raw_bases = tuple(map(_raw_class, bases))
        cell, namespace = _rebind(namespace)
        raw = types.new_class(
            name, raw_bases, keywords, lambda ns: ns.update(namespace)
        )
        made = _class_of(raw, options)
        if cell is not None:
            cell.cell_contents = made
        return made

    def __init__(cls, *args, **keywords):
        pass

    def __getattr__(cls, name):
        return _class_attribute(cls, name)

    def __setattr__(cls, name, value):
        setattr(_raw_class(cls), name, value)

    def __delattr__(cls, name):
        delattr(_raw_class(cls), name)

    def __instancecheck__(cls, instance):
        return isinstance(type(instance), DualType) and isinstance(
            ~instance, _raw_class(cls)
        )

    def __subclasscheck__(cls, other):
        return type(other) is DualType and issubclass(
            _raw_class(other), _raw_class(cls)
        )

    def __dir__(cls):
        return dir(_raw_class(cls))

    def __repr__(cls):
        return f"<dual of {_raw_class(cls)!r}>"

    def __invert__(cls):
        return _raw_class(cls)

    def __enter__(cls, *of):
        raise TypeError(
            f"{of[0]!r} cannot be entered: its class has no __aenter__"
            if of
            else f"{cls!r} is a class, and cannot be entered: make an object "
            "of it first"
        )

    def __exit__(cls, *exc_info):
        raise AssertionError("it has not been entered")

    @property
    def __signature__(cls):
        return inspect.signature(_raw_class(cls))

    @property
    def __wrapped__(cls):
        """The class itself, whose source is that of its duals."""
        return _raw_class(cls)


def _class_attribute(cls, name):
    raw = _raw_class(cls)
    value = getattr(raw, name)
    if isinstance(value, tworoutine):
        value = ~value
    if isinstance(value, type) or not (
        callable(value) and inspect.isroutine(value)
    ):
        return value
    is_static = isinstance(inspect.getattr_static(raw, name), staticmethod)
    unbound = not is_static and not inspect.ismethod(value)
    return dual_method(_hidden(cls), value, unbound)


class _Shown:
    """An attribute of C in the class of its duals, for help() to find."""

    def __init__(self, name):
        self._name = name

    def __get__(self, dual, cls):
        return _class_attribute(cls, self._name)


def _hidden(cls):
    return type.__getattribute__(cls, "__tworoutine_dual__")


def _raw_class(cls):
    return ~_hidden(cls) if type(cls) is DualType else cls


_classes = weakref.WeakValueDictionary()
_recent = collections.deque(maxlen=256)  # so that they are not made anew


def _class_of(raw, options):
    """The class of the duals of objects of raw."""
    key = raw, options
    made = _classes.get(key)
    if made is None:
        made = _classes.setdefault(key, _make_class(raw, options))
        _recent.append(made)
    return made


def _make_class(raw, options):
    members = _members(raw)
    special = {}
    if "__aexit__" not in members:
        members.pop("__aenter__", None)
    for name, theirs, kind in _SYNC:
        if theirs not in members or name in special:
            continue
        known = members[theirs] is not None
        special[name] = Special(theirs, kind) if known else None
    if members.get("__hash__", True) is None:
        special["__hash__"] = None
    if special.get("__call__") is not None:
        special["__signature__"] = property(lambda d: inspect.signature(~d))
    name = f"dual({raw.__name__})"
    namespace = {
        **{each: _Shown(each) for each in members if each[:1] != "_"},
        **_SHARED,
        **special,
        "__slots__": (),
        "__doc__": raw.__doc__,
        "__module__": raw.__module__,
        "__qualname__": name,
        "__own__": frozenset(_SHARED | special),
        "__tworoutine_dual__": _new(Dual, raw, options, True),
    }
    if "__firstlineno__" in vars(raw):  # 3.13, for inspect.getsource
        namespace["__firstlineno__"] = raw.__firstlineno__
    return type.__new__(DualType, name, (Dual,), namespace)


def _rebind(namespace):
    """The cell of ``super()`` in a class body, and functions with another.

    Python has the one hold the class that the statement makes, which is the
    class of duals; their self is an object of the class itself.
    """
    namespace = dict(namespace)
    cell = namespace.pop("__classcell__", None)
    if cell is None:
        return None, namespace
    new = types.CellType()
    namespace = {k: _with_cell(v, cell, new) for k, v in namespace.items()}
    namespace["__classcell__"] = new
    return cell, namespace


def _with_cell(member, cell, new):
    """The same member whose functions have the new cell."""
    if isinstance(member, classmethod | staticmethod):
        return type(member)(_with_cell(member.__func__, cell, new))
    if isinstance(member, property):
        parts = member.fget, member.fset, member.fdel
        return property(*(_with_cell(p, cell, new) for p in parts))
    if isinstance(member, functools.cached_property):
        member.func = _with_cell(member.func, cell, new)
        return member
    if not isinstance(member, types.FunctionType) or not member.__closure__:
        return member
    closure = []
    for each in member.__closure__:
        with contextlib.suppress(ValueError):  # empty
            inner = each.cell_contents
            if isinstance(inner, types.FunctionType):  # it is decorated
                each.cell_contents = _with_cell(inner, cell, new)
        closure.append(new if each is cell else each)
    made = types.FunctionType(
        member.__code__,
        member.__globals__,
        member.__name__,
        member.__defaults__,
        tuple(closure),
    )
    functools.update_wrapper(made, member)
    made.__kwdefaults__ = member.__kwdefaults__
    made.__dict__.pop("__wrapped__", None)
    if hasattr(member, "__wrapped__"):
        made.__wrapped__ = _with_cell(member.__wrapped__, cell, new)
    return made


# --- what all duals have ----------------------------------------------------


class _Shared:
    def __copy__(self):
        return make(copy.copy(~self), _options(self))

    def __deepcopy__(self, memo):
        return make(copy.deepcopy(~self, memo), _options(self))

    def __dir__(self):
        return dir(~self)

    def __format__(self, spec):
        return format(~self, spec)

    def __reduce_ex__(self, protocol):
        raw, options = ~self, _options(self)
        cls = _found_instead(type(raw))
        if cls is None:
            return make, (raw, options)
        function, args, *rest = raw.__reduce_ex__(protocol)
        args = tuple(cls if arg is type(raw) else arg for arg in args)
        return _rebuild, (cls, function, args), *rest


_SHARED = {
    name: member
    for name, member in vars(_Shared).items()
    if isinstance(member, types.FunctionType)
}


def _found_instead(raw):
    """The class of duals that has taken the name of raw, as @dual does."""
    found = lookup(raw.__module__, raw.__qualname__)
    return found if type(found) is DualType and ~found is raw else None


def _rebuild(cls, function, args):
    """Unpickle a dual whose class has the name of its object's class."""
    raw = ~cls
    made = function(*(raw if arg is cls else arg for arg in args))
    return make(made, _options(cls))


def _reduce_class(cls):
    raw = ~cls
    if _found_instead(raw) is cls:
        return raw.__qualname__
    return _class_of, (raw, _options(cls))


copyreg.pickle(DualType, _reduce_class)


# --- for the core -----------------------------------------------------------


def show(owner, value):
    """Value, which owner, an attribute or an iteration of it has come to."""
    options = _options(owner)
    if type(owner) is Dual:  # it serves a class
        if value is ~owner:
            return _class_of(value, options)
        if isinstance(value, ~owner) and not isinstance(type(value), DualType):
            return make(value, options)
    elif value is ~owner:
        return owner
    return options.deepen(value) if options.deep else value


def made(owner, value):
    """The dual of what can only be entered or iterated over."""
    return make(value, _options(owner))


def refuse(raw, function, *first):
    """A method was called on the class: say what its first argument is."""
    name = getattr(function, "__name__", repr(function))
    cls = raw.__name__
    raise TypeError(
        f"dual({cls}).{name}() is called on the class: it takes a {cls} "
        f"first, not {first[0]!r}"
        if first
        else f"dual({cls}).{name}() is called on the class, and takes a {cls} "
        f"first; make one with dual({cls})(...)"
    )


def in_both_forms(home, function):
    """``~f`` of a method whose calls have a home."""
    from tworoutine._homes import wrap

    return wrap(function, home)


def in_fan_out(owner, function):
    """The function of a method of a dual, as ``f.map()`` calls it."""

    def call(*args, **kwargs):
        args = [_raw(each) for each in args]
        kwargs = {name: _raw(each) for name, each in kwargs.items()}
        made = function(*args, **kwargs)
        is_deep = _options(owner).deep and inspect.isawaitable(made)
        return _show_later(owner, made) if is_deep else made

    return call


def _raw(op):
    return ~op if isinstance(type(op), DualType) else op


async def _show_later(owner, awaitable):
    return show(owner, await awaitable)


def reduce_method(owner, f):
    """Pickle a method of a dual."""
    if type(owner) is Dual:
        owner = _class_of(~owner, _options(owner))
    return getattr, (owner, f.__name__)


def deepcopy_method(owner, f, memo):
    """A deep copy of a method of a dual: of a deep copy of that."""
    method, owner = f.__wrapped__, copy.deepcopy(owner, memo)
    return dual_method(owner, type(method)(method.__func__, ~owner), False)


def at(owner, f, home):
    """``f.at(home)`` of a method of a dual."""
    options = _Options(_options(owner).deep, home)
    if type(owner) is Dual:
        owner = _hidden(_class_of(~owner, options))
    else:
        owner = make(~owner, options)
    return dual_method(owner, f.__wrapped__, False)


_VALUE, _WITH, _FOR = 1, 2, 3


def _opcodes():
    """The instructions that enter or iterate over what a call returns."""
    number = opcode.opmap
    iterates = {number["GET_ITER"]: _FOR, number["GET_AITER"]: _FOR}
    if "LOAD_SPECIAL" in number:  # 3.14: they are preceded by COPY 1
        special = number["LOAD_SPECIAL"]
        return {(number["COPY"], special): _WITH}, iterates
    enters = number["BEFORE_WITH"], number["BEFORE_ASYNC_WITH"]
    return {}, dict.fromkeys(enters, _WITH) | iterates


_PAIRS, _SINGLE = _opcodes()
_CACHE = {opcode.opmap["CACHE"]}
_CLEAR = opcode.opmap.get("LOAD_FAST_AND_CLEAR")
_BEGINS = {  # 3.15: a comprehension, before it iterates
    opcode.opmap[name]
    for name in ("BUILD_LIST", "BUILD_MAP", "BUILD_SET", "SWAP")
} | {_CLEAR}


def how_used():
    """What the code that calls does next with what the call returns."""
    try:
        frame = sys._getframe(2)
    except ValueError:  # a thread that does nothing else
        return _VALUE
    code = frame.f_code.co_code
    at = _skip(code, frame.f_lasti + 2, _CACHE)
    if code[at] == _CLEAR:
        at = _skip(code, at, _BEGINS)
    pair = tuple(code[at : at + 3 : 2])
    return _PAIRS.get(pair) or _SINGLE.get(pair[0], _VALUE)


def _skip(code, at, passed):
    """The first instruction from there on that is not passed over."""
    while code[at] in passed:
        at += 2
    return at


dual.__module__ = "tworoutine"
