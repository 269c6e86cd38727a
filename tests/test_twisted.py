"""Twisted: on its asyncio reactor nothing to set up, on others a portal.

A reactor runs once in its life, and a process has one; so some tests are
programs of their own, and the others run reactors that are not installed.
"""

import asyncio

import pytest

from hosts import installed

pytest.importorskip("twisted", reason="needs Twisted")

ASYNCIO = """
import asyncio
from twisted.internet import asyncioreactor
loop = asyncio.new_event_loop()
asyncioreactor.install(loop)
"""
EPOLL = """
from twisted.internet import epollreactor
epollreactor.install()
loop = None
"""
BEGIN = """
import asyncio, sys
from twisted.internet import defer, protocol, endpoints, task, threads
from twisted.internet import reactor
from twisted.python import log as twisted_log
import tworoutine as two
from tworoutine import CannotSuspend, await_, portal, tworoutine
from tworoutine.twisted import callback

twisted_log.addObserver(
    lambda event: event["isError"] and print("error:", event)
)

def later(seconds, result=None):
    return task.deferLater(reactor, seconds, lambda: result)

@tworoutine
async def nap(seconds=0.001, result=None):  # by Twisted
    return await later(seconds, result)

@tworoutine
async def sleep(seconds=0.001, result=None):  # by asyncio
    return await asyncio.sleep(seconds, result)

def finish(result=None):
    if result is not None:
        print(result)
    reactor.stop()
"""
END = """
reactor.run()
for reader in reactor._internalReaders:
    reader.connectionLost(None)
if loop is not None:
    loop.close()
"""


@pytest.fixture
def here(capsys):
    """Run a source with a new reactor in place of the process's one."""
    from twisted.internet.asyncioreactor import AsyncioSelectorReactor
    from twisted.internet.epollreactor import EPollReactor
    from twisted.python import log

    def run(install, source):
        observers = list(log.theLogPublisher.observers)
        loop = asyncio.new_event_loop() if install is ASYNCIO else None
        reactor = AsyncioSelectorReactor(loop) if loop else EPollReactor()
        with installed(reactor):
            exec(BEGIN + source, {"loop": loop})
            reactor.run(installSignalHandlers=False)
        for observer in set(log.theLogPublisher.observers) - set(observers):
            log.removeObserver(observer)
        loop.close() if loop else reactor._poller.close()
        return capsys.readouterr().out

    return run


@pytest.fixture(params=[ASYNCIO, EPOLL], ids=["asyncio", "epoll"])
def on_both(request, here):
    return lambda source: here(request.param, source)


@pytest.fixture
def on_asyncio(here):
    return lambda source: here(ASYNCIO, source)


@pytest.fixture(params=[ASYNCIO, EPOLL], ids=["asyncio", "epoll"])
def program_on_both(request, program):
    return lambda source: program(request.param + BEGIN + source + END)


# --- the asyncio reactor ----------------------------------------------------


def test_plain_callbacks_on_the_asyncio_reactor(on_asyncio):
    source = """
def called(result):
    print(result, sleep(result="slept"), nap(result="napped"))
    print(await_(later(0.001, "awaited")))
    return await_(threads.deferToThread(sleep, result="thread"))

d = defer.Deferred()
d.addCallback(called)
d.addCallback(finish)

def start():  # before the loop runs
    print("start", sleep(result=1), await_(later(0, 2)))
    reactor.callLater(0.001, d.callback, "fired")

reactor.callWhenRunning(start)
"""
    assert on_asyncio(source) == (
        "start 1 2\nfired slept napped\nawaited\nthread\n"
    )


def test_timers_of_the_asyncio_reactor_go_on_while_one_waits(on_asyncio):
    source = """
def waits():
    fired = defer.Deferred()
    reactor.callLater(0.002, fired.callback, "a later timer")
    print(await_(fired))
    other = asyncio.Event()
    reactor.callLater(0.002, other.set)
    tworoutine(other.wait)()
    finish("another")

reactor.callLater(0.001, waits)
"""
    assert on_asyncio(source) == "a later timer\nanother\n"


