"""``python -m tworoutine repl``, in a real terminal and from a pipe."""

import re
import subprocess
import sys

import pytest

PROMPTS = {"readline": {"PYTHON_BASIC_REPL": "1"}}
if sys.version_info >= (3, 13):
    PROMPTS["editor"] = {}

BEGIN = """
import os, signal, termios
ticks = []

def count():
    ticks.append(1)
    if len(ticks) in marks:
        # One write: the terminal may be read in the middle of several.
        os.write(1, f"mark {len(ticks)}\\n".encode())

async def tick():
    while True:
        await asyncio.sleep(0.002)
        count()

marks = set()

def mark(n=20):
    global marks
    marks = {len(ticks) + n}

async def tick_by_calls():
    while True:
        double(1)
        count()

def steal(then):
    loop, keys = asyncio.get_running_loop(), os.dup(0)

    def stolen():
        loop.remove_reader(keys)
        os.close(keys)
        termios.tcflush(0, termios.TCIFLUSH)
        then()

    loop.call_soon(loop.add_reader, keys, stolen)

from lab import *
"""


class Prompt:
    """The prompt in a terminal, with the task of ticks under way."""

    def __init__(self, terminal, env, tmp_path, *args):
        startup = tmp_path / "startup.py"
        startup.write_text(BEGIN)
        args = ["-m", "tworoutine", "repl", *args]
        self.run = terminal(*args, PYTHONSTARTUP=str(startup), **env)
        self.until = self.run.until
        self.expect = self.run.expect

    def enter(self, line, answer=None):
        """Type a line; wait for the answer, and the next prompt."""
        self.run.type(line + "\n")
        if answer is not None:
            self.run.expect(answer)
        self.run.expect(">>> ")


@pytest.fixture(params=PROMPTS)
def prompt(request, terminal, tmp_path):
    prompt = Prompt(terminal, PROMPTS[request.param], tmp_path)
    prompt.is_editor = request.param == "editor"
    prompt.until(r"go on while you type\.[^$]*tworoutine\s+")
    prompt.expect(">>> ")
    return prompt


@pytest.fixture(params=["tick", "tick_by_calls"])
def ticking(request, prompt):
    prompt.enter(f"task = asyncio.create_task({request.param}())")
    return prompt


def test_both_forms(prompt):
    prompt.enter("double(21)", "42")
    prompt.enter("await (~double)(22)", "44")
    prompt.enter("_ + 1", "45")
    prompt.enter("same(loop(), await (~loop)(), loop())", "the same loop")
    prompt.enter("[double(x) for x in range(3)]", "[0, 2, 4]")
    prompt.enter("__builtins__.len is len, __name__", "(True, '__main__')")
    prompt.enter("here: int = 7")
    prompt.enter("here, vars() is globals()", "(7, True)")
    prompt.enter("from tworoutine import nested; nested.apply()")
    prompt.enter("asyncio.run((~double)(23))", "46")
    prompt.enter("nested.undo()")
    prompt.enter("link = open_link()")
    prompt.enter("await (~ask)(link, 'one')", "answer: ONE")
    prompt.enter("ask(link, 'two')", "answer: TWO")
    prompt.enter("close_link(link)")


def test_tasks_go_on_while_nothing_is_typed(ticking):
    ticking.enter("mark()")
    ticking.until("mark \\d+\n")
    ticking.enter("task.done()", "False")


def test_tasks_go_on_while_half_a_line_is_typed(ticking):
    ticking.enter("mark(400)")
    ticking.run.type("'ha' + 'l")
    ticking.until("mark \\d+\n")
    ticking.enter("f'", "half")
    ticking.enter("task.done()", "False")


def test_ctrl_c_clears_the_line(ticking):
    for _ in range(3):
        ticking.run.type("no = 1 / 0")
        ticking.expect("1 / 0")
        ticking.run.interrupt()
        ticking.expect("KeyboardInterrupt")
        ticking.expect(">>> ")
        ticking.enter("double(21)", "42")
    ticking.enter("'no' in globals()", "False")
    ticking.enter("mark()")
    ticking.until("mark \\d+\n")


@pytest.mark.parametrize("line", ["blocks()", "await (~blocks)()", "calls()"])
def test_ctrl_c_ends_what_the_line_waits_for(ticking, line):
    for _ in range(2):
        ticking.run.type(line + "\n")
        ticking.expect("blocked\n")
        ticking.run.interrupt()
        ticking.expect("cleaned up\n")
        shown = ticking.until("(?s).*KeyboardInterrupt")[0]
        assert "_repl.py" not in shown
        ticking.expect(">>> ")
        ticking.enter("still([task]) if task.get_coro() is None else 1", "1")
    ticking.enter("mark()")
    ticking.until("mark \\d+\n")


