"""Before import, after import and after use, asyncio is the same."""

import subprocess
import sys

SNAPSHOT = """
import asyncio, contextvars, selectors, signal, sys, types
import asyncio.base_events, asyncio.tasks, asyncio.events, asyncio.runners

def snapshot():
    seen = {}
    for name, module in sorted(sys.modules.items()):
        if name.split(".")[0] not in ("asyncio", "_asyncio", "selectors"):
            continue
        for key, value in vars(module).items():
            seen[name, key] = id(value)
            if isinstance(value, type):
                for inner, member in vars(value).items():
                    seen[name, key, inner] = id(member)
    return seen

def check(when):
    now = snapshot()
    changed = {k for k in before.keys() | now.keys()
               if before.get(k) != now.get(k)}
    # State of asyncio's own that any use of it changes.
    allowed = {"_event_loop_policy", "_task_name_counter", "_running_loop",
               "__warningregistry__", "_nextid"}
    changed = {k for k in changed if not allowed & set(k)}
    assert not changed, (when, changed)

hooks = sys.get_asyncgen_hooks()
handler = signal.getsignal(signal.SIGINT)
before = snapshot()
import tworoutine
check("after import")

@tworoutine.tworoutine
async def f(x):
    await asyncio.sleep(0)
    return x

async def main():
    loop = asyncio.get_running_loop()
    vars_before = set(vars(loop))
    assert f(1) == 1
    assert loop.get_task_factory() is None
    assert set(vars(loop)) == vars_before
    check("in use")
    await asyncio.gather(*(asyncio.create_task((~f)(i)) for i in range(3)))

assert f(2) == 2
assert asyncio._get_running_loop() is None
asyncio.run(main())
assert f(3) == 3
assert asyncio._get_running_loop() is None
check("after use")
assert sys.get_asyncgen_hooks() == hooks
assert signal.getsignal(signal.SIGINT) is handler
"""


def test_every_attribute_is_the_same_object():
    subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", SNAPSHOT],
        check=True,
        timeout=90,
    )
