"""The monitor of a service: all boards' temperatures, ten times a second.

It asks by UDP.  Through tuber, 256 boards would mean 2560 HTTP requests a
second, which is more than aiohttp can make, whoever calls it.
"""

import asyncio
import contextlib
import os
import socket
import threading

PERIOD = 0.100  # s from one poll to the next


class Monitor:
    """Polls the boards at `addresses`, and notes how late it ever was."""

    def __init__(self, addresses):
        pairs = (address.split(":") for address in addresses)
        self.boards = [(host, int(port)) for host, port in pairs]
        self.temperatures = {}  # of each board, in kelvin
        self.gap = 0.0  # s, the most by which a poll came late
        self.threads = 0  # the most that there were
        self.memory = 0.0  # MiB, the most that the process grew by
        self.before = memory()

    @contextlib.asynccontextmanager
    async def watching(self):
        """Poll for as long as the block lasts."""
        loop = asyncio.get_running_loop()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as self.socket:
            self.socket.setblocking(False)
            loop.add_reader(self.socket, self.read)
            polling = loop.create_task(self.poll())
            await asyncio.sleep(0)
            try:
                yield
            finally:
                polling.cancel()
                loop.remove_reader(self.socket)
                self.note()

    async def poll(self):
        self.due = asyncio.get_running_loop().time()
        while True:
            for board in self.boards:
                self.socket.sendto(b"?", board)
            self.due += PERIOD
            await asyncio.sleep(self.due - asyncio.get_running_loop().time())
            self.note()

    def note(self):
        """Note how late it is for the poll that is due."""
        late = asyncio.get_running_loop().time() - self.due
        self.gap = max(self.gap, late)
        self.threads = max(self.threads, threading.active_count())
        self.memory = max(self.memory, memory() - self.before)

    def read(self):
        """Read all answers; a datagram transport reads only one a turn."""
        with contextlib.suppress(BlockingIOError):
            while True:
                answer, board = self.socket.recvfrom(64)
                self.temperatures[board] = float(answer)


def memory():
    """The memory of this process in MiB, as the system counts it."""
    with open("/proc/self/statm") as file:
        pages = int(file.read().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
