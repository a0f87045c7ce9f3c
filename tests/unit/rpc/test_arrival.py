# SPDX-License-Identifier: Apache-2.0
"""Nobody asks for memory before a message has begun to come, and nobody waits for that for ever."""

import asyncio
from typing import Any, cast

import pytest
from matting_gateway.errors import DrainingError, OverloadedError, ResidencyExceededError
from matting_gateway.grpc_server.bare_call import BareCall
from matting_gateway.rpc.arrival import Arrival, StreamArrival


class Coming:
    """A call of which nothing comes until told to."""

    def __init__(self) -> None:
        self.begins = asyncio.Event()

    @property
    def begun(self) -> bool:
        return self.begins.is_set()

    async def has_begun(self) -> None:
        await self.begins.wait()

    @property
    def call(self) -> BareCall:
        return cast("BareCall", self)


async def test_a_message_that_has_begun_is_not_waited_for() -> None:
    coming = Coming()
    coming.begins.set()
    await Arrival(0.01).begun(coming.call)
    await StreamArrival(draining=asyncio.Event(), idle_timeout_s=0.01).next_begun(coming.call, in_work=())


async def test_a_message_that_does_not_begin_in_time_is_given_up() -> None:
    with pytest.raises(ResidencyExceededError, match="did not arrive"):
        await Arrival(0.01).begun(Coming().call)


async def test_a_stream_may_be_idle_for_a_time() -> None:
    with pytest.raises(OverloadedError, match="was idle"):
        await StreamArrival(draining=asyncio.Event(), idle_timeout_s=0.01).next_begun(Coming().call, in_work=())


async def test_a_stream_with_items_in_work_is_not_idle_until_they_have_ended() -> None:
    arrival = StreamArrival(draining=asyncio.Event(), idle_timeout_s=0.05)
    item: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    in_work = {item}
    item.add_done_callback(in_work.discard)
    asyncio.get_running_loop().call_later(0.1, item.set_result, None)
    with pytest.raises(OverloadedError, match="was idle"):
        await arrival.next_begun(Coming().call, in_work=in_work)
    assert item.done()


async def test_a_stream_that_may_be_idle_ends_when_the_gateway_does() -> None:
    draining = asyncio.Event()
    asyncio.get_running_loop().call_later(0.05, draining.set)
    with pytest.raises(DrainingError):
        await StreamArrival(draining=draining, idle_timeout_s=0.01).next_begun(
            Coming().call, in_work=(), may_idle=("a sequence",)
        )
