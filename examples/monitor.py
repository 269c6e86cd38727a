"""The monitor of a service: all boards' temperatures, ten times a second.

It asks by UDP.  Through tuber, 256 boards would mean 2560 HTTP requests a
second, more than a Python process can make in any style.
"""

import asyncio
import contextlib
import socket

PERIOD = 0.100  # s from one poll to the next


class Monitor:
    """Polls the boards at `addresses`, and notes how late it ever was."""

    def __init__(self, addresses):
        pairs = (address.split(":") for address in addresses)
        self.boards = [(host, int(port)) for host, port in pairs]
        self.temperatures = {}  # of each board, in kelvin
        self.gap = 0.0  # s, the most by which a board's answer was overdue

    @contextlib.asynccontextmanager
    async def watching(self):
        """Poll for as long as the block lasts."""
        loop = asyncio.get_running_loop()
        self.heard = dict.fromkeys(self.boards, loop.time())  # last
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as self.socket:
            self.socket.setblocking(False)
            loop.add_reader(self.socket, self.read)
            polling = loop.create_task(self.poll())
            try:
                yield
            finally:
                polling.cancel()
                loop.remove_reader(self.socket)
                self.note(loop.time(), min(self.heard.values()))

    async def poll(self):
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            for board in self.boards:
                self.socket.sendto(b"?", board)
            due += PERIOD
            await asyncio.sleep(due - loop.time())

    def read(self):
        """Read all answers; a datagram transport reads only one a turn."""
        now = asyncio.get_running_loop().time()
        with contextlib.suppress(BlockingIOError):
            while True:
                answer, board = self.socket.recvfrom(64)
                self.temperatures[board] = float(answer)
                self.note(now, self.heard[board])
                self.heard[board] = now

    def note(self, now, before):
        self.gap = max(self.gap, now - before - PERIOD)
