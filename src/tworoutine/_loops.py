"""The end of a loop that is ours, as ``asyncio.Runner`` ends one."""

import asyncio

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
    executor = getattr(loop, "_default_executor", None)
    if executor is None:
        return
    loop._executor_shutdown_called = True
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


_of_parents = []  # loops of parent processes that only lie here


def discard_loop(loop):
    """Drop a loop that cannot be closed.

    If it was inherited by a forked child, its selector is shared with the
    parent, so nothing may be unregistered there; only this process's
    descriptors are closed.  Its tasks go on there: here, nobody misses them.
    """
    if loop is None or loop.is_closed():
        return
    if not hasattr(loop, "_selector"):
        _of_parents.append(loop)  # not of asyncio's kind: nothing is known
        return
    for task in asyncio.all_tasks(loop):
        task._log_destroy_pending = False
    for name in ("_selector", "_ssock", "_csock"):
        resource = getattr(loop, name, None)
        if resource is not None:
            resource.close()
    loop._closed = True
