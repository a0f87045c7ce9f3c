# SPDX-License-Identifier: Apache-2.0
"""The frozen values that cross rooms. Deadlines are absolute, in seconds of `Clock.now()`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from typing import TypeAlias

from matting_gateway.errors import GatewayError
from matting_gateway.traces import Trace

Buffer: TypeAlias = bytes | bytearray | memoryview


class Priority(IntEnum):
    """Urgency of a job; the smaller number goes first."""

    HIGH = 0
    NORMAL = 1
    LOW = 2


class Lifecycle(Enum):
    """The gateway's own state; it only ever moves down this list."""

    STARTING = "starting"
    SERVING = "serving"
    DRAINING = "draining"
    STOPPED = "stopped"


# --- photos and results -------------------------------------------------------------------


class PixelFormat(Enum):
    """What a raw pixel is: (samples, bytes a sample). 16-bit samples are little-endian."""

    GRAY8 = ("gray", 1, 1)
    RGB8 = ("rgb", 3, 1)
    BGR8 = ("bgr", 3, 1)
    RGBA8 = ("rgba", 4, 1)
    GRAY16 = ("gray", 1, 2)
    RGB16 = ("rgb", 3, 2)
    RGBA16 = ("rgba", 4, 2)

    @property
    def sample_count(self) -> int:
        return self.value[1]

    @property
    def bytes_per_sample(self) -> int:
        return self.value[2]

    @property
    def bytes_per_pixel(self) -> int:
        return self.sample_count * self.bytes_per_sample


@dataclass(frozen=True, slots=True, repr=False)
class EncodedPhoto:
    """A photo as a file. `mime_type` is a hint; the content decides."""

    content: Buffer
    mime_type: str = ""


@dataclass(frozen=True, slots=True, repr=False)
class RawPhoto:
    """A photo as rows of pixels without padding."""

    data: Buffer
    width_px: int
    height_px: int
    pixel_format: PixelFormat


Photo: TypeAlias = EncodedPhoto | RawPhoto


class OutputKind(Enum):
    """What a result is."""

    ALPHA = "alpha"
    CUTOUT = "cutout"
    COMPOSITE = "composite"


class Refinement(Enum):
    """How an alpha's edge is sharpened on the photo."""

    NONE = "none"
    GUIDED = "guided"
    MATTING = "matting"


class Decontamination(Enum):
    """How background colour is taken out of the soft edge."""

    NONE = "none"
    BLUR_FUSION = "blur_fusion"


class BackgroundFit(Enum):
    """How a background picture is brought to the photo's size."""

    COVER = "cover"
    CONTAIN = "contain"
    STRETCH = "stretch"


@dataclass(frozen=True, slots=True)
class FileEncoding:
    """Write as a file. `quality` 1 to 100, or None for the format's default."""

    mime_type: str = "image/png"
    quality: int | None = None
    lossless: bool = False


@dataclass(frozen=True, slots=True)
class RawEncoding:
    """Write as rows of pixels; None means the kind's natural format."""

    pixel_format: PixelFormat | None = None


@dataclass(frozen=True, slots=True)
class ColorBackground:
    """A colour in sRGB, each 0 to 255."""

    red: int
    green: int
    blue: int


@dataclass(frozen=True, slots=True, repr=False)
class PictureBackground:
    """A picture to put behind the subject."""

    photo: EncodedPhoto
    fit: BackgroundFit = BackgroundFit.COVER
    linear_light: bool = False


@dataclass(frozen=True, slots=True)
class CropSpec:
    """Cut to the subject's box; the margin is a share of its longer side, 0 to 1."""

    margin_share: float = 0.0


@dataclass(frozen=True, slots=True)
class OutputSpec:
    """One result wanted.

    `max_side_px` 0 means the photo's own size; `model_grid` is the alpha as the model made it.
    """

    kind: OutputKind = OutputKind.ALPHA
    encoding: FileEncoding | RawEncoding = field(default_factory=FileEncoding)
    refinement: Refinement = Refinement.NONE
    decontamination: Decontamination = Decontamination.NONE
    background: ColorBackground | PictureBackground | None = None
    crop: CropSpec | None = None
    max_side_px: int = 0
    model_grid: bool = False


@dataclass(frozen=True, slots=True)
class Box:
    """A box in pixels of the oriented photo."""

    left_px: int
    top_px: int
    width_px: int
    height_px: int


@dataclass(frozen=True, slots=True)
class Subject:
    """Where the subject is. `box` is None exactly if none was found."""

    found: bool
    box: Box | None
    area_share: float


@dataclass(frozen=True, slots=True, repr=False)
class RenderedOutput:
    """One result: a file (`mime_type` set) or rows of pixels (`pixel_format` set).

    `refinement` is what was done to its alpha's edge, which may be less than what was asked for.
    """

    data: Buffer
    width_px: int
    height_px: int
    mime_type: str = ""
    pixel_format: PixelFormat | None = None
    refinement: Refinement = Refinement.NONE


