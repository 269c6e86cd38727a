"""Run blocks of a page, one after the other, in one namespace.

    python docs_session.py NAME < blocks.json

blocks: a list of [kind, line, source].  A block of kind python is executed; a
block of kind pycon is a doctest.  NAME and line are for tracebacks.
"""

import doctest
import json
import linecache
import sys
import types


def execute(name, line, source, module):
    # As many empty lines as there are lines above: tracebacks name the page.
    text = "\n" * line + source
    filename = f"<{name}, line {line}>"
    lines = text.splitlines(keepends=True)
    linecache.cache[filename] = len(text), None, lines, filename
    exec(compile(text, filename, "exec"), module.__dict__)


def check(name, line, source, module):
    own = f"{name}, line {line}"
    test = doctest.DocTestParser().get_doctest(source, {}, own, name, line)
    test.globs = module.__dict__
    flags = doctest.ELLIPSIS | doctest.FAIL_FAST
    runner = doctest.DocTestRunner(optionflags=flags, verbose=False)
    runner.run(test, out=sys.stderr.write, clear_globs=False)
    if runner.failures:
        sys.exit(1)


def main():
    name = sys.argv[1]
    blocks = json.load(sys.stdin)
    # What is defined has to be found again, as by pickle.
    module = sys.modules["__main__"] = types.ModuleType("__main__")
    for kind, line, source in blocks:
        {"python": execute, "pycon": check}[kind](name, line, source, module)


if __name__ == "__main__":
    main()
