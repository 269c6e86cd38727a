"""PostgreSQL: one pool of connections, for threads and for a loop."""

import asyncio
import contextlib
from concurrent.futures import ThreadPoolExecutor

import asyncpg

from servers import postgres
from tworoutine import LoopThread, tworoutine

db = LoopThread("db")  # the loop to which the pool belongs


class Runs:
    """The runs of an experiment, in a table."""

    @tworoutine(home=db)
    async def open(self, port):
        url = f"postgresql://postgres@127.0.0.1:{port}/postgres"
        self.pool = await asyncpg.create_pool(url, min_size=1, max_size=4)
        await self.pool.execute("create table runs (id serial, field float8)")

    @tworoutine(home=db)
    async def add(self, field):
        """Note a run at a field in tesla; its number."""
        sql = "insert into runs (field) values ($1) returning id"
        return await self.pool.fetchval(sql, field)

    @tworoutine(home=db)
    async def mean(self):
        return await self.pool.fetchval("select avg(field) from runs")

    @tworoutine(home=db)
    async def close(self):
        await self.pool.close()


with postgres() as port, contextlib.closing(Runs()) as runs:
    runs.open(port)
    print(runs.add(1.0))  # 1

    with ThreadPoolExecutor(4) as pool:  # threads share the connections
        numbers = list(pool.map(runs.add, [2.0, 3.0, 4.0]))
    print(sorted(numbers))  # [2, 3, 4]

    async def service():  # and so does a loop
        return await (~runs.add)(5.0), runs.mean()

    print(asyncio.run(service()))  # (5, 3.0)
db.close()
