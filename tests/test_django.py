"""Django's ORM in calls: the caller's thread, connection and transaction.

As below async_to_sync, whose tests these could be: each is run both ways.
"""

import asyncio
import contextvars
import os
import tempfile
import threading

import pytest

django = pytest.importorskip("django", reason="needs Django")

from asgiref.sync import async_to_sync, sync_to_async  # noqa: E402
from django.conf import settings  # noqa: E402

from tworoutine import tworoutine  # noqa: E402

folder = tempfile.TemporaryDirectory()
settings.configure(
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": os.path.join(folder.name, "db.sqlite3"),
        }
    },
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
    folder.cleanup()


WAYS = {"call": tworoutine, "async_to_sync": async_to_sync}


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
    if way is tworoutine:
        return JsonResponse({"count": tworoutine(count)()})
    return JsonResponse({"count": await count()})


urlpatterns = [path("plain", view), path("async", async_view)]


async def get(where, name):
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
        "query_string": b"way=" + name.encode(),
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
