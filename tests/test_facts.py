"""An asyncio that is not the one we know: no loop is driven; calls say why.

Each program has asyncio without one name while tworoutine is imported, which
looks for all that it relies on there; then asyncio gets the name back, for the
program has to run.
"""

import pytest

PROGRAM = """
import asyncio, functools, types

Loop = asyncio.BaseEventLoop
put_back = []

def change(owner, name, *value):
    # owner.name = value, or del owner.name, for as long as the import takes
    put_back.append((owner, name, vars(owner)[name]))
    if value:
        setattr(owner, name, *value)
    else:
        delattr(owner, name)

def rename(function, name):
    # a copy of function that calls name otherwise
    code = function.__code__
    other = {
        field: tuple("gone" if n == name else n for n in getattr(code, field))
        for field in ("co_names", "co_varnames")
    }
    assert "gone" in other["co_names"] + other["co_varnames"]
    return types.FunctionType(code.replace(**other), function.__globals__)

%s
import tworoutine
for each in put_back:
    setattr(*each)

@tworoutine.tworoutine
async def nap(n):
    await asyncio.sleep(0.001)
    return n

why = tworoutine.why_no_handoff
for word in %r:
    assert word in why, why
assert nap(1) == 1

async def refused():
    try:
        nap(2)
    except tworoutine.CannotSuspend as exc:
        assert why in str(exc) and "nap" in str(exc), exc
    else:
        raise AssertionError

async def calls():
    return nap(3)

async def main():
    await refused()
    assert await (~nap)(2) == 2
    # What drives no loop goes on working.
    assert await tworoutine.portal(calls)() == 3

asyncio.run(main())
assert nap(4) == 4
"""

SETUP = "_run_forever_setup"  # 3.13+; before, it is done in run_forever

WITHOUT = {
    "run_once: the queue": (
        'change(Loop, "_run_once", rename(Loop._run_once, "_ready"))',
        ["BaseEventLoop._run_once ", "_ready"],
    ),
    "frames: how many are left": (
        'change(Loop, "_run_once", rename(Loop._run_once, "ntodo"))',
        ["BaseEventLoop._run_once ", "ntodo"],
    ),
    "frames: who takes the turns": (
        'change(Loop, "run_forever", rename(Loop.run_forever, "_run_once"))',
        ["BaseEventLoop.run_forever ", "_run_once"],
    ),
    "timers: when": (
        'change(asyncio.TimerHandle, "_when")',
        ["TimerHandle ", "_when"],
    ),
    "timers: the heap": (
        'change(Loop, "_run_once", rename(Loop._run_once, "heappop"))',
        ["BaseEventLoop._run_once ", "heappop"],
    ),
    "debug: what runs": (
        'change(Loop, "_run_once", rename(Loop._run_once, "_current_handle"))',
        ["BaseEventLoop._run_once ", "_current_handle"],
    ),
    "handle: its context": (
        'change(asyncio.Handle, "_run", lambda self: self._callback())',
        ["Handle._run ", "_context"],
    ),
    "loop: its end": (
        'change(Loop, "stop", rename(Loop.stop, "_stopping"))',
        ["BaseEventLoop.stop ", "_stopping"],
    ),
    "running: the thread": (
        f"""
setup = "{SETUP}" if hasattr(Loop, "{SETUP}") else "run_forever"
change(Loop, setup, rename(getattr(Loop, setup), "_thread_id"))
""",
        ["BaseEventLoop.", "_thread_id"],
    ),
    "facts: a limit": (
        'change(asyncio.base_events, "MAXIMUM_SELECT_TIMEOUT")',
        ["base_events ", "MAXIMUM_SELECT_TIMEOUT"],
    ),
    "facts: the code": (
        'change(Loop, "_run_once", functools.partial(print))',
        ["BaseEventLoop._run_once ", "not the one"],
    ),
    "facts: a method": (
        'change(Loop, "_run_once")',
        ["BaseEventLoop._run_once ", "not the one"],
    ),
    "future: who waits": (
        'change(asyncio, "Future", object)',
        ["Future ", "_asyncio_future_blocking"],
    ),
    "task: what it waits for": (
        'change(asyncio, "Task", asyncio.Future)',
        ["Task ", "_fut_waiter"],
    ),
}


@pytest.mark.parametrize("what", WITHOUT)
def test_without(what, program):
    change, words = WITHOUT[what]
    program(PROGRAM % (change, words))


def test_the_asyncio_of_this_python_is_the_one_we_know(program):
    program("import tworoutine; assert tworoutine.why_no_handoff is None")
