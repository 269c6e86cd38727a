"""The programs in docs/hosts.md print what their comments say."""

import importlib
import pathlib
import re

import pytest

PAGE = pathlib.Path(__file__).parent.parent / "docs" / "hosts.md"
NEEDS = {
    "anyio": ["anyio", "trio"],
    "asyncio": [],
    "curio": ["curio"],
    "gevent": ["gevent"],
    "Qt": ["PySide6", "qasync"],
    "Tornado": ["tornado"],
    "trio": ["trio"],
    "Twisted": ["twisted"],
    "uvloop": ["uvloop", "uvicorn", "fastapi", "httpx"],
}
PRINTS = re.compile(r"print\(.*\)\S*  # (.*)")


def programs():
    for section in re.split(r"^## ", PAGE.read_text(), flags=re.M)[1:]:
        host, _, text = section.partition("\n")
        if host in NEEDS:
            blocks = re.findall(r"^```python\n(.*?)^```", text, re.M | re.S)
            for number, source in enumerate(blocks):
                yield pytest.param(host, source, id=f"{host}-{number}")


@pytest.mark.parametrize(("host", "source"), list(programs()))
def test_program(program, monkeypatch, host, source):
    for name in NEEDS[host]:
        try:
            importlib.import_module(name)
        except (ImportError, AttributeError) as exc:  # curio, on 3.12+
            pytest.skip(f"needs {name}: {exc}")
    monkeypatch.setenv("QT_QPA_PLATFORM", "offscreen")
    runs = len(re.findall(r"^\w+\.run\(", source, re.M)) or 1
    expected = PRINTS.findall(source) * runs
    assert program(source).splitlines() == expected


def test_every_host_has_a_program():
    assert {p.values[0] for p in programs()} == set(NEEDS)


def test_headings_are_in_alphabetical_order():
    headings = re.findall(r"^## (.*)", PAGE.read_text(), re.M)
    assert headings == sorted(headings, key=str.lower)
