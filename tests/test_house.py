"""What the house promises of itself, checked without a compiler.

clang-format puts a function's name and its braces at column 0, so that a few
regular expressions see what a compiler would.  Checked here are

    floors      core/floors.txt lists the rooms, bottom first: a file includes,
                calls and names only what stands above its own line there
    contracts   each public function has a prototype with a comment of its own
    Switches.   stands in the contract of exactly those functions during which
                other code runs on this thread
    Quiet.      ... of functions that run nobody's code: no Python, no switch
    doors       greenlet.h, its raw switch, the Python version, asyncio's
                private names: each in one place
    sizes       40 lines a function, 400 a file

and of the Python files:

    circles     none of them imports another in a circle, not even in functions
    private     asyncio's private names are used in three of them
    cold        _cold.py has each function that the core looks for there, and
                passes on no others

What fails today is listed in house_exceptions.txt.  The list only shrinks: a
line that is no longer needed has to go, too.
"""

import ast
import asyncio
import functools
import graphlib
import re
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CORE = ROOT / "core"
PYTHON = ROOT / "src" / "tworoutine"
EXCEPTIONS = Path(__file__).with_name("house_exceptions.txt")

MAX_FUNCTION, MAX_FILE = 40, 400

# A greenlet is switched to, or a step of somebody's code is made.
SWITCH = re.compile(
    r"\bPyGreenlet_(?:Switch|Throw)\(|\bPyIter_Send\(|names\._run\b"
    r"|CallOneArg\(throw,|names\.run_until_complete|\"await_\""
    r"|\(backend, \"wait\"|->tp_init\("
)
DEFINITION = re.compile(r"^(\w+)\(([^;{]*?)\)\n\{\n(.*?)^\}\n", re.M | re.S)
CALL = re.compile(r"(?<![\w>.])(\w+)\b(\()?")

# What the C API offers that runs nobody's code, and our own macros.
QUIET_NAMES = """
if for while switch return sizeof assert offsetof defined
Py_INCREF Py_NewRef Py_XNewRef Py_XINCREF Py_IS_TYPE Py_TYPE Py_VISIT
Py_UNREACHABLE TWR_LIST_ADD TWR_LIST_REMOVE
PyTuple_GET_ITEM PyTuple_GET_SIZE PyTuple_CheckExact PyTuple_Check
PyList_GET_ITEM PyList_GET_SIZE PyList_CheckExact PyList_Check
PyDict_GET_SIZE PyDict_Check PyCoro_CheckExact PyGen_CheckExact
PyAsyncGen_CheckExact PyUnicode_Check PyMethod_Check PyFunction_Check
PyMethod_GET_SELF PyCFunction_Check PyCFunction_GET_SELF
PyThreadState_Get PyErr_Occurred PyErr_GetRaisedException
PyErr_SetRaisedException PyGreenlet_ACTIVE PyGreenlet_STARTED
PyType_GetModuleState PyModule_GetState Py_IsFinalizing _Py_IsFinalizing
PyObject_TypeCheck PyThread_get_thread_ident Py_SIZE
clock_gettime GetTickCount64
"""
QUIET_API = frozenset(QUIET_NAMES.split())


def without(text, strings=True):
    """text with comments, and what stands in strings, as blanks."""

    def blank(match):
        if match[0][0] == "/" or strings:
            return re.sub(r"[^\n]", " ", match[0])
        return match[0]

    return re.sub(r"/\*.*?\*/|\"(?:\\.|[^\"\\\n])*\"", blank, text, flags=re.S)


def comment_above(text, at):
    match = re.search(r"/\*(?:(?!\*/).)*\*/\n\Z", text[:at], re.S)
    return match[0] if match else ""


class Function:
    def __init__(self, file, match, blanked, text):
        self.file, self.name = file, match[1]
        begin = blanked.rfind("\n", 0, match.start() - 1) + 1
        self.static = blanked.startswith("static", begin)
        self.body = match[3]
        self.text = without(text, strings=False)[match.start(3) : match.end(3)]
        self.lines = match[0].count("\n")
        self.contract = comment_above(text, begin)

    def __repr__(self):
        return f"{self.file}: {self.name}"


