"""What f.map and f.as_completed are given: items, and a limit.

The items are taken as rows: the arguments of one call each, a tuple.
"""

import asyncio
import inspect
import operator


class Rows:
    """The rows of several iterables, as zip() takes them, with their numbers.

    is_async: whether one of them is an async iterable; then the rows are taken
        by take_async(), and else by take().
    """

    def __init__(self, method, iterables):
        self.is_async = any(_is_async(each) for each in iterables)
        if self.is_async:
            self._iterators = [_async_iterator(method, i) for i in iterables]
        else:
            iterators = [_iterator(method, each) for each in iterables]
            self._rows = zip(*iterators, strict=False)
        self._index = -1

    def take(self):
        """The next row: (index, row), or None."""
        row = next(self._rows, None)
        return None if row is None else self._numbered(row)

    async def take_async(self):
        row = []
        for each in self._iterators:
            try:
                row.append(await anext(each))
            except StopAsyncIteration:
                return None
        return self._numbered(tuple(row))

    def _numbered(self, row):
        self._index += 1
        return self._index, row


def item_of(row):
    """How a row is named: an item, or the tuple of several."""
    return row[0] if len(row) == 1 else row


def length_of(iterables):
    """How many rows there are going to be; None: not known."""
    if all(hasattr(each, "__len__") for each in iterables):
        return min(len(each) for each in iterables)
    return None


def _is_async(items):
    return hasattr(items, "__aiter__") and not hasattr(items, "__iter__")


def _iterator(method, items):
    try:
        return iter(items)
    except TypeError:
        if hasattr(items, "__iter__"):
            raise  # of its own
    advice = ""
    if asyncio.iscoroutine(items):
        advice = "; await it first"
        close_new(items)
    elif isinstance(items, int):
        advice = f": limit={items} has as many at once, range({items}) counts"
    raise TypeError(f"{method} takes an iterable, not {items!r}{advice}")


def _async_iterator(method, items):
    if _is_async(items):
        return items.__aiter__()
    return _Async(_iterator(method, items))


class _Async:
    """An iterator, for anext()."""

    def __init__(self, iterator):
        self._iterator = iterator

    async def __anext__(self):
        for item in self._iterator:
            return item
        raise StopAsyncIteration


def refuse_async(method, rows, library):
    """TypeError where only asyncio has the means."""
    if rows.is_async:
        raise TypeError(
            f"{method} takes an async iterable only where asyncio runs, not "
            f"{library}; collect its items first: [item async for item in ...]"
        )


def limit_of(method, limit):
    """A number or None, and what is entered by ``async with`` or None."""
    if limit is None:
        return None, None
    if hasattr(limit, "__aenter__") and hasattr(limit, "__aexit__"):
        return None, limit
    try:
        number = operator.index(limit)
    except TypeError:
        number = None
    if number is None or isinstance(limit, bool):
        raise TypeError(
            f"{method}: limit must be an int, None, or a limiter for async "
            f"with, as asyncio.Semaphore, not {limit!r}"
        )
    if number < 1:
        raise ValueError(f"{method}: limit must be at least 1, not {limit!r}")
    return number, None


def close_new(coro):
    """Close a coroutine that nobody has begun."""
    if (
        asyncio.iscoroutine(coro)
        and inspect.getcoroutinestate(coro) == inspect.CORO_CREATED
    ):
        coro.close()
