"""A serial line: question and answer, below a lock, at both ends of a pty."""

import asyncio
import os
import threading
import tty

from serial_asyncio_fast import open_serial_connection

from tworoutine import tworoutine


class Source:
    """A current source on a serial line; commands end with a newline."""

    @tworoutine
    async def open(self, path):
        self.lock = asyncio.Lock()  # one question at a time
        self.reader, self.writer = await open_serial_connection(url=path)

    @tworoutine
    async def ask(self, command):
        async with self.lock:
            self.writer.write(command.encode() + b"\n")
            return (await self.reader.readline()).decode().strip()

    @tworoutine
    async def close(self):
        self.writer.close()

    @property
    def current(self):
        """The current in ampere: an attribute that asks the source."""
        return float(self.ask("CURR?"))

    @current.setter
    def current(self, ampere):
        self.ask(f"CURR {ampere}")


def device(line):
    """The other end of the line: a source."""
    current = b"0.0"
    with open(line, "r+b", buffering=0) as port:
        while command := port.readline().split():
            _, *given = command
            current = given[0] if given else current
            port.write(b"OK\n" if given else current + b"\n")


ours, other = os.openpty()
tty.setraw(other)
threading.Thread(target=device, args=(ours,), daemon=True).start()

source = Source()
source.open(os.ttyname(other))
source.current = 1.5
print(source.current)  # 1.5
print(source.ask.map(["CURR?", "CURR 2.5", "CURR?"]))  # ['1.5', 'OK', '2.5']
source.close()
