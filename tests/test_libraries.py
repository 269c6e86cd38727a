"""Libraries that know asyncio well: anyio, aiohttp, httpx; and every task.

A test that takes the fixture ``way`` is run twice: with synchronous calls,
``await way(f, x)`` being f(x), and with plain awaits, which the calls have to
equal.
"""

import asyncio
import contextlib
import contextvars
import functools
import sys
import threading

import aiohttp
import anyio
import anyio.from_thread
import anyio.to_thread
import httpx
import pytest
import trio
from aiohttp import web

import tworoutine as package
from tworoutine import await_, portal, tworoutine


@tworoutine
async def nap(seconds=0.001):
    await asyncio.sleep(seconds)
    return seconds


@tworoutine
async def wait(event):
    await event.wait()


async def called(f, *args):
    return f(*args)


async def awaited(f, *args):
    return await (~f)(*args)


@pytest.fixture(params=[called, awaited], ids=lambda way: way.__name__)
def way(request):
    return request.param


@pytest.fixture(params=[False, True], ids=["", "debug"])
def debug(request):
    return request.param


def run(main, *, debug=None):
    return asyncio.run(asyncio.wait_for(main(), 20), debug=debug)


def cancels():
    return asyncio.current_task().cancelling()


# --- tasks of every kind ----------------------------------------------------


def eager(kind):
    def make(coro):
        return kind(coro, loop=asyncio.get_running_loop(), eager_start=True)

    return make


def late(kind):
    def make(coro):
        return kind(coro, loop=asyncio.get_running_loop())

    return make


TASKS = {
    "create_task": lambda coro: asyncio.get_running_loop().create_task(coro),
    "Task": late(asyncio.Task),
    "PyTask": late(asyncio.tasks._PyTask),
}
if sys.version_info >= (3, 12):
    TASKS["eager Task"] = eager(asyncio.Task)
    TASKS["eager PyTask"] = eager(asyncio.tasks._PyTask)
if sys.version_info >= (3, 14):
    # current_task() of 3.14 knows C tasks only
    TASKS = {k: v for k, v in TASKS.items() if "Py" not in k}


@pytest.fixture(params=TASKS, ids=lambda kind: kind.replace(" ", "-"))
def new_task(request):
    return TASKS[request.param]


@pytest.mark.parametrize("prepared", [False, True])
def test_cancel_counts_in_any_task(new_task, debug, prepared):
    async def victim(way, event, log):
        await asyncio.sleep(0)  # an eager task gives its creator back
        me = asyncio.current_task()
        try:
            await way(wait, event)
        except asyncio.CancelledError as exc:
            log += [exc.args, cancels()]
            await way(nap)  # cleanup may wait
            log.append(me.uncancel())
        try:
            async with asyncio.timeout(0.001):
                await way(wait, event)
        except TimeoutError:
            log += ["timeout", cancels()]
        await way(nap)
        assert asyncio.current_task() is me
        me.cancel("self")
        await way(nap)

    async def main(way):
        if prepared:
            nap(0)
        log = []
        task = new_task(victim(way, asyncio.Event(), log))
        for _ in range(3):
            await asyncio.sleep(0)
        assert task.cancel("first") and task.cancel("second")
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        assert task.cancelled()
        return log, caught.value.args

    log, args = run(functools.partial(main, awaited), debug=debug)
    if sys.version_info >= (3, 11, 3):
        assert log[1:] == [2, 1, "timeout", 1]
        assert args == ("self",)
    else:  # asyncio.timeout does not end in TimeoutError there
        assert (log[1:], args) == ([2, 1], ())
    assert run(functools.partial(main, called), debug=debug) == (log, args)


def test_a_task_group_in_any_task(way, new_task, debug):
    async def victim(event, log):
        try:
            await way(wait, event)
        finally:
            await way(nap)
            log.append("finally")

    @tworoutine
    async def group(event, log):
        async with asyncio.TaskGroup() as group:
            for _ in range(3):
                group.create_task(victim(event, log))
            await way(nap)
            group.create_task(fails())
            await way(wait, event)

    async def fails():
        await way(nap)
        raise ValueError("one")

    async def outer(log):
        await asyncio.sleep(0)
        with pytest.raises(ExceptionGroup) as caught:
            await way(group, asyncio.Event(), log)
        log.append(repr(caught.value.exceptions))
        log.append(cancels())
        await way(nap)
        return log

    async def main():
        return await new_task(outer([]))

    assert run(main, debug=debug) == [
        *["finally"] * 3, "(ValueError('one'),)", 0,
    ]  # fmt: skip


