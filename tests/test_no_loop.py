"""Calls where no loop runs: the thread's own loop, kept between them."""

import asyncio
import contextlib
import gc
import os
import subprocess
import sys
import threading
import time
import warnings

import pytest

from conftest import SLOW
from tworoutine import await_, tworoutine


@tworoutine
async def running_loop():
    return asyncio.get_running_loop()


@tworoutine
async def tick():
    await asyncio.sleep(0)


def in_thread(function):
    """function() in a thread of its own; what it returns or raises."""
    result = []

    def target():
        try:
            result.append((function(), None))
        except BaseException as exc:
            result.append((None, exc))

    thread = threading.Thread(target=target)
    thread.start()
    thread.join()
    value, error = result[0]
    if error is not None:
        raise error
    return value


def test_it_is_the_same_loop_in_every_call():
    loop = running_loop()
    tick()
    assert running_loop() is loop
    loop.mark = "attributes stay"
    assert running_loop().mark == "attributes stay"


def test_no_loop_is_left_running():
    tick()
    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()
    assert not running_loop().is_running()


def test_run_before_and_after():
    async def main():
        tick()
        return asyncio.get_running_loop()

    loop = running_loop()
    assert asyncio.run(main()) is not loop
    assert running_loop() is loop
    assert asyncio.run(main()).is_closed()


def test_a_connection_of_one_call_serves_the_next():
    served = asyncio.Event()

    @tworoutine
    async def serve():
        async def echo(reader, writer):
            while line := await reader.readline():
                writer.write(line)
            writer.close()
            await writer.wait_closed()
            served.set()

        return await asyncio.start_server(echo, "127.0.0.1", 0)

    @tworoutine
    async def connect(port):
        return await asyncio.open_connection("127.0.0.1", port)

    @tworoutine
    async def ask(reader, writer, line):
        writer.write(line)
        return await reader.readline()

    @tworoutine
    async def close(server, writer):
        writer.close()
        await writer.wait_closed()
        await served.wait()
        server.close()
        await server.wait_closed()

    def calls():
        server = serve()
        port = server.sockets[0].getsockname()[1]
        reader, writer = connect(port)
        for line in [b"one\n", b"two\n"]:
            assert ask(reader, writer, line) == line
        close(server, writer)

    in_thread(calls)


def test_a_background_task_goes_on_in_the_next_call():
    beats = []

    async def background():
        while True:
            beats.append(1)
            await asyncio.sleep(0)

    @tworoutine
    async def begin():
        return asyncio.create_task(background())

    def calls():
        task = begin()
        for count in range(1, 4):
            tick()
            assert len(beats) >= count
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await_(task)
        assert task.cancelled()

    in_thread(calls)


def test_queues_locks_and_timers_live_between_calls():
    @tworoutine
    async def later(queue):
        loop = asyncio.get_running_loop()
        loop.call_later(0.001, queue.put_nowait, "timer")
        loop.call_soon(queue.put_nowait, "soon")

    def calls():
        queue, lock = asyncio.Queue(1), asyncio.Lock()
        get, put = tworoutine(queue.get), tworoutine(queue.put)
        put("item")
        waiting = await_(asyncio.wait_for(begin(put, "second"), 5))
        assert (get(), get()) == ("item", "second")
        assert waiting.done()
        await_(lock.acquire())
        with pytest.raises(TimeoutError):
            await_(asyncio.wait_for(lock.acquire(), 0.01))
        lock.release()
        await_(lock.acquire())
        unlimited = asyncio.Queue()
        later(unlimited)
        get = tworoutine(unlimited.get)
        return get(), get()

    async def begin(put, item):
        task = asyncio.create_task((~put)(item))
        await asyncio.sleep(0)
        assert not task.done()
        return task

    assert in_thread(calls) == ("soon", "timer")


def test_a_set_loop_that_runs_in_another_thread_is_not_used():
    other = asyncio.new_event_loop()
    thread = threading.Thread(target=other.run_forever)
    thread.start()

    def calls():
        asyncio.set_event_loop(other)
        try:
            loop = running_loop()
            assert loop is not other
            tick()
            future = asyncio.run_coroutine_threadsafe((~tick)(), other)
            assert future.result(10) is None
            assert running_loop() is loop
        finally:
            asyncio.set_event_loop(None)

    in_thread(calls)
    other.call_soon_threadsafe(other.stop)
    thread.join()
    other.close()


