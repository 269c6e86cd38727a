"""Ctrl-C: real signals, in processes of their own."""

import sys

import pytest

import signalled

# SIGINT comes from a thread, once the loop waits: the child says so by
# writing its step to `waiting`, and the thread reads it.
PRELUDE = """
import resource, threading, time

def interrupt_when_waiting(times=1):
    read, write = os.pipe()
    def watch():
        for _ in range(times):
            os.read(read, 1)
            time.sleep(0.05)  # into the selector
            os.kill(os.getpid(), signal.SIGINT)
    threading.Thread(target=watch, daemon=True).start()
    return lambda: os.write(write, b"x")

@tworoutine
async def wait_long(waiting):
    asyncio.get_running_loop().call_soon(waiting)
    await wait_for_long()
"""


def run(program, **options):
    return signalled.run(PRELUDE + program, **options)


def test_without_a_loop():
    run("""
@tworoutine
async def start_background():
    async def background():
        while True:
            await asyncio.sleep(0.001)
            beats.append(1)
    return asyncio.create_task(background())

beats = []
task = start_background()
for _ in range(3):
    log.clear()
    try:
        wait_long(interrupt_when_waiting())
    except KeyboardInterrupt as exc:
        log.append("interrupted")
        names = []
        tb = exc.__traceback__
        while tb:
            names.append(tb.tb_frame.f_code.co_name)
            tb = tb.tb_next
        assert names == ["<module>"], names
        assert exc.__context__ is None
    assert log == ["cancelled", "finally", "interrupted"], log
    assert tick() == "tick"
    assert not task.done() and beats
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
""")


def test_without_a_loop_in_the_coroutines_own_code():
    run("""
import gc, weakref

gc.disable()
tasks = []

@tworoutine
async def busy(n):
    tasks.append(weakref.ref(asyncio.current_task()))
    for _ in range(n):
        await asyncio.sleep(0)
    try:
        signal.raise_signal(signal.SIGINT)
        while True:
            pass
    finally:
        log.append("finally")

for n in (0, 1, 2):
    try:
        busy(n)
    except KeyboardInterrupt as exc:
        log.append("interrupted")
        names = []
        tb = exc.__traceback__
        while tb:
            names.append(tb.tb_frame.f_code.co_name)
            tb = tb.tb_next
        assert names == ["<module>", "busy"], names
    assert log == ["finally", "interrupted"]
    log.clear()
    assert tick() == "tick"
    assert tasks.pop()() is None  # it is in no cycle
""")


def test_in_a_finalizer_of_the_call():
    """Where an exception would be printed and lost."""
    run("""
import weakref

refs = []

@tworoutine
async def f():
    def ended(ref):
        log.append("ended")
        signal.raise_signal(signal.SIGINT)
    refs.append(weakref.ref(asyncio.current_task(), ended))
    return "result"

for _ in range(3):
    try:
        f()
    except KeyboardInterrupt as exc:
        log.append("interrupted")
        assert exc.__context__ is None
    assert log == ["ended", "interrupted"], log
    log.clear()
    assert tick() == "tick"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
""")


def test_in_a_finalizer_of_a_call_that_fails():
    run("""
import weakref

refs = []

@tworoutine
async def fail():
    refs.append(weakref.ref(
        asyncio.current_task(),
        lambda ref: signal.raise_signal(signal.SIGINT),
    ))
    raise ValueError("its own")

try:
    fail()
except KeyboardInterrupt as exc:
    assert exc.__context__.args == ("its own",)
    log.append("interrupted")
assert log == ["interrupted"]
assert tick() == "tick"
""")


# Until 3.11 the first step is queued, too.
@pytest.mark.parametrize("at", range(3 if sys.version_info >= (3, 12) else 4))
def test_where_the_loop_queues_a_step(at):
    """The task has begun or ended, but its coroutine does not run."""
    done = run(f"""
class Loop(asyncio.SelectorEventLoop):
    queued = None

    def call_soon(self, *args, **kwargs):
        if self.queued is not None:
            if self.queued == {at}:
                signal.raise_signal(signal.SIGINT)
            self.queued += 1
        return super().call_soon(*args, **kwargs)

loop = Loop()
asyncio.set_event_loop(loop)
assert tick() == "tick"
loop.queued = 0
try:
    tick(2)
except KeyboardInterrupt as exc:
    log.append("interrupted")
    assert exc.__context__ is None
loop.queued = None
assert log == ["interrupted"], log
assert tick() == "tick"
assert asyncio.all_tasks(loop) == set()
loop.close()
""")
    assert done.stderr == ""


