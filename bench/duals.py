"""Time of one call of an object's method, in microseconds.

trivial     the coroutine returns without suspending
sleep(0)    it suspends once, for one turn of the loop
attribute   no call: one attribute of the object is read

in a task of a running loop: awaited, and called, of a class whose methods are
tworoutines and of a class as it is, through dual().  A call reads the method
anew.
"""

import asyncio
import time

from cost import Cost, timer

WAYS = ("await", "tworoutine")


class Client:
    number = 1

    async def trivial(self):
        pass

    async def sleeping(self):
        await asyncio.sleep(0)


async def awaits(client, name, times):
    if name == "trivial":
        for _ in range(times):
            await client.trivial()
    else:
        for _ in range(times):
            await client.sleeping()


def calls(client, name, times):
    if name == "trivial":
        for _ in range(times):
            client.trivial()
    else:
        for _ in range(times):
            client.sleeping()


def decorated():
    from tworoutine import tworoutine

    class Decorated:
        trivial = tworoutine(Client.trivial)
        sleeping = tworoutine(Client.sleeping)

    return Decorated()


def through_dual():
    from tworoutine import dual

    return dual(Client())


def methods(name, make):
    def prepare(way, seconds):
        client = Client() if way.name == "await" else make()

        async def spend(times):
            began = time.process_time()
            if way.name == "await":
                await awaits(client, name, times)
            else:
                calls(client, name, times)
            return time.process_time() - began

        return timer(lambda times: asyncio.run(spend(times)), seconds)

    return prepare


def attribute(way, seconds):
    client = Client() if way.name == "await" else through_dual()

    def spend(times):
        began = time.process_time()
        for _ in range(times):
            client.number  # noqa: B018
        return time.process_time() - began

    return timer(spend, seconds)


COSTS = [
    *(
        Cost(f"{what}: {kind}", methods(name, make), ways=WAYS)
        for kind, name in (("trivial", "trivial"), ("sleep(0)", "sleeping"))
        for what, make in (("method", decorated), ("dual", through_dual))
    ),
    Cost("dual: an attribute", attribute, ways=WAYS),
]

if __name__ == "__main__":
    from harness import main

    main(COSTS, __doc__)
