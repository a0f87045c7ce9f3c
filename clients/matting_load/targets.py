# SPDX-License-Identifier: Apache-2.0
"""How one call is made to each kind of target.

A sender returns the name of the outcome, and never raises for a failed call.
"""

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Protocol, Self

import aiohttp
import grpc
import grpc.aio
from matting_client.calls import REMOVE_BACKGROUND, size_promises
from matting_client.connection import Connection, channel_options, channel_target
from matting_client.errors import NoAnswerInTimeError
from matting_client.failures import error_of_call
from matting_client.photos import OutputSpec, build_request

from matting_load.payloads import Payload, photo_payloads, tensor_bytes
from matting_load.plan import GatewayTarget, Plan, RembgTarget, TensorTarget
from matting_load.wire import infer_request, raw_output_bytes, timeout_parameter

OK = "ok"
# Answers that are well-formed and empty are the server's fault, and would otherwise look fast.
EMPTY_ANSWER = "empty_answer"
NO_ANSWER_IN_TIME = "no_answer_in_time"

_INFER = "/inference.GRPCInferenceService/ModelInfer"


class Sender(Protocol):
    """Sends prepared payloads to one target."""

    payloads: tuple[Payload, ...]

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    async def send(self, index: int, timeout_s: float | None) -> str:
        """Send payload `index`; returns the outcome."""


def make_sender(plan: Plan) -> Sender:
    """Make the sender of a plan; slow (photos are made here), and before the clock starts."""
    target = plan.target
    if isinstance(target, GatewayTarget):
        return _gateway_sender(plan, target)
    if isinstance(target, TensorTarget):
        return _tensor_sender(plan, target)
    return RembgSender(target, photo_payloads(plan.photos, plan.seed), plan.connections)


class GrpcSender:
    """Sends serialised messages over several connections in turn.

    Owns the channels. `check` tells whether an answer's bytes hold a result; `suffix` adds what
    depends on the call's own deadline; `promises` is the metadata that tells each payload's size.
    """

    def __init__(
        self,
        connection: Connection,
        method: str,
        payloads: tuple[Payload, ...],
        *,
        connections: int,
        check: Callable[[bytes], bool],
        suffix: Callable[[float | None], bytes],
        promises: Sequence[tuple[tuple[str, str], ...]] = (),
    ) -> None:
        self.payloads = payloads
        self._connection = connection
        self._method = method
        self._connection_count = connections
        self._check = check
        self._suffix = suffix
        self._metadata = [
            grpc.aio.Metadata(*promised, *connection.credential_metadata())
            for promised in promises or ((),) * len(payloads)
        ]
        self._channels: list[grpc.aio.Channel] = []
        self._calls: list[grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]] = []
        self._turn = 0

    async def __aenter__(self) -> Self:
        tls = self._connection.tls
        # A pool of its own makes each channel a connection of its own.
        options = [*channel_options(self._connection), ("grpc.use_local_subchannel_pool", 1)]
        target = channel_target(self._connection.addresses)
        for _ in range(self._connection_count):
            channel = (
                grpc.aio.insecure_channel(target, options)
                if tls is None
                else grpc.aio.secure_channel(target, tls.credentials(), options)
            )
            self._channels.append(channel)
            self._calls.append(channel.unary_unary(self._method))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
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
            return error.reason or error.code.name
        return OK if self._check(answer) else EMPTY_ANSWER


class RembgSender:
    """Posts photos as forms, as browsers do. Owns the HTTP session."""

    def __init__(self, target: RembgTarget, payloads: tuple[Payload, ...], connections: int) -> None:
        self._url = f"{target.url.rstrip('/')}/api/remove"
        boundary = "matting-load-boundary-7d1f"
        fields = {"model": target.model, "om": "true" if target.only_mask else "false"}
        self.payloads = tuple(
            Payload(each.name, _form(boundary, fields, each.name, each.content), each.share) for each in payloads
        )
        self._headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def send(self, index: int, timeout_s: float | None) -> str:
        if self._session is None:
            raise RuntimeError("enter the sender first")
        timeout = aiohttp.ClientTimeout(total=timeout_s)
        body = self.payloads[index].content
        try:
            async with self._session.post(self._url, data=body, headers=self._headers, timeout=timeout) as response:
                content = await response.read()
        except TimeoutError:
            return NO_ANSWER_IN_TIME
        except aiohttp.ClientError as error:
            return type(error).__name__
        if response.status != 200:
            return f"HTTP_{response.status}"
        return OK if content else EMPTY_ANSWER


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
        Connection((target.address,), target.tls, target.token or None, max_message_bytes=plan.max_message_bytes),
        REMOVE_BACKGROUND.path,
        payloads,
        connections=plan.connections,
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
        Connection((target.address,), target.tls, target.token or None, max_message_bytes=plan.max_message_bytes),
        _INFER,
        (Payload("x".join(map(str, target.shape)), content, 1.0),),
        connections=plan.connections,
        check=lambda answer: raw_output_bytes(answer) > 0,
        suffix=suffix,
    )


def _form(boundary: str, fields: dict[str, str], file_name: str, content: bytes) -> bytes:
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields.items()
    ]
    parts.append(
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{file_name}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n".encode()
    )
    return b"".join([*parts, content, f"\r\n--{boundary}--\r\n".encode()])
