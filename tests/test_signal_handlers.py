"""What signal handlers raise, and callbacks that end the program.

Time limits (signal.alarm, pytest-timeout, Celery's) are handlers that raise.
A call that one interrupts ends as by Ctrl-C: what was called is cancelled,
its finally blocks run, then the exception appears at the caller's line.
"""

import sys

import pytest

import signalled

PRELUDE = """
class Limit(Exception):
    pass

def handler(signum, frame):
    raise Limit(len(log))

signal.signal(signal.SIGUSR1, handler)

def from_a_thread():
    '''Send the signal as the loop polls, as nothing else is to be done.'''
    import select, threading
    loop = asyncio.get_running_loop()
    poll = loop._selector.select
    def select(timeout=None):
        if timeout is None or timeout > 1:
            loop._selector.select = poll
            timer = threading.Timer(
                0.05, signal.pthread_kill,
                [threading.main_thread().ident, signal.SIGUSR1])
            timer.daemon = True
            timer.start()
        return poll(timeout)
    loop._selector.select = select

@tworoutine
async def long():
    from_a_thread()
    await wait_for_long()
"""


def run(program, *args, **options):
    return signalled.run(PRELUDE + program, *args, **options)


def test_without_a_loop():
    done = run("""
for _ in range(3):
    log.clear()
    try:
        long()
    except Limit as exc:
        log.append("limit")
        names = []
        tb = exc.__traceback__
        while tb:
            names.append(tb.tb_frame.f_code.co_name)
            tb = tb.tb_next
        assert names[0] == "<module>" and names[-1] == "handler", names
        assert "driver" not in names and exc.__context__ is None
    assert log == ["cancelled", "finally", "limit"], log
    assert tick() == "tick"
    assert log == ["cancelled", "finally", "limit"], log
""")
    assert done.stderr == ""


def test_without_a_loop_one_that_ends_the_program():
    done = run(
        """
signal.signal(signal.SIGUSR1, lambda *args: sys.exit(5))
try:
    long()
finally:
    print(log)
""",
        code=5,
    )
    assert (done.stdout, done.stderr) == ("['cancelled', 'finally']\n", "")


def test_a_swallowed_cancel_does_not_swallow_it():
    run("""
@tworoutine
async def stubborn():
    from_a_thread()
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        return "as if nothing had happened"

try:
    stubborn()
except Limit:
    log.append("limit")
assert log == ["limit"], log
assert tick() == "tick"
""")


def test_an_error_of_the_cleanup_comes_first():
    run("""
@tworoutine
async def careless():
    from_a_thread()
    try:
        await asyncio.sleep(60)
    finally:
        raise KeyError("cleanup")

try:
    careless()
except KeyError as exc:
    assert isinstance(exc.__context__, asyncio.CancelledError)
else:
    raise AssertionError
assert tick() == "tick"
""")


def test_a_second_one_during_the_cleanup():
    run("""
@tworoutine
async def slow_to_end():
    from_a_thread()
    try:
        await asyncio.sleep(60)
    finally:
        log.append("finally")
        from_a_thread()
        await asyncio.sleep(60)

try:
    slow_to_end()
except Limit as exc:
    assert exc.args == (1,), exc
else:
    raise AssertionError
assert tick() == "tick"
""")


def test_a_nested_call():
    run("""
@tworoutine
async def outer():
    try:
        long()
    except Limit:
        log.append("limit in outer")
        raise
    finally:
        await asyncio.sleep(0)
        log.append("finally of outer")

try:
    outer()
except Limit:
    log.append("limit")
assert log == ["finally", "limit in outer", "finally of outer", "limit"], log
""")


@pytest.mark.parametrize("how", ["call", "await"])
@pytest.mark.parametrize("first", ["main", "background"])
def test_in_a_running_loop(how, first):
    """It comes out of the loop, as without us, and is nobody else's."""
    run(
        """
CALL, FIRST = sys.argv[1] == "call", sys.argv[2]

async def background():
    try:
        tick() if CALL else await (~tick)()
        await asyncio.Event().wait() if not CALL else wait()
    except BaseException as exc:
        log.append(type(exc).__name__)
        raise

@tworoutine
async def wait():
    try:
        await asyncio.Event().wait()
    finally:
        await asyncio.sleep(0)

async def main():
    if FIRST == "background":
        task = asyncio.create_task(background())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    try:
        long() if CALL else await (~long)()
    except BaseException as exc:
        log.append(type(exc).__name__)
        raise
    finally:
        if FIRST == "background":
            await asyncio.gather(task, return_exceptions=True)

try:
    asyncio.run(main())
except Limit:
    log.append("limit")
ends = {"cancelled", "finally", "CancelledError", "limit"}
assert set(log) == ends and log[-1] == "limit", log
assert "Limit" not in log
""",
        how,
        first,
    )


