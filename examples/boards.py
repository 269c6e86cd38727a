"""Simulated readout boards: an array of them in one process, one port each.

Every board is a real tuber registry behind a few lines of HTTP/1.1, so that
any tuber client can talk to it.  Beside that it answers a UDP datagram to the
same port with its temperature, as cheaply as housekeeping ought to be.

    python examples/boards.py 16

prints the addresses of 16 boards and serves them until Ctrl-D or Ctrl-C.  From
a program, ``with Crate(16) as crate:`` runs the same in a child process.

Frequencies are in MHz, temperatures in kelvin, latencies in milliseconds.
"""

import argparse
import asyncio
import contextlib
import json
import random
import re
import subprocess
import sys

from tuber.server import RequestHandler

BAND = (990.0, 1010.0)  # MHz: each board's resonance is somewhere in it
LINEWIDTH = 2.0  # MHz, full width of the resonance
DEPTH = 0.8  # of its dip: |S21| is 1 far from the resonance and 0.2 on it
NOISE = 0.002  # standard deviation of one measurement of |S21|

LATENCY = 50.0  # ms of the slowest board; the fastest needs a tenth of it
GOLDEN = 0.6180339887  # its multiples, modulo 1, are spread evenly

FAULTY, HANGING = 5, 9  # the numbers of the two boards that misbehave
HANGS_AFTER = 25  # measurements


class NoAnswer(BaseException):
    """The board says nothing at all.  Not an Exception: those are answered."""


class Board:
    """A readout board: one resonator, one bias tone, one thermometer."""

    __tuber_exclude__ = ("resonance", "stage", "noise", "measurements")

    def __init__(self, number):
        self.number = number
        self.noise = random.Random(number)
        low, high = BAND
        self.resonance = self.noise.uniform(low + LINEWIDTH, high - LINEWIDTH)
        self.stage = self.noise.uniform(0.250, 0.300)
        self.bias = None
        self.measurements = 0

    def measure(self, frequency: float):
        """Measure |S21|, the amplitude transmitted at a frequency in MHz."""
        self.measurements += 1
        if self.number == FAULTY:
            raise RuntimeError("the converter has lost its clock")
        if self.number == HANGING and self.measurements > HANGS_AFTER:
            raise NoAnswer
        detuning = 2 * (frequency - self.resonance) / LINEWIDTH
        transmitted = abs(1 - DEPTH / (1 + 1j * detuning))
        return transmitted + self.noise.gauss(0, NOISE)

    def set_bias(self, frequency: float):
        """Put the bias tone at a frequency in MHz."""
        self.bias = frequency

    def get_bias(self):
        """Return the frequency of the bias tone in MHz, None if it is off."""
        return self.bias

    def get_temperature(self):
        """Return the temperature of the cold stage in kelvin."""
        return self.stage + random.gauss(0, 0.001)


class Port:
    """A board on the network: its request handler, latency and counter."""

    def __init__(self, number, latency):
        self.board = Board(number)
        self.handler = RequestHandler({"Board": self.board})
        share = 0.1 + 0.9 * (number * GOLDEN % 1)
        self.latency = share * latency / 1000  # s
        self.connections = 0

    async def listen(self):
        """Listen on a free port of this machine; return its "host:port"."""
        loop = asyncio.get_running_loop()
        server = await loop.create_server(
            lambda: Connection(self), "127.0.0.1", 0
        )
        address = host, port = server.sockets[0].getsockname()
        await loop.create_datagram_endpoint(
            lambda: Thermometer(self.board), address
        )
        return f"{host}:{port}"


class Connection(asyncio.Protocol):
    """As much of HTTP/1.1 with keep-alive as tuber's clients need."""

    def __init__(self, port):
        self.port = port
        self.inbox = b""

    def connection_made(self, transport):
        self.transport = transport
        self.port.connections += 1

    def data_received(self, data):
        self.inbox += data
        head, end, body = self.inbox.partition(b"\r\n\r\n")
        if not end:
            return
        length = int(re.search(rb"(?i)content-length: *(\d+)", head)[1])
        if len(body) < length:
            return
        self.inbox = body[length:]
        loop = asyncio.get_running_loop()
        loop.call_later(self.port.latency, self.answer, body[:length])

    def answer(self, request):
        try:
            kind, reply = self.port.handler(request)
        except NoAnswer:
            return
        if not self.transport.is_closing():
            head = (
                "HTTP/1.1 200 OK\r\n"
                f"Content-Type: {kind}\r\n"
                f"Content-Length: {len(reply)}\r\n\r\n"
            )
            self.transport.write(head.encode() + reply.encode())


class Thermometer(asyncio.DatagramProtocol):
    """Answers any datagram with the temperature of the cold stage."""

    def __init__(self, board):
        self.board = board

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, _, sender):
        answer = b"%.4f" % self.board.get_temperature()
        self.transport.sendto(answer, sender)


async def serve(count, latency, first=0):
    """Serve boards, numbered from first on, until standard input ends.

    Prints a line with their addresses and true resonances, and for each line
    read, one with the number of connections that each has accepted.
    """
    numbers = range(first, first + count)
    ports = [Port(number, latency) for number in numbers]
    hello = {
        "addresses": [await port.listen() for port in ports],
        "resonances": [port.board.resonance for port in ports],
    }
    print(json.dumps(hello), flush=True)

    stdin = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(stdin), sys.stdin
    )
    while await stdin.readline():
        print(json.dumps([port.connections for port in ports]), flush=True)


class Crate:
    """The boards as a child process, which ends with the ``with`` block.

    The child serves until its standard input ends, and that happens however
    the parent comes to its end, so none is ever left behind.
    """

    def __init__(self, count, latency=LATENCY, first=0):
        options = ["--latency", str(latency), "--first", str(first)]
        # In its own session: a Ctrl-C in the terminal is for the parent alone.
        self.child = subprocess.Popen(
            [sys.executable, __file__, str(count), *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            hello = json.loads(self.child.stdout.readline())
        except BaseException:
            self.child.kill()
            raise
        self.addresses = hello["addresses"]
        self.resonances = hello["resonances"]  # MHz: for scoring only

    def connections(self):
        """Return how many connections each board has accepted so far."""
        self.child.stdin.write("\n")
        self.child.stdin.flush()
        return json.loads(self.child.stdout.readline())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.child.stdin.close()
        self.child.wait()
        self.child.stdout.close()


def main():
    parser = argparse.ArgumentParser(description="Serve simulated boards.")
    parser.add_argument("count", type=int, help="number of boards")
    parser.add_argument(
        "--latency",
        type=float,
        default=LATENCY,
        help="of the slowest board, in ms (default %(default)g)",
    )
    parser.add_argument(
        "--first",
        type=int,
        default=0,
        help="number of the first board (default %(default)d)",
    )
    options = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(options.count, options.latency, options.first))


if __name__ == "__main__":
    main()
