"""The oracle's random programs, awaited and called: all events in order."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("first", [0, 1_000_000])
def test_random_programs_cannot_tell_a_call_from_an_await(first):
    # In a process of its own: programs that end with tasks that nobody can
    # end are thrown away, which asyncio complains of.
    oracle = Path(__file__).with_name("oracle.py")
    done = subprocess.run(
        [sys.executable, str(oracle), "300", str(first)],
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stdout
    assert done.stdout == "0 of 300 programs differ\n"