def test_the_first_call_of_a_loop_gets_nobody_elses():
    run("""
@tworoutine
async def wait(event):
    try:
        await event.wait()
    finally:
        log.append("finally of another")

async def main():
    event = asyncio.Event()
    async def another():
        try:
            wait(event)
        except BaseException as exc:
            log.append(type(exc).__name__)
            raise
    task = asyncio.create_task(another())
    await asyncio.sleep(0)
    from_a_thread()
    await asyncio.sleep(60)

loop = asyncio.new_event_loop()
task = loop.create_task(main())
try:
    loop.run_until_complete(task)
except Limit:
    log.append("limit")
assert log == ["finally of another", "CancelledError", "limit"], log
task.cancel()
loop.run_until_complete(asyncio.gather(task, return_exceptions=True))
assert loop.run_until_complete((~tick)()) == "tick"
loop.close()
""")


@pytest.mark.parametrize("how", ["call", "await"])
@pytest.mark.parametrize("who", ["callback", "task", "signal"])
def test_an_exit_beside_the_first_call_of_a_loop(how, who):
    """It comes out of run_forever, whoever made that call."""
    done = run(
        """
CALL = sys.argv[1] == "call"

@tworoutine
async def plugin():
    try:
        await asyncio.sleep(60)
    finally:
        await asyncio.sleep(0)
        print("finally")

async def worker():
    while True:
        try:
            if CALL:
                plugin()
            else:
                await (~plugin)()
        except SystemExit as exc:
            print("worker got", exc.code)

async def leave():
    sys.exit(4)

async def main():
    task = asyncio.create_task(worker())
    await asyncio.sleep(0)
    loop = asyncio.get_running_loop()
    if sys.argv[2] == "callback":
        loop.call_soon(sys.exit, 4)
    elif sys.argv[2] == "task":
        other = asyncio.create_task(leave())
    else:
        loop.add_signal_handler(signal.SIGTERM, sys.exit, 4)
        os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.sleep(60)
    print("main went on")

asyncio.run(main())
""",
        how,
        who,
        code=4,
    )
    assert done.stdout == "finally\n"
    # asyncio tells of the task that nobody asked how it ended.
    assert ("SystemExit: 4" in done.stderr) == (who == "task")
    assert who == "task" or done.stderr == ""


def test_of_ones_own_for_ctrl_c_goes_to_who_waits_at_the_top_level():
    """Whoever else waits, and whatever has been imported before."""
    run("""
def handler(signum, frame):
    raise KeyboardInterrupt("own")

signal.signal(signal.SIGUSR1, handler)

@tworoutine
async def wait():
    try:
        await asyncio.Event().wait()
    finally:
        log.append("finally")

async def background():
    try:
        wait()
    except BaseException as exc:
        log.append(type(exc).__name__)
        raise

async def cell():
    await asyncio.sleep(0)
    from_a_thread()
    try:
        exec(compile("wait()", "<cell>", "exec"), {"wait": wait})
    except KeyboardInterrupt as exc:
        log.append(str(exc))

async def main():
    tasks = [asyncio.create_task(background()) for _ in range(3)]
    here = asyncio.create_task(cell())
    await asyncio.sleep(0)
    tasks.append(asyncio.create_task(background()))
    await here
    assert log == ["finally", "own"], log
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)

loop = asyncio.new_event_loop()
loop.run_until_complete(main())
loop.close()
""")