def test_wherever_it_hits_no_task_is_left_behind():
    """Most of these come while asyncio's code runs, not while it waits."""
    run("""
import random

@tworoutine
async def busy():
    await asyncio.sleep(0.0005)
    await asyncio.sleep(0)

def interrupt_soon():
    while True:
        go.acquire()
        time.sleep(0.002 * random.random())
        os.kill(os.getpid(), signal.SIGINT)

go = threading.Semaphore(0)
threading.Thread(target=interrupt_soon, daemon=True).start()

@tworoutine
async def tasks():
    return asyncio.all_tasks() - {asyncio.current_task()}

for _ in range(150):
    try:
        go.release()
        while True:
            busy()
    except KeyboardInterrupt:
        pass
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert asyncio._get_running_loop() is None
    assert tasks() == set()
assert tick() == "tick"
""")


def test_a_task_that_computes_sees_it_at_once():
    """The loop does not come round meanwhile: asyncio.Runner, too, cancels."""
    run("""
async def compute(main):
    for presses in (1, 2):  # the second one: the cleanup is not waited for
        signal.raise_signal(signal.SIGINT)
        log.append(main.cancelling())

@tworoutine
async def call():
    asyncio.create_task(compute(asyncio.current_task()))
    try:
        await asyncio.sleep(60)
    finally:
        log.append("cleaning")
        await asyncio.sleep(60)

try:
    call()
except KeyboardInterrupt:
    log.append("interrupted")
assert log == [1, 1, "cleaning", "interrupted"], log
assert tick() == "tick"
""")


def test_a_second_one_during_cleanup():
    run("""
@tworoutine
async def stubborn(waiting):
    try:
        asyncio.get_running_loop().call_soon(waiting)
        await asyncio.sleep(60)
    finally:
        log.append("cleaning")
        asyncio.get_running_loop().call_soon(waiting)
        await asyncio.sleep(60)

waiting = interrupt_when_waiting(2)
begin = time.monotonic()
try:
    stubborn(waiting)
except KeyboardInterrupt:
    log.append("interrupted")
assert time.monotonic() - begin < 20
assert log == ["cleaning", "interrupted"], log
assert tick() == "tick"
""")


def test_a_swallowed_one_goes_on():
    run("""
@tworoutine
async def swallow(waiting):
    try:
        asyncio.get_running_loop().call_soon(waiting)
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        return "swallowed"

assert swallow(interrupt_when_waiting()) == "swallowed"
assert tick() == "tick"
""")


def test_a_nested_call():
    run("""
@tworoutine
async def outer(waiting):
    try:
        wait_long(waiting)
    finally:
        log.append("outer")

try:
    outer(interrupt_when_waiting())
except KeyboardInterrupt:
    log.append("interrupted")
assert log == ["cancelled", "finally", "outer", "interrupted"], log
assert tick() == "tick"
""")


def test_map():
    run("""
ended = []
begun = []

@tworoutine
async def one(number):
    begun.append(number)
    if len(begun) == 20:
        waiting()
    try:
        await asyncio.sleep(60)
    finally:
        await asyncio.sleep(0)
        ended.append(number)

waiting = interrupt_when_waiting()
try:
    one.map(range(100), limit=20)
except KeyboardInterrupt:
    log.append("interrupted")
assert log == ["interrupted"]
assert sorted(ended) == list(range(20))
assert tick() == "tick"
""")


def test_in_asyncio_run():
    run("""
async def main():
    tick()
    try:
        wait_long(interrupt_when_waiting())
    finally:
        log.append("main")

try:
    asyncio.run(main())
except KeyboardInterrupt:
    log.append("interrupted")
assert log == ["cancelled", "finally", "main", "interrupted"], log
assert tick() == "tick"
""")