class House:
    """The core, read."""

    def __init__(self):
        self.text = {
            p.relative_to(CORE).as_posix(): p.read_text()
            for p in sorted(CORE.rglob("*.[ch]"))
        }
        self.floors = (CORE / "floors.txt").read_text().split()
        self.functions = [
            Function(file, match, blanked, text)
            for file, text in self.text.items()
            for blanked in [without(text)]
            for match in DEFINITION.finditer(blanked)
        ]
        self.own = {(f.file, f.name): f for f in self.functions}
        self.public = {
            f.name: f
            for f in self.functions
            if not f.static or f.file.endswith(".h")
        }
        self.prototypes = self.find_prototypes()
        self.switching_members = self.members_that("Switches.")
        self.calls, self.uses = defaultdict(set), defaultdict(set)
        for function in self.functions:
            for name, called in CALL.findall(function.body):
                other = self.own.get((function.file, name))
                other = other or self.public.get(name)
                if other and other is not function:
                    self.uses[function].add(other)
                    if called:
                        self.calls[function].add(other)

    def room(self, file):
        return re.sub(r"\.[ch]$", "", file)

    def height(self, file):
        return self.floors.index(self.room(file))

    def find_prototypes(self):
        """name -> the contracts above its prototypes."""
        found = defaultdict(list)
        pattern = re.compile(
            r"^(?!static|typedef|extern|struct|return)[A-Za-z][\w ]*[ \*]+"
            r"(\w+)\([^;{}/]*\);",
            re.M,
        )
        for file, text in self.text.items():
            if file.endswith(".h"):
                for match in pattern.finditer(without(text)):
                    found[match[1]].append(comment_above(text, match.start()))
        return found

    def members_that(self, word):
        """The function pointers of structs whose comments have the word."""
        member = re.compile(
            r"(/\*(?:(?!\*/).)*\*/)\s*[\w ]+\**\(\*(\w+)\)", re.S
        )
        return {
            match[2]
            for text in self.text.values()
            for match in member.finditer(text)
            if word in match[1]
        }

    def contract(self, function):
        if function.static:
            return function.contract
        return " ".join(self.prototypes.get(function.name, []))

    def marked(self, word):
        return {
            f
            for f in self.functions
            if re.search(rf"\b{word}\.", self.contract(f))
        }

    def switching(self):
        """The functions that switch, or call one that does."""
        members = "|".join(sorted(self.switching_members)) or "$^"
        through = re.compile(rf"(?:->|\.)(?:{members})\(")
        todo = [
            f
            for f in self.functions
            if SWITCH.search(f.text) or through.search(f.body)
        ]
        found = set(todo)
        callers = defaultdict(set)
        for function, called in self.calls.items():
            for other in called:
                callers[other].add(function)
        while todo:
            for caller in callers[todo.pop()] - found:
                found.add(caller)
                todo.append(caller)
        return found


@functools.cache
def house():
    return House()


@functools.cache
def exceptions():
    listed = defaultdict(set)
    if EXCEPTIONS.exists():
        for line in EXCEPTIONS.read_text().splitlines():
            if line and not line.startswith("#"):
                check, _, what = line.partition(" ")
                listed[check].add(what)
    return listed


def compare(check, found, rule):
    """found is what is listed for check, no more and no less."""
    found, listed = {str(item) for item in found}, exceptions()[check]
    new = "\n".join(sorted(found - listed))
    assert not new, f"{rule}:\n{new}"
    gone = "\n".join(f"{check} {item}" for item in sorted(listed - found))
    assert not gone, f"no longer needed in {EXCEPTIONS.name}:\n{gone}"


def test_every_file_has_its_line_in_the_floors():
    rooms = {house().room(file) for file in house().text}
    assert sorted(rooms) == sorted(house().floors)


def rooms_of_the_map():
    """The rooms that twr.h names, in its order; a name with a star: all."""
    text = house().text["twr.h"]
    text = text[text.index(" *     module") : text.index(" * A new library")]
    folder, found = "", []
    for line in text.splitlines():
        names = re.match(r" \*( +)([\w/*]+(?: [\w/*]+)*)(?:  |$)", line)
        if names is None or len(names[1]) > 9:  # more of the line before
            continue
        if len(names[1]) == 5:
            folder = ""
        for name in names[2].split():
            if name.endswith("/"):
                folder = name
                continue
            pattern = re.escape(folder + name).replace(r"\*", r"\w*")
            rooms = [r for r in house().floors if re.fullmatch(pattern, r)]
            found += rooms[::-1] or [folder + name + ", which is not there"]
    return found


def test_the_map_names_every_file_from_top_to_bottom():
    there = [room for room in house().floors[::-1] if room != "twr"]
    assert rooms_of_the_map() == there


