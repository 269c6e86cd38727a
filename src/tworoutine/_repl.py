"""``python -m tworoutine repl``: a prompt whose background tasks go on.

Each line runs in a task of the loop of this thread's calls.  While somebody
types, Python's editor of lines calls while_typing() over and over, which runs
that loop until there is a key to read: see core/engine/input_hook.h.  All in
one thread.
"""

import ast
import asyncio
import builtins
import code
import contextlib
import contextvars
import functools
import inspect
import os
import signal
import sys
import tokenize
import types

import tworoutine
from tworoutine._core import (
    await_,
    call_hook_below,
    input_hook,
    thread_loop,
)

_BANNER = """\
tworoutine {} on Python {}
f(x) and await (~f)(x) both wait; background tasks go on while you type.
>>> import asyncio
>>> from tworoutine import await_, tworoutine
"""
_GUI_PAUSE = 0.02  # seconds between two looks at the events of a GUI


def main(*, quiet=False):
    """Run the prompt until its end; what ``sys.exit`` is to be given.

    Where stdin is no terminal, what it has is run as one program.
    """
    await_(asyncio.sleep(0))  # no task makes the loop's first call
    module = types.ModuleType("__main__")
    module.__builtins__ = builtins
    module.asyncio = asyncio
    module.await_ = await_
    module.tworoutine = tworoutine.tworoutine
    sys.modules["__main__"] = module
    if not sys.stdin.isatty():
        return run_program(sys.stdin.read(), vars(module))
    console = _console_type()(vars(module))
    console.set_up()
    if not (quiet or sys.flags.quiet):
        version = ".".join(map(str, sys.version_info[:3]))
        console.write(_BANNER.format(tworoutine.__version__, version))
    with console:
        console.run_startup()
        console.run()
    return None


# --- running code -----------------------------------------------------------


# What lines set are the variables of all that follow.
_context = contextvars.copy_context()


def run_code(code, namespace):
    """Run code in a task of the loop of calls."""
    function = types.FunctionType(code, namespace)
    if code.co_flags & inspect.CO_COROUTINE:
        _context.run(await_, function())
        return
    # Whatever runs meanwhile, a call of this very code waits: it is that which
    # Ctrl-C ends.  So it is where any code runs a loop.
    loop = thread_loop()
    task = loop.create_task(_outcome(function), context=_context)
    try:
        error = loop.run_until_complete(task)
    except BaseException:  # Ctrl-C, where the code does not run (yet)
        task.cancel()
        raise
    if error is not None:
        raise error


async def _outcome(function):
    """What function has raised, or None."""
    try:
        function()
    except BaseException as exc:
        return exc
    return None


def trim(exc, code, *, frames=0):
    """Let the traceback of exc begin with code, or so many frames before.

    Returns whether code is in it.
    """
    traces = [exc.__traceback__]
    while traces[-1] is not None:
        if traces[-1].tb_frame.f_code is code:
            exc.__traceback__ = traces[-1 - frames]
            return True
        traces.append(traces[-1].tb_next)
    return False


def run_program(source, namespace):
    """Run all that stdin has; the exit status."""
    program = None
    try:
        program = compile(
            source, "<stdin>", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        )
        run_code(program, namespace)
    except Exception as exc:
        if program is None:
            exc.__traceback__ = None
        trim(exc, program)
        sys.excepthook(type(exc), exc, exc.__traceback__)
        return 1
    return 0


# --- the prompt -------------------------------------------------------------


def _has_editor():
    """Whether Python's own editor of lines (3.13+) can be used here."""
    if os.environ.get("PYTHON_BASIC_REPL") and not (
        sys.flags.ignore_environment
    ):
        return False
    try:
        from _pyrepl.main import CAN_USE_PYREPL
    except ImportError:
        return False
    return CAN_USE_PYREPL


def _console_type():
    """What reads lines: with Python's own editor, or by readline."""
    if not _has_editor():
        return _Console
    from _pyrepl.console import InteractiveColoredConsole
    from _pyrepl.readline import _get_reader
    from _pyrepl.simple_interact import run_multiline_interactive_console

    class EditorConsole(_Prompt, InteractiveColoredConsole):
        is_editor = True

        def run(self):
            run_multiline_interactive_console(self)

        def while_typing(self):
            screen = _get_reader().console
            with _cooked_output(screen):
                if not screen.wait(0):
                    return super().while_typing()
                with _Interrupts() as interrupts:  # keys are waiting there
                    await_(asyncio.sleep(0))
                return interrupts.seen

    return EditorConsole


