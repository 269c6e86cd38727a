"""OPC UA: the callback of a subscription, a plain method, makes calls."""

import asyncio

from asyncua import Client, Server

from servers import free_port
from tworoutine import await_


class Watch:
    """What asyncua calls, without await, for each change."""

    def __init__(self, pressure):
        self.pressure = pressure
        self.seen = []

    def datachange_notification(self, node, value, data):
        # Ask for more in the middle of the callback: others go on meanwhile.
        self.seen.append((value, await_(self.pressure.read_value())))


async def main():
    url = f"opc.tcp://127.0.0.1:{free_port()}/"
    server = Server()
    await server.init()
    server.set_endpoint(url)
    lab = await server.register_namespace("lab")
    objects = server.nodes.objects
    temperature = await objects.add_variable(lab, "temperature", 4.2)
    pressure = await objects.add_variable(lab, "pressure", 1013.0)

    async with server, Client(url) as client:
        watch = Watch(client.get_node(pressure.nodeid))
        subscription = await client.create_subscription(20, watch)
        node = client.get_node(temperature.nodeid)
        await subscription.subscribe_data_change(node)
        while len(watch.seen) < 1:
            await asyncio.sleep(0.01)
        await temperature.write_value(1.8)
        while len(watch.seen) < 2:
            await asyncio.sleep(0.01)
        await subscription.delete()
    print(watch.seen)  # [(4.2, 1013.0), (1.8, 1013.0)]


asyncio.run(main())
