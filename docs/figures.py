"""Draw the figures of these pages: docs/figures/*.svg.

    python docs/figures.py

The plots are of the tables in bench/RESULTS.md, as they stand there: columns
are found by their titles, rows by theirs, and what a table has not is left
out.  `make docs` runs this.
"""

import math
import pathlib
import re
import sys

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "examples"))

from chart import (  # noqa: E402
    BLACK,
    BLUE,
    GREEN,
    GREY,
    LIGHT,
    ORANGE,
    RED,
    Drawing,
)

RESULTS = HERE.parent / "bench" / "RESULTS.md"
FIGURES = HERE / "figures"

# --- what RESULTS.md says ---------------------------------------------------

NUMBER = re.compile(r"^~?(\d[\d,]*(?:\.\d+)?)(?:\s|$|\()")


def tables(text):
    """Each table of a page in Markdown: {title of a row: {column: cell}}."""
    for block in re.findall(r"(?:^\|.*\n)+", text + "\n", re.M):
        rows = [
            line.strip().strip("|").split("|") for line in block.splitlines()
        ]
        rules = {cell.strip() for cell in rows[1]} if len(rows) > 2 else {"x"}
        if any(set(cell) - set("-: ") for cell in rules):
            continue
        columns = [cell.strip() for cell in rows[0][1:]]
        group, table = "", {}
        for title, *cells in rows[2:]:
            # "a step: idle", and then "  in use" of the same.
            name = title.strip()
            if title.startswith("   "):
                name = f"{group}: {name}"
            else:
                group = name.partition(":")[0]
            cells = [cell.strip() for cell in cells]
            table[name] = dict(zip(columns, cells, strict=False))
        yield table


def value(cell):
    """The number with which a cell begins; or None."""
    match = NUMBER.match(cell or "")
    return float(match[1].replace(",", "")) if match else None


def rows_like(pattern):
    """(title, cells) of the rows whose titles match, of the first table."""
    rows = {}
    if RESULTS.exists():
        for table in tables(RESULTS.read_text()):
            rows = table | rows
    for title, cells in rows.items():
        if re.search(pattern, title):
            yield title, cells


# --- plots ------------------------------------------------------------------

COLOURS = {"tworoutine": BLUE, "nest_asyncio": RED, "greenback": ORANGE}
WIDTH, LEFT, RIGHT = 480, 24, 56
BAR, GAP = 14, 30


def bars(pattern, path, title):
    """A row of bars for each row of the tables: ratios, on a log axis."""
    rows = [
        (name, {who: cells.get(who) for who in COLOURS})
        for name, cells in rows_like(pattern)
        if any(value(cells.get(who)) for who in COLOURS)
    ]
    if not rows:
        return
    most = max(value(c) or 0 for _, cells in rows for c in cells.values())
    least = min(value(c) or 1 for _, cells in rows for c in cells.values())
    low = min(0.5, least / 1.2)
    high = max(2.0, most * 1.3)

    def x(ratio):
        share = math.log(ratio / low) / math.log(high / low)
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    block = len(COLOURS) * BAR + GAP
    top = 84
    bottom = top + len(rows) * block
    drawing = Drawing(WIDTH, bottom + 44)
    drawing.text(16, 24, title, size=16, font_weight="bold")
    for n, (who, colour) in enumerate(COLOURS.items()):
        drawing.rect(LEFT + 140 * n, 38, 12, 12, fill=colour)
        drawing.text(LEFT + 140 * n + 18, 48.5, who)
    for tick in (0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500):
        if low <= tick <= high:
            strong = tick == 1
            drawing.line(
                x(tick),
                top - 20,
                x(tick),
                bottom,
                colour=BLACK if strong else LIGHT,
                width=1.5 if strong else 1,
            )
            label = "as asyncio" if strong else f"{tick:g}x"
            drawing.text(
                x(tick),
                bottom + 16,
                label,
                size=12,
                colour=GREY,
                anchor="middle",
            )
    for n, (name, cells) in enumerate(rows):
        y = top + n * block
        drawing.rect(0, y - 18, WIDTH, 18, fill="white")
        drawing.text(16, y - 4, name)
        for k, (who, colour) in enumerate(COLOURS.items()):
            ratio = value(cells[who])
            begin = y + k * BAR
            if ratio:
                left, right = sorted((x(1), x(ratio)))
                width = max(right - left, 2.0)
                drawing.rect(left, begin + 1, width, BAR - 2.0, fill=colour)
                label, place = f"{ratio:g}x", max(right, x(1)) + 5
            else:
                label, place = cells[who] or "-", x(1) + 5
                label = "cannot" if label == "-" else label
            drawing.text(place, begin + 11, label, size=12, colour=colour)
    drawing.text(
        LEFT,
        bottom + 34,
        "time, as a multiple; the further left, the faster",
        size=12,
        colour=GREY,
    )
    drawing.save(path)


