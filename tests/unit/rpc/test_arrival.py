# SPDX-License-Identifier: Apache-2.0
"""Nobody asks for memory before a message has begun to come, and nobody waits for that for ever."""

import asyncio
from typing import cast

import pytest
from matting_gateway.errors import ResidencyExceededError
from matting_gateway.grpc_server.bare_call import BareCall
from matting_gateway.rpc.arrival import Arrival


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


async def test_a_message_that_does_not_begin_in_time_is_given_up() -> None:
    with pytest.raises(ResidencyExceededError, match="did not arrive"):
        await Arrival(0.01).begun(Coming().call)