def test_the_line_may_catch_ctrl_c(ticking):
    line = "try: blocks()\nexcept KeyboardInterrupt: print('cau' + 'ght')\n\n"
    ticking.run.type(f"exec({line!r})\n")
    ticking.expect("blocked\n")
    ticking.run.interrupt()
    ticking.expect("caught")
    ticking.expect(">>> ")
    ticking.enter("double(21)", "42")


def test_a_task_may_make_the_first_call(prompt):
    prompt.enter("task = asyncio.create_task(later())")
    prompt.expect("blocked\n")
    prompt.enter("double(1)", "2")
    prompt.enter("task.done() or task.cancel()", "True")
    prompt.expect("cleaned up\n")
    prompt.enter("task.cancelled()", "True")


def test_ctrl_c_in_what_computes(ticking):
    ticking.run.type("print('be' + 'gun')\nwhile True: pass\n\n")
    ticking.expect("begun\n")
    ticking.until("pass")
    ticking.run.interrupt()
    ticking.expect("KeyboardInterrupt")
    ticking.expect(">>> ")
    ticking.enter("mark()")
    ticking.until("mark \\d+\n")


def test_ctrl_c_before_the_line_begins(program):
    """The line does not begin after all, while somebody types."""
    out = program("""
import asyncio, signal
from tworoutine import _repl, await_
from tworoutine._core import thread_loop

ran = []
await_(asyncio.sleep(0))
thread_loop().call_soon(signal.raise_signal, signal.SIGINT)
line = compile("ran.append(1)", "<line>", "exec")
try:
    _repl.run_code(line, globals())
except KeyboardInterrupt:
    print("interrupted")
await_(asyncio.sleep(0.001))
print(ran)
_repl.run_code(line, globals())
print(ran)
""")
    assert out == "interrupted\n[]\n[1]\n"


def test_ctrl_c_before_the_wait_for_keys_begins(program):
    out = program("""
import asyncio, os, pty, signal
from tworoutine import _repl, await_

class Console(_repl._Console):
    async def _key(self, *args):
        for signum in interrupts:
            signal.raise_signal(signum)
        return await super()._key(*args)

main, terminal = pty.openpty()
os.dup2(terminal, 0)
with Console({}) as console:
    for interrupts in ([signal.SIGINT], []):
        print(console.while_typing())
        os.write(main, b"x\\n")
""")
    assert out == "True\nFalse\n"


def skip_editor(prompt):
    if prompt.is_editor:
        pytest.skip("the editor asks whether there is a key just as it reads")


def test_ctrl_c_takes_the_key_that_was_to_be_read(prompt):
    """As the terminal does: what was typed and not read yet is dropped."""
    skip_editor(prompt)
    prompt.enter("steal(lambda: signal.raise_signal(signal.SIGINT))")
    prompt.run.type("x")
    prompt.expect("KeyboardInterrupt")
    prompt.expect(">>> ")
    prompt.enter("double(21)", "42")


def test_tasks_go_on_though_the_key_that_was_to_be_read_is_gone(ticking):
    skip_editor(ticking)
    ticking.enter("steal(mark)")
    ticking.run.type("x")
    ticking.until("mark \\d+\n")
    ticking.run.type("\n")
    ticking.expect(">>> ")
    ticking.enter("double(21)", "42")


def test_definitions_of_several_lines(prompt):
    for line in ("@tworoutine", "async def f(x):", "return double(x) + 1"):
        indent = "" if prompt.is_editor or not line.startswith("ret") else "  "
        prompt.run.type(indent + line + "\n")
        prompt.expect("... ")
    prompt.enter("", None)
    prompt.enter("f(1), await (~f)(2)", "(3, 5)")
    prompt.run.type("for x in range(2):\n")
    prompt.expect("... ")
    indent = "" if prompt.is_editor else "  "
    prompt.run.type(indent + "print('item', await (~double)(x))\n")
    prompt.expect("... ")
    prompt.run.type("\n")
    prompt.until("item 0\\s+item 2\\s+>>> ")


def test_errors_show_the_lines_of_the_user(prompt):
    prompt.run.type("fails(1)\n")
    shown = prompt.until(r"(?s).*ValueError: failed with 41\s+>>> ")[0]
    assert "lab.py" in shown
    assert "_repl.py" not in shown
    prompt.enter("import sys; sys.last_value", "ValueError('failed with 41')")
    prompt.enter("1 +", "SyntaxError")
    prompt.enter("double(1)", "2")


def test_history_and_completion(prompt):
    prompt.enter("number_of_boards = 7")
    prompt.run.type("number_of_b\t")
    prompt.expect("number_of_boards")
    prompt.enter(" + 1", "8")
    prompt.enter("number_of_boards = 8")
    prompt.run.type("\x10\x10")  # Ctrl-P
    prompt.expect("+ 1")
    prompt.enter("0", "18")
    prompt.enter("board.gain_x", "42")


