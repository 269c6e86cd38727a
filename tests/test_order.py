"""The oracle's random programs, awaited and called: all events in order.

10,000 in all, or as many as ORACLE_PROGRAMS says;
`python tests/oracle.py 100000` is a night's worth.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ORACLE = Path(__file__).with_name("oracle.py")
PROGRAMS = int(os.environ.get("ORACLE_PROGRAMS", 10_000))
VARIANTS = {
    variant: PROGRAMS * percent // 100
    for variant, percent in {
        "plain": 60,
        "python": 15,
        "debug": 10,
        "eager": 10,
        "portal": 5,
    }.items()
}
EAGER = "eager", "portal"


@pytest.fixture(scope="module")
def runs():
    """All variants at once, each in a process of its own.

    Programs that end with tasks that nobody can end are thrown away, which
    asyncio complains of.
    """
    runs = {
        variant: subprocess.Popen(
            [sys.executable, ORACLE, str(count), "0", variant],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        for variant, count in VARIANTS.items()
        if variant not in EAGER or sys.version_info >= (3, 12)
    }
    yield runs
    for run in runs.values():
        run.kill()
        run.wait()
        run.stdout.close()


# The oracle itself gives up on a program that takes too long.
@pytest.mark.timeout(900)
@pytest.mark.parametrize("variant", VARIANTS)
def test_random_programs_cannot_tell_a_call_from_an_await(variant, runs):
    if variant not in runs:
        pytest.skip("no eager tasks before 3.12")
    out, _ = runs[variant].communicate()
    assert out == f"0 of {VARIANTS[variant]} programs differ\n"
