# SPDX-License-Identifier: Apache-2.0
"""Photos per second with a model that does nothing, by size and output, and where the time goes.

Run: python tests/bench/imaging_throughput.py [--workers N] [--seconds S].
"""

import argparse
import asyncio
import io
import os
import time

import psutil
from matting_gateway.clock import SystemClock
from matting_gateway.domain.model import ModelInput
from matting_gateway.domain.photo import EncodedPhoto, OutputKind, OutputSpec
from matting_gateway.imaging.service import ImagingService
from matting_gateway.imaging.settings import ImagingSettings
from PIL import Image
from testkit.photos import ellipse, sample_photo

SIZES = {1: (1155, 866), 4: (2309, 1732), 12: (4000, 3000)}
OUTPUTS = {"alpha": OutputSpec(), "cutout": OutputSpec(kind=OutputKind.CUTOUT)}
MODEL = ModelInput(320, 320)


def cpu_seconds() -> float:
    times = [psutil.Process(), *psutil.Process().children(recursive=True)]
    return sum(sum(process.cpu_times()[:2]) for process in times)


async def measure(room: ImagingService, photo: EncodedPhoto, output: OutputSpec, workers: int, seconds: float) -> str:
    alpha = ellipse(MODEL.width_px, MODEL.height_px, 0.46).tobytes()
    stages = {"inspect": 0.0, "prepare": 0.0, "render": 0.0}
    count = 0
    start, cpu_start = time.perf_counter(), cpu_seconds()

    async def caller() -> None:
        nonlocal count
        while time.perf_counter() - start < seconds:
            first = time.perf_counter()
            header = room.inspect(photo, (output,))
            second = time.perf_counter()
            with await room.prepare(photo, header, MODEL, (output,)) as prepared:
                third = time.perf_counter()
                await room.render(prepared, alpha)
            stages["inspect"] += second - first
            stages["prepare"] += third - second
            stages["render"] += time.perf_counter() - third
            count += 1

    await asyncio.gather(*(caller() for _ in range(workers)))
    took, cpu = time.perf_counter() - start, cpu_seconds() - cpu_start
    where = ", ".join(f"{name} {total / count * 1e3:.1f}" for name, total in stages.items())
    return f"{count / took:7.1f}/s, {count / cpu:6.1f} per core-second; ms: {where}"


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--seconds", type=float, default=5.0)
    arguments = parser.parse_args()
    room = ImagingService(ImagingSettings(worker_count=arguments.workers), clock=SystemClock())
    await room.start()
    for megapixels, size in SIZES.items():
        buffer = io.BytesIO()
        Image.fromarray(sample_photo(*size)).save(buffer, "JPEG", quality=90)
        photo = EncodedPhoto(buffer.getvalue())
        for name, output in OUTPUTS.items():
            line = await measure(room, photo, output, arguments.workers, arguments.seconds)
            print(f"{megapixels:3d} MP {name:7s} {line}")
    await room.close()


if __name__ == "__main__":
    asyncio.run(main())
