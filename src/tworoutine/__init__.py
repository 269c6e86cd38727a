"""One ``async def``, two ways to call it.

    >>> import asyncio
    >>> from tworoutine import tworoutine
    >>> @tworoutine
    ... async def double(x):
    ...     await asyncio.sleep(0)
    ...     return 2 * x
    >>> double(21)                      # waits, wherever it is called
    42
    >>> asyncio.run((~double)(21))      # the coroutine itself
    42

The rule: ``f(x)`` is ``await (~f)(x)``, also in the middle of a running loop.
"""

import os
import sys

from tworoutine import _cold, _prompts
from tworoutine._core import (
    CannotSuspend,
    after_fork,
    await_,
    tworoutine,
    why_no_handoff,
)
from tworoutine._portal import portal, run, task_factory
from tworoutine._prompts import (
    load_ipython_extension as load_ipython_extension,
)
from tworoutine._prompts import (
    unload_ipython_extension as unload_ipython_extension,
)

__all__ = [
    "CannotSuspend",
    "FailedCalls",
    "LoopThread",
    "SlowCallWarning",
    "WaitingCall",
    "await_",
    "calls",
    "dual",
    "home",
    "portal",
    "print_calls",
    "run",
    "task_factory",
    "tworoutine",
    "warn_slow",
    "why_no_handoff",
]
if sys.version_info >= (3, 12):
    from tworoutine._portal import eager_task_factory as eager_task_factory

    __all__ += ["eager_task_factory"]
__version__ = "0.1.0"


_LATER = {  # name -> module: loaded when first used
    "FailedCalls": "_fan_out",
    "dual": "_dual",
    "LoopThread": "_homes",  # without homes, no call asks for its home
    "home": "_homes",
    "nested": "nested",
    "SlowCallWarning": "_slow",
    "WaitingCall": "_calls",
    "calls": "_calls",
    "print_calls": "_calls_shown",
    "warn_slow": "_slow",
}


def __getattr__(name):
    if name in _LATER:
        from importlib import import_module

        module = import_module(f"tworoutine.{_LATER[name]}")
        return module if name == "nested" else getattr(module, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    """What there is, loaded or not: a prompt completes it."""
    names = (name for name in globals() if name.startswith("__"))
    return sorted({*names, *__all__, "nested"})


_cold.register()
_prompts.prime_prompt()
_prompts.teach_ipython()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        after_in_child=lambda: _cold.inherit_loop(after_fork())
    )
