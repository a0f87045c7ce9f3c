# SPDX-License-Identifier: Apache-2.0
"""What a load test is: where to, what, when, and how it is judged."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

from matting_client import Tls
from matting_client.transport.connection import MAX_MESSAGE_BYTES

from matting_load.arrivals import Process, Segment, before

# Each call leaves a row of 36 bytes, and its time is drawn before the test begins.
MOST_CALLS = 50_000_000
# Making a photo takes some twenty bytes of memory a pixel.
MOST_PIXELS = 100_000_000


@dataclass(frozen=True, slots=True)
class GatewayTarget:
    """Photos to the gateway's own service; several addresses have commas between them, and take calls in turn."""

    address: str = "127.0.0.1:50051"
    model: str = ""
    output: Literal["alpha", "cutout"] = "alpha"
    mime_type: str = "image/png"
    token: str = field(default="", repr=False)
    tls: Tls | None = None
    token_over_plaintext: bool = False

    @property
    def name(self) -> str:
        return f"gateway {self.address}{f', {self.model}' if self.model else ''}"


@dataclass(frozen=True, slots=True)
class TensorTarget:
    """Tensors to any server of the Open Inference Protocol: the gateway, or a Triton alone.

    Several addresses have commas between them, and take calls in turn. `shape` includes the batch
    dimension where the model has one. With `queue_timeout_margin_s` each call carries the protocol's
    `timeout` parameter: its deadline less this margin, which is the time to leave for the model itself.
    """

    address: str = "127.0.0.1:8001"
    model: str = "u2net"
    input_name: str = "image"
    datatype: str = "UINT8"
    shape: tuple[int, ...] = (1, 320, 320, 3)
    queue_timeout_margin_s: float | None = None
    token: str = field(default="", repr=False)
    tls: Tls | None = None
    token_over_plaintext: bool = False

    @property
    def name(self) -> str:
        return f"tensors {self.address}, {self.model}"


@dataclass(frozen=True, slots=True)
class RembgTarget:
    """Photos to rembg's HTTP server (`rembg s`); several addresses have commas between them, and take calls in turn."""

    url: str = "http://127.0.0.1:7000"
    model: str = "u2net"
    only_mask: bool = True

    @property
    def name(self) -> str:
        return f"rembg {self.url}, {self.model}"


Target: TypeAlias = GatewayTarget | TensorTarget | RembgTarget


@dataclass(frozen=True, slots=True)
class ClosedLoop:
    """A fixed number of callers, each sending its next call when the last is answered."""

    caller_count: int
    duration_s: float = 10.0

    def __post_init__(self) -> None:
        if self.caller_count < 1 or not self.duration_s > 0:
            raise ValueError("a closed loop needs at least one caller and a duration of more than 0")


@dataclass(frozen=True, slots=True)
class OpenLoop:
    """Calls sent when they are due, whatever becomes of those before."""

    segments: tuple[Segment, ...]
    process: Process = "poisson"

    def __post_init__(self) -> None:
        count = sum(segment.expected_count for segment in self.segments)
        if count > MOST_CALLS:
            raise ValueError(f"that is {count:,.0f} calls: {MOST_CALLS:,} at the most, of which each leaves a row")

    @property
    def duration_s(self) -> float:
        return sum(segment.duration_s for segment in self.segments)


@dataclass(frozen=True, slots=True)
class Replay:
    """Calls sent at the times of a trace, in seconds from the start, ascending."""

    times_s: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.times_s:
            raise ValueError("a trace needs at least one time")

    @property
    def duration_s(self) -> float:
        return max(self.times_s[-1], 1e-3)


Load: TypeAlias = ClosedLoop | OpenLoop | Replay


@dataclass(frozen=True, slots=True)
class DeadlineClass:
    """Callers that share a deadline, and their share of all. None: no deadline."""

    deadline_s: float | None
    share: float = 1.0

    def __post_init__(self) -> None:
        if self.deadline_s is not None and not self.deadline_s > 0:
            raise ValueError(f"a deadline of {self.deadline_s} s: it must be more than 0")
        if not self.share > 0:
            raise ValueError(f"a share of {self.share}: it must be more than 0")

    @property
    def name(self) -> str:
        return "no deadline" if self.deadline_s is None else f"{self.deadline_s * 1e3:g} ms"


@dataclass(frozen=True, slots=True)
class PhotoSize:
    """Generated photos of a size, and their share of all."""

    width_px: int
    height_px: int
    share: float = 1.0

    def __post_init__(self) -> None:
        if min(self.width_px, self.height_px) < 1 or self.width_px * self.height_px > MOST_PIXELS:
            raise ValueError(f"{self.width_px}x{self.height_px}: 1x1 at the least, {MOST_PIXELS:,} pixels at the most")
        if not self.share > 0:
            raise ValueError(f"a share of {self.share}: it must be more than 0")


@dataclass(frozen=True, slots=True)
class Photos:
    """What is sent: the photos of a folder in equal shares, or generated ones."""

    sizes: Sequence[PhotoSize] = (PhotoSize(1600, 1600),)
    folder: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """A load test.

    Attributes:
        warmup_s: Calls due before this are sent but not counted (ramp-up of caches and learned
            latencies); of each step of a plan of several, its first `settle_s` likewise.
        processes: Sending processes; more than one where one cannot keep up.
        connections: Connections a process has to each address; its calls go over all of them in turn.
        max_outstanding: Calls unanswered at once, of one process, beyond which a due call is
            counted as `not_sent` instead of being sent.
        drain_s: How long to wait for the last answers where they have no deadline.
        metrics_url: The gateway's `/metrics`, to report its batch sizes.
    """

    target: Target
    load: Load
    deadlines: tuple[DeadlineClass, ...] = (DeadlineClass(None),)
    photos: Photos = field(default_factory=Photos)
    label: str = ""
    warmup_s: float = 0.0
    settle_s: float = 0.0
    seed: int = 1
    processes: int = 1
    connections: int = 4
    max_outstanding: int = 20_000
    drain_s: float = 30.0
    max_message_bytes: int = MAX_MESSAGE_BYTES
    metrics_url: str = ""

    def __post_init__(self) -> None:
        if not 0 <= self.warmup_s < self.load.duration_s:
            raise ValueError(f"a warm-up of {self.warmup_s} s does not fit into {self.load.duration_s:g} s")
        if self.processes < 1 or self.connections < 1 or not self.deadlines:
            raise ValueError("a plan needs at least one process, one connection and one deadline class")

    @property
    def name(self) -> str:
        return self.label or self.target.name

    def until(self, end_s: float) -> "Plan":
        """Return what of it comes before an instant.

        Raises:
            ValueError: That is nothing that counts.
        """
        load = self.load
        if isinstance(load, ClosedLoop):
            return replace(self, load=ClosedLoop(load.caller_count, end_s))
        if isinstance(load, OpenLoop):
            return replace(self, load=OpenLoop(before(load.segments, end_s), load.process))
        return replace(self, load=Replay(tuple(time_s for time_s in load.times_s if time_s < end_s)))


def split_addresses(text: str) -> tuple[str, ...]:
    """Return the addresses of a list with commas."""
    return tuple(part for part in map(str.strip, text.split(",")) if part)
