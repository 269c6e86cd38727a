"""Django's ORM in calls: the caller's thread, connection and transaction.

As below async_to_sync, whose tests these could be: each is run both ways.
On SQLite; test_django_postgres.py has them run on PostgreSQL.
"""

import asyncio
import contextvars
import json
import os
import tempfile
import threading

import pytest

django = pytest.importorskip("django", reason="needs Django")

from asgiref.local import Local  # noqa: E402
from asgiref.sync import (  # noqa: E402
    AsyncToSync,
    SyncToAsync,
    async_to_sync,
    sync_to_async,
)
from django.conf import settings  # noqa: E402

from tworoutine import LoopThread, home, tworoutine  # noqa: E402

folder = tempfile.TemporaryDirectory()
SQLITE = {
    "ENGINE": "django.db.backends.sqlite3",
    "NAME": os.path.join(folder.name, "db.sqlite3"),
}
POSTGRES = {
    "ENGINE": "django.db.backends.postgresql",
    "NAME": "postgres",
    "USER": "postgres",
    "HOST": "127.0.0.1",
    "PORT": os.environ.get("DJANGO_POSTGRES"),
}
on_postgres = pytest.mark.skipif(
    POSTGRES["PORT"] is None,
    reason="as test_django_postgres.py runs it: needs many connections",
)
settings.configure(
    DATABASES={"default": POSTGRES if POSTGRES["PORT"] else SQLITE},
    INSTALLED_APPS=[
        "django.contrib.contenttypes",
        "django.contrib.auth",
    ],
    ROOT_URLCONF=__name__,
    ALLOWED_HOSTS=["*"],
    DEFAULT_AUTO_FIELD="django.db.models.AutoField",
    SECRET_KEY="x",
    USE_TZ=True,
)
django.setup()

from django.contrib.auth.models import Group  # noqa: E402
from django.core.handlers.asgi import ASGIHandler  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.db import connection, connections, transaction  # noqa: E402
from django.db.models.signals import post_save  # noqa: E402
from django.http import JsonResponse  # noqa: E402
from django.urls import path  # noqa: E402

VAR = contextvars.ContextVar("VAR", default=None)


@pytest.fixture(autouse=True)
def database():
    call_command("migrate", verbosity=0)
    Group.objects.all().delete()
    yield
    connections.close_all()


@pytest.fixture(scope="module", autouse=True)
def files():
    yield
    db.close()
    folder.cleanup()


db = LoopThread("db")


def at_home(function):
    """A call at home, where sync_to_async still comes back to this thread."""
    return tworoutine(function, home=db)


WAYS = {
    "call": tworoutine,
    "async_to_sync": async_to_sync,
    "home": at_home,
}


@pytest.fixture(params=WAYS)
def way(request):
    return WAYS[request.param]


async def count():
    return await Group.objects.acount()


async def create(name):
    return (await Group.objects.acreate(name=name)).name


@tworoutine
async def fetch(x):
    await asyncio.sleep(0.001)
    return x


def test_rows_of_the_transaction_are_seen(way):
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        Group.objects.create(name="a")
        assert way(count)() == 1
        assert way(create)("b") == "b"
        assert Group.objects.count() == 2
        raise ZeroDivisionError
    assert Group.objects.count() == way(count)() == 0


def test_the_thread_and_the_connection(way):
    async def where():
        return await sync_to_async(
            lambda: (threading.get_ident(), connection.connection)
        )()

    Group.objects.count()  # which connects
    here = threading.get_ident(), connection.connection
    assert here[1] is not None
    assert way(where)() == here


def test_several_at_once(way):
    async def main():
        return await asyncio.gather(*[create(str(n)) for n in range(10)])

    with transaction.atomic():
        assert way(main)() == [str(n) for n in range(10)]
        assert Group.objects.count() == 10