@pytest.mark.skipif(
    sys.version_info < (3, 12), reason="no eager tasks before 3.12"
)
@pytest.mark.parametrize("kind", [asyncio.Task, asyncio.tasks._PyTask])
def test_a_call_in_the_first_step_of_an_eager_task(kind, debug):
    """It holds up its creator, whose cancel has to wait as well."""

    async def first(started):
        started.set()
        try:
            async with asyncio.timeout(0.01):
                nap(60)
        except TimeoutError:
            nap(0.01)
            return asyncio.current_task(), cancels()

    async def creator(started):
        me = asyncio.current_task()
        task = eager(kind)(first(started))
        assert asyncio.current_task() is me
        assert task.done() and await task == (task, 0)
        await asyncio.sleep(60)

    async def main():
        started = asyncio.Event()
        task = asyncio.create_task(creator(started))
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return nap()

    run(main, debug=debug)


def test_ten_tasks_of_every_kind_among_each_other(debug):
    async def one(number):
        await asyncio.sleep(0)
        me = asyncio.current_task()
        for turn in range(10):
            nap(0.0005 * ((number + turn) % 3))
            await asyncio.sleep(0)
            assert asyncio.current_task() is me
        return number

    async def main():
        makers = list(TASKS.values()) * 10
        tasks = [make(one(n)) for n, make in enumerate(makers)]
        assert await asyncio.gather(*tasks) == list(range(len(makers)))

    run(main, debug=debug)


# --- anyio ------------------------------------------------------------------


def test_anyio_scopes_around_a_call(way, debug):
    async def main():
        with anyio.move_on_after(0.01) as scope:
            await way(nap, 60)
        assert scope.cancelled_caught
        with pytest.raises(TimeoutError):
            with anyio.fail_after(0.01):
                await way(nap, 60)
        with anyio.move_on_after(60) as outer, anyio.move_on_after(0.01):
            await way(nap, 60)
        assert not outer.cancelled_caught
        with anyio.move_on_after(0.01) as outer, anyio.move_on_after(60):
            await way(nap, 60)
        assert outer.cancelled_caught
        with anyio.CancelScope() as scope:
            asyncio.get_running_loop().call_later(0.001, scope.cancel)
            await way(nap, 60)
        assert scope.cancelled_caught
        assert cancels() == 0
        await asyncio.sleep(0)
        return await way(nap)

    assert run(main, debug=debug) == 0.001


def test_anyio_scopes_inside_a_call(place):
    @tworoutine
    async def limited():
        with anyio.move_on_after(0.01) as scope:
            nap(60)
        with pytest.raises(TimeoutError), anyio.fail_after(0.01):
            await asyncio.sleep(60)
        nap()
        return scope.cancelled_caught, cancels()

    assert place(limited) == (True, 0)


def test_anyio_scopes_across_calls(way):
    """A scope of the caller, cancelled by the callee, and the reverse."""

    @tworoutine
    async def cancel(scope, log):
        scope.cancel()
        log.append("cancelled")
        try:
            await way(nap, 60)
        finally:
            with anyio.CancelScope(shield=True):
                log.append(await way(nap))
            with anyio.move_on_after(60):
                log.append("again")
                await way(nap, 60)

    @tworoutine
    async def hold(task_status):
        with anyio.CancelScope() as scope:
            task_status.set_result(scope)
            await way(wait, asyncio.Event())
        return scope.cancelled_caught

    async def main():
        log = []
        with anyio.CancelScope() as scope:
            await way(cancel, scope, log)
            log.append("never")
        assert scope.cancelled_caught
        assert log == ["cancelled", 0.001, "again"]
        scope = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(way(hold, scope))
        (await scope).cancel()
        assert await task
        return cancels()

    assert run(main) == 0


