"""Calls in gevent's greenlets: the hub goes on, and one loop serves all.

Each test has a thread, and so a hub, of its own; what patches the process is a
program of its own.
"""

import asyncio
import contextvars
import functools
import gc
import sys
import threading
import time
import traceback
import weakref

import pytest
from greenlet import greenlet

from tworoutine import CannotSuspend, await_, tworoutine
from tworoutine import portal as tworoutine_portal

gevent = pytest.importorskip("gevent", reason="needs gevent")


def in_thread(test):
    """Run a test in a thread of its own, whose hub does not outlive it."""

    @functools.wraps(test)
    def run(*args, **kwargs):
        errors = []

        def target():
            hub = gevent.get_hub()
            hub.NOT_ERROR = (Exception,)  # tests look at their greenlets
            try:
                test(*args, **kwargs)
            except BaseException as exc:
                errors.append(exc)
            finally:
                hub.destroy(destroy_loop=True)

        thread = threading.Thread(target=target)
        thread.start()
        thread.join()
        if errors:
            raise errors[0]

    return run


@tworoutine
async def nap(seconds=0, result=None):
    await asyncio.sleep(seconds)
    return result


@tworoutine
async def wait(event):
    await event.wait()


@tworoutine
async def set_event(event):
    event.set()


@in_thread
def test_other_greenlets_go_on_and_their_calls_overlap():
    event, order = asyncio.Event(), []

    def waits(number):
        wait(event)
        order.append(number)

    waiting = [gevent.spawn(waits, number) for number in range(3)]
    ticks = []

    def ticker():
        while not event.is_set():
            ticks.append(1)
            gevent.sleep(0.001)

    def sets():
        while len(ticks) < 20:
            nap(0.001)
        set_event(event)
        order.append("set")

    gevent.joinall([gevent.spawn(ticker), gevent.spawn(sets), *waiting])
    assert sorted(map(str, order)) == ["0", "1", "2", "set"]
    assert [number for number in order if number != "set"] == [0, 1, 2]


@in_thread
def test_calls_end_in_the_order_in_which_what_they_wait_for_is_done():
    events, order = [asyncio.Event() for _ in range(4)], []

    def waits(number):
        wait(events[number])
        order.append(number)

    greenlets = [gevent.spawn(waits, number) for number in range(4)]
    gevent.sleep(0)
    for number in [2, 0, 3, 1]:
        set_event(events[number])
        greenlets[number].join()
    assert order == [2, 0, 3, 1]


@in_thread
def test_a_hundred_greenlets_meet_at_a_barrier():
    barrier = asyncio.Barrier(100)

    @tworoutine
    async def meet():
        return await barrier.wait()

    greenlets = [gevent.spawn(meet) for _ in range(100)]
    gevent.joinall(greenlets, raise_error=True)
    assert sorted(g.value for g in greenlets) == list(range(100))


@in_thread
def test_the_context_is_the_callers_own():
    var = contextvars.ContextVar("var", default="unset")

    @tworoutine
    async def inside(value):
        seen = var.get()
        token = var.set(value)
        await asyncio.sleep(0.001)
        return seen, token

    def caller(name):
        var.set(name)
        seen, token = inside(name * 2)
        assert (seen, var.get()) == (name, name * 2)
        var.reset(token)
        return var.get()

    names = ["a", "b", "c"]
    greenlets = [gevent.spawn(caller, name) for name in names]
    gevent.joinall(greenlets, raise_error=True)
    assert [g.value for g in greenlets] == names
    assert var.get() == "unset"
    assert caller("main") == "main"
    # In contexts that somebody has entered.
    context = contextvars.copy_context()
    assert context.run(caller, "entered") == "entered"
    assert context.run(contextvars.copy_context().run, caller, "x") == "x"


@in_thread
def test_the_same_loop_serves_every_call_and_is_left_idle():
    @tworoutine
    async def running():
        return asyncio.get_running_loop()

    first = running()
    assert gevent.spawn(running).get() is first is running()
    assert not first.is_running()
    assert asyncio._get_running_loop() is None


