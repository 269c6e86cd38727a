"""At IPython's prompt, in a pseudo-terminal."""

import os

import pytest

pytest.importorskip("IPython", reason="IPython is not installed")


@pytest.fixture
def ipython(terminal):
    ipython = terminal(
        "-m",
        "IPython",
        "--no-banner",
        "--no-confirm-exit",
        "--HistoryManager.enabled=False",
        "--TerminalInteractiveShell.colors=nocolor",
    )
    ipython.until(r"In \[1\]:")
    ipython.line("from lab import *", r"In \[2\]:")
    return ipython


def test_calls_and_awaits_share_ipython_s_loop(ipython):
    ipython.line("double(21)", r"Out\[2\]: 42\s")
    ipython.line("link = open_link()", r"In \[4\]:")
    ipython.line("await (~ask)(link, 'one')", "'answer: ONE'")
    ipython.line("ask(link, 'two')", "'answer: TWO'")
    ipython.line("link = await (~open_link)()", r"In \[7\]:")
    ipython.line("ask(link, 'three')", "'answer: THREE'")
    # A library may set a loop; IPython goes on to await in its own one.
    ipython.line(
        "import asyncio; asyncio.set_event_loop(asyncio.new_event_loop())",
        r"In \[9\]:",
    )
    ipython.line("await (~ask)(link, 'four')", "'answer: FOUR'")
    ipython.line("ask(link, 'five')", "'answer: FIVE'")
    ipython.line(
        "from IPython.core import async_helpers as helpers", r"In \[12\]:"
    )
    ipython.line("same(loop(), helpers.get_asyncio_loop())", "'the same loop'")
    # Nothing is left behind: the prompt's loop runs only while a line does.
    ipython.line("asyncio._get_running_loop() is None", r"Out\[13\]: True")


def test_tasks_go_on_in_the_next_line(ipython):
    ipython.line("tasks = start(beat, wait); len(tasks)", r"Out\[2\]: 2\s")
    ipython.line("still(tasks)", "'all go on'")
    ipython.line("await asyncio.sleep(0.01); still(tasks)", "'all go on'")


def test_a_task_that_makes_the_first_call_outlives_its_line(ipython):
    ipython.line("tasks = await (~start)(wait, beat)", r"In \[3\]:")
    ipython.line("await asyncio.sleep(0.02); still(tasks)", "'all go on'")
    ipython.line("still(tasks)", "'all go on'")


def test_tasks_go_on_while_one_types(ipython, lab):
    (lab / "background.py").write_text(
        """
import asyncio
from lab import double

async def speak():
    for n in range(3):
        await asyncio.sleep(0.02)
        print("said", double(n))
"""
    )
    ipython.line("from background import *", r"In \[3\]:")
    ipython.line("%load_ext tworoutine", r"In \[4\]:")
    # Nothing is typed from here on until all has been said.
    ipython.line("tasks = start(speak)", r"said 0\s")
    ipython.until(r"said 2\s")
    ipython.until(r"said 4\s")
    ipython.line("double(21)", r"Out\[5\]: 42\s")
    ipython.line("await (~double)(22)", r"Out\[6\]: 44\s")
    ipython.line("tasks = start(beat); still(tasks)", "'all go on'")
    ipython.line("still(tasks)", "'all go on'")
    ipython.line("%unload_ext tworoutine", r"In \[10\]:")
    ipython.line("n = len(beats)", r"In \[11\]:")
    ipython.line("len(beats) - n", r"Out\[11\]: 0\s")
    ipython.line("still(tasks)", "'all go on'")


def test_ctrl_c_where_tasks_go_on_while_one_types(ipython):
    ipython.line("%load_ext tworoutine", r"In \[3\]:")
    ipython.line("tasks = start(beat, wait)", r"In \[4\]:")
    ipython.line("blocks()", "blocked")
    ipython.interrupt()
    ipython.until("cleaned up")
    ipython.until("KeyboardInterrupt")
    ipython.until(r"In \[5\]:")
    ipython.type("rubbish")
    ipython.interrupt()  # at the prompt: another line
    ipython.line("still(tasks)", "'all go on'")


