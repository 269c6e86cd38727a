"""Types of the C core.

``tworoutine[P, R, A]``: called with P it returns R, and its ``~`` form
returns A.  For an ``async def`` A is a coroutine of R, and may be left out:
``tworoutine[[int], str]``.
"""

import asyncio
import sys
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Generator,
    Iterable,
    Iterator,
)
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
)
from types import CodeType
from typing import (
    Any,
    Concatenate,
    Final,
    Generic,
    Literal,
    ParamSpec,
    Protocol,
    TypeAlias,
    final,
    overload,
    type_check_only,
)

from typing_extensions import TypeVar

from tworoutine._homes import Given

_P = ParamSpec("_P")
_Q = ParamSpec("_Q")
_F = ParamSpec("_F")  # of a function to be decorated
_R_co = TypeVar("_R_co", covariant=True)
_A_co = TypeVar("_A_co", covariant=True, default=Coroutine[Any, Any, _R_co])
_I = TypeVar("_I")  # an item
_O = TypeVar("_O")  # an object to be bound to
_C = TypeVar("_C")  # a class to be bound to
_S = TypeVar("_S")  # sent to a generator
_T = TypeVar("_T")
_T_co = TypeVar("_T_co", covariant=True)
_U = TypeVar("_U")
_X = TypeVar("_X", bound=bool | None)  # returned by __exit__
_Y = TypeVar("_Y")  # yielded by a generator

class CannotSuspend(RuntimeError): ...

why_no_handoff: Final[str | None]

def await_(awaitable: Awaitable[_T], /) -> _T: ...
def end_thread() -> None: ...
def unregistered() -> None: ...
def cold(module: object, /) -> None: ...
def home_of(f: tworoutine[..., Any, Any], /) -> object | None: ...
def after_fork() -> asyncio.AbstractEventLoop | None: ...

# What only ty shows of the objects below @tworoutine: the others show the
# function.  __isabstractmethod__ tells them from bound methods.
@type_check_only
class _ClassMethod(Protocol[_P, _T_co]):
    @property
    def __func__(self) -> Callable[Concatenate[type[Any], _P], _T_co]: ...
    @property
    def __isabstractmethod__(self) -> bool: ...

@type_check_only
class _StaticMethod(Protocol[_P, _T_co]):
    @property
    def __func__(self) -> Callable[_P, _T_co]: ...
    @property
    def __isabstractmethod__(self) -> bool: ...

