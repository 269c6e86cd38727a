"""What the tests share.

Places
    A test that takes the fixture ``place`` runs once for each place where a
    synchronous call can be made::

        def test_a_call_returns_the_result(place):
            assert place(lambda: f(1)) == 2

    ``place(fn)`` runs the ordinary function fn there, and returns its result
    or raises its exception.  ``place.name`` and ``place.in_loop`` tell which
    place it is, where that matters.

Noise
    Every warning is an error, an exception that nobody can catch fails the
    test, and so does every error that asyncio logs.  A test that causes one
    on purpose takes the fixture ``asyncio_errors``, looks at the list and
    clears it.
"""

import asyncio
import gc
import logging
import re
import signal
import subprocess
import sys

import pytest

import terminal as terminals

# A shell starts its background jobs with SIGINT ignored, and children inherit
# that; tests of Ctrl-C need Python's own handler.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish():
    """Many tests collect garbage; all the libraries imported are none."""
    gc.collect()
    gc.freeze()


def pytest_sessionfinish():
    gc.unfreeze()


# --- places -----------------------------------------------------------------


def _no_loop(fn):
    return fn()


def _task(fn):
    async def main():
        return _outcome(fn)

    return _result(asyncio.run(main()))


def _callback(fn):
    async def main():
        loop = asyncio.get_running_loop()
        ended = loop.create_future()
        loop.call_soon(lambda: ended.set_result(_outcome(fn, BaseException)))
        return await ended

    return _result(asyncio.run(main()))


def _eager_task(fn):
    async def step():
        return _outcome(fn)

    async def main():
        loop = asyncio.get_running_loop()
        loop.set_task_factory(asyncio.eager_task_factory)
        return await loop.create_task(step())

    return _result(asyncio.run(main()))


def _outcome(fn, caught=StopIteration):
    """What fn did, as a value: (result, exception).

    A coroutine can raise all but StopIteration; a callback has nobody to
    raise to.  KeyboardInterrupt and SystemExit end the loop, as they should.
    """
    try:
        return fn(), None
    except (KeyboardInterrupt, SystemExit):
        raise
    except caught as exc:
        return None, exc


def _result(outcome):
    value, error = outcome
    if error is not None:
        raise error
    return value


class Place:
    """Where a synchronous call is made; see above."""

    def __init__(self, name, run):
        self.name = name
        self.in_loop = run is not _no_loop
        self._run = run

    def __call__(self, fn):
        assert asyncio._get_running_loop() is None
        try:
            return self._run(fn)
        finally:
            assert asyncio._get_running_loop() is None, "a loop is left behind"


PLACES = [
    Place("no-loop", _no_loop),
    Place("task", _task),
    Place("callback", _callback),
]
if sys.version_info >= (3, 12):
    PLACES.append(Place("eager-task", _eager_task))


@pytest.fixture(params=PLACES, ids=lambda place: place.name)
def place(request):
    return request.param


# --- noise ------------------------------------------------------------------


def pytest_configure(config):
    config.addinivalue_line("filterwarnings", "error")


class _Errors(logging.Handler):
    def __init__(self, messages):
        super().__init__(logging.ERROR)
        self.messages = messages

    def emit(self, record):
        self.messages.append(self.format(record))


@pytest.fixture(autouse=True)
def asyncio_errors():
    """The errors that asyncio has logged; there must be none at the end."""
    messages = []
    handler = _Errors(messages)
    logger = logging.getLogger("asyncio")
    logger.addHandler(handler)
    yield messages
    logger.removeHandler(handler)
    assert messages == []


@pytest.fixture(autouse=True, scope="module")
def garbage():
    """Let what a module has left behind speak up in that module."""
    yield
    gc.collect()


# --- programs ---------------------------------------------------------------

# In debug mode, asyncio complains about steps that take 0.1 s: so they may on
# a busy machine.
SLOW = re.compile(r"^Executing <.*> took \d+\.\d+ seconds\n", re.M)


@pytest.fixture
def program(tmp_path):
    """``program(source, *args)`` runs source as a script of its own.

    Returns what it prints.  It must exit with 0 and have nothing to complain
    about: its stderr must be empty.
    """

    def run(source, *args, timeout=90, flags=("-X", "dev", "-W", "error")):
        path = tmp_path / "program.py"
        path.write_text(source)
        ran = subprocess.run(
            [sys.executable, *flags, path, *args],
            capture_output=True,
            text=True,
            timeout=timeout,
            cwd=tmp_path,
        )
        assert (ran.returncode, SLOW.sub("", ran.stderr)) == (0, "")
        return ran.stdout

    return run


@pytest.fixture
def lab(tmp_path):
    """A directory with a module to play with, `lab`: see terminal.py."""
    (tmp_path / "lab.py").write_text(terminals.LAB)
    return tmp_path


@pytest.fixture
def terminal(lab):
    """``terminal(*args, **env)`` starts Python in a Terminal, in lab."""
    started = []

    def start(*args, **env):
        started.append(terminals.Terminal(*args, cwd=lab, **env))
        return started[-1]

    yield start
    for each in started:
        each.close()


@pytest.fixture
def status_after_interrupt(tmp_path):
    """``status_after_interrupt(**env)`` is the exit status of a prompt after a
    Ctrl-C of the plainest kind.

    From 3.14 on, the basic one ends as if the last thing had been a Ctrl-C.
    """

    def status(**env):
        prompt = terminals.Terminal("-q", cwd=tmp_path, **env)
        try:
            prompt.until(">>> ")
            prompt.line("import time", ">>> ")
            line = "print('wait' + 'ing') or time.sleep(600)"
            prompt.line(line, "waiting")
            # 3.15 has missed one, on a machine that had much to do.
            for left in reversed(range(10)):
                prompt.interrupt()
                try:
                    prompt.until(r"KeyboardInterrupt\s+>>> ", timeout=9)
                    break
                except AssertionError:
                    if not left:
                        raise
            prompt.type("exit()\r")
            return prompt.process.wait(90)
        finally:
            prompt.close()

    return status
