from typing import Any, TypeVar

_E = TypeVar("_E", bound=Exception)

class FailedCalls(ExceptionGroup[_E]):
    results: list[Any]
