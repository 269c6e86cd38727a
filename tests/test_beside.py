"""What docs/beside.md and the README say that this does, and others do not.

Each row is a program of bench/, asked again here of this library; what is
said of the others is as `make beside` has measured it.
"""

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BENCH = ROOT / "bench"
NEEDS = {"on_uvloop": "uvloop", "on_trio": "trio", "on_gevent": "gevent"}
METADATA = ("pure", "others_needed", "status")  # pyproject.toml has it


def rows(page):
    """{row: {library: what it says}} of the first table of seven columns."""
    lines = re.findall(r"^\|(?:[^|\n]*\|){7}$", page.read_text(), re.M)
    split = [
        [cell.strip() for cell in line[1:-1].split("|")] for line in lines
    ]
    (_, *names), _, *rest = split
    return {row: dict(zip(names, cells, strict=True)) for row, *cells in rest}


PAGE = rows(ROOT / "docs" / "beside.md")


@pytest.fixture(scope="module")
def questions():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(BENCH)
        yield importlib.import_module("beside").QUESTIONS


def asked():
    text = (BENCH / "beside.py").read_text()
    return re.findall(r'^    "(\w+)": "', text, re.M)


def programs():
    return [question for question in asked() if question not in METADATA]


def test_the_page_has_every_question(questions):
    assert list(questions) == asked()
    assert list(PAGE) == list(questions.values())


@pytest.mark.parametrize("question", programs())
def test_what_is_said_of_this_library(questions, question):
    if question in NEEDS:
        name = NEEDS[question]
        pytest.importorskip(name, reason=f"needs {name}")
    ran = subprocess.run(
        [sys.executable, BENCH / "beside.py", question, "tworoutine"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ran.stdout.strip() == PAGE[questions[question]]["tworoutine"]


def short(cell):
    """As the README has it: empty where the answer is no."""
    if cell == "-" or cell.partition(":")[0] == "no":
        return ""
    return re.split("[,:]", cell)[0]


def test_the_readme_says_the_same():
    readme = rows(ROOT / "README.md")
    assert len(readme) > 10
    for row, cells in readme.items():
        assert cells == {name: short(x) for name, x in PAGE[row].items()}