def test_files_include_only_what_stands_below():
    up = []
    for file, text in house().text.items():
        for name in re.findall(r'^#include "([^"]+)"', text, re.M):
            other = name if name in house().text else None
            if other is None:
                up.append(f"{file} > {name}, which is not there")
            elif house().height(other) > house().height(file):
                up.append(f"{file} > {name}")
    compare("include", up, "a file includes what stands above it")


def test_functions_use_only_what_stands_below():
    up = {
        f"{f.file} > {other.file}: {other.name}"
        for f, others in house().uses.items()
        for other in others
        if house().height(other.file) > house().height(f.file)
    }
    compare("up", up, "a function uses one that stands above its file")


def test_c_files_declare_nothing_of_others():
    declared = [
        f"{file}: {line}"
        for file, text in house().text.items()
        if file.endswith(".c")
        for line in re.findall(r"^extern .*", without(text), re.M)
    ]
    compare("extern", declared, "declare it in the header of its file")


def test_each_public_function_has_one_contract():
    bad = [
        f
        for f in house().functions
        if not f.static
        and f.name != "PyInit__core"
        and [bool(c) for c in house().prototypes.get(f.name, [])] != [True]
    ]
    compare("contract", bad, "one prototype, with a comment of its own")


def test_functions_that_switch_say_so():
    bad = house().switching() - house().marked("Switches")
    compare("switches", bad, 'these switch: "Switches." in their contract')


def test_functions_that_say_so_switch():
    bad = house().marked("Switches") - house().switching()
    compare("in-vain", bad, "these say Switches. and do not")


def test_quiet_functions_run_nobodys_code():
    quiet = house().marked("Quiet")
    bad = []
    for function in quiet:
        for name in re.findall(r"(?<![\w>.])(\w+)\(", function.body):
            other = house().own.get((function.file, name))
            other = other or house().public.get(name)
            if other not in quiet and name not in QUIET_API:
                bad.append(f"{function} calls {name}")
        if re.search(r"(?:->|\.)\w+\(", function.body):
            bad.append(f"{function} calls through a pointer")
    compare("quiet", bad, "these are Quiet. and call what may run any code")


def users_of(pattern, allowed, texts=None):
    return [
        file
        for file, text in (texts or house().text).items()
        if not re.fullmatch(allowed, file)
        and re.search(pattern, without(text, strings=False))
    ]


def test_one_file_includes_greenlet():
    bad = users_of(
        r"#include <greenlet\.h>|\bPyGreenlet_", r"stack/greenlet\.c"
    )
    compare("greenlet", bad, "greenlet.h has one door")


def test_one_file_tests_the_version_of_python():
    bad = users_of(r"\bPY_VERSION_HEX\b", r"base/compat\.h")
    compare("version", bad, "compat.h alone tests the Python version")


# Who calls these has to know that a switch may be meant for somebody else,
# which stack/switch.c alone does.  others.c: a call inside SQLAlchemy's
# greenlet_spawn hands its awaitable to the parent, as SQLAlchemy's own
# await_only does; what comes back is for that greenlet, whoever sends it.
RAW_SWITCH = r"\btwr_greenlet_(?:switch|throw)\b"
MAY_SWITCH_RAW = r"stack/\w+\.[ch]|backends/others\.c"


def test_few_files_switch_past_the_token():
    bad = users_of(RAW_SWITCH, MAY_SWITCH_RAW)
    compare("raw-switch", bad, "switch by twr_switch_to(), of stack/stacks.h")
    for name in MAY_SWITCH_RAW.split("|"):
        assert users_of(RAW_SWITCH, rf"(?!{name}).*"), f"not needed: {name}"


@pytest.mark.parametrize(
    "text",
    [
        "    x = twr_greenlet_switch(to, NULL);\n",
        "static const Jobs jobs = {twr_greenlet_throw};\n",
    ],
)
def test_the_lint_sees_a_raw_switch(text):
    files = {"engine/new.c": text, "stack/new.c": text}
    assert users_of(RAW_SWITCH, MAY_SWITCH_RAW, files) == ["engine/new.c"]


# Words with one underscore in strings that are no names of asyncio's.
NOT_OF_ASYNCIO = {
    *("_core", "_cold", "_calls", "_homes"),  # files of tworoutine
    "_impl",  # a module of greenback
    "_signal",  # a module of Python
}