@in_thread
def test_a_background_task_goes_on_in_the_next_call():
    steps = []

    @tworoutine
    async def start():
        async def background():
            for number in range(3):
                steps.append(number)
                nap(0)

        return asyncio.create_task(background())

    task = start()
    while not task.done():
        nap(0)
    assert steps == [0, 1, 2]


@in_thread
def test_other_greenlets_do_not_see_a_running_loop():
    event = asyncio.Event()
    waiting = gevent.spawn(wait, event)
    gevent.sleep(0.01)
    assert not waiting.dead
    with pytest.raises(RuntimeError, match="no running event loop"):
        asyncio.get_running_loop()
    assert asyncio.run((~nap)(0, "run")) == "run"
    set_event(event)
    waiting.join()


@in_thread
def test_nothing_is_left_that_the_hub_would_wait_for():
    gevent.spawn(nap, 0.001).get()
    gevent.spawn_later(0.001, nap, 0.001)
    assert gevent.wait(timeout=10) is True


class Cleanup:
    """A call that waits for ever, and what its cleanup did."""

    def __init__(self, error=None):
        self.steps = []
        self._error = error

        @tworoutine
        async def call():
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.steps.append("cancelled")
                await asyncio.sleep(0.001)
                self.steps.append("cleaned up")
                if self._error is not None:
                    raise self._error from None
                raise

        self.call = call


@in_thread
def test_kill_cancels_and_waits_for_the_cleanup():
    cleanup = Cleanup()
    after = []

    def caller():
        try:
            cleanup.call()
        except gevent.GreenletExit:
            after.append("caller")
            raise

    greenlet = gevent.spawn(caller)
    nap(0.001)
    greenlet.kill()
    assert greenlet.dead and isinstance(greenlet.value, gevent.GreenletExit)
    assert cleanup.steps == ["cancelled", "cleaned up"]
    assert after == ["caller"]
    assert nap(0, "next") == "next"


@in_thread
def test_timeout():
    cleanup = Cleanup()
    with pytest.raises(gevent.Timeout) as caught:
        timeout = gevent.Timeout.start_new(0.001)
        try:
            cleanup.call()
        finally:
            timeout.close()
    assert caught.value is timeout
    assert cleanup.steps == ["cancelled", "cleaned up"]
    with gevent.Timeout(0.001, False):
        nap(60)
        pytest.fail("not reached")
    with gevent.Timeout(60):
        assert nap(0.001, "in time") == "in time"


class Trap:
    def __await__(self):
        return (yield)


@pytest.mark.parametrize("called_before", [False, True])
@in_thread
def test_a_timeout_begun_in_a_portal_is_for_who_steps_it(called_before):
    """As for any coroutine: to gevent it is a part of the greenlet."""
    if called_before:
        nap(0.001)

    async def main():
        with gevent.Timeout(0.001) as timeout:
            try:
                await_(Trap())
            except gevent.Timeout as exc:
                return exc is timeout

    def steps():
        portal = tworoutine_portal(main)()
        portal.send(None)
        with pytest.raises(gevent.Timeout) as caught:
            gevent.sleep(60)
        with pytest.raises(StopIteration) as stop:
            portal.throw(caught.value)
        return stop.value.value

    assert gevent.spawn(steps).get() is True


@in_thread
def test_an_error_of_the_cleanup_is_raised():
    error = KeyError("mine")
    cleanup = Cleanup(error)
    with gevent.Timeout(0.001), pytest.raises(KeyError) as caught:
        cleanup.call()
    assert caught.value is error


@in_thread
def test_a_call_that_is_killed_at_once_has_begun():
    steps = []

    @tworoutine
    async def begins():
        steps.append("begins")
        try:
            await asyncio.Event().wait()
        finally:
            steps.append("finally")

    @tworoutine
    async def yields():
        steps.append("yields")
        await asyncio.Event().wait()
        yield

    for caller in begins, lambda: list(yields()):
        greenlet = gevent.spawn(caller)
        kill = functools.partial(greenlet.kill, block=False)
        gevent.get_hub().loop.run_callback(kill)
        greenlet.join()
    assert steps == ["begins", "finally", "yields"]


