# SPDX-License-Identifier: Apache-2.0
"""Work for models, and what becomes of it, as frozen values. Deadlines are absolute, in seconds of `Clock.now()`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum

from open_inference.tensors import Tensor, TensorSpec

from matting_gateway.errors import GatewayError
from matting_gateway.traces import Trace


class Priority(IntEnum):
    """Urgency of a job; the smaller number goes first."""

    HIGH = 0
    NORMAL = 1
    LOW = 2


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
