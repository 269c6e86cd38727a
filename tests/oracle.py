"""A differential oracle: random programs, run twice on a virtual clock.

Once every call is awaited, once some of the same calls are synchronous.  The
rule says that nobody can tell the difference: the order of all events, the
results, the exceptions, the context values, the counts of cancel requests,
what the exception handler hears of and which tasks are left must agree.

    python tests/oracle.py [seeds] [first seed] [variant]

The variants: plain, debug (the loop's debug mode), python (tasks that are not
written in C), eager (tasks that begin at once; 3.12+), portal (the same, whose
first steps make calls in portals).

A program is a list of statements per task, made by `Program(seed)`.  Each
statement is one async function below; `one` performs it, awaited or not.
"""

import asyncio
import contextlib
import contextvars
import faulthandler
import functools
import gc
import itertools
import random
import re
import sys

from tworoutine import task_factory, tworoutine

VAR = contextvars.ContextVar("VAR", default=None)


class Stuck(BaseException):
    """Nothing is left that could go on."""


class VirtualSelector:
    """Never waits: moves the clock of its loop instead."""

    def __init__(self, selector, loop):
        self._selector = selector
        self._loop = loop
        self._turns = 0

    def select(self, timeout):
        events = self._selector.select(0)
        self._turns += 1
        if events:
            return events
        if timeout is None or self._turns > 5000:
            raise Stuck
        self._loop.now += timeout
        return events

    def __getattr__(self, name):
        return getattr(self._selector, name)


class Numbered:
    """Hashed by number: sets of tasks have the same order in each run."""

    numbers = itertools.count()

    def __init__(self, *args, **kwargs):
        self.number = next(Numbered.numbers)
        super().__init__(*args, **kwargs)

    def __hash__(self):
        return self.number


class Task(Numbered, asyncio.Task):
    pass


class PythonTask(Numbered, asyncio.tasks._PyTask):
    pass


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self, task_type=Task, portals=False, **options):
        super().__init__()
        self.now = 0.0
        self._clock_resolution = 1e-9
        self._selector = VirtualSelector(self._selector, self)
        Numbered.numbers = itertools.count()
        self.set_task_factory(
            lambda loop, coro, **kwargs: task_type(
                coro, loop=loop, **options, **kwargs
            )
        )
        if portals:
            self.set_task_factory(type(task_factory)(self.get_task_factory()))

    def time(self):
        return self.now


