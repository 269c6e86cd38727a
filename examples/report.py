"""The report of the demo: a table, the failures and a picture."""

import math
from dataclasses import dataclass, field

from boards import FAULTY, HANGING
from chart import BLUE, GREEN, GREY, LIGHT, ORANGE, RED, Drawing
from plan import PATIENCE, Tuning

ROW = "{:22}{:>6}{:>8}{:>8}{:>8}{:>8}{:>7}{:>6}{:>6}"
TITLES = """\
                        time    poll  end of  end of threads memory  code
                     for all     gap  cancel  Ctrl-C                lines twice
"""
NOTES = """\
poll gap: the most by which a poll of the service came late
end of cancel, of Ctrl-C: until nothing of it was at work any more
code: what had to be written; functions for those who await, and once more
      for those who call, count as twice
threads: cannot be stopped, nor awaited; each board has a loop of its own
"""
COLOURS = {
    "one after another": GREY,
    "tune.map, at a prompt": BLUE,
    "tune.map": GREEN,
    "async by hand": ORANGE,
    "threads": RED,
}


@dataclass
class Way:
    """One way of tuning the array, just done.

    Times are in seconds, frequencies in MHz, memory in MiB; None for what was
    not measured.
    """

    name: str
    wall: float
    results: list  # a Tuning, or an exception or a str, for each board
    began: float = 0.0  # on the clock of the results
    gap: float | None = None  # the most by which a poll came late
    cancel: float | None = None  # until the last of it had ended
    interrupt: float | None = None  # until the process had ended
    threads: int | None = None
    memory: float | None = None
    lines: int | None = None
    twice: int | None = None  # functions that exist twice
    spans: list = field(default_factory=list)  # (began, ended) of each board
    truth: list = field(default_factory=list)  # the resonances

    def __post_init__(self):
        if not self.spans:
            self.spans = [
                (one.began - self.began, one.ended - self.began)
                for one in self.tunings
            ]

    @classmethod
    def of_service(cls, name, said, interrupt):
        """Of what service.py has said."""
        tuned = [one for one in said["tunings"] if not isinstance(one, str)]
        return cls(
            name,
            said["wall"],
            said["tunings"],
            gap=said["gap"],
            cancel=said["cancel"],
            interrupt=interrupt,
            threads=said["threads"],
            memory=said["memory"],
            lines=said["lines"],
            twice=said["twice"],
            spans=[(begin, end) for begin, end, _ in tuned],
            truth=said["resonances"],
        )

    @property
    def tunings(self):
        return [r for r in self.results if isinstance(r, Tuning)]

    @property
    def worst_error(self):
        """The largest distance of a bias from the resonance, in MHz."""
        biases = [
            one.bias if isinstance(one, Tuning) else one[2]
            for one in self.results
            if isinstance(one, Tuning | list)
        ]
        numbers = [
            number
            for number, one in enumerate(self.results)
            if isinstance(one, Tuning | list)
        ]
        pairs = zip(numbers, biases, strict=True)
        return max(abs(bias - self.truth[number]) for number, bias in pairs)

    def row(self):
        return ROW.format(
            self.name if self.gap is None else f"  {self.name}",
            seconds(self.wall),
            seconds(self.gap),
            seconds(self.cancel),
            seconds(self.interrupt),
            "-" if self.threads is None else self.threads,
            "-" if self.memory is None else f"{self.memory:.0f} MiB",
            "-" if self.lines is None else self.lines,
            "-" if self.twice is None else self.twice,
        )


def seconds(value):
    if value is None:
        return "-"
    if value < 0.9995:
        return f"{value * 1e3:.0f} ms"
    return f"{value:.1f} s" if value < 99.95 else f"{value:.0f} s"