AT_ONCE = {"await": BLACK, "create_task": GREEN, **COLOURS}
PANELS = (  # the rows, by their group 1 at how many; what one of these takes
    (r"^(\d[\d,]*) blocked at once$", "time of one call", "us"),
    (
        r"^memory of a blocked call: one of (\d[\d,]*)$",
        "memory of one call",
        "KiB",
    ),
)
HIGH = 210  # of a panel


def taken(cells, who):
    """What a cell says, in the unit of its row; None: no number."""
    base = cells.get("1 is", "")
    number = value(base.partition(", ")[2])
    if who == base.partition(",")[0] or number is None:
        return number
    ratio = value(cells.get(who))
    if ratio is None or base.endswith("*"):
        return ratio
    return ratio * number


def at_once(pattern):
    """{who: {how many at once: what each takes, or how that failed}}."""
    curves = {who: {} for who in AT_ONCE}
    for title, cells in rows_like(pattern):
        count = int(re.search(pattern, title)[1].replace(",", ""))
        for who, curve in curves.items():
            figure = taken(cells, who) or cells.get(who, "-")
            if figure != "-":
                curve[count] = figure
    return {who: curve for who, curve in curves.items() if curve}


def blocked(path):
    """Calls that wait at once, against time and against memory."""
    panels = [(at_once(pattern), *says) for pattern, *says in PANELS]
    if not all(curves for curves, *_ in panels):
        return
    top = 84
    bottom = top + len(panels) * (HIGH + 64)
    drawing = Drawing(WIDTH, bottom + 14)
    drawing.text(
        16, 24, "Calls that wait at once", size=16, font_weight="bold"
    )
    for n, (who, colour) in enumerate(AT_ONCE.items()):
        x, y = LEFT + 140 * (n % 3), 38 + 20 * (n // 3)
        drawing.rect(x, y, 12, 12, fill=colour)
        drawing.text(x + 18, y + 10.5, who)
    for n, (curves, title, unit) in enumerate(panels):
        y = top + n * (HIGH + 64)
        drawing.text(16, y + 14, f"{title}, {unit}")
        panel(drawing, y + 24, curves)
    drawing.text(
        LEFT,
        bottom,
        "how many wait at once; all axes are logarithmic",
        size=12,
        colour=GREY,
    )
    drawing.save(path)


def panel(drawing, top, curves):
    """Curves over how many are at once; both axes are logarithmic."""
    counts = sorted({count for curve in curves.values() for count in curve})
    figures = [
        figure
        for curve in curves.values()
        for figure in curve.values()
        if not isinstance(figure, str)
    ]
    low, high = min(figures) / 1.2, max(figures) * 1.2
    bottom, left, right = top + HIGH, 52.0, WIDTH - 36.0

    def x(count):
        decades = math.log(max(counts) / min(counts)) or 1
        share = math.log(count / min(counts)) / decades
        return left + 12 + share * (right - left - 24)

    def y(figure):
        share = math.log(figure / low) / math.log(high / low)
        return bottom - share * (bottom - top)

    for tick in (0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000):
        if low <= tick <= high:
            drawing.line(left, y(tick), right, y(tick), colour=LIGHT)
            drawing.text(
                left - 6,
                y(tick) + 4,
                f"{tick:g}",
                size=12,
                colour=GREY,
                anchor="end",
            )
    drawing.line(left, bottom, right, bottom)
    for count in counts:
        drawing.line(x(count), bottom, x(count), bottom + 4)
        drawing.text(
            x(count),
            bottom + 18,
            f"{count:,}",
            size=12,
            colour=GREY,
            anchor="middle",
        )
    for who, curve in reversed(curves.items()):
        draw_curve(drawing, sorted(curve.items()), AT_ONCE[who], x, y)


def draw_curve(drawing, curve, colour, x, y):
    """Dots with a line between them, up to where it failed."""
    points = []
    for count, figure in curve:
        if isinstance(figure, str):
            last = points[-1][1] if points else y(1)
            drawing.text(
                x(count),
                last + 4,
                figure,
                size=12,
                colour=colour,
                anchor="middle",
            )
            break
        points.append((x(count), y(figure)))
    drawing.path(points, colour=colour, width=2)
    for point in points:
        drawing.dot(*point, radius=3.5, colour=colour)


# --- drawings ---------------------------------------------------------------


def overtime(path):
    """Two tasks, and the loop, in four ways."""
    drawing = Drawing(560, 566)
    unit = 22.0  # pixels for one tick
    left = 100.0

    def bar(row, begin, end, colour):
        drawing.rect(
            left + begin * unit, row, (end - begin) * unit, 18, fill=colour
        )

    def waits(row, begin, end, colour):
        drawing.line(
            left + begin * unit,
            row + 9,
            left + end * unit,
            row + 9,
            colour=colour,
            width=1.5,
        )

    ways = [
        (
            "awaited, and called with tworoutine",
            "each goes on when its own answer is there",
            [(BLUE, [(0, 1), (8, 9)]), (GREEN, [(1, 2), (5, 6)])],
            [(2, 5), (6, 8), (9, 20)],
            [],
        ),
        (
            "nested (nest_asyncio), B takes longer",
            "A's call cannot return before B's, which was made inside of it",
            [(BLUE, [(0, 1), (16, 17)]), (GREEN, [(1, 2), (15, 16)])],
            [(2, 15), (17, 20)],
            [(5, 16)],
        ),
        (
            "blocking (a thread for each call, waited for)",
            "while a call waits, nobody else runs: not even B begins",
            [(BLUE, [(0, 1), (8, 9)]), (GREEN, [(9, 10), (13, 14)])],
            [(14, 20)],
            [],
        ),
    ]
    top = 20.0
    for title, says, tasks, loop, late in ways:
        drawing.text(16, top + 14, title, size=16, font_weight="bold")
        drawing.text(16, top + 34, says, colour=GREY)
        row = top + 50
        for name, (colour, works) in zip("AB", tasks, strict=True):
            drawing.text(88, row + 14, f"task {name}", anchor="end")
            waits(row, works[0][1], works[-1][0], colour)
            for begin, end in late if name == "A" else []:
                drawing.line(
                    left + begin * unit,
                    row + 9,
                    left + end * unit,
                    row + 9,
                    colour=RED,
                    width=5,
                )
                drawing.text(
                    left + (begin + end) / 2 * unit,
                    row + 27,
                    "its answer is here, and it cannot go on",
                    size=12,
                    colour=RED,
                    anchor="middle",
                )
            for begin, end in works:
                bar(row, begin, end, colour)
            row += 32
        drawing.text(88, row + 14, "others", anchor="end")
        for begin, end in loop:
            bar(row, begin, end, LIGHT)
        top = row + 50
    drawing.arrow(left, top - 8, left + 20 * unit, top - 8, colour=GREY)
    drawing.text(left + 20 * unit, top + 8, "time", colour=GREY, anchor="end")
    drawing.height = int(top + 18)
    drawing.save(path)


OWN = ("event loop", "a task: tune(board)", "SciPy's minimiser", "f(x)")
# What is on the driver's stack, which of the two runs, and who switched.
MOMENTS = (
    ("1  f is called", (), "own", None),
    (
        "2  f waits: the loop goes on elsewhere",
        ("event loop", "other tasks"),
        "driver",
        1,
    ),
    ("3  the answer is there: f goes on", ("event loop",), "own", -1),
)


def stacks(path):
    """The stack of a task, and that of a driver, while a call waits."""
    width, high, gap = 170.0, 34.0, 70.0
    drawing = Drawing(442, 728)
    for n, (title, other, runs, switch) in enumerate(MOMENTS):
        bottom = 192.0 + n * 228
        drawing.text(16, bottom - 166, title, size=15, font_weight="bold")
        pile(drawing, 16, bottom, OWN, BLUE, "#dcebf7", runs == "own")
        x = 16 + width + gap
        pile(drawing, x, bottom, other, GREEN, "#dff0e2", runs == "driver")
        says = {"own": ("runs", "idle"), "driver": ("parked", "drives")}[runs]
        for place, word in zip((16, x), says, strict=True):
            if place == 16 or other:
                drawing.text(
                    place + width / 2,
                    bottom + 16,
                    word,
                    colour=GREY,
                    anchor="middle",
                )
        if switch:
            middle, y = 16 + width + gap / 2, bottom - high / 2
            ends = (middle - 26 * switch, middle + 26 * switch)
            drawing.arrow(ends[0], y, ends[1], y, colour=RED)
            drawing.text(
                middle, y - 9, "switch", size=13, colour=RED, anchor="middle"
            )
    drawing.text(
        16,
        706,
        "Two C stacks of one thread; each grows upwards. One of them runs.",
        size=13,
        colour=GREY,
    )
    drawing.save(path)


def pile(drawing, x, bottom, names, colour, fill, active):
    """A stack, which grows upwards from bottom."""
    for k, name in enumerate(names):
        y = bottom - (k + 1) * 34.0
        drawing.rect(
            x,
            y,
            170,
            31,
            fill=fill if active else "#f4f4f4",
            stroke=colour if active else GREY,
            round_=3,
        )
        ink = BLACK if active else GREY
        drawing.text(x + 85, y + 20, name, colour=ink, anchor="middle")


def main():
    FIGURES.mkdir(exist_ok=True)
    overtime(FIGURES / "overtime.svg")
    stacks(FIGURES / "stacks.svg")
    bars(
        r"^(no loop|in a loop|a new task)",
        FIGURES / "calls.svg",
        "A call, against the same in asyncio",
    )
    blocked(FIGURES / "blocked.svg")
    bars(
        r"^a bystander's",
        FIGURES / "bystanders.svg",
        "A task that makes no call, against the same in asyncio alone",
    )


if __name__ == "__main__":
    main()