class Run:
    """One run of a program; `sync` makes the marked calls synchronous."""

    def __init__(self, program, sync, variant):
        self.program = program
        self.sync = sync
        self.variant = variant
        self.log = []
        self.tasks = []
        self.names = {}  # of tasks that asyncio named: their numbers

    def say(self, *what):
        loop = asyncio._get_running_loop()
        if loop is None:
            return  # a coroutine is thrown away after the end
        task = asyncio.current_task()
        name = None if task is None else task.get_name()
        if name is not None and name.startswith("Task-"):
            name = self.names.setdefault(name, len(self.names))
        self.log.append((round(loop.now, 6), name, *what))

    async def main(self):
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(
            lambda _, context: self.log.append(
                ("handler", context["message"], repr(context.get("exception")))
            )
        )
        self.locks = [asyncio.Lock() for _ in range(2)]
        self.events = [asyncio.Event() for _ in range(3)]
        self.queue = asyncio.Queue(1)
        self.semaphore = asyncio.Semaphore(2)
        self.condition = asyncio.Condition()
        # The first call of a run is special (the limits say why); let it be
        # one of main's.
        if self.sync:
            tworoutine(self.do_yields)(1)
        else:
            await self.do_yields(1)
        for number, block in enumerate(self.program.blocks):
            self.tasks.append(self.spawn(block, f"t{number}"))
        for _ in range(3):
            await asyncio.wait(self.tasks, timeout=1)
            self.say("main cancels")
            for task in self.tasks:
                task.cancel()
        log, self.log = self.log, []  # what comes now has no order
        return log, [self.outcome(task) for task in self.tasks]

    def spawn(self, block, name):
        return asyncio.create_task(self.task(block), name=name)

    async def task(self, block):
        """The coroutine of a task."""
        if self.variant == "eager":
            # A call in the first step would hold up the task's creator, on
            # whose stack it stands.
            await asyncio.sleep(0)
        return await self.block(block)

    def outcome(self, task):
        if not task.done():
            return "pending"
        if task.cancelled():
            return "cancelled"
        return repr(task.exception() or task.result()), task.cancelling()

    async def block(self, block):
        for statement in block:
            await self.one(statement)
        return len(block)

    async def one(self, statement):
        """Perform a statement, synchronously if it is marked so."""
        kind, args, marked, below, guard = statement
        function = getattr(self, "do_" + kind)
        self.say("begin", kind)
        try:
            if not (marked and self.sync):
                result = await function(*args)
            elif below is not None:
                result = None  # as all statements have
                BELOW[below](lambda: tworoutine(function)(*args))
            else:
                result = tworoutine(function)(*args)
            self.say("end", kind, result, VAR.get())
        except asyncio.CancelledError as exc:
            task = asyncio.current_task()
            self.say("cancelled", kind, exc.args, task.cancelling())
            if not guard:
                raise
        except Exception as exc:
            self.say("raised", kind, repr(exc))
            if not guard:
                raise
        finally:
            self.say("finally", kind)

    # --- statements ---------------------------------------------------------

    async def do_sleep(self, delay):
        await asyncio.sleep(delay)

    async def do_nothing(self):
        pass

    async def do_yields(self, count):
        for _ in range(count):
            await asyncio.sleep(0)

    async def do_nest(self, block):
        await self.block(block)

    async def do_lock(self, number, block):
        async with self.locks[number]:
            await self.block(block)

    async def do_semaphore(self, block):
        async with self.semaphore:
            await self.block(block)

    async def do_notify(self, count):
        async with self.condition:
            self.condition.notify(count)

    async def do_condition(self):
        async with self.condition:
            await self.condition.wait()

    async def do_set(self, number):
        self.events[number].set()

    async def do_clear(self, number):
        self.events[number].clear()

    async def do_wait(self, number):
        await self.events[number].wait()

    async def do_put(self, value):
        await self.queue.put(value)

    async def do_get(self):
        self.say("got", await self.queue.get())

    async def do_timeout(self, delay, block):
        async with asyncio.timeout(delay):
            await self.block(block)

    async def do_wait_for(self, delay, block):
        await asyncio.wait_for(self.task(block), delay)

    async def do_gather(self, blocks, keep):
        await asyncio.gather(
            *(self.task(block) for block in blocks), return_exceptions=keep
        )

    async def do_group(self, blocks):
        async with asyncio.TaskGroup() as group:
            for number, block in enumerate(blocks):
                group.create_task(self.task(block), name=f"g{number}")

    async def do_shield(self, block):
        inner = asyncio.ensure_future(self.task(block))
        self.tasks.append(inner)
        inner.set_name("shielded")
        try:
            await asyncio.shield(inner)
        finally:
            self.say("inner", self.outcome(inner)[0])

    async def do_spawn(self, block):
        self.tasks.append(self.spawn(block, f"s{len(self.tasks)}"))

    async def do_cancel(self, number):
        task = self.tasks[number % len(self.tasks)]
        self.say("cancels", task.cancel(f"by {number}"))

    async def do_cancel_self(self):
        asyncio.current_task().cancel("self")

    async def do_uncancel(self):
        self.say("uncancelled", asyncio.current_task().uncancel())

    async def do_join(self, number):
        task = self.tasks[number % len(self.tasks)]
        await asyncio.wait([task], timeout=0.004)

    async def do_var(self, value):
        VAR.set(value)

    async def do_reset(self, value, block):
        token = VAR.set(value)
        await self.block(block)
        VAR.reset(token)

    async def do_raise(self, text):
        raise ValueError(text)

    async def do_handle(self, text, block):
        try:
            raise KeyError(text)
        except KeyError:
            await self.block(block)

    async def do_cleanup(self, first, last):
        try:
            await self.block(first)
        finally:
            await self.block(last)

    async def do_callback(self, text, later):
        loop = asyncio.get_running_loop()
        if later is None:
            loop.call_soon(self.say, "callback", text)
        else:
            loop.call_later(later, self.say, "callback", text)

    async def do_generate(self, count, leave):
        async def numbers():
            try:
                for number in range(count):
                    await asyncio.sleep(0.001 * number)
                    yield number
            finally:
                self.say("generator ends")

        generator = numbers()
        async for number in generator:
            self.say("number", number)
            if number == leave:
                break
        await generator.aclose()

    async def do_manage(self, block):
        """A context manager, and a generator, made synchronous or not."""

        @contextlib.asynccontextmanager
        async def manager():
            self.say("enter")
            await asyncio.sleep(0)
            try:
                yield "managed"
            finally:
                self.say("exit")
                await asyncio.sleep(0.001)

        async def generator():
            try:
                for number in range(2):
                    await asyncio.sleep(0)
                    yield number
            finally:
                self.say("generated")

        if self.sync:
            with tworoutine(manager)() as value:
                for number in tworoutine(generator)():
                    self.say(value, number)
                tworoutine(self.block)(block)
        else:
            async with manager() as value:
                async for number in generator():
                    self.say(value, number)
                await self.block(block)

    async def do_future_later(self, delay, fails):
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        if fails:
            error = OSError("later")
            loop.call_later(
                delay, lambda: future.done() or future.set_exception(error)
            )
        else:
            loop.call_later(
                delay, lambda: future.done() or future.set_result(1)
            )
        self.say("future", await future)


class Lazy:
    """Calls what it holds to find out about an attribute."""

    def __init__(self, call):
        self._call = call

    def __getattr__(self, name):
        return self._call()

    def get(self):
        return self._call()


