# SPDX-License-Identifier: Apache-2.0
"""Peak memory of one 12-megapixel photo in flight, gateway and decoder process together.

Run: python tests/bench/imaging_memory.py. Reads the kernel's high-water mark of either process (VmHWM, reset before),
beyond what it holds when idle after a first photo.
"""

import asyncio
import io
import pathlib
from typing import Self

import psutil
from matting_gateway.clock import SystemClock
from matting_gateway.domain import (
    Decontamination,
    EncodedPhoto,
    FileEncoding,
    ModelInput,
    OutputKind,
    OutputSpec,
    Refinement,
)
from matting_gateway.imaging.room import Imaging
from matting_gateway.imaging.settings import ImagingSettings
from matting_gateway.telemetry.metrics import Metrics
from PIL import Image
from prometheus_client import CollectorRegistry
from testkit.photos import ellipse, sample_photo

WIDTH, HEIGHT = 4000, 3000
MODEL = ModelInput(320, 320)
OUTPUTS = {
    "alpha PNG": OutputSpec(),
    "alpha PNG, guided": OutputSpec(refinement=Refinement.GUIDED),
    "cutout PNG": OutputSpec(kind=OutputKind.CUTOUT),
    "cutout PNG, guided, decontaminated": OutputSpec(
        kind=OutputKind.CUTOUT, refinement=Refinement.GUIDED, decontamination=Decontamination.BLUR_FUSION
    ),
    "cutout WebP": OutputSpec(kind=OutputKind.CUTOUT, encoding=FileEncoding("image/webp")),
}


class Peak:
    """The most that both processes held while the block ran, beyond what they hold when idle.

    An upper bound: the two peaks need not coincide.
    """

    def __init__(self, pids: list[int], idle: list[int]) -> None:
        self._pids = pids
        self._idle = idle
        self.byte_count = 0

    def __enter__(self) -> Self:
        for pid in self._pids:
            pathlib.Path(f"/proc/{pid}/clear_refs").write_text("5")
        return self

    def __exit__(self, *_: object) -> None:
        self.byte_count = sum(_status_bytes(pid, "VmHWM") for pid in self._pids) - sum(self._idle)


def _status_bytes(pid: int, field: str) -> int:
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return 1024 * int(line.split()[1])
    raise ValueError(f"{field} is not in the status of a process")


async def main() -> None:
    color = sample_photo(WIDTH, HEIGHT)
    files = {}
    for name, options in (("baseline", {}), ("progressive", {"progressive": True})):
        buffer = io.BytesIO()
        Image.fromarray(color).save(buffer, "JPEG", quality=90, **options)
        files[name] = EncodedPhoto(buffer.getvalue())
    del color
    decoded_bytes = WIDTH * HEIGHT * 3
    alpha = ellipse(MODEL.width_px, MODEL.height_px, 0.46).tobytes()
    room = Imaging(ImagingSettings(worker_count=1), clock=SystemClock(), metrics=Metrics(CollectorRegistry()))
    await room.start()
    pids = [psutil.Process().pid, *(child.pid for child in psutil.Process().children())]

    async def one(photo: EncodedPhoto, output: OutputSpec) -> tuple[int, int, int]:
        header = room.inspect(photo, (output,))
        with Peak(pids, idle) as decoding:
            prepared = await room.prepare(photo, header, MODEL, (output,))
        with Peak(pids, idle) as rendering:
            await room.render(prepared, alpha, (output,))
        return decoding.byte_count, rendering.byte_count, header.working_bytes((output,), MODEL)

    idle = [0, 0]
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64)).save(buffer, "JPEG")
    for output in OUTPUTS.values():
        await one(EncodedPhoto(buffer.getvalue()), output)
    idle = [_status_bytes(pid, "VmRSS") for pid in pids]
    print(f"idle: gateway {idle[0] / 1e6:.0f} MB, a decoder {idle[1] / 1e6:.0f} MB")
    for file_name, photo in files.items():
        for name, output in OUTPUTS.items():
            decoding, rendering, reserved = map(max, zip(*[await one(photo, output) for _ in range(3)], strict=True))
            peak = max(decoding, rendering)
            print(
                f"{file_name:12s} {name:36s} {peak / decoded_bytes:5.2f} x decoded (decoding {decoding / 1e6:4.0f} MB, "
                f"rendering {rendering / 1e6:4.0f} MB, reserved {reserved / 1e6:4.0f} MB)"
            )
    await room.close()


if __name__ == "__main__":
    asyncio.run(main())