def test_help_source_and_completion(ipython):
    ipython.line("double?", r"Signature: +double\(number, \*, delay=0.001\)")
    ipython.until("Twice the number.")
    ipython.line("double??", r"return 2 \* number")
    ipython.until(r"In \[4\]:")
    for typed, completed in [
        ("double(nu", "double(number="),
        ("double(1, del", "double(1, delay="),
        ("(~double)(nu", "(~double)(number="),
        ("double.ma", "double.map"),
    ]:
        ipython.type(typed + "\t")
        ipython.until(completed.removeprefix(typed).replace(".", r"\."))
        ipython.type("\x15")  # erase the line


def test_completion_by_code_that_calls(ipython):
    ipython.type("board.gai\t")
    ipython.until("gain_x")
    ipython.until("gain_y")
    ipython.type("\x15")
    ipython.line("%config Completer.evaluation = 'unsafe'", r"In \[3\]:")
    ipython.type("board.gain_x.bit_c\t")
    ipython.until("bit_count|ount")
    ipython.line("\x15board.gain_x + 1", r"Out\[3\]: 43\s")


def test_magics(ipython):
    ipython.line("%load_ext tworoutine", r"In \[3\]:")
    ipython.line("%reload_ext tworoutine", r"In \[4\]:")
    ipython.line("%timeit -n 20 -r 2 double(1, delay=0)", "per loop")
    ipython.line("%time double(400)", "Wall time")
    ipython.until("800")
    ipython.line("%prun -q double(1)", r"In \[7\]:")
    ipython.line("%autoawait off", r"In \[8\]:")
    ipython.line("double(401)", r"Out\[8\]: 802\s")
    ipython.line("~double", r"<function lab\.double\.aio")
    ipython.line("%autoawait on", r"In \[11\]:")
    ipython.line("%autoawait", "set to use `asyncio`")


def test_lines_that_a_runner_of_somebody_s_runs(ipython):
    """In a loop of a library's, which has a thread of its own."""
    ipython.line(
        "import threading; other = asyncio.new_event_loop(); "
        "threading.Thread(target=other.run_forever, daemon=True).start()",
        r"In \[3\]:",
    )
    ipython.line(
        "get_ipython().loop_runner = lambda coro: "
        "asyncio.run_coroutine_threadsafe(coro, other).result()",
        r"In \[4\]:",
    )
    ipython.line("link = await (~open_link)()", r"In \[5\]:")
    ipython.line("ask(link, 'one')", "'answer: ONE'")
    ipython.line("same(loop(), other)", "'the same loop'")
    ipython.line("await (~ask)(link, 'two')", "'answer: TWO'")
    ipython.line("await_(asyncio.sleep(0, 'slept'))", "'slept'")
    ipython.line("tworoutine(lambda: asyncio.sleep(0, 'made'))()", "'made'")
    ipython.line("fails(2)", "ValueError: failed with 42")
    ipython.line("%autoawait asyncio", r"In \[12\]:")
    ipython.line("loop() is other", "False")


def test_lines_that_trio_runs(ipython):
    pytest.importorskip("trio", reason="trio is not installed")
    ipython.line("import trio", r"In \[3\]:")
    ipython.line("%autoawait trio", r"In \[4\]:")
    ipython.line("double(21)", r"Out\[4\]: 42\s")
    ipython.line("await trio.sleep(0); double(1)", "trio runs in this thread")
    ipython.line("double(22)", r"Out\[6\]: 44\s")


def test_debug_a_call_that_failed(ipython):
    ipython.line("fails(2)", "ValueError: failed with 42")
    ipython.line("%debug", "ipdb>")
    ipython.line("p local + 1000", "1042")
    ipython.line("p double(500)", "1000")
    ipython.line("up", r"1 fails\(2\)")
    ipython.line("q", r"In \[4\]:")
    ipython.line("double(501)", r"Out\[4\]: 1002\s")