def test_what_is_raised_is_the_same(way):
    async def main():
        await Group.objects.aget(name="nobody")

    with pytest.raises(Group.DoesNotExist):
        way(main)()

    error = ZeroDivisionError()

    @sync_to_async
    def fails():
        raise error

    with pytest.raises(ZeroDivisionError) as raised:
        way(fails)()
    assert raised.value is error


def test_context_variables(way):
    @sync_to_async
    def below():
        assert VAR.get() == "outer"
        VAR.set("inner")

    async def main():
        await below()
        return VAR.get()

    def outside():
        VAR.set("outer")
        return way(main)(), VAR.get()

    assert contextvars.copy_context().run(outside) == ("inner", "inner")


def test_calls_and_async_to_sync_below_it(way):
    """A receiver of a signal knows nothing of who saves."""
    seen = []

    def saved(sender, instance, **kwargs):
        seen.append(fetch(instance.name))
        seen.append(async_to_sync(count)())
        seen.append(tworoutine(count)())

    post_save.connect(saved, sender=Group)
    try:
        with transaction.atomic():
            way(create)("a")
            assert seen == ["a", 1, 1]
            Group.objects.create(name="b")
            assert seen[3:] == ["b", 2, 2]
    finally:
        post_save.disconnect(saved, sender=Group)
    assert asyncio._get_running_loop() is None


def test_async_to_sync_below_it_in_a_thread_that_is_new_to_asgiref(way):
    @sync_to_async
    def below():
        return async_to_sync(~fetch)(threading.get_ident())

    def run():
        found.append((way(below)(), threading.get_ident()))

    found = []
    thread = threading.Thread(target=run)
    thread.start()
    thread.join(20)
    ((below_it, here),) = found
    assert below_it == here


def test_calls_below_it_overlap():
    barrier = asyncio.Barrier(3)

    @sync_to_async
    def meet():
        tworoutine(barrier.wait)()
        return Group.objects.count()

    async def main():
        return await asyncio.gather(meet(), meet(), meet())

    assert tworoutine(main)() == [0, 0, 0]
    assert fetch(1) == 1


def test_calls_at_home_below_one_at_home_overlap():
    async def begin():
        return asyncio.Barrier(3)

    barrier = at_home(begin)()

    @sync_to_async
    def meet():
        at_home(barrier.wait)()
        return Group.objects.count(), threading.get_ident()

    async def main():
        return await asyncio.gather(meet(), meet(), meet())

    assert at_home(main)() == [(0, threading.get_ident())] * 3


def test_nothing_is_left_behind(way):
    @sync_to_async
    def below():
        return async_to_sync(count)()

    before = getattr(AsyncToSync.executors, "current", None)
    noted = dict(vars(SyncToAsync.threadlocal))
    assert way(below)() == 0
    assert getattr(AsyncToSync.executors, "current", None) is before
    assert way is async_to_sync or vars(SyncToAsync.threadlocal) == noted


def test_locals_of_asgiref(way):
    """As Django's language: seen below, and what is set there, afterwards."""
    local = Local()

    async def main():
        seen = local.language
        local.language = "en"
        return seen

    local.language = "de"
    assert way(main)() == "de"
    assert local.language == "en"


@pytest.mark.parametrize("place", ["thread", "task"])
def test_a_task_that_a_call_at_home_leaves_behind(place):
    """sync_to_async goes where it would have gone without the call."""
    threads, done = [], threading.Event()

    async def later(is_over):
        await is_over.wait()
        threads.append(await sync_to_async(threading.get_ident)())
        done.set()

    async def begin():
        begin.loop, begin.is_over = asyncio.get_running_loop(), asyncio.Event()
        begin.task = asyncio.create_task(later(begin.is_over))

    async def main():
        at_home(begin)()

    asyncio.run(main()) if place == "task" else at_home(begin)()
    begin.loop.call_soon_threadsafe(begin.is_over.set)
    assert done.wait(20)
    assert threads != [threading.get_ident()]


