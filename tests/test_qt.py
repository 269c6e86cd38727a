"""Qt's loops, offscreen: by qasync, and by QtAsyncio where it is installed.

Tasks need a portal; slots that are ordinary functions are refused.  A process
has one application, so each test is a program of its own.
"""

import importlib.util

import pytest

needs_qt = pytest.mark.skipif(
    not (
        importlib.util.find_spec("qasync")
        and importlib.util.find_spec("PySide6")
    ),
    reason="needs qasync and PySide6: the extra `hosts`",
)
needs_qtasyncio = pytest.mark.skipif(
    not importlib.util.find_spec("PySide6")
    or not importlib.util.find_spec("PySide6.QtAsyncio"),
    reason="needs PySide6.QtAsyncio, of PySide6-Addons",
)

BEGIN = """
import asyncio, os
os.environ["QT_QPA_PLATFORM"] = "offscreen"
from PySide6 import QtCore, QtWidgets
import tworoutine as two
from tworoutine import CannotSuspend, tworoutine

@tworoutine
async def nap(seconds=0.001, result=None):
    return await asyncio.sleep(seconds, result)

class Board(QtCore.QObject):
    changed = QtCore.Signal(int)
"""
QASYNC = """
import qasync
application = QtWidgets.QApplication([])
"""


@needs_qt
def test_tasks_and_slots(program):
    source = """
async def main():
    board, slots = Board(), []

    @qasync.asyncSlot(int)
    async def coroutine(value):
        slots.append(nap(0.001, value))

    def ordinary(value):
        try:
            slots.append(nap(0.001, -value))
        except CannotSuspend as exc:
            slots.append("qasync" in str(exc))

    board.changed.connect(coroutine)
    board.changed.connect(ordinary)
    timer, ticks = QtCore.QTimer(), []
    timer.timeout.connect(lambda: ticks.append(1))
    timer.start(1)
    assert nap(0.001, 1) == 1
    # Called by Qt, and called by a task.
    QtCore.QTimer.singleShot(0, lambda: board.changed.emit(2))
    while len(slots) < 2 or len(ticks) < 5:
        nap()
    board.changed.emit(3)
    while len(slots) < 4:
        nap()
    timer.stop()
    print("slots", slots[:2], sorted(slots[2:]))

    async def child(number):
        nap(0.001 * (5 - number))
        return number

    print(await asyncio.gather(*map(child, range(5))))
    try:
        async with asyncio.timeout(0.001):
            nap(60)
    except TimeoutError:
        print("timeout")
    calling = asyncio.create_task(child(-60_000))
    await asyncio.sleep(0.001)
    calling.cancel()
    try:
        await calling
    except asyncio.CancelledError:
        print("cancelled")
    return await asyncio.to_thread(nap, 0, "thread")

print(two.run(main(), loop_factory=qasync.QEventLoop))
"""
    assert program(BEGIN + QASYNC + source) == (
        "slots [True, 2] [-3, 3]\n"
        "[0, 1, 2, 3, 4]\ntimeout\ncancelled\nthread\n"
    )


@needs_qt
def test_a_loop_that_runs_for_ever(program):
    """As a program with a window does; every task can call."""
    source = """
board, seen = Board(), []
loop = qasync.QEventLoop(application)
asyncio.set_event_loop(loop)
loop.set_task_factory(two.task_factory)

@qasync.asyncSlot(int)
async def changed(value):
    seen.append(nap(0.001, value))
    if len(seen) < 3:
        board.changed.emit(value + 1)
    else:
        application.quit()

board.changed.connect(changed)
QtCore.QTimer.singleShot(0, lambda: board.changed.emit(1))
with loop:
    loop.run_forever()
print(seen)
"""
    assert program(BEGIN + QASYNC + source) == "[1, 2, 3]\n"


@needs_qt
def test_without_a_portal_calls_are_refused(program):
    source = """
async def main():
    try:
        nap()
    except CannotSuspend as exc:
        assert "tworoutine.run(main(), loop_factory=...)" in str(exc), exc
        print("refused")

with qasync.QEventLoop(application) as loop:
    loop.run_until_complete(main())
"""
    assert program(BEGIN + QASYNC + source) == "refused\n"


@needs_qtasyncio
def test_qtasyncio(program):
    source = """
from PySide6 import QtAsyncio

async def main():
    async def child(number):
        nap(0.001 * (5 - number))
        return number

    print(nap(0.001, "called"))
    print(await asyncio.gather(*map(child, range(5))))
    return "done"

print(QtAsyncio.run(two.portal(main)(), keep_running=False))
"""
    assert program("import warnings\n" + BEGIN + source) == (
        "called\n[0, 1, 2, 3, 4]\ndone\n"
    )