def test_an_anyio_shield_inside_a_call(way, debug):
    log = []

    @tworoutine
    async def shielded():
        with anyio.CancelScope(shield=True):
            log.append(await way(nap, 0.02))
        try:
            await way(nap, 60)
        finally:
            with anyio.CancelScope(shield=True):
                log.append(await way(nap, 0.002))

    async def main():
        with anyio.move_on_after(0.005) as scope:
            await way(shielded)
            log.append("never")
        assert scope.cancelled_caught
        assert log == [0.02, 0.002]
        return cancels()

    assert run(main, debug=debug) == 0


def test_an_anyio_task_group(place):
    @tworoutine
    async def grouped(log):
        async def worker(number, *, task_status=anyio.TASK_STATUS_IGNORED):
            nap()
            task_status.started(number)
            try:
                nap(60)
            finally:
                with anyio.CancelScope(shield=True):
                    nap()
                log.append(number)

        async def fails():
            nap(0.002)
            raise ValueError("one")

        try:
            async with anyio.create_task_group() as group:
                for number in range(3):
                    assert await group.start(worker, number) == number
                group.start_soon(fails)
                nap(60)
        except* ValueError as caught:
            log.append(len(caught.exceptions))
        async with anyio.create_task_group() as group:
            assert await group.start(worker, 3) == 3
            group.cancel_scope.cancel()
        return nap(), cancels()

    log = []
    assert place(lambda: grouped(log)) == (0.001, 0)
    assert sorted(log[:3]) == [0, 1, 2]
    assert log[3:] == [1, 3]


def test_anyio_locks_belong_to_the_task(way):
    """A lock taken in a call is held by the caller's task, and given back."""

    @tworoutine
    async def acquire(lock):
        await lock.acquire()

    async def one(lock, inside):
        await way(acquire, lock)
        try:
            inside.append(1)
            assert len(inside) == 1
            await way(nap)
        finally:
            inside.pop()
            lock.release()

    async def main():
        lock, inside = anyio.Lock(), []
        limiter = anyio.CapacityLimiter(1)

        @tworoutine
        async def limited():
            async with limiter:
                inside.append(1)
                assert len(inside) == 1
                await way(nap)
                inside.pop()

        await asyncio.gather(*(one(lock, inside) for _ in range(5)))
        await asyncio.gather(*(way(limited) for _ in range(5)))
        with pytest.raises(RuntimeError, match="already held"):
            await way(acquire, lock)
            await way(acquire, lock)

    run(main)


def test_anyio_sees_that_a_task_is_blocked(way):
    async def main():
        send, receive = anyio.create_memory_object_stream(0)
        got = []

        async def consumer():
            while True:
                try:
                    got.append(await way(tworoutine(receive.receive)))
                except anyio.EndOfStream:
                    return

        async with send, receive, anyio.create_task_group() as group:
            group.start_soon(consumer)
            await anyio.wait_all_tasks_blocked()
            send.send_nowait(1)  # somebody is waiting for it
            await way(tworoutine(send.send), 2)
            await anyio.wait_all_tasks_blocked()
            send.close()
        return got

    assert run(main) == [1, 2]


def test_anyio_threads():
    @tworoutine
    async def in_loop(number):
        await asyncio.sleep(0)
        return number, threading.get_ident()

    def in_worker(main_thread):
        """Calls in the worker, and in the loop's thread from there."""
        assert in_loop(1) == (1, threading.get_ident())
        assert anyio.from_thread.run(~in_loop, 2) == (2, main_thread)
        assert anyio.from_thread.run_sync(in_loop, 3) == (3, main_thread)
        return in_loop(4)[0]

    @tworoutine
    async def offload():
        return await anyio.to_thread.run_sync(in_worker, threading.get_ident())

    async def main():
        results = await asyncio.gather(
            *(asyncio.to_thread(nap) for _ in range(3))
        )
        assert results == [0.001] * 3
        with anyio.move_on_after(0.001) as scope:
            in_loop.map(range(3))
            await anyio.to_thread.run_sync(
                functools.partial(nap, 0.05), abandon_on_cancel=True
            )
        assert scope.cancelled_caught
        return offload(), await (~offload)()

    assert anyio.run(main) == (4, 4)
    assert offload() == 4


