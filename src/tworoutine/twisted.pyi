from collections.abc import Awaitable, Callable
from typing import ParamSpec, TypeVar, overload

from twisted.internet.defer import Deferred

__all__ = ["callback"]

_P = ParamSpec("_P")
_T = TypeVar("_T")

@overload
def callback(
    fn: Callable[_P, Awaitable[_T]], /
) -> Callable[_P, Deferred[_T]]: ...
@overload
def callback(fn: Callable[_P, _T], /) -> Callable[_P, Deferred[_T]]: ...
