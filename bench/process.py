"""The process of one contender at one cost, seen from outside."""

import math
import signal
import subprocess
import sys
from pathlib import Path
from threading import Timer


class Failed(Exception):
    """No figure came; the text says why."""


class Process:
    """A worker (worker.py), killed when the block is left."""

    def __init__(self, cost, name, effort):
        worker = str(Path(__file__).with_name("worker.py"))
        command = [sys.executable, "-W", "ignore", worker]
        self.limit = effort.limit * cost.patience
        self.late = False
        self.popen = subprocess.Popen(
            [*command, cost.place, name, str(effort.seconds)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.popen.kill()
        self.popen.communicate()

    def get_ready(self):
        """Wait until it has started."""
        self.answer()
        return math.inf

    def measure(self):
        """Have it measure a figure."""
        print(file=self.popen.stdin, flush=True)
        return float(self.answer())

    def answer(self):
        """Return what it prints, unless that is the name of an exception."""
        timer = Timer(self.limit, self.give_up)
        timer.start()
        answer, _, error = self.popen.stdout.readline().strip().partition("!")
        timer.cancel()
        if not answer:
            raise Failed(error or self.end())
        return answer

    def give_up(self):
        self.late = True
        self.popen.kill()

    def end(self):
        """Say how it ended without a word."""
        code = self.popen.wait()
        if self.late:
            return f"hangs (>{self.limit} s)"
        return signal.Signals(-code).name if code < 0 else f"exit {code}"
