"""At Python's own prompts and ptpython's, in a pseudo-terminal; in pytest."""

import re
import subprocess
import sys
from importlib.util import find_spec

import pytest

# 3.13 has a prompt that draws itself, beside the one with readline.
PROMPTS = ["drawn", "basic"] if sys.version_info >= (3, 13) else ["basic"]


@pytest.fixture(params=PROMPTS)
def python(request, terminal):
    """``python(*args)`` starts a prompt with all of `lab`."""

    def start(*args):
        prompt = terminal(*args, PYTHON_BASIC_REPL=start.basic)
        prompt.until(">>> ")
        prompt.line("from lab import *; 'rea' + 'dy'", "'ready'")
        return prompt

    start.drawn = request.param == "drawn"
    start.basic = "" if start.drawn else "1"
    return start


def test_python_i(python, status_after_interrupt):
    prompt = python("-i")
    prompt.line("double(21)", r"\n42\s")
    prompt.line("link = open_link(); ask(link, 'one')", "'answer: ONE'")
    prompt.line("ask(link, 'two')", "'answer: TWO'")
    prompt.line("tasks = start(beat, wait); len(tasks)", r"\n2\s")
    for line in ("blocks()", "calls()"):
        prompt.line(line, "blocked")
        prompt.interrupt()
        prompt.until(r"cleaning up\s+cleaned up\s+Traceback")
        trace = prompt.until(r"\nKeyboardInterrupt\s").string
        assert ("in calls" in trace) == (line == "calls()")
        assert "selectors" not in trace and "Cancelled" not in trace
    prompt.line("blocks(cleanup=600)", "blocked")
    prompt.interrupt()
    prompt.until("cleaning up")
    prompt.interrupt()
    prompt.until("KeyboardInterrupt")
    prompt.line("fails(2)", "ValueError: failed with 42")
    prompt.line("import pdb; pdb.pm()", r"\(Pdb\)")
    prompt.line("p local + double(500)", "1042")
    prompt.line("q", ">>> ")
    prompt.line("still(tasks)", "'all go on'")
    prompt.line("close_link(link); say_at_exit(); double(9)", r"\n18\s")
    prompt.type("exit()\r")
    shown = prompt.end(status_after_interrupt(PYTHON_BASIC_REPL=python.basic))
    assert "at exit: 2000 the same loop" in shown
    assert "Traceback" not in shown and "destroyed" not in shown


def test_python_m_asyncio(python):
    prompt = python("-m", "asyncio")
    prompt.line("double(21)", r"\n42\s")
    prompt.line("same(loop(), asyncio.get_running_loop())", "'the same loop'")
    prompt.line("link = open_link(); ask(link, 'one')", "'answer: ONE'")
    prompt.line("await (~ask)(link, 'two')", "'answer: TWO'")
    prompt.line(
        "[ask(link, 'three'), await ask.aio(link, '4')]", "'answer: 4'"
    )
    # Calls of background tasks, before the prompt's and after it.
    prompt.line("tasks = start(beat, wait); len(tasks)", r"\n2\s")
    prompt.line("still(tasks)", "'all go on'")
    # From 3.14 on, the prompt that draws itself says no more than that it is
    # back when a line was interrupted.
    silent = python.drawn and sys.version_info >= (3, 14)
    interrupted = ">>> " if silent else r"KeyboardInterrupt\s+>>> "
    for line in ("blocks()", "calls()", "await later()"):
        prompt.line(line, "blocked")
        prompt.interrupt()
        prompt.until(r"cleaning up\s+cleaned up")
        prompt.until(interrupted)
        prompt.line("still(tasks)", "'all go on'")
    prompt.line("blocks(cleanup=600)", "blocked")
    prompt.interrupt()
    prompt.until("cleaning up")
    prompt.interrupt()
    prompt.until(interrupted)
    prompt.line("still(tasks)", "'all go on'")
    # What the second one has left to itself, if it waited already: from 3.14
    # on, the prompt closes its loop at the end, and asyncio would tell of it.
    prompt.line(
        "[t.cancel() for t in asyncio.all_tasks() if t.cancelling()]",
        r"\[(True)?\]",
    )
    # From here on the prompt is in no call, and none is interrupted.  What
    # runs just then would be, task or loop, as it is without calls: let all
    # rest.
    prompt.line("tasks[0].cancel(), tasks[1].done()", r"\(True, False\)")
    prompt.line("await (~blocks)()", "blocked")
    prompt.interrupt()
    prompt.until(r"cleaning up\s+cleaned up")
    prompt.until(interrupted)
    prompt.line("tasks[1].done()", "False")
    prompt.until(">>> ")
    prompt.interrupt()
    if python.drawn:
        prompt.until("KeyboardInterrupt")
    prompt.line("tasks[1].done()", "False")
    prompt.line("fails(2)", "ValueError: failed with 42")
    prompt.line("close_link(link); say_at_exit(); double(9)", r"\n18\s")
    prompt.type("exit()\r")
    shown = prompt.end()
    assert "at exit: 2000 the same loop" in shown
    assert "destroyed" not in shown


