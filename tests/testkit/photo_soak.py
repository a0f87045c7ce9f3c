# SPDX-License-Identifier: Apache-2.0
"""Small photos by the thousand through a running gateway, and what it holds in memory between them."""

import asyncio
import io
from collections.abc import AsyncIterator
from dataclasses import dataclass

import grpc
import numpy as np
from matting.v1 import matting_service_pb2 as pb
from PIL import Image

from testkit.process_memory import resident_bytes, shared_bytes
from testkit.program import Service

_IN_FLIGHT = 16
_PATIENCE_S, _PAUSE_S = 60.0, 1.0
_KINDS = (pb.OUTPUT_KIND_ALPHA, pb.OUTPUT_KIND_ALPHA, pb.OUTPUT_KIND_CUTOUT)
# AVIF takes far longer than the others, so there is less of it.
_ENCODINGS = (*("image/png", "image/png", "image/webp", "image/png", "image/png") * 2, "image/avif")


@dataclass(frozen=True)
class Reading:
    """How many photos were sent so far, how many answered, and what the gateway and its decoders hold now.

    What is shared with the backend is left out: it has a budget of its own, of which the large batches after a stall
    take more than a quiet hour does, and is given up when idle.
    """

    sent: int
    answered: int
    resident_bytes: int


def requests() -> list[pb.RemoveBackgroundRequest]:
    """Return the requests that are sent over and over: formats, results, and now and then a photo that is none."""
    rng = np.random.default_rng(0)
    made = []
    for number in range(33):
        sides = (int(rng.integers(24, 96)), int(rng.integers(24, 96)))
        stream = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (*sides, 3), np.uint8)).save(stream, ("JPEG", "PNG", "WEBP")[number % 3])
        content = stream.getvalue() if number % 16 else b"not a photo"
        encoding = pb.ImageEncoding(mime_type=_ENCODINGS[number % len(_ENCODINGS)])
        output = pb.OutputSpec(kind=_KINDS[number // 3 % len(_KINDS)], encoded=encoding)
        made.append(pb.RemoveBackgroundRequest(encoded=pb.EncodedImage(content=content), outputs=[output]))
    return made


async def soak(service: Service, count: int, parts: int) -> AsyncIterator[Reading]:
    """Send so many photos, a few at a time; yield a reading after each part, when nothing is in flight."""
    photos = requests()
    answered = 0
    for part in range(1, parts + 1):
        answered += await _send(service, photos, count // parts)
        async with asyncio.timeout(30):
            while await service.metric("matting_resident_bytes"):
                continue
        pid = service.process.pid
        yield Reading(part * (count // parts), answered, resident_bytes(pid) - shared_bytes(pid))


async def shared_memory_given_up(service: Service) -> None:
    """Wait until the gateway holds no memory that it shares with a backend, as it must soon after its last batch."""
    async with asyncio.timeout(30):
        while shared_bytes(service.process.pid):
            await service.metrics()


async def _send(service: Service, photos: list[pb.RemoveBackgroundRequest], count: int) -> int:
    """Send so many photos; return how many were answered."""
    todo = iter(range(count))
    answered = 0

    async def caller() -> None:
        nonlocal answered
        for number in todo:
            if await _is_answered(service, photos[number % len(photos)]):
                answered += 1

    async with asyncio.TaskGroup() as callers:
        for _ in range(_IN_FLIGHT):
            callers.create_task(caller())
    return answered


async def _is_answered(service: Service, photo: pb.RemoveBackgroundRequest) -> bool:
    """Send a photo; again where a machine that is busy with others stalled the backend, as the answer then says."""
    async with asyncio.timeout(_PATIENCE_S):
        while True:
            try:
                await service.stub.RemoveBackground(photo, timeout=_PATIENCE_S)
            except grpc.aio.AioRpcError as error:
                if error.code() is grpc.StatusCode.INVALID_ARGUMENT:
                    return False
                if error.code() is not grpc.StatusCode.UNAVAILABLE:
                    raise
                await asyncio.sleep(_PAUSE_S)
            else:
                return True
