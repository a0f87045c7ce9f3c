# SPDX-License-Identifier: Apache-2.0
"""Several gateways on one port of several loopback addresses, as pods have it; each can be stopped and begun anew."""

import asyncio
import signal
import socket
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Self

from testkit.program import Service, running_service

HOSTS = ("127.0.0.2", "127.0.0.3", "127.0.0.4")


class Gateways:
    """Owns the programs, by their address. All have the same arguments, but for those that one is begun anew with."""

    def __init__(self, *arguments: str) -> None:
        self._arguments = arguments
        self._stacks: dict[str, AsyncExitStack] = {}
        self.services: dict[str, Service] = {}
        self.port = free_port(HOSTS)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.gather(*(stack.aclose() for stack in self._stacks.values()))

    async def start(self, *hosts: str, more: Sequence[str] = ()) -> None:
        """Start gateways, and wait until they serve."""
        async with asyncio.TaskGroup() as group:
            for host in hosts:
                group.create_task(self._start(host, more))

    async def _start(self, host: str, more: Sequence[str]) -> None:
        listen = ("--listen", f"{host}:{self.port}")
        stack = self._stacks[host] = AsyncExitStack()
        self.services[host] = await stack.enter_async_context(
            running_service(*listen, *self._arguments, *more, listen=False)
        )

    async def restart(self, host: str, *, more: Sequence[str] = ()) -> int:
        """Stop a gateway as its operator would, start it anew, and return how the old one ended."""
        code = await self.services[host].stop()
        await self._stacks.pop(host).aclose()
        await self._start(host, more)
        return code

    async def kill(self, host: str) -> None:
        """End a gateway at once."""
        process = self.services[host].process
        process.send_signal(signal.SIGKILL)
        await process.wait()

    async def call_counts(self, method: str, hosts: Sequence[str] = HOSTS) -> Mapping[str, float]:
        """Return how many calls of a method each has answered, by address."""
        counts = await asyncio.gather(*(self._call_count(host, method) for host in hosts))
        return dict(zip(hosts, counts, strict=True))

    async def _call_count(self, host: str, method: str) -> float:
        samples = await self.services[host].metrics()
        return sum(
            value
            for (name, labels), value in samples.items()
            if name == "grpc_server_handled_total" and ("grpc_method", method) in labels
        )


def shares(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """Return what part of the calls between two counts each gateway got."""
    got = {host: after[host] - before.get(host, 0.0) for host in after}
    return {host: count / max(1.0, sum(got.values())) for host, count in got.items()}


def free_port(hosts: Sequence[str]) -> int:
    """Return a port that is free on all of them."""
    while True:
        with socket.socket() as first:
            first.bind((hosts[0], 0))
            port = int(first.getsockname()[1])
            try:
                for host in hosts[1:]:
                    with socket.socket() as other:
                        other.bind((host, port))
            except OSError:
                continue
            return port