@pytest.mark.skipif(not find_spec("ptpython"), reason="no ptpython here")
@pytest.mark.parametrize("asynchronous", [False, True])
def test_ptpython(terminal, lab, asynchronous):
    (lab / "config.py").write_text(
        "def configure(repl):\n    repl.confirm_exit = False\n"
    )
    prompt = terminal(
        "-m",
        "ptpython",
        "--config-file=config.py",
        "--history-file=history",
        *["--asyncio"][:asynchronous],
    )
    prompt.until(">>>")
    prompt.type("from lab import *\r")
    prompt.line("double(21)", r"42\s")
    prompt.type("link = open_link()\r")
    prompt.line("ask(link, 'one')", "'answer: ONE'")
    prompt.line("ask(link, 'two')", "'answer: TWO'")
    if asynchronous:
        prompt.line("await (~ask)(link, 'three')", "'answer: THREE'")
    prompt.type("tasks = start(beat, wait)\r")
    prompt.line("blocks()", "blocked")
    prompt.interrupt()
    prompt.until(r"cleaning up\s+cleaned up")
    # With --asyncio it runs under asyncio.run, and shows what that does.
    prompt.until("CancelledError" if asynchronous else "KeyboardInterrupt")
    prompt.line("still(tasks)", "'all go on'")
    prompt.type("close_link(link)\r")
    prompt.type("say_at_exit()\r")
    prompt.line("double(1001)", r"2002\s+>>>")
    prompt.type("\x04")
    shown = prompt.end()
    assert "at exit: 2000 the same loop" in shown


# --- pytest -----------------------------------------------------------------


