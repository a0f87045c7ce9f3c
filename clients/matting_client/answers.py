# SPDX-License-Identifier: Apache-2.0
"""What comes back, as frozen values."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from google.protobuf.duration_pb2 import Duration
from matting.v1 import matting_service_pb2 as pb

from matting_client.photos import PIXEL_FORMAT_NAMES, REFINEMENT_NAMES, PixelFormat, Pixels
from matting_client.pixel_arrays import need, open_picture
from matting_client.transport.receipt import Receipt

if TYPE_CHECKING:
    from PIL import Image

    from matting_client.pixel_arrays import AnyArray


@dataclass(frozen=True, slots=True, repr=False)
class Output:
    """One result: a file (`content`, `mime_type`), or rows of pixels (`pixels`).

    `refinement_applied` is what was done to the alpha's edge: a name of `photos.Refinement`, or empty where the
    server is older than the question.
    """

    content: bytes
    mime_type: str
    pixels: Pixels | None
    width_px: int
    height_px: int
    refinement_applied: str = ""

    def __repr__(self) -> str:
        kind = self.mime_type if self.pixels is None else self.pixels.pixel_format
        size = len(self.content if self.pixels is None else self.pixels.data)
        return f"<Output {self.width_px}x{self.height_px} {kind}, {size} bytes>"

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the file.

        Raises:
            ValueError: The result is raw pixels, which are no file.
        """
        if self.pixels is not None:
            raise ValueError("raw pixels are no file: ask for a file format to save one")
        Path(path).write_bytes(self.content)

    def to_numpy(self) -> "AnyArray":
        """Return the result as an array: [height, width] of an alpha, [height, width, 3 or 4] of a composite or cutout.

        Raw pixels keep their samples, uint8 or uint16. A file is read by Pillow, colour at 8 bits a sample. Raises as
        `to_pil` does, but for 16-bit colour.
        """
        if self.pixels is not None:
            return self.pixels.to_numpy()
        numpy = need("numpy", "to_numpy")
        return cast("AnyArray", numpy.array(self.to_pil()))

    def to_pil(self) -> "Image.Image":
        """Return the result as a Pillow picture, read in full.

        Raises:
            ImportError: Pillow is not installed: `[pixels]` brings it.
            OSError: The file's format is not known here.
            ValueError: The result is raw pixels of 16-bit colour, which Pillow has not.
        """
        return open_picture(self.content) if self.pixels is None else self.pixels.to_pil()


@dataclass(frozen=True, slots=True)
class Box:
    """A box in pixels of the photo after its orientation is applied."""

    left_px: int
    top_px: int
    width_px: int
    height_px: int


@dataclass(frozen=True, slots=True)
class Subject:
    """Where in the photo the subject is; `box` is None exactly if none was found. `area_share` is 0 to 1."""

    found: bool
    box: Box | None
    area_share: float


@dataclass(frozen=True, slots=True)
class Timings:
    """Where the time of the call went at the server, in seconds."""

    queue_s: float
    inference_s: float
    total_s: float


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer of one photo: the results in the order asked, and what the server says of them."""

    outputs: tuple[Output, ...]
    model: str
    version: str
    subject: Subject
    timings: Timings
    request_id: str = ""
    receipt: Receipt | None = None

    @property
    def output(self) -> Output:
        """The first result, for the many calls that ask for one."""
        return self.outputs[0]


@dataclass(frozen=True, slots=True)
class ModelInstance:
    """How one backend serves a model."""

    backend: str
    device: str
    engine: str
    precision: str
    instance_count: int


@dataclass(frozen=True, slots=True)
class Model:
    """A model that can be named in a request."""

    name: str
    versions: tuple[str, ...]
    default: bool
    max_batch_size: int
    input_width_px: int
    input_height_px: int
    license: str
    noncommercial: bool
    instances: tuple[ModelInstance, ...]


@dataclass(frozen=True, slots=True)
class PolicyStatement:
    """One statement of the data policy, and whether the settings in force keep it in full."""

    topic: str
    statement: str
    kept: bool
    values: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class DataPolicy:
    """What the running server does with data."""

    version: str
    revision: str
    retention_ceiling_s: float
    statements: tuple[PolicyStatement, ...]


def read_answer(
    message: pb.RemoveBackgroundResponse, *, request_id: str = "", receipt: Receipt | None = None
) -> Answer:
    """Read the contract's message."""
    subject, timings = message.subject, message.timings
    return Answer(
        outputs=tuple(map(_read_output, message.outputs)),
        model=message.model.name,
        version=message.model.version,
        subject=Subject(
            found=subject.found,
            box=_read_box(subject.box) if subject.HasField("box") else None,
            area_share=subject.area_share,
        ),
        timings=Timings(
            queue_s=_seconds(timings.queue_duration),
            inference_s=_seconds(timings.inference_duration),
            total_s=_seconds(timings.total_duration),
        ),
        request_id=request_id,
        receipt=receipt,
    )


def read_model(message: pb.Model) -> Model:
    """Read the contract's message."""
    return Model(
        name=message.name,
        versions=tuple(message.versions),
        default=message.default,
        max_batch_size=message.max_batch_size,
        input_width_px=message.input_width_px,
        input_height_px=message.input_height_px,
        license=message.license,
        noncommercial=message.noncommercial,
        instances=tuple(
            ModelInstance(each.backend, each.device, each.engine, each.precision, each.instance_count)
            for each in message.instances
        ),
    )


def read_policy(message: pb.DataPolicy) -> DataPolicy:
    """Read the contract's message."""
    return DataPolicy(
        version=message.version,
        revision=message.revision,
        retention_ceiling_s=_seconds(message.retention_ceiling),
        statements=tuple(
            PolicyStatement(each.topic, each.statement, each.kept, dict(each.values)) for each in message.statements
        ),
    )


def _read_output(message: pb.Output) -> Output:
    pixels: Pixels | None = None
    if message.WhichOneof("result") == "pixels":
        raw = message.pixels
        # A pixel format newer than this client has no name here; the rows are passed on as they are.
        name = cast("PixelFormat", PIXEL_FORMAT_NAMES.get(raw.pixel_format, f"format {raw.pixel_format}"))
        pixels = Pixels(raw.data, raw.width_px, raw.height_px, name)
    return Output(
        content=message.encoded.content,
        mime_type=message.encoded.mime_type,
        pixels=pixels,
        width_px=message.width_px,
        height_px=message.height_px,
        refinement_applied=_refinement_name(message.refinement_applied),
    )


def _refinement_name(number: int) -> str:
    if number == pb.REFINEMENT_UNSPECIFIED:
        return ""
    return REFINEMENT_NAMES.get(number, f"refinement {number}")


def _read_box(message: pb.Box) -> Box:
    return Box(message.left_px, message.top_px, message.width_px, message.height_px)


def _seconds(duration: Duration) -> float:
    return duration.seconds + duration.nanos / 1e9