@in_thread
def test_a_second_kill_reaches_the_cleanup():
    steps = []

    @tworoutine
    async def stubborn():
        try:
            await asyncio.Event().wait()
        finally:
            steps.append("first")
            try:
                await asyncio.Event().wait()
            finally:
                steps.append("second")

    greenlet = gevent.spawn(stubborn)
    nap(0.001)
    greenlet.kill(block=False)
    nap(0.001)
    assert steps == ["first"] and not greenlet.dead
    greenlet.kill()
    assert steps == ["first", "second"] and greenlet.dead


@in_thread
def test_asyncios_own_cancellation_and_timeouts():
    @tworoutine
    async def limited():
        async with asyncio.timeout(0.001):
            await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        limited()

    @tworoutine
    async def cancels_itself():
        asyncio.current_task().cancel()
        await asyncio.sleep(0)

    with pytest.raises(asyncio.CancelledError):
        cancels_itself()


@in_thread
def test_errors_the_same_object_and_no_frame_of_ours():
    def fails(error):
        raise error

    @tworoutine
    async def inside(error):
        await asyncio.sleep(0)
        fails(error)

    def caller():
        error = KeyError("mine")
        try:
            inside(error)
        except KeyError as exc:
            assert exc is error and exc.__context__ is None
            return [f.name for f in traceback.extract_tb(exc.__traceback__)]

    expected = ["caller", "inside", "fails"]
    assert caller() == expected
    assert gevent.spawn(caller).get() == expected


@in_thread
def test_nested_calls_and_the_greenlets_that_they_spawn():
    @tworoutine
    async def down(number):
        await asyncio.sleep(0)
        return down(number - 1) + 1 if number else 0

    @tworoutine
    async def spawns():
        # The greenlet's call waits until this step is over.
        greenlet = gevent.spawn(nap, 0, "spawned")
        await asyncio.sleep(0)
        while not greenlet.dead:
            nap(0.001)
        return greenlet.value

    greenlets = [gevent.spawn(down, 10) for _ in range(10)]
    assert spawns() == "spawned"
    gevent.joinall(greenlets, raise_error=True)
    assert [g.value for g in greenlets] == [10] * 10


@in_thread
def test_a_call_while_a_step_of_the_loop_blocks_by_gevent():
    tasks = []
    blocked, go_on = gevent.event.Event(), gevent.event.Event()

    @tworoutine
    async def blocks():
        tasks.append(asyncio.current_task())
        await asyncio.sleep(0)
        blocked.set()
        go_on.wait()
        return "done"

    @tworoutine
    async def other():
        tasks.append(asyncio.current_task())
        await asyncio.sleep(0)
        assert asyncio.current_task() is tasks[-1]

    blocking = gevent.spawn(blocks)
    blocked.wait()
    gevent.spawn_later(0.001, go_on.set)
    other()
    assert blocking.get() == "done"
    assert tasks[0] is not tasks[1]


@pytest.mark.skipif(
    sys.version_info >= (3, 14),
    reason="asyncio of 3.14 steps no task below another one",
)
@in_thread
def test_another_loop_whose_step_blocks_by_gevent():
    blocked, go_on = gevent.event.Event(), gevent.event.Event()

    async def main():
        await asyncio.sleep(0)
        blocked.set()
        go_on.wait()
        assert asyncio.current_task() is not None
        return nap(0, "run")

    running = gevent.spawn(asyncio.run, main())
    blocked.wait()

    @tworoutine
    async def loop_of():
        await asyncio.sleep(0.001)
        return asyncio.get_running_loop()

    seen = asyncio.get_running_loop()  # it is the thread's
    assert loop_of() is not seen
    assert asyncio.get_running_loop() is seen
    go_on.set()
    assert running.get() == "run"


@in_thread
def test_in_another_loop_while_calls_wait_it_is_refused():
    event = asyncio.Event()

    async def main():
        with pytest.raises(CannotSuspend):
            nap()
        return await (~nap)(0, "awaited")

    waiting = gevent.spawn(wait, event)
    gevent.sleep(0.01)
    assert asyncio.run(main()) == "awaited"
    set_event(event)
    waiting.get()


@in_thread
def test_a_callback_of_the_hub_is_refused():
    refused = gevent.event.AsyncResult()

    def callback():
        try:
            nap()
        except CannotSuspend as exc:
            refused.set(str(exc))

    gevent.get_hub().loop.run_callback(callback)
    assert "gevent.spawn" in refused.get()


