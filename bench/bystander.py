"""What tasks pay that make no synchronous call, in microseconds.

idle        the library is imported (nest_asyncio: applied), nobody calls
in use      the same while another task is blocked in a synchronous call
able        as idle, in a task that could make a call (greenback: has a portal)

for one step of a task, which is sleep(0), and for the life of a short task.
"""

import asyncio
import time

from cost import PEERS, Cost, timer

TASKS = 10
WAYS = ("await", *PEERS)


async def steps(times):
    for _ in range(times):
        await asyncio.sleep(0)


async def many_steps(times, prelude):
    """Several tasks that take so many steps in all."""

    async def one():
        await prelude()
        await steps(1 + times // TASKS)

    await asyncio.gather(*(one() for _ in range(TASKS)))


async def steps_of_one(times, prelude):
    """One task that takes so many steps."""
    await prelude()
    await asyncio.create_task(steps(times))


async def short_tasks(times, prelude):
    """So many tasks, one after the other."""

    async def one():
        await prelude()

    for _ in range(times):
        await asyncio.create_task(one())


async def nothing():
    pass


async def alone(way, work):
    """Time the work."""
    began = time.process_time()
    await work
    return time.process_time() - began


async def beside_a_call(way, work):
    """Time the work while another task is blocked in a call."""
    gate = asyncio.Event()
    other = asyncio.create_task(way.call(way.wrap(gate.wait)))
    await asyncio.sleep(0)
    spent = await alone(way, work)
    gate.set()
    await other
    return spent


def bystander(work, situation, able=False):
    def prepare(way, seconds):
        prelude = way.enter if able else nothing

        def spend(times):
            return asyncio.run(situation(way, work(times, prelude)))

        return timer(spend, seconds)

    return prepare


COSTS = [
    Cost("a bystander's step: idle", bystander(many_steps, alone), ways=WAYS),
    Cost("  in use", bystander(many_steps, beside_a_call), ways=WAYS),
    Cost("  able", bystander(many_steps, alone, True), ways=WAYS),
    Cost("  in use, alone", bystander(steps_of_one, beside_a_call), ways=WAYS),
    Cost("a bystander's life: idle", bystander(short_tasks, alone), ways=WAYS),
    Cost("  in use", bystander(short_tasks, beside_a_call), ways=WAYS),
    Cost("  able", bystander(short_tasks, alone, True), ways=WAYS),
]

if __name__ == "__main__":
    from harness import main

    main(COSTS, __doc__)
