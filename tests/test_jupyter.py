"""In cells of a notebook: a real ipykernel, 6 or 7, over the wire."""

import asyncio
import copy
import inspect
import itertools
import re
import tempfile
from pathlib import Path

import pytest

from terminal import LAB
from test_hosts_doc import PRINTS, blocks

pytest.importorskip("ipykernel", reason="ipykernel is not installed")
pytest.importorskip("nbclient", reason="nbclient is not installed")

import nbformat
from ipykernel.kernelbase import Kernel as BaseKernel
from jupyter_client import KernelManager
from jupyter_core.utils import ensure_event_loop
from nbclient import NotebookClient
from traitlets.config import Config

ESCAPES = re.compile(r"\x1b\[[0-9;]*m")


class Cell:
    """What a cell has shown and how it ended."""

    def __init__(self, text, result, error, count):
        self.text = text  # printed
        self.result = result  # repr of its last expression, or None
        self.error = error  # (name, message, traceback), or None
        self.count = count  # In [count]


class Kernel:
    """A kernel of this Python, and a client of it."""

    def __init__(self, directory, connection):
        self._manager = KernelManager(**connection)
        self._manager.start_kernel(cwd=str(directory))
        self.client = self._manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=90)
        self.run("import asyncio, time\nfrom lab import *")

    def send(self, code):
        return self.client.execute(code)

    def message(self, request):
        """The next message shown on behalf of a request: its type, content."""
        while True:
            message = self.client.get_iopub_msg(timeout=90)
            if message["parent_header"].get("msg_id") == request:
                return message["msg_type"], message["content"]

    def until(self, request, text, times=1):
        """Wait until a request has printed text."""
        shown = ""
        while shown.count(text) < times:
            kind, content = self.message(request)
            assert kind in ("stream", "status", "execute_input"), content
            shown += content.get("text", "")

    def end(self, request):
        """Wait until a request has ended: its Cell."""
        text, result, error, count = "", None, None, None
        while True:
            kind, content = self.message(request)
            if kind == "stream":
                text += content["text"]
            elif kind == "execute_result":
                result = content["data"]["text/plain"]
            elif kind == "execute_input":
                count = content["execution_count"]
            elif kind == "error":
                trace = ESCAPES.sub("", "\n".join(content["traceback"]))
                error = content["ename"], content["evalue"], trace
            elif kind == "status" and content["execution_state"] == "idle":
                return Cell(text, result, error, count)

    def run(self, code):
        """The result of a cell that must not fail."""
        cell = self.end(self.send(code))
        while cell.count is None and cell.error is None:
            # ipykernel gives up what comes too soon after a failed cell.
            cell = self.end(self.send(code))
        assert cell.error is None, cell.error[2]
        return cell.result

    def fail(self, request):
        """Wait until a request has failed: its Cell.  The next is taken."""
        cell = self.end(request)
        assert cell.error is not None, cell.text
        self.run("None")
        return cell

    def reply(self, request):
        """The reply to a request other than a cell."""
        while True:
            message = self.client.get_shell_msg(timeout=90)
            if message["parent_header"].get("msg_id") == request:
                return message["content"]

    def press(self, button):
        """Send a widget's message to the comm of that id, as repr."""
        message = self.client.session.msg(
            "comm_msg", {"comm_id": button.strip("'"), "data": "press"}
        )
        self.client.shell_channel.send(message)
        return message["header"]["msg_id"]

    def interrupt(self):
        self._manager.interrupt_kernel()

    def shut_down(self):
        """Let the kernel end by itself."""
        self._manager.shutdown_kernel()

    def close(self):
        self.client.stop_channels()
        if self._manager.has_kernel:
            self._manager.shutdown_kernel(now=True)


@pytest.fixture(scope="module")
def connections():
    """Where the next kernel listens.

    Not at ports: those that jupyter_client finds free may have been taken
    when the kernel asks for them.
    """
    with tempfile.TemporaryDirectory() as directory:
        yield (
            {"transport": "ipc", "ip": f"{directory}/{n}"}
            for n in itertools.count()
        )