@functools.cache
def private_fields():
    """The fields of TwrState for what asyncio keeps private."""
    return {
        field
        for field, module, name in re.findall(
            r'X\((\w+), "([\w.]+)", (?:"(\w+)"|NULL)\)',
            house().text["base/state.h"],
        )
        if module == "_asyncio" or name.startswith("_")
    }


def private_in_c(text):
    """asyncio's private names in text, in functions or out of them."""
    text = without(text, strings=False)
    words = {
        word
        for string in re.findall(r'"(?:\\.|[^"\\\n])*"', text)
        for word in re.findall(r"(?<!\w)_(?!_)[A-Za-z]\w*", string)
    } - NOT_OF_ASYNCIO
    words.update(re.findall(r"\bnames\s*\.\s*(_(?!_)\w+)", text))
    # In tables that macros read, as those of base/state.h.
    words.update(re.findall(r"\bX\((_(?!_)\w+)\)", text))
    fields = "|".join(private_fields())
    words.update(re.findall(rf"->\s*({fields})\b", text))
    return words


def private_in_rooms(texts):
    """... in the rooms outside asyncio/.

    base/state.h is left out: all names are interned, and all imports made, in
    its tables, for one struct that stands below asyncio/.  Who takes them from
    there is seen.
    """
    return {
        f"{file}: {word}"
        for file, text in texts.items()
        if not file.startswith("asyncio/") and file != "base/state.h"
        for word in private_in_c(text)
    }


def test_one_folder_knows_the_private_names_of_asyncio():
    bad = private_in_rooms(house().text)
    compare("private", bad, "asyncio's private names belong in asyncio/")


@pytest.mark.parametrize(
    "text",
    [
        'f(void)\n{\n    g("_ready");\n}\n',
        'static PyMethodDef methods[] = {{"_run", run, METH_NOARGS, NULL}};\n',
        '#define LOOKS {"_callback", get, NULL, NULL, NULL}\n',
        'static const char *all = "_ready _scheduled";\n',
        'static const char *where = "asyncio.tasks._enter_task";\n',
        'static const char *kind = "_PyTask";\n',
        "#define READY(state) (state)->names._ready\n",
        "#define NAMES(X) X(_ready)\n",
        "#define LEAVE(state) CALL((state)->leave_task)\n",
        "f(void)\n{\n    return state->CTask;\n}\n",
    ],
)
def test_the_lint_sees_a_private_name(text):
    assert private_in_rooms({"engine/new.c": text})
    assert not private_in_rooms({"asyncio/new.c": text})


@pytest.mark.parametrize(
    "text",
    [
        "/* _run_once calls handles. */\n",
        '    .name = "tworoutine._core.Call",\n',
        "    x = state->names.__name__;\n",
        "    x = state->names.run_forever;\n",
        "    x = state->new_event_loop;\n",
        "    facts->run_once = _Py_IsFinalizing();\n",
    ],
)
def test_the_lint_leaves_other_names_alone(text):
    assert not private_in_rooms({"engine/new.c": text})


def test_functions_are_short():
    bad = [f for f in house().functions if f.lines > MAX_FUNCTION]
    compare("function", bad, f"over {MAX_FUNCTION} lines")


def test_files_are_short():
    bad = [
        file
        for file, text in house().text.items()
        if text.count("\n") > MAX_FILE
    ]
    compare("file", bad, f"over {MAX_FILE} lines")


def imported(tree):
    """(module, name, passed on) of all that is imported from tworoutine.

    passed on: "import name as name".
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, None, False
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            for alias in node.names:
                yield node.module, alias.name, alias.asname == alias.name


@functools.cache
def python_files():
    """Module -> its syntax tree."""
    return {
        f"tworoutine.{path.stem}".removesuffix(".__init__"): ast.parse(
            path.read_text()
        )
        for path in sorted(PYTHON.glob("*.py"))
    }


def test_python_files_import_each_other_in_no_circle():
    files = python_files()
    graph = {
        file: {
            name if name in files else module
            for module, symbol, _ in imported(tree)
            for name in [f"{module}.{symbol}"]
            if module in files or name in files
        }
        for file, tree in files.items()
    }
    assert "tworoutine._cold" in graph["tworoutine"]
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as exc:
        pytest.fail(" < ".join(exc.args[1]))


# The Python files that may use asyncio's private names: one gathers them, two
# put another selector into a loop, and so take its turns apart.
MAY_USE_PRIVATE = {
    "tworoutine._private",
    "tworoutine._gevent",
    "tworoutine.nested",
}


def is_private(name):
    return re.fullmatch(r"_[A-Za-z]\w*", name) is not None


def defined_in(tree):
    """The private names that are defined in a file: self._x is one."""
    names = set()
    for node in ast.walk(tree):
        if hasattr(node, "name"):
            names.add(node.name)
        elif hasattr(node, "ctx") and isinstance(node.ctx, ast.Store):
            own = isinstance(getattr(node, "value", None), ast.Name)
            if own and node.value.id in ("self", "cls"):
                names.add(node.attr)
            elif isinstance(node, ast.Name):
                names.add(node.id)
    return {name for name in names if name and is_private(name)}


def looked_for_in(tree):
    """The private names that a file looks for in others' objects."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            base = node.value
            if not (isinstance(base, ast.Name) and base.id in ("self", "cls")):
                yield node.attr
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield alias.name


