"""The stubs say what typed.py says they say."""

import functools
import importlib.metadata
import importlib.util
import json
import os
import pathlib
import re
import subprocess
import sys

import pytest

import tworoutine

HERE = pathlib.Path(__file__).parent
TYPED = HERE / "typed.py"
PATH = pathlib.Path(tworoutine.__file__).parents[1]
IN_PLACE = PATH.name == "src"  # else installed, where checkers look anyway

# The releases that the marks in typed.py speak of.  Another release may do
# better or worse in the marked lines; in all others it has to be right.
MARKED = {
    "mypy": "2.4",
    "pyright": "1.40",  # basedpyright, in pyright's strict mode
    "ty": "0.0.108",
    "pyrefly": "1.5",
}
PACKAGE = {name: name for name in MARKED} | {"pyright": "basedpyright"}


def mypy(tmp_path):
    return [
        *("--strict", "--no-error-summary", "--hide-error-context"),
        *(f"--cache-dir={tmp_path}", "typed.py"),
    ]


def pyright(tmp_path):
    settings = {
        "include": [str(TYPED)],
        "typeCheckingMode": "strict",
        "extraPaths": [str(PATH)] if IN_PLACE else [],
        "reportUnusedExpression": False,
    }
    project = tmp_path / "pyrightconfig.json"
    project.write_text(json.dumps(settings))
    return ["-p", str(project), "--pythonpath", sys.executable]


def ty(tmp_path):
    path = ["--extra-search-path", str(PATH)] if IN_PLACE else []
    return [
        *("check", "--output-format", "concise"),
        *("--python", sys.prefix, *path, "typed.py"),
    ]


def pyrefly(tmp_path):
    path = ["--search-path", str(PATH)] if IN_PLACE else []
    return [
        *("check", "--preset", "strict", "--output-format", "min-text"),
        *("--ignore", "missing-override-decorator"),  # a matter of taste
        *("--python-interpreter-path", sys.executable, *path, "typed.py"),
    ]


FOUND = {
    "mypy": r"^typed\.py:(\d+): error",
    "pyright": r"typed\.py:(\d+):\d+ - error",
    "ty": r"^typed\.py:(\d+):\d+: error",
    "pyrefly": r"^ *ERROR typed\.py:(\d+):",
}


def installed(name):
    if importlib.util.find_spec(PACKAGE[name]) is None:
        pytest.skip(f"needs {PACKAGE[name]}: make typing")
    return importlib.metadata.version(PACKAGE[name])


MARK = re.compile(
    r"\S  # error(?:, but not of (?P<but>[\w., ]+)| of (?P<of>[\w., ]+))?"
)


@functools.cache
def marks():
    """For each line with a mark: is it an error, and not so for whom.

    The release is as in MARKED, or stands behind the name: "of mypy 1.17".
    """
    found = {}
    for number, line in enumerate(TYPED.read_text().splitlines(), 1):
        if mark := MARK.search(line):
            others = {}
            for other in (mark["but"] or mark["of"] or "").split(","):
                if other:
                    name, *release = other.split()
                    others[name] = release[0] if release else MARKED[name]
            found[number] = (mark["of"] is None, others)
    return found


def expected_of(name, version):
    """The lines that it refuses; those where this release may do either."""
    errors, either = set(), set()
    for number, (error, others) in marks().items():
        release = others.get(name)
        if release is not None and not is_of(version, release):
            if release == MARKED[name]:
                either.add(number)
            release = None
        if error != (release is not None):
            errors.add(number)
    return errors, either


def is_of(version, release):
    return f"{version}.".startswith(f"{release}.")


def run(module, arguments):
    env = dict(os.environ)
    if IN_PLACE:
        env["MYPYPATH"] = str(PATH)
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=HERE,
        env=env,
        capture_output=True,
        text=True,
        timeout=200,
    )


@pytest.mark.parametrize("name", list(MARKED))
def test_checker_finds_the_marked_errors_and_no_others(name, tmp_path):
    version = installed(name)
    ran = run(PACKAGE[name], globals()[name](tmp_path))
    found = {int(n) for n in re.findall(FOUND[name], ran.stdout, re.MULTILINE)}
    errors, either = expected_of(name, version)
    assert found, ran.stdout + ran.stderr
    wrong = sorted((found ^ errors) - either)
    told = [
        line
        for line in ran.stdout.splitlines()
        if any(re.search(rf"typed\.py:{n}:", line) for n in wrong)
    ]
    assert not wrong, f"{name} {version} at {wrong}\n" + "\n".join(told)
    assert not re.search(r"\.pyi:\d+.* error", ran.stdout), ran.stdout


def test_stubs_are_true_at_run_time(tmp_path):
    """stubtest.txt has the exceptions and their reasons."""
    if not is_of(installed("mypy"), MARKED["mypy"]):
        pytest.skip(f"the exceptions are those of mypy {MARKED['mypy']}")
    settings = tmp_path / "mypy.ini"
    settings.write_text(
        "[mypy]\nignore_errors = True\nignore_missing_imports = True\n"
    )
    ran = run(
        "mypy.stubtest",
        [
            *("tworoutine", "--concise", "--ignore-missing-stub"),
            *("--allowlist", "stubtest.txt", "--ignore-unused-allowlist"),
            *("--mypy-config-file", str(settings)),
        ],
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_the_page_has_the_releases_that_are_marked():
    page = HERE.parents[1] / "docs" / "typing.md"
    if not page.exists():
        pytest.skip("docs/ is not here")
    text = " ".join(page.read_text().split())
    for name, release in MARKED.items():
        assert f"{PACKAGE[name]} {release}" in text, name
