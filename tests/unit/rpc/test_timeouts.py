# SPDX-License-Identifier: Apache-2.0
"""Time-outs of equal length end blocks as `asyncio.timeout` does."""

import asyncio

import pytest
from matting_gateway.rpc.boundary.timeouts import Timeouts


async def forever() -> None:
    await asyncio.get_running_loop().create_future()


async def test_a_block_that_is_left_in_time_is_left_alone() -> None:
    timeouts = Timeouts(60.0)
    with timeouts.block():
        await asyncio.sleep(0)
    assert "0 under way" in repr(timeouts)


async def test_a_block_that_takes_too_long_ends_with_a_time_out() -> None:
    timeouts = Timeouts(0.01)
    with pytest.raises(TimeoutError), timeouts.block():
        await forever()
    task = asyncio.current_task()
    assert task is not None
    assert not task.cancelling()


async def test_of_many_blocks_each_has_its_own_time() -> None:
    timeouts = Timeouts(0.05)
    began = asyncio.Event()

    async def wait(until: asyncio.Event) -> str:
        try:
            with timeouts.block():
                began.set()
                await until.wait()
        except TimeoutError:
            return "late"
        return "in time"

    never, soon = asyncio.Event(), asyncio.Event()
    first, second, third = (asyncio.create_task(wait(event)) for event in (never, soon, never))
    await began.wait()
    soon.set()
    assert await second == "in time"
    assert [await first, await third] == ["late", "late"]


async def test_a_block_may_be_ended_early() -> None:
    timeouts = Timeouts(60.0)

    async def wait() -> None:
        with timeouts.block() as block:
            block.expire()
            await forever()

    with pytest.raises(TimeoutError):
        await wait()


async def test_a_block_that_has_ended_does_not_expire_any_more() -> None:
    timeouts = Timeouts(60.0)
    with timeouts.block() as block:
        pass
    block.expire()
    await asyncio.sleep(0)


async def test_who_is_cancelled_is_cancelled_and_not_late() -> None:
    timeouts = Timeouts(60.0)

    async def wait() -> None:
        with timeouts.block():
            await forever()

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_who_is_cancelled_and_late_at_once_is_cancelled() -> None:
    timeouts = Timeouts(60.0)
    blocks = []

    async def wait() -> None:
        with timeouts.block() as block:
            blocks.append(block)
            await forever()

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    blocks[0].expire()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_an_error_in_a_block_passes_through() -> None:
    with pytest.raises(LookupError), Timeouts(60.0).block():
        raise LookupError
