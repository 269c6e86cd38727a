"""The code in the README and in docs/ runs, and prints what its comments say.

A page is a session: its ```python and ```pycon blocks are run in one process,
in their order.  `print(...)  # 42` has to print 42, and a line that ends with
`  # ValueError: message ...` is where it has to end.  Comments in the page,
which readers do not see, say what is not so:

    <!-- each block is a program -->    above the first block
    <!-- not run: the reason -->        above a block

A page in docs/ that another test reads is left to that.
"""

import ast
import importlib
import importlib.util
import inspect
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

import tworoutine
from conftest import SLOW

HERE = Path(__file__).parent
ROOT = HERE.parent
EXAMPLES = ROOT / "examples"
BLOCK = re.compile(
    r"(?:^<!-- not run: (?P<reason>.*?) -->\n+)?"
    r"^```(?P<kind>python|pycon)\n(?P<source>.*?)^```",
    re.M | re.S,
)
PROGRAMS = "<!-- each block is a program -->"
RAISES = re.compile(r"^[^#\n]*  # (\w+Error: .*)", re.M)
PRINTS = re.compile(r"^[^#\n]*\bprint\(.*\)  # (.*)", re.M)


def pages():
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def readers(page):
    """The other tests that read a page of docs/."""
    if page.parent == ROOT:
        return []
    own = Path(__file__).name
    return [
        test.name
        for test in HERE.glob("test_*.py")
        if test.name != own and f'"{page.name}"' in test.read_text()
    ]


def blocks(page):
    """(kind, line, source, reason why not run or None) of each block."""
    text = page.read_text()
    for match in BLOCK.finditer(text):
        line = text.count("\n", 0, match.start("source"))
        yield match["kind"], line, match["source"], match["reason"]


def sessions():
    for page in pages():
        if readers(page):
            continue
        run = [list(block[:3]) for block in blocks(page) if not block[3]]
        if not run:
            continue
        if PROGRAMS in page.read_text():
            for block in run:
                name = f"{page.stem}-{block[1]}"
                yield pytest.param(page.name, [block], id=name)
        else:
            yield pytest.param(page.name, run, id=page.stem)


def imported(source):
    """The top-level names of the modules that source imports."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module.split(".")[0]


def code(kind, source):
    if kind == "python":
        return source
    lines = re.findall(r"^(?:>>>|\.\.\.) ?(.*)", source, re.M)
    return "\n".join(lines)


def skip_without(run):
    needs = {
        name for kind, _, text in run for name in imported(code(kind, text))
    }
    if {"boards", "adapter"} & needs:
        needs.add("tuber")
    for name in sorted(needs):
        if (EXAMPLES / f"{name}.py").exists():
            continue
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"needs {name}")


@pytest.mark.parametrize(("name", "run"), list(sessions()))
def test_page(tmp_path, name, run):
    skip_without(run)
    text = "".join(source for _, _, source in run)
    ours = "tworoutine" in text
    flags = ["-X", "dev", "-W", "error"] if ours else []
    path = [str(EXAMPLES), *filter(None, [os.environ.get("PYTHONPATH")])]
    ran = subprocess.run(
        [sys.executable, *flags, HERE / "docs_session.py", name],
        input=json.dumps(run),
        capture_output=True,
        text=True,
        timeout=120,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(path)},
    )
    if raises := RAISES.search(text):
        assert ran.returncode == 1
        error = raises[1].removesuffix("...")
        assert f"\n{error}" in ran.stderr
        return
    assert ran.returncode == 0, ran.stderr
    python = "".join(source for kind, _, source in run if kind == "python")
    assert ran.stdout.splitlines() == PRINTS.findall(python), ran.stderr
    assert not ours or SLOW.sub("", ran.stderr) == ""


def test_a_block_that_is_not_run_says_why():
    for page in pages():
        if readers(page):
            continue
        text = page.read_text()
        assert text.count("```python\n") + text.count("```pycon\n") == len(
            list(blocks(page))
        ), page
        for *_, reason in blocks(page):
            assert reason is None or len(reason) > 10, page


def test_pages_that_others_read():
    names = {page.name for page in pages() if readers(page)}
    assert {"hosts.md", "errors.md", "limits.md"} <= names


# --- docstrings -------------------------------------------------------------

PARTS = ["map", "as_completed", "at"]
PARTS = {name: vars(tworoutine.tworoutine)[name] for name in PARTS}
PUBLIC = {name: getattr(tworoutine, name) for name in tworoutine.__all__}
CALLED = {
    n: x for n, x in (PUBLIC | PARTS).items() if n not in PUBLIC or callable(x)
}


def parameters(name, what):
    """The names of the arguments, but for self."""
    first = what.__doc__.partition("\n")[0]
    if first.startswith(f"{name}("):  # map(...): an attribute
        node = ast.parse(f"def {first}: ...").body[0].args
        rest = [] if node.vararg is None else [node.vararg]
        arguments = [*node.posonlyargs, *node.args, *rest, *node.kwonlyargs]
        return [one.arg for one in arguments]
    return [p for p in inspect.signature(what).parameters if p != "self"]


ERRORS = {"CannotSuspend", "FailedCalls", "SlowCallWarning"}


@pytest.mark.parametrize("name", sorted(CALLED))
def test_a_docstring_names_its_arguments(name):
    what = CALLED[name]
    if name.endswith("task_factory") or name in ERRORS:
        assert what.__doc__.strip()
        return
    names = parameters(name, what)
    if not names:
        return
    doc = inspect.getdoc(what)
    section = re.search(r"^Args:\n((?:    .*\n)+)", doc + "\n", re.M)
    assert section, doc
    assert re.findall(r"^    (\w+):", section[1], re.M) == names


# --- figures ----------------------------------------------------------------

TABLES = [
    "",
    "no table\n",
    "| | 1 is |\n|---|---|\n| in a loop: x | await |\n",
    """\
