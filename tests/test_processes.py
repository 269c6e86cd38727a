"""The end of an interpreter, forks, workers and child processes."""

import asyncio
import contextlib
import gc
import os
import shutil
import subprocess
import sys
import threading

import pytest

from tworoutine import await_, tworoutine


@tworoutine
async def nap(seconds=0.001):
    await asyncio.sleep(seconds)
    return seconds


DAEMONS = """
import asyncio, sys, threading, time
from tworoutine import tworoutine

begun = threading.Barrier(9)

@tworoutine
async def nap(seconds=0):
    await asyncio.sleep(seconds)

def waits():
    nap()
    begun.wait()
    nap(60)

def calls_for_ever():
    begun.wait()
    while True:
        nap()

def calls_now_and_then():
    begun.wait()
    while True:
        nap(0.0005)

def runs_a_loop():
    async def main():
        nap()
        task = asyncio.ensure_future((~nap)(60))
        begun.wait()
        while not task.done():
            nap(0.0005)
    asyncio.run(main())

for _ in range(8):
    threading.Thread(target=globals()[sys.argv[1]], daemon=True).start()
begun.wait()
time.sleep(0.01)  # into the middle of it
"""


@pytest.mark.parametrize(
    "what", ["waits", "calls_for_ever", "calls_now_and_then", "runs_a_loop"]
)
def test_daemon_threads_in_a_call_when_the_interpreter_ends(program, what):
    """Ended in a greenlet, such a thread was a crash of the process."""
    for _ in range(2):
        program(DAEMONS, what)


def test_the_interpreter_waits_for_a_thread_in_a_call(program):
    assert (
        program("""
import asyncio, sys, threading
from tworoutine import tworoutine

begun = threading.Event()

@tworoutine
async def f():
    asyncio.get_running_loop().call_soon(begun.set)
    await asyncio.sleep(0.05)
    print("ended")

threading.Thread(target=f).start()
begun.wait()
sys.exit(0)
""")
        == "ended\n"
    )


def test_exit_in_a_thread_ends_that_thread_alone(program):
    assert (
        program("""
import asyncio, sys, threading
from tworoutine import tworoutine

@tworoutine
async def leave():
    try:
        await asyncio.sleep(0)
        sys.exit(3)
    finally:
        print("left")

@tworoutine
async def nap():
    await asyncio.sleep(0.001)

thread = threading.Thread(target=leave)
thread.start()
thread.join()
nap()
""")
        == "left\n"
    )


def test_an_exception_ends_the_interpreter_in_the_middle_of_calls(program):
    out = program("""
import asyncio, sys
from tworoutine import await_, tworoutine

@tworoutine
async def outer():
    async def blocked(number):
        try:
            await_(asyncio.Event().wait())
        finally:
            print("ended", number)
    # Others are blocked in calls, in the loop that is kept.
    asyncio.get_running_loop().tasks = [
        asyncio.create_task(blocked(number)) for number in range(3)
    ]
    await asyncio.sleep(0)
    inner()

@tworoutine
async def inner():
    try:
        await asyncio.sleep(0)
        raise SystemExit(0)
    finally:
        print("inner")

outer()
""")
    assert out.startswith("inner\n")
    assert sorted(out.split("\n")[1:-1]) == ["ended 0", "ended 1", "ended 2"]