def test_an_anyio_portal():
    with anyio.from_thread.start_blocking_portal() as portal:
        assert portal.call(nap) == 0.001
        assert portal.call(~nap) == 0.001
        event = portal.call(asyncio.Event)
        futures = [portal.start_task_soon(wait, event) for _ in range(5)]
        assert portal.call(nap) == 0.001
        futures[0].cancel()
        portal.call(event.set)
        for future in futures[1:]:
            assert future.result(10) is None
        assert futures[0].cancelled()
        assert nap() == 0.001  # here, in a loop of our own


# --- trio's threads ----------------------------------------------------------

VAR = contextvars.ContextVar("VAR")


def from_trio_thread(back):
    trio.from_thread.run(back)


def from_anyio_thread(back):
    anyio.from_thread.run(back)


async def there_and_back(run_sync, run):
    """What is seen of VAR in a thread's task, and here afterwards."""
    seen = []

    async def back():
        await trio.lowlevel.checkpoint()
        seen.append(VAR.get())
        VAR.set("back")

    def thread():
        VAR.set("thread")
        run(back)

    token = VAR.set("here")
    await run_sync(thread)
    seen.append(VAR.get())
    VAR.reset(token)
    return *seen, VAR.get()


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize(
    "run_sync, run",
    [
        (trio.to_thread.run_sync, from_trio_thread),
        (anyio.to_thread.run_sync, from_anyio_thread),
    ],
    ids=["trio", "anyio"],
)
def test_trio_may_change_the_context_between_two_steps(run_sync, run, times):
    """As it does for what a thread has it run in the task that waits."""

    async def main(wait):
        VAR.set("before")
        return [await wait(run_sync, run) for _ in range(times)]

    async def call(*args):
        return tworoutine(there_and_back)(*args)

    async def call_below_a_call(*args):
        return await_(call(*args))

    expected = [("thread", "here", "before")] * times
    assert trio.run(main, there_and_back) == expected
    for way in (call, call_below_a_call, there_and_back):
        assert trio.run(portal(main), way) == expected


def test_a_context_entered_by_hand_stays_above_the_one_of_the_step():
    async def wait():
        VAR.set("inside")
        await trio.to_thread.run_sync(trio.from_thread.run, trio.sleep, 0)
        return VAR.get()

    async def main():
        VAR.set("outside")
        inner = contextvars.copy_context()
        assert inner.run(await_, wait()) == "inside"
        assert (inner[VAR], VAR.get()) == ("inside", "outside")
        return True

    assert trio.run(portal(main))


# --- aiohttp ----------------------------------------------------------------


@tworoutine
async def fetch(session, url, **kwargs):
    async with session.get(url, **kwargs) as response:
        response.raise_for_status()
        return await response.text()


class Site:
    """A site all of whose handlers make synchronous calls."""

    def __init__(self, **kwargs):
        self.arrived = asyncio.Event()
        self.release = asyncio.Event()
        self.ended = asyncio.Event()
        self.gives_back = False
        self.log = []
        self.kwargs = kwargs
        self.peers = set()

    def middleware(self):
        @web.middleware
        async def middleware(request, handler):
            if self.gives_back:
                await asyncio.sleep(0)
            nap(0)
            self.peers.add(request.transport.get_extra_info("peername"))
            response = await handler(request)
            nap(0)
            return response

        return middleware

    async def hello(self, request):
        nap(0.001 * (int(request.query.get("n", 0)) % 3))
        return web.Response(text="hello " + request.query.get("n", ""))

    async def blocked(self, request):
        self.arrived.set()
        try:
            wait(self.release)
        except asyncio.CancelledError:
            self.log.append("cancelled")
            raise
        finally:
            nap()
            self.log.append("finally")
            self.ended.set()
        return web.Response(text="released")

    async def missing(self, request):
        @tworoutine
        async def find():
            await asyncio.sleep(0)
            raise web.HTTPNotFound(text="gone")

        return find()

    async def stream(self, request):
        response = web.StreamResponse()
        await_(response.prepare(request))
        write = tworoutine(response.write)
        for number in range(3):
            write(b"%d\n" % number)
            nap()
        await_(response.write_eof())
        return response

    async def socket(self, request):
        ws = web.WebSocketResponse()
        await_(ws.prepare(request))
        receive, send = tworoutine(ws.receive), tworoutine(ws.send_str)
        while (message := receive()).type is aiohttp.WSMsgType.TEXT:
            nap()
            send(message.data.upper())
        return ws

    @contextlib.asynccontextmanager
    async def __call__(self):
        app = web.Application(middlewares=[self.middleware()])
        for name in ["hello", "blocked", "missing", "stream", "socket"]:
            app.router.add_get("/" + name, getattr(self, name))

        async def context(app):
            nap()
            yield
            nap()
            self.log.append("closed")

        app.cleanup_ctx.append(context)
        runner = web.AppRunner(app, **self.kwargs)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.address = runner.addresses[0]
        self.url = "http://{}:{}/".format(*self.address)
        try:
            yield self
        finally:
            await runner.cleanup()


