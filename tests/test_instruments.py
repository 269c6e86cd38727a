"""The programs in examples/instruments print what their comments say.

Each talks to real software on this machine.  What is not installed is skipped,
and said; `make instruments` has all packages, and Debian has the servers.
"""

import ast
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "examples" / "instruments"
HELPERS = {"servers"}
PROGRAMS = [p for p in sorted(FOLDER.glob("*.py")) if p.stem not in HELPERS]
PRINTS = re.compile(r"^[^#\n]*\bprint\(.*\)  # (.*)", re.M)
COMPLAINTS = re.compile("Traceback|never awaited|was destroyed")


def imported(source):
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module.split(".")[0]


@pytest.mark.parametrize("path", PROGRAMS, ids=[p.stem for p in PROGRAMS])
def test_program(path, tmp_path):
    source = path.read_text()
    for name in sorted(set(imported(source)) - HELPERS):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"needs {name}")
    ran = subprocess.run(
        [sys.executable, "-X", "dev", path],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=tmp_path,
    )
    if ran.stderr.startswith("not installed: "):
        pytest.skip(ran.stderr.strip())
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines() == PRINTS.findall(source)
    assert not COMPLAINTS.search(ran.stderr), ran.stderr


def test_each_is_short():
    for path in PROGRAMS:
        assert len(path.read_text().splitlines()) <= 60, path.name


def test_the_gallery_has_each():
    page = (ROOT / "docs" / "instruments.md").read_text()
    shown = re.findall(r"examples/instruments/(\w+)\.py\n```", page)
    assert sorted(shown) == [path.stem for path in PROGRAMS]
