from tworoutine._core import CannotSuspend as CannotSuspend
from tworoutine._core import await_ as await_
from tworoutine._core import tworoutine as tworoutine
from tworoutine._core import why_no_handoff as why_no_handoff

__all__ = ["CannotSuspend", "await_", "tworoutine"]
__version__: str