@dataclass(frozen=True, slots=True, repr=False)
class MattingRequest:
    """One photo to be cut out. Empty model name: the default model; empty version: the newest."""

    photo: Photo
    outputs: tuple[OutputSpec, ...]
    model: str = ""
    version: str = ""
    priority: Priority = Priority.NORMAL


@dataclass(frozen=True, slots=True, repr=False)
class MattingAnswer:
    """What became of one photo, and where its time went."""

    outputs: tuple[RenderedOutput, ...]
    subject: Subject
    model: str
    version: str
    queue_s: float
    inference_s: float


class Fit(Enum):
    """How a photo is brought to a model's input size."""

    STRETCH = "stretch"
    LETTERBOX = "letterbox"
    # Keeps the aspect: the shorter side becomes the model's size, both sides rounded to `multiple_px`.
    ASPECT = "aspect"


@dataclass(frozen=True, slots=True)
class ModelInput:
    """What a matting model takes: uint8 RGB [height_px, width_px, 3].

    `top_left` says where a letterboxed photo lies: in the top left corner instead of the middle.
    """

    width_px: int
    height_px: int
    fit: Fit = Fit.STRETCH
    multiple_px: int = 1
    top_left: bool = False


# --- tensors and jobs ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """A named tensor's datatype (Open Inference Protocol name) and shape without the batch dimension; -1 is any."""

    name: str
    datatype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True, repr=False)
class Tensor:
    """A tensor with its data, in the protocol's raw encoding: C order, little-endian, BYTES length-prefixed.

    `shape` includes the batch dimension where the model batches.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: Buffer


@dataclass(frozen=True, slots=True)
class BatchKey:
    """What jobs must share to travel in one batch.

    `inputs` hold the shapes of one row; `outputs` the names wanted, empty for all.
    """

    model: str
    version: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[str, ...] = ()
    # Looked up many times for each job, and made of many parts.
    _hash: int = field(init=False, repr=False, compare=False, default=0)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_hash", hash((self.model, self.version, self.inputs, self.outputs)))

    def __hash__(self) -> int:
        return self._hash


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Job:
    """Work for a model: `row_count` rows that travel together and are answered once.

    `trace` is told of its way where its call is traced.
    """

    key: BatchKey
    inputs: tuple[Tensor, ...]
    row_count: int
    deadline_s: float
    priority: Priority = Priority.NORMAL
    tenant: str = ""
    trace: Trace | None = None


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Batch:
    """Jobs of one key that go to one backend together. `row_count` is the sum of the jobs' rows.

    `traceparent` is what the backend is told of the trace that the batch is part of, if any.
    """

    key: BatchKey
    jobs: tuple[Job, ...]
    row_count: int
    traceparent: str = ""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class BatchResult:
    """A batch's answer: for each job, in order, its output tensors.

    `version` is the model version that computed it. `errors` holds, by index, what a job failed
    with for its own sake while its neighbours did not; its outputs are then empty.
    """

    outputs: tuple[tuple[Tensor, ...], ...]
    version: str = ""
    errors: Mapping[int, GatewayError] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class JobResult:
    """A job's answer, and where its time went. `model` and `version` say what really served."""

    outputs: tuple[Tensor, ...]
    model: str
    version: str
    backend: str
    batch_size: int
    queue_s: float
    inference_s: float


@dataclass(frozen=True, slots=True)
class EndpointState:
    """What the pool tells of one backend for one batch key.

    `slot_count` batches of the model may be in flight there at once, of which `instance_count`
    are computed at the same time. `max_batch_size` is in rows, 1 where the model cannot batch.
    """

    endpoint: str
    healthy: bool
    slot_count: int
    instance_count: int
    max_batch_size: int


# --- models -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ModelInstance:
    """How one backend serves a model: as read back from it where it tells, else as it was asked to."""

    backend: str
    device: str
    engine: str
    precision: str
    instance_count: int


@dataclass(frozen=True, slots=True)
class ModelContract:
    """What the backends say of a model.

    `max_batch_size` is Triton's: 0 where the model has no batch dimension. `matting` is set
    exactly if the model has the one interface `image` UINT8 [H, W, 3] -> `alpha` UINT8 [H, W].
    `optional_inputs` names those of `inputs` that a request may leave out. `response_cache`: its
    server is asked to keep answers for equal requests. `gpu_wanted` says that the configuration asks
    for a GPU.
    """

    name: str
    versions: tuple[str, ...]
    max_batch_size: int
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    parameters: Mapping[str, str]
    decoupled: bool
    stateful: bool
    matting: ModelInput | None
    instances: tuple[ModelInstance, ...]
    optional_inputs: frozenset[str] = frozenset()
    response_cache: bool = False
    gpu_wanted: bool = False
