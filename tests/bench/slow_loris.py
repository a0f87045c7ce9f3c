# SPDX-License-Identifier: Apache-2.0
"""Honest callers beside 1,000 slow bodies and 10,000 idle streams: `python tests/bench/slow_loris.py` prints Markdown.

Slow ones open a call, send headers and a few bytes of the body, and then a byte a second. Idle
ones open a stream and say nothing; over 16 connections. Honest ones promise their sizes, as
matting_client does, and call from a process of their own. Interleaved: alone, beside them, alone.
"""

import argparse
import asyncio
import multiprocessing
import sys
from collections import Counter
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import grpc
import psutil
from matting.v1 import matting_service_pb2 as pb
from matting.v1 import matting_service_pb2_grpc as pb_grpc
from privacy_proof.service import Service, started_service
from testkit.local_triton import TEST_MODELS
from testkit.slow_client import SlowBody

SIDE_PX = 320
DEADLINE_S = 5.0
STREAM_CONNECTION_COUNT = 16
_TEXT_LENGTH = 32


def photo() -> pb.RemoveBackgroundRequest:
    pixels = pb.PixelImage(
        data=bytes(SIDE_PX * SIDE_PX * 3), width_px=SIDE_PX, height_px=SIDE_PX, pixel_format=pb.PIXEL_FORMAT_RGB8
    )
    return pb.RemoveBackgroundRequest(pixels=pixels, outputs=[pb.OutputSpec(raw=pb.RawEncoding())])


@dataclass
class Honest:
    """What became of the honest calls: codes, and when those began that were not answered in time."""

    codes: Counter[str] = field(default_factory=Counter)
    lost_at_s: list[float] = field(default_factory=list)
    latencies_s: list[float] = field(default_factory=list)

    @property
    def share(self) -> float:
        return self.codes["OK"] / self.codes.total()

    def row(self) -> str:
        """Return the cells of a table: part in time, 99th percentile of those, what became of the others and when."""
        p99_s = sorted(self.latencies_s)[int(0.99 * len(self.latencies_s))]
        others = ", ".join(f"{count} {code}" for code, count in self.codes.items() if code != "OK")
        when = f" ({min(self.lost_at_s):.1f} to {max(self.lost_at_s):.1f} s)" if self.lost_at_s else ""
        return f"{self.share:.3f} | {p99_s:.2f} | {others}{when}"


async def honest(service: Service, rate_per_s: float, duration_s: float) -> Honest:
    """Make the honest calls."""
    request = photo()
    metadata = (("x-matting-request-bytes", str(request.ByteSize())), ("x-matting-pixels", str(SIDE_PX * SIDE_PX)))
    result = Honest()
    async with service.channel() as channel:
        stub = pb_grpc.MattingServiceStub(channel)  # type: ignore[no-untyped-call]  # generated without types
        loop = asyncio.get_running_loop()
        began_s, calls = loop.time(), []

        async def call() -> None:
            since_s = loop.time()
            try:
                await stub.RemoveBackground(request, timeout=DEADLINE_S, metadata=metadata)
            except grpc.aio.AioRpcError as exc:
                result.codes[f"{exc.code().name} {(exc.details() or '')[:_TEXT_LENGTH]!r}"] += 1
                result.lost_at_s.append(since_s - began_s)
            else:
                result.codes["OK"] += 1
                result.latencies_s.append(loop.time() - since_s)

        for number in range(int(rate_per_s * duration_s)):
            await asyncio.sleep(began_s + number / rate_per_s - loop.time())
            calls.append(asyncio.create_task(call()))
        await asyncio.gather(*calls)
    return result


async def idle_stream(channel: grpc.aio.Channel) -> None:
    stub = pb_grpc.MattingServiceStub(channel)  # type: ignore[no-untyped-call]  # generated without types
    with suppress(grpc.aio.AioRpcError):
        await stub.StreamRemoveBackground().read()


async def attack(service: Service, given: argparse.Namespace) -> None:
    """Open everything at once, and hold it until the end."""
    async with AsyncExitStack() as stack:
        channels = [await stack.enter_async_context(service.channel()) for _ in range(STREAM_CONNECTION_COUNT)]
        streams = [asyncio.create_task(idle_stream(channels[i % len(channels)])) for i in range(given.streams)]
        bodies = [SlowBody(service.address, promised_bytes=given.promise) for _ in range(given.bodies)]
        await asyncio.gather(*(body.open() for body in bodies))
        drips = [asyncio.create_task(body.drip()) for body in bodies]
        try:
            await asyncio.Event().wait()
        finally:
            for task in (*streams, *drips):
                task.cancel()
            await asyncio.gather(*streams, *drips, return_exceptions=True)


def attack_in_process(service: Service, given: argparse.Namespace) -> None:
    with suppress(KeyboardInterrupt):
        asyncio.run(attack(service, given))


async def besieged(service: Service, given: argparse.Namespace) -> Honest:
    """Make the honest calls from the moment on in which the others begin, in a process of their own."""
    theirs = replace(service, output=None)
    attacker = multiprocessing.get_context("spawn").Process(target=attack_in_process, args=(theirs, given))
    attacker.start()
    try:
        return await honest(service, given.rate, given.seconds)
    finally:
        attacker.kill()
        attacker.join()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bodies", type=int, default=1000)
    parser.add_argument("--streams", type=int, default=10_000)
    parser.add_argument("--rate", type=float, default=20)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--promise", type=int, help="what slow bodies promise of their size; nothing if left out")
    given = parser.parse_args()
    with started_service("--repository", str(TEST_MODELS), "--default-model", "nothing") as service:
        process = psutil.Process(service.pid)
        sys.stdout.write(
            "| phase | honest in time | p99 s | not in time | resident MiB | peak MiB |\n|---|---|---|---|---|---|\n"
        )
        for phase in ("alone", "besieged", "alone"):
            calls = honest(service, given.rate, given.seconds) if phase == "alone" else besieged(service, given)
            made = asyncio.run(calls)
            peak_kib = int(Path(f"/proc/{service.pid}/status").read_text().partition("VmHWM:")[2].split()[0])
            sys.stdout.write(f"| {phase} | {made.row()} | {process.memory_info().rss >> 20} | {peak_kib >> 10} |\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