|                  | 1 is  | tworoutine    | nest_asyncio   | other |
| ---------------- | ----- | ------------- | -------------- | ----- |
| in a loop: x     | await | 1,234 (1-2)   | RecursionError | 3.0   |
| a bystander's: y | await | 0.2           |                |
|   in use         | await | 1.1 (1.0-1.1) | -              | 1     |
""",
]
BLOCKED = """\
|                          | 1 is          | tworoutine | nest_asyncio   |
| ------------------------ | ------------- | ---------- | -------------- |
| 100 blocked at once      | await, 2.0 us | 3.0 (2-4)  | 5.0            |
| 10,000 blocked at once   | await, 4.0 us | 3.0        | RecursionError |
|   like for like          | await, 4.0 us | 2.0        | -              |
| memory of a blocked call: one of 100 | await, 1.5 KiB * | 11 | 4.0    |
|   one of 10,000          | await, 1.5 KiB * | 12      | RecursionError |
"""


@pytest.mark.parametrize("text", TABLES)
def test_plots_of_whatever_tables_there_are(tmp_path, monkeypatch, text):
    monkeypatch.syspath_prepend(ROOT / "docs")
    figures = importlib.import_module("figures")
    (tmp_path / "RESULTS.md").write_text(text)
    monkeypatch.setattr(figures, "RESULTS", tmp_path / "RESULTS.md")
    monkeypatch.setattr(figures, "FIGURES", tmp_path / "figures")
    figures.main()
    drawn = {path.name for path in (tmp_path / "figures").glob("*.svg")}
    plots = {"calls.svg", "bystanders.svg"} if "1,234" in text else set()
    assert drawn == {"overtime.svg", "stacks.svg"} | plots
    for name in plots:
        svg = (tmp_path / "figures" / name).read_text()
        ElementTree.fromstring(svg)
        assert (
            "1234x" in svg and "RecursionError" in svg
        ) or name != "calls.svg"


def test_blocked_calls_are_plotted_against_time_and_memory(
    tmp_path, monkeypatch
):
    monkeypatch.syspath_prepend(ROOT / "docs")
    figures = importlib.import_module("figures")
    (tmp_path / "RESULTS.md").write_text(BLOCKED)
    monkeypatch.setattr(figures, "RESULTS", tmp_path / "RESULTS.md")
    time, memory = (figures.at_once(pattern) for pattern, *_ in figures.PANELS)
    assert time == {
        "await": {100: 2.0, 10_000: 4.0},
        "tworoutine": {100: 6.0, 10_000: 12.0},
        "nest_asyncio": {100: 10.0, 10_000: "RecursionError"},
    }
    assert memory == {
        "await": {100: 1.5, 10_000: 1.5},
        "tworoutine": {100: 11.0, 10_000: 12.0},
        "nest_asyncio": {100: 4.0, 10_000: "RecursionError"},
    }
    figures.blocked(tmp_path / "blocked.svg")
    svg = ElementTree.parse(tmp_path / "blocked.svg")
    texts = [element.text for element in svg.iter() if element.text]
    assert texts.count("RecursionError") == 2
    assert {"time of one call, us", "memory of one call, KiB"} <= {*texts}


def test_goals_are_of_rows_that_have_been_measured(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "docs")
    monkeypatch.syspath_prepend(ROOT / "bench")
    rows = dict(importlib.import_module("figures").rows_like(""))
    assert {*importlib.import_module("goals").GOALS} <= {*rows}


def test_a_goal_allows_more_on_3_12(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "bench")
    goal_of = importlib.import_module("goals").goal_of
    assert goal_of("in a loop: trivial", (3, 13)) == 1.7
    assert goal_of("in a loop: trivial", (3, 12)) == 1.955
    assert goal_of("in a loop: unknown", (3, 12)) is None
