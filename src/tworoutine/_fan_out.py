"""f.map and f.as_completed.

_fan_out_calls.py makes the calls under asyncio, _fan_out_hosts.py under trio
and curio; the rest is the same everywhere.
"""

import asyncio

from tworoutine._core import home_of, tworoutine
from tworoutine._fan_out_calls import Ended, error_of
from tworoutine._fan_out_items import length_of
from tworoutine._names import name_of
from tworoutine._portal import foreign_library


class BaseFailedCalls(BaseExceptionGroup):
    """FailedCalls, where one of the errors is no Exception."""

    results = ()

    def derive(self, errors):
        """As split(), subgroup() and except* make their groups."""
        group = _group_of(self.message, errors)
        group.results = self.results
        return group


class FailedCalls(BaseFailedCalls, ExceptionGroup):
    """The ExceptionGroup that f.map raises.

    results: what the other calls returned, a list in the order of the items;
        also in the groups that split(), subgroup() and except* make of this
        one.
    """


def _group_of(message, errors):
    if all(isinstance(error, Exception) for error in errors):
        return FailedCalls(message, errors)
    return BaseFailedCalls(message, errors)


for each in (BaseFailedCalls, FailedCalls):
    each.__module__ = "tworoutine"


def fan_out_map(f):
    """``f.map``, itself a tworoutine."""

    async def map(
        items, *more, limit=None, progress=False, return_exceptions=False
    ):
        iterables = (items, *more)
        ended = _ended(f, "map", iterables, limit)
        total = length_of(iterables)
        results, errors = {}, {}
        bar = _progress_bar(f, total) if progress else None
        try:
            while (call := await ended.next()) is not None:
                index, item, task = call
                error = error_of(task)
                if error is None:
                    results[index] = task.result()
                elif return_exceptions:
                    results[index] = error
                else:
                    error.add_note(f"in {name_of(f)}.map, on {item!r}")
                    errors[index] = error
                if bar is not None:
                    bar.update()
        except (asyncio.CancelledError, KeyboardInterrupt) as exc:
            done = len(results) + len(errors) + ended.ahead()
            of = "" if total is None else f" of {total}"
            exc.add_note(f"in {name_of(f)}.map: {done}{of} done")
            raise
        finally:
            if bar is not None:
                bar.close()
            await ended.cancel_rest()
        if errors:
            group = _group_of(
                f"{len(errors)} of {len(errors) + len(results)} calls of "
                f"{name_of(f)} failed",
                _in_order(errors),
            )
            group.results = _in_order(results)
            raise group
        return _in_order(results)

    return _as_method_of(f, map)


def fan_out_as_completed(f):
    """``f.as_completed``, itself a tworoutine."""

    async def as_completed(items, *, limit=None, return_exceptions=False):
        ended = _ended(f, "as_completed", (items,), limit)
        try:
            while (call := await ended.next()) is not None:
                _, item, task = call
                error = error_of(task)
                if return_exceptions and error is not None:
                    yield item, error
                    continue
                if error is not None:
                    error.add_note(
                        f"in {name_of(f)}.as_completed, on {item!r}"
                    )
                yield item, task.result()
        finally:
            await ended.cancel_rest()

    return _as_method_of(f, as_completed)


def _ended(f, method, iterables, limit):
    """Who makes the calls, by the library that runs this thread."""
    loop = asyncio._get_running_loop()
    if loop is None or asyncio.current_task(loop) is None:
        library = foreign_library()
        if library is not None:
            from tworoutine import _fan_out_hosts

            return _fan_out_hosts.IN[library](f, method, iterables, limit)
    return Ended(f, method, iterables, limit)


def _in_order(by_index):
    return [by_index[index] for index in sorted(by_index)]


def _as_method_of(f, fn):
    fn.__qualname__ = f"{name_of(f)}.{fn.__name__}"
    fn.__module__ = getattr(f, "__module__", None)
    fn.__doc__ = getattr(tworoutine, fn.__name__).__doc__
    home = home_of(f)
    return tworoutine(fn) if home is None else tworoutine(fn, home=home)


def _progress_bar(f, total):
    try:
        from tqdm.auto import tqdm
    except ImportError as exc:
        raise ImportError(
            f"{name_of(f)}.map(): progress=True needs tqdm: pip install tqdm"
        ) from exc

    class Bar(tqdm):
        monitor_interval = 0  # no thread beside the loop's

    return Bar(total=total, desc=getattr(f, "__name__", None))
