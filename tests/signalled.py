"""Programs that a signal interrupts, in processes of their own."""

import subprocess
import sys

from conftest import SLOW

PRELUDE = """
import asyncio, os, signal, sys
from tworoutine import tworoutine

log = []

async def wait_for_long():
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        log.append("cancelled")
        raise
    finally:
        await asyncio.sleep(0.001)
        log.append("finally")

@tworoutine
async def tick(n=3):
    for _ in range(n):
        await asyncio.sleep(0)
    return "tick"
"""


def run(program, *args, code=0, timeout=90):
    """Run it after the prelude; it is to end with that exit code."""
    flags = "-X", "dev", "-W", "error", "-c"
    done = subprocess.run(
        [sys.executable, *flags, PRELUDE + program, *args],
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    assert done.returncode == code, done.stderr
    done.stderr = SLOW.sub("", done.stderr)
    return done
