"""The first import: wherever it comes, calls work ever after."""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

# imported(): the import, and what it gives: a tworoutine.
IMPORT = """
import asyncio, sys

def imported():
    from tworoutine import tworoutine, why_no_handoff
    assert why_no_handoff is None, why_no_handoff
    return tworoutine(asyncio.sleep)

async def use(nap):
    ticks = []
    async def tick():
        while True:
            ticks.append(1)
            await asyncio.sleep(0)
    async def one():
        return nap(0.01, 2)
    task = asyncio.create_task(tick())
    assert [nap(0, 1) for _ in range(5)] == [1] * 5
    assert len(ticks) > 3
    assert await asyncio.gather(*[one() for _ in range(3)]) == [2] * 3
    try:
        async with asyncio.timeout(0.01):
            nap(60)
    except TimeoutError:
        pass
    else:
        raise AssertionError
    task.cancel()

def use_everywhere(nap):
    assert nap(0, 3) == 3
    asyncio.run(use(nap))
"""

PLACES = {
    "a task": """
async def main():
    nap = imported()
    assert asyncio.current_task() is not None
    await use(nap)
    return nap
use_everywhere(asyncio.run(main()))
""",
    "a task of a task": """
async def child():
    return imported()
async def main():
    nap = await asyncio.create_task(child())
    await use(nap)
    return nap
use_everywhere(asyncio.run(main()))
""",
    "a callback": """
async def main():
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    loop.call_soon(lambda: done.set_result(imported()))
    nap = await done
    await use(nap)
    return nap
use_everywhere(asyncio.run(main()))
""",
    "a thread": """
async def main():
    nap = await asyncio.to_thread(imported)
    await use(nap)
    return nap
use_everywhere(asyncio.run(main()))
""",
    "a Python task": """
async def main():
    async def child():
        return imported()
    loop = asyncio.get_running_loop()
    loop.set_task_factory(
        lambda loop, coro, **kwargs: asyncio.tasks._PyTask(
            coro, loop=loop, **kwargs))
    nap = await asyncio.create_task(child())
    loop.set_task_factory(None)
    await use(nap)
    return nap
use_everywhere(asyncio.run(main()))
""",
    "a loop inside a thread of a loop": """
async def inner():
    nap = imported()
    await use(nap)
    return nap
async def main():
    nap = await asyncio.to_thread(asyncio.run, inner())
    await use(nap)
    return nap
use_everywhere(asyncio.run(main()))
""",
    "a task, twice": """
async def main():
    imported()
    for name in [name for name in sys.modules
                 if name.split(".")[0] == "tworoutine"
                 and name != "tworoutine._core"]:
        del sys.modules[name]
    nap = imported()
    await use(nap)
    return nap
use_everywhere(asyncio.run(main()))
""",
    "a child process of a task": """
import subprocess
async def main():
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-X", "dev", "-W", "error", "-c",
        "import asyncio, tworoutine\\n"
        "async def main(): return tworoutine.await_(asyncio.sleep(0, 5))\\n"
        "print(asyncio.run(main()))", stdout=subprocess.PIPE)
    out, _ = await child.communicate()
    assert out == b"5\\n", out
    return imported()
use_everywhere(asyncio.run(main()))
""",
}
if sys.version_info >= (3, 12):
    PLACES["an eager task"] = """
async def child():
    return imported()
async def main():
    loop = asyncio.get_running_loop()
    loop.set_task_factory(asyncio.eager_task_factory)
    nap = await loop.create_task(child())
    loop.set_task_factory(None)
    await use(nap)
    return nap
use_everywhere(asyncio.run(main()))
"""


@pytest.mark.parametrize("where", PLACES)
def test_in(where, program):
    program(IMPORT + PLACES[where])


@pytest.mark.parametrize("library", ["uvloop", "trio", "gevent"])
def test_under(library, program):
    pytest.importorskip(library)
    program(IMPORT + OTHERS[library])


OTHERS = {
    "uvloop": """
import uvloop
async def main():
    nap = imported()
    assert await asyncio.create_task((~nap)(0, 4)) == 4
    return nap
use_everywhere(uvloop.run(main()))
""",
    "trio": """
import trio
async def main():
    nap = imported()
    await trio.sleep(0)
    return nap
use_everywhere(trio.run(main))
""",
    "gevent": """
import gevent
nap = gevent.spawn(imported).get()
assert gevent.spawn(nap, 0, 6).get() == 6
""",
}


# The fields of tasks are not found there.
UNKNOWN_FIELDS = """
import asyncio, _asyncio
future, _asyncio.Future = _asyncio.Future, None
import tworoutine
_asyncio.Future = future

@tworoutine.tworoutine
async def nap():
    await asyncio.sleep(0.001)
    return 1
"""


