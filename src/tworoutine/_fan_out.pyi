from typing import Any

from typing_extensions import TypeVar

_E = TypeVar("_E", bound=Exception, default=Exception)

class FailedCalls(ExceptionGroup[_E]):
    results: list[Any]