# Frames of C, or of Python's own making, between the call and the task.
BELOW = {
    "sorted": lambda call: sorted([0], key=lambda _: call() or 0),
    "map": lambda call: list(map(Lazy.get, [Lazy(call)])),
    "__getattr__": lambda call: Lazy(call).name,
    "re.sub": lambda call: re.sub("x", lambda _: call() or "", "x"),
    "partial": lambda call: functools.partial(call)(),
}


class Program:
    """Blocks of random statements: (kind, args, sync?, below, guard?)."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.budget = self.random.randint(5, 40)
        self.blocks = [self.block(0) for _ in range(self.random.randint(1, 5))]

    def block(self, depth):
        length = self.random.randint(1, 4 if depth < 3 else 1)
        return [self.statement(depth + 1) for _ in range(length)]

    def statement(self, depth):
        choose = self.random.choice
        self.budget -= 1
        simple = {
            "sleep": lambda: (self.delay(),),
            "nothing": lambda: (),
            "yields": lambda: (choose([1, 2, 5]),),
            "notify": lambda: (choose([1, 2]),),
            "condition": lambda: (),
            "set": lambda: (choose([0, 1, 2]),),
            "clear": lambda: (choose([0, 1, 2]),),
            "wait": lambda: (choose([0, 1, 2]),),
            "put": lambda: (self.random.randint(0, 9),),
            "get": lambda: (),
            "cancel": lambda: (self.random.randint(0, 9),),
            "cancel_self": lambda: (),
            "uncancel": lambda: (),
            "join": lambda: (self.random.randint(0, 9),),
            "var": lambda: (self.random.randint(0, 9),),
            "raise": lambda: (f"error {self.budget}",),
            "callback": lambda: (self.budget, choose([None, 0, 0.002])),
            "generate": lambda: (3, choose([0, 1, 9])),
            "future_later": lambda: (self.delay(), choose([True, False])),
        }
        deep = {
            "nest": lambda: (self.block(depth),),
            "lock": lambda: (choose([0, 1]), self.block(depth)),
            "semaphore": lambda: (self.block(depth),),
            "timeout": lambda: (self.delay(), self.block(depth)),
            "wait_for": lambda: (self.delay(), self.block(depth)),
            "gather": lambda: (self.several(depth), choose([True, False])),
            "group": lambda: (self.several(depth),),
            "shield": lambda: (self.block(depth),),
            "spawn": lambda: (self.block(depth),),
            "reset": lambda: (self.random.randint(0, 9), self.block(depth)),
            "handle": lambda: (f"key {self.budget}", self.block(depth)),
            "cleanup": lambda: (self.block(depth), self.block(depth)),
            "manage": lambda: (self.block(depth),),
        }
        kinds = simple if depth > 4 or self.budget <= 0 else simple | deep
        if self.random.random() < 0.3:
            kind = choose(["sleep", "yields", "nest"])
            kind = kind if kind in kinds else "sleep"
        else:
            kind = choose(sorted(kinds))
        args = kinds[kind]()
        return (
            kind,
            args,
            self.random.random() < 0.5,
            choose(sorted(BELOW)) if self.random.random() < 0.3 else None,
            self.random.random() < 0.7,
        )

    def several(self, depth):
        return [self.block(depth) for _ in range(self.random.randint(1, 3))]

    def delay(self):
        return self.random.choice([0, 0.001, 0.001, 0.002, 0.003, 0.007])


def execute(program, sync, variant):
    """Everything that can be seen of one run."""
    run = Run(program, sync, variant)
    make_loop = functools.partial(
        VirtualLoop,
        PythonTask if variant == "python" else Task,
        **({"eager_start": True} if variant in ("eager", "portal") else {}),
        portals=variant == "portal",
    )
    debug = variant == "debug"
    try:
        with asyncio.Runner(loop_factory=make_loop, debug=debug) as runner:
            log, outcomes = runner.run(run.main())
            left = len(asyncio.all_tasks(runner.get_loop()))
    except Stuck:
        return None  # a task swallowed its last cancel, and waits for ever
    return log, outcomes, left


def difference(seed, variant):
    """None, or the first thing in which the two runs of a seed differ."""
    awaited = execute(Program(seed), False, variant)
    if awaited is None:
        return None
    gc.collect()
    called = execute(Program(seed), True, variant)
    if awaited == called:
        return None
    if called is None:
        return "only the synchronous run got stuck"
    for index, pair in enumerate(zip(awaited[0], called[0], strict=False)):
        if pair[0] != pair[1]:
            return index, pair
    return "outcome", awaited[1:], called[1:]


def main():
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    first = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    variant = sys.argv[3] if len(sys.argv) > 3 else "plain"
    bad = 0
    # What a program leaves behind must not be thrown away, and clean up, in
    # the middle of another one.
    gc.disable()
    gc.freeze()
    for seed in range(first, first + count):
        faulthandler.dump_traceback_later(20, exit=True)
        found = difference(seed, variant)
        gc.collect()
        if found is not None:
            bad += 1
            print(f"seed {seed}: {found}", flush=True)
    print(f"{bad} of {count} programs differ")
    return bad > 0


if __name__ == "__main__":
    sys.exit(main())