async def use_site(way):
    async with Site()() as site, aiohttp.ClientSession() as session:
        hello = site.url + "hello?n="
        texts = await asyncio.gather(
            *(way(fetch, session, f"{hello}{n}") for n in range(30))
        )
        assert texts == [f"hello {n}" for n in range(30)]
        # A handler that waits holds up no other.
        blocked = asyncio.create_task(
            way(fetch, session, site.url + "blocked")
        )
        await site.arrived.wait()
        assert await way(fetch, session, hello + "1") == "hello 1"
        assert not blocked.done()
        site.release.set()
        assert await blocked == "released"
        with pytest.raises(aiohttp.ClientResponseError) as caught:
            await way(fetch, session, site.url + "missing")
        assert caught.value.status == 404
        text = await way(fetch, session, site.url + "stream")
        assert text.split() == ["0", "1", "2"]
    assert site.log == ["finally", "closed"]


def test_aiohttp_handlers_and_clients(way, debug):
    run(lambda: use_site(way), debug=debug)


def test_aiohttp_on_uvloop_without_a_middleware(way):
    """Its tasks are made past the factory; tworoutine.run serves all."""
    uvloop = pytest.importorskip("uvloop")
    package.run(use_site(way), loop_factory=uvloop.new_event_loop)


def test_aiohttp_timeouts_of_a_call(way):
    """Its own, and one around it; the session lives on."""

    async def main():
        async with Site()() as site, aiohttp.ClientSession() as session:
            blocked = site.url + "blocked"
            impatient = tworoutine(
                functools.partial(
                    ~fetch,
                    session,
                    blocked,
                    timeout=aiohttp.ClientTimeout(total=0.05),
                )
            )
            with pytest.raises(TimeoutError):
                await way(impatient)
            assert cancels() == 0
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await way(fetch, session, blocked)
            assert cancels() == 0
            site.release.set()
            assert await way(fetch, session, blocked) == "released"

    run(main)