@pytest.mark.skipif(
    sys.version_info >= (3, 14),
    reason="there, no loop runs in a child: it hangs without us, too",
)
def test_a_child_that_exits_beside_the_first_call_of_a_loop():
    done = run("""
@tworoutine
async def another():
    try:
        await asyncio.sleep(60)
    finally:
        await asyncio.sleep(0.001)

async def worker():
    another()

async def main():
    task = asyncio.create_task(worker())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    pid = os.fork()
    if pid == 0:
        sys.exit(7)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    task.cancel()
    return code

print(asyncio.run(main()))
""")
    assert done.stdout == "7\n"


# --- beside a step of a task that a call carries -----------------------------

BESIDE = """
import ctypes, operator

NAME, WHERE, DEBUG, WHO = sys.argv[1:5]
RAISES = Limit if NAME == "Limit" else KeyboardInterrupt

def handler(signum, frame):
    log.append("raises")
    raise RAISES("x")

signal.signal(signal.SIGUSR1, handler)
number = int(signal.SIGUSR1)
raise_ = ctypes.CDLL(None)["raise"]
raise_.restype = None

class Yields:
    '''Yields what is given, in C; the signal has come just before.'''
    def __init__(self, what):
        self.what = what
    def __await__(self):
        pairs = zip(map(raise_, [number]), [self.what])
        return map(operator.itemgetter(1), pairs)

def in_a_moment():
    loop = asyncio.get_running_loop()
    future = loop.create_future()
    loop.call_later(0.01, lambda: future.done() or future.set_result(None))
    future._asyncio_future_blocking = True
    return future

def raise_before_the_next_step():
    original, task = asyncio.Handle._run, asyncio.current_task()
    def _run(self):
        if getattr(self._callback, "__self__", None) is task:
            asyncio.Handle._run = original
            signal.raise_signal(number)
        return original(self)
    asyncio.Handle._run = _run

@tworoutine
async def interrupted():
    asyncio.get_running_loop().set_debug(DEBUG == "debug")
    try:
        if WHERE not in ("after the first", "as the second one is queued"):
            await asyncio.sleep(0.001)
        if WHERE == "before":
            raise_before_the_next_step()
            await asyncio.sleep(0.001)
        elif WHERE.endswith("one is queued"):
            await Yields(None)
        else:
            await Yields(in_a_moment())
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        log.append("cancelled")
        raise
    finally:
        await asyncio.sleep(0.001)
        log.append("finally")

def caller():
    try:
        interrupted()
    except RAISES as exc:
        log.append(NAME)
        assert exc.__context__ is None, exc.__context__

if WHO == "no loop":
    caller()
    assert tick() == "tick"
else:
    async def main():
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        loop.call_soon(lambda: done.set_result(caller()))
        await asyncio.wait_for(done, 10)
    asyncio.run(main())
assert log == ["raises", "cancelled", "finally", NAME], log
"""


@pytest.mark.parametrize("who", ["no loop", "callback"])
@pytest.mark.parametrize("mode", ["plain", "debug"])
@pytest.mark.parametrize("name", ["Limit", "KeyboardInterrupt"])
@pytest.mark.parametrize(
    "where",
    [
        *("before", "after", "after the first"),
        *("as the second one is queued", "as the next one is queued"),
    ],
)
def test_beside_a_step_of_a_task_that_a_call_carries(where, name, mode, who):
    """It is no exception of the task's, and would lose a step; or the task."""
    assert run(BESIDE, name, where, mode, who).stderr == ""


# --- calls in signal handlers -----------------------------------------------


def test_a_call_wherever_asyncio_begins_or_ends_a_run():
    """It is served by another loop, or refused; asyncio.run always returns."""
    run("""
import time
from tworoutine import CannotSuspend

calls = served = refused = 0

def handler(signum, frame):
    global served, refused
    try:
        assert tick() == "tick"
        served += 1
    except CannotSuspend as exc:
        assert "between two callbacks" in str(exc), exc
        refused += 1

async def main():
    await asyncio.sleep(0)
    return "done"

signal.signal(signal.SIGALRM, handler)

def one(first):
    # The signal comes at another place each time.
    signal.setitimer(signal.ITIMER_REAL, first)
    try:
        assert asyncio.run(main()) == "done"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)

def seconds():
    begin = time.perf_counter()
    one(10)
    return time.perf_counter() - begin

# The length of a run depends on what else the machine does: it is measured
# anew for each sweep, until enough signals have come within one.
sweeps = 0
while sweeps < 10 or served <= 100:
    length = seconds()
    for i in range(150):
        one(max(length * i / 150, 1e-6))
    sweeps += 1
""")


