"""Cancellation and timeouts around, inside and across a call."""

import asyncio
import sys

import pytest

from tworoutine import tworoutine


@tworoutine
async def sleep(seconds):
    await asyncio.sleep(seconds)


@tworoutine
async def wait(event):
    await event.wait()


def run_prepared(main):
    """Run main after a first call, which is special, is over."""

    async def prepared():
        sleep(0)
        return await main()

    return asyncio.run(asyncio.wait_for(prepared(), 10))


@pytest.mark.parametrize(
    "run", [run_prepared, lambda main: asyncio.run(main())]
)
def test_timeout_around_a_call(run):
    async def main():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                sleep(60)
        assert asyncio.current_task().cancelling() == 0
        # Nothing is delivered a second time.
        await asyncio.sleep(0)
        sleep(0)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(blocked(), 0.01)

    async def blocked():
        sleep(60)

    run(main)


def test_timeout_inside_a_call(place):
    @tworoutine
    async def limited():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                sleep(60)
        return "went on"

    assert place(limited) == "went on"


def test_nested_timeouts_end_the_right_block():
    async def main():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(60):
                async with asyncio.timeout(0.01):
                    sleep(60)
        inner_ended = False
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                async with asyncio.timeout(60):
                    try:
                        sleep(60)
                    finally:
                        inner_ended = True
        assert inner_ended

    run_prepared(main)


def test_cancel_reaches_the_inner_coroutine_with_its_message():
    log = []

    @tworoutine
    async def inner(event):
        try:
            await event.wait()
        except asyncio.CancelledError as exc:
            log.append(exc.args)
            raise
        finally:
            await asyncio.sleep(0)  # cleanup may wait
            log.append("cleaned up")

    async def caller(event):
        inner(event)

    async def main():
        task = asyncio.create_task(caller(asyncio.Event()))
        await asyncio.sleep(0)
        assert task.cancel("why")
        assert task.cancelling() == 1
        with pytest.raises(asyncio.CancelledError):
            await task
        assert task.cancelled()

    run_prepared(main)
    assert log == [("why",), "cleaned up"]


def test_a_swallowed_cancel_is_not_delivered_again():
    async def caller(event, log):
        try:
            wait(event)
        except asyncio.CancelledError:
            log.append("swallowed")
        sleep(0)
        await asyncio.sleep(0)
        sleep(0)
        return asyncio.current_task().uncancel()

    async def main():
        log = []
        task = asyncio.create_task(caller(asyncio.Event(), log))
        await asyncio.sleep(0)
        task.cancel()
        assert await task == 0
        assert log == ["swallowed"]

    run_prepared(main)


def test_two_cancels_count_as_two():
    async def caller(event):
        try:
            wait(event)
        except asyncio.CancelledError:
            return asyncio.current_task().cancelling()

    async def main():
        task = asyncio.create_task(caller(asyncio.Event()))
        await asyncio.sleep(0)
        task.cancel()
        task.cancel()
        assert await task == 2

    run_prepared(main)


def test_a_task_that_cancels_itself_is_cancelled_at_its_next_call():
    async def main():
        asyncio.current_task().cancel("self")
        with pytest.raises(asyncio.CancelledError, match="self"):
            sleep(0)
        with pytest.raises(asyncio.CancelledError):
            asyncio.current_task().cancel()
            sleep(1)
        sleep(0)
        await asyncio.sleep(0)

    run_prepared(main)


def test_a_task_whose_future_fails_to_be_cancelled_waits_for_it_no_more():
    class Future(asyncio.Future):
        def cancel(self, msg=None):
            raise ZeroDivisionError

    @tworoutine
    async def wait(future):
        await future

    async def main():
        task = asyncio.current_task()
        task.cancel()
        with pytest.raises(ZeroDivisionError):
            wait(Future())
        assert task._fut_waiter is None
        assert task.cancel()  # is for its next await
        with pytest.raises(asyncio.CancelledError):
            sleep(10)
        assert task.uncancel() == 1
        assert task.uncancel() == 0

    run_prepared(main)


def test_cancel_that_comes_when_the_future_is_already_done():
    """The wake-up is under way: the cancel must win, as for await."""

    async def caller(future):
        await_result(future)

    @tworoutine
    async def await_result(future):
        return await future

    async def main():
        future = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(caller(future))
        await asyncio.sleep(0)
        future.set_result(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run_prepared(main)


def test_task_group_cancels_blocked_siblings():
    async def program(log, synchronous):
        async def blocked(event):
            try:
                if synchronous:
                    wait(event)
                else:
                    await (~wait)(event)
            finally:
                log.append("finally")

        async def fails():
            sleep(0)
            raise ValueError("one")

        with pytest.raises(ExceptionGroup) as caught:
            async with asyncio.TaskGroup() as group:
                for _ in range(3):
                    group.create_task(blocked(asyncio.Event()))
                group.create_task(fails())
        log.append(repr(caught.value))
        log.append(asyncio.current_task().cancelling())

    async def main():
        called, awaited = [], []
        await asyncio.create_task(program(awaited, False))
        await asyncio.create_task(program(called, True))
        assert called == awaited
        assert called[:3] == ["finally"] * 3

    run_prepared(main)


def test_task_group_inside_a_call(place):
    @tworoutine
    async def grouped():
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task((~double)(n)) for n in range(3)]
        return [task.result() for task in tasks]

    @tworoutine
    async def double(n):
        sleep(0)
        return 2 * n

    assert place(grouped) == [0, 2, 4]


def test_shield_protects_what_a_call_waits_for():
    async def main():
        event = asyncio.Event()
        inner = asyncio.ensure_future((~wait)(event))

        @tworoutine
        async def shielded():
            await asyncio.shield(inner)

        async def caller():
            shielded()

        task = asyncio.create_task(caller())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not inner.done()
        event.set()
        await inner

    run_prepared(main)


def test_cancelling_a_blocked_callback_reaches_its_coroutine():
    """A callback has no task; its call has one, which can be cancelled."""

    async def main():
        loop = asyncio.get_running_loop()
        hosted, ended = loop.create_future(), loop.create_future()

        @tworoutine
        async def inner():
            hosted.set_result(asyncio.current_task())
            await asyncio.sleep(60)

        def callback():
            try:
                inner()
            except asyncio.CancelledError:
                ended.set_result("cancelled")

        loop.call_soon(callback)
        (await hosted).cancel()
        assert await ended == "cancelled"

    run_prepared(main)


def test_asyncio_run_interrupted_by_an_exception_of_main():
    log = []

    async def blocked(event):
        try:
            wait(event)
        finally:
            log.append("finally")

    async def main():
        sleep(0)
        task = asyncio.create_task(blocked(asyncio.Event()))
        sleep(0)
        assert not task.done()
        raise LookupError("main")

    with pytest.raises(LookupError):
        asyncio.run(main())
    assert log == ["finally"]


def test_system_exit_leaves_the_loop_as_from_await():
    async def exits():
        sleep(0)
        sys.exit(3)

    async def main():
        sleep(0)
        task = asyncio.create_task(exits())
        sleep(60)
        assert not task.done(), "never reached"

    with pytest.raises(SystemExit) as caught:
        asyncio.run(main())
    assert caught.value.code == 3