@pytest.fixture
def run_pytest(lab):
    """``run_pytest(tests, *args)`` runs pytest on a file; what it counted."""

    def run(tests, *args):
        (lab / "test_it.py").write_text(tests)
        (lab / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
        ran = subprocess.run(
            [
                *[sys.executable, "-X", "dev", "-W", "error"],
                *["-m", "pytest", "-q", "-p", "no:cacheprovider", *args],
            ],
            capture_output=True,
            text=True,
            timeout=90,
            cwd=lab,
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return ran.stdout.splitlines()[-1]

    return run


def test_a_tworoutine_is_an_ordinary_test(run_pytest):
    assert "2 passed" in run_pytest(
        "import pytest\n"
        "from lab import *\n"
        "@pytest.fixture\n"
        "def link():\n"
        "    link = open_link()\n"
        "    yield link\n"
        "    close_link(link)\n"
        "@tworoutine\n"
        "async def test_as_a_tworoutine(link):\n"
        "    assert ask(link, 'one') == 'answer: ONE'\n"
        "    assert await (~ask)(link, 'two') == 'answer: TWO'\n"
        "def test_as_a_function(link):\n"
        "    assert ask(link, 'one') == 'answer: ONE'\n",
        *["-p", "no:asyncio", "-p", "no:anyio"],
    )


# Fixtures and tests of a plugin; FIXTURE and MARK are its own names.
PLUGIN = """
import pytest
from lab import *

@pytest.fixture
def number():
    return double(21)

@FIXTURE
async def link():
    link = open_link()
    assert ask(link, "made") == "answer: MADE"
    yield link
    assert await (~ask)(link, "end") == "answer: END"
    close_link(link)

@pytest.fixture
def after_link(link):
    assert ask(link, "sync") == "answer: SYNC"
    yield
    assert ask(link, "sync") == "answer: SYNC"

@FIXTURE
async def returned():
    return double(1)

@MARK
async def test_calls(number, link, after_link, returned):
    assert ask(link, "one") == "answer: ONE"
    assert await (~ask)(link, "two") == "answer: TWO"
    assert (number, returned) == (42, 2)
    assert same(loop(), asyncio.get_running_loop()) == "the same loop"
    assert sum(await asyncio.gather(*[task() for _ in range(50)])) == 2100

async def task():
    return double(21)

@MARK
async def test_an_error():
    with pytest.raises(ValueError, match="failed with 42"):
        fails(2)

@MARK
async def test_a_timeout():
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            double(1, delay=60)

class TestMethods:
    @MARK
    async def test_method(self, link):
        assert ask(link, "one") == "answer: ONE"

def test_a_function(number):
    assert double(number) == 84

@pytest.mark.parametrize("n", [1, 2])
@tworoutine
async def test_a_tworoutine(n, number):
    assert double(n) + (await (~double)(n)) == 4 * n
"""


def plugin_tests(mark, fixture):
    tests = PLUGIN.replace("@FIXTURE", f"@{fixture}")
    if mark is None:
        return re.sub(r" *@MARK\n", "", tests)
    return tests.replace("@MARK", f"@{mark}")


@pytest.mark.skipif(
    not find_spec("pytest_asyncio"), reason="no pytest-asyncio here"
)
@pytest.mark.parametrize("mode", ["auto", "strict"])
def test_pytest_asyncio(run_pytest, mode):
    tests = (
        plugin_tests(None, "pytest.fixture")
        if mode == "auto"
        else plugin_tests("pytest.mark.asyncio", "pytest_asyncio.fixture")
    )
    counted = run_pytest(
        "import pytest_asyncio\n" + tests,
        *["-o", f"asyncio_mode={mode}"],
        *["-o", "asyncio_default_fixture_loop_scope=function"],
    )
    assert "7 passed" in counted


needs_anyio = pytest.mark.skipif(
    not find_spec("anyio"), reason="no anyio here"
)


@needs_anyio
def test_anyio_s_plugin_on_asyncio(run_pytest):
    counted = run_pytest(
        "import pytest\n"
        "@pytest.fixture\n"
        "def anyio_backend():\n"
        "    return 'asyncio'\n"
        + plugin_tests("pytest.mark.anyio", "pytest.fixture"),
        *["-p", "no:asyncio"],
    )
    assert "7 passed" in counted


@needs_anyio
@pytest.mark.skipif(not find_spec("trio"), reason="no trio here")
def test_anyio_s_plugin_on_both(run_pytest):
    """On trio, what makes calls is put in a portal."""
    counted = run_pytest(
        """
import anyio, pytest
from tworoutine import CannotSuspend, portal, tworoutine

pytestmark = pytest.mark.anyio

@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request):
    return request.param

@tworoutine
async def double(number):
    await anyio.sleep(0.001)
    return 2 * number

@pytest.fixture
async def four():
    @portal
    async def make():
        return double(2)

    return await make()

async def test_in_a_portal(four):
    @portal
    async def main():
        assert double(four) == 8
        async with anyio.create_task_group() as group:
            for number in range(5):
                group.start_soon(child, number)
        with anyio.move_on_after(0.001) as scope:
            while True:
                double(1)
        assert scope.cancelled_caught

    async def child(number):
        assert double(number) == 2 * number

    await main()

async def test_without_one(four, anyio_backend):
    if anyio_backend == "trio":
        with pytest.raises(CannotSuspend, match="trio runs in this thread"):
            double(four)
    else:
        assert double(four) == 8
""",
        *["-p", "no:asyncio"],
    )
    assert "4 passed" in counted
