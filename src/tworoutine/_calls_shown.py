"""``tworoutine.print_calls()``: the calls that wait, to be read."""

import html
import os
import sys

from tworoutine._calls import calls


def print_calls(file=None):
    """Print every synchronous call of this process that waits.

    May be called from a signal handler and from any thread.

    Args:
        file: where to print, sys.stderr if not given; in a notebook, where
            none is given, a table is shown.
    """
    waiting = calls()
    if file is None and _show_table(waiting):
        return
    file = sys.stderr if file is None else file
    text = text_of(waiting)
    try:
        file.write(text)
        file.flush()
    except RuntimeError:  # a signal has come in the middle of a write
        os.write(file.fileno(), text.encode(errors="backslashreplace"))


def text_of(waiting):
    """What print_calls() prints: innermost calls with their stacks."""
    outer = {id(call.outer) for call in waiting}
    parts = [_count(waiting)]
    for call in waiting:
        if id(call) not in outer:
            parts.append(_block(call))
    return "\n".join(parts)


def _count(waiting):
    if not waiting:
        return "no synchronous call waits\n"
    n = len(waiting)
    return f"{n} synchronous call{'s wait' if n > 1 else ' waits'}:\n"


def _chain(call):
    """The call and those below which it was made, outermost first."""
    chain = []
    while call is not None:
        chain.append(call)
        call = call.outer
    return chain[::-1]


def _block(call):
    lines = []
    for depth, each in enumerate(_chain(call)):
        indent = "    " * depth
        where = "" if each.caller is None else f", {_where(each.caller)}"
        lines.append(f"{indent}{each.name}(): {_state(each)}{where}")
        if each.holds_up is not None:
            lines.append(f"{indent}    holds up {each.holds_up}")
    lines.append(f"  in {_who(call)}")
    if call.waits_for is not None:
        lines.append(f"  for {_short(call.waits_for)}")
    for line in call.stack:
        lines.append(
            f'  File "{line.filename}", line {line.lineno}, in {line.name}'
        )
        if line.line:
            lines.append(f"    {line.line}")
    return "\n".join(lines) + "\n"


def _state(call):
    if call.age is None:
        return "its code runs"
    return f"waits {call.age:.1f} s"


def _where(line):
    return f"called in {line.name}(), {line.filename}:{line.lineno}"


def _who(call):
    thread = f"thread {call.thread!r}"
    if call.kind in ("task", "portal") and call.task is not None:
        return f"task {_name_of_task(call.task)!r} of {thread}"
    return f"{thread}, {_KIND[call.kind]}"


_KIND = {
    "task": "in a task",
    "callback": "in a callback of its loop",
    "no loop": "where no loop runs",
    "portal": "below a portal",
    "greenlet": "in a greenlet",
}


def _name_of_task(task):
    return task.get_name() if hasattr(task, "get_name") else repr(task)


def _short(value):
    try:
        text = repr(value)
    except Exception:  # of anybody's class
        text = f"<{type(value).__name__}, which has no repr>"
    return text if len(text) <= 200 else f"{text[:197]}..."


# --- in a notebook ----------------------------------------------------------


def _show_table(waiting):
    """Show a table, if this is a notebook: whether it is."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    if shell is None or not hasattr(shell, "kernel"):
        return False
    ipython.display.display(
        {"text/html": table_of(waiting), "text/plain": text_of(waiting)},
        raw=True,
    )
    return True


def table_of(waiting):
    """The same as HTML: a row for each call, below which its stack unfolds."""
    if not waiting:
        return f"<p>{_count(waiting)}</p>"
    head = "".join(f"<th{_LEFT}>{each}</th>" for each in _HEAD)
    rows = "".join(_row(call) for call in waiting)
    return f"<table><tr>{head}</tr>{rows}</table>"


# A notebook would set them as it does numbers.
_LEFT = ' style="text-align: left; vertical-align: top"'
_HEAD = ("call", "waits", "called", "in", "for, and the stack")


def _row(call):
    depth = len(_chain(call)) - 1
    stack = "\n".join(
        f"{line.filename}:{line.lineno}, {line.name}\n    {line.line}"
        for line in call.stack
    )
    caller = call.caller
    called = "" if caller is None else f"{caller.name}, line {caller.lineno}"
    cells = [
        html.escape("\u2003" * depth + f"{call.name}()"),
        html.escape("runs" if call.age is None else f"{call.age:.1f} s"),
        html.escape(called),
        html.escape(_who(call)),
        f"<details><summary>{html.escape(_short(call.waits_for))}</summary>"
        f"<pre>{html.escape(stack)}</pre></details>",
    ]
    row = "".join(f"<td{_LEFT}>{each}</td>" for each in cells)
    return f"<tr>{row}</tr>"
