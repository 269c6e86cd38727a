"""Time of one request among many clients, in microseconds.

20 tasks have a connection each to a server in the same loop, and make
synchronous calls, each of which sends a request and reads the answer.  The
server thinks for 1 to 5 ms.  This is time on the clock.
"""

import asyncio
import time

from cost import Cost

CLIENTS = 20
REQUESTS = 3  # of each client
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


async def serve(reader, writer):
    """Answer the requests of one connection."""
    try:
        while request := await reader.readuntil(b"\r\n\r\n"):
            await asyncio.sleep(int(request.split()[1]) / 1000)
            writer.write(ANSWER)
    except asyncio.IncompleteReadError:
        writer.close()


async def client(way, port, number):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    thinking = number % 5 + 1

    async def request():
        writer.write(b"GET %d HTTP/1.1\r\n\r\n" % thinking)
        await reader.readexactly(len(ANSWER))

    await way.call(way.wrap(request), REQUESTS)
    writer.close()


async def visit(way):
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    clients = [client(way, port, number) for number in range(CLIENTS)]
    began = time.perf_counter()
    await asyncio.gather(*clients)
    spent = time.perf_counter() - began
    server.close()
    await asyncio.sleep(0.01)  # let the connections close
    return spent / (CLIENTS * REQUESTS) * 1e6


def mix(way, seconds):
    return lambda: asyncio.run(visit(way))


COSTS = [Cost("requests of 20 clients", mix)]

if __name__ == "__main__":
    from harness import main

    main(COSTS, __doc__)
