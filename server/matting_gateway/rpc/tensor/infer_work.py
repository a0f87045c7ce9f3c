# SPDX-License-Identifier: Apache-2.0
"""A request for tensors on its way: as it arrived, as a job, and the queue that the job is for."""

from typing import NamedTuple, Protocol

from open_inference.server_messages import InferHeader, InferRequest
from open_inference.tensors import Buffer

from matting_gateway.batching.entry import Entry, ResultReceiver
from matting_gateway.domain.job import Job
from matting_gateway.domain.model import ModelContract
from matting_gateway.rpc.tensor import tensor_limits
from matting_gateway.rpc.tensor.tensor_plan import TensorPlan


class Coming(Protocol):
    """The count of bodies that are being received, each of which will be a job at once."""

    def begin(self) -> None: ...

    def end(self) -> None: ...


class Queue(Protocol):
    """The scheduler as the tensor door needs it."""

    @property
    def coming(self) -> Coming: ...

    def enqueue(self, job: Job, receiver: ResultReceiver) -> Entry: ...

    def withdraw(self, entry: Entry) -> None: ...


class Arrived(NamedTuple):
    """A request read: the message as it came, and what it says."""

    message: Buffer
    request: InferRequest
    contract: ModelContract
    started_s: float

    @property
    def header(self) -> InferHeader:
        return self.request.header

    @property
    def only_the_model_understands(self) -> bool:
        """Whether the request cannot share a batch, and is passed on as it is."""
        header = self.request.header
        return (
            self.contract.stateful
            or header.extra
            or bool(header.parameters and header.parameters.keys() - tensor_limits.UNDERSTOOD)
        )


class Work(NamedTuple):
    """A request made a job. `submitted_s` is when."""

    arrived: Arrived
    plan: TensorPlan
    job: Job
    submitted_s: float