@in_thread
def test_a_raw_greenlet_of_a_step():
    """(Where SQLAlchemy's asyncio is loaded, a call there is refused.)"""
    import greenlet

    @tworoutine
    async def step():
        await asyncio.sleep(0)
        try:
            greenlet.greenlet(nap).switch()
        except CannotSuspend as exc:
            assert "sqlalchemy.ext.asyncio" in sys.modules
            assert "greenlet" in str(exc)
        else:
            assert "sqlalchemy.ext.asyncio" not in sys.modules
        return "went on"

    assert step() == "went on"


@in_thread
def test_iteration_managers_fan_out():
    @tworoutine
    async def count(number):
        try:
            for i in range(number):
                await asyncio.sleep(0)
                yield i
        finally:
            await asyncio.sleep(0)

    def caller():
        assert list(count(3)) == [0, 1, 2]
        for _ in count(3):
            break
        assert nap.map([0.001, 0]) == [None, None]
        assert dict(nap.as_completed([0.001, 0])) == {0.001: None, 0: None}
        return await_(asyncio.sleep(0, "awaited"))

    greenlets = [gevent.spawn(caller) for _ in range(5)]
    gevent.joinall(greenlets, raise_error=True)
    assert {g.value for g in greenlets} == {"awaited"}


@in_thread
def test_waiting_uses_no_cpu():
    nap()
    before = time.thread_time()
    nap(0.3)
    assert time.thread_time() - before < 0.15


@in_thread
def test_threads_have_a_loop_each():
    @tworoutine
    async def loop():
        await asyncio.sleep(0.001)
        return asyncio.get_running_loop()

    pool = gevent.get_hub().threadpool
    loops = [loop(), pool.apply(loop)]
    pool.kill()
    assert loops[0] is not loops[1]


def test_nothing_is_left_behind():
    @in_thread
    def calls():
        greenlets = [gevent.spawn(nap, 0.001) for _ in range(10)]
        gevent.joinall(greenlets, raise_error=True)
        greenlets[0].kill()

    def run_objects():
        gc.collect()
        return [o for o in gc.get_objects() if type(o).__name__ == "Run"]

    calls()
    before = len(run_objects())
    for _ in range(5):
        calls()
    assert len(run_objects()) <= before


@pytest.mark.skipif(
    sys.version_info < (3, 12), reason="no eager tasks before 3.12"
)
def test_a_refused_call_keeps_no_eager_task():
    """In a portal that no task steps, whose step makes an eager task."""
    tasks = []

    async def eager():
        with pytest.raises(CannotSuspend):
            nap()

    async def step():
        loop = asyncio.get_running_loop()
        task = asyncio.Task(eager(), loop=loop, eager_start=True)
        tasks.append(weakref.ref(task))
        assert task.done()

    def callback():
        with pytest.raises(StopIteration):
            tworoutine_portal(step)().send(None)

    async def main():
        asyncio.get_running_loop().call_soon(callback)
        await asyncio.sleep(0)

    asyncio.run(main())
    gc.collect()
    assert [task() for task in tasks] == [None]


# --- the end of a thread ----------------------------------------------------


def run_thread(target):
    thread = threading.Thread(target=target)
    thread.start()
    thread.join()


def test_calls_that_wait_when_their_thread_ends_are_killed():
    cleanup = Cleanup()
    after, loops = [], []

    @tworoutine
    async def note(step):
        await asyncio.sleep(0.001)
        after.append(step)
        loops.append(asyncio.get_running_loop())

    def caller():
        try:
            cleanup.call()
        except gevent.GreenletExit:
            note("killed")
        finally:
            note("finally")

    def target():
        gevent.spawn(caller)
        other = greenlet(caller, gevent.get_hub())
        gevent.get_hub().loop.run_callback(other.switch)
        gevent.sleep(0.01)
        assert cleanup.steps == after == []

    run_thread(target)
    assert sorted(cleanup.steps) == ["cancelled"] * 2 + ["cleaned up"] * 2
    assert sorted(after) == ["finally"] * 2 + ["killed"] * 2
    assert loops == loops[:1] * 4 and loops[0].is_closed()