@pytest.fixture(scope="module")
def kernels(tmp_path_factory, connections):
    """Starts kernels; at the end, all is as before."""
    started = []

    def start(directory):
        (directory / "lab.py").write_text(LAB)
        started.append(Kernel(directory, next(connections)))
        return started[-1]

    with pytest.MonkeyPatch.context() as patch:
        for name in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR"):
            patch.setenv(name, str(tmp_path_factory.mktemp(name)))
        yield start
        for kernel in started:
            kernel.close()
    loop = ensure_event_loop()  # jupyter_client's, which it never closes
    asyncio.set_event_loop(None)
    loop.close()


@pytest.fixture(scope="module")
def healthy(kernels, tmp_path_factory):
    """The kernel that most tests share; another if one has broken it."""
    kernel, failed = None, 0

    def get(request):
        nonlocal kernel, failed
        if kernel is None or request.session.testsfailed > failed:
            failed = request.session.testsfailed
            kernel = kernels(tmp_path_factory.mktemp("notebook"))
        return kernel

    return get


@pytest.fixture
def kernel(healthy, request):
    return healthy(request)


def test_calls_and_awaits_share_the_kernel_s_loop(kernel):
    assert kernel.run("double(21)") == "42"
    assert kernel.run("await (~double)(22)") == "44"
    assert kernel.run("same(loop(), asyncio.get_running_loop())") == (
        "'the same loop'"
    )
    kernel.run("link = open_link()")
    assert kernel.run("await (~ask)(link, 'one')") == "'answer: ONE'"
    assert kernel.run("ask(link, 'two')") == "'answer: TWO'"
    kernel.run("link = await open_link.aio()")
    assert kernel.run("ask(link, 'three')") == "'answer: THREE'"
    # A call in a cell that also awaits, and in a task that it starts.
    assert (
        kernel.run(
            "async def task():\n"
            "    return ask(link, 'four')\n"
            "await asyncio.sleep(0)\n"
            "[ask(link, 'zero'), await asyncio.create_task(task())]"
        )
        == "['answer: ZERO', 'answer: FOUR']"
    )
    # Below C code, in many tasks at once, and in another thread.
    assert kernel.run("sorted([3, 1, 2], key=double)") == "[1, 2, 3]"
    assert kernel.run("double.map(range(200))[-1]") == "398"
    assert (
        kernel.run("await asyncio.gather(*[(~double)(n) for n in range(3)])")
        == "[0, 2, 4]"
    )
    assert kernel.run("await asyncio.to_thread(double, 4)") == "8"


def test_the_cell_s_context_and_task(kernel):
    kernel.run(
        "import contextvars\n"
        "from tworoutine import tworoutine\n"
        "var = contextvars.ContextVar('var', default='unset')\n"
        "@tworoutine\n"
        "async def set_var(value):\n"
        "    before = var.get(), asyncio.current_task()\n"
        "    await asyncio.sleep(0.001)\n"
        "    var.set(value)\n"
        "    return before\n"
    )
    assert (
        kernel.run(
            "was, task = set_var('one')\n"
            "was, var.get(), task is asyncio.current_task()"
        )
        == "('unset', 'one', True)"
    )


def test_a_hundred_queued_cells_run_in_order_and_none_is_lost(kernel):
    kernel.run("tasks = start(beat, wait); ran = []")
    cells = [
        kernel.send(
            [
                f"ran.append({n}); double({n}, delay={n % 5 / 1000})",
                f"ran.append({n}); await (~double)({n}, delay={n % 3 / 1000})",
                f"ran.append({n}); double(double({n}, delay=0) // 2)",
            ][n % 3]
        )
        for n in range(100)
    ]
    ended = [kernel.end(cell) for cell in cells]
    assert [int(cell.result) for cell in ended] == list(range(0, 200, 2))
    counts = [cell.count for cell in ended]
    assert counts == list(range(counts[0], counts[0] + 100))
    assert kernel.run("ran == list(range(100))") == "True"
    assert kernel.run("still(tasks)") == "'all go on'"
    kernel.run("[task.cancel() for task in tasks]")