def test_threads_that_end_with_calls_parked_leave_no_descriptor():
    ended = []

    def calls():
        event = asyncio.Event()

        @tworoutine
        async def begin():
            async def blocked():
                try:
                    await_(event.wait())
                finally:
                    ended.append(1)

            asyncio.get_running_loop().tasks = [
                asyncio.create_task(blocked()) for _ in range(3)
            ]
            await asyncio.sleep(0)

        begin()
        nap(0)

    def run(count):
        threads = [threading.Thread(target=calls) for _ in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        gc.collect()

    run(1)
    before = os.listdir("/proc/self/fd")
    for _ in range(10):
        run(20)
    assert len(os.listdir("/proc/self/fd")) == len(before)
    assert len(ended) == 3 * 201


# --- forks and workers ------------------------------------------------------

FORKS = """
import asyncio, os, sys
from tworoutine import await_, tworoutine

@tworoutine
async def nap(seconds=0.001):
    await asyncio.sleep(seconds)
    return asyncio.get_running_loop()

def child(function):
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            function()
            code = 0
        except BaseException:
            import traceback
            traceback.print_exc()
        finally:
            os._exit(code)
    return pid

def ended_well(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
"""


def test_a_fork_while_calls_wait_in_the_running_loop(program):
    """The child may not use that loop; once out of it, it has its own."""
    program(
        FORKS
        + """
async def main():
    event = asyncio.Event()
    async def blocked():
        await_(event.wait())
        return 1
    tasks = [asyncio.create_task(blocked()) for _ in range(5)]
    nap()

    def in_child():
        asyncio._set_running_loop(None)
        assert nap() is nap()
        async def anew():
            async def one():
                nap()
                return 1
            return sum(await asyncio.gather(*(one() for _ in range(5))))
        assert asyncio.run(anew()) == 5

    pid = child(in_child)
    nap()
    assert ended_well(pid)
    event.set()
    return sum(await asyncio.gather(*tasks))

assert asyncio.run(main()) == 5
assert nap() is nap()
"""
    )


@pytest.mark.parametrize("kind", ["asyncio.Task", "asyncio.tasks._PyTask"])
def test_a_child_that_exits_in_a_call_beside_another_one(program, kind):
    """asyncio.run waits until the other task has ended, in the child too."""
    out = program(
        FORKS
        + f"""
async def blocked(event):
    await_(event.wait())
    return "went on"

@tworoutine
async def forks():
    await asyncio.sleep(0.001)
    pid = os.fork()
    if pid == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        # From 3.14 on, a forked child has no current task, and sys.exit() in
        # a task ends no loop, whether it awaits or calls.
        if sys.version_info >= (3, 14):
            asyncio._set_running_loop(loop)
            asyncio.tasks._enter_task(loop, running)
        sys.exit(5)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

async def main():
    global loop, running
    loop, running = asyncio.get_running_loop(), asyncio.current_task()
    loop.set_task_factory(lambda loop, coro: {kind}(coro, loop=loop))
    event = asyncio.Event()
    task = asyncio.create_task(blocked(event))
    await asyncio.sleep(0)
    code = forks()
    event.set()
    return code, await task

print(asyncio.run(main()))
"""
    )
    assert out == "(5, 'went on')\n"


def test_a_fork_leaves_the_loops_of_other_threads_alone(program):
    """The child has to forget them, but not to close them: they share
    their selectors with the parent's."""
    program(
        FORKS
        + """
import gc, threading, time, warnings

ready, go = threading.Event(), threading.Event()

@tworoutine
async def offload():
    return await asyncio.to_thread(time.sleep, 0.01)

def target():
    nap()
    ready.set()
    go.wait()
    offload()

# Python 3.12+ warns of a fork while threads run.
warnings.simplefilter("ignore", DeprecationWarning)
thread = threading.Thread(target=target)
thread.start()
ready.wait()
assert ended_well(child(gc.collect))
assert ended_well(child(lambda: nap() and gc.collect()))
go.set()
thread.join(10)
if thread.is_alive():
    print("the loop of the thread is deaf", file=sys.stderr)
    os._exit(1)
"""
    )


def test_a_fork_with_calls_parked_in_the_kept_loop(program):
    out = program(
        FORKS
        + """
@tworoutine
async def begin(event):
    async def background():
        try:
            await_(event.wait())
        finally:
            print("ended in", "child" if os.getpid() != parent else "parent")
    return asyncio.create_task(background())

parent = os.getpid()
event = asyncio.Event()
task = begin(event)
loop = nap()

def in_child():
    assert nap() is not loop
    other = asyncio.Event()
    begun = begin(other)
    nap()
    other.set()
    await_(begun)
    grandchild = child(nap)
    assert ended_well(grandchild)
    sys.stdout.flush()

assert ended_well(child(in_child))
assert nap() is loop and not task.done()
event.set()
await_(task)
"""
    )
    assert out == "ended in child\nended in parent\n"


LEAVES = (
    FORKS
    + """
how, where, background = sys.argv[1:]

def leave():
    if where == "waits_for_a_task":  # of which asyncio has to say
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    if how == "exit":
        sys.exit(7)
    if how == "_exit":
        os._exit(7)
    if how == "raise":
        raise ZeroDivisionError
    if how == "call":
        nap(0.001)
        sys.exit(7)
    return "child"

@tworoutine
async def forks():
    await asyncio.sleep(0.001)
    pid = os.fork()
    return pid or leave()

@tworoutine
async def calls():
    await asyncio.sleep(0)
    return forks()

@tworoutine
async def waits_for_a_task():
    return await asyncio.ensure_future((~forks)())

@tworoutine
async def forks_and_returns():
    await asyncio.sleep(0)
    return os.fork()

def in_the_caller():
    return forks_and_returns() or leave()

@tworoutine
async def begin():
    async def blocked():
        try:
            await_(event.wait())
        finally:
            print("ended in", os.getpid() - parent)
    async def awaits():
        try:
            await event.wait()
        finally:
            print("ended in", os.getpid() - parent)
    keep = [asyncio.ensure_future(each()) for each in (blocked, awaits)]
    await asyncio.sleep(0)
    return keep

parent = os.getpid()
event = asyncio.Event()
tasks = begin() if background == "background" else []
got = globals()[where]()
if os.getpid() != parent:
    assert got == "child", got
    nap()  # it has a loop of its own
    os.write(1, b"returned\\n")
    sys.exit(9)
code = os.waitstatus_to_exitcode(os.waitpid(got, 0)[1])
event.set()
for task in tasks:
    await_(task)
nap()
print(code)
"""
)


@pytest.mark.parametrize("background", ["alone", "background"])
@pytest.mark.parametrize("where", ["forks", "calls", "in_the_caller"])
@pytest.mark.parametrize(
    ("how", "prints"),
    [
        ("exit", "7"),
        ("_exit", "7"),
        ("call", "7"),
        ("return", "returned\n9"),
    ],
)
def test_a_child_that_leaves_a_call(program, how, prints, where, background):
    """Whatever waits in the parent, in the child it is not heard of."""
    ended = "ended in 0\n" * 2 if background == "background" else ""
    *said, code = prints.split("\n")
    said = "".join(f"{line}\n" for line in said)
    assert program(LEAVES, how, where, background) == f"{said}{ended}{code}\n"


@pytest.mark.parametrize("background", ["alone", "background"])
@pytest.mark.parametrize("how", ["exit", "call"])
def test_a_child_that_leaves_a_task(program, how, background):
    ended = "ended in 0\n" * 2 if background == "background" else ""
    out = program(LEAVES, how, "waits_for_a_task", background)
    assert out == f"{ended}7\n"


@pytest.mark.parametrize("where", ["forks", "calls", "in_the_caller"])
def test_a_child_that_fails_in_a_call(tmp_path, where):
    path = tmp_path / "program.py"
    path.write_text(LEAVES)
    ran = subprocess.run(
        [sys.executable, "-X", "dev", path, "raise", where, "background"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ran.stdout == "ended in 0\n" * 2 + "1\n"
    assert ran.stderr.startswith("Traceback")
    assert ran.stderr.count("Traceback") == 1
    assert ran.stderr.endswith("ZeroDivisionError\n")


@pytest.mark.parametrize("inside", ["inside", "beside"])
def test_a_child_beside_a_kept_loop_of_another_kind(program, inside):
    pytest.importorskip("uvloop")  # has no wheels for some
    out = program(
        FORKS
        + """
import uvloop, warnings

warnings.simplefilter("ignore", DeprecationWarning)  # 3.14, of policies

class Policy(asyncio.DefaultEventLoopPolicy):
    _loop_factory = uvloop.Loop

asyncio.set_event_loop_policy(Policy())

@tworoutine
async def forks():
    await asyncio.sleep(0.001)
    assert isinstance(asyncio.get_running_loop(), uvloop.Loop)
    return os.fork() if sys.argv[1] == "inside" else None

pid = forks()
if pid is None:
    pid = os.fork()
if pid == 0:
    nap()
    sys.exit(7)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
""",
        inside,
    )
    assert out == "7\n"


WORKERS = """
import asyncio, concurrent.futures, multiprocessing, os, sys
from tworoutine import tworoutine

@tworoutine
async def square(x):
    await asyncio.sleep(0.001)
    return x * x, os.getpid()

@tworoutine
async def fan_out(xs):
    return [y for y, _ in square.map(xs, limit=2)]

def queue_up(queue):
    queue.put(fan_out(range(4)))

@tworoutine
async def spread(pool, xs):
    loop = asyncio.get_running_loop()
    return await asyncio.gather(
        *(loop.run_in_executor(pool, square, x) for x in xs)
    )

def main():
    method = sys.argv[1]
    context = multiprocessing.get_context(method)
    if method != "fork":
        square(1)  # the parent has a loop of its own, too
    queue = context.Queue()
    process = context.Process(target=queue_up, args=(queue,))
    process.start()
    assert queue.get(timeout=90) == [0, 1, 4, 9]
    process.join()
    assert process.exitcode == 0
    queue.close()
    queue.join_thread()
    with context.Pool(2) as pool:
        results = pool.map(square, range(6))
        assert [y for y, _ in results] == [0, 1, 4, 9, 16, 25]
        assert os.getpid() not in {pid for _, pid in results}
        pool.close()
        pool.join()
    if method != "fork":  # a pool of them forks while its threads run
        with concurrent.futures.ProcessPoolExecutor(1, context) as pool:
            results = spread(pool, range(3))
            assert [y for y, _ in results] == [0, 1, 4]

if __name__ == "__main__":
    main()
    print("well")
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing(program, method):
    # From 3.15 on, debug mode warns of the main module that multiprocessing
    # makes: it has no loader.
    flags = [
        "-X",
        "dev",
        "-W",
        "error",
        "-W",
        "ignore:Module:DeprecationWarning",
    ]
    assert program(WORKERS, method, timeout=90, flags=flags) == "well\n"


# --- child processes --------------------------------------------------------

UPPER = """
import sys
for line in sys.stdin:
    print(line.strip().upper(), flush=True)
sys.exit(7)
"""


@tworoutine
async def start():
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        UPPER,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )


@tworoutine
async def ask(child, line):
    child.stdin.write(line)
    return await child.stdout.readline()


@tworoutine
async def finish(child):
    rest, _ = await child.communicate(b"")
    return rest, child.returncode


def talk():
    """Talk to a child over several calls."""
    child = start()
    assert ask(child, b"one\n") == b"ONE\n"
    nap()
    assert ask(child, b"two\n") == b"TWO\n"
    assert child.returncode is None
    assert finish(child) == (b"", 7)
    return "well"


def in_thread(function):
    results = []
    thread = threading.Thread(target=lambda: results.append(function()))
    thread.start()
    thread.join(30)
    return results[0]


def test_a_child_process_kept_between_calls(place):
    assert place(talk) == "well"


def test_a_child_process_of_another_thread(place):
    """Its exit is noticed, whichever way this Python watches children."""
    assert in_thread(lambda: place(talk)) == "well"


def test_children_of_many_calls_at_once():
    @tworoutine
    async def run(code):
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-S", "-E", "-c", f"raise SystemExit({code})"
        )
        return await child.wait()

    assert in_thread(lambda: run.map(range(6), limit=3)) == list(range(6))


def test_a_child_that_exits_between_two_calls():
    @tworoutine
    async def begin():
        return await asyncio.create_subprocess_exec(
            sys.executable, "-S", "-E", "-c", "raise SystemExit(5)"
        )

    def calls():
        child = begin()
        with contextlib.suppress(ChildProcessError):  # its watcher was faster
            os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        return await_(child.wait())

    assert in_thread(calls) == 5


LIBRARY = """
#include <pthread.h>

static void *
run(void *callback)
{
    for (int i = 0; i < 3; i++) {
        ((void (*)(void))callback)();
    }
    return 0;
}

int
call_in_a_thread(void (*callback)(void))
{
    pthread_t thread;
    return pthread_create(&thread, 0, run, (void *)callback) ||
           pthread_join(thread, 0);
}
"""


def test_a_thread_of_a_library_in_c_that_calls_python(program, tmp_path):
    """Each time it has another thread state: the record of the first is kept
    by somebody, and has to do for the next one."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("needs a C compiler")
    source = tmp_path / "library.c"
    source.write_text(LIBRARY)
    command = [compiler, "-shared", "-fPIC", "-pthread", "-o", "library.so"]
    subprocess.run([*command, source], check=True, cwd=tmp_path)
    program(
        """
import asyncio, ctypes, gc
from tworoutine import tworoutine

@tworoutine
async def nap():
    await asyncio.sleep(0)
    return asyncio.current_task()

async def main():
    assert nap() is asyncio.current_task()

@ctypes.CFUNCTYPE(None)
def callback():
    try:
        nap()
        asyncio.run(main())
        kept.append([op for op in gc.get_objects()
                     if type(op).__module__ == "tworoutine._core"
                     and type(op).__name__ == "Thread"])
    except BaseException as error:
        kept.append(error)

kept = []
library = ctypes.CDLL("./library.so")
assert library.call_in_a_thread(callback) == 0
assert [type(records) for records in kept] == [list] * 3, kept
assert kept[0], "no record was found"
""",
        flags=("-X", "dev", "-W", "ignore"),  # the loops of the records
    )
