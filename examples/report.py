"""The report of the demo: a table, the failures and a picture."""

import time

from matplotlib.figure import Figure

from boards import FAULTY, HANGING
from plan import Tuning

ROW = "{:26} {:>9}  {:>9} {:>7} {:>11} {:>8} {:>7} {:>11}"
TITLES = ROW.format(
    "",
    "wall time",
    "vs serial",
    "threads",
    "connections",
    "poll gap",
    "tuned",
    "worst error",
)
SWEEPS = 12  # drawn in the picture
COLOURS = ("tab:blue", "tab:green", "tab:red", "tab:orange", "tab:gray")


class Way:
    """One way of tuning the array, just done.

    Times are in seconds, frequencies in MHz.
    """

    def __init__(self, name, began, results, crate, sample=None, gap=None):
        self.ended = time.monotonic()
        self.name = name
        self.began = began
        self.results = results  # a Tuning or an exception for each board
        self.sample = sample  # the numbers of these boards, if not all
        self.gap = gap  # the most by which a poll came late
        self.boards = len(crate.addresses)
        self.connections = sum(crate.connections())
        numbers = sample or range(self.boards)
        self.truth = [crate.resonances[number] for number in numbers]
        print(f"{len(self.tunings)} of {len(results)} boards tuned")

    @property
    def tunings(self):
        return [r for r in self.results if isinstance(r, Tuning)]

    @property
    def wall(self):
        """The wall time for the whole array, extrapolated from a sample."""
        return (self.ended - self.began) * self.boards / len(self.results)

    @property
    def worst_error(self):
        pairs = zip(self.results, self.truth, strict=True)
        errors = [abs(r.bias - f) for r, f in pairs if isinstance(r, Tuning)]
        return max(errors)

    def row(self, serial):
        """Return a line of the table, with the speed in terms of `serial`."""
        return ROW.format(
            self.name,
            f"{self.wall:.1f} s",
            f"{serial.wall / self.wall:.1f} x",
            max(tuning.threads for tuning in self.tunings),
            self.connections,
            "-" if self.gap is None else f"{self.gap * 1e3:.0f} ms",
            f"{len(self.tunings)}/{len(self.results)}",
            f"{self.worst_error * 1e3:.0f} kHz",
        )


def table(ways, serial):
    """Print the table of all ways."""
    print(TITLES)
    for way in [*ways, serial]:
        print(way.row(serial))
    spent = serial.ended - serial.began
    sample = len(serial.results)
    print(f"(the last one extrapolated from {sample} boards in {spent:.1f} s)")
    print("(poll gap: the most by which a poll of the service came late)")


def failures(ways):
    """Print what became of the boards that could not be tuned."""
    if all(len(way.tunings) == len(way.results) for way in ways):
        return
    print("\nboards that could not be tuned", end=" ")
    print(f"({FAULTY} and {HANGING} are broken on purpose)")
    for way in ways:
        for number, result in enumerate(way.results):
            if isinstance(result, Exception):
                said = str(result).strip() or "no answer"
                reason = f"{type(result).__name__}: {said.splitlines()[-1]}"
                print(f"board {number:<3} {way.name:26} {reason:.70}")


def picture(ways, serial, path):
    """Draw some sweeps, and who was under way when."""
    figure = Figure(figsize=(14, 7), layout="constrained")
    left, right = figure.subplots(1, 2)
    draw_sweeps(left, ways[0].tunings[:SWEEPS])
    draw_timeline(right, [*ways, serial])
    figure.savefig(path, dpi=100)


def draw_sweeps(axes, tunings):
    for height, tuning in enumerate(tunings):
        frequencies, amplitudes = zip(*tuning.sweep, strict=True)
        lifted = [height + amplitude for amplitude in amplitudes]
        axes.plot(frequencies, lifted, marker=".", lw=1)
        axes.plot(tuning.bias, height + tuning.amplitude, "v", color="black")
    axes.set_title("coarse sweeps of some boards; triangles: the biases set")
    axes.set_xlabel("frequency (MHz)")
    axes.set_ylabel("|S21|, each board one higher")


def draw_timeline(axes, ways):
    floor = 0
    for way, colour in zip(ways, COLOURS, strict=True):
        begins = [tuning.began - way.began for tuning in way.tunings]
        ends = [tuning.ended - way.began for tuning in way.tunings]
        rows = range(floor, floor - len(begins), -1)
        axes.hlines(rows, begins, ends, color=colour, lw=0.8)
        axes.text(0, floor + 4, way.name, color=colour, weight="bold")
        floor -= len(begins) + 40
    axes.set_title("who was under way when: one line a board")
    axes.set_xlabel("time (s)")
    axes.set_xlim(left=0)
    axes.set_yticks([])
