"""Tornado runs on asyncio's own loops: there is nothing to set up."""

import asyncio
from datetime import timedelta

import pytest

from tworoutine import await_, tworoutine

pytest.importorskip("tornado", reason="needs Tornado")

from tornado import gen, httpclient, httpserver, netutil, web
from tornado.ioloop import IOLoop, PeriodicCallback


@tworoutine
async def nap(seconds=0, result=None):
    await asyncio.sleep(seconds)
    return result


@tworoutine
async def fetch(url):
    return await httpclient.AsyncHTTPClient().fetch(url)


def run(main):
    """Run main in an IOLoop of its own."""
    loop = IOLoop(make_current=False)
    try:
        return loop.run_sync(main)
    finally:
        loop.close(all_fds=True)


class Meeting:
    """A call returns when n have been made."""

    def __init__(self, n):
        self._barrier = asyncio.Barrier(n)

    @tworoutine
    async def meet(self):
        return await self._barrier.wait()


def serve(**handlers):
    """A server on loopback: what to request, and how to stop it."""
    routes = [(f"/{name}", handler) for name, handler in handlers.items()]
    server = httpserver.HTTPServer(web.Application(routes))
    [socket] = netutil.bind_sockets(0, "127.0.0.1")
    server.add_sockets([socket])
    return f"http://127.0.0.1:{socket.getsockname()[1]}/", server


@pytest.mark.parametrize("kind", ["async", "plain", "coroutine"])
def test_handlers(kind):
    """Ten requests that wait for each other, answered by synchronous calls."""

    async def main():
        meeting = Meeting(10)

        class Async(web.RequestHandler):
            async def get(self):
                self.write(str(meeting.meet()))

        class Plain(web.RequestHandler):
            def prepare(self):
                nap(0.001)

            def get(self):
                self.write(str(meeting.meet()))

        class Coroutine(web.RequestHandler):
            @gen.coroutine
            def get(self):
                yield gen.sleep(0.001)
                self.write(str(meeting.meet()))

        url, server = serve(
            **{"async": Async, "plain": Plain, "coroutine": Coroutine}
        )
        # Tornado's client makes ten connections at a time.
        answers = await asyncio.gather(
            *(
                httpclient.AsyncHTTPClient().fetch(url + kind)
                for _ in range(10)
            )
        )
        server.stop()
        await server.close_all_connections()
        return sorted(int(answer.body) for answer in answers)

    assert run(main) == list(range(10))


def test_a_synchronous_client_in_the_loop_of_its_server():
    async def main():
        class Hello(web.RequestHandler):
            def get(self):
                self.write("hello")

        url, server = serve(hello=Hello)
        body = fetch(url + "hello").body
        with pytest.raises(httpclient.HTTPClientError, match="404"):
            fetch(url + "nothing")
        server.stop()
        await server.close_all_connections()
        return body

    assert run(main) == b"hello"


def test_an_error_in_a_handler_is_answered():
    async def main():
        @tworoutine
        async def fails():
            await asyncio.sleep(0)
            raise web.HTTPError(418)

        class Teapot(web.RequestHandler):
            def get(self):
                fails()

        url, server = serve(teapot=Teapot)
        with pytest.raises(httpclient.HTTPClientError, match="418"):
            fetch(url + "teapot")
        server.stop()
        await server.close_all_connections()

    run(main)


def test_callbacks_of_the_ioloop():
    async def main():
        loop, meeting = IOLoop.current(), Meeting(3)
        ended = []

        def callback(name):
            meeting.meet()
            ended.append(name)

        loop.add_callback(callback, "callback")
        loop.call_later(0.001, callback, "later")
        loop.add_future(gen.sleep(0), lambda _: callback("future"))
        while len(ended) < 3:
            nap(0.001)
        return sorted(ended)

    assert run(main) == ["callback", "future", "later"]


def test_spawned_callbacks_and_threads():
    async def main():
        ended = asyncio.Event()

        def callback():
            nap(0.001)
            ended.set()

        IOLoop.current().spawn_callback(callback)
        await ended.wait()
        # A worker thread has a loop of its own.
        return await IOLoop.current().run_in_executor(None, nap, 0, "thread")

    assert run(main) == "thread"


def test_other_periodic_callbacks_go_on_while_one_waits():
    async def main():
        ticks, waits = [], []
        five = asyncio.Event()

        @tworoutine
        async def wait():
            await five.wait()

        def first():
            waits.append("begins")
            wait()
            waits.append("ends")

        def second():
            ticks.append(len(waits))
            if len(ticks) == 5:
                five.set()

        callbacks = [PeriodicCallback(fn, 1) for fn in (first, second)]
        for callback in callbacks:
            callback.start()
        while len(waits) < 2:
            nap(0.001)
        for callback in callbacks:
            callback.stop()
        # As with any callback that takes long, its own next run waits.
        return waits[:2], max(ticks[:5])

    assert run(main) == (["begins", "ends"], 1)


def test_a_periodic_callback_that_calls():
    async def main():
        ticks = []
        five = asyncio.Event()

        def tick():
            ticks.append(nap(0.001, len(ticks)))
            if len(ticks) == 5:
                five.set()

        periodic = PeriodicCallback(tick, 1)
        periodic.start()
        await five.wait()
        periodic.stop()
        return ticks[:5]

    assert run(main) == list(range(5))


def test_generator_coroutines():
    @gen.coroutine
    def old_style(number):
        first = yield gen.sleep(0.001)
        assert first is None
        second = nap(0.001, number)
        third = yield gen.maybe_future(nap(0, 1))
        return second + third

    async def main():
        # Tornado's Runner is a plain callback; its futures are asyncio's.
        overlapping = await gen.multi([old_style(n) for n in range(10)])
        return overlapping, await_(old_style(10))

    assert run(main) == (list(range(1, 11)), 11)


def test_timeouts_and_cancellation_of_tornado():
    cleaned = []

    @tworoutine
    async def blocks():
        try:
            await asyncio.Event().wait()
        finally:
            cleaned.append("finally")

    async def main():
        with pytest.raises(gen.TimeoutError):
            await_(
                gen.with_timeout(
                    timedelta(milliseconds=1), asyncio.Event().wait()
                )
            )
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.create_task(caller()), 0.001)

    async def caller():
        blocks()

    run(main)
    assert cleaned == ["finally"]
