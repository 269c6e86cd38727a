"""HTTP: httpx's asynchronous client, called and awaited, many at once."""

import asyncio
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx

from tworoutine import tworoutine


class Channels(BaseHTTPRequestHandler):
    """An instrument with a web page for each channel."""

    def do_GET(self):
        channel = int(self.path.rpartition("/")[2])
        body = json.dumps({"volt": channel / 10}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Voltmeter:
    def __init__(self, port):
        self.client = httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}")

    @tworoutine
    async def read(self, channel):
        """The voltage of a channel in volt."""
        answer = await self.client.get(f"/channel/{channel}")
        return answer.raise_for_status().json()["volt"]

    @tworoutine
    async def close(self):
        await self.client.aclose()


async def service(port):
    meter = Voltmeter(port)
    called, awaited = meter.read(7), await (~meter.read)(7)
    await (~meter.close)()
    return called, awaited


with ThreadingHTTPServer(("127.0.0.1", 0), Channels) as server:
    threading.Thread(target=server.serve_forever, daemon=True).start()
    meter = Voltmeter(server.server_port)
    print(meter.read(3))  # 0.3
    print(meter.read.map(range(4), limit=2))  # [0.0, 0.1, 0.2, 0.3]
    meter.close()
    print(asyncio.run(service(server.server_port)))  # (0.7, 0.7)
    server.shutdown()
