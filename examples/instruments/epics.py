"""EPICS: caproto's asyncio client, with a process variable as an attribute."""

import asyncio
import os
import subprocess
import sys

from servers import free_port

PORT = str(free_port())
os.environ["EPICS_CA_SERVER_PORT"] = PORT
os.environ["EPICS_CA_ADDR_LIST"] = f"127.0.0.1:{PORT}"
os.environ["EPICS_CA_AUTO_ADDR_LIST"] = "NO"

from caproto.asyncio.client import Context  # noqa: E402

from tworoutine import tworoutine  # noqa: E402


class Magnet:
    @tworoutine
    async def open(self):
        self.context = Context()
        (self.pv,) = await self.context.get_pvs("simple:B")
        await self.pv.wait_for_connection(timeout=20)

    @tworoutine
    async def read(self):
        """The field in tesla."""
        return float((await self.pv.read()).data[0])

    @tworoutine
    async def ramp(self, tesla):
        await self.pv.write(tesla)

    @tworoutine
    async def close(self):
        await self.context.disconnect()


async def service():
    magnet = Magnet()
    await (~magnet.open)()
    magnet.ramp(3.0)  # a call, in the running loop
    field = await (~magnet.read)()
    await (~magnet.close)()
    return field


ioc = [sys.executable, "-m", "caproto.ioc_examples.simple", "--quiet"]
with subprocess.Popen([*ioc, "--interfaces", "127.0.0.1"]) as server:
    magnet = Magnet()
    magnet.open()
    print(magnet.read())  # 2.0
    magnet.ramp(2.5)
    print(magnet.read())  # 2.5
    magnet.close()
    print(asyncio.run(service()))  # 3.0
    server.terminate()