# --- in a running loop that has no handler of its own -----------------------

BACKGROUND = """
loop = asyncio.new_event_loop()
beats = []

async def first():  # lest a background task make the first call in the loop
    tick()

loop.run_until_complete(first())

async def beat():  # makes calls all the time, so that one is the latest
    while True:
        await asyncio.sleep(0.001)
        tick(3)
        beats.append(1)

async def wait():  # makes one before all others
    wait_long(lambda: None)

def start_background():
    global tasks
    tasks = [loop.create_task(wait()), loop.create_task(beat())]

async def check_background():
    before = len(beats)
    while len(beats) < before + 3 and not tasks[1].done():
        await asyncio.sleep(0.001)
    assert not any(task.done() for task in tasks), tasks
    assert asyncio.current_task().cancelling() == 0

def stop_background():
    for task in tasks:
        task.cancel()
    loop.run_until_complete(asyncio.wait(tasks))
    loop.close()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
"""


def test_the_call_of_the_main_task_is_interrupted():
    """And the loop and its other tasks live on."""
    run(
        BACKGROUND
        + """
async def part(waiting):
    try:
        wait_long(waiting)
    except KeyboardInterrupt as exc:
        assert exc.__context__ is None
        return "interrupted"

async def main():
    start_background()
    await asyncio.sleep(0.01)
    for _ in range(3):
        log.clear()
        assert await part(interrupt_when_waiting()) == "interrupted"
        assert log == ["cancelled", "finally"], log
        assert tick() == "tick"
        await check_background()

loop.run_until_complete(main())
log.clear()
stop_background()
assert log == ["cancelled", "finally"], log
"""
    )


@pytest.mark.parametrize("how", ["call_soon", "task"])
def test_the_call_of_top_level_code_is_interrupted(how):
    """As at a prompt whose lines run in callbacks, or in tasks."""
    run(
        BACKGROUND
        + f"how = {how!r}"
        + """
from code import compile_command

def run_line(line):
    exec(compile_command(line, "<prompt>", "exec"), globals())

def prompt(line, caught):
    try:
        run_line(line)
    except caught as exc:
        log.append(type(exc).__name__)
    loop.stop()

async def prompt_task(line, caught):
    prompt(line, caught)

def enter(line, caught=()):
    log.clear()
    if how == "task":
        task = loop.create_task(prompt_task(line, caught))
    else:
        loop.call_soon(prompt, line, caught)
    loop.run_forever()
    return log

def calls():
    return wait_long(interrupt_when_waiting())

start_background()
enter("tick()")
for _ in range(2):
    ended = ["cancelled", "finally", "KeyboardInterrupt"]
    assert enter("calls()", KeyboardInterrupt) == ended, log
    # Also while the code of a background task runs, and before it waits.
    enter("tick(5); signal.raise_signal(2); tick(5)", KeyboardInterrupt)
    assert log == ["KeyboardInterrupt"]
    loop.call_later(0.01, signal.raise_signal, 2)
    assert enter("tick(10**9)", KeyboardInterrupt) == ["KeyboardInterrupt"]
    loop.run_until_complete(check_background())
stop_background()
"""
    )


def test_where_nobody_waits_it_comes_out_of_run_forever():
    """As it does where no calls are: background tasks are left alone."""
    run(
        BACKGROUND
        + """
tasks = [loop.create_task(wait()) for _ in range(3)]
for _ in range(3):
    log.clear()
    loop.call_later(0.001, interrupt_when_waiting())
    try:
        loop.run_forever()
    except KeyboardInterrupt:
        log.append("interrupted")
    assert log == ["interrupted"], log
    loop.run_until_complete(first())
    assert not any(task.done() for task in tasks), tasks
stop_background()
"""
    )


