"""Greenlets of somebody else's at random, which make calls.

As a program, ``python greenlets.py SEEDS``: where nothing else is loaded that
switches greenlets, nearly all of the calls work.
"""

import asyncio
import random
import sys

import greenlet

from tworoutine import CannotSuspend, tworoutine


@tworoutine
async def nap():
    await asyncio.sleep(0)


class Greenlets:
    """Tasks whose steps start, resume, kill and drop greenlets at random.

    A greenlet may be resumed by another task than it began in, and makes
    calls meanwhile.  Each works or is refused, and runs its finally.

    adopt: whoever resumes one becomes its parent, to which it switches back.
    That in which it began may have come to be somebody else's stack, where
    calls work.
    """

    def __init__(self, seed, adopt):
        self.random = random.Random(seed)
        self.adopt = adopt
        self.greenlets = []
        self.open = self.worked = self.refused = 0
        self.nap = tworoutine(self._nap)

    async def _nap(self, seconds=0):
        self.open += 1
        try:
            await asyncio.sleep(seconds)
        finally:
            self.open -= 1

    def attempt(self):
        try:
            self.nap(self.random.choice([0, 0, 0.001]))
            self.worked += 1
        except CannotSuspend as exc:
            assert "greenlet" in str(exc)
            self.refused += 1

    def take(self):
        place = self.random.randrange(len(self.greenlets))
        return self.greenlets.pop(place)

    def keep(self, raw):
        if not raw.dead:
            self.greenlets.append(raw)

    def start(self):
        raw = greenlet.greenlet(self.body)
        raw.switch()
        self.keep(raw)

    def resume(self):
        raw = self.take()
        if self.adopt:
            raw.parent = greenlet.getcurrent()
        chance = self.random.random()
        if chance < 0.2:
            raw.throw(greenlet.GreenletExit)
        elif chance < 0.4:
            try:
                raw.throw(LookupError)
            except LookupError:
                pass
            else:
                raise AssertionError
        else:
            raw.switch()
        self.keep(raw)

    def body(self):
        try:
            for _ in range(self.random.randrange(1, 6)):
                chance = self.random.random()
                if chance < 0.4:
                    self.attempt()
                elif chance < 0.6:
                    greenlet.getcurrent().parent.switch()
                elif chance < 0.7:
                    self.start()
                elif chance < 0.8 and self.greenlets:
                    self.take()  # and drop it: it ends by GreenletExit
        except greenlet.GreenletExit:
            self.attempt()
            raise

    async def task(self, number):
        for _ in range(self.random.randrange(2, 10)):
            chance = self.random.random()
            if chance < 0.25:
                self.attempt()
            elif chance < 0.5:
                await asyncio.sleep(self.random.choice([0, 0, 0.001]))
            elif chance < 0.7:
                self.start()
            elif self.greenlets:
                self.resume()
        return number

    async def main(self):
        if self.random.random() < 0.5:
            self.attempt()
        loop = asyncio.get_running_loop()
        for _ in range(self.random.randrange(5)):
            loop.call_soon(self.attempt)
        count = self.random.randrange(2, 20)
        tasks = [asyncio.create_task(self.task(n)) for n in range(count)]
        assert await asyncio.gather(*tasks) == list(range(count))
        self.nap()


def run(seeds, *, adopt):
    """How many calls have worked, and how many were refused."""
    worked = refused = 0
    for seed in range(seeds):
        greenlets = Greenlets(seed, adopt)
        asyncio.run(asyncio.wait_for(greenlets.main(), 20))
        greenlets.greenlets.clear()
        assert greenlets.open == 0, f"seed {seed}"
        nap()
        worked += greenlets.worked
        refused += greenlets.refused
    return worked, refused


if __name__ == "__main__":
    worked, refused = run(int(sys.argv[1]), adopt=True)
    assert worked > 10 * refused, (worked, refused)
    print(worked, refused)
