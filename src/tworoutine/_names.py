"""What a tworoutine shows of its function: names, signature, code."""

import functools
import inspect
import operator
import sys
import types
import weakref

# --- names ------------------------------------------------------------------


def name_of(f):
    """What f is called in messages."""
    return getattr(f, "__qualname__", None) or repr(f)


def name_plainly(fn, exc):
    """Let exc, of the call f(...) itself, name f and not its form f.aio."""
    while isinstance(fn, functools.partial):
        fn = fn.func
    name = getattr(fn, "__qualname__", "")
    if name.endswith(".aio") and fn.__name__ != "aio" and len(exc.args) == 1:
        plain = name.removesuffix(".aio")
        exc.args = (exc.args[0].replace(f"{name}()", f"{plain}()", 1),)


def lookup(module, qualname):
    """What the dotted name leads to in an imported module, or None."""
    try:
        return operator.attrgetter(qualname)(sys.modules[module])
    except (KeyError, AttributeError, TypeError):
        return None


def name_async_form(f, fn):
    """Call the function ``<f>.aio`` if its own name leads to f.

    So that it, too, can be found, and pickled, by its qualified name.
    """
    if (
        not fn.__qualname__.endswith(".aio")
        and lookup(f.__module__, f.__qualname__) == f
    ):
        fn.__qualname__ += ".aio"


_SPECIAL_NAMES = (
    *("__name__", "__qualname__", "__wrapped__", "__signature__"),
    *("__annotations__", "__type_params__", "__isabstractmethod__"),
    *("__annotate__", "__code__", "__defaults__", "__kwdefaults__"),
    *("__self__", "__func__"),
)


def names(f, fn):
    """What dir(f) lists: what the attributes of f lead to."""
    passed_on = [name for name in dir(fn) if not name.startswith("_")]
    # The type has some of its own: __annotations__, once somebody has asked.
    own = set(object.__dir__(f)).difference(_SPECIAL_NAMES)
    special = [name for name in _SPECIAL_NAMES if hasattr(f, name)]
    return sorted({*own, *passed_on, *special})


# --- signature and code -----------------------------------------------------


def bound_signature(origin, method):
    """The signature assigned to origin, less its first parameter if bound."""
    signature = origin.__signature__
    if not inspect.ismethod(method):
        return signature
    return signature.replace(
        parameters=list(signature.parameters.values())[1:]
    )


_CODES = weakref.WeakKeyDictionary()  # fn's code: f's, if it is another one
_BOUND_CODES = weakref.WeakKeyDictionary()  # the same where f is bound


def shown_code(fn, code):
    """fn's code as that of f: with the flags of what a call of f returns.

    And, since a bound f is no method by type, without the first parameter.
    """
    homes = sys.modules.get("tworoutine._homes")
    if homes is not None:
        code = homes.code_of(fn, code)
    if not isinstance(code, types.CodeType):
        return code
    bound = inspect.ismethod(fn)
    codes = _BOUND_CODES if bound else _CODES
    made = codes.get(code)
    # Codes are equal, too, that come from files of different names.
    if made is None or made.co_filename != code.co_filename:
        changes = {"co_flags": _synchronous(code.co_flags)}
        if bound and code.co_argcount > 0:
            changes |= {
                "co_argcount": code.co_argcount - 1,
                "co_posonlyargcount": max(code.co_posonlyargcount - 1, 0),
                "co_nlocals": code.co_nlocals - 1,
                "co_varnames": code.co_varnames[1:],
            }
        if all(getattr(code, name) == changes[name] for name in changes):
            return code
        made = codes[code] = code.replace(**changes)
    return made


def _synchronous(flags):
    if flags & inspect.CO_ITERABLE_COROUTINE:
        flags &= ~inspect.CO_GENERATOR
    if flags & inspect.CO_ASYNC_GENERATOR:
        flags |= inspect.CO_GENERATOR
    return flags & ~(
        inspect.CO_COROUTINE
        | inspect.CO_ASYNC_GENERATOR
        | inspect.CO_ITERABLE_COROUTINE
    )