def table(ways, serial):
    """Print the table of all ways, and what else there is to say."""
    print(TITLES, end="")
    count = len(ways[0].results)
    print(Way("one after another", mean(serial) * count, []).row())
    prompt, *service = ways
    print(prompt.row())
    print("in the service:")
    for way in service:
        print(way.row())
    print(f"\n{NOTES}", end="")
    tuned = " or ".join(map(str, sorted({len(way.spans) for way in ways})))
    worst = max(way.worst_error for way in ways) * 1e3
    print(f"tuned: {tuned} of {count} boards, within {worst:.0f} kHz")
    if count > HANGING:
        print(f"time: {PATIENCE:.0f} s of it wait for board {HANGING}")


def mean(values):
    return sum(values) / len(values)


def failures(ways):
    """Print what became of the boards that could not be tuned, once each."""
    said = {}  # what was said, by which ways -> the boards
    for number in range(len(ways[0].results)):
        texts = {}
        for way in ways:
            if text := said_by(way.results[number]):
                texts.setdefault(text, []).append(way.name)
        for text, names in texts.items():
            said.setdefault((text, tuple(names)), []).append(number)
    if said:
        print(f"\nNot tuned ({FAULTY} and {HANGING} are broken on purpose):")
    for (text, names), numbers in said.items():
        where = "" if len(names) == len(ways) else f" ({', '.join(names)})"
        which = f"board {numbers[0]}"
        if len(numbers) > 1:
            which = f"{len(numbers)} boards from {numbers[0]} on"
        room = 80 - len(f"  {which}: {where}")
        print(f"  {which}: {text[:room]}{where}")


def said_by(result):
    """Why a board was not tuned, in a line; None if it was."""
    if isinstance(result, Exception):
        text = str(result).strip() or "no answer"
        return f"{type(result).__name__}: {text.splitlines()[-1]}"
    return result if isinstance(result, str) else None


# --- the picture ------------------------------------------------------------

SHOWN = 8  # boards in the picture
WIDTH, HEIGHT = 960, 640


def picture(ways, serial, path):
    """Draw the work of some boards, and who was under way when."""
    drawing = Drawing(WIDTH, HEIGHT)
    tunings = [one for one in ways[0].tunings if len(one.search) > 2][:SHOWN]
    draw_sweeps(Axes(drawing, 60, 48, 360, 236), tunings)
    draw_searches(Axes(drawing, 60, 356, 360, 236), tunings)
    draw_timeline(Axes(drawing, 500, 48, 430, 544), ways, serial)
    drawing.save(path)


class Axes:
    """A frame in a drawing, with scales for x and y."""

    def __init__(self, drawing, left, top, width, height):
        self.drawing = drawing
        self.left, self.top = float(left), float(top)
        self.width, self.height = width, height
        self.bottom, self.right = self.top + height, self.left + width

    def scales(self, x, y):
        """x, y: (low, high), or (low, high, "log")."""
        self.x = _scale(*x, self.left, self.right)
        self.y = _scale(*y, self.bottom, self.top)

    def title(self, text):
        self.drawing.text(
            self.left, self.top - 14, text, size=15, font_weight="bold"
        )

    def ticks(self, xs, xlabel, ys=(), ylabel=""):
        draw = self.drawing
        for value, text in xs:
            x = self.x(value)
            draw.line(x, self.top, x, self.bottom, colour=LIGHT)
            draw.text(
                x,
                self.bottom + 16,
                text,
                size=12,
                colour=GREY,
                anchor="middle",
            )
        for value, text in ys:
            y = self.y(value)
            draw.line(self.left, y, self.right, y, colour=LIGHT)
            draw.text(
                self.left - 6, y + 4, text, size=12, colour=GREY, anchor="end"
            )
        middle = (self.left + self.right) / 2
        draw.text(
            middle,
            self.bottom + 34,
            xlabel,
            size=13,
            colour=GREY,
            anchor="middle",
        )
        if ylabel:
            x, y = self.left - 42, (self.top + self.bottom) / 2
            draw.text(
                x,
                y,
                ylabel,
                size=13,
                colour=GREY,
                anchor="middle",
                transform=f"rotate(-90 {x:g} {y:g})",
            )