def test_variables_of_contexts_are_kept(prompt):
    prompt.enter("import contextvars")
    prompt.enter("var = contextvars.ContextVar('var')")
    prompt.enter("token = var.set(3)")
    prompt.enter("var.get(), await asyncio.sleep(0, var.get())", "(3, 3)")
    prompt.enter("var.reset(token)")
    prompt.enter("var.get(0)", "0")


@pytest.mark.parametrize(
    ("typed", "status"),
    [("exit()\n", 0), ("exit(3)\n", 3), ("\x04", 0), ("quit()\n", 0)],
)
def test_the_end(ticking, typed, status):
    ticking.enter("say_at_exit()")
    ticking.run.type(typed)
    shown = ticking.run.end(status)
    assert "at exit: 2000 the same loop" in shown
    assert "Error" not in shown


def test_quiet(terminal, tmp_path):
    for args in (["-q"], []):
        prompt = Prompt(terminal, PROMPTS["readline"], tmp_path, *args)
        shown = prompt.until("(?s).*>>> $")[0]
        assert ("go on while you type" in shown) is not args


def test_it_uses_no_cpu(ticking):
    ticking.enter("task.cancel()")
    ticking.enter("asyncio.sleep and os.times().user + os.times().system")
    ticking.enter("begun = os.times()")
    ticking.enter("asyncio.get_running_loop().call_later(1, mark)")
    ticking.enter(
        "t = asyncio.get_running_loop().call_later(1, print, 'sle' + 'pt')"
    )
    ticking.expect("slept")
    ticking.enter("end = os.times()")
    line = "'used', end.user + end.system - begun.user - begun.system < 0.5"
    ticking.enter(line, "('used', True)")


# --- hooks of others --------------------------------------------------------

GUI = """
import ctypes, select
kind = ctypes.PYFUNCTYPE(ctypes.c_int)
slot = ctypes.c_void_p.in_dll(ctypes.pythonapi, "PyOS_InputHook")
events = []

@ctypes.CFUNCTYPE(ctypes.c_int)
def hook():
    "As that of tkinter: until there is something to read."
    while not select.select([0], [], [], 0.005)[0]:
        events.append(0)
    events.append(1)
    if asks:
        asks.pop()
        read = input()
        os.write(1, f"the GUI has read {read!r}\\n".encode())
    if len(events) == goal:
        os.write(1, b"the GUI goes on\\n")
    return 0

goal = -1
asks = []
slot.value = ctypes.cast(hook, ctypes.c_void_p).value
"""


def test_beside_the_hook_of_a_gui(ticking, tmp_path):
    (tmp_path / "gui.py").write_text(GUI)
    ticking.enter("exec(open('gui.py').read())")
    ticking.enter("goal = len(events) + 10", None)
    ticking.expect("the GUI goes on\n")
    ticking.enter("mark()")
    ticking.until("mark \\d+\n")
    ticking.enter("goal = len(events) + 10; mark(50)")
    ticking.run.type("'ha' + 'l")
    ticking.until("the GUI goes on\n")
    ticking.enter("f'", "half")
    ticking.enter("0 in events, double(1)", "(False, 2)")
    if not ticking.is_editor:  # whose input() is the editor again
        # What reads stdin there gets an empty line, and the end.
        ticking.enter("asks.append(1)", None)
        ticking.expect("the GUI has read ''\n")
    # While a line runs, it is the only one.
    line = "slot.value == ctypes.cast(hook, ctypes.c_void_p).value"
    ticking.enter(line, "True")
    ticking.enter("slot.value = None")
    ticking.enter("slot.value, double(1)", "(None, 2)")


# --- no terminal ------------------------------------------------------------


def pipe(source, *args):
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "tworoutine", *args],
        input=source,
        capture_output=True,
        text=True,
        timeout=90,
    )


PIPED = """
@tworoutine
async def double(x):
    await asyncio.sleep(0.001)
    return 2 * x

task = asyncio.create_task((~double)(1))
print(double(2), await (~double)(3), await_(task), __name__)
"""


def test_a_program_in_a_pipe():
    ran = pipe(PIPED, "repl")
    assert (ran.returncode, ran.stdout, ran.stderr) == (
        0,
        "4 6 2 __main__\n",
        "",
    )
    ran = pipe("import sys\nsys.exit(3)\n", "repl")
    assert (ran.returncode, ran.stderr) == (3, "")
    ran = pipe("print(1)\n1 / 0\n", "repl", "-q")
    assert (ran.returncode, ran.stdout) == (1, "1\n")
    assert "_repl.py" not in ran.stderr
    assert ran.stderr.endswith("ZeroDivisionError: division by zero\n")
    ran = pipe("x = (", "repl")
    assert ran.returncode == 1
    assert re.match(r' *File "<stdin>", line 1\n', ran.stderr)


def test_help():
    ran = pipe("", "--help")
    assert ran.returncode == 0
    assert "repl" in ran.stdout
    assert "-q" in pipe("", "repl", "--help").stdout
    assert pipe("", "nothing").returncode == 2
    assert "why_no_handoff: None" in pipe("").stdout
