from asyncio import Task
from traceback import FrameSummary
from typing import Any, NamedTuple

from tworoutine._core import tworoutine

class WaitingCall(NamedTuple):
    name: str
    callee: tworoutine[..., Any, Any] | None
    kind: str
    task: Task[Any] | None
    thread: str
    thread_id: int
    age: float | None
    waits_for: object
    caller: FrameSummary | None
    stack: tuple[FrameSummary, ...]
    outer: WaitingCall | None
    holds_up: str | None

def calls() -> list[WaitingCall]: ...
