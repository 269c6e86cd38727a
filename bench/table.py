"""The table: text for a terminal, or Markdown."""

import platform
from importlib import metadata

COLUMNS = (
    "create_task",
    "tworoutine",
    "nest_asyncio",
    "greenback",
    "uvloop",
    "uvloop, portal",
)
PACKAGES = ("tworoutine", "greenlet", "nest_asyncio", "greenback", "uvloop")


def number(value):
    """Two significant digits, or an integer."""
    if value >= 9.95:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 0.995 else f"{value:.2f}"


def cell(result):
    """Median (least-most); `result` may be a failure."""
    if result is None or isinstance(result, str):
        return result or "-"
    middle, least, most = map(number, result)
    return middle if least == most else f"{middle} ({least}-{most})"


def baseline(cost, middle):
    """What 1 is in this row."""
    if isinstance(middle, str):
        return f"{cost.ways[0]}: {middle}"
    unit = cost.unit if cost.ratio else f"{cost.unit} *"
    return f"{cost.ways[0]}, {number(middle)} {unit}"


def version(package):
    try:
        return f"{package} {metadata.version(package)}"
    except metadata.PackageNotFoundError:
        return package


def print_table(rows, markdown, rounds, seconds):
    measured = {name for _, _, results in rows for name in results}
    columns = [name for name in COLUMNS if name in measured]
    lines = [("", "1 is", *columns)]
    for cost, middle, results in rows:
        cells = [cell(results.get(name)) for name in columns]
        lines.append((cost.title, baseline(cost, middle), *cells))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    if markdown:
        lines.insert(1, ["-" * width for width in widths])
    edge, gap = ("| ", " | ") if markdown else ("", "  ")
    for line in lines:
        row = gap.join(map(str.ljust, line, widths))
        print((edge + row + edge[::-1]).rstrip())
    print()
    print(
        f"Median (least-most) of {rounds} rounds, {seconds:.0f} s in all;",
        "smaller is faster. Rows with * are figures, of one round.",
    )
    print(
        f"{platform.python_implementation()} {platform.python_version()},",
        f"{platform.system()} {platform.machine()};",
        ", ".join(map(version, PACKAGES)) + ".",
    )
