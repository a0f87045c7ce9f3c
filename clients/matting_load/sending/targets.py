# SPDX-License-Identifier: Apache-2.0
"""How one call is made to each kind of target.

A sender returns the name of the outcome, and never raises for a failed call. What the server said
of failed calls is in `errors`, a few messages of each outcome.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import Protocol, Self

import grpc
import grpc.aio
from matting_client.errors import NoAnswerInTimeError
from matting_client.photos import OutputSpec, build_request
from matting_client.transport.calls import REMOVE_BACKGROUND, size_promises
from matting_client.transport.connection import Connection, open_channel
from matting_client.transport.failures import error_of_call

from matting_load.outcomes import EMPTY_ANSWER, MALFORMED_ANSWER, NO_ANSWER_IN_TIME, OK
from matting_load.plan import GatewayTarget, Plan, TensorTarget, split_addresses
from matting_load.sending.payloads import Payload, photo_payloads, tensor_bytes
from matting_load.sending.reaching import reach_channel
from matting_load.sending.rembg import RembgSender
from matting_load.sending.samples import ErrorSamples
from matting_load.sending.wire import infer_request, raw_output_bytes, timeout_parameter

_INFER = "/inference.GRPCInferenceService/ModelInfer"


class Sender(Protocol):
    """Sends prepared payloads to one target."""

    payloads: tuple[Payload, ...]
    errors: ErrorSamples

    async def __aenter__(self) -> Self:
        """Connect; raises UnreachableError where nobody answers."""

    async def __aexit__(self, *_exc: object) -> None: ...

    async def send(self, index: int, timeout_s: float | None) -> str:
        """Send payload `index`; returns the outcome."""


def make_sender(plan: Plan) -> Sender:
    """Make the sender of a plan; slow (photos are made here), and before the clock starts."""
    target = plan.target
    if isinstance(target, GatewayTarget):
        return _gateway_sender(plan, target)
    if isinstance(target, TensorTarget):
        return _tensor_sender(plan, target)
    return RembgSender(target, photo_payloads(plan.photos, plan.seed))


class GrpcSender:
    """Sends serialised messages over several connections in turn, so many to each address.

    Owns the channels. `check` tells whether an answer's bytes hold a result; `suffix` adds what
    depends on the call's own deadline; `promises` is the metadata that tells each payload's size.
    """

    def __init__(
        self,
        connections: Sequence[Connection],
        method: str,
        payloads: tuple[Payload, ...],
        *,
        connections_each: int,
        check: Callable[[bytes], bool],
        suffix: Callable[[float | None], bytes],
        promises: Sequence[tuple[tuple[str, str], ...]] = (),
    ) -> None:
        self.payloads = payloads
        self.errors = ErrorSamples()
        self._connections = connections
        self._method = method
        self._connections_each = connections_each
        self._check = check
        self._suffix = suffix
        self._metadata = [
            grpc.aio.Metadata(*promised, *connections[0].credential_metadata())
            for promised in promises or ((),) * len(payloads)
        ]
        self._channels: list[grpc.aio.Channel] = []
        self._calls: list[grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]] = []
        self._turn = 0

    async def __aenter__(self) -> Self:
        try:
            for connection in tuple(self._connections) * self._connections_each:
                self._channels.append(_channel(connection))
            for connection, channel in zip(itertools.cycle(self._connections), self._channels, strict=False):
                await reach_channel(channel, connection.addresses[0], connection.tls)
        except BaseException:
            await self._close()
            raise
        self._calls = [channel.unary_unary(self._method) for channel in self._channels]
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self._close()

    async def _close(self) -> None:
        for channel in self._channels:
            await channel.close()

    async def send(self, index: int, timeout_s: float | None) -> str:
        call = self._calls[self._turn]
        self._turn = (self._turn + 1) % len(self._calls)
        content = self.payloads[index].content + self._suffix(timeout_s)
        try:
            answer = await call(content, timeout=timeout_s, metadata=self._metadata[index])
        except grpc.aio.AioRpcError as failure:
            error = error_of_call(failure)
            if isinstance(error, NoAnswerInTimeError):
                return NO_ANSWER_IN_TIME
            outcome = error.reason or error.code.name
            self.errors.note(outcome, error.message)
            return outcome
        try:
            return OK if self._check(answer) else EMPTY_ANSWER
        except ValueError as wrong:
            self.errors.note(MALFORMED_ANSWER, str(wrong))
            return MALFORMED_ANSWER


def _gateway_sender(plan: Plan, target: GatewayTarget) -> GrpcSender:
    encoding = target.mime_type.removeprefix("image/")
    spec = OutputSpec(kind=target.output, encoding=encoding)  # type: ignore[arg-type]  # the server checks the name
    photos = photo_payloads(plan.photos, plan.seed)
    requests = [build_request(photo.content, [spec], model=target.model) for photo in photos]
    payloads = tuple(
        Payload(photo.name, request.SerializeToString(), photo.share)
        for photo, request in zip(photos, requests, strict=True)
    )
    return GrpcSender(
        _connections(plan, target),
        REMOVE_BACKGROUND.path,
        payloads,
        connections_each=plan.connections,
        check=bool,
        suffix=lambda _: b"",
        promises=[size_promises(request) for request in requests],
    )


def _tensor_sender(plan: Plan, target: TensorTarget) -> GrpcSender:
    data = tensor_bytes(target.datatype, target.shape, plan.seed)
    content = infer_request(target.model, target.input_name, target.datatype, target.shape, data)
    margin_s = target.queue_timeout_margin_s

    def suffix(timeout_s: float | None) -> bytes:
        if margin_s is None or timeout_s is None:
            return b""
        return timeout_parameter(max(1, int((timeout_s - margin_s) * 1e6)))

    return GrpcSender(
        _connections(plan, target),
        _INFER,
        (Payload("x".join(map(str, target.shape)), content, 1.0),),
        connections_each=plan.connections,
        check=lambda answer: raw_output_bytes(answer) > 0,
        suffix=suffix,
    )


def _connections(plan: Plan, target: GatewayTarget | TensorTarget) -> tuple[Connection, ...]:
    """Return how to reach each address by itself.

    Raises:
        ValueError: There is no address, one cannot be read, or the token would travel readable.
    """
    return tuple(
        Connection(
            (address,),
            target.tls,
            target.token or None,
            token_over_plaintext=target.token_over_plaintext,
            max_message_bytes=plan.max_message_bytes,
        )
        for address in split_addresses(target.address) or ("",)
    )


def _channel(connection: Connection) -> grpc.aio.Channel:
    """Make a channel, and have it connect."""
    # A pool of its own makes each channel a connection of its own.
    of_its_own = ("grpc.use_local_subchannel_pool", 1)
    channel = open_channel(grpc.aio.insecure_channel, grpc.aio.secure_channel, connection, of_its_own)
    channel.get_state(try_to_connect=True)
    return channel