def test_a_background_call_is_parked_between_calls_and_goes_on():
    @tworoutine
    async def begin(event):
        async def background():
            await_(event.wait())
            return "went on"

        return asyncio.create_task(background())

    @tworoutine
    async def finish(task, event):
        event.set()
        return await task

    def calls():
        event = asyncio.Event()
        task = begin(event)
        tick()
        assert not task.done()
        return finish(task, event)

    assert in_thread(calls) == "went on"


async def begin_to_call(event):
    async def background():
        await_(event.wait())
        return "went on"

    task = asyncio.create_task(background())
    await asyncio.sleep(0.001)
    return task


def test_a_task_that_calls_outlives_a_run_of_a_loop_that_a_call_has_run():
    """Somebody else's run: no call of that pins it."""

    def calls():
        event = asyncio.Event()
        loop = running_loop()
        task = loop.run_until_complete(begin_to_call(event))
        loop.run_until_complete(asyncio.sleep(0.001))
        assert not task.done()
        tick()
        assert not task.done()
        event.set()
        return loop.run_until_complete(task)

    assert in_thread(calls) == "went on"


def test_asyncio_run_cancels_the_tasks_left_over_without_a_word():
    """Even one whose call is the first of the loop: warnings are errors."""

    async def main():
        return await begin_to_call(asyncio.Event())

    assert asyncio.run(main()).cancelled()


def test_done_callbacks_have_run_when_the_call_returns():
    called = []

    @tworoutine
    async def f():
        asyncio.current_task().add_done_callback(lambda _: called.append(1))

    @tworoutine
    async def g():
        await asyncio.sleep(0)
        await (~f)()

    f()
    assert called == [1]
    g()
    assert called == [1, 1]


def test_the_set_loop_is_used_if_it_is_open():
    def calls():
        own = running_loop()
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        try:
            assert running_loop() is loop
            loop.close()
            assert running_loop() is own
        finally:
            asyncio.set_event_loop(None)
        assert running_loop() is own

    in_thread(calls)


ASKS = """
import asyncio, os, sys
from tworoutine import await_, tworoutine

@tworoutine
async def running():
    await asyncio.sleep(0)
    return asyncio.get_running_loop()

async def make():
    return asyncio.get_running_loop().create_future()

"""


def test_what_asks_for_the_current_loop_gets_the_one_of_the_calls(program):
    """As many libraries do; asyncio would make another one, up to 3.13."""
    program(
        ASKS
        + """
loop = running()
future = await_(make())
assert asyncio.get_event_loop() is loop
assert running() is loop
both = asyncio.gather((~running)(), (~running)())
assert await_(both) == [loop, loop]
loop.call_soon(future.set_result, 5)
assert await_(future) == 5
assert loop.run_until_complete((~running)()) is loop

asyncio.run((~running)())  # unsets what is set
assert running() is loop
assert asyncio.get_event_loop() is loop

loop.close()  # as a library may that was given it
other = running()
assert other is not loop and asyncio.get_event_loop() is other
"""
    )


def test_what_asks_for_the_current_loop_in_a_thread():
    def calls():
        loop = running_loop()
        return loop is await_(asyncio.gather((~running_loop)()))[0]

    assert in_thread(calls)


def test_a_loop_that_was_set_before_the_first_call_stays_set():
    def calls():
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        try:
            return (running_loop(), asyncio.get_event_loop()) == (loop, loop)
        finally:
            loop.close()

    assert in_thread(calls)


def test_a_loop_set_by_a_policy_unlike_asyncios_is_left_alone(program):
    """Which one that is, only the policy knows."""
    program(
        ASKS
        + """
class Policy:
    def new_event_loop(self):
        return asyncio.SelectorEventLoop()

    def set_event_loop(self, loop):
        raise AssertionError

asyncio.events._event_loop_policy = Policy()
loop = running()
assert running() is loop
""",
        flags=["-X", "dev"],  # 3.14 says that policies will go
    )


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("default")
def test_a_forked_child_has_no_loop_set(program):
    """It would be its parent's."""
    program(
        ASKS
        + """
loop = running()
pid = os.fork()
if pid == 0:
    local = asyncio.events._event_loop_policy._local
    ok = local._loop is None and not getattr(local, "_set_called", False)
    ok = ok and running() is not loop and running() is running()
    sys.stdout.flush()
    os._exit(0 if ok else 1)
assert os.waitpid(pid, 0)[1] == 0
assert running() is loop is asyncio.get_event_loop()
"""
    )


def test_once_it_is_closed_at_the_end_it_is_set_no_longer(program):
    program(
        ASKS
        + """
from tworoutine._core import end_thread
loop = running()
end_thread()
local = asyncio.events._event_loop_policy._local
assert loop.is_closed() and local._loop is None
assert not getattr(local, "_set_called", False)
"""
    )