@functools.cache
def private_of_asyncio():
    """(what the core uses of it, all of this Python's) private names.

    But not those of asyncio.__all__, which are there for other event loops.
    """
    core = set(re.findall(r"X\((_\w+)\)", house().text["base/state.h"]))
    names = set().union(
        *(
            defined_in(ast.parse(path.read_text()))
            for path in Path(asyncio.__file__).parent.glob("*.py")
        )
    )
    public = set(asyncio.__all__) | set(asyncio.events.__all__)
    core, names = core - public, names - public
    return {name for name in core if is_private(name)}, names


def private_in_python(files):
    """file: asyncio's private name, of files which may not use these.

    A name that tworoutine defines, too, is its own; but one that the core uses
    of asyncio is so only in the file that defines it.
    """
    core, names = private_of_asyncio()
    ours = set().union(*map(defined_in, python_files().values()))
    return {
        f"{file}: {name}"
        for file, tree in files.items()
        if file not in MAY_USE_PRIVATE
        for name in set(looked_for_in(tree))
        if name in core - defined_in(tree) or name in names - core - ours
    }


def test_few_python_files_use_the_private_names_of_asyncio():
    bad = private_in_python(python_files())
    compare("python-private", bad, "asyncio's private names: in _private.py")
    for file in MAY_USE_PRIVATE:
        as_other = {"tworoutine.new": python_files()[file]}
        assert private_in_python(as_other), f"not needed: {file}"


@pytest.mark.parametrize(
    "text",
    [
        "loop._ready.clear()",
        "x = getattr(task, '_fut_waiter', None)",
        "code = asyncio.Handle._run.__code__",
        "class Own:\n    def f(self):\n        self.loop._selector = None",
        "from asyncio.base_events import _run_until_complete_cb",
        "def f(task):\n    return task._log_traceback",
    ],
)
def test_the_lint_sees_a_private_name_in_python(text):
    tree = ast.parse(text)
    assert private_in_python({"tworoutine.new": tree})
    assert not private_in_python({"tworoutine._private": tree})


@pytest.mark.parametrize(
    "text",
    [
        "frame = sys._getframe()",
        "loop = asyncio._get_running_loop()",
        "from tworoutine._private import selector_of",
        "class Own:\n    def f(self, loop):\n        self._loop = loop",
        "run._wake()",
        "x = task.get_loop()",
    ],
)
def test_the_lint_leaves_other_names_in_python_alone(text):
    assert not private_in_python({"tworoutine.new": ast.parse(text)})


def test_the_cold_module_has_what_the_core_looks_for():
    table = re.search(
        r"#define TWR_COLD\(X\)((?:.*\\\n)+.*)", house().text["base/state.h"]
    )
    wanted = set(re.findall(r"X\((\w+)\)", table[1]))
    assert len(wanted) > 20
    tree = python_files()["tworoutine._cold"]
    passed_on = {name for _, name, again in imported(tree) if again}
    own = {node.name for node in tree.body if hasattr(node, "name")}
    assert wanted <= passed_on | own, wanted - passed_on - own
    assert passed_on <= wanted, passed_on - wanted


def test_the_lint_sees_the_core():
    """Against a lint that finds nothing since it reads nothing."""
    assert len(house().functions) > 400
    assert len(house().switching()) > 50
    assert len(house().prototypes) > 100
    names = {f.name for f in house().switching()}
    assert {"twr_await", "twr_drive"} <= names


if __name__ == "__main__":
    pytest.main([__file__, "-q"])
