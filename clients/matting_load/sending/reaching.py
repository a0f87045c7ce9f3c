# SPDX-License-Identifier: Apache-2.0
"""Before the clock starts: every connection of a test is open, or it is said why it cannot be.

A test of an address where nobody listens would be as many failed calls as a processor can make.
"""

import asyncio

import grpc
import grpc.aio
from matting_client import Tls
from matting_client.program.reach import look

CONNECT_S = 5.0


class UnreachableError(ConnectionError):
    """Nothing that calls could be sent to answers at an address of the test."""


async def reach_channel(channel: grpc.aio.Channel, address: str, tls: Tls | None) -> None:
    """Return once a channel to an address is connected.

    Raises:
        UnreachableError: The connection failed, or took more than CONNECT_S.
    """
    try:
        async with asyncio.timeout(CONNECT_S):
            while (state := channel.get_state(try_to_connect=True)) is not grpc.ChannelConnectivity.READY:
                if state is grpc.ChannelConnectivity.TRANSIENT_FAILURE:
                    break
                await channel.wait_for_state_change(state)
            else:
                return
    except TimeoutError:
        pass
    # gRPC does not say why, so that it is looked at once more by plain sockets.
    wrong, listens = await asyncio.to_thread(look, address, tls)
    raise (
        _nobody(address, wrong)
        if not listens
        else UnreachableError(
            wrong or f"{address} takes connections, but none of gRPC came about within {CONNECT_S:g} s"
        )
    )


async def reach_socket(host: str, port: int) -> None:
    """Return once a connection could be opened, and is closed again.

    Raises:
        UnreachableError: It could not.
    """
    try:
        async with asyncio.timeout(CONNECT_S):
            _, writer = await asyncio.open_connection(host, port)
    except OSError as error:  # a time-out is one
        address = f"{host}:{port}"
        wrong, _ = await asyncio.to_thread(look, address, None)
        raise _nobody(address, wrong) from error
    writer.close()


def _nobody(address: str, wrong: str) -> UnreachableError:
    closer = f" ({wrong})" if wrong else ""
    return UnreachableError(f"no server answered at {address}{closer}; is it running? --address names another")
