"""Build the C core; everything else is in pyproject.toml.

Environment:
    TWR_GREENLET_INCLUDE  folder of greenlet.h, for cross builds
    TWR_STRICT            1: warnings are errors (developers and CI)
    TWR_SANITIZE          1: AddressSanitizer and UBSan
    TWR_ASSERT            1: with assertions (TWR_SANITIZE and TWR_HARD too)
    TWR_HARD              1: calls park wherever they may: core/base/hard.h
"""

import os
import re
import tomllib
from glob import glob
from importlib.util import find_spec
from pathlib import Path

from setuptools import Extension, setup

HERE = Path(__file__).parent


def readme(text, source):
    """README.md as PyPI shows it, where links in the repository lead nowhere.

    source: the address of the repository, by which they are completed; None
    if there is no public one, and then they become plain text.
    """

    def link(match):
        mark, words, target = match.groups()
        if re.match(r"\w+:|#", target):
            return match[0]
        if source is None:
            return "" if mark else words
        kind = "raw" if mark else "blob"
        return f"{mark}[{words}]({source.rstrip('/')}/{kind}/main/{target})"

    return re.sub(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)", link, text)


project = tomllib.loads((HERE / "pyproject.toml").read_text())["project"]
long_description = readme(
    (HERE / "README.md").read_text(), project.get("urls", {}).get("Source")
)

include = os.environ.get("TWR_GREENLET_INCLUDE")
if not include:
    include = find_spec("greenlet").submodule_search_locations[0]

# -fexceptions: stack/pool.c runs code when a thread's stack is unwound.
cflags = ["-std=c11", "-fvisibility=hidden", "-fexceptions"]
ldflags = []
if os.environ.get("TWR_STRICT"):
    cflags += ["-Wall", "-Wextra", "-Wshadow", "-Wstrict-prototypes"]
    cflags += ["-Wcast-function-type", "-Wvla", "-Werror"]
if os.environ.get("TWR_SANITIZE"):
    sanitize = ["-fsanitize=address,undefined", "-fno-omit-frame-pointer"]
    cflags += [*sanitize, "-O1", "-g", "-fno-sanitize-recover=undefined"]
    # greenlet copies whole pieces of stacks: their red zones look like errors.
    cflags += ["--param=asan-stack=0"]
    ldflags += sanitize

if os.environ.get("TWR_HARD"):
    cflags += ["-DTWR_HARD"]
if any(map(os.environ.get, ("TWR_ASSERT", "TWR_SANITIZE", "TWR_HARD"))):
    cflags += ["-UNDEBUG"]

if __name__ == "__main__":
    setup(
        long_description=long_description,
        long_description_content_type="text/markdown",
        ext_modules=[
            Extension(
                "tworoutine._core",
                sources=sorted(glob("core/**/*.c", recursive=True)),
                depends=sorted(glob("core/**/*.h", recursive=True)),
                include_dirs=["core", include],
                extra_compile_args=cflags
                if os.name == "posix"
                else ["/std:c11"],
                extra_link_args=ldflags,
            )
        ],
    )