def test_ctrl_c_in_what_runs_in_the_thread_that_waits(way):
    @sync_to_async
    def interrupted():
        raise KeyboardInterrupt

    async def main():
        try:
            await interrupted()
        finally:
            await asyncio.sleep(0)
            cleaned.append(1)

    cleaned = []
    with pytest.raises(KeyboardInterrupt):
        way(main)()
    assert cleaned == [1] or way is async_to_sync
    assert way(count)() == 0


def test_a_loop_of_its_own_below_it(way):
    async def main():
        return await sync_to_async(lambda: asyncio.run((~fetch)(5)))()

    assert way(main)() == 5


def test_a_background_task_that_goes_on_in_the_next_call():
    tasks = []

    async def start():
        async def later():
            await asyncio.sleep(0.001)
            return await count(), await sync_to_async(threading.get_ident)()

        tasks.append(asyncio.create_task(later()))

    async def end():
        return await tasks.pop()

    tworoutine(start)()
    with transaction.atomic():
        Group.objects.create(name="a")
        assert tworoutine(end)() == (1, threading.get_ident())


def test_a_timeout(way):
    async def main():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await asyncio.sleep(60)
        return await count()

    assert way(main)() == 0


def test_other_threads_find_it_over():
    """They inherit what a call has set, by the context that they run in."""

    async def main():
        return contextvars.copy_context()

    context = tworoutine(main)()

    async def elsewhere():
        return await sync_to_async(threading.get_ident)()

    found = []

    def run():
        try:
            found.append(asyncio.run(elsewhere()))
        except RuntimeError as exc:
            found.append(str(exc))

    thread = threading.Thread(target=context.run, args=(run,))
    thread.start()
    thread.join(10)
    assert found and found != [threading.get_ident()]


# --- views of an ASGI server ------------------------------------------------


def view(request):
    """A plain view, which runs in a thread of asgiref."""
    way = WAYS[request.GET["way"]]
    with transaction.atomic():
        Group.objects.create(name=fetch("of the view"))
        answer = {"before": way(count)(), "after": async_to_sync(count)()}
        transaction.set_rollback(True)
    return JsonResponse(answer)


async def async_view(request):
    way = WAYS[request.GET["way"]]
    if way is async_to_sync:  # which refuses
        return JsonResponse({"count": await count()})
    return JsonResponse({"count": way(count)()})


class Meeting:
    """Where so many requests wait for each other, in the server's loop."""

    def __init__(self, requests):
        self.loop = asyncio.get_running_loop()
        self.barrier = asyncio.Barrier(requests)


def meeting_view(request):
    """In a transaction of its own while all others are in theirs."""
    way, name = WAYS[request.GET["way"]], request.GET["name"]
    with home(Meeting.now.loop), transaction.atomic():
        Group.objects.create(name=name)
        meet()
        seen = [connection.connection.info.backend_pid, way(count)()]
        assert Group.objects.get().name == name
        meet()  # nobody has committed before all have looked
    return JsonResponse({"seen": seen})


@tworoutine
async def meet():
    assert asyncio.get_running_loop() is Meeting.now.loop
    await Meeting.now.barrier.wait()


async def meeting_async_view(request):
    meet()
    name = tworoutine(create)(request.GET["name"])
    meet()
    group = await Group.objects.aget(name=name)
    return JsonResponse({"seen": [group.name, tworoutine(count)()]})


def locking_view(request):
    """Adds 1 to a row that it has locked, with a call in between."""
    with home(Meeting.now.loop), transaction.atomic():
        group = Group.objects.select_for_update().get()
        before = int(group.name)
        group.name = str(fetch(before) + 1)
        group.save()
    return JsonResponse({"before": before})


urlpatterns = [
    path("plain", view),
    path("async", async_view),
    path("meeting", meeting_view),
    path("meeting-async", meeting_async_view),
    path("locking", locking_view),
]


