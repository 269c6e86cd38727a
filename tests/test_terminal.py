"""Ctrl-C as a person types it: a real terminal, a real ^C."""

import contextlib
import signal
import sys

import pytest

from terminal import Terminal

PRELUDE = """
import asyncio, os, sys
from tworoutine import tworoutine

def say(*words):
    # One write: the terminal may be read in the middle of several.
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())

beats = []

@tworoutine
async def begin():
    async def background():
        while True:
            beats.append(1)
            await asyncio.sleep(0.001)
    return asyncio.create_task(background())

@tworoutine
async def tick():
    await asyncio.sleep(0.005)
    return "ticked"

@tworoutine
async def wait(name="waiting"):
    asyncio.get_running_loop().call_soon(say, name)
    try:
        await asyncio.sleep(60)
    finally:
        await asyncio.sleep(0.001)
        tick()
        say(name, "ended")

def well(task):
    count = len(beats)
    return tick() == "ticked" and not task.done() and len(beats) > count

def try_it(f, *args):
    try:
        f(*args)
    except KeyboardInterrupt:
        say("interrupted")
"""


@pytest.fixture
def terminal(tmp_path):
    with contextlib.ExitStack() as stack:

        def run(program, *args):
            path = tmp_path / "program.py"
            path.write_text(PRELUDE + program)
            args = "-W", "error", str(path), *args
            run = Terminal(*args, cwd=tmp_path)
            return stack.enter_context(contextlib.closing(run))

        yield run


def interrupted(terminal, *, says=("waiting",), then=("interrupted",)):
    """^C when the program has said this; it goes on to say that."""
    for text in says:
        terminal.expect(text + "\n")
    terminal.interrupt()
    for text in then:
        terminal.expect(text + "\n")


def test_without_a_loop(terminal):
    run = terminal("""
task = begin()
for _ in range(3):
    try_it(wait)
    say(well(task))
""")
    for _ in range(3):
        interrupted(run, then=["waiting ended", "interrupted", "True"])
    run.end()


def test_it_ends_a_program_that_does_not_catch_it(terminal):
    run = terminal("wait()\n")
    interrupted(run, then=["waiting ended", "KeyboardInterrupt"])
    run.end(status=-signal.SIGINT)
    assert "asyncio" not in run.seen
    assert "Error" not in run.seen


def test_in_a_running_loop(terminal):
    run = terminal("""
async def main():
    task = begin()
    try:
        wait()
    finally:
        # As Runner does it: this task alone is cancelled.
        say(well(task))

for _ in range(2):
    try_it(asyncio.run, main())
    say(tick())
""")
    for _ in range(2):
        interrupted(
            run, then=["waiting ended", "True", "interrupted", "ticked"]
        )
    run.end()


def test_in_a_nested_call(terminal):
    run = terminal("""
@tworoutine
async def outer():
    await asyncio.sleep(0)
    try:
        inner()
    finally:
        tick()
        say("outer ended")

@tworoutine
async def inner():
    sorted([2, 1], key=wait)

async def in_loop():
    tick()
    outer()

task = begin()
try_it(outer)
say(well(task))
try_it(asyncio.run, in_loop())
say(well(task))
""")
    for _ in range(2):
        interrupted(
            run,
            says=["2"],
            then=["2 ended", "outer ended", "interrupted", "True"],
        )
    run.end()


@pytest.mark.parametrize("fan_out", ["map", "as_completed"])
def test_in_a_fan_out(terminal, fan_out):
    run = terminal(
        """
ended = []

@tworoutine
async def one(number):
    if number == 9:
        say("waiting")
    try:
        await asyncio.sleep(60)
    finally:
        tick()
        ended.append(number)

def each():
    fan_out = getattr(one, sys.argv[1])
    list(fan_out(range(100), limit=10))

task = begin()
try_it(each)
say(sorted(ended) == list(range(10)), well(task))
""",
        fan_out,
    )
    interrupted(run, then=["interrupted", "True True"])
    run.end()


@pytest.mark.parametrize("cleanup", ["awaits", "calls"])
def test_twice_during_cleanup_that_waits(terminal, cleanup):
    """The second one ends the call at once; what awaits is left to itself."""
    run = terminal(
        """
@tworoutine
async def stubborn(cleanup):
    try:
        await (~wait)("first")
    finally:
        try:
            await cleanup()
        finally:
            say("cleanup ended")

async def awaits():
    await (~wait)("second")

async def calls():
    wait("second")

task = begin()
for _ in range(2):
    try_it(stubborn, globals()[sys.argv[1]])
    say(well(task))
""",
        cleanup,
    )
    ends = ["cleanup ended"] if cleanup == "calls" else []
    for _ in range(2):
        interrupted(run, says=["first"], then=["first ended"])
        interrupted(run, says=["second"], then=[*ends, "interrupted", "True"])
    run.end()


