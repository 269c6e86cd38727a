"""Modbus: a threshold found by bisect, whose key function asks the device."""

import asyncio
from bisect import bisect_left

from pymodbus.client import AsyncModbusTcpClient
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from tworoutine import LoopThread, tworoutine

lab = LoopThread("lab")  # where the simulated device runs


@tworoutine(home=lab)
async def simulate():
    """Begin to serve a device with two registers; its server."""
    data = SimData(0, count=2, datatype=DataType.REGISTERS)
    address = ("127.0.0.1", 0)
    server = ModbusTcpServer(SimDevice(id=1, simdata=[data]), address=address)
    await server.serve_forever(background=True)
    return server


class Oven:
    """An oven: its heater is register 0."""

    @tworoutine
    async def open(self, port):
        self.client = AsyncModbusTcpClient("127.0.0.1", port=port)
        await self.client.connect()

    @tworoutine
    async def temperature(self, power):
        """The temperature in kelvin at a power in watts."""
        await self.client.write_register(0, power)
        answer = await self.client.read_holding_registers(0)
        return 293 + 2 * answer.registers[0]  # no physics in the simulator


async def service(port):
    """The same function, in a loop that goes on meanwhile."""
    oven = Oven()
    await (~oven.open)(port)
    power = bisect_left(range(256), 373, key=oven.temperature)
    result = power, await (~oven.temperature)(power)
    oven.client.close()
    return result


server = simulate()
port = server.transport.sockets[0].getsockname()[1]

oven = Oven()
oven.open(port)
# bisect is C code, and knows nothing of asyncio.
print(bisect_left(range(256), 373, key=oven.temperature))  # 40
oven.client.close()
print(asyncio.run(service(port)))  # (40, 373)
tworoutine(server.shutdown, home=lab)()
