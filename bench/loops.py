"""Which loop for what: asyncio's own and uvloop, awaited and called.

A task that waits for nothing, for one turn, for a timer that is due, and for
an answer through a pair of sockets, by streams; then 20 such tasks at once.
Asyncio's own loop is driven where a call waits in it.
"""

import asyncio
import socket
import time

from cost import Cost, timer

WAYS = ("await", "tworoutine", "uvloop", "uvloop, portal")
MANY = 20


async def nothing(ends):
    pass


async def turn(ends):
    await asyncio.sleep(0)


async def due(ends):
    await asyncio.sleep(1e-9)


async def answer(ends):
    reader, writer = ends
    writer.write(b"x" * 100)
    await reader.readexactly(100)


async def opened(count):
    """Pairs of streams, each connected with what answers; and these tasks."""
    ends, answering = [], []
    for _ in range(count):
        near, far = socket.socketpair()
        ends.append(await asyncio.open_connection(sock=near))
        other = await asyncio.open_connection(sock=far)
        answering.append((other[1], asyncio.create_task(echo(*other))))
    return ends, answering


async def echo(reader, writer):
    while data := await reader.read(100):
        writer.write(data)


def measured(function, count=1):
    def prepare(way, seconds):
        wrapped = way.wrap(function)

        async def spend(times):
            ends, answering = await opened(count)
            calls = [
                way.call(lambda own=own: wrapped(own), times) for own in ends
            ]
            began = time.process_time()
            await asyncio.gather(*calls)
            spent = time.process_time() - began
            for _, writer in ends:
                writer.close()
            for writer, task in answering:
                await task
                writer.close()
            return spent / count

        return timer(lambda times: way.run(spend(times)), seconds)

    return prepare


COSTS = [
    Cost("nothing to wait for", measured(nothing), ways=WAYS),
    Cost("a turn", measured(turn), ways=WAYS),
    Cost("a timer that is due", measured(due), ways=WAYS),
    Cost("an answer by streams", measured(answer), ways=WAYS),
    Cost("20 at once: a turn", measured(turn, MANY), ways=WAYS),
    Cost("  an answer by streams", measured(answer, MANY), ways=WAYS),
]

if __name__ == "__main__":
    from harness import main

    main(COSTS, __doc__)