@pytest.mark.parametrize(
    "debugger, prompt",
    [
        ("pdb.set_trace", r"\(Pdb\)"),
        ("IPython.terminal.debugger.set_trace", "ipdb>"),
    ],
)
def test_breakpoint_in_a_call(ipython, debugger, prompt):
    ipython.line(
        f"os.environ['PYTHONBREAKPOINT'] = {debugger!r}", r"In \[3\]:"
    )
    ipython.line("stops()", prompt)
    ipython.line("p local + 1", "121")
    ipython.line("p double(local, delay=0.01) + 1", "241")
    ipython.line("c", r"Out\[3\]: 240\s")


@pytest.mark.parametrize("line", ["blocks()", "calls()"])
def test_ctrl_c(ipython, line):
    ipython.line("tasks = start(beat, wait)", r"In \[3\]:")
    for number in range(3, 6):
        ipython.line(line, "blocked")
        ipython.interrupt()
        shown = ipython.until(rf"In \[{number + 1}\]:").string
        assert shown.index("cleaning up") < shown.index("cleaned up")
        assert shown.index("cleaned up") < shown.index("KeyboardInterrupt")
        assert ("inside_calls" in shown) == (line == "calls()")
        assert "Cancelled" not in shown and "selectors" not in shown
    ipython.line("double(21)", r"Out\[6\]: 42\s")
    ipython.line("still(tasks)", "'all go on'")


def test_ctrl_c_twice(ipython):
    ipython.line("tasks = start(beat, wait)", r"In \[3\]:")
    ipython.line("blocks(cleanup=600)", "blocked")
    ipython.interrupt()
    ipython.until("cleaning up")
    ipython.interrupt()
    shown = ipython.until(r"In \[4\]:").string
    assert "KeyboardInterrupt" in shown and "\ncleaned up" not in shown
    ipython.line("double(21)", r"Out\[4\]: 42\s")
    ipython.line("still(tasks)", "'all go on'")


def test_exit(ipython):
    ipython.line("tasks = start(beat, wait)", r"In \[3\]:")
    ipython.line("say_at_exit()", r"In \[4\]:")
    ipython.type("exit\r")
    shown = ipython.end()
    assert "at exit: 2000 the same loop" in shown
    assert "Traceback" not in shown and "destroyed" not in shown


def test_a_forked_child_leaves_ipython_s_loop_alone(ipython):
    ipython.line("mine = loop()", r"In \[3\]:")
    # The parent waits before it shows its next prompt, in the same terminal.
    ipython.line(
        "os.waitpid(os.fork() or print('child:', double(1), "
        "same(mine, loop()), flush=True) or os._exit(0), 0)",
        r"child: 2 other loop",
    )
    ipython.line("same(mine, loop())", "'the same loop'")


def test_embedded_in_a_program_that_has_used_its_own_loop(lab, terminal):
    (lab / "program.py").write_text(
        "import IPython\n"
        "from lab import *\n"
        "link = open_link()\n"
        "IPython.embed(colors='nocolor', banner1='')\n"
        "print('after:', ask(link, 'two'))\n"
    )
    prompt = terminal("program.py")
    prompt.until(r"In \[1\]:")
    prompt.line("ask(link, 'one')", "'answer: ONE'")
    prompt.type("exit\r")
    assert "after: answer: TWO" in prompt.end()


def test_imported_only_ipython_has_no_say(program):
    assert program(
        "import IPython, asyncio\n"
        "from IPython.core import async_helpers\n"
        "from tworoutine import tworoutine\n"
        "loop = tworoutine(asyncio.sleep)\n"
        "loop(0)\n"
        "print(async_helpers._asyncio_event_loop)\n"
    ).split() == ["None"]