async def get(where, way, name=""):
    """What the handler answers, as a server asks it."""
    sent, asked = [], asyncio.Event()

    async def receive():
        if asked.is_set():
            await asyncio.sleep(60)
        asked.set()
        return {"type": "http.request", "body": b""}

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http",
        "method": "GET",
        "path": f"/{where}",
        "query_string": f"way={way}&name={name}".encode(),
        "headers": [],
    }
    await ASGIHandler()(scope, receive, send)
    return b"".join(message.get("body", b"") for message in sent).decode()


@pytest.mark.parametrize("name", WAYS)
def test_a_plain_view_of_an_asgi_server(name):
    async def main():
        async with asyncio.timeout(20):
            return [await get("plain", name) for _ in range(3)]

    assert asyncio.run(main()) == ['{"before": 1, "after": 1}'] * 3


@pytest.mark.parametrize("name", WAYS)
def test_an_async_view_of_an_asgi_server(name):
    async def main():
        async with asyncio.timeout(20):
            return await get("async", name)

    assert asyncio.run(main()) == '{"count": 0}'


def test_many_plain_views_at_once():
    async def main():
        async with asyncio.timeout(30):
            return await asyncio.gather(
                *[get("plain", name) for name in (*WAYS, *WAYS)]
            )

    answers = asyncio.run(main())
    assert all('"before": 1' in answer for answer in answers), answers


# --- many connections at once -----------------------------------------------

REQUESTS = 10


async def all_at_once(where, way):
    """What so many requests answer that are made at once."""
    Meeting.now = Meeting(REQUESTS)
    names = [f"group {n}" for n in range(REQUESTS)]
    async with asyncio.timeout(60):
        answers = await asyncio.gather(
            *[get(where, way, name.replace(" ", "+")) for name in names]
        )
    return [json.loads(answer) for answer in answers]


def connected():
    """The states of the connections of others."""
    with connection.cursor() as cursor:
        cursor.execute(
            "select state from pg_stat_activity where datname = 'postgres'"
            " and pid != pg_backend_pid() and backend_type = 'client backend'"
        )
        return [state for (state,) in cursor.fetchall()]


@on_postgres
@pytest.mark.parametrize("way", WAYS)
def test_transactions_of_many_plain_views_at_once(way):
    answers = asyncio.run(all_at_once("meeting", way))
    pids, counts = zip(*[answer["seen"] for answer in answers], strict=True)
    assert len(set(pids)) == REQUESTS
    assert counts == (1,) * REQUESTS
    assert Group.objects.count() == REQUESTS
    assert "idle in transaction" not in connected()


@on_postgres
def test_many_async_views_at_once():
    answers = asyncio.run(all_at_once("meeting-async", "call"))
    names = {answer["seen"][0] for answer in answers}
    assert names == {f"group {n}" for n in range(REQUESTS)}
    assert {answer["seen"][1] for answer in answers} == {REQUESTS}
    assert "idle in transaction" not in connected()


@on_postgres
def test_views_that_wait_for_the_lock_of_one_that_calls():
    """Each holds the row over its call; the loop that serves goes on."""
    Group.objects.create(name="0")
    answers = asyncio.run(all_at_once("locking", "call"))
    befores = sorted(answer["before"] for answer in answers)
    assert befores == list(range(REQUESTS))
    assert Group.objects.get().name == str(REQUESTS)


@on_postgres
def test_a_view_that_fails_in_its_call():
    """Its transaction is rolled back, and its connection given back."""

    async def main():
        Meeting.now = Meeting(2)  # where nobody else comes
        task = asyncio.create_task(get("meeting", "call", "failed"))
        while Meeting.now.barrier.n_waiting == 0:
            await asyncio.sleep(0.001)
        await Meeting.now.barrier.abort()
        return await task

    assert "Server Error" in asyncio.run(main())
    assert Group.objects.count() == 0
    assert "idle in transaction" not in connected()