def test_looping_call_and_inline_callbacks(on_asyncio):
    source = """
ticks = []

def tick():
    ticks.append(sleep(result=1))
    if len(ticks) == 5:
        five.callback(None)

@defer.inlineCallbacks
def inline():
    first = yield later(0.001, 1)
    second = nap(result=2) + sleep(result=4)
    third = yield five
    return first + second

five = defer.Deferred()
looping = task.LoopingCall(tick)
looping.start(0.001)
inline().addCallback(finish)
"""
    assert on_asyncio(source) == "7\n"


def test_errors_timeouts_and_cancellation_of_deferreds(on_asyncio):
    source = """
error = KeyError("mine")

def called():
    try:
        await_(defer.fail(error))
    except KeyError as exc:
        print(exc is error, exc.__context__)
    never = defer.Deferred(lambda d: print("cancelled"))

    @tworoutine
    async def limited():
        async with asyncio.timeout(0.001):
            await never

    try:
        limited()
    except TimeoutError:
        print("timed out")
    finish()

reactor.callLater(0, called)
"""
    assert on_asyncio(source) == "True None\ncancelled\ntimed out\n"


def test_a_task_of_the_asyncio_reactor(on_asyncio):
    """It awaits futures, as without a call; Deferreds by asFuture()."""
    source = """
async def main():
    assert sleep(result=1) == 1
    print(await_(later(0.001, "future").asFuture(loop)))
    try:
        nap()
    except RuntimeError as exc:
        print(str(exc)[:18])
    finish()

main = main()
reactor.callLater(0, lambda: defer.Deferred.fromFuture(
    asyncio.ensure_future(main)))
"""
    assert on_asyncio(source) == "future\nTask got bad yield\n"


# --- portals, on both -------------------------------------------------------


def test_a_portal(on_both):
    source = """
@portal
async def main():
    assert nap(result=1) == 1
    assert await_(later(0, 2)) == 2
    assert await later(0, 3) == 3
    ended = []

    @portal
    async def child(number):
        nap(0.001 * (5 - number))
        ended.append(number)
        return number

    children = [defer.ensureDeferred(child(n)) for n in range(5)]
    assert await_(defer.gatherResults(children)) == list(range(5))
    return sorted(ended)

reactor.callWhenRunning(
    lambda: defer.ensureDeferred(main()).addBoth(finish)
)
"""
    assert on_both(source) == "[0, 1, 2, 3, 4]\n"


def test_react(program):
    source = """
@portal
async def main(reactor, *args):
    print(nap(result="reacts"), args)

task.react(main, ["argument"])
"""
    assert program(EPOLL + BEGIN + source) == "reacts ('argument',)\n"


def test_cancellation_in_a_portal(on_both):
    source = """
@tworoutine
async def blocks():
    try:
        await defer.Deferred(lambda d: print("cancelled"))
    finally:
        await later(0)
        print("finally")

@portal
async def main():
    blocking = defer.ensureDeferred(portal(blocks)())
    nap()
    blocking.cancel()
    try:
        await_(blocking)
    except defer.CancelledError:
        print("caught")
    calling = defer.ensureDeferred(portal(caller)())
    calling.addTimeout(0.001, reactor)
    try:
        await_(calling)
    except defer.TimeoutError:
        print("timeout")

async def caller():
    blocks()

reactor.callWhenRunning(
    lambda: defer.ensureDeferred(main()).addBoth(finish)
)
"""
    assert on_both(source) == (
        "cancelled\nfinally\ncaught\ncancelled\nfinally\ntimeout\n"
    )


def test_callbacks_of_every_kind(on_both):
    """@callback: all wait for each other."""
    source = """
N = 5
come = []
gate = defer.Deferred()

@callback
def meet(name):
    come.append(name)
    if len(come) == N:
        reactor.callLater(0, gate.callback, None)
    arrived = defer.Deferred()
    gate.addCallback(lambda _: arrived.callback(None))
    await_(arrived)
    nap()
    return name

def start():
    d = defer.Deferred()
    d.addCallback(meet)
    d.callback("deferred")
    reactor.callLater(0.001, meet, "later")
    reactor.callFromThread(meet, "from thread")
    blocking = threads.deferToThread(
        threads.blockingCallFromThread, reactor, meet, "blocking"
    )
    looping = task.LoopingCall(meet, "looping")
    ended = looping.start(60)
    gate.addCallback(lambda _: looping.stop())
    done = defer.gatherResults([d, blocking, ended])
    done.addBoth(lambda r: finish(r[:2] + sorted(come)))

reactor.callWhenRunning(start)
"""
    assert on_both(source) == (
        "['deferred', 'blocking', 'blocking', 'deferred', 'from thread', "
        "'later', 'looping']\n"
    )


