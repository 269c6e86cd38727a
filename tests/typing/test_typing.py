"""The stubs say what typed.py says they say."""

import importlib.util
import pathlib
import re
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).parent


@pytest.mark.skipif(
    importlib.util.find_spec("mypy") is None, reason="needs mypy"
)
def test_mypy_finds_the_marked_errors_and_no_others(request, tmp_path):
    kept = getattr(request.config, "cache", None)
    cache = kept.mkdir("mypy") if kept else tmp_path
    ran = subprocess.run(
        [
            *(sys.executable, "-m", "mypy", "--strict", "--no-error-summary"),
            *("--hide-error-context", f"--cache-dir={cache}", "typed.py"),
        ],
        cwd=HERE,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ran.stderr == ""
    source = (HERE / "typed.py").read_text().splitlines()
    expected = {
        number for number, line in enumerate(source, 1) if "# error" in line
    }
    found = re.findall(r"^typed\.py:(\d+): error", ran.stdout, re.MULTILINE)
    assert {int(number) for number in found} == expected, ran.stdout
    assert not re.search(r"\.pyi:\d+: error", ran.stdout), ran.stdout