@contextlib.contextmanager
def _cooked_output(screen):
    """Lines that tasks print end where they should: until 3.14 by us."""
    if hasattr(screen, "_UnixConsole__run_input_hook"):
        yield
        return
    import termios

    raw = termios.tcgetattr(screen.output_fd)
    cooked = [*raw]
    cooked[1] |= termios.OPOST
    termios.tcsetattr(screen.output_fd, termios.TCSADRAIN, cooked)
    try:
        yield
    finally:
        termios.tcsetattr(screen.output_fd, termios.TCSADRAIN, raw)


class _Prompt:
    """A console whose lines run in the loop of calls."""

    is_editor = False  # Python's own reads the lines

    def __init__(self, namespace):
        super().__init__(namespace)
        self.compile.compiler.flags |= ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        self._has_gui = False
        self._keys = None  # a descriptor of its own for stdin

    def set_up(self):
        """History and completion, as Python's own prompt has them."""
        hook = getattr(sys, "__interactivehook__", None)
        if hook is None:
            return
        sys.audit("cpython.run_interactivehook", hook)
        hook()
        readline = sys.modules.get("readline")
        if hook.__module__ == "site" and readline is not None:
            import rlcompleter

            completer = rlcompleter.Completer(self.locals)
            readline.set_completer(completer.complete)

    def run_startup(self):
        path = os.environ.get("PYTHONSTARTUP")
        if not path or sys.flags.ignore_environment:
            return
        sys.audit("cpython.run_startup", path)
        try:
            with tokenize.open(path) as file:
                startup = compile(file.read(), path, "exec")
        except (OSError, SyntaxError):
            self.showtraceback()
        else:
            self.runcode(startup)

    def __enter__(self):
        self._listen(True)
        return self

    def __exit__(self, *exc_info):
        self._listen(False)

    def runcode(self, code):
        self._listen(False)
        try:
            run_code(code, self.locals)
        except SystemExit:
            raise
        except BaseException as exc:
            # The one frame before is dropped by showtraceback().
            if trim(exc, code, frames=1) or isinstance(exc, Exception):
                self.showtraceback()
            else:  # Ctrl-C has cancelled the line
                self.write(f"{type(exc).__name__}\n")
            return getattr(self, "STATEMENT_FAILED", None)
        finally:
            self._listen(True)

    def _listen(self, on):
        """Have the loop run while a line is read."""
        if os.name != "posix":
            return
        if self._keys is not None:
            os.close(self._keys)
            self._keys = None
        if on:
            self._keys = os.dup(0)
        self._has_gui = input_hook(
            self.while_typing if on else None, self.is_editor
        )

    def while_typing(self):
        """Run the loop until there is a key; whether it was Ctrl-C."""
        with _Interrupts() as interrupts:
            if not self._has_gui:
                await_(self._key(interrupts))
            while self._has_gui and not await_(
                self._key(interrupts, _GUI_PAUSE)
            ):
                self._has_gui = call_hook_below()
        return interrupts.seen

    async def _key(self, interrupts, timeout=None):
        """Until there is a key, or Ctrl-C; False if the time is over."""
        loop = asyncio.get_running_loop()
        typed = asyncio.Event()
        interrupts.wake = functools.partial(
            loop.call_soon_threadsafe, typed.set
        )
        if interrupts.seen:  # while tasks ran that came first
            typed.set()
        loop.add_reader(self._keys, typed.set)
        try:
            async with asyncio.timeout(timeout):
                await typed.wait()
        except TimeoutError:
            return interrupts.seen
        finally:
            loop.remove_reader(self._keys)
            interrupts.wake = _nothing
        return True


def _nothing():
    pass


class _Interrupts:
    """While the loop runs, Ctrl-C is no exception of what runs just then."""

    def __init__(self):
        self.seen = False
        self.wake = _nothing
        self._before = None

    def __enter__(self):
        before = signal.getsignal(signal.SIGINT)
        if before is signal.default_int_handler:  # no one of the user's own
            signal.signal(signal.SIGINT, self._handle)
            self._before = before
        return self

    def __exit__(self, *exc_info):
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    def _handle(self, signum, frame):
        self.seen = True
        self.wake()


class _Console(_Prompt, code.InteractiveConsole):
    def run(self):
        self.interact(banner="", exitmsg="")
