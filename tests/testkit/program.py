# SPDX-License-Identifier: Apache-2.0
"""The program `matting-gateway serve` as a user runs it: a process of its own, free ports, its log read."""

import asyncio
import json
import signal
import sys
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
from matting.v1 import matting_service_pb2_grpc as pb_grpc
from prometheus_client.parser import text_string_to_metric_families

from testkit.gateway import wait_serving

PROGRAM = Path(sys.executable).with_name("matting-gateway")
ROOT = Path(__file__).parents[2]


@dataclass
class Service:
    """A running program. `events` holds every line of its log so far; `told` is notified of each."""

    process: asyncio.subprocess.Process
    channel: grpc.aio.Channel
    address: str
    metrics_address: str
    events: list[dict[str, Any]] = field(default_factory=list)
    told: asyncio.Condition = field(default_factory=asyncio.Condition)

    @property
    def stub(self) -> pb_grpc.MattingServiceStub:
        return pb_grpc.MattingServiceStub(self.channel)  # type: ignore[no-untyped-call]  # generated without types

    async def metrics(self) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
        """Return every sample of /metrics by name and labels."""
        url = f"http://{self.metrics_address}/metrics"
        text = (await asyncio.to_thread(lambda: urllib.request.urlopen(url).read())).decode()
        return {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    async def metric(self, name: str, **labels: str) -> float:
        return (await self.metrics()).get((name, tuple(sorted(labels.items()))), 0.0)

    async def events_named(self, name: str) -> list[dict[str, Any]]:
        """Return the log's lines of that event, as soon as there is one."""

        def named() -> list[dict[str, Any]]:
            return [event for event in self.events if event["event"] == name]

        async with asyncio.timeout(30), self.told:
            return await self.told.wait_for(named)

    async def stop(self) -> int:
        """Stop it as its operator would, and return its exit code."""
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
        return await self.process.wait()


@asynccontextmanager
async def running_service(
    *arguments: str, serving: bool = True, environment: dict[str, str] | None = None, listen: bool = True
) -> AsyncIterator[Service]:
    """Run the program until the end of the block; waits until it serves unless told otherwise.

    On a free port, or with `listen` off on that which the arguments name.
    """
    address = ("--listen", "127.0.0.1:0") if listen else ()
    process = await asyncio.create_subprocess_exec(
        PROGRAM, "serve", *address, "--metrics-listen", "127.0.0.1:0", "--cache", str(ROOT / ".cache"), *arguments,
        stdout=asyncio.subprocess.PIPE, env=environment,
    )  # fmt: skip
    addresses: dict[str, str] = {}
    events: list[dict[str, Any]] = []
    told = asyncio.Condition()
    listening = asyncio.Event()

    async def follow() -> None:
        if process.stdout is None:
            raise RuntimeError("the program's output is not piped")
        async for line in process.stdout:
            event = json.loads(line)
            async with told:
                events.append(event)
                told.notify_all()
            if event["event"] == "listening":
                addresses[event["state"]] = event["address"]
                if len(addresses) == 2:
                    listening.set()
        listening.set()

    follower = asyncio.create_task(follow())
    try:
        async with asyncio.timeout(300):
            await listening.wait()
        if len(addresses) < 2:
            raise RuntimeError(f"the program ended with {await process.wait()} before it served")
        options = (("grpc.max_receive_message_length", -1), ("grpc.use_local_subchannel_pool", 1))
        async with grpc.aio.insecure_channel(addresses["grpc"], options=options) as channel:
            if serving:
                await wait_serving(channel)
            yield Service(process, channel, addresses["grpc"], addresses["metrics"], events, told)
    finally:
        if process.returncode is None:
            process.terminate()
            try:
                async with asyncio.timeout(60):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()
        await follower