def test_progress_is_shown_and_tasks_go_on_during_a_call(kernel, tmp_path):
    kernel.run(
        f"import os; os.chdir({str(tmp_path)!r})\n"
        "import comm\n"
        "from pathlib import Path\n"
        "from tqdm import tqdm\n"
        "from tworoutine import tworoutine\n"
        "widget = comm.create_comm(target_name='progress')\n"
        "async def show():\n"
        "    for n in range(1_000_000):\n"
        "        widget.send({'done': n})\n"
        "        await asyncio.sleep(0.001)\n"
        "@tworoutine\n"
        "async def until(name):\n"
        "    while not Path(name).exists():\n"
        "        await asyncio.sleep(0.001)\n"
        "    return name\n"
        "tasks = start(beat, wait, show)\n"
    )
    request = kernel.send(
        "for name in tqdm(['one', 'two'], mininterval=0):\n    until(name)\n"
        "still(tasks)"
    )
    for bar, name in enumerate(("one", "two")):
        # The call ends when its progress has been seen out here.
        shown, sent = "", []
        while len(sent) < 3 or f"{bar}/2" not in shown:
            message = kernel.client.get_iopub_msg(timeout=90)
            shown += message["content"].get("text", "")
            if message["msg_type"] == "comm_msg":
                sent.append(message["content"]["data"]["done"])
        assert sent == list(range(sent[0], sent[0] + len(sent)))
        (tmp_path / name).touch()
    assert kernel.end(request).result == "'all go on'"
    kernel.run("[task.cancel() for task in tasks]")


@pytest.mark.skipif(
    "concurrent"
    not in inspect.signature(BaseKernel.dispatch_shell).parameters,
    reason="this ipykernel handles messages of widgets after the cell",
)
def test_a_widget_s_message_is_handled_during_a_call(kernel):
    button = kernel.run(
        "import comm\n"
        "from tworoutine import tworoutine\n"
        "widget = comm.create_comm(target_name='button')\n"
        "pressed = asyncio.Event()\n"
        "@widget.on_msg\n"
        "def press(message):\n"
        "    double(4)\n"
        "    pressed.set()\n"
        "@tworoutine\n"
        "async def until_pressed():\n"
        "    print('waiting')\n"
        "    await pressed.wait()\n"
        "    return 'pressed'\n"
        "widget.comm_id"
    )
    request = kernel.send("until_pressed()")
    kernel.until(request, "waiting")
    kernel.press(button)
    assert kernel.end(request).result == "'pressed'"


@pytest.mark.skipif(
    not hasattr(BaseKernel, "create_subshell_request"),
    reason="this ipykernel has no subshells",
)
def test_in_a_subshell(kernel):
    client = kernel.client
    message = client.session.msg("create_subshell_request", {})
    client.control_channel.send(message)
    subshell = client.get_control_msg(timeout=90)["content"]["subshell_id"]
    first = kernel.send("print('waiting'); double(1, delay=600)")
    kernel.until(first, "waiting")
    cell = client.session.msg(
        "execute_request",
        {
            "code": "double(8), same(loop(), asyncio.get_running_loop())",
            "silent": False,
            "store_history": True,
            "user_expressions": {},
            "allow_stdin": False,
            "stop_on_error": True,
        },
    )
    cell["header"]["subshell_id"] = subshell
    client.shell_channel.send(cell)
    ended = kernel.end(cell["header"]["msg_id"])
    assert ended.result == "(16, 'the same loop')"
    kernel.interrupt()
    assert kernel.end(first).error[0] == "KeyboardInterrupt"


def test_help_and_completion(kernel):
    client = kernel.client
    shown = kernel.reply(client.inspect("double"))["data"]["text/plain"]
    shown = ESCAPES.sub("", shown)
    assert re.search(r"Signature: +double\(number, \*, delay=0.001\)", shown)
    assert "Twice the number." in shown
    for typed, completed in [
        ("double(nu", "number="),
        ("double(1, del", "delay="),
        ("double.ma", "map"),
        ("board.gai", "gain_x"),  # by a __dir__ that makes a call
    ]:
        matches = kernel.reply(client.complete(typed))["matches"]
        assert completed in [match.rpartition(".")[2] for match in matches]