@pytest.mark.parametrize("gives_back", [True, False])
def test_aiohttp_cancels_a_handler_that_waits(gives_back):
    """When its client leaves, and when the site is closed."""

    async def ask(site):
        reader, writer = await asyncio.open_connection(*site.address)
        writer.write(b"GET /blocked HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await site.arrived.wait()
        site.arrived.clear()
        return reader, writer

    async def main():
        site = Site(handler_cancellation=True, shutdown_timeout=0.01)
        site.gives_back = gives_back
        async with site():
            _, writer = await ask(site)
            writer.close()
            await writer.wait_closed()
            with anyio.move_on_after(10 if served else 0.3):
                await site.ended.wait()
            left = list(site.log)
            site.log.clear()
            reader, writer = await ask(site)
        cancelled = "cancelled" in site.log
        site.release.set()
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()
        return left, cancelled

    served = gives_back or sys.version_info < (3, 12)
    assert run(main) == (["cancelled", "finally"], True)


def test_an_aiohttp_websocket(way):
    async def main():
        async with Site()() as site, aiohttp.ClientSession() as session:

            async def talk(number):
                async with session.ws_connect(site.url + "socket") as ws:
                    for turn in range(3):
                        await way(tworoutine(ws.send_str), f"a{number}{turn}")
                        got = await way(tworoutine(ws.receive_str))
                        assert got == f"A{number}{turn}"

            await asyncio.gather(*(talk(n) for n in range(10)))

    run(main)


def test_an_aiohttp_session_kept_between_calls_without_a_loop():
    @tworoutine
    async def start():
        stack = contextlib.AsyncExitStack()
        site = await stack.enter_async_context(Site()())
        session = await stack.enter_async_context(aiohttp.ClientSession())
        return stack, site, session

    @tworoutine
    async def connect(session, url):
        return await session.ws_connect(url)

    def calls():
        stack, site, session = start()
        hello = site.url + "hello?n="
        for number in range(5):
            assert fetch(session, f"{hello}{number}") == f"hello {number}"
        assert len(site.peers) == 1  # one connection served them all
        urls = [f"{hello}{number}" for number in range(20)]
        texts = tworoutine(functools.partial(~fetch, session)).map(urls)
        assert texts == [f"hello {number}" for number in range(20)]
        ws = connect(session, site.url + "socket")
        for text in ["one", "two"]:
            await_(ws.send_str(text))
            assert await_(ws.receive_str()) == text.upper()
        await_(ws.close())
        await_(stack.aclose())
        return site.log

    results = []
    thread = threading.Thread(target=lambda: results.append(calls()))
    thread.start()
    thread.join(30)
    assert results == [["closed"]]


# --- httpx ------------------------------------------------------------------


async def asgi(scope, receive, send):
    """A small ASGI application that makes synchronous calls."""
    receive, send = tworoutine(receive), tworoutine(send)
    nap()
    body = receive()["body"].upper()
    send({"type": "http.response.start", "status": 200, "headers": []})
    for byte in body:
        nap(0)
        send(
            {
                "type": "http.response.body",
                "body": bytes([byte]),
                "more_body": True,
            }
        )
    send({"type": "http.response.body", "body": b""})


@tworoutine
async def post(client, url, content):
    response = await client.post(url, content=content)
    return response.text


def test_httpx_and_an_asgi_application(place):
    @tworoutine
    async def program():
        transport = httpx.ASGITransport(asgi)
        async with httpx.AsyncClient(
            transport=transport, base_url="http://app"
        ) as client:
            one = post(client, "/", b"one")
            more = tworoutine(functools.partial(~post, client, "/"))
            return one, more.map([b"two", b"three"])

    assert place(program) == ("ONE", ["TWO", "THREE"])


def test_httpx_over_the_network(way, debug):
    @tworoutine
    async def get(client, url, **kwargs):
        return (await client.get(url, **kwargs)).text

    async def main():
        async with Site()() as site, httpx.AsyncClient() as client:
            hello = site.url + "hello?n="
            texts = await asyncio.gather(
                *(way(get, client, f"{hello}{n}") for n in range(20))
            )
            assert texts == [f"hello {n}" for n in range(20)]
            impatient = tworoutine(
                functools.partial(
                    ~get,
                    client,
                    site.url + "blocked",
                    timeout=httpx.Timeout(None, read=0.05),
                )
            )
            with pytest.raises(httpx.ReadTimeout):
                await way(impatient)
            assert cancels() == 0
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await way(get, client, site.url + "blocked")
            site.release.set()
            return await way(get, client, hello + "1"), cancels()

    assert run(main, debug=debug) == ("hello 1", 0)


def test_an_httpx_client_kept_between_calls_without_a_loop():
    @tworoutine
    @contextlib.asynccontextmanager
    async def site():
        async with Site()() as started:
            yield started

    def calls():
        client = httpx.AsyncClient()
        with site() as started:
            get = tworoutine(client.get)
            for number in range(3):
                response = get(f"{started.url}hello?n={number}")
                assert response.text == f"hello {number}"
            assert len(started.peers) == 1
            stream = tworoutine(client.stream)
            with stream("GET", started.url + "stream") as response:
                lines = tworoutine(response.aiter_lines)
                assert list(lines()) == ["0", "1", "2"]
            await_(client.aclose())
        return started.log

    results = []
    thread = threading.Thread(target=lambda: results.append(calls()))
    thread.start()
    thread.join(30)
    assert results == [["closed"]]
