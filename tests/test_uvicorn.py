"""Handlers of FastAPI and Starlette that make calls, served by uvicorn.

On asyncio there is nothing to set up.  On uvloop one line is needed: either
the server is run by tworoutine.run, or the application's lifespan sets the
task factory.  The server runs in a thread, and is asked by httpx.
"""

import asyncio
import contextlib
import threading

import pytest

import tworoutine as two
from tworoutine import CannotSuspend, tworoutine

uvicorn = pytest.importorskip("uvicorn", reason="needs uvicorn")
httpx = pytest.importorskip("httpx", reason="needs httpx")
fastapi = pytest.importorskip("fastapi", reason="needs FastAPI")
pytest.importorskip("uvloop", reason="needs uvloop")

N = 20


@tworoutine
async def nap(seconds=0.001, result=None):
    return await asyncio.sleep(seconds, result)


@contextlib.asynccontextmanager
async def lifespan(app):
    asyncio.get_running_loop().set_task_factory(two.task_factory)
    yield


def application(lifespan=None):
    app = fastapi.FastAPI(lifespan=lifespan)
    barrier = asyncio.Barrier(N)

    @tworoutine
    async def meet():
        return await barrier.wait()

    def board(number: int):
        """A dependency, run in a thread: that has a loop of its own."""
        return nap(0.001, number)

    async def twice(number: int):
        return nap(0.001, 2 * number)

    @app.get("/meet")
    async def all_meet():
        return meet()

    @app.get("/plain/{number}")
    def plain(number: int):
        return nap(0.001, number)

    @app.get("/depends/{number}")
    async def depends(
        one: int = fastapi.Depends(board), two: int = fastapi.Depends(twice)
    ):
        return one + two

    @app.get("/refused")
    async def refused():
        try:
            return nap(0.001, "served")
        except CannotSuspend as exc:
            return str(exc)

    @app.get("/stream")
    async def stream():
        @tworoutine
        async def count():
            for i in range(3):
                await asyncio.sleep(0)
                yield str(i)

        async def body():
            for item in count():
                yield item

        return fastapi.responses.StreamingResponse(body())

    return app


class Server(uvicorn.Server):
    def __init__(self, app, loop):
        config = uvicorn.Config(
            app, port=0, loop=loop, log_level="critical", ws="none"
        )
        super().__init__(config)
        self.up = threading.Event()

    async def startup(self, sockets=None):
        await super().startup(sockets)
        self.up.set()

    @property
    def url(self):
        port = self.servers[0].sockets[0].getsockname()[1]
        return f"http://127.0.0.1:{port}"


@contextlib.contextmanager
def serving(app, loop, run=None):
    """The address of app while it is served in a thread."""
    server = Server(app, loop)

    def target():
        run(server) if run else server.run()

    thread = threading.Thread(target=target)
    thread.start()
    try:
        assert server.up.wait(30)
        if not hasattr(server.config, "get_loop_factory"):
            # Before 0.36 it makes uvloop the loop of the whole process.
            asyncio.set_event_loop_policy(None)
        yield server.url
    finally:
        server.should_exit = True
        thread.join()


def by_run(server):
    import uvloop

    two.run(server.serve(), loop_factory=uvloop.new_event_loop)


SERVERS = {
    "asyncio": (None, "asyncio", None),
    "uvloop-lifespan": (lifespan, "uvloop", None),
    "uvloop-run": (None, "uvloop", by_run),
}


@pytest.fixture(params=SERVERS)
def url(request):
    lifespan, loop, run = SERVERS[request.param]
    with serving(application(lifespan), loop, run) as url:
        yield url


def test_requests_that_wait_for_each_other(url):
    async def main():
        limits = httpx.Limits(max_connections=N)
        async with httpx.AsyncClient(
            base_url=url, limits=limits, timeout=90
        ) as client:
            answers = await asyncio.gather(
                *(client.get("/meet") for _ in range(N))
            )
            return sorted(answer.json() for answer in answers)

    assert asyncio.run(main()) == list(range(N))


def test_kinds_of_handlers(url):
    with httpx.Client(base_url=url, timeout=90) as client:
        assert client.get("/plain/7").json() == 7
        assert client.get("/depends/7").json() == 21
        assert client.get("/refused").json() == "served"
        assert client.get("/stream").text == "012"


def test_on_uvloop_without_the_line_calls_are_refused():
    with (
        serving(application(), "uvloop") as url,
        httpx.Client(base_url=url, timeout=90) as client,
    ):
        assert "uvloop.Loop" in client.get("/refused").json()
        # Where FastAPI uses threads, these have loops of their own.
        assert client.get("/plain/7").json() == 7


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_the_lifespan_calls_after_its_yield(loop):
    """In a task that was there before the line was run."""
    said = []

    @contextlib.asynccontextmanager
    async def calls_at_the_end(app):
        async with lifespan(app):
            yield
        said.append(nap(0.001, "closed"))
        try:
            said.append(nap(0, "once more"))
        finally:
            said.append(await (~nap)(0, "awaited"))

    with (
        serving(application(calls_at_the_end), loop) as url,
        httpx.Client(base_url=url, timeout=90) as client,
    ):
        assert client.get("/plain/7").json() == 7
    assert said == ["closed", "once more", "awaited"]


def test_the_client_too_may_call(url):
    @tworoutine
    async def get(client, path):
        return (await client.get(path)).json()

    async def main():
        async with httpx.AsyncClient(base_url=url, timeout=90) as client:
            return [get(client, f"/depends/{n}") for n in range(5)]

    assert asyncio.run(main()) == [0, 3, 6, 9, 12]