# What f? and f?? show, and what is completed, is of the user's own objects,
# in a module that jedi can read, and in a cell, which it cannot.
EYES = '''
import asyncio
import contextlib
from tworoutine import dual, tworoutine

@tworoutine
async def half(number: float, *, delay: float = 0) -> float:
    """Half the number."""
    await asyncio.sleep(delay)
    return number / 2

@tworoutine
async def parts(text: str):
    """The letters."""
    for letter in text:
        yield letter

@tworoutine
@contextlib.asynccontextmanager
async def opened(path: str):
    """The open path."""
    yield path

class Board:
    """A board of ours."""

    @tworoutine
    async def read(self, channel: int) -> float:
        """One channel."""
        return 0.5

    @tworoutine
    @classmethod
    async def name(cls, number: int) -> str:
        """What it is called."""
        return "board"

class Client:
    """Somebody's client."""

    def __init__(self, url: str, retries: int = 3):
        """Of that address."""

    async def get(self, key: str) -> int:
        """The value of a key."""
        return 1

    async def __call__(self, question: str) -> str:
        """Ask anything."""
        return "answer"

@dual
class Own:
    """A class of ours, all of it in both idioms."""

    async def work(self, hours: int) -> int:
        """Do work."""
        return hours

board, client, Dual, own = Board(), dual(Client("a")), dual(Client), Own()
'''


