"""MQTT: a stream of messages in a plain `for`, from a real broker."""

import asyncio
import contextlib

import aiomqtt

from servers import running
from tworoutine import tworoutine


@tworoutine
@contextlib.asynccontextmanager
async def broker(port):
    async with aiomqtt.Client("127.0.0.1", port) as client:
        yield client


@tworoutine
async def readings(port, n):
    """Subscribe, have a sensor send n temperatures, yield them."""
    async with (~broker)(port) as client:
        await client.subscribe("lab/temperature")
        sending = asyncio.create_task(sensor(port, n))
        async for message in client.messages:
            yield float(message.payload)
            n -= 1
            if n == 0:
                break
        await sending


async def sensor(port, n):
    async with (~broker)(port) as client:
        for kelvin in range(n):
            await client.publish("lab/temperature", 4 + kelvin / 10)


with running("mosquitto", "-p", "{port}") as port:
    for kelvin in readings(port, 1):  # without a loop
        print(kelvin)  # 4.0

    async def service():
        return list(readings(port, 3))  # in one

    print(asyncio.run(service()))  # [4.0, 4.1, 4.2]
