import sys
from asyncio import AbstractEventLoop, Future
from collections.abc import Callable, Coroutine, Generator
from typing import (
    Any,
    Final,
    ParamSpec,
    Protocol,
    TypeVar,
    overload,
    type_check_only,
)

from tworoutine import nested as nested
from tworoutine._calls import WaitingCall as WaitingCall
from tworoutine._calls import calls as calls
from tworoutine._calls_shown import print_calls as print_calls
from tworoutine._core import CannotSuspend as CannotSuspend
from tworoutine._core import await_ as await_
from tworoutine._core import tworoutine as tworoutine
from tworoutine._core import why_no_handoff as why_no_handoff
from tworoutine._dual import dual as dual
from tworoutine._fan_out import FailedCalls as FailedCalls
from tworoutine._homes import LoopThread as LoopThread
from tworoutine._homes import home as home
from tworoutine._slow import SlowCallWarning as SlowCallWarning
from tworoutine._slow import warn_slow as warn_slow

_P = ParamSpec("_P")
_R = TypeVar("_R")

@overload
def portal(
    afn: tworoutine[_P, _R], /
) -> Callable[_P, Coroutine[Any, Any, _R]]: ...
@overload
def portal(
    afn: Callable[_P, Coroutine[Any, Any, _R]], /
) -> Callable[_P, Coroutine[Any, Any, _R]]: ...
def run(
    main: Coroutine[Any, Any, _R],
    *,
    debug: bool | None = None,
    loop_factory: Callable[[], AbstractEventLoop] | None = None,
) -> _R: ...

@type_check_only
class _TaskFactory(Protocol):
    def __call__(
        self,
        loop: AbstractEventLoop,
        coro: Coroutine[Any, Any, _R] | Generator[Any, None, _R],
        /,
        **kwargs: Any,
    ) -> Future[_R]: ...

task_factory: Final[_TaskFactory]
if sys.version_info >= (3, 12):
    eager_task_factory: Final[_TaskFactory]

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
    __all__ += ["eager_task_factory"]
__version__: str