class tworoutine(Generic[_P, _R_co, _A_co]):
    # --- what can be decorated ---------------------------------------------
    # Its parameters are _F: with _P pyrefly loses the rest.
    @overload
    def __new__(
        cls,
        fn: _ClassMethod[_F, Coroutine[Any, Any, _T]],
        /,
        *,
        home: Given = ...,
    ) -> _unbinding[_F, _T, Coroutine[Any, Any, _T]]: ...
    @overload
    def __new__(
        cls,
        fn: _ClassMethod[_F, AsyncGenerator[_Y, _S]],
        /,
        *,
        home: Given = ...,
    ) -> _unbinding[_F, Generator[_Y, _S], AsyncGenerator[_Y, _S]]: ...
    @overload
    def __new__(
        cls,
        fn: _ClassMethod[_F, AbstractAsyncContextManager[_T, _X]],
        /,
        *,
        home: Given = ...,
    ) -> _unbinding[
        _F,
        AbstractContextManager[_T, _X],
        AbstractAsyncContextManager[_T, _X],
    ]: ...
    @overload
    def __new__(
        cls,
        fn: _StaticMethod[_F, Coroutine[Any, Any, _T]],
        /,
        *,
        home: Given = ...,
    ) -> _unbinding[_F, _T, Coroutine[Any, Any, _T]]: ...
    @overload
    def __new__(
        cls,
        fn: _StaticMethod[_F, AsyncGenerator[_Y, _S]],
        /,
        *,
        home: Given = ...,
    ) -> _unbinding[_F, Generator[_Y, _S], AsyncGenerator[_Y, _S]]: ...
    @overload
    def __new__(
        cls,
        fn: _StaticMethod[_F, AbstractAsyncContextManager[_T, _X]],
        /,
        *,
        home: Given = ...,
    ) -> _unbinding[
        _F,
        AbstractContextManager[_T, _X],
        AbstractAsyncContextManager[_T, _X],
    ]: ...
    # functions
    @overload
    def __new__(
        cls, fn: Callable[_F, Coroutine[Any, Any, _T]], /, *, home: Given = ...
    ) -> tworoutine[_F, _T, Coroutine[Any, Any, _T]]: ...
    @overload
    def __new__(
        cls, fn: Callable[_F, AsyncGenerator[_Y, _S]], /, *, home: Given = ...
    ) -> tworoutine[_F, Generator[_Y, _S], AsyncGenerator[_Y, _S]]: ...
    @overload
    def __new__(
        cls, fn: Callable[_F, Awaitable[_T]], /, *, home: Given = ...
    ) -> tworoutine[_F, _T, Awaitable[_T]]: ...
    @overload
    def __new__(
        cls, fn: Callable[_F, AsyncIterator[_Y]], /, *, home: Given = ...
    ) -> tworoutine[_F, Iterator[_Y], AsyncIterator[_Y]]: ...
    @overload
    def __new__(
        cls,
        fn: Callable[_F, AbstractAsyncContextManager[_T, _X]],
        /,
        *,
        home: Given = ...,
    ) -> tworoutine[
        _F,
        AbstractContextManager[_T, _X],
        AbstractAsyncContextManager[_T, _X],
    ]: ...

    # tworoutine(home=loop), which takes the function
    @overload
    def __new__(cls, *, home: Given) -> _decorator: ...

    # bound, as by types.MethodType
    @overload
    def __new__(
        cls, f: tworoutine[Concatenate[_O, _Q], _T, _U], obj: _O, /
    ) -> _bound[_Q, _T, _U]: ...
    @overload
    def __new__(
        cls, f: Callable[Concatenate[_O, _Q], Awaitable[_T]], obj: _O, /
    ) -> _bound[_Q, _T, Awaitable[_T]]: ...

    # --- the two ways to call ----------------------------------------------
    def __call__(self, /, *args: _P.args, **kwargs: _P.kwargs) -> _R_co: ...
    def __invert__(self) -> Callable[_P, _A_co]: ...
    @property
    def aio(self) -> Callable[_P, _A_co]: ...
    def at(self, loop: Given, /) -> tworoutine[_P, _R_co, _A_co]: ...
    def start(
        self: tworoutine[_P, Any, Awaitable[_T]],
        *args: _P.args,
        **kwargs: _P.kwargs,
    ) -> asyncio.Task[_T]: ...

    # --- binding, with type variables of its own ---------------------------
    # Where self is a Callable its parameters are compared, by each checker;
    # where self is a tworoutine[Concatenate[...], ...] mypy compares nothing,
    # and ty and pyrefly never match.
    # @classmethod above @tworoutine: the first parameter is the class
    @overload
    def __get__(
        self: Callable[Concatenate[type[_C], _Q], Any],
        obj: object,
        owner: type[_C],
        /,
    ) -> _bound[_Q, _R_co, _A_co]: ...
    # a method: on the class
    @overload
    def __get__(
        self, obj: None, owner: type[Any], /
    ) -> tworoutine[_P, _R_co, _A_co]: ...
    # on an instance.  The first is for mypy, which loses the type variables
    # of a generic method in the second.
    @overload
    def __get__(
        self: tworoutine[Concatenate[_O, _Q], _T, _U],
        obj: _O,
        owner: type[Any] | None = None,
        /,
    ) -> _bound[_Q, _T, _U]: ...
    @overload
    def __get__(
        self: Callable[Concatenate[_O, _Q], Any],
        obj: _O,
        owner: type[Any] | None = None,
        /,
    ) -> _bound[_Q, _R_co, _A_co]: ...
    # a static method: on an instance
    @overload
    def __get__(
        self, obj: object, owner: type[Any] | None = None, /
    ) -> tworoutine[_P, _R_co, _A_co]: ...

    # --- fan-out -----------------------------------------------------------
    # Not a property: there mypy refuses the map of a generic function.
    map: _MapOf
    @property
    def as_completed(self: _Function[_I, _T]) -> _AsCompleted[_I, _T]: ...

    # --- what people look at -----------------------------------------------
    __name__: str
    __qualname__: str
    __module__: str
    __doc__: str | None
    __wrapped__: Callable[_P, _A_co]
    __annotations__: dict[str, Any]
    __type_params__: tuple[Any, ...]
    __isabstractmethod__: bool
    __code__: CodeType
    __defaults__: tuple[Any, ...] | None
    __kwdefaults__: dict[str, Any]
    if sys.version_info >= (3, 14):
        __annotate__: Callable[..., dict[str, Any]] | None
    # Any other attribute can be set, as on a function; without a __getattr__
    # a misspelt name is an error.
    def __setattr__(self, name: str, value: Any, /) -> None: ...
    def __copy__(self) -> tworoutine[_P, _R_co, _A_co]: ...
    def __deepcopy__(
        self, memo: dict[int, Any], /
    ) -> tworoutine[_P, _R_co, _A_co]: ...

