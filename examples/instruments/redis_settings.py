"""Redis: a mapping whose items are in a database, as any dict to its users."""

import asyncio
from collections.abc import MutableMapping

import redis.asyncio

from servers import running
from tworoutine import await_, tworoutine


class Settings(MutableMapping):
    """The settings of an experiment, shared by all its programs."""

    def __init__(self, port):
        self.client = redis.asyncio.Redis(port=port, decode_responses=True)

    def __getitem__(self, name):
        value = await_(self.client.hget("settings", name))
        if value is None:
            raise KeyError(name)
        return float(value)

    def __setitem__(self, name, value):
        await_(self.client.hset("settings", name, value))

    def __delitem__(self, name):
        await_(self.client.hdel("settings", name))

    def __iter__(self):
        return iter(await_(self.client.hkeys("settings")))

    def __len__(self):
        return await_(self.client.hlen("settings"))

    @tworoutine
    async def close(self):
        await self.client.aclose()


def ramp(settings):
    """Synchronous code, of somebody who expects a dict."""
    settings.update(field=1.5, current=settings.get("current", 0) + 2)
    return dict(settings)


with running("redis-server", "--port", "{port}", "--save", "") as port:
    settings = Settings(port)
    print(ramp(settings))  # {'field': 1.5, 'current': 2.0}
    settings.close()

    async def service():
        settings = Settings(port)  # connections belong to a loop
        result = ramp(settings)
        await (~settings.close)()
        return result

    print(asyncio.run(service()))  # {'field': 1.5, 'current': 4.0}