def test_in_the_finally_of_the_caller(terminal):
    run = terminal("""
def caller():
    try:
        wait("first")
    finally:
        try:
            wait("second")
        finally:
            say(tick())

task = begin()
try_it(caller)
say(well(task))
""")
    interrupted(run, says=["first"], then=["first ended"])
    interrupted(run, says=["second"], then=["second ended", "ticked"])
    run.expect("interrupted\nTrue\n")
    run.end()


def test_many_times_in_a_busy_loop(terminal):
    """Wherever they hit, each ends one call, and no more."""
    run = terminal("""
task = begin()
hits, said = 0, -1
while hits < 20:
    try:
        if said < hits:
            say("hit")
            said = hits
        while True:
            tick()
    except KeyboardInterrupt:
        hits += 1
say("well", well(task))
""")
    for _ in range(20):
        run.expect("hit\n")
        run.interrupt()
    run.expect("well True\n")
    run.end()
    assert "Traceback" not in run.seen


@pytest.mark.parametrize("call", ["nap()", "asyncio.run(main())"])
def test_waiting_uses_no_cpu(terminal, call):
    run = terminal(f"""
@tworoutine
async def nap():
    await asyncio.sleep(1.5)

async def main():
    tick()
    nap()

tick()
before = os.times()
{call}
after = os.times()
used = after.user + after.system - before.user - before.system
say("used", used)
""")
    assert float(run.until(r"used (.*)\n")[1]) < 0.3
    run.end()


# --- interactive interpreters -----------------------------------------------

PROMPTS = {"basic": {"PYTHON_BASIC_REPL": "1", "TERM": "dumb"}}
if sys.version_info >= (3, 13):
    PROMPTS["new"] = {"TERM": "xterm"}


@pytest.fixture(params=PROMPTS)
def prompt(request, tmp_path):
    (tmp_path / "prelude.py").write_text(PRELUDE)
    with contextlib.ExitStack() as stack:

        def start(*args):
            args = "-q", "-W", "error", *args
            run = Terminal(*args, cwd=tmp_path, **start.env)
            stack.enter_context(contextlib.closing(run))
            run.expect(">>> ")
            return run

        start.env = PROMPTS[request.param]
        start.drawn = request.param == "new"
        yield start


def enter(run, line, answer=None):
    """Type a line; wait for the answer and the next prompt."""
    run.type(line + "\n")
    if answer is not None:
        run.expect(answer)
    run.expect(">>> ")


def interrupt_line(run, line, name, *, silent=False):
    """Type a line; ^C when what it calls waits, and has said its name."""
    run.type(line + "\n")
    interrupted(run, says=[name], then=[name + " ended"])
    if not silent:
        run.expect("KeyboardInterrupt")
    run.expect(">>> ")


def interrupt_the_prompt(run):
    """^C at the prompt itself, until Python sees it.

    One that comes after its prompt is shown and before its select() is not
    looked at until the line ends.
    """
    for _ in range(30):
        run.interrupt()
        with contextlib.suppress(AssertionError):
            run.expect("KeyboardInterrupt", timeout=1)
            return
    pytest.fail(f"it does not see ^C:\n{run.seen}")


def test_at_the_prompt(prompt, status_after_interrupt):
    run = prompt()
    enter(run, "from prelude import *")
    enter(run, "task = begin()")
    enter(run, "tick()", "'ticked'")
    for _ in range(2):
        run.type("wait('wait' + 'ing')\n")
        interrupted(run, then=["waiting ended", "KeyboardInterrupt"])
        run.expect(">>> ")
        enter(run, "well(task)", "True")
    assert "asyncio/" not in run.seen  # no frames but the caller's
    enter(run, "asyncio.run((~tick)())", "'ticked'")
    interrupt_line(run, "asyncio.run((~wait)('runn' + 'ing'))", "running")
    enter(run, "well(task)", "True")
    interrupt_the_prompt(run)
    run.expect(">>> ")
    enter(run, "well(task)", "True")
    run.type("exit()\n")
    run.end(status_after_interrupt(**prompt.env))


def test_at_the_prompt_of_python_m_asyncio(prompt):
    """Each line runs in a callback of a running loop."""
    run = prompt("-m", "asyncio")
    enter(run, "from prelude import *")
    enter(run, "task = begin()")
    enter(run, "tick()", "'ticked'")
    enter(run, "await (~tick)()", "'ticked'")
    # From 3.14 on, the prompt that draws itself says no more than that it is
    # back.
    silent = prompt.drawn and sys.version_info >= (3, 14)
    interrupt_line(run, "wait('wait' + 'ing')", "waiting", silent=silent)
    enter(run, "well(task)", "True")
    # Where the prompt is in no call, what runs just then is interrupted, be it
    # the loop itself, as it is without calls: let the background rest.
    enter(run, "task.cancel()", "True")
    line = "await (~wait)('wait' + 'ing')"
    interrupt_line(run, line, "waiting", silent=silent)
    enter(run, "tick()", "'ticked'")
    run.type("exit()\n")
    run.end()
