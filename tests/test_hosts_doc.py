"""The programs in docs/hosts.md print what their comments say.

Sessions at a prompt are typed into a terminal, and tests are run by pytest.
test_jupyter.py runs the notebook.
"""

import importlib
import pathlib
import re
import subprocess
import sys

import pytest

PAGE = pathlib.Path(__file__).parent.parent / "docs" / "hosts.md"
NEEDS = {
    "aiohttp": ["aiohttp", "uvloop"],
    "anyio": ["anyio", "trio"],
    "asyncio": [],
    "curio": ["curio"],
    "Django": ["django"],
    "gevent": ["gevent"],
    "No loop": [],
    "Qt": ["PySide6", "qasync"],
    "Textual": ["textual"],
    "Tornado": ["tornado"],
    "trio": ["trio"],
    "Twisted": ["twisted"],
    "uvicorn, FastAPI, Starlette": ["uvloop", "uvicorn", "fastapi", "httpx"],
    "uvloop": ["uvloop"],
}
PYTEST_NEEDS = [[], ["pytest_asyncio"], ["anyio", "trio"]]
PROMPTS = {
    "python": [],
    "ipython": [
        *["-m", "IPython", "--no-banner", "--HistoryManager.enabled=False"],
        "--TerminalInteractiveShell.colors=nocolor",
    ],
    "ptpython": ["-m", "ptpython", "--history-file=history"],
}
PROMPT = re.compile(r"^(>>> |In \[\d+\]: )", re.M)
PRINTS = re.compile(r"print\(.*\)\S*  # (.*)")


def sections():
    for section in re.split(r"^## ", PAGE.read_text(), flags=re.M)[1:]:
        host, _, text = section.partition("\n")
        yield host, text


def blocks(host, kind="python"):
    """The blocks of a kind in the section of a host."""
    pattern = rf"^```{kind}\n(.*?)^```"
    return re.findall(pattern, dict(sections())[host], re.M | re.S)


def programs():
    for host, _ in sections():
        if host in NEEDS:
            for number, source in enumerate(blocks(host)):
                yield pytest.param(host, source, id=f"{host}-{number}")


def sessions():
    for host, _ in sections():
        for session in blocks(host, "console"):
            command, _, text = session.removeprefix("$ ").partition("\n")
            yield pytest.param(command, text, id=command)


def skip_without(names):
    for name in names:
        try:
            importlib.import_module(name)
        except (ImportError, AttributeError) as exc:  # curio, on 3.12+
            pytest.skip(f"needs {name}: {exc}")


@pytest.mark.parametrize(("host", "source"), list(programs()))
def test_program(program, monkeypatch, host, source):
    skip_without(NEEDS[host])
    monkeypatch.setenv("QT_QPA_PLATFORM", "offscreen")
    runs = len(re.findall(r"^\w+\.run\(", source, re.M)) or 1
    expected = PRINTS.findall(source) * runs
    assert program(source).splitlines() == expected


@pytest.mark.parametrize(("command", "text"), list(sessions()))
def test_session(terminal, command, text):
    name, *options = command.split()
    if len(PROMPTS[name]) > 1:
        skip_without([PROMPTS[name][1]])
    prompt = terminal(*PROMPTS[name], *options)
    first, *lines = PROMPT.split(text)
    assert first == ""
    for shown, typed in zip(lines[::2], lines[1::2], strict=True):
        line, _, answer = typed.partition("\n")
        prompt.until(re.escape(shown.strip()))
        prompt.type(line + "\r")
        if answer:
            prompt.until(re.escape(answer.strip()))


@pytest.mark.parametrize(
    ("source", "needs"),
    list(zip(blocks("pytest"), PYTEST_NEEDS, strict=True)),
    ids=["alone", "pytest-asyncio", "anyio"],
)
def test_tests(tmp_path, source, needs):
    skip_without(needs)
    (tmp_path / "test_it.py").write_text(source)
    (tmp_path / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    if "pytest_asyncio" in needs:
        options = ["-o", "asyncio_default_fixture_loop_scope=function"]
    else:
        options = ["-p", "no:asyncio"]
    ran = subprocess.run(
        [
            *[sys.executable, "-X", "dev", "-W", "error"],
            *["-m", "pytest", "-q", *options],
        ],
        capture_output=True,
        text=True,
        timeout=90,
        cwd=tmp_path,
    )
    count = len(re.findall(r"def test_", source))
    assert f"\n{count} passed in" in ran.stdout, ran.stdout + ran.stderr


def test_every_host_has_a_program():
    assert {p.values[0] for p in programs()} == set(NEEDS)
    for host, _ in sections():
        assert blocks(host) or blocks(host, "console"), host


def test_headings_are_in_alphabetical_order():
    headings = [host for host, _ in sections()]
    assert headings == sorted(headings, key=str.lower)
