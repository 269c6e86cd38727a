"""dual() over the clients of libraries, against real servers.

aiohttp, httpx, SQLAlchemy, aiosqlite and anyio are among what all tests need.
The others are tried where they are installed: pip install '.[duals]';
PostgreSQL and Redis where their servers are found.
"""

import asyncio
import shutil
import subprocess
import threading
from pathlib import Path

import aiohttp
import aiosqlite
import anyio
import httpx
import pytest
from aiohttp import web
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import (
    AsyncConnection,
    AsyncSession,
    create_async_engine,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from ports import ended, free_port, on_free_port
from postgres import postgres as running_postgres
from tworoutine import LoopThread, await_, dual, tworoutine


def no_loop(fn):
    return fn()


def in_task(fn):
    async def main():
        return fn()

    return asyncio.run(asyncio.wait_for(main(), 60))


@pytest.fixture(params=[no_loop, in_task], ids=["no-loop", "task"])
def place(request):
    return request.param


@pytest.fixture
def thread():
    with LoopThread("home") as thread:
        yield thread


# --- HTTP -------------------------------------------------------------------


async def number(request):
    return web.json_response({"n": int(request.query["n"])})


async def lines(request):
    response = web.StreamResponse()
    await response.prepare(request)
    for i in range(3):
        await response.write(b"line %d\n" % i)
    return response


async def echo(request):
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    async for message in socket:
        await socket.send_str(message.data.upper())
    return socket


@pytest.fixture(scope="module")
def url():
    async def start():
        app = web.Application()
        app.router.add_get("/", number)
        app.router.add_get("/lines", lines)
        app.router.add_get("/echo", echo)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        return runner, runner.addresses[0][1]

    with LoopThread("server") as thread:
        runner, port = tworoutine(start, home=thread)()
        yield f"http://127.0.0.1:{port}"
        dual(runner, home=thread).cleanup()


def test_aiohttp(place, url):
    def uses():
        with dual(aiohttp.ClientSession)() as session:
            assert isinstance(session, aiohttp.ClientSession)
            with session.get(url, params={"n": 1}) as response:
                assert type(response) is aiohttp.ClientResponse
                assert await_(response.json()) == {"n": 1}
            response = session.get(url, params={"n": 2})
            assert response.status == 200
            assert await_(response.json()) == {"n": 2}
            assert not session.closed
        assert session.closed

    place(uses)


def test_aiohttp_in_depth(place, url):
    def uses():
        with dual(aiohttp.ClientSession, deep=True)() as session:
            with session.get(url, params={"n": 1}) as response:
                assert isinstance(response, aiohttp.ClientResponse)
                assert response.json() == {"n": 1}
            assert session.get(url, params={"n": 2}).text() == '{"n": 2}'
            response = session.get(f"{url}/lines")
            assert list(response.content) == [
                b"line %d\n" % i for i in (0, 1, 2)
            ]
            with session.get(f"{url}/lines") as response:
                chunks = list(response.content.iter_chunked(4))
                assert b"".join(chunks) == b"line 0\nline 1\nline 2\n"
            with session.ws_connect(f"{url}/echo") as ws:
                ws.send_str("a")
                assert ws.receive_str() == "A"
                ws.send_str("b")
                for message in ws:
                    assert message.data == "B"
                    ws.close()

    place(uses)


def test_aiohttp_from_many_threads(url, thread):
    session = dual(aiohttp.ClientSession, deep=True, home=thread)()
    results = []

    def uses(n):
        with session.get(url, params={"n": n}) as response:
            results.append(response.json()["n"])

    threads = [threading.Thread(target=uses, args=(i,)) for i in range(5)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    in_task(lambda: uses(5))
    session.close()
    assert sorted(results) == [0, 1, 2, 3, 4, 5]


def test_httpx(place, url):
    def uses():
        with dual(httpx.AsyncClient)(base_url=url) as client:
            assert isinstance(client, httpx.AsyncClient)
            assert client.get("/", params={"n": 1}).json() == {"n": 1}
            with client.stream("GET", "/lines") as response:
                found = list(dual(response).aiter_lines())
                assert found == ["line 0", "line 1", "line 2"]
            deep = dual(client, deep=True)
            with deep.stream("GET", "/lines") as response:
                assert response.aread() == b"line 0\nline 1\nline 2\n"
            client.headers["a"] = "b"
            assert (~client).headers["a"] == "b"
        assert client.is_closed

    place(uses)


def test_httpx_fan_out(place, url):
    def uses():
        with dual(httpx.AsyncClient)() as client:
            urls = [f"{url}/?n={n}" for n in range(5)]
            return [r.json()["n"] for r in client.get.map(urls, limit=2)]

    assert place(uses) == [0, 1, 2, 3, 4]


# --- OPC UA: what asyncua tests of its own synchronous wrapper --------------


class Plant:
    """A server, and a client of it."""

    def __init__(self, asyncua, port):
        self.ua = asyncua.ua
        self.server = dual(asyncua.Server, deep=True)()
        self.server.init()
        self.server.disable_clock(True)
        self.server.set_endpoint(f"opc.tcp://127.0.0.1:{port}/test/")
        self.idx = self.server.register_namespace("http://test")
        box = self.server.nodes.objects.add_object(self.idx, "Box")
        box.add_variable(self.idx, "Level", 6.7)
        floats = [self.ua.VariantType.Float]

        @asyncua.uamethod
        def divide(parent, x, y):
            return x / y

        self.server.nodes.objects.add_method(
            self.idx, "Divide", divide, 2 * floats, floats
        )
        self.client = dual(asyncua.Client, deep=True)(
            f"opc.tcp://admin@127.0.0.1:{port}/test/"
        )
        self.asyncua = asyncua

    @property
    def level(self):
        path = ["0:Objects", f"{self.idx}:Box", f"{self.idx}:Level"]
        return self.client.nodes.root.get_child(path)


def nodes_are_duals(plant):
    Node = dual(plant.asyncua.Node, deep=True)
    node = plant.client.get_node(85)
    assert isinstance(node, Node)
    assert node == plant.client.nodes.objects
    children = node.get_children()
    assert len(children) > 2
    assert plant.client.nodes.server in children
    assert all(isinstance(child, Node) for child in children)
    path = [f"{plant.idx}:Box", f"{plant.idx}:Level"]
    ((found,),) = node.get_children_by_path([path])
    assert found.read_value() == 6.7
    assert plant.server.get_node(85) == plant.server.nodes.objects


def values_are_read_and_written(plant):
    client, level = plant.client, plant.level
    assert level.read_value() == 6.7
    (result,) = client.read_attributes(
        [level], attr=plant.ua.AttributeIds.Value
    )
    assert result.Value.Value == 6.7
    assert client.read_values([level]) == [6.7]
    made = client.nodes.objects.add_variable(plant.idx, "a", 1)
    made.set_writable()
    (status,) = client.write_values([made], [4])
    assert status.is_good()
    assert made.read_value() == 4


def nodes_are_deleted(plant):
    objects = plant.client.nodes.objects
    made = objects.add_variable(plant.idx, "Deleted", 9.1)
    assert made in objects.get_children()
    (deleted,), (status,) = plant.client.delete_nodes([made])
    assert deleted == made
    assert status.is_good()
    assert made not in objects.get_children()


def nodes_are_browsed(plant):
    nodes = [plant.client.get_node(f"ns=0;i={i}") for i in (2267, 2259)]
    results = plant.client.browse_nodes(nodes)
    assert [node for node, _ in results] == nodes
    assert isinstance(results[0][1], plant.ua.BrowseResult)


def subscriptions_tell(plant):
    told = asyncio.Queue()

    class Handler:
        def datachange_notification(self, node, value, data):
            told.put_nowait((node, value))

    subscription = plant.client.create_subscription(1, Handler())
    made = plant.client.nodes.objects.add_variable(plant.idx, "Told", 0.1)
    subscription.subscribe_data_change(made)
    assert dual(told).get() == (made, 0.1)
    made.write_value(0.123)
    assert dual(told).get() == (made, 0.123)
    subscription.delete()


def methods_are_called(plant):
    objects = plant.client.nodes.objects
    assert objects.call_method(f"{plant.idx}:Divide", 4, 2) == 2
    with pytest.raises(plant.ua.UaError):
        objects.call_method(f"{plant.idx}:Divide", 4, 0)


def functions_take_the_objects(plant):
    from asyncua.common import structures104

    tworoutine(structures104.new_enum)(
        ~plant.server, plant.idx, "Mode", ["off", "on"]
    )
    plant.server.load_data_type_definitions()
    made = plant.server.nodes.objects.add_variable(
        plant.idx, "mode", plant.ua.Mode.on
    )
    assert made.read_value() == 1


def the_client_is_the_real_one(plant):
    client = plant.client
    assert isinstance(client, plant.asyncua.Client)
    client.name = "mine"
    assert (~client).name == "mine"
    assert client.get_namespace_index("http://test") == plant.idx


@pytest.mark.parametrize(
    "check",
    [
        nodes_are_duals,
        values_are_read_and_written,
        nodes_are_deleted,
        nodes_are_browsed,
        subscriptions_tell,
        methods_are_called,
        functions_take_the_objects,
        the_client_is_the_real_one,
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_asyncua(place, check):
    asyncua = pytest.importorskip("asyncua")

    def uses(port):
        plant = Plant(asyncua, port)
        with plant.server, plant.client:
            check(plant)

    place(lambda: on_free_port(uses))


# --- Redis ------------------------------------------------------------------


def start_redis(port, folder):
    options = {"port": port, "bind": "127.0.0.1", "save": "", "dir": folder}
    server = subprocess.Popen(
        [
            "redis-server",
            *(str(x) for k, v in options.items() for x in (f"--{k}", v)),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    said = []
    for line in server.stdout:
        said.append(line)
        if "Ready to accept connections" in line:
            return server, port
    server.communicate()
    raise ended("".join(said))


@pytest.fixture(scope="module")
def redis_port(tmp_path_factory):
    pytest.importorskip("redis")
    if shutil.which("redis-server") is None:
        pytest.skip("no redis-server")
    folder = tmp_path_factory.mktemp("redis")
    server, port = on_free_port(lambda port: start_redis(port, folder))
    yield port
    server.terminate()
    server.communicate()


def test_a_port_that_is_taken_meanwhile(redis_port, monkeypatch, tmp_path):
    """Each kind of server that tests start is started on another one."""
    asyncua = pytest.importorskip("asyncua")

    def redis():
        server, port = on_free_port(lambda port: start_redis(port, tmp_path))
        server.terminate()
        server.communicate()
        return port

    def opc_ua():
        def runs(port):
            with Plant(asyncua, port).server:
                return port

        return on_free_port(runs)

    def postgresql():
        with running_postgres() as port:
            return port

    for runs in redis, opc_ua, postgresql:
        free = free_port()
        ports = [redis_port, free]
        monkeypatch.setattr(
            "ports.free_port", lambda ports=ports: ports.pop(0)
        )
        assert runs() == free


def test_other_errors_of_a_server_are_not_tried_again():
    tried = []

    def start(port):
        tried.append(port)
        raise ended("no such option")

    with pytest.raises(RuntimeError, match="no such option"):
        on_free_port(start)
    assert len(tried) == 1


def test_redis(place, redis_port):
    import redis.asyncio as redis

    Redis = dual(redis.Redis)

    def uses():
        with Redis(port=redis_port, decode_responses=True) as r:
            assert isinstance(r, redis.Redis)
            r.flushall()
            assert r.set("a", 1) is True
            assert r.get("a") == "1"
            r.rpush("list", 1, 2)
            assert r.lrange("list", 0, -1) == ["1", "2"]
            with r.pipeline() as pipe:
                pipe.set("b", 2).incr("b")
                assert pipe.execute() == [True, 3]
            assert sorted(r.scan_iter()) == ["a", "b", "list"]
            with r.lock("lock"):
                assert r.exists("lock")
            assert not r.exists("lock")
            with r.pubsub() as pubsub:
                pubsub.subscribe("channel")
                r.publish("channel", "hello")
                for message in pubsub.listen():
                    if message["type"] == "message":
                        break
            assert message["data"] == "hello"
            assert r.get.map(["a", "b"]) == ["1", "3"]
        with Redis.from_url(f"redis://127.0.0.1:{redis_port}") as r:
            assert type(r) is Redis
            assert r.ping()

    place(uses)


# --- PostgreSQL -------------------------------------------------------------


@pytest.fixture(scope="module")
def postgres():
    pytest.importorskip("asyncpg")
    with running_postgres() as port:
        yield f"postgres://postgres@127.0.0.1:{port}/postgres"


def test_asyncpg(place, postgres):
    import asyncpg

    def uses():
        create = tworoutine(asyncpg.create_pool)
        with dual(create(postgres, min_size=1, max_size=2), deep=True) as pool:
            with pool.acquire() as connection:
                assert connection.fetchval("select 1 + 1") == 2
                connection.execute("create temp table t (i int)")
                with connection.transaction():
                    connection.executemany(
                        "insert into t values ($1)", [(1,), (2,), (3,)]
                    )
                    rows = connection.cursor("select i from t order by i")
                    assert not isinstance(rows, asyncpg.cursor.CursorFactory)
                    assert [
                        row["i"]
                        for row in connection.cursor("select i from t")
                    ] == [1, 2, 3]
                statement = connection.prepare("select i from t where i > $1")
                assert statement.fetchval(2) == 3
                transaction = connection.transaction()
                transaction.start()
                connection.execute("delete from t")
                transaction.rollback()
                assert connection.fetchval("select count(*) from t") == 3
                with pytest.raises(asyncpg.UndefinedTableError):
                    connection.execute("select * from missing")
            connection = pool.acquire()
            assert connection.fetchval("select 7") == 7
            pool.release(connection)
            assert pool.fetchval.map(["select 1", "select 2"]) == [1, 2]
            assert pool.get_idle_size() > 0

    place(uses)


def test_asyncpg_from_many_threads(postgres, thread):
    import asyncpg

    create = tworoutine(asyncpg.create_pool, home=thread)
    pool = dual(
        create(postgres, min_size=1, max_size=2), home=thread, deep=True
    )
    results = []

    def uses(i):
        with pool.acquire() as connection, connection.transaction():
            results.append(connection.fetchval(f"select {i}"))

    threads = [threading.Thread(target=uses, args=(i,)) for i in range(5)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    pool.close()
    assert sorted(results) == [0, 1, 2, 3, 4]


# --- SQLAlchemy, which runs its own greenlets -------------------------------


class Base(DeclarativeBase):
    pass


class User(Base):
    __tablename__ = "users"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


def test_sqlalchemy(place):
    def uses():
        engine = dual(create_async_engine("sqlite+aiosqlite://"), deep=True)
        with engine.begin() as connection:
            connection.run_sync(Base.metadata.create_all)
            connection.execute(text("insert into users (name) values ('a')"))
        connection = engine.connect()
        assert isinstance(connection, AsyncConnection)
        names = text("select name from users")
        assert [row.name for row in connection.stream(names)] == ["a"]
        assert connection.stream(names).all() == [("a",)]
        assert connection.scalar(names) == "a"
        connection.close()
        with dual(AsyncSession)(engine) as session:
            session.add(User(name="b"))
            session.commit()
            users = session.scalars(select(User).order_by(User.id))
            assert [user.name for user in users] == ["a", "b"]
            with session.begin_nested():
                assert session.get(User, 2).name == "b"
        engine.dispose()

    place(uses)


def test_aiosqlite(place):
    def uses():
        with dual(aiosqlite.connect(":memory:"), deep=True) as connection:
            assert isinstance(connection, aiosqlite.Connection)
            connection.execute("create table t (i int)")
            connection.executemany("insert into t values (?)", [(1,), (2,)])
            assert list(connection.execute("select i from t")) == [(1,), (2,)]
            with connection.execute("select count(*) from t") as cursor:
                assert cursor.fetchone() == (2,)
            assert connection.total_changes == 2

    place(uses)


# --- anyio ------------------------------------------------------------------


def test_anyio(place, tmp_path):
    def uses():
        streams = anyio.create_memory_object_stream(3)
        send, receive = map(dual, streams)
        with send:
            send.send(1)
            send.send_nowait(2)
        with receive:
            assert list(receive) == [1, 2]
        path = dual(anyio.Path(tmp_path)) / "file"
        assert isinstance(path, anyio.Path)
        dual(path).write_text("text")
        with dual(tworoutine(anyio.open_file)(path)) as file:
            assert list(file) == ["text"]

    place(uses)


# --- websockets: what can be awaited, entered and iterated over -------------


def test_websockets(place, thread):
    pytest.importorskip("websockets")
    from websockets.asyncio.client import connect
    from websockets.asyncio.server import serve

    async def echo(socket):
        async for message in socket:
            await socket.send(message.upper())

    async def start():
        return await serve(echo, "127.0.0.1", 0)

    server = dual(tworoutine(start, home=thread)(), home=thread)
    port = server.sockets[0].getsockname()[1]
    url = f"ws://127.0.0.1:{port}"

    def uses():
        with dual(connect, deep=True)(url) as socket:
            socket.send("a")
            assert socket.recv() == "A"
            socket.send("b")
            for message in socket:
                assert message == "B"
                break
        socket = dual(tworoutine(connect)(url))
        socket.send("c")
        assert socket.recv() == "C"
        socket.close()

    place(uses)
    server.close()
    server.wait_closed()


# --- instruments ------------------------------------------------------------


@pytest.mark.filterwarnings("ignore")
def test_tuber(place, monkeypatch):
    client = pytest.importorskip("tuber.client")
    examples = Path(__file__).parent.parent / "examples"
    monkeypatch.syspath_prepend(str(examples))
    from boards import Crate

    def uses(address):
        board = dual(tworoutine(client.resolve)(address, "Board"))
        assert board.get_bias() is None
        board.set_bias(1000.0)
        assert board.get_bias() == 1000.0
        assert 0.2 < board.get_temperature() < 0.4
        if place is no_loop:
            return  # what a context collects are futures of a running loop
        with board.tuber_context() as ctx:
            ctx.set_bias(1001.0)
            ctx.get_bias()
            assert ctx()[1] == 1001.0

    with Crate(1) as crate:
        (address,) = crate.addresses
        place(lambda: uses(address))


@pytest.mark.filterwarnings("ignore")
def test_ophyd_async(place):
    core = pytest.importorskip("ophyd_async.core")

    class Motor(core.StandardReadable):
        def __init__(self, name=""):
            with self.add_children_as_readables():
                self.position = core.soft_signal_rw(float, 1.5)
            super().__init__(name)

    def uses():
        motor = dual(Motor, deep=True)("motor")
        motor.connect(mock=False)
        assert motor.name == "motor"
        assert motor.position.get_value() == 1.5
        motor.position.set(4.5)
        assert motor.read()["motor-position"]["value"] == 4.5
        assert motor.describe()["motor-position"]["dtype"] == "number"
        assert isinstance(motor.position, core.SignalRW)

    place(uses)