# A bound access: the same type at run time, and an object of its own here,
# because its parameters no longer begin with self.
@final
@type_check_only
class _bound(tworoutine[_P, _R_co, _A_co]):
    @property
    def __self__(self) -> Any: ...
    @property
    def __func__(self) -> tworoutine[..., _R_co, _A_co]: ...
    def __get__(
        self, obj: object, owner: type[Any] | None = None, /
    ) -> _bound[_P, _R_co, _A_co]: ...

@final
@type_check_only
class _unbinding(tworoutine[_P, _R_co, _A_co]):
    def __get__(
        self, obj: object, owner: type[Any] | None = None, /
    ) -> _bound[_P, _R_co, _A_co]: ...

# At run time a functools.partial.
@final
@type_check_only
class _decorator(tworoutine[..., Any, Any]):
    @overload
    def __call__(
        self, fn: _ClassMethod[_P, Coroutine[Any, Any, _T]], /
    ) -> _unbinding[_P, _T, Coroutine[Any, Any, _T]]: ...
    @overload
    def __call__(
        self, fn: _ClassMethod[_P, AsyncGenerator[_Y, _S]], /
    ) -> _unbinding[_P, Generator[_Y, _S], AsyncGenerator[_Y, _S]]: ...
    @overload
    def __call__(
        self, fn: _ClassMethod[_P, AbstractAsyncContextManager[_T, _X]], /
    ) -> _unbinding[
        _P,
        AbstractContextManager[_T, _X],
        AbstractAsyncContextManager[_T, _X],
    ]: ...
    @overload
    def __call__(
        self, fn: _StaticMethod[_P, Coroutine[Any, Any, _T]], /
    ) -> _unbinding[_P, _T, Coroutine[Any, Any, _T]]: ...
    @overload
    def __call__(
        self, fn: _StaticMethod[_P, AsyncGenerator[_Y, _S]], /
    ) -> _unbinding[_P, Generator[_Y, _S], AsyncGenerator[_Y, _S]]: ...
    @overload
    def __call__(
        self, fn: _StaticMethod[_P, AbstractAsyncContextManager[_T, _X]], /
    ) -> _unbinding[
        _P,
        AbstractContextManager[_T, _X],
        AbstractAsyncContextManager[_T, _X],
    ]: ...
    # functions
    @overload
    def __call__(
        self, fn: Callable[_P, Coroutine[Any, Any, _T]], /
    ) -> tworoutine[_P, _T, Coroutine[Any, Any, _T]]: ...
    @overload
    def __call__(
        self, fn: Callable[_P, AsyncGenerator[_Y, _S]], /
    ) -> tworoutine[_P, Generator[_Y, _S], AsyncGenerator[_Y, _S]]: ...
    @overload
    def __call__(
        self, fn: Callable[_P, Awaitable[_T]], /
    ) -> tworoutine[_P, _T, Awaitable[_T]]: ...
    @overload
    def __call__(
        self, fn: Callable[_P, AsyncIterator[_Y]], /
    ) -> tworoutine[_P, Iterator[_Y], AsyncIterator[_Y]]: ...
    @overload
    def __call__(
        self, fn: Callable[_P, AbstractAsyncContextManager[_T, _X]], /
    ) -> tworoutine[
        _P,
        AbstractContextManager[_T, _X],
        AbstractAsyncContextManager[_T, _X],
    ]: ...

