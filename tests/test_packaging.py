"""One version, one list of Pythons, `python -m tworoutine`."""

import re
import runpy
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

import tworoutine
from conftest import SLOW

ROOT = Path(__file__).resolve().parent.parent
TOML = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = TOML["project"]


def pythons():
    """The Pythons that the classifiers claim: ["3.11", ...]"""
    line = re.compile(r"Programming Language :: Python :: (3\.\d+)$")
    return [m[1] for text in PROJECT["classifiers"] if (m := line.match(text))]


# --- the version ------------------------------------------------------------


def test_the_version_stands_in_the_package_alone():
    assert "version" in PROJECT["dynamic"]
    (source,) = TOML["tool"]["setuptools"]["dynamic"]["version"].values()
    assert source == "tworoutine.__version__"


def test_what_is_installed_has_that_version():
    (folder,) = tworoutine.__path__
    try:
        installed = metadata.distribution("tworoutine")
    except metadata.PackageNotFoundError:
        pytest.skip("not installed: built in place")
    if Path(installed.locate_file("tworoutine")) != Path(folder):
        pytest.skip("another one is installed")
    assert installed.version == tworoutine.__version__


def test_the_changelog_tells_of_that_version():
    text = (ROOT / "CHANGELOG.md").read_text()
    first, *_ = re.findall(r"^## \[?([^\]\s]+)", text, re.M)
    assert first in ("Unreleased", tworoutine.__version__)


# --- the Pythons ------------------------------------------------------------


def test_the_oldest_python_is_the_required_one():
    assert PROJECT["requires-python"] == f">={pythons()[0]}"


def test_wheels_are_for_the_pythons_of_the_classifiers():
    claimed = pythons()
    tags = [f"cp{version.replace('.', '')}-*" for version in claimed]
    assert TOML["tool"]["cibuildwheel"]["build"] == tags
    source = (ROOT / "tools" / "dist.py").read_text()
    (first, end) = re.search(r"range\((\d+), (\d+)\)", source).groups()
    assert claimed == [f"3.{minor}" for minor in range(int(first), int(end))]


# --- the sdist --------------------------------------------------------------


def test_the_sdist_has_all_but_what_is_for_the_repository():
    dist = runpy.run_path(str(ROOT / "tools" / "dist.py"))
    committed = dist["committed"]()
    if not committed:
        pytest.skip("not in a working tree of git's")
    told = re.findall(
        r"^(?:graft|include) (.+)$", (ROOT / "MANIFEST.in").read_text(), re.M
    )
    manifest = {name for line in told for name in line.split()}
    by_itself = {"LICENSE", "MANIFEST.in", "README.md", "pyproject.toml"}
    by_itself |= {"setup.py", "src"}
    assert {name.split("/")[0] for name in committed} == manifest | by_itself


# --- a wheel ----------------------------------------------------------------


@pytest.mark.skipif(sys.platform != "linux", reason="glibc")
def test_the_core_needs_no_glibc_newer_than_its_manylinux():
    core = Path(tworoutine._core.__file__).read_bytes()
    if b"__asan_init" in core:
        pytest.skip("a build for sanitizers")
    symbols = re.findall(rb"\0GLIBC_(\d+)\.(\d+)", core)
    assert max((int(a), int(b)) for a, b in symbols) <= (2, 17)


# --- the README, as PyPI shows it -------------------------------------------


def readme(source):
    pytest.importorskip("setuptools")
    pytest.importorskip("greenlet")
    rewrite = runpy.run_path(str(ROOT / "setup.py"))["readme"]
    return rewrite((ROOT / "README.md").read_text(), source)


def targets(text):
    return re.findall(r"\]\(([^)\s]+)\)", text)


def test_links_of_the_readme_are_files():
    here = [
        t for t in targets((ROOT / "README.md").read_text()) if ":" not in t
    ]
    assert here
    for target in here:
        assert (ROOT / target.partition("#")[0]).is_file(), target


def test_links_of_the_readme_work_elsewhere():
    text = readme("https://host.example/owner/tworoutine")
    base = "https://host.example/owner/tworoutine"
    assert f"]({base}/blob/main/docs/limits.md)" in text
    assert f"]({base}/raw/main/docs/figures/telescope.svg)" in text
    assert all(t.startswith("https://") for t in targets(text))


def test_without_an_address_there_are_no_links_into_the_repository():
    text = readme(None)
    assert "docs/limits.md has all of it" in text
    assert all(t.startswith("https://") for t in targets(text))


# --- make -------------------------------------------------------------------


def test_make_help_names_every_target():
    text = (ROOT / "Makefile").read_text()
    head, *_ = text.split("\n\n")
    targets = re.search(r"^\.PHONY: ((?:.*\\\n)*.*)$", text, re.M)[1]
    told = re.findall(r"make ([\w-]+)", head)
    assert set(targets.replace("\\", "").split()) <= set(told)


# --- python -m tworoutine ---------------------------------------------------


def test_it_tells_what_a_bug_report_needs():
    ran = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-m", "tworoutine"],
        capture_output=True,
        text=True,
        timeout=90,
    )
    assert (ran.returncode, SLOW.sub("", ran.stderr)) == (0, "")
    told = dict(line.split(": ", 1) for line in ran.stdout.splitlines())
    assert told["tworoutine"] == tworoutine.__version__
    assert told["greenlet"] == metadata.version("greenlet")
    assert told["why_no_handoff"] == "None"
    assert told["call without a loop"] == "works"
    assert told["call in a task"] == "works"
    assert "EventLoop" in told["loop"]
