# SPDX-License-Identifier: Apache-2.0
"""Two hundred thousand small photos through the gateway: its memory must stay flat.

Do-nothing model; every result kind, and bad photos among them. The resident memory of the gateway
and its decoders after all of it may be at most 2 MB more than after the first tenth.
`python tests/bench/soak_photos.py [--count 200000]`.
"""

import argparse
import asyncio
import io
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import grpc
import numpy as np
from bench.memory_bound import gateway_bytes
from matting.v1 import matting_service_pb2 as pb
from PIL import Image
from testkit.local_triton import TEST_MODELS
from testkit.program import Service, running_service

ALLOWED_BYTES = 2_000_000
IN_FLIGHT = 16


def requests() -> list[pb.RemoveBackgroundRequest]:
    """Return the requests that are sent over and over: formats, results, and a photo that is none."""
    rng = np.random.default_rng(0)
    made = []
    kinds = (pb.OUTPUT_KIND_ALPHA, pb.OUTPUT_KIND_ALPHA, pb.OUTPUT_KIND_CUTOUT)
    for number in range(24):
        sides = (int(rng.integers(24, 96)), int(rng.integers(24, 96)))
        stream = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (*sides, 3), np.uint8)).save(stream, ("JPEG", "PNG", "WEBP")[number % 3])
        content = stream.getvalue() if number % 12 else b"not a photo"
        made.append(
            pb.RemoveBackgroundRequest(
                encoded=pb.EncodedImage(content=content), outputs=[pb.OutputSpec(kind=kinds[number % len(kinds)])]
            )
        )
    return made


async def send(service: Service, count: int) -> int:
    """Send so many photos, a few at a time; return how many were answered."""
    todo = iter(range(count))
    photos, answered = requests(), 0

    async def caller() -> None:
        nonlocal answered
        for number in todo:
            try:
                await service.stub.RemoveBackground(photos[number % len(photos)], timeout=30)
                answered += 1
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.INVALID_ARGUMENT:
                    raise

    await asyncio.gather(*(caller() for _ in range(IN_FLIGHT)))
    return answered


async def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=200_000)
    count = parser.parse_args().count
    async with running_service("--repository", str(TEST_MODELS), "--default-model", "nothing") as service:
        answered, sizes = 0, []
        for _ in range(10):
            answered += await send(service, count // 10)
            await asyncio.sleep(1)  # the sweep after the last call
            sizes.append(gateway_bytes(service.process.pid))
            print(f"{len(sizes) * count // 10} photos, {answered} answered: {sizes[-1] / 1e6:.1f} MB", flush=True)
        left = await service.metric("matting_resident_bytes")
    growth = sizes[-1] - sizes[0]
    print(f"grown by {growth / 1e6:.2f} MB after the first tenth; {left:.0f} bytes still held")
    return 0 if growth <= ALLOWED_BYTES and left == 0 else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