@pytest.fixture(scope="module")
def eyes(healthy, request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("eyes")
    (folder / "eyes.py").write_text(EYES)
    kernel = healthy(request)
    kernel.run(f"import sys; sys.path.insert(0, {str(folder)!r})")
    kernel.run("from eyes import *")
    kernel.run(
        "from tworoutine import tworoutine\n"
        "@tworoutine\n"
        "async def celled(number: int) -> int:\n"
        '    """Of a cell."""\n'
        "    return number\n"
        "class Celled:\n"
        "    @tworoutine\n"
        "    async def read(self, channel: int) -> float:\n"
        "        return 0.5\n"
        "celled_board = Celled()"
    )
    return kernel


def inspected(kernel, name, level):
    """What name? shows, or name??, without escapes."""
    request = kernel.client.inspect(name, detail_level=level)
    shown = kernel.reply(request)["data"]["text/plain"]
    return ESCAPES.sub("", shown)


def matches(kernel, typed):
    """What the Tab key offers after that, of public names."""
    found = kernel.reply(kernel.client.complete(typed))["matches"]
    names = [match.rpartition(".")[2] for match in found]
    return [name for name in names if name[:1] != "_"]


@pytest.mark.parametrize(
    "name, signature, doc, source",
    [
        (
            "half",
            "half(number: float, *, delay: float = 0) -> float",
            "Half the number.",
            "return number / 2",
        ),
        ("parts", "parts(text: str)", "The letters.", "yield letter"),
        ("opened", "opened(path: str)", "The open path.", "yield path"),
        (
            "board.read",
            "board.read(channel: int) -> float",
            "One channel.",
            "return 0.5",
        ),
        (
            "Board.name",
            "Board.name(number: int) -> str",
            "What it is called.",
            'return "board"',
        ),
        (
            "celled",
            "celled(number: int) -> int",
            "Of a cell.",
            "return number",
        ),
        (
            "client.get",
            "client.get(key: str) -> int",
            "The value of a key.",
            "return 1",
        ),
        (
            "client",
            "client(question: str) -> str",
            "Ask anything.",
            'return "answer"',
        ),
        (
            "Dual",
            "Dual(url: str, retries: int = 3)",
            "Somebody's client.",
            'return "answer"',
        ),
        ("own.work", "own.work(hours: int) -> int", "Do work.", "hours"),
        ("Own", "Own()", "A class of ours", "return hours"),
        (
            "half.map",
            "half.map(",
            "Call f on each item at once, and wait for all.",
            None,
        ),
    ],
)
def test_help_is_that_of_the_user_s_own(eyes, name, signature, doc, source):
    shown = inspected(eyes, name, 0)
    assert re.search(rf"ignature: +\s*{re.escape(signature)}", shown), shown
    assert doc in shown
    for ours in "Class docstring", "two ways to call", "special method":
        assert ours not in shown
    if source is not None:
        assert source in inspected(eyes, name, 1)


def test_help_on_tworoutine_itself(eyes):
    eyes.run("from tworoutine import tworoutine")
    assert "two ways to call it" in inspected(eyes, "tworoutine", 0)


@pytest.mark.parametrize(
    "typed, offered",
    [
        ("half(3).", "as_integer_ratio"),
        ("board.read(1).", "as_integer_ratio"),
        ("Board.name(1).", "upper"),
        ("client.get('a').", "bit_length"),
        ("own.work(1).", "bit_length"),
        ("celled(1).", "bit_length"),
        ("celled_board.read(1).", "as_integer_ratio"),
        ("parts('ab').", "throw"),
        ("for letter in parts('ab'):\n    letter.", "upper"),
        ("with opened('a') as path:\n    path.", "upper"),
        ("half.map([3]).", "append"),
        ("half.as_completed([3]).", "close"),
        # the coroutine, and what it returns
        ("half.aio(3).", "cr_await"),
        ("(~half)(3).", "cr_await"),
        ("(await half.aio(3)).", "as_integer_ratio"),
        ("(await (~half)(3)).", "as_integer_ratio"),
    ],
)
def test_completion_of_what_a_call_returns(eyes, typed, offered):
    found = matches(eyes, typed)
    assert offered in found
    assert (offered == "cr_await") == ("cr_await" in found)
    assert "asend" not in found


def test_completion_of_a_dual(eyes):
    assert "get" in matches(eyes, "client.g")
    assert matches(eyes, "client.get(ke") == ["key="]
    assert matches(eyes, "Dual(ur") == ["url="]
    assert "get" in matches(eyes, "Dual.g")


# --- Interrupt --------------------------------------------------------------


@pytest.fixture
def busy(kernel):
    """A kernel with tasks that make calls, before a cell's and after it."""
    kernel.run(
        "async def later():\n"
        "    while True:\n"
        "        await asyncio.sleep(0.002)\n"
        "        double(1, delay=0.002)\n"
        "tasks = start(beat, wait, later)"
    )
    assert kernel.run("still(tasks)") == "'all go on'"
    yield kernel
    # The kernel and its tasks are as before, and nothing is left of the
    # interrupt in the task that runs all cells.
    assert kernel.run("double(21)") == "42"
    assert kernel.run("still(tasks)") == "'all go on'"
    assert kernel.run("await asyncio.sleep(0.001); still(tasks)") is not None
    assert kernel.run("asyncio.current_task().cancelling()") == "0"
    kernel.run("[task.cancel() for task in tasks]")


@pytest.mark.parametrize(
    "cell, line",
    [
        ("blocks()", 1),
        ("print()\ncalls()", 2),
        ("@tworoutine\nasync def f():\n    return blocks()\nf()", 4),
        ("[double(n) for n in sorted([1], key=lambda n: blocks())]", 1),
        ("double(1)\nfor _ in range(1_000):\n    blocks()", 3),
        ("%time blocks()", 1),
    ],
)
def test_interrupt_in_a_call(busy, cell, line):
    busy.run("from tworoutine import tworoutine")
    request = busy.send(cell)
    busy.until(request, "blocked")
    busy.interrupt()
    cell = busy.end(request)
    name, _, trace = cell.error
    assert name == "KeyboardInterrupt"
    where = r"Cell In\[\d+\], line |File <timed eval>:"
    assert re.search(rf"({where}){line}\b", trace)
    assert "Cancelled" not in trace and "/selectors.py" not in trace
    assert re.findall(r"cleaning|cleaned", cell.text) == [
        "cleaning",
        "cleaned",
    ]


def test_interrupt_ends_all_that_the_call_has_started(busy):
    busy.run(
        "from tworoutine import tworoutine\n"
        "@tworoutine\n"
        "async def group():\n"
        "    async with asyncio.TaskGroup() as tasks:\n"
        "        for coro in (~blocks)(), (~blocks)(), call():\n"
        "            tasks.create_task(coro)\n"
        "async def call():\n"
        "    blocks()\n"
        "@tworoutine\n"
        "async def one(n):\n"
        "    blocks()\n"
    )
    for cell in ("group()", "one.map(range(3))"):
        request = busy.send(cell)
        busy.until(request, "blocked", times=3)
        busy.interrupt()
        cell = busy.fail(request)
        assert cell.error[0] == "KeyboardInterrupt"
        assert cell.text.count("cleaning") == cell.text.count("cleaned") == 3
    assert "in one.map: 0 of 3 done" in cell.error[2]


def test_print_calls_shows_a_table(kernel):
    request = kernel.send(
        "import tworoutine\n"
        "loop_ = asyncio.get_running_loop()\n"
        "loop_.call_later(0.01, tworoutine.print_calls)\n"
        "double(1, delay=0.05)"
    )
    kind, content = "", {}
    while kind != "display_data":
        kind, content = kernel.message(request)
    table = content["data"]["text/html"]
    assert table.startswith("<table>")
    assert "<td>" not in table and "text-align: left" in table
    assert "double()" in table
    assert "await asyncio.sleep(delay)" in table
    assert "1 synchronous call waits" in content["data"]["text/plain"]
    assert kernel.end(request).result == "2"


def test_interrupt_twice(busy):
    request = busy.send("blocks(cleanup=600)")
    busy.until(request, "blocked")
    busy.interrupt()
    busy.until(request, "cleaning")
    busy.interrupt()
    cell = busy.end(request)
    assert cell.error[0] == "KeyboardInterrupt"
    assert "cleaned" not in cell.text


SAYS_SO = """
import sys, threading
def say_when_busy(main=threading.main_thread().ident):
    def watch():
        while sys._current_frames()[main].f_code.co_name != "<module>":
            time.sleep(0.001)
        print("busy", flush=True)
    threading.Thread(target=watch).start()
"""


def test_interrupt_of_the_cell_s_own_code(busy):
    """Not in the middle of its print(): ipykernel itself loses one there in
    a thousand, with or without tworoutine."""
    busy.run(SAYS_SO)
    for cell in (
        "double(1)\nsay_when_busy()\nwhile True: pass",
        "double(1)\nsay_when_busy()\ntime.sleep(600)",
    ):
        request = busy.send(cell)
        busy.until(request, "busy")
        busy.interrupt()
        assert busy.fail(request).error[0] == "KeyboardInterrupt"


def test_interrupt_where_the_cell_awaits(busy):
    """ipykernel cancels such a cell, also if it is in a call just then."""
    for cell in (
        "await (~blocks)()",
        "await asyncio.sleep(0)\nblocks()",
        "async def f():\n    blocks()\nawait f()",
    ):
        request = busy.send(cell)
        busy.until(request, "blocked")
        busy.interrupt()
        cell = busy.fail(request)
        assert cell.error[0] == "CancelledError"
        assert "cleaned" in cell.text


def test_interrupt_of_a_widget_s_callback(busy):
    """What a message of the front end calls is interrupted, and no more."""
    button = busy.run(
        "import comm\n"
        "widget = comm.create_comm(target_name='button')\n"
        "ended = []\n"
        "@widget.on_msg\n"
        "def pressed(message):\n"
        "    try:\n"
        "        blocks()\n"
        "    finally:\n"
        "        ended.append(message['content']['data'])\n"
        "widget.comm_id"
    )
    request = busy.press(button)
    busy.until(request, "blocked")
    busy.interrupt()
    busy.until(request, "cleaned")
    assert busy.run("ended") == "['press']"


def test_interrupt_of_an_idle_kernel(busy):
    busy.interrupt()


def test_cells_queued_behind_an_interrupted_one(busy):
    requests = [busy.send("blocks()"), busy.send("double(3)")]
    busy.until(requests[0], "blocked")
    busy.interrupt()
    assert busy.end(requests[0]).error[0] == "KeyboardInterrupt"
    # ipykernel gives up what was queued when a cell has failed.
    assert busy.end(requests[1]).result is None


# --- the end ----------------------------------------------------------------


def test_the_end_of_a_kernel(kernels, tmp_path, capfd):
    kernel = kernels(tmp_path)
    kernel.run(
        "import atexit\n"
        "from pathlib import Path\n"
        "from tworoutine import tworoutine\n"
        "tasks = start(beat, wait)\n"
        "link = open_link()\n"
        "@atexit.register\n"
        "@tworoutine\n"
        "async def goodbye():\n"
        "    Path('goodbye').write_text(ask(link, 'the end'))\n"
    )
    kernel.shut_down()
    assert (tmp_path / "goodbye").read_text() == "answer: THE END"
    shown = "".join(capfd.readouterr())
    assert "Traceback" not in shown and "destroyed" not in shown


# --- the examples -----------------------------------------------------------

NOTEBOOK = Path(__file__).parents[1] / "examples" / "notebook.ipynb"


def shown(notebook):
    """What each cell shows."""
    return [
        "".join(
            output["text"]
            if output["output_type"] == "stream"
            else output["data"]["text/plain"]
            for output in cell["outputs"]
        )
        for cell in notebook.cells
        if cell["cell_type"] == "code"
    ]


def test_the_example_notebook_shows_what_is_stored_in_it(
    kernels, connections, tmp_path
):
    stored = nbformat.read(NOTEBOOK, as_version=4)
    ran = copy.deepcopy(stored)
    config = Config(KernelManager=next(connections))
    client = NotebookClient(
        ran, timeout=90, kernel_name="python3", config=config
    )
    client.execute(cwd=str(tmp_path))
    assert shown(ran) == shown(stored)
    assert any(shown(ran))


def test_the_cells_in_docs_hosts(kernel):
    (notebook,) = blocks("Jupyter")
    before, *cells = notebook.split("# %%\n")
    assert before == ""
    for cell in cells:
        ended = kernel.end(kernel.send(cell))
        assert ended.error is None, ended.error[2]
        assert ended.text.splitlines() == PRINTS.findall(cell)


def test_after_a_library_has_called_nest_asyncio(kernels, tmp_path):
    pytest.importorskip("nest_asyncio", reason="needs nest_asyncio")
    kernel = kernels(tmp_path)
    kernel.run("import nest_asyncio; nest_asyncio.apply()")
    assert kernel.run("double(21)") == "42"
    assert kernel.run("sorted([3, 1, 2], key=double)") == "[1, 2, 3]"
    kernel.run("tasks = start(beat, wait)")
    assert kernel.run("still(tasks)") == "'all go on'"
    # What it is there for, and a call inside of it.
    assert kernel.run("asyncio.run((~double)(22))") == "44"
    kernel.run("async def inside():\n    return double(23)")
    assert kernel.run("asyncio.run(inside())") == "46"
    assert kernel.run("await (~double)(24)") == "48"
    request = kernel.send("blocks()")
    kernel.until(request, "blocked")
    kernel.interrupt()
    cell = kernel.fail(request)
    assert cell.error[0] == "KeyboardInterrupt"
    assert kernel.run("still(tasks)") == "'all go on'"


NESTED = """
from tworoutine import nested
nested.apply()
own = asyncio.new_event_loop()
run = asyncio.get_event_loop().run_until_complete
"""


def test_with_nested_applied(kernels, tmp_path):
    kernel = kernels(tmp_path)
    kernel.run("tasks = start(beat, wait)")
    kernel.run(NESTED)
    assert kernel.run("asyncio.run((~double)(22))") == "44"
    gather = "asyncio.gather((~double)(1), (~double)(2))"
    assert kernel.run(f"run({gather})") == "[2, 4]"
    assert kernel.run("own.run_until_complete((~double)(23))") == "46"
    assert kernel.run("await (~double)(24), run((~double)(0))") == "(48, 0)"
    assert kernel.run("still(tasks)") == "'all go on'"
    for call in "asyncio.run", "own.run_until_complete":
        request = kernel.send(f"{call}((~blocks)())")
        kernel.until(request, "blocked")
        kernel.interrupt()
        cell = kernel.fail(request)
        assert cell.text.endswith("cleaning up\ncleaned up\n")
        assert cell.error[0] == "KeyboardInterrupt"
        assert kernel.run("still(tasks)") == "'all go on'"
    kernel.run("own.close(); nested.undo()")
    cell = kernel.fail(kernel.send("coro = later(); asyncio.run(coro)"))
    assert "cannot be called" in cell.error[1]
    kernel.run("coro.close()")
