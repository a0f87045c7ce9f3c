# SPDX-License-Identifier: Apache-2.0
"""What the sync and the asyncio client have in common: the methods, and what goes with a call."""

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, TypeVar

from google.protobuf.message import Message
from matting.v1 import matting_service_pb2 as pb

from matting_client.transport.connection import Connection
from matting_client.transport.dimensions import pixel_count
from matting_client.transport.retry import Attempts, RetryBudget, RetryPolicy

Request = TypeVar("Request", bound=Message)
Response = TypeVar("Response", bound=Message)

REQUEST_ID_KEY = "x-request-id"
# Promises the server how large the request message is, so that it can admit the call by its real size.
REQUEST_BYTES_KEY = "x-matting-request-bytes"
PIXELS_KEY = "x-matting-pixels"
DEFAULT_TIMEOUT_S = 60.0


class Method(NamedTuple, Generic[Request, Response]):
    """A method of the service, as channels take it."""

    path: str
    serialize: Callable[[Request], bytes]
    deserialize: Callable[[bytes], Response]


def _method(name: str, request: type[Request], response: type[Response]) -> Method[Request, Response]:
    return Method(f"/matting.v1.MattingService/{name}", request.SerializeToString, response.FromString)


REMOVE_BACKGROUND = _method("RemoveBackground", pb.RemoveBackgroundRequest, pb.RemoveBackgroundResponse)
STREAM_REMOVE_BACKGROUND = _method(
    "StreamRemoveBackground", pb.StreamRemoveBackgroundRequest, pb.StreamRemoveBackgroundResponse
)
LIST_MODELS = _method("ListModels", pb.ListModelsRequest, pb.ListModelsResponse)
GET_DATA_POLICY = _method("GetDataPolicy", pb.GetDataPolicyRequest, pb.GetDataPolicyResponse)


@dataclass(frozen=True, slots=True)
class Settings:
    """All that a client was made with."""

    connection: Connection
    timeout_s: float | None
    retry: RetryPolicy
    budget: RetryBudget = field(repr=False)
    clock: Callable[[], float] = field(default=time.monotonic, repr=False)

    def attempts(self, timeout_s: float | None) -> Attempts:
        """Start counting the attempts of one call; None: the client's own time-out."""
        check_timeout(timeout_s)
        return Attempts(self.retry, self.budget, self.timeout_s if timeout_s is None else timeout_s, self.clock)

    def metadata(self, request_id: str, request: Message | None = None) -> tuple[tuple[str, str], ...]:
        """Return the metadata of one call; of a stream, which has no one request, without its size."""
        size = () if request is None else size_promises(request)
        return ((REQUEST_ID_KEY, request_id), *size, *self.connection.credential_metadata())


def make_settings(
    connection: Connection, timeout_s: float | None, retry: RetryPolicy | None, clock: Callable[[], float]
) -> Settings:
    """Fill in what was left out."""
    check_timeout(timeout_s)
    policy = retry or RetryPolicy()
    return Settings(connection, timeout_s, policy, RetryBudget(policy.budget_tokens, policy.budget_refill), clock)


def check_timeout(timeout_s: float | None) -> None:
    """Refuse a time limit that no call could meet."""
    if timeout_s is not None and not timeout_s > 0:
        raise ValueError(f"timeout_s is {timeout_s}: it must be positive, or None for no deadline")


def new_request_id() -> str:
    """Make an `x-request-id`."""
    return uuid.uuid4().hex


def size_promises(request: Message) -> tuple[tuple[str, str], ...]:
    """Return the metadata that tells a request's size before it is sent, so that it is admitted sooner."""
    size: tuple[tuple[str, str], ...] = ((REQUEST_BYTES_KEY, str(request.ByteSize())),)
    if isinstance(request, pb.RemoveBackgroundRequest):
        size += _pixel_promise(request)
    return size


def _pixel_promise(request: pb.RemoveBackgroundRequest) -> tuple[tuple[str, str], ...]:
    if request.WhichOneof("source") == "pixels":
        count: int | None = request.pixels.width_px * request.pixels.height_px
    else:
        count = pixel_count(request.encoded.content)
    return () if count is None else ((PIXELS_KEY, str(count)),)
