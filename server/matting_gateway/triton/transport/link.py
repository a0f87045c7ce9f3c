# SPDX-License-Identifier: Apache-2.0
"""One connection to a Triton, and everything that goes over it."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import grpc
from grpc_h2.client.caller import UnaryCaller

from matting_gateway.triton.discovery.discovery import Discoverer
from matting_gateway.triton.settings import PoolSettings, channel_options
from matting_gateway.triton.transport.addresses import Address
from matting_gateway.triton.transport.contact import Finding, find_out
from matting_gateway.triton.transport.exchange import INFER_METHOD, Exchange


class Link:
    """A channel and a caller with the credentials of their time, and what is bound to them.

    Batches go through the caller, everything else through the channel. Owns both, the exchange with its slabs, and
    the count of calls. `generation` tells which
    credentials it was made with.
    """

    def __init__(self, address: Address, settings: PoolSettings) -> None:
        self.generation = settings.channel_generation()
        self.channel = settings.channel_factory(address.target, address.server_name, channel_options(settings))
        self._caller = UnaryCaller(
            address.target,
            INFER_METHOD,
            max_message_bytes=settings.max_message_bytes,
            connect_timeout_s=settings.probe_timeout_s,
            tls=settings.tls(),
            server_name=address.server_name,
        )
        self.exchange = Exchange(self._caller, self.channel, settings=settings)
        self.discoverer = Discoverer(
            self.channel,
            backend=address.label,
            timeout_s=settings.probe_timeout_s,
            wanted_model=settings.wanted_model,
        )
        self._find_out = partial(find_out, address.target, settings.tls(), address.server_name)
        self._call_count = 0
        self._idle = asyncio.Event()
        self._idle.set()

    async def find_out(self, timeout_s: float) -> Finding | None:
        """Return what is at the address where no Triton answers, by a connection of its own."""
        return await self._find_out(timeout_s)

    @contextmanager
    def in_use(self) -> Iterator["Link"]:
        """Count a call within the block: the link outlives it."""
        self._begin()
        try:
            yield self
        finally:
            self._end()

    def open_stream(self, method: str, traceparent: str = "") -> grpc.aio.StreamStreamCall[bytes, bytes]:
        """Open a stream of messages as they come; it counts as a call."""
        streams: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = self.channel.stream_stream(method)
        stream = streams(metadata=trace_metadata(traceparent))
        self._begin()
        stream.add_done_callback(lambda _: self._end())
        return stream

    async def retire(self) -> None:
        """Close it as soon as its last call has ended."""
        try:
            await self._idle.wait()
        finally:
            await self.close()

    async def close(self) -> None:
        """Close it now; calls in progress fail."""
        await self._caller.close()
        await self.exchange.close()
        await self.channel.close()

    def __repr__(self) -> str:
        return f"<Link of generation {self.generation}, {self._call_count} calls>"

    def _begin(self) -> None:
        self._call_count += 1
        self._idle.clear()

    def _end(self) -> None:
        self._call_count -= 1
        if self._call_count == 0:
            self._idle.set()


def trace_metadata(traceparent: str) -> tuple[tuple[str, str], ...] | None:
    """Return the metadata that tell a backend of the trace that a call is part of, if any."""
    return (("traceparent", traceparent),) if traceparent else None