def test_where_the_fields_of_tasks_are_not_found_calls_say_so(program):
    """Not an AttributeError at the first wait, the task half done."""
    program(
        UNKNOWN_FIELDS
        + """
why = tworoutine.why_no_handoff
assert "fields of asyncio.Task" in why
assert nap() == 1

async def main():
    try:
        nap()
    except tworoutine.CannotSuspend as exc:
        assert why in str(exc) and "nap" in str(exc), exc
    else:
        raise AssertionError
    assert await (~nap)() == 1
    # Its task is one of asyncio's, and nobody else's.
    done = asyncio.get_running_loop().create_future()
    def callback():
        done.set_result(nap())
    asyncio.get_running_loop().call_soon(callback)
    assert await done == 1

asyncio.run(main())
"""
    )


@pytest.mark.skipif(
    sys.version_info < (3, 12), reason="no eager tasks before 3.12"
)
def test_nor_in_an_eager_task_below_a_portal(program):
    """Its fields were written where others are: a crash."""
    pytest.importorskip("uvloop", reason="needs uvloop")
    program(
        UNKNOWN_FIELDS
        + """
import uvloop

async def child():
    try:
        nap()
    except tworoutine.CannotSuspend as exc:
        assert tworoutine.why_no_handoff in str(exc), exc
    else:
        raise AssertionError
    return await (~nap)()

async def main():
    loop = asyncio.get_running_loop()
    assert await asyncio.Task(child(), loop=loop, eager_start=True) == 1
    assert nap() == 1

uvloop.run(tworoutine.portal(main)())
"""
    )


def test_that_fails_leaves_nothing_behind(program):
    """As where greenlet is missing: the next import is anybody's."""
    program(
        """
import gc, sys

sys.modules["greenlet"] = sys.modules["greenlet._greenlet"] = None
try:
    import tworoutine._core
except ImportError:
    pass
else:
    raise AssertionError
gc.collect()
rubble = [b"\\xff" * n for n in range(1000, 9000, 8)]
sys.modules["something"] = sys
del sys.modules["something"]
"""
    )


EMBEDS = """
#include <Python.h>

int
main(int argc, char **argv)
{
    for (int i = 0; i < 3; i++) {
        PyConfig config;
        PyConfig_InitPythonConfig(&config);
        PyConfig_SetBytesString(&config, &config.executable, argv[1]);
        PyConfig_SetBytesString(&config, &config.pythonpath_env, argv[2]);
        Py_InitializeFromConfig(&config);
        PyConfig_Clear(&config);
        if (PyRun_SimpleString(argv[3]) != 0 || Py_FinalizeEx() != 0) {
            return 1;
        }
    }
    return argc != 4;
}
"""

USES = """
import asyncio
from tworoutine import await_

async def nap():
    await asyncio.sleep(0)
    return asyncio.current_task()

async def main():
    assert await_(nap()) is asyncio.current_task()

await_(nap())
asyncio.run(main())
"""


ALONE = """
import _asyncio, asyncio, greenlet

def switch():
    return greenlet.greenlet(lambda: 1).switch()

async def main():
    return switch()

assert switch() == asyncio.run(main()) == 1
"""


@pytest.mark.skipif(
    sys.version_info < (3, 13),
    reason="code of 3.11 finds no builtins there; greenlet crashes on 3.12",
)
def test_in_one_interpreter_after_the_other(tmp_path):
    """Of a program in C that begins Python, ends it, and begins it again."""
    compiler = shutil.which("cc")
    if not compiler or not sysconfig.get_config_var("Py_ENABLE_SHARED"):
        pytest.skip("needs a C compiler and a Python that is a shared library")
    library = Path(sysconfig.get_config_var("LIBDIR"))
    source = tmp_path / "embeds.c"
    source.write_text(EMBEDS)
    embeds = tmp_path / "embeds"
    subprocess.run(
        [
            *(compiler, source, "-o", embeds, f"-Wl,-rpath,{library}"),
            library / sysconfig.get_config_var("LDLIBRARY"),
            f"-I{sysconfig.get_path('include')}",
        ],
        check=True,
    )
    root = os.pathsep.join(filter(None, sys.path))

    def run(program):
        return subprocess.run(
            [embeds, sys.executable, root, program],
            capture_output=True,
            text=True,
            timeout=90,
        )

    if run(ALONE).returncode != 0:
        pytest.skip(
            "there, greenlet and asyncio do not work without us either"
        )
    ran = run(USES)
    assert (ran.returncode, ran.stderr) == (0, ""), ran.stderr
