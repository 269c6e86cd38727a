"""The demo, with few boards: what it prints, draws and leaves behind."""

import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

pytest.importorskip("tuber")
pytest.importorskip("scipy")

DEMO = Path(__file__).parent.parent / "examples" / "telescope.py"


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    ran = subprocess.run(
        [sys.executable, DEMO, "--boards", "8", "--latency", "10"],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=folder,
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    return ran.stdout, folder


def test_it_fits_a_terminal(ran):
    text, _ = ran
    assert "\r" not in text
    for line in text.splitlines():
        assert len(line) <= 80 or line.startswith("the picture: "), line


def test_all_ways_tune_all_boards_but_the_broken_one(ran):
    text, _ = ran
    assert "\ntuned: 7 of 8 boards, within " in text
    assert text.count("board 5: ") == 1


def test_the_table(ran):
    text, _ = ran
    table = text.partition("in the service:\n")[2].partition("\n\n")[0]
    ways = [re.split(r"  +", line.strip())[0] for line in table.splitlines()]
    assert ways == ["tune.map", "async by hand", "threads"]
    assert all(len(line.split("  ")) > 8 for line in table.splitlines())


def test_the_picture(ran):
    text, folder = ran
    path = folder / "telescope.svg"
    assert text.endswith(f"\nthe picture: {path}\n")
    ElementTree.parse(path)


def test_bad_options():
    ran = subprocess.run(
        [sys.executable, DEMO, "--boards", "0"], capture_output=True, text=True
    )
    assert ran.returncode == 2
    assert "--boards must be at least 1" in ran.stderr
