"""oldest.txt is what pyproject.toml claims: the releases of `make oldest`."""

import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement

HERE = Path(__file__).parent


def claimed():
    """What the package, its tests and its hosts require, at the least."""
    project = tomllib.loads((HERE.parent / "pyproject.toml").read_text())
    project = project["project"]
    extras = project["optional-dependencies"]
    requirements = project["dependencies"] + extras["test"] + extras["hosts"]
    return [text for text in requirements if project["name"] not in text]


def pinned():
    lines = (HERE / "oldest.txt").read_text().splitlines()
    return [line for line in lines if not line.startswith("#")]


def test_every_claim_has_its_line():
    assert pinned() == [text.replace(">=", "==") for text in claimed()]


@pytest.mark.parametrize("text", claimed())
def test_a_claim_is_of_one_oldest_release(text):
    (specifier,) = Requirement(text).specifier
    assert specifier.operator == ">="


@pytest.mark.skipif(
    not sys.prefix.endswith("-oldest"), reason="for `make oldest`"
)
def test_the_oldest_releases_are_installed():
    requirements = [Requirement(line) for line in pinned()]
    for requirement in requirements:
        if requirement.marker is None or requirement.marker.evaluate():
            assert version(requirement.name) in requirement.specifier