@pytest.mark.parametrize(
    "end", ["loop.stop()", "raise SystemExit"], ids=["stop", "exit"]
)
def test_as_the_run_ends_nobody_else_gets_it(end):
    run(
        f"""
def press_and_end():
    signal.raise_signal(signal.SIGINT)
    {end}
"""
        """
async def run(n):
    return tick(n)

async def run_main():
    loop.call_later(0.001, press_and_end)
    return tick(10**9)

loop, other = asyncio.new_event_loop(), asyncio.new_event_loop()
loop.run_until_complete(run(3))
main = loop.create_task(run_main())
try:
    loop.run_until_complete(main)
except (RuntimeError, SystemExit):  # it was stopped
    log.append("ended")
assert other.run_until_complete(run(3)) == "tick"
assert tick() == "tick"
try:
    loop.run_until_complete(main)
except KeyboardInterrupt:
    log.append("interrupted")
assert log == ["ended", "interrupted"], log
assert isinstance(main.exception(), KeyboardInterrupt)
loop.close()
other.close()
"""
    )


def test_all_that_the_call_waits_for_is_cancelled():
    run(
        BACKGROUND
        + """
async def child():
    wait_long(lambda: None)

@tworoutine
async def groups(waiting):
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        group.create_task(child())
        group.create_task((~wait_long)(waiting))

@tworoutine
async def nests(waiting):
    async with asyncio.TaskGroup() as group:
        group.create_task(child())
        await asyncio.sleep(0)
        wait_long(waiting)

async def main():
    start_background()
    await asyncio.sleep(0.01)
    for f in (groups, nests):  # gather does not wait for all its children
        log.clear()
        try:
            f(interrupt_when_waiting())
        except KeyboardInterrupt:
            log.append("interrupted")
        assert log[-1] == "interrupted"
        assert sorted(log[:-1]) == ["cancelled"] * 2 + ["finally"] * 2, log
        await check_background()

loop.run_until_complete(main())
stop_background()
"""
    )


def test_a_second_one_during_cleanup_in_a_loop():
    run(
        BACKGROUND
        + """
@tworoutine
async def stubborn(waiting):
    try:
        loop.call_soon(waiting)
        await asyncio.sleep(60)
    finally:
        log.append("cleaning")
        loop.call_soon(waiting)
        tick()
        await asyncio.sleep(60)

async def main():
    start_background()
    await asyncio.sleep(0.01)
    for _ in range(2):
        log.clear()
        try:
            stubborn(interrupt_when_waiting(2))
        except KeyboardInterrupt:
            log.append("interrupted")
        assert log == ["cleaning", "interrupted"], log
        assert tick() == "tick"
        await check_background()

begin = time.monotonic()
loop.run_until_complete(main())
assert time.monotonic() - begin < 50
stop_background()
"""
    )


def test_a_swallowed_one_in_a_loop_goes_on():
    run(
        BACKGROUND
        + """
@tworoutine
async def swallow(waiting):
    try:
        loop.call_soon(waiting)
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        return "swallowed"

async def main():
    start_background()
    await asyncio.sleep(0.01)
    assert swallow(interrupt_when_waiting()) == "swallowed"
    assert tick() == "tick"
    await check_background()

loop.run_until_complete(main())
stop_background()
"""
    )


def test_a_cancelled_call_that_is_interrupted_stays_cancelled():
    run("""
loop = asyncio.new_event_loop()

async def main():
    task = asyncio.current_task()
    def both():
        task.cancel()
        signal.raise_signal(signal.SIGINT)
    try:
        wait_long(both)
    except asyncio.CancelledError:
        assert task.cancelling() == 1
        return "cancelled"

assert loop.run_until_complete(main()) == "cancelled"
loop.close()
""")


def test_handlers_that_come_and_go():
    """ipykernel puts Python's own in place for each message, then its own."""
    run(
        BACKGROUND
        + """
async def message(waiting):
    ours = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        wait_long(waiting)
    except KeyboardInterrupt:
        log.append("interrupted")
    finally:
        signal.signal(signal.SIGINT, ours)

async def main():
    start_background()
    await asyncio.sleep(0.01)
    for handler in (signal.SIG_IGN, signal.default_int_handler) * 2:
        signal.signal(signal.SIGINT, handler)
        await asyncio.sleep(0.01)
        log.clear()
        await message(interrupt_when_waiting())
        assert log == ["cancelled", "finally", "interrupted"], log
        now = signal.getsignal(signal.SIGINT)
        assert (now is signal.SIG_IGN) == (handler is signal.SIG_IGN)
        await check_background()

loop.run_until_complete(main())
stop_background()
"""
    )