def _scale(low, high, begin, *rest):
    if begin == "log":
        begin, end = rest
        low, high = math.log(low), math.log(high)
        factor = (end - begin) / (high - low)
        return lambda v: begin + (math.log(v) - low) * factor
    (end,) = rest
    factor = (end - begin) / (high - low)
    return lambda v: begin + (v - low) * factor


def colour_of(number):
    """As different as may be: hues by the golden ratio."""
    return f"hsl({number * 137.5 % 360:.0f} 60% 42%)"


def draw_sweeps(axes, tunings):
    axes.title("coarse sweeps; triangles: where the biases are set")
    frequencies = [f for f, _ in tunings[0].sweep]
    axes.scales((frequencies[0], frequencies[-1]), (0, 1.1))
    axes.ticks(
        [(f, f"{f:g}") for f in frequencies[::5]],
        "frequency (MHz)",
        [(a / 4, f"{a / 4:g}") for a in range(5)],
        "|S21|",
    )
    draw = axes.drawing
    for number, one in enumerate(tunings):
        points = [(axes.x(f), axes.y(a)) for f, a in one.sweep]
        draw.path(points, colour=colour_of(number), width=1.2)
        x, y = axes.x(one.bias), axes.y(one.amplitude)
        corners = ((x, y), (x - 4, y + 8), (x + 4, y + 8))
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in corners)
        draw.add("polygon", points=points, fill=colour_of(number))


def draw_searches(axes, tunings):
    axes.title("the fine search converges")
    most = max(len(one.search) for one in tunings) - 1
    axes.scales((1, most), (1, 1000, "log"))
    axes.ticks(
        [(n, str(n)) for n in range(1, most + 1, 2)],
        "measurement of the minimiser",
        [(d, f"{d:g}") for d in (1, 10, 100, 1000)],
        "distance from the bias set (kHz)",
    )
    for number, one in enumerate(tunings):
        *searched, _ = one.search  # the last one verifies
        away = [abs(f - one.bias) * 1e3 for f in searched]
        points = [
            (axes.x(n + 1), axes.y(min(max(d, 1), 1000)))
            for n, d in enumerate(away)
        ]
        axes.drawing.path(points, colour=colour_of(number), width=1.2)
        for x, y in points:
            axes.drawing.dot(x, y, colour=colour_of(number))


def draw_timeline(axes, ways, serial):
    axes.title("who was under way when: one line a board")
    count = len(ways[0].results)
    whole = mean(serial) * count
    axes.scales((0.1, max(1.5 * whole, 10), "log"), (0, 1))
    decades = [0.1, 1, 10, 100, 1000, 10000]
    axes.ticks(
        [(t, f"{t:g}") for t in decades if t <= 1.5 * whole], "time (s)"
    )
    alone = Way("one after another", whole, [])
    ends = [mean(serial) * (n + 1) for n in range(count)]
    alone.spans = list(zip([0.0, *ends], ends, strict=False))
    shown = [alone, *ways]
    block = axes.height / len(shown)
    for n, way in enumerate(shown):
        top = axes.top + n * block + 26
        colour = COLOURS[way.name]
        where = "" if n < 2 else ", in a service"
        width = 2 if way is alone else None  # its lines are short
        strokes(axes, way.spans, top, block - 32, colour, width)
        axes.drawing.rect(axes.left, top - 22, 300, 19, fill="white")
        axes.drawing.text(
            axes.left + 2,
            top - 8,
            f"{way.name}{where}: {seconds(way.wall)}",
            colour=colour,
            font_weight="bold",
        )


def strokes(axes, spans, top, height, colour, width=None):
    """A line for each span, from above to below."""
    step = height / max(len(spans), 1)
    path = []
    for n, (begin, end) in enumerate(spans):
        left, right = axes.x(max(begin, 0.1)), axes.x(max(end, 0.1))
        path.append(
            f"M{left:.1f} {top + n * step:.2f}H{max(right, left + 1):.1f}"
        )
    axes.drawing.add(
        "path",
        d="".join(path),
        stroke=colour,
        stroke_width=width or f"{step:.2f}",
        fill="none",
    )
