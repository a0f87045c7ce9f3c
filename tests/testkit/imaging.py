# SPDX-License-Identifier: Apache-2.0
"""The imaging room for tests and measurements: photos through it, and what lies in a call's file."""

import mmap
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from matting_gateway.clock import SystemClock
from matting_gateway.domain.model import ModelInput
from matting_gateway.domain.photo import EncodedPhoto, OutputKind, OutputSpec, Photo
from matting_gateway.imaging.answers import Rendered
from matting_gateway.imaging.service import ImagingService, PreparedPhoto
from matting_gateway.imaging.settings import ImagingSettings
from matting_gateway.imaging.worker.call_room import CallRoom
from matting_gateway.imaging.worker.prepare import Prepared

from testkit.decoding import ALL_FORMATS

ONE_WORKER = ImagingSettings(worker_count=1, formats=ALL_FORMATS)
CUTOUT = OutputSpec(kind=OutputKind.CUTOUT)
MODEL = ModelInput(32, 32)


@asynccontextmanager
async def open_room(settings: ImagingSettings = ONE_WORKER) -> AsyncIterator[ImagingService]:
    """Start an imaging room, and stop it at the end."""
    room = ImagingService(settings, clock=SystemClock())
    try:
        await room.start()
        yield room
    finally:
        await room.close()


async def prepare(
    room: ImagingService, photo: Photo | bytes, *outputs: OutputSpec, model: ModelInput = MODEL
) -> PreparedPhoto:
    """Inspect and decode a photo, for a cutout where no outputs are named; who asks leaves it as a context."""
    photo, outputs = EncodedPhoto(photo) if isinstance(photo, bytes) else photo, outputs or (CUTOUT,)
    return await room.prepare(photo, room.inspect(photo, outputs), model, outputs)


async def take(
    room: ImagingService, photo: Photo | bytes, matte: bytes, *outputs: OutputSpec, model: ModelInput = MODEL
) -> Rendered:
    """Send a photo all the way, with this as the model's answer."""
    with await prepare(room, photo, *outputs, model=model) as prepared:
        return await room.render(prepared, matte)


def kept(prepared: PreparedPhoto) -> Prepared:
    """Return what the call's file holds of the photo, as a worker would see it."""
    room = CallRoom(mmap.mmap(prepared.file.descriptor, prepared.job.total_bytes), prepared.job)
    return Prepared(room.model_input(), *room.kept(prepared.job.photo, prepared.kept[0]))
