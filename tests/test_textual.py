"""Workers of Textual that call, many at once: the panel goes on meanwhile."""

import asyncio
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

pytest.importorskip("textual", reason="needs Textual")

from textual.app import App
from textual.widgets import Button, Label
from textual.worker import WorkerState

import tworoutine
from tworoutine import home

WORKERS = 20


class Lab:
    """What the workers wait for: each other, and that a button is pressed."""

    def __init__(self):
        self.here, self.most, self.cleaned = 0, 0, 0
        self.all_here = asyncio.Event()
        self.pressed = asyncio.Event()

    @tworoutine.tworoutine
    async def measure(self, board):
        self.here += 1
        self.most = max(self.most, self.here)
        if self.here == WORKERS:
            self.all_here.set()
        try:
            await self.pressed.wait()
            await asyncio.sleep(0.001 * ((7 * board) % WORKERS))
        finally:
            self.here -= 1
            await asyncio.sleep(0)
            self.cleaned += 1
        return 2 * board


class Panel(App):
    """A label, a button, and workers: tasks, eager tasks or threads."""

    def __init__(self, lab, eager=False):
        super().__init__()
        self.lab, self.eager = lab, eager

    def on_load(self):
        if self.eager:
            loop = asyncio.get_running_loop()
            loop.set_task_factory(tworoutine.eager_task_factory)

    def compose(self):
        yield Label("idle")
        yield Button("Measure")

    def on_button_pressed(self):
        self.lab.pressed.set()
        self.query_one(Label).update("pressed")

    async def work(self, board):
        return self.lab.measure(board) + self.lab.measure(board)

    def begin(self):
        return [
            self.run_worker(self.work(board), exit_on_error=False)
            for board in range(WORKERS)
        ]

    def begin_threads(self):
        """Their calls run in the panel's loop."""

        def work(board):
            with home(loop):
                return 2 * self.lab.measure(board)

        def of(board):
            return lambda: work(board)

        loop = asyncio.get_running_loop()
        return [
            self.run_worker(of(board), thread=True, exit_on_error=False)
            for board in range(WORKERS)
        ]


def run(drive, **kinds):
    """Drive a panel, which is to end within a minute."""

    async def main():
        lab = Lab()
        panel = Panel(lab, **kinds)
        async with asyncio.timeout(60), panel.run_test() as pilot:
            await drive(lab, panel, pilot)

    asyncio.run(main())


EAGER = pytest.param(
    {"eager": True},
    id="eager",
    marks=pytest.mark.skipif(
        sys.version_info < (3, 12), reason="eager tasks are of Python 3.12"
    ),
)
KINDS = pytest.mark.parametrize("kinds", [pytest.param({}, id="task"), EAGER])


async def press(panel, pilot):
    await pilot.click(Button)
    assert str(panel.query_one(Label).render()) == "pressed"


@KINDS
def test_twenty_workers_call_at_once(kinds):
    async def drive(lab, panel, pilot):
        workers = panel.begin()
        await lab.all_here.wait()
        assert lab.most == WORKERS
        await press(panel, pilot)  # while all of them wait in calls
        await panel.workers.wait_for_complete(workers)
        results = [worker.result for worker in workers]
        assert results == [4 * board for board in range(WORKERS)]

    run(drive, **kinds)


def test_twenty_workers_in_threads_call_at_once():
    async def drive(lab, panel, pilot):
        threads = ThreadPoolExecutor(WORKERS)  # asyncio's has fewer
        asyncio.get_running_loop().set_default_executor(threads)
        workers = panel.begin_threads()
        await lab.all_here.wait()
        await press(panel, pilot)
        await panel.workers.wait_for_complete(workers)
        results = [worker.result for worker in workers]
        assert results == [4 * board for board in range(WORKERS)]

    run(drive)


@KINDS
def test_workers_that_are_cancelled_in_their_calls(kinds):
    async def drive(lab, panel, pilot):
        workers = panel.begin()
        await lab.all_here.wait()
        for worker in workers[::2]:
            worker.cancel()
        while lab.cleaned < WORKERS // 2:
            await asyncio.sleep(0)
        await press(panel, pilot)
        await panel.workers.wait_for_complete(workers[1::2])
        assert {worker.state for worker in workers[::2]} == {
            WorkerState.CANCELLED
        }
        assert [worker.result for worker in workers[1::2]] == [
            4 * board for board in range(1, WORKERS, 2)
        ]

    run(drive, **kinds)


@KINDS
def test_a_panel_that_is_left_while_its_workers_call(kinds):
    seen = []

    async def drive(lab, panel, pilot):
        seen.extend([lab, panel.begin()])
        await lab.all_here.wait()

    run(drive, **kinds)
    lab, workers = seen
    assert lab.cleaned == WORKERS
    assert all(worker.is_finished for worker in workers)
