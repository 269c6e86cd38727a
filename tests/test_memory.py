"""When memory runs out in the middle of a call.

nomemory.py fails each allocation of each program, one after the other, in a
process of its own.  A call ends with MemoryError or does its work; then the
loop, and the next call, work.  asyncio loses handles and timers that it cannot
allocate, and what waits for them waits for ever: calls no more often than what
awaits.  TWR_MEMORY=all looks at all programs, not only at the quick ones.
"""

import json
import os
import pathlib
import re
import subprocess
import sys

import pytest

pytest.importorskip("_testcapi", reason="it comes with CPython's own tests")
if os.environ.get("TWR_SANITIZE"):
    pytest.skip(
        "a sanitizer ends the children that greenlet's own faults crash",
        allow_module_level=True,
    )

SWEEP = pathlib.Path(__file__).with_name("nomemory.py")

QUICK = [
    *("task, at once", "task", "task, portal", "task, method"),
    *("task, await_", "task, generator", "task, generator that is left"),
    *("task, dual", "task, deep dual", "task, dual that is entered", "dual"),
    *("task, manager", "callback, at once", "callback", "alone, at once"),
    *("alone", "attributes", "decoration", "repr", "pickle"),
]
LONG = [
    *("task, map", "task, as_completed", "alone, generator"),
    *("alone, manager", "alone, map"),
]

WELL = {"success", "MemoryError"}

# What is not ours, each with its reason.
KNOWN = {
    # Compared with the awaiting twin.
    "waits for ever",
    # Its switch and its objects do without checks.
    "greenlet",
    # 3.14.8 goes on with NULL, too; the C stack shows nobody else.
    "python",
    # Python's look-up in a type takes it for that there is none.
    r"AttributeError\(\"'_UnixSelectorEventLoop' object has no attribute "
    r"'\w+'\"\)",
    # pickle takes any failure of an import for that.
    r"PicklingError\(\"Can't pickle .* import of module .* failed\"\)",
    # 3.13: a step goes on, whose task could not be made the current one.
    r"SystemError\('<built-in function _get_running_loop> returned a result "
    r"with an exception set'\)",
}
# Before 3.14, nothing says whose crash it is.  Each that was looked at was
# greenlet's (green_new; and expose_frames, from 3.12 on one for each frame
# below a driver, of which there are as many as below the loop) or that of
# Python's collector, in what functools.partial and Context.run had left half
# done: asyncio.sleep alone crashes in that way; or in the dictionary of the
# current tasks, which could not grow: in 3.13, _asyncio._enter_task() alone
# breaks it, and a callback's call, which goes on then, is there to see that.
CRASHES = 0 if sys.version_info >= (3, 14) else 14
if os.environ.get("TWR_HARD"):
    CRASHES *= 2  # where each call parks once more


def sweep(name):
    ran = subprocess.run(
        [sys.executable, SWEEP, name],
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    return json.loads(ran.stdout)[name]


def is_known(outcome):
    return any(re.fullmatch(pattern, outcome) for pattern in KNOWN)


@pytest.mark.parametrize(
    "name", QUICK + (LONG if os.environ.get("TWR_MEMORY") == "all" else [])
)
def test_no_memory(name):
    swept = sweep(name)
    call, twin = swept["call"], swept["await"]
    crashes = call.pop("crash", [])
    assert not {
        outcome: where
        for outcome, where in call.items()
        if outcome not in WELL and not is_known(outcome)
    }
    assert len(crashes) <= CRASHES
    assert "MemoryError" in call
    waits = len(call.get("waits for ever", ()))
    assert waits <= len(twin.get("waits for ever", ()))
