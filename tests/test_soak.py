"""A short run of tools/soak.py: random sessions, and nothing grows."""

import os
import pathlib
import re
import subprocess
import sys

import pytest

PATH = pathlib.Path(__file__).parent.parent / "tools" / "soak.py"
if not PATH.exists():
    pytest.skip("a source tree alone has tools", allow_module_level=True)
if os.environ.get("TWR_SANITIZE"):
    pytest.skip("sanitizers keep what is freed", allow_module_level=True)
if not pathlib.Path("/proc/self/statm").exists():
    pytest.skip("it measures by /proc", allow_module_level=True)


def test_soak():
    ran = subprocess.run(
        [sys.executable, PATH, "6"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "grown: nothing" in ran.stdout, ran.stdout
    begun, ended = re.search(
        r"'begun': (\d+), 'ended': (\d+)", ran.stdout
    ).groups()
    assert begun == ended
    assert int(begun) > 1000
    unraisable = re.findall(r"^unraisable \d+: (.*)", ran.stdout, re.MULTILINE)
    assert unraisable == []