def test_where_ipython_is_not_imported_it_is_not_asked_for(program):
    program(
        "import sys, asyncio\n"
        "from tworoutine import _cold, tworoutine\n"
        "_cold.prompt_loop = None\n"
        "tworoutine(asyncio.sleep)(0)\n"
        "assert 'IPython' not in sys.modules\n"
    )


EDITED = """
import contextlib
from tworoutine import tworoutine

@tworoutine
async def two(add=0):
    return VERSION + add

@tworoutine
async def several():
    yield VERSION

@tworoutine
@contextlib.asynccontextmanager
async def opened():
    yield VERSION

two_partly = tworoutine(lambda: (~two)())

class Board:
    @tworoutine
    async def read(self):
        return VERSION

    @classmethod
    @tworoutine
    async def upper(cls):
        return VERSION

    @tworoutine
    @classmethod
    async def lower(cls):
        return VERSION

    @property
    @tworoutine
    async def gain(self):
        return VERSION
"""


def test_autoreload(ipython, lab):
    path = lab / "edited.py"

    def edit(version):
        path.write_text(EDITED.replace("VERSION", str(version)))
        os.utime(path, (version * 10**6, version * 10**6))

    edit(1)
    ipython.line("%load_ext autoreload", r"In \[3\]:")
    ipython.line("%autoreload 2", r"In \[4\]:")
    ipython.line("import edited; from edited import *", r"In \[5\]:")
    ipython.line(
        "board = Board(); read = board.read; aio = ~two; cm = opened",
        r"In \[6\]:",
    )
    for count, version in [(6, 1), (8, 2), (10, 3)]:
        edit(version)
        ipython.line("0", rf"In \[{count + 1}\]:")  # reloads
        ipython.line(
            "with cm() as it: got = [two(0), edited.two(add=0), *several(), "
            "it, read(), board.read(), Board.upper(), board.lower(), "
            "board.gain, two_partly(), await aio()]; print('got', *got)",
            "got" + f" {version}" * 11 + r"\s",
        )
        ipython.until(rf"In \[{count + 2}\]:")


GUI = """
import asyncio, time
from IPython.terminal.pt_inputhooks import register
from tworoutine import tworoutine

clicks, seen = [], []

def hook(context):
    # as those of real GUIs, this one handles its events until a key is pressed
    while not context.input_is_ready():
        while clicks:
            callback = clicks.pop(0)
            try:
                seen.append(callback())
            except BaseException as exc:
                seen.append(exc)
            print("handled", len(seen))
        time.sleep(0.005)

register("toy", hook)

async def sets(event):
    event.set()

@tworoutine
async def lets_others_run():
    event = asyncio.Event()
    task = asyncio.create_task(sets(event))
    await event.wait()
    return asyncio.current_task() is not None

@tworoutine
async def key(n):
    await asyncio.sleep(0)
    return -n
"""


def test_callbacks_of_a_gui(ipython, lab):
    (lab / "gui.py").write_text(GUI)
    ipython.line("from gui import *", r"In \[3\]:")
    ipython.line("%gui toy", r"In \[4\]:")
    ipython.line("link = open_link(); tasks = start(beat)", r"In \[5\]:")
    for count, click in enumerate(
        [
            "lambda: ask(link, 'click')",
            "lambda: same(loop(), home)",
            "lets_others_run",
            "lambda: sorted([3, 1, 2], key=key)",
            "lambda: still(tasks)",
            "lambda: fails(2)",
            "lambda: asyncio._get_running_loop() is not None",
        ],
        1,
    ):
        ipython.line(
            f"home = loop(); clicks.append({click})", rf"handled {count}\b"
        )
    ipython.line("", r"In \[12\]:")
    ipython.line("print('seen', *seen, 'end')", "seen answer: CLICK the same ")
    ipython.until(r"loop True \[3, 2, 1\] all go on failed with 42 True end\s")
    ipython.line("ask(link, 'prompt')", "'answer: PROMPT'")