@pytest.mark.parametrize("main", ["wait()", "asyncio.run(in_loop())"])
def test_waiting_uses_no_cpu(main):
    run(
        """
@tworoutine
async def wait():
    await asyncio.sleep(1)

async def in_loop():
    tick()
    wait()

def used():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime

before = used()
"""
        + main
        + """
assert used() - before < 0.2
"""
    )


# Then a call in a loop that has been closed is to end, when the next one runs.
CLOSED = """
def leave_behind():
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda loop, context: in_handler())

    @tworoutine
    async def wait():
        try:
            await asyncio.Event().wait()
        finally:
            try:
                in_finally()
            finally:
                log.append("ended")

    async def background():
        wait()

    async def main():
        tick()
        task = asyncio.create_task(background())
        await asyncio.sleep(0.001)

    loop.run_until_complete(main())
    loop.close()

def interrupt():
    os.kill(os.getpid(), signal.SIGINT)
    log.append("not here")

def in_handler(): pass
def in_finally(): pass
"""


@pytest.mark.parametrize("where", ["in_handler", "in_finally"])
def test_while_calls_of_a_closed_loop_end(where):
    run(
        CLOSED
        + f"{where} = interrupt"
        + """
leave_behind()
try:
    wait_long(lambda: None)
except KeyboardInterrupt:
    log.append("interrupted")
assert sorted(log[:2]) == ["ended", "not here"], log
assert log[2:] == ["cancelled", "finally", "interrupted"], log
assert tick() == "tick"
assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
"""
    )


@pytest.mark.parametrize("where", ["in_handler", "in_finally"])
def test_while_calls_of_a_closed_loop_end_in_another_one(where):
    run(
        CLOSED
        + f"{where} = interrupt"
        + """
async def main():
    tick()
    await asyncio.sleep(60)

leave_behind()
loop = asyncio.new_event_loop()
try:
    loop.run_until_complete(main())
except KeyboardInterrupt:
    log.append("interrupted")
assert log[-1] == "interrupted" and "ended" in log, log
loop.run_until_complete(asyncio.sleep(0))
loop.close()
assert tick() == "tick"
assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
"""
    )


@pytest.mark.parametrize("next_", ["tick", "lambda: asyncio.run(main())"])
def test_as_a_loop_is_asked_whether_it_is_closed(next_):
    run(
        CLOSED
        + f"next_ = {next_}"
        + """
async def main():
    tick()

class Loop(asyncio.SelectorEventLoop):
    asked = True
    def is_closed(self):
        if not self.asked:
            Loop.asked = True
            raise KeyboardInterrupt  # as Python's own handler does
        return super().is_closed()

asyncio.new_event_loop, new = Loop, asyncio.new_event_loop
leave_behind()
asyncio.new_event_loop = new
Loop.asked = False
try:
    next_()
except KeyboardInterrupt:
    log.append("interrupted")
assert log[-1:] == ["interrupted"], log
next_()
assert log.count("ended") == 1, log
"""
    )


def test_a_call_in_a_signal_handler_as_another_begins():
    """It leaves that one the handler of Ctrl-C."""
    run("""
import _thread, functools

@tworoutine
async def look():
    for _ in range(3):
        await asyncio.sleep(0.001)
        log.append(signal.getsignal(signal.SIGINT).__name__)

def handler(*args):
    del loop.is_running
    look()

signal.signal(signal.SIGUSR1, handler)
loop = asyncio.new_event_loop()
asyncio.set_event_loop(loop)
# The last that is asked before the handler of Ctrl-C is set.
loop.is_running = functools.partial(_thread.interrupt_main, signal.SIGUSR1)
look()
assert log == ["on_sigint"] * 6, log
assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
asyncio.set_event_loop(None)
loop.close()
""")


def test_an_uncaught_one_ends_the_program_as_usual():
    done = run("wait_long(interrupt_when_waiting())", code=-2)
    assert done.stderr.rstrip().endswith("KeyboardInterrupt")
    assert "asyncio" not in done.stderr
    assert "never" not in done.stderr