def test_a_loop_that_is_no_asyncio_loop_of_ours_is_run_by_itself():
    class Strange(asyncio.SelectorEventLoop):
        def _run_once(self):
            super()._run_once()

    def calls():
        loop = Strange()
        asyncio.set_event_loop(loop)
        try:
            assert running_loop() is loop
            tick()
        finally:
            asyncio.set_event_loop(None)
            loop.close()

    in_thread(calls)


def test_stopping_the_loop_is_an_error_of_the_call():
    @tworoutine
    async def stop():
        asyncio.get_running_loop().stop()
        await asyncio.sleep(60)

    def calls():
        with pytest.raises(RuntimeError, match="stopped before"):
            stop()
        tick()

    in_thread(calls)


def test_await_a_future_and_a_task():
    def calls():
        loop = running_loop()
        future = loop.create_future()
        loop.call_soon(future.set_result, 1)
        assert await_(future) == 1
        assert await_(future) == 1
        task = loop.create_task((~running_loop)())
        assert await_(task) is loop

    in_thread(calls)


def test_async_generators_are_finalized():
    log = []

    async def numbers():
        try:
            yield 1
            yield 2
        finally:
            await asyncio.sleep(0)
            log.append("finally")

    @tworoutine
    async def first():
        async for number in numbers():
            return number

    def calls():
        assert first() == 1
        gc.collect()
        tick()
        tick()

    in_thread(calls)
    assert log == ["finally"]


def test_the_loop_is_closed_when_its_thread_ends():
    log = []

    async def background():
        try:
            await asyncio.sleep(60)
        finally:
            log.append("cancelled")

    @tworoutine
    async def begin():
        asyncio.get_running_loop().task = asyncio.create_task(background())
        await asyncio.sleep(0)
        return asyncio.get_running_loop()

    loop = in_thread(begin)
    assert loop.is_closed()
    assert log == ["cancelled"]