def test_a_call_in_the_middle_of_asyncios_own_work_is_refused():
    """What others use is not as they expect it to be."""
    run("""
from tworoutine import CannotSuspend

said = []

def plain(signum, frame):
    call()

def star(*args):
    call()

class Owner:
    def handler(self, signum, frame):
        call()
    def star(self, *args, more=None):
        call()

def nested(signum, frame):
    def inner():
        call()
    list(map(lambda _: inner(), [1]))

def call():
    try:
        tick()
    except CannotSuspend as exc:
        said.append(str(exc))
    else:
        said.append("served")

def trace(frame, event, arg):
    if frame.f_code.co_name == "__lt__" and event == "call":
        sys.settrace(None)
        signal.raise_signal(signal.SIGUSR2)

async def main():
    loop = asyncio.get_running_loop()
    for handler in plain, star, Owner().handler, Owner().star, nested:
        signal.signal(signal.SIGUSR2, handler)
        sys.settrace(trace)
        timers = [loop.call_later(60 - i, print) for i in range(3)]
        sys.settrace(None)
        for timer in timers:
            timer.cancel()
    assert len(said) == 5 and all("between" in text for text in said), said
    assert all("tick" in text for text in said)
    # The tworoutine itself may be the handler.
    @tworoutine
    async def itself(signum, frame):
        await asyncio.sleep(0)
    signal.signal(signal.SIGUSR2, itself)
    sys.settrace(trace)
    try:
        for i in range(3):
            loop.call_later(60 - i, print)
    except CannotSuspend as exc:
        assert "itself" in str(exc) and "between" in str(exc), exc
    else:
        raise AssertionError
    finally:
        sys.settrace(None)
    # In the code of a task, they are served.
    signal.raise_signal(signal.SIGUSR2)
    said.clear()
    signal.signal(signal.SIGUSR2, plain)
    signal.raise_signal(signal.SIGUSR2)
    assert said == ["served"], said

asyncio.run(main())
""")


def test_what_asyncio_calls_is_no_signal_handler():
    """Callbacks of streams and protocols make calls as ever."""
    run("""
served = []

def connected(reader, writer):
    served.append(tick())
    writer.close()

class Protocol(asyncio.Protocol):
    def data_received(self, data):
        served.append(tick())
        self.transport.close()
    def connection_made(self, transport):
        self.transport = transport
        served.append(tick())

async def main():
    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    assert await reader.read() == b""
    writer.close()
    server.close()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Protocol, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"x")
    assert await reader.read() == b""
    writer.close()
    server.close()
    assert served == ["tick"] * 3, served

asyncio.run(main())
""")


def test_a_function_like_a_handler_may_change_its_arguments():
    run("""
class Array:
    def __eq__(self, other):
        raise ZeroDivisionError

def handler(*args):
    args = None
    assert tick() == "tick"

def other(*args):
    assert tick() == "tick"

async def main():
    loop = asyncio.get_running_loop()
    for function in handler, lambda *args: other(Array(), *args):
        loop.set_exception_handler(function)
        loop.call_exception_handler({"message": "something"})

asyncio.run(main())
""")


def test_a_handler_that_raises_as_a_callback_ends_the_program():
    """The signal comes when no Python code runs until the loop has stopped."""
    run("""
import ctypes

def terminate(*args):
    log.append("handled")
    raise SystemExit(4)

async def main():
    tick()
    asyncio.create_task(background())  # its call has our handler in place
    await asyncio.sleep(0.01)
    loop.call_soon(raise_, int(signal.SIGUSR1))
    await asyncio.sleep(0.01)
    log.append("went on")
    loop.stop()

async def background():
    tick(10**9)

signal.signal(signal.SIGUSR1, terminate)
raise_ = ctypes.CDLL(None)["raise"]
raise_.restype = sys.exit  # of a built-in: signals are not looked for
loop = asyncio.new_event_loop()
task = loop.create_task(main())
try:
    loop.run_forever()
except SystemExit as exc:
    log.append(exc.code)
assert log == ["handled", 0], log
assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
loop.run_until_complete(task)
assert log[2:] == ["went on"], log
os._exit(0)  # background() waits for ever
""")
