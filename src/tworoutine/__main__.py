"""``python -m tworoutine``: what bug reports should tell; and a prompt."""

import argparse
import asyncio
import importlib.metadata
import os
import platform
import sys
import sysconfig

import tworoutine

# Loops and hosts whose releases matter, if they are installed.
OTHERS = [
    "uvloop",
    "trio",
    "anyio",
    "curio",
    "tornado",
    "twisted",
    "gevent",
    "qasync",
    "greenback",
    "nest_asyncio",
    "asgiref",
    "sqlalchemy",
    "ipython",
    "ipykernel",
]


def release(name):
    """The release of what is installed by that name, or None."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def loop_name():
    """The loop that asyncio makes here, and so the one of calls without."""
    loop = asyncio.new_event_loop()
    loop.close()
    return f"{type(loop).__module__}.{type(loop).__qualname__}"


def python_name():
    kinds = []
    if hasattr(sys, "gettotalrefcount"):
        kinds.append("debug build")
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        kinds.append("free-threaded")
    name = f"{platform.python_implementation()} {platform.python_version()}"
    return ", ".join([name, *kinds, platform.python_compiler()])


def try_call(in_loop):
    """What comes of a call that waits: "works", or the error."""
    nap = tworoutine.tworoutine(asyncio.sleep)

    async def main():
        return nap(0, "works")

    try:
        return asyncio.run(main()) if in_loop else nap(0, "works")
    except Exception as exc:
        return f"{type(exc).__name__}: {exc}"


def report():
    """[(what, its value), ...]"""
    found = [(name, release(name)) for name in OTHERS]
    others = [f"{name} {number}" for name, number in found if number]
    return [
        ("tworoutine", tworoutine.__version__),
        ("core", os.path.basename(tworoutine._core.__file__)),
        ("Python", python_name()),
        ("platform", platform.platform()),
        ("greenlet", release("greenlet")),
        ("loop", loop_name()),
        ("why_no_handoff", tworoutine.why_no_handoff),
        ("call without a loop", try_call(in_loop=False)),
        ("call in a task", try_call(in_loop=True)),
        ("also installed", ", ".join(others) or "nothing of note"),
    ]


def read_arguments(args=None):
    parser = argparse.ArgumentParser(
        prog="python -m tworoutine",
        description="Without a command: print what a bug report needs, that "
        "is versions, the loop, and whether calls work.",
    )
    commands = parser.add_subparsers(dest="command", metavar="command")
    repl = commands.add_parser(
        "repl",
        help="a prompt at which f(x) and await (~f)(x) work, and background "
        "tasks go on while one types",
        description="A prompt at which f(x) and await (~f)(x) work, and "
        "background tasks go on while one types. Each line runs in a task of "
        "one loop. What is piped in is run as one program.",
    )
    repl.add_argument(
        "-q", dest="quiet", action="store_true", help="print no banner"
    )
    return parser.parse_args(args)


def main():
    arguments = read_arguments()
    if arguments.command == "repl":
        from tworoutine import _repl

        sys.exit(_repl.main(quiet=arguments.quiet))
    for what, value in report():
        print(f"{what}: {value}")


if __name__ == "__main__":
    main()
