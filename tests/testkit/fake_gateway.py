# SPDX-License-Identifier: Apache-2.0
"""A real gRPC server that implements MattingService as scripted, for tests of its clients.

    with FakeGateway() as gateway:
        gateway.script(Failure("OVERLOADED", StatusCode.RESOURCE_EXHAUSTED, retry_after_s=0.01), OK)
        Client(gateway.address).remove_background(b"photo")

Steps are used up in order, one a unary call or stream item; when none is left, every call is
answered well. What arrived is kept in `calls`.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, TypeAlias

import grpc
from google.protobuf import any_pb2
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from matting.v1 import matting_service_pb2 as pb
from matting.v1 import matting_service_pb2_grpc as pb_grpc

PNG = b"\x89PNG fake"


@dataclass(frozen=True, slots=True)
class Failure:
    """Fail with a reason of the contract; without one, with the bare code."""

    reason: str
    code: grpc.StatusCode
    message: str = "scripted"
    retry_after_s: float | None = None
    field_path: str = ""
    domain: str = "matting-gateway"

    def status(self) -> status_pb2.Status:
        """Write it as the status that travels."""
        details: list[any_pb2.Any] = []
        if self.reason:
            details.append(_packed(error_details_pb2.ErrorInfo(domain=self.domain, reason=self.reason)))
        if self.retry_after_s is not None:
            delay = Duration()
            delay.FromNanoseconds(int(self.retry_after_s * 1e9))
            details.append(_packed(error_details_pb2.RetryInfo(retry_delay=delay)))
        if self.field_path:
            violation = error_details_pb2.BadRequest.FieldViolation(field=self.field_path)
            details.append(_packed(error_details_pb2.BadRequest(field_violations=[violation])))
        return status_pb2.Status(code=self.code.value[0], message=self.message, details=details)


@dataclass(frozen=True, slots=True)
class Hold:
    """Answer only when `released` is set, or the call ends."""

    released: threading.Event


@dataclass(frozen=True, slots=True)
class Answer:
    """Answer with this message; None: one output for each asked for."""

    message: pb.RemoveBackgroundResponse | None = None


OK = Answer()
Step: TypeAlias = Failure | Hold | Answer
Maker: TypeAlias = Callable[[pb.RemoveBackgroundRequest], pb.RemoveBackgroundResponse]


@dataclass(frozen=True, slots=True)
class SeenCall:
    """What arrived. `timeout_s` is the time the caller gave, None without a deadline."""

    request: pb.RemoveBackgroundRequest
    metadata: dict[str, str | bytes]
    timeout_s: float | None


class FakeGateway(pb_grpc.MattingServiceServicer):
    """The server. Owns the script and what arrived; both under one lock."""

    def __init__(
        self,
        *,
        address: str = "127.0.0.1:0",
        credentials: grpc.ServerCredentials | None = None,
        answer: Maker | None = None,
        models: Sequence[pb.Model] = (),
        policy: pb.DataPolicy | None = None,
        page_size: int = 2,
        serving: bool = True,
    ) -> None:
        self.calls: list[SeenCall] = []
        self.cancelled_items: list[str] = []
        self.times_to_live_s: list[float] = []
        # One release for each call or item that arrived, and for each stream that ended.
        self.arrived = threading.Semaphore(0)
        self.ended_streams = threading.Semaphore(0)
        self._steps: deque[Step] = deque()
        self._lock = threading.Lock()
        self._make_answer = answer or make_answer
        self._models = tuple(models)
        self._policy = policy or pb.DataPolicy()
        self._page_size = page_size
        options = [("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", 64 << 20)]
        self._server = grpc.server(futures.ThreadPoolExecutor(32), options=options)
        register: Any = pb_grpc.add_MattingServiceServicer_to_server  # generated without types
        register(self, self._server)
        self._health = health.HealthServicer()
        register = health_pb2_grpc.add_HealthServicer_to_server
        register(self._health, self._server)
        self.set_serving(serving)
        if credentials is None:
            port = self._server.add_insecure_port(address)
        else:
            port = self._server.add_secure_port(address, credentials)
        self.address = address if address.startswith("unix:") else f"127.0.0.1:{port}"
        self._server.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        self._server.stop(None).wait()

    def set_serving(self, serving: bool) -> None:
        """Say on the health service whether calls should come here."""
        status = health_pb2.HealthCheckResponse
        self._health.set("", status.SERVING if serving else status.NOT_SERVING)

    def script(self, *steps: Step) -> None:
        with self._lock:
            self._steps.extend(steps)

    # --- the service ----------------------------------------------------------------------

    def RemoveBackground(  # noqa: N802  # the contract's name
        self, request: pb.RemoveBackgroundRequest, context: grpc.ServicerContext
    ) -> pb.RemoveBackgroundResponse:
        step = self._seen(request, context)
        call_id = str(dict(context.invocation_metadata()).get("x-request-id", ""))
        receipt = pb.DataReceipt(call_id=call_id, held_duration=Duration(nanos=5_000_000), released=True)
        context.set_trailing_metadata((("matting-receipt-bin", receipt.SerializeToString()),))
        if isinstance(step, Hold):
            context.add_callback(step.released.set)
            step.released.wait()
        if isinstance(step, Failure):
            self._abort(context, step)
        return self._answer(step, request)

    def StreamRemoveBackground(  # noqa: N802  # the contract's name
        self, requests: Iterator[pb.StreamRemoveBackgroundRequest], context: grpc.ServicerContext
    ) -> Iterator[pb.StreamRemoveBackgroundResponse]:
        """Answer items as they come; a held one is answered at its cancel or at the end."""
        held: dict[str, pb.RemoveBackgroundRequest] = {}
        context.add_callback(self.ended_streams.release)
        for message in requests:
            if message.WhichOneof("action") == "cancel":
                self.cancelled_items.append(message.item_id)
                if held.pop(message.item_id, None) is not None:
                    yield _item_error(message.item_id, Failure("", grpc.StatusCode.CANCELLED))
                continue
            step = self._seen(message.request, context)
            if message.HasField("time_to_live"):
                self.times_to_live_s.append(message.time_to_live.ToTimedelta().total_seconds())
            if isinstance(step, Hold):
                held[message.item_id] = message.request
            elif isinstance(step, Failure) and step.code is grpc.StatusCode.UNAVAILABLE:
                self._abort(context, step)
            elif isinstance(step, Failure):
                yield _item_error(message.item_id, step)
            else:
                response = self._answer(step, message.request)
                yield pb.StreamRemoveBackgroundResponse(item_id=message.item_id, response=response)
        for item_id, request in held.items():
            yield pb.StreamRemoveBackgroundResponse(item_id=item_id, response=self._answer(OK, request))

    def ListModels(  # noqa: N802  # the contract's name
        self, request: pb.ListModelsRequest, context: grpc.ServicerContext
    ) -> pb.ListModelsResponse:
        start = int(request.page_token or 0)
        end = start + self._page_size
        token = str(end) if end < len(self._models) else ""
        return pb.ListModelsResponse(models=self._models[start:end], next_page_token=token)

    def GetDataPolicy(  # noqa: N802  # the contract's name
        self, request: pb.GetDataPolicyRequest, context: grpc.ServicerContext
    ) -> pb.GetDataPolicyResponse:
        return pb.GetDataPolicyResponse(policy=self._policy)

    def _seen(self, request: pb.RemoveBackgroundRequest, context: grpc.ServicerContext) -> Step:
        remaining_s = context.time_remaining()
        with self._lock:
            metadata = dict(context.invocation_metadata())
            self.calls.append(SeenCall(request, metadata, remaining_s))
            step = self._steps.popleft() if self._steps else OK
        self.arrived.release()
        return step

    def _answer(self, step: Step, request: pb.RemoveBackgroundRequest) -> pb.RemoveBackgroundResponse:
        if isinstance(step, Answer) and step.message is not None:
            return step.message
        return self._make_answer(request)

    def _abort(self, context: grpc.ServicerContext, failure: Failure) -> None:
        trailing: list[tuple[str, str | bytes]] = [("grpc-status-details-bin", failure.status().SerializeToString())]
        trailing += [(key, value) for key, value in context.trailing_metadata() or ()]
        context.set_trailing_metadata(tuple(trailing))
        context.abort(failure.code, failure.message)


def make_answer(request: pb.RemoveBackgroundRequest) -> pb.RemoveBackgroundResponse:
    """Answer with a fake file for each output asked for."""
    kinds = [spec.encoded.mime_type or "image/png" for spec in request.outputs] or ["image/png"]
    return pb.RemoveBackgroundResponse(
        outputs=[
            pb.Output(encoded=pb.EncodedImage(content=PNG, mime_type=kind), width_px=4, height_px=3) for kind in kinds
        ],
        model=pb.ModelRef(name=request.model.name or "fake", version="1"),
        subject=pb.Subject(found=True, box=pb.Box(left_px=1, top_px=0, width_px=2, height_px=3), area_share=0.5),
        timings=pb.Timings(total_duration=Duration(nanos=250_000_000)),
    )


def _item_error(item_id: str, failure: Failure) -> pb.StreamRemoveBackgroundResponse:
    return pb.StreamRemoveBackgroundResponse(item_id=item_id, error=failure.status())


def _packed(message: Any) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed
