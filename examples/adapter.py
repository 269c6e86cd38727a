"""The adapter: tuber's own asynchronous client, callable in both idioms."""

import asyncio
import inspect
import types

import tuber

from tworoutine import tworoutine


class Board(tuber.TuberObject):
    """A board: ``board.measure(f)`` and ``await (~board.measure)(f)``."""

    @tworoutine
    async def tuber_resolve(self, force=False):
        await super().tuber_resolve(force)
        lift_connection_limit()

    def _resolve_meta(self, meta):
        super()._resolve_meta(meta)
        for name, method in self._tuber_methods.items():
            if inspect.iscoroutinefunction(method):
                bound = types.MethodType(method, self)
                setattr(self, name, tworoutine(bound))


@tworoutine
async def connect(address):
    """Connect to the board at a "host:port"."""
    board = Board("Board", hostname=address)
    await (~board.tuber_resolve)()
    return board


def lift_connection_limit():
    """Let the running loop use as many connections as there are boards.

    Beware: tuber keeps one aiohttp session on each loop and makes it, with
    the first request, to aiohttp's defaults.  By these only 100 connections
    work at once, whatever limit a fan-out has, and an idle one is dropped
    after 15 s.  Neither has a public setting once the session is there.
    """
    loop = asyncio.get_running_loop()
    connector = loop._tuber_aiohttp_session.connector
    connector._limit = 0  # none
    connector._keepalive_timeout = 600.0  # s