def test_two_hundred_threads_leave_no_descriptor_and_no_greenlet():
    import greenlet

    def calls():
        @tworoutine
        async def nested():
            await asyncio.sleep(0)
            tick()

        nested()

    def greenlets():
        gc.collect()
        # By type: lazy objects must not be asked for their __class__.
        types = map(type, gc.get_objects())
        return sum(issubclass(kind, greenlet.greenlet) for kind in types)

    def descriptors():
        return len(os.listdir("/proc/self/fd"))

    calls()
    before = greenlets(), descriptors()
    for _ in range(20):
        threads = [threading.Thread(target=calls) for _ in range(10)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    # greenlet frees the main greenlet of a thread some time after its end, and
    # so perhaps in the meantime that of a thread of another test.
    end = time.monotonic() + 60
    while greenlets() > before[0] and time.monotonic() < end:
        time.sleep(0.001)
    assert greenlets() <= before[0]
    assert descriptors() == before[1]


def test_threads_do_not_disturb_each_other():
    async def main(number):
        async def one():
            for _ in range(20):
                tick()
            return number

        return await asyncio.gather(*(one() for _ in range(20)))

    results = []
    threads = [
        threading.Thread(
            target=lambda n=n: results.append((n, asyncio.run(main(n))))
        )
        for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == [(n, [n] * 20) for n in range(8)]


@tworoutine
async def offload(function):
    return await asyncio.to_thread(function)


def test_an_executor_ends_with_its_thread():
    def calls():
        ended = []
        worker = offload(threading.current_thread)
        loop = running_loop()
        loop.run_in_executor(None, ended.append, 1)
        return worker, ended

    worker, ended = in_thread(calls)
    assert not worker.is_alive()
    assert ended == [1]
    # The thread that has ended is not taken for a new one.
    dummies = [t for t in threading.enumerate() if "Dummy" in t.name]
    assert dummies == []


def run_script(script, code=0):
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", script],
        capture_output=True,
        text=True,
        timeout=90,
    )
    assert done.returncode == code, done.stderr
    assert SLOW.sub("", done.stderr) == ""
    return done.stdout


DOUBLE = """
import asyncio, atexit
from tworoutine import tworoutine

@tworoutine
async def double(x):
    await asyncio.sleep(0)
    return 2 * x
"""


def test_atexit():
    assert (
        run_script("""
import asyncio, atexit

@atexit.register
def early():
    print("early", f())

from tworoutine import tworoutine

@tworoutine
async def f():
    await asyncio.sleep(0)
    return 42

@atexit.register
@tworoutine
async def late():
    await asyncio.sleep(0)
    print("late")

f()
""")
        == "late\nearly 42\n"
    )


@pytest.mark.parametrize("hidden", [False, True], ids=["", "hidden"])
@pytest.mark.parametrize("place", ["alone", "nested", "task", "portal"])
def test_atexit_in_the_middle_of_a_call(place, hidden):
    """Who runs them by hand, and goes on, has calls that go on too."""
    out = run_script(
        DOUBLE
        + """
from tworoutine import portal

@tworoutine
async def by_hand(x):
    await asyncio.sleep(0)
    loop = asyncio._get_running_loop()
    if HIDDEN:
        asyncio._set_running_loop(None)
    atexit._run_exitfuncs()
    asyncio._set_running_loop(loop)
    await asyncio.sleep(0)
    return double(x)

@tworoutine
async def nested():
    return by_hand(1)

async def waits(event):
    return await_(event)

@tworoutine
async def await_(event):
    return await event.wait()

@tworoutine
async def begin(event):
    return asyncio.create_task(waits(event))

async def main():
    event = asyncio.Event()
    task = asyncio.create_task(waits(event))
    double(1)
    results = by_hand(1), double(2)
    event.set()
    return *results, await task

@tworoutine
async def finish(task, event):
    event.set()
    return await task

@portal
async def stepped():
    return by_hand(1), double(2), True

def run(coro):
    try:
        while True:
            coro.send(None)
    except StopIteration as end:
        return end.value

place = PLACE
double(1)
for _ in range(2):
    if place == "task":
        print(asyncio.run(main()))
    elif place == "portal":
        print(run(stepped()))
    else:
        event = asyncio.Event()
        task = begin(event)
        result = by_hand(1) if place == "alone" else nested()
        print((result, double(2), finish(task, event)))
""".replace("PLACE", repr(place)).replace("HIDDEN", repr(hidden))
    )
    assert out == "(2, 4, True)\n(2, 4, True)\n"


BACKGROUND = """
import asyncio, atexit
from tworoutine import tworoutine

tasks = []  # only this keeps them

async def background():
    try:
        await asyncio.Event().wait()
    finally:
        print("end")

@tworoutine
async def begin():
    tasks.append(asyncio.create_task(background()))
    await asyncio.sleep(0)
"""


@pytest.mark.parametrize("times", [0, 1, 2])
def test_atexit_by_hand_between_calls(times):
    """It ends what there is, and at the exit what has begun since then."""
    out = run_script(
        BACKGROUND
        + f"""
for i in range({times}):
    begin()
    print(i)
    atexit._run_exitfuncs()
begin()
print("exit")
"""
    )
    assert out == "".join(f"{i}\nend\n" for i in range(times)) + "exit\nend\n"


def test_atexit_by_hand_in_a_call_that_is_the_last():
    out = run_script(
        BACKGROUND
        + """
@tworoutine
async def call():
    atexit._run_exitfuncs()

begin()
call()
print("exit")
"""
    )
    assert out == "exit\nend\n"


def test_atexit_by_hand_in_a_thread():
    """Its calls end with it; those of the main thread at the exit."""
    out = run_script(
        BACKGROUND
        + """
import threading

@tworoutine
async def call():
    atexit._run_exitfuncs()

def calls():
    begin()
    call()
    print("thread")

begin()
thread = threading.Thread(target=calls)
thread.start()
thread.join()
begin()
print("exit")
"""
    )
    assert out == "thread\nend\nexit\nend\nend\n"


def test_atexit_by_hand_from_a_function_of_atexit_s():
    out = run_script(
        """
import atexit

@atexit.register
def first():
    begin()
    print("last")
"""
        + BACKGROUND
        + """
begin()
atexit._run_exitfuncs()
begin()
print("exit")
"""
    )
    assert out == "end\nlast\nexit\nend\nend\n"


def test_atexit_by_hand_as_greenlets_end():
    out = run_script(
        DOUBLE
        + """
import greenlet
from tworoutine._core import end_thread

@tworoutine
async def deep(n):
    await asyncio.sleep(0)
    return n and deep(n - 1)

def trace(event, args):
    atexit.register(end_thread)
    atexit._run_exitfuncs()

deep(5)
greenlet.settrace(trace)
end_thread()
greenlet.settrace(None)
print(double(1), deep(5))
"""
    )
    assert out == "2 0\n"


LOOKED_AT = """
class Loop(asyncio.SelectorEventLoop):
    def is_closed(self):
        atexit._run_exitfuncs()
        return super().is_closed()
"""
OURS = """
class Policy(asyncio.DefaultEventLoopPolicy):
    _loop_factory = Loop

asyncio.set_event_loop_policy(Policy())
"""
RUN_BY = {
    "who makes a loop": """
class Policy(asyncio.DefaultEventLoopPolicy):
    def new_event_loop(self):
        atexit._run_exitfuncs()
        return super().new_event_loop()

asyncio.set_event_loop_policy(Policy())
""",
    "a loop that is looked at": LOOKED_AT
    + """
mine = Loop()
asyncio.set_event_loop(mine)
""",
    "our loop that is looked at": LOOKED_AT + OURS,
    "a loop that is closed": """
class Loop(asyncio.SelectorEventLoop):
    def close(self):
        atexit.register(end_thread)
        atexit._run_exitfuncs()
        super().close()
"""
    + OURS,
}


@pytest.mark.parametrize("place", RUN_BY)
def test_atexit_run_by(place):
    """Where a call looks for its loop, or its thread's loop ends."""
    out = run_script(
        DOUBLE
        + f"""
import warnings
from tworoutine._core import end_thread

mine = None
warnings.simplefilter("ignore", DeprecationWarning)
{RUN_BY[place]}
print([double(i) for i in range(3)])
if mine is not None:
    mine.close()
"""
    )
    assert out == "[0, 2, 4]\n"


def test_exit_with_an_executor():
    run_script("""
import asyncio, threading, time
from tworoutine import tworoutine

@tworoutine
async def offload(seconds=0):
    return await asyncio.to_thread(time.sleep, seconds)

@tworoutine
async def begin():
    asyncio.get_running_loop().job = asyncio.create_task((~offload)(0.01))
    await asyncio.sleep(0)

offload()
thread = threading.Thread(target=offload)
thread.start()
thread.join()
begin()
""")


def test_exit_in_the_middle_of_a_call():
    out = run_script(
        """
import asyncio, sys
from tworoutine import tworoutine

@tworoutine
async def f():
    try:
        await asyncio.sleep(0)
        sys.exit(3)
    finally:
        print("finally")

f()
""",
        code=3,
    )
    assert out == "finally\n"


def test_exit_with_calls_parked():
    run_script("""
import asyncio
from tworoutine import await_, tworoutine

@tworoutine
async def begin():
    async def blocked():
        await_(asyncio.Event().wait())
    asyncio.get_running_loop().tasks = [
        asyncio.create_task(blocked()) for _ in range(10)
    ]
    await asyncio.sleep(0)

begin()
""")


def test_exit_after_a_callback_that_stopped_its_loop(program):
    source = """
import asyncio
from tworoutine import tworoutine

@tworoutine
async def nap():
    await asyncio.sleep(0)

def callback():
    nap()
    loop.stop()  # the last thing that this loop does

nap()
loop = asyncio.new_event_loop()
loop.call_soon(callback)
loop.run_forever()
loop.close()
"""
    assert program(source) == ""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_fork():
    run_script("""
import asyncio, os
from tworoutine import tworoutine

@tworoutine
async def loop():
    await asyncio.sleep(0)
    return asyncio.get_running_loop()

def child(function):
    pid = os.fork()
    if pid == 0:
        try:
            function()
            code = 0
        except BaseException as exc:
            import traceback
            traceback.print_exc()
            code = 1
        os._exit(code)
    assert os.waitpid(pid, 0)[1] == 0

def fresh_loop():
    assert loop() is not parents
    assert loop() is loop()

parents = loop()
child(fresh_loop)
assert loop() is parents

async def main():
    loop()
    child(lambda: asyncio.get_running_loop)
    assert loop() is asyncio.get_running_loop()

asyncio.run(main())
assert loop() is parents
""")


def test_nothing_is_warned_of():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        in_thread(tick)
        gc.collect()


def test_a_thread_that_has_made_a_call_leaves_nothing(program):
    """Not even a block of memory: services make threads by the million."""
    program(
        """
import asyncio, gc, sys, threading
from tworoutine import tworoutine

@tworoutine
async def nap():
    await asyncio.sleep(0)

def thread():
    nap()

def blocks_after(n):
    for _ in range(n):
        one = threading.Thread(target=thread)
        one.start()
        one.join()
    for _ in range(3):
        gc.collect()
    return sys.getallocatedblocks()

blocks = [blocks_after(300) for _ in range(5)]
grown = [after - before for before, after in zip(blocks, blocks[1:])]
assert min(grown) < 150, grown
assert len(threading._active) == 1
""",
        flags=(),
    )
