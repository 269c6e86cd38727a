from asyncio import AbstractEventLoop
from collections.abc import Callable
from types import TracebackType
from typing import Self, TypeAlias

Given: TypeAlias = (
    AbstractEventLoop
    | LoopThread
    | Callable[[], AbstractEventLoop]
    | Callable[[], LoopThread]
)

class LoopThread:
    def __init__(self, name: str | None = None) -> None: ...
    @property
    def loop(self) -> AbstractEventLoop: ...
    def close(self) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None: ...

class home:
    def __init__(self, loop: Given, /) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None: ...
