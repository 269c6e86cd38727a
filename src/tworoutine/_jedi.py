"""What jedi completes after ``f(x).``: what f(x) has, not its coroutine.

jedi, by which IPython completes, reads the source of the function below f, and
takes f(x) for what a call of that returns.  It has plugins; this is one.
"""

import contextlib
import functools
import inspect

from tworoutine._core import tworoutine


class _Plugin:
    @staticmethod
    def execute(callback):
        """jedi's call of a value, for those that are tworoutines."""

        def called(value, arguments):
            results = callback(value, arguments)
            handle = getattr(value, "access_handle", None)
            op = getattr(getattr(handle, "access", None), "_obj", None)
            known = getattr(value, "compiled_value", None)  # it has a source
            if (
                known is None
                or not isinstance(op, tworoutine)
                or _is_inverted(arguments)
            ):
                return results
            try:
                if not results:  # by the annotation
                    return known.py__call__(arguments)
                return _waited_for(op, value.inference_state, results)
            except Exception:  # a jedi of another time
                return results

        return called


def _is_inverted(arguments):
    """Whether these are those of a call of ``~f``, which jedi takes for f."""
    trailer = getattr(arguments, "trailer", None)
    called = trailer and trailer.get_previous_sibling()
    return called is not None and called.get_code().lstrip()[:2] == "(~"


def _waited_for(op, state, results):
    """What op returns, where a call of its function returns the results."""
    if not inspect.isasyncgenfunction(inspect.unwrap(op)):
        return results.py__await__().py__stop_iteration_returns()
    iterates = inspect.isasyncgenfunction(op.__wrapped__)
    return _generic(
        state, "Generator" if iterates else "ContextManager", results
    )


def _generic(state, name, results):
    """Instances of such a class of typing, over what the results yield."""
    from jedi.inference.base_value import NO_VALUES, ValueSet
    from jedi.inference.gradual.base import GenericClass
    from jedi.inference.gradual.generics import TupleGenericManager

    items = NO_VALUES
    for lazy in results.iterate(is_async=True):
        items |= lazy.infer()
    generics = TupleGenericManager((items.py__class__(), NO_VALUES))
    classes = state.typing_module.py__getattribute__(name)
    return ValueSet(
        GenericClass(each, generics) for each in classes
    ).execute_with_values()


@functools.cache
def teach():
    """Register the plugin, once."""
    with contextlib.suppress(ImportError, AttributeError):
        from jedi.plugins import plugin_manager

        plugin_manager.register(_Plugin)
