"""The plan of a tuning, common to all the ways it is done.

Frequencies are in MHz, times in seconds.
"""

import time
from dataclasses import dataclass, field

from boards import BAND

STEP = 1.0  # MHz between two points of the coarse sweep: half a linewidth
GRID = [BAND[0] + n * STEP for n in range(int((BAND[1] - BAND[0]) / STEP) + 1)]
TOLERANCE = 0.01  # MHz: the fine search ends here
RESONANT = 0.4  # |S21| below this at the bias verifies a tuning
PATIENCE = 3.0  # s without an answer, after which a board is given up
LIMIT = 128  # boards under way at once
SHARE = 64  # the same in a service, which has other work as well


@dataclass
class Tuning:
    """One board, tuned."""

    sweep: list  # of (frequency, |S21|): the coarse sweep
    search: list  # the frequencies of the fine search
    bias: float  # MHz
    amplitude: float  # |S21| at the bias
    began: float  # on the clock of time.monotonic(), as is `ended`
    ended: float = field(default_factory=time.monotonic)

    def __post_init__(self):
        if self.amplitude > RESONANT:
            raise RuntimeError(f"|S21| at the bias is {self.amplitude:.2f}")

    def __str__(self):
        spent = self.ended - self.began
        return f"bias at {self.bias:.3f} MHz, found in {spent:.2f} s"


def bracket(sweep):
    """Return two frequencies with the dip of the sweep between them."""
    lowest, _ = min(sweep, key=lambda point: point[1])
    return lowest - STEP, lowest + STEP


def early(wall):
    """When to end a tuning before its time, if all of it takes wall."""
    return min(1.0, wall / 2)
