"""The end of an interpreter, forks, workers and child processes."""

import pytest

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