def test_a_call_made_while_its_thread_ends_is_killed_too():
    steps = []

    def calls_later(ending):
        ending.wait()
        try:
            wait(asyncio.Event())
        finally:
            steps.append("later")

    @tworoutine
    async def ends(ending):
        try:
            await asyncio.Event().wait()
        finally:
            ending.set()
            while steps != ["later"]:
                await asyncio.sleep(0.001)
            steps.append("first")

    def target():
        ending = gevent.event.Event()
        gevent.spawn(ends, ending)
        gevent.spawn(calls_later, ending)
        gevent.sleep(0.01)

    run_thread(target)
    assert steps == ["later", "first"]


def test_a_destroyed_hub_lets_no_call_go_on():
    cleanup = Cleanup()

    def target():
        gevent.spawn(cleanup.call)
        gevent.sleep(0.01)
        gevent.get_hub().destroy(destroy_loop=True)

    run_thread(target)
    assert cleanup.steps == []
    run_thread(in_thread(nap))


def test_a_step_that_blocks_for_ever_holds_up_no_end():
    steps = []

    @tworoutine
    async def blocks():
        steps.append("blocks")
        gevent.event.Event().wait()

    def target():
        gevent.spawn(blocks)
        gevent.sleep(0.01)

    run_thread(target)
    assert steps == ["blocks"]


# --- programs ---------------------------------------------------------------


@pytest.mark.parametrize("patch", ["", "monkey.patch_all()"])
def test_a_call_that_waits_when_the_interpreter_ends_is_killed(program, patch):
    source = f"""
from gevent import monkey
{patch}
import asyncio
import gevent
from tworoutine import tworoutine

@tworoutine
async def wait():
    try:
        await asyncio.Event().wait()
    finally:
        await asyncio.sleep(0.001)
        print("finally")

def caller():
    try:
        wait()
    except gevent.GreenletExit:
        print("killed")
        raise

gevent.spawn(caller)
gevent.sleep(0.01)
print("end")
"""
    assert program(source) == "end\nfinally\nkilled\n"


def test_calls_after_a_hub_was_destroyed_and_atexit_run_by_hand(program):
    source = """
import asyncio
import gevent
from tworoutine import tworoutine
from tworoutine._core import end_thread

@tworoutine
async def wait():
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        print("cancelled")

@tworoutine
async def double(x):
    await asyncio.sleep(0.001)
    return 2 * x

waiting = gevent.spawn(wait)
gevent.sleep(0.01)
gevent.get_hub().destroy()
end_thread()
print(double(1), gevent.spawn(double, 2).get())
"""
    assert program(source) == "2 4\n"


def test_a_patched_program_with_a_server(program):
    """Twenty requests, each a call, which are answered when all have come."""
    source = """
from gevent import monkey
monkey.patch_all()
import asyncio
import gevent
import urllib.request
from gevent.pywsgi import WSGIServer
from tworoutine import tworoutine

N = 20
barrier = asyncio.Barrier(N)

@tworoutine
async def echo(data):
    await barrier.wait()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    writer.write_eof()
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    await asyncio.to_thread(lambda: None)
    return answer

async def serve(reader, writer):
    writer.write((await reader.read())[::-1])
    await writer.drain()
    writer.close()

def application(environ, start_response):
    start_response("200 OK", [])
    return [echo(environ["PATH_INFO"].encode())]

@tworoutine
async def start():
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    return server, server.sockets[0].getsockname()[1]

@tworoutine
async def stop(server):
    server.close()
    await server.wait_closed()

server, port = start()
web = WSGIServer(("127.0.0.1", 0), application, log=None)
web.start()

def get(number):
    url = f"http://127.0.0.1:{web.server_port}/{number}"
    with urllib.request.urlopen(url) as response:
        return response.read().decode()

clients = [gevent.spawn(get, number) for number in range(N)]
gevent.joinall(clients, raise_error=True)
assert [c.value for c in clients] == [f"{n}"[::-1] + "/" for n in range(N)]
web.stop()
stop(server)
print(gevent.wait(timeout=10))
"""
    assert program(source) == "True\n"