def test_callback_returns_what_the_function_does(on_both):
    source = '''
@callback
def fails():
    """Doc."""
    nap()
    raise KeyError("mine")

@callback
def gives_a_deferred():
    return later(0.001, "deferred")

@callback
async def asynchronous():
    nap()
    return "coroutine"

@portal
async def main():
    print(fails.__name__, fails.__doc__)
    try:
        await fails()
    except KeyError as exc:
        print("KeyError", exc)
    print(await_(gives_a_deferred()), await_(asynchronous()))

reactor.callWhenRunning(
    lambda: defer.ensureDeferred(main()).addBoth(finish)
)
'''
    assert (
        on_both(source) == "fails Doc.\nKeyError 'mine'\ndeferred coroutine\n"
    )


def test_a_server_and_its_clients_in_one_loop(program_on_both):
    """Protocols whose methods make calls, over TCP on loopback.

    dataReceived itself returns None: before 26.10, Twisted takes anything
    else, as the Deferred of @callback, for the loss of the connection.
    """
    source = """
class Echo(protocol.Protocol):
    def dataReceived(self, data):
        self.echo(data)

    @callback
    def echo(self, data):
        nap()
        self.transport.write(data[::-1])

class Ask(protocol.Protocol):
    def __init__(self):
        self.answer = defer.Deferred()

    def connectionMade(self):
        self.transport.write(self.question)

    def dataReceived(self, data):
        self.answered(data)

    @callback
    def answered(self, data):
        nap()
        self.transport.loseConnection()
        self.answer.callback(data)

@tworoutine
async def ask(port, question):
    client = Ask()
    client.question = question
    endpoint = endpoints.TCP4ClientEndpoint(reactor, "127.0.0.1", port)
    await endpoints.connectProtocol(endpoint, client)
    return await client.answer

@portal
async def main():
    server = endpoints.TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1")
    listening = await_(server.listen(protocol.Factory.forProtocol(Echo)))
    port = listening.getHost().port
    asked = [
        defer.ensureDeferred(portal(ask)(port, b"question %d" % number))
        for number in range(10)
    ]
    assert await_(defer.gatherResults(asked)) == [
        (b"question %d" % number)[::-1] for number in range(10)
    ]
    answer = ask(port, b"last")
    await_(listening.stopListening())
    return answer

reactor.callWhenRunning(
    lambda: defer.ensureDeferred(main()).addBoth(finish)
)
"""
    assert program_on_both(source) == "b'tsal'\n"


# --- what is refused --------------------------------------------------------


def test_without_a_portal_calls_are_refused(program):
    source = """
def refused(name, function, *args):
    try:
        function(*args)
    except CannotSuspend as exc:
        assert "EPollReactor" in str(exc), exc
        assert "tworoutine.twisted.callback" in str(exc), exc
        print(name)

def plain(_):
    refused("call", nap)
    refused("await_", await_, later(0))
    refused("asyncio", sleep)

@portal
async def main():
    # What the reactor calls while this waits is not in the portal.
    await_(defer.gatherResults([plain_called, in_thread]))
    finish(nap(result="portal"))

in_thread = threads.deferToThread(sleep, 0, "a thread has its own loop")
in_thread.addCallback(print)
plain_called = later(0.001)
plain_called.addCallback(plain)
reactor.callWhenRunning(lambda: defer.ensureDeferred(main()))
print(sleep(result="before run"))
"""
    end = "print(sleep(0, 'after'))"
    out = program(EPOLL + BEGIN + source + END + end)
    assert sorted(out.splitlines()) == [
        "a thread has its own loop",
        "after",
        "asyncio",
        "await_",
        "before run",
        "call",
        "portal",
    ]
