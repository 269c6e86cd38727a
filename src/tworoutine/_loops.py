"""The end of a loop that is ours, as ``asyncio.Runner`` ends one."""

import asyncio

from tworoutine._private import executor_shut_down

_THREAD_JOIN_TIMEOUT = 300  # seconds, as asyncio.Runner


async def cancel_tasks(loop, tasks):
    """Cancel tasks, wait for them, and tell of what they raise."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for task in tasks:
        if not task.cancelled() and task.exception() is not None:
            loop.call_exception_handler(
                {
                    "message": "unhandled exception while closing the loop "
                    "of synchronous calls",
                    "exception": task.exception(),
                    "task": task,
                }
            )


async def shutdown_executor(loop):
    """As ``loop.shutdown_default_executor``, which starts a thread to wait.

    At the end of the interpreter none can be started, and at the end of a
    thread, starting one registers the thread that ends as a dummy, for ever.
    """
    executor = executor_shut_down(loop)
    if executor is None:
        return
    executor.shutdown(wait=False)
    end = loop.time() + _THREAD_JOIN_TIMEOUT
    while any(thread.is_alive() for thread in executor._threads):
        if loop.time() > end:
            return
        await asyncio.sleep(0.001)


def end_loop(loop, run):
    """End what loop, which does not run, still has: before it is closed.

    run(coro): has loop run coro, and returns when that has ended.
    """
    # From outside: inside, 3.14 looks at the tasks of this thread alone,
    # and as the thread ends these are no longer its own.
    tasks = asyncio.all_tasks(loop)
    if tasks:
        run(cancel_tasks(loop, tasks))
    # Two runs, as Runner has them: so many turns are there for what is
    # queued, as the closing of generators that were collected.
    run(loop.shutdown_asyncgens())
    run(shutdown_executor(loop))
