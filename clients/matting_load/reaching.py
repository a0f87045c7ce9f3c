# SPDX-License-Identifier: Apache-2.0
"""Before the clock starts: every connection of a test is open, or it is said why it cannot be.

A test of an address where nobody listens would be as many failed calls as a processor can make.
"""

import asyncio
import os
import socket
import ssl

import grpc
import grpc.aio
from matting_client import Tls

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
    # gRPC does not say why, so a plain connection is asked.
    await reach_socket(address)
    raise UnreachableError(f"{address} takes connections, but {await _why_not(address, tls)}")


async def reach_socket(address: str) -> None:
    """Return once a connection to HOST:PORT or unix:PATH could be opened, and is closed again.

    Raises:
        UnreachableError: It could not.
    """
    await _open(address, None)


async def _why_not(address: str, tls: Tls | None) -> str:
    """Say why gRPC does not come about on a connection that does."""
    if tls is None:
        try:
            await _open(address, _trusting_anybody())
        except (OSError, TimeoutError):
            return "speaks no gRPC: is another program there?"
        return "speaks TLS: --tls trusts the usual roots, --tls-ca those of a file"
    try:
        context = ssl.create_default_context(cafile=None if tls.ca_file is None else os.fspath(tls.ca_file))
        context.check_hostname = False
        await _open(address, context)
    except ssl.SSLCertVerificationError as error:
        return f"its certificate is not trusted: {error.verify_message} (--tls-ca names other roots)"
    except (OSError, TimeoutError):
        return "speaks no TLS: leave the --tls options out where it listens in the clear"
    return "no gRPC comes about over TLS: look at the name in its certificate (--tls-server-name) and at --tls-cert"


async def _open(address: str, context: ssl.SSLContext | None) -> None:
    try:
        async with asyncio.timeout(CONNECT_S):
            if address.startswith("unix:"):
                _, writer = await asyncio.open_unix_connection(
                    address.removeprefix("unix:"), ssl=context, server_hostname="" if context else None
                )
            else:
                host, _, port = address.removeprefix("dns:///").rpartition(":")
                _, writer = await asyncio.open_connection(host.strip("[]"), int(port), ssl=context)
    except TimeoutError as error:
        if context is not None:
            raise
        raise _nobody(address, f"no answer within {CONNECT_S:g} s") from error
    except socket.gaierror as error:
        raise _nobody(address, "the name is not known") from error
    except OSError as error:
        if context is not None:
            raise
        raise _nobody(address, os.strerror(error.errno).lower() if error.errno else str(error)) from error
    writer.close()


def _nobody(address: str, reason: str) -> UnreachableError:
    return UnreachableError(f"no server answers at {address} ({reason}): is it running? --address names another")


def _trusting_anybody() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