@pytest.mark.parametrize("where", ["wait", "_let_go", "_wake"])
def test_ctrl_c_before_the_call_waits(program, where):
    source = f"""
import asyncio, sys
import gevent
from tworoutine import tworoutine

@tworoutine
async def nap():
    await asyncio.sleep(0.001)
    return "next"

def interrupt(frame, event, arg):
    code = frame.f_code
    if (event, code.co_name) == ("call", "{where}"):
        if code.co_filename.endswith("_gevent.py"):
            sys.setprofile(None)
            raise KeyboardInterrupt

gevent.sleep(0)
sys.setprofile(interrupt)
try:
    nap()
except KeyboardInterrupt:
    print("interrupted")
print(nap())
"""
    assert program(source) == "interrupted\nnext\n"


@pytest.mark.parametrize("nested", [False, True])
def test_ctrl_c_in_the_main_greenlet(program, nested):
    source = f"""
import asyncio, os, signal
signal.signal(signal.SIGINT, signal.default_int_handler)
import gevent
from tworoutine import tworoutine

@tworoutine
async def inner():
    try:
        await asyncio.sleep(60)
    finally:
        await asyncio.sleep(0)
        print("finally")

@tworoutine
async def outer():
    await asyncio.sleep(0)
    if {nested}:
        inner()
    else:
        await (~inner)()

other = gevent.spawn(tworoutine(asyncio.sleep), 0.05, "other")
gevent.spawn_later(0.01, os.kill, os.getpid(), signal.SIGINT)
try:
    outer()
except KeyboardInterrupt as exc:
    print("interrupted", exc.__traceback__.tb_next is None)
print(other.get())
print(tworoutine(asyncio.sleep)(0, "next"))
"""
    assert program(source) == "finally\ninterrupted True\nother\nnext\n"


def test_keyboard_interrupt_raised_inside_reaches_the_caller(program):
    source = """
import asyncio
import gevent
from tworoutine import tworoutine

@tworoutine
async def interrupts():
    await asyncio.sleep(0)
    raise KeyboardInterrupt

event = asyncio.Event()
@tworoutine
async def wait():
    await event.wait()
    return "waited"

@tworoutine
async def set():
    event.set()

other = gevent.spawn(wait)
gevent.sleep(0)
try:
    interrupts()
except KeyboardInterrupt:
    print("caught")
set()
print(other.get())
"""
    assert program(source) == "caught\nwaited\n"


@pytest.mark.parametrize("waiting", [False, True])
def test_fork(program, waiting):
    source = f"""
import asyncio, os
import gevent, gevent.os
from tworoutine import tworoutine

@tworoutine
async def nap(result, seconds=0.001):
    await asyncio.sleep(seconds)
    return result

assert gevent.spawn(nap, 1).get() == 1
if {waiting}:
    other = gevent.spawn(nap, "other", 0.1)
    gevent.sleep(0.01)
pid = gevent.os.fork()
if pid == 0:
    ok = gevent.spawn(nap, 2).get() == 2 and nap(3) == 3
    gevent.sleep(0.2)
    os._exit(0 if ok else 1)
_, status = os.waitpid(pid, 0)
print(os.waitstatus_to_exitcode(status), gevent.spawn(nap, 4).get())
if {waiting}:
    assert other.get() == "other"
"""
    assert program(source) == "0 4\n"


def test_a_child_that_is_forked_in_a_call_and_exits_ends(program):
    source = """
import asyncio, os, sys
import gevent
from tworoutine import tworoutine

@tworoutine
async def forks():
    await asyncio.sleep(0.001)
    pid = os.fork()
    if pid == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        sys.exit(5)
    await asyncio.sleep(0.001)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

greenlet = gevent.spawn(forks)
greenlet.join()
print("ended with an error:", greenlet.value > 0)
"""
    assert program(source) == "ended with an error: True\n"


def test_a_loop_made_before_gevent_came_serves_on(program):
    source = """
import asyncio
from tworoutine import tworoutine

@tworoutine
async def loop():
    await asyncio.sleep(0.001)
    return asyncio.get_running_loop()

first = loop()
import gevent
gevent.sleep(0)
calls = [gevent.spawn(loop) for _ in range(3)]
gevent.joinall(calls)
same = {call.value for call in calls} == {first}
print(same, type(first._selector).__name__)
"""
    assert program(source) == "True EpollSelector\n"
