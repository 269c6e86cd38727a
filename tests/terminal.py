"""A pseudo-terminal with a program in it, for the tests of prompts.

conftest.py has the fixtures.
"""

import os
import re
import select
import signal
import subprocess
import sys
import termios
import time

# Makes the terminal that it is given its own, so that Ctrl-C there is for it.
_OWN = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""

# The terminal's echo of a Ctrl-C comes after the signal: anywhere in what the
# program then writes.
_ECHO = re.compile(r"\^C")
_ESCAPES = re.compile(
    r"\x1b(\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)|[()].|[=>78M])|\r"
)


class Terminal:
    """A Python program in a terminal of its own.

    ``seen`` is what it has shown, without escape sequences, carriage returns
    and ^C.  Prompts show what is typed, so a pattern must not match it.
    """

    def __init__(self, *args, cwd, **env):
        self.seen = ""
        self._shown = b""
        self._waited = 0  # how much of ``seen`` has been waited for
        self._fd, terminal = os.openpty()
        termios.tcsetwinsize(terminal, (40, 200))
        self.process = subprocess.Popen(
            [sys.executable, "-c", _OWN, *args],
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            start_new_session=True,
            cwd=cwd,
            env={
                **os.environ,
                "TERM": "xterm",
                "HOME": str(cwd),
                "XDG_CACHE_HOME": os.path.expanduser("~/.cache"),
                "NO_COLOR": "1",
                "PYTHON_COLORS": "0",
                "PROMPT_TOOLKIT_NO_CPR": "1",
                **env,
            },
        )
        os.close(terminal)

    def type(self, text):
        os.write(self._fd, text.encode())

    def line(self, text, pattern):
        """Type a line; wait for what it shows."""
        self.type(text + "\r")
        return self.until(pattern)

    def interrupt(self):
        self.type("\x03")

    def until(self, pattern, timeout=90):
        """Wait until it shows this, after what was waited for before.

        Returns the match, in all that came since.
        """
        deadline = time.monotonic() + timeout
        while True:
            since = self.seen[self._waited :]
            found = re.search(pattern, since)
            if found is not None:
                self._waited += found.end()
                return found
            left = deadline - time.monotonic()
            if left <= 0 or not self._read(left):
                raise AssertionError(f"no {pattern!r} in:\n{since}")

    def expect(self, text, timeout=90):
        """Wait for this very text."""
        return self.until(re.escape(text), timeout)

    def _read(self, timeout):
        """Take in what is shown; False: nothing, or the program has ended."""
        if not select.select([self._fd], [], [], timeout)[0]:
            return False
        try:
            more = os.read(self._fd, 1 << 16)
        except OSError:  # how a terminal tells that nobody is at it
            return False
        self._shown += more
        shown = _ECHO.sub("", self._shown.decode(errors="replace"))
        self.seen = _ESCAPES.sub("", shown)
        return bool(more)

    def end(self, status=0):
        """All that is shown until the program ends by itself, thus."""
        while self._read(90):
            pass
        assert self.process.wait(90) == status, self.seen
        return self.seen[self._waited :]

    def close(self):
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        os.close(self._fd)


# What prompts and notebooks are given to play with: a module, `lab`.
LAB = '''
import asyncio, atexit, os
from tworoutine import await_, tworoutine

@tworoutine
async def double(number, *, delay=0.001):
    """Twice the number."""
    await asyncio.sleep(delay)
    return 2 * number

@tworoutine
async def loop():
    await asyncio.sleep(0)
    return asyncio.get_running_loop()

def same(*loops):
    return ["other", "the same"][len(set(map(id, loops))) == 1] + " loop"

@tworoutine
async def open_link():
    """A connection: its streams belong to the loop that it was opened in."""
    async def serve(reader, writer):
        while line := await reader.readline():
            writer.write(line.upper())
        writer.close()
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    return server, *await asyncio.open_connection("127.0.0.1", port)

@tworoutine
async def ask(link, question):
    server, reader, writer = link
    writer.write(question.encode() + b"\\n")
    return "answer: " + (await reader.readline()).decode().strip()

@tworoutine
async def close_link(link):
    server, reader, writer = link
    server.close()
    writer.close()
    await writer.wait_closed()
    assert await reader.read() == b""

@tworoutine
async def blocks(cleanup=0.001):
    try:
        asyncio.get_running_loop().call_later(0.05, print, "blocked")
        await asyncio.sleep(600)
    finally:
        print("cleaning up")
        await asyncio.sleep(cleanup)
        print("cleaned up")

def calls():
    inside_calls = 7
    return blocks()

async def later():
    return blocks()

@tworoutine
async def fails(number):
    await asyncio.sleep(0)
    local = 40 + number
    raise ValueError(f"failed with {local}")

@tworoutine
async def stops():
    local = double(60)
    breakpoint()
    return double(local)

@tworoutine
async def names():
    await asyncio.sleep(0.001)
    return ["gain_x", "gain_y"]

class Board:
    """Asks the board what it has."""
    def __dir__(self):
        return [*super().__dir__(), *names()]
    def __getattr__(self, name):
        if name.startswith("_") or name not in names():
            raise AttributeError(name)
        return double(21)

board = Board()
beats = []

async def beat():
    while True:
        await asyncio.sleep(0.001)
        beats.append(double(1, delay=0))

async def wait():
    return double(1, delay=600)

@tworoutine
async def start(*functions):
    return [asyncio.create_task(function()) for function in functions]

def still(tasks):
    """That the tasks go on, and the first of them makes calls meanwhile."""
    before = len(beats)
    while len(beats) < before + 3 and not any(t.done() for t in tasks):
        double(1)
    ended = [task for task in tasks if task.done()]
    return f"ended: {ended}" if ended else "all go on"

def say_at_exit():
    @atexit.register
    def say():
        print("at exit:", double(1000), same(loop(), loop()))
'''
