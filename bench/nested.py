"""The same small programs after nest_asyncio.apply() and nested.apply().

    python bench/nested.py

prints the table of docs/nested.md, for this Python.
"""

import subprocess
import sys

APPLY = {
    "nested": "from tworoutine import nested; nested.apply()",
    "nest_asyncio": "import nest_asyncio; nest_asyncio.apply()",
}
TIMEOUT = 10  # seconds

BEGIN = """
import asyncio, contextvars, os, signal, sys, time, warnings
warnings.simplefilter("ignore")
before = {(m, k): v for m in ("asyncio", "asyncio.events", "asyncio.tasks",
          "asyncio.futures") for k, v in vars(sys.modules[m]).items()}
kept = asyncio.BaseEventLoop, asyncio.SelectorEventLoop
before |= {(k, n): v for k in kept for n, v in vars(k).items()}
APPLY
var = contextvars.ContextVar("var", default="old")

async def beats(seen):
    while True:
        await asyncio.sleep(0.001)
        seen.append(1)

async def nap(seconds, value=None):
    await asyncio.sleep(seconds)
    return value

def ms(seconds):
    return f"{seconds * 1000:.0f} ms"
"""

# What is asked -> the program, which prints the answer.
PROGRAMS = {
    "a call of 10 ms, when another one of 100 ms began in it, takes": """
async def one(seconds):
    begun = time.perf_counter()
    asyncio.run(nap(seconds))
    return time.perf_counter() - begun

async def main():
    short = asyncio.create_task(one(0.01))
    long = asyncio.create_task(one(0.1))
    await long
    print(ms(await short))

asyncio.run(main())
""",
    "two calls that need each other": """
async def main():
    a, b = asyncio.Event(), asyncio.Event()
    async def first():
        asyncio.run(a.wait())
        b.set()
    async def second():
        asyncio.get_running_loop().call_soon(a.set)
        asyncio.run(b.wait())
    await asyncio.gather(first(), second())
    print("both end")

asyncio.run(main())
""",
    "`task.cancel()` reaches what is waited for": """
async def inner():
    try:
        await asyncio.sleep(0.1)
        return "no"
    except asyncio.CancelledError:
        print("yes", end="")
        raise

async def outer():
    print(asyncio.run(inner()), end="")

async def main():
    task = asyncio.create_task(outer())
    await asyncio.sleep(0.001)
    task.cancel()
    await asyncio.wait([task])

asyncio.run(main())
""",
    "`asyncio.timeout` of 10 ms around one of 100 ms ends after": """
async def main():
    begun = time.perf_counter()
    try:
        async with asyncio.timeout(0.01):
            asyncio.run(nap(0.1))
    except TimeoutError:
        pass
    print(ms(time.perf_counter() - begun))

asyncio.run(main())
""",
    "a context variable set inside is seen after it": """
async def sets():
    var.set("new")

async def main():
    asyncio.run(sets())
    print("yes" if var.get() == "new" else "no")

asyncio.run(main())
""",
    "`asyncio.current_task()` inside is": """
async def current():
    await asyncio.sleep(0)
    return asyncio.current_task()

async def main():
    task, got = asyncio.current_task(), asyncio.run(current())
    print("the caller's" if task is got else
          "one of its own" if got is not None else "`None`")

asyncio.run(main())
""",
    "the running loop, while another one is run, goes on": """
async def main():
    seen, other = [], asyncio.new_event_loop()
    APPLY_LOOP
    task = asyncio.create_task(beats(seen))
    other.run_until_complete(nap(0.05))
    print("yes" if len(seen) > 5 else "no")
    task.cancel()

asyncio.run(main())
""",
    "Ctrl-C in it: its `finally`, the caller's": """
async def inner():
    os.kill(os.getpid(), signal.SIGINT)
    try:
        await asyncio.sleep(0.1)
    finally:
        await asyncio.sleep(0)
        print("runs", end=", ")

async def main():
    try:
        asyncio.run(inner())
    finally:
        await asyncio.sleep(0)
        print("runs", end="")

try:
    asyncio.run(main())
except BaseException as exc:
    print(f", `{type(exc).__name__}`")
""",
    "levels of `asyncio.run` in each other, at the usual limit": """
depth = 0
async def deeper():
    global depth
    depth += 1
    await asyncio.sleep(0)
    asyncio.run(deeper())

try:
    asyncio.run(deeper())
except RecursionError:
    pass
print(depth)
""",
    "`asyncio.run(main(), loop_factory=...)`": """
async def main():
    print(asyncio.run(nap(0, "runs"), loop_factory=asyncio.new_event_loop))

try:
    asyncio.run(main())
except TypeError as exc:
    print(f"`{type(exc).__name__}`")
""",
    "a step of a task that makes no such call": """
async def steps(n):
    for _ in range(n):
        await asyncio.sleep(0)

async def main():
    n, best = 2000, 1
    for _ in range(30):
        begun = time.perf_counter()
        await asyncio.create_task(steps(n))
        best = min(best, time.perf_counter() - begun)
    print(f"{best / n * 1e6:.2f} us")

asyncio.run(main())
""",
    "a task from `create_task` to its end": """
async def nothing():
    pass

async def main():
    n, best = 2000, 1
    for _ in range(30):
        begun = time.perf_counter()
        for _ in range(n):
            await asyncio.create_task(nothing())
        best = min(best, time.perf_counter() - begun)
    print(f"{best / n * 1e6:.2f} us")

asyncio.run(main())
""",
    "attributes of asyncio that are other objects": """
after = {(m, k): v for m in ("asyncio", "asyncio.events", "asyncio.tasks",
         "asyncio.futures") for k, v in vars(sys.modules[m]).items()}
after |= {(k, n): v for k in kept for n, v in vars(k).items()}
print(sum(before.get(k) is not after.get(k) for k in before | after))
""",
}


def ask(program, how):
    """What program prints after that apply()."""
    source = BEGIN.replace("APPLY", APPLY.get(how, "")) + program
    own = "import nest_asyncio; nest_asyncio.apply(other)"
    source = source.replace("APPLY_LOOP", own if how == "nest_asyncio" else "")
    try:
        ran = subprocess.run(
            [sys.executable, "-c", source],
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
        )
    except subprocess.TimeoutExpired:
        return "hang"
    return ran.stdout.strip() or f"`{ran.stderr.strip().splitlines()[-1]}`"


if __name__ == "__main__":
    print("| |", " | ".join(APPLY), "|")
    print("|---" * (1 + len(APPLY)) + "|")
    for what, program in PROGRAMS.items():
        answers = (ask(program, how) for how in APPLY)
        print(f"| {what} |", " | ".join(answers), "|", flush=True)
    for what in list(PROGRAMS)[-3:-1]:
        print(f"without either, {what}:", ask(PROGRAMS[what], None))