_I_contra = TypeVar("_I_contra", contravariant=True)

# What takes one item, and perhaps optional arguments.
@type_check_only
class _Function(Protocol[_I_contra, _T_co]):
    def __call__(self, item: _I_contra, /) -> _T_co: ...

_Items: TypeAlias = Iterable[_I] | AsyncIterable[_I]

@type_check_only
class _MapAsync(Protocol[_I_contra, _T]):
    @overload
    def __call__(
        self,
        items: _Items[_I_contra],
        *more: _Items[Any],
        limit: int | AbstractAsyncContextManager[Any, Any] | None = None,
        progress: bool = False,
        return_exceptions: Literal[False] = False,
    ) -> Coroutine[Any, Any, list[_T]]: ...
    @overload
    def __call__(
        self,
        items: _Items[_I_contra],
        *more: _Items[Any],
        limit: int | AbstractAsyncContextManager[Any, Any] | None = None,
        progress: bool = False,
        return_exceptions: bool,
    ) -> Coroutine[Any, Any, list[_T | BaseException]]: ...

@type_check_only
class _Map(Protocol[_I_contra, _T]):
    @overload
    def __call__(
        self,
        items: _Items[_I_contra],
        *more: _Items[Any],
        limit: int | AbstractAsyncContextManager[Any, Any] | None = None,
        progress: bool = False,
        return_exceptions: Literal[False] = False,
    ) -> list[_T]: ...
    @overload
    def __call__(
        self,
        items: _Items[_I_contra],
        *more: _Items[Any],
        limit: int | AbstractAsyncContextManager[Any, Any] | None = None,
        progress: bool = False,
        return_exceptions: bool,
    ) -> list[_T | BaseException]: ...
    def __invert__(self) -> _MapAsync[_I_contra, _T]: ...
    @property
    def aio(self) -> _MapAsync[_I_contra, _T]: ...

@final
@type_check_only
class _MapOf:
    @overload
    def __get__(self, f: None, owner: type[Any], /) -> _MapOf: ...
    @overload
    def __get__(
        self, f: Callable[Concatenate[_I, ...], _T], owner: object = None, /
    ) -> _Map[_I, _T]: ...

@type_check_only
class _AsCompletedAsync(Protocol[_I, _T_co]):
    @overload
    def __call__(
        self,
        items: _Items[_I],
        *,
        limit: int | AbstractAsyncContextManager[Any, Any] | None = None,
        return_exceptions: Literal[False] = False,
    ) -> AsyncGenerator[tuple[_I, _T_co]]: ...
    @overload
    def __call__(
        self,
        items: _Items[_I],
        *,
        limit: int | AbstractAsyncContextManager[Any, Any] | None = None,
        return_exceptions: bool,
    ) -> AsyncGenerator[tuple[_I, _T_co | BaseException]]: ...

@type_check_only
class _AsCompleted(Protocol[_I, _T_co]):
    @overload
    def __call__(
        self,
        items: _Items[_I],
        *,
        limit: int | AbstractAsyncContextManager[Any, Any] | None = None,
        return_exceptions: Literal[False] = False,
    ) -> Generator[tuple[_I, _T_co]]: ...
    @overload
    def __call__(
        self,
        items: _Items[_I],
        *,
        limit: int | AbstractAsyncContextManager[Any, Any] | None = None,
        return_exceptions: bool,
    ) -> Generator[tuple[_I, _T_co | BaseException]]: ...
    def __invert__(self) -> _AsCompletedAsync[_I, _T_co]: ...
    @property
    def aio(self) -> _AsCompletedAsync[_I, _T_co]: ...
