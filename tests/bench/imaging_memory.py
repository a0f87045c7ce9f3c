# SPDX-License-Identifier: Apache-2.0
"""Peak memory of one 12-megapixel photo in flight, gateway and worker together, shared pages once.

Run: python tests/bench/imaging_memory.py [--plain-allocator]. Every kind of result of a baseline JPEG, and a cutout
PNG of every other format, in the allocator's settings that the gateway runs with. Prints Markdown; sizes are beyond
what both processes hold when idle after a first small photo, as a multiple of the photo's decoded size, its own alpha
and 16-bit samples included.
"""

import argparse
import asyncio
import ctypes
import json
import os
import subprocess
import sys
from dataclasses import astuple, dataclass
from typing import Any

import psutil
from matting_gateway.clock import SystemClock
from matting_gateway.domain.model import ModelInput
from matting_gateway.domain.photo import (
    ColorBackground,
    Decontamination,
    EncodedPhoto,
    FileEncoding,
    OutputKind,
    OutputSpec,
    RawEncoding,
    Refinement,
)
from matting_gateway.imaging.header import PhotoHeader
from matting_gateway.imaging.service import ImagingService
from matting_gateway.imaging.settings import ImagingSettings
from matting_gateway.privacy.environment import required_environment, start_over_with
from testkit.photo_files import photo_files
from testkit.photos import ellipse
from testkit.process_memory import PeakMemory

WIDTH, HEIGHT = 4000, 3000
MODEL = ModelInput(320, 320)
CUTOUT = OutputSpec(kind=OutputKind.CUTOUT)
FINE: dict[str, Any] = {"refinement": Refinement.GUIDED, "decontamination": Decontamination.BLUR_FUSION}
OUTPUTS = {
    "alpha PNG": OutputSpec(),
    "alpha PNG, guided": OutputSpec(refinement=Refinement.GUIDED),
    "cutout PNG": CUTOUT,
    "cutout PNG, guided, decontaminated": OutputSpec(kind=OutputKind.CUTOUT, **FINE),
    "cutout WebP": OutputSpec(kind=OutputKind.CUTOUT, encoding=FileEncoding("image/webp")),
    "cutout WebP lossless": OutputSpec(kind=OutputKind.CUTOUT, encoding=FileEncoding("image/webp", lossless=True)),
    "cutout raw": OutputSpec(kind=OutputKind.CUTOUT, encoding=RawEncoding()),
    "composite PNG": OutputSpec(kind=OutputKind.COMPOSITE, background=ColorBackground(0, 99, 0)),
    "composite JPEG": OutputSpec(
        kind=OutputKind.COMPOSITE, background=ColorBackground(0, 99, 0), encoding=FileEncoding("image/jpeg")
    ),
}


@dataclass(frozen=True)
class Reading:
    """The most that one photo took, in bytes: decoding, rendering, reserved for it; and its size decoded."""

    decoding: int
    rendering: int
    reserved: int
    decoded: int


async def measure(content: bytes, output: OutputSpec) -> Reading:
    """Send a photo through a room of this process three times, after a small one."""
    room = ImagingService(ImagingSettings(worker_count=1), clock=SystemClock())
    await room.start()
    libc = ctypes.CDLL(None)
    peak = PeakMemory([psutil.Process().pid, *(child.pid for child in psutil.Process().children())])
    alpha = ellipse(MODEL.width_px, MODEL.height_px, 0.46).tobytes()

    async def one(photo: EncodedPhoto) -> Reading:
        await asyncio.sleep(0.05)  # the loop and the worker let go of the photo before
        libc.malloc_trim(0)
        header = room.inspect(photo, (output,))
        with peak:
            prepared = await room.prepare(photo, header, MODEL, (output,))
        decoding = peak.grown_bytes
        with peak, prepared:
            await room.render(prepared, alpha)
        return Reading(decoding, peak.grown_bytes, header.working_bytes((output,), MODEL), decoded_bytes(header))

    for small in photo_files(64, 64).values():
        await one(EncodedPhoto(small))
    libc.malloc_trim(0)
    peak.settle()
    readings = [await one(EncodedPhoto(content)) for _ in range(3)]
    peak.close()
    await room.close()
    return Reading(
        max(reading.decoding for reading in readings),
        max(reading.rendering for reading in readings),
        readings[0].reserved,
        readings[0].decoded,
    )


def decoded_bytes(header: PhotoHeader) -> int:
    """Return the size of a photo's pixels as they are kept."""
    if header.file is None:
        raise ValueError("only files are measured here")
    return header.pixel_count * (3 + header.file.has_alpha) * (2 if header.file.bits_per_sample > 8 else 1)


def main() -> None:
    print("| photo | result | decoded MB | x decoded | decoding MB | rendering MB | reserved MB |")
    print("|---|---|---|---|---|---|---|")
    files = photo_files(WIDTH, HEIGHT)
    rows = [("JPEG", name) for name in OUTPUTS] + [(name, "cutout PNG") for name in files if name != "JPEG"]
    for name, result in rows:
        # A process each: what one kind of photo leaves to the allocator is not the next one's.
        command = [sys.executable, __file__, "--result", result]
        answer = subprocess.run(command, input=files[name], capture_output=True, check=True)
        reading = Reading(*json.loads(answer.stdout))
        most = max(reading.decoding, reading.rendering)
        sizes = " | ".join(f"{size / 1e6:.0f}" for size in (reading.decoding, reading.rendering, reading.reserved))
        verdict = " OVER WHAT IS RESERVED" if most > reading.reserved else ""
        decoded = f"{reading.decoded / 1e6:.0f} | {most / reading.decoded:.2f}"
        print(f"| {name} | {result} | {decoded} | {sizes} |{verdict}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plain-allocator", action="store_true", help="glibc's own settings, not the gateway's")
    parser.add_argument("--result", choices=OUTPUTS, help="measure one photo, read from standard input")
    arguments = parser.parse_args()
    if not arguments.plain_allocator and "MALLOC_PERTURB_" not in os.environ:
        start_over_with(required_environment(os.environ, scrub_memory=True))
    if arguments.result is None:
        main()
    else:
        reading = asyncio.run(measure(sys.stdin.buffer.read(), OUTPUTS[arguments.result]))
        print(json.dumps(astuple(reading)))
