# SPDX-License-Identifier: Apache-2.0
"""Spans as OpenTelemetry has them, sent by OTLP over gRPC. Imported only where traces are asked for.

The messages are filled in place: of a call with four spans that takes a fifth of the time that the SDK's span objects
and their encoder take, and it is the gateway's processor time.
"""

import importlib.metadata
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from opentelemetry.sdk.resources import OTELResourceDetector, Resource

from matting_gateway.clock import Clock
from matting_gateway.telemetry.log_lines import CallRecord
from matting_gateway.traces import EndedTrace, Stage, Trace
from matting_gateway.tracing.exporter import CollectorError

_EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
_OPTIONS = (
    ("grpc.enable_retries", 0),
    ("grpc.enable_http_proxy", 0),
    ("grpc.max_reconnect_backoff_ms", 10_000),
    ("grpc.use_local_subchannel_pool", 1),
)
# What the protocol says may be sent again. RESOURCE_EXHAUSTED is not among them: a collector that means it says when.
_PASSING = frozenset(
    {
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.OUT_OF_RANGE,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DATA_LOSS,
    }
)
# Codes that are a server's fault, as the conventions for RPCs have it, and so errors of its span.
_SERVER_ERRORS = frozenset({"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"})
_CODES = {code.name: code.value[0] for code in grpc.StatusCode}
# Of a call's log line, what its span says too. A span's own are its times, its ids and its method.
_FROM_THE_LINE = ("reason", "tenant", "model", "size_bucket", "peer", "request_id")
# Everything that a span can say.
SPAN_ATTRIBUTES = frozenset(
    {
        *("rpc.system", "rpc.service", "rpc.method", "rpc.grpc.status_code", "error.type"),
        *(f"matting.{name}" for name in _FROM_THE_LINE),
        *("matting.backend", "matting.batch_size"),
    }
)
_TRITON_SERVICE = "inference.GRPCInferenceService"
# Whether the span above is another process's: known, and so or not (opentelemetry.proto.trace.v1.SpanFlags).
_SAMPLED, _PARENT_KNOWN, _PARENT_IS_REMOTE = 0x01, 0x100, 0x200


class CollectorIdentity(Protocol):
    """What a connection to the collector is made with. Another `version` means: make a new one."""

    @property
    def version(self) -> int: ...

    @property
    def credentials(self) -> grpc.ChannelCredentials: ...


class OtlpCollector:
    """Sends spans to one collector.

    Owns the channel, which is made anew when the credentials are. `identity` returns those in force; without it
    the way is in the clear. The resource that spans are of is this program, and what `OTEL_RESOURCE_ATTRIBUTES` and
    `OTEL_SERVICE_NAME` say of it.
    """

    def __init__(self, address: str, *, clock: Clock, identity: Callable[[], CollectorIdentity] | None) -> None:
        self.address = address
        self._version = _version()
        self._clock = clock
        self._identity = identity
        ours = Resource({"service.name": "matting-gateway", "service.version": self._version})
        self._resource = dict(ours.merge(OTELResourceDetector().detect()).attributes)
        self._channel: grpc.Channel | None = None
        self._channel_version = 0

    def __repr__(self) -> str:
        return f"<OtlpCollector {self.address}>"

    def send(self, traces: Sequence[EndedTrace], timeout_s: float) -> int:
        """Send the spans of traces, and return how many of them were refused.

        Raises:
            CollectorError: None was taken.
        """
        request = self._request_of(traces).SerializeToString()
        try:
            export: Any = self._open().unary_unary(_EXPORT, response_deserializer=ExportTraceServiceResponse.FromString)
            answer: ExportTraceServiceResponse = export(request, timeout=timeout_s)
        except grpc.RpcError as exc:
            raise CollectorError(exc.code().name, passing=exc.code() in _PASSING) from exc
        except ValueError as exc:  # the channel has been closed
            raise CollectorError("CANCELLED", passing=True) from exc
        return int(answer.partial_success.rejected_spans)

    def close(self) -> None:
        """End what is being sent, and the connection."""
        if self._channel is not None:
            self._channel.close()

    def _open(self) -> grpc.Channel:
        identity = self._identity() if self._identity is not None else None
        version = identity.version if identity is not None else 0
        if self._channel is None or version != self._channel_version:
            self.close()
            self._channel_version = version
            self._channel = (
                grpc.insecure_channel(self.address, options=_OPTIONS)
                if identity is None
                else grpc.secure_channel(self.address, identity.credentials, options=_OPTIONS)
            )
        return self._channel

    def _request_of(self, traces: Sequence[EndedTrace]) -> ExportTraceServiceRequest:
        request = ExportTraceServiceRequest()
        of_resource = request.resource_spans.add()
        for name, value in self._resource.items():
            of_resource.resource.attributes.add(key=name).value.string_value = str(value)
        of_scope = of_resource.scope_spans.add()
        of_scope.scope.name, of_scope.scope.version = "matting_gateway", self._version
        to_unix_ns = int(self._clock.wall() * 1e9) - int(self._clock.now() * 1e9)
        for ended in traces:
            _add_trace(of_scope.spans, ended, to_unix_ns)
        return request


def _add_trace(spans: Any, ended: EndedTrace, to_unix_ns: int) -> None:
    """Add the span of a call or an item, and those of its stages."""
    trace = ended.trace
    trace_id, span_id = bytes.fromhex(trace.trace_id), bytes.fromhex(trace.span_id)
    record = ended.record if isinstance(ended.record, CallRecord) else None
    span = spans.add(
        name=record.method[1:] if record is not None else "item",
        kind=Span.SPAN_KIND_SERVER if record is not None else Span.SPAN_KIND_INTERNAL,
        trace_id=trace_id,
        span_id=span_id,
        parent_span_id=bytes.fromhex(trace.parent_span_id),
        flags=_SAMPLED | _PARENT_KNOWN | (_PARENT_IS_REMOTE if record is not None and trace.parent_span_id else 0),
        start_time_unix_nano=int(ended.since_s * 1e9) + to_unix_ns,
        end_time_unix_nano=int(ended.until_s * 1e9) + to_unix_ns,
    )
    if record is not None:
        _say_call(span.attributes, record)
    _say_error(span, ended.error_type)
    for stage in trace.stages:
        child = spans.add(
            name=stage.name,
            kind=Span.SPAN_KIND_INTERNAL,
            trace_id=trace_id,
            span_id=bytes.fromhex(stage.span_id),
            parent_span_id=span_id,
            flags=_SAMPLED | _PARENT_KNOWN,
            start_time_unix_nano=int(stage.since_s * 1e9) + to_unix_ns,
            end_time_unix_nano=int(stage.until_s * 1e9) + to_unix_ns,
        )
        if stage.batch is not None:
            _say_batch(child, trace, stage)


def _say_call(attributes: Any, record: CallRecord) -> None:
    _, service, method = record.method.split("/", 2)
    _say(attributes, "rpc.system", "grpc")
    _say(attributes, "rpc.service", service)
    _say(attributes, "rpc.method", method)
    attributes.add(key="rpc.grpc.status_code").value.int_value = _CODES.get(record.code, 2)
    for name in _FROM_THE_LINE:
        value = getattr(record, name)
        if value:
            _say(attributes, f"matting.{name}", value)


def _say_batch(span: Any, trace: Trace, stage: Stage) -> None:
    batch = stage.batch
    if batch is None:
        return
    span.kind = Span.SPAN_KIND_CLIENT
    _say(span.attributes, "rpc.system", "grpc")
    _say(span.attributes, "rpc.service", _TRITON_SERVICE)
    _say(span.attributes, "rpc.method", "ModelInfer")
    if batch.backend:
        _say(span.attributes, "matting.backend", batch.backend)
    span.attributes.add(key="matting.batch_size").value.int_value = batch.batch_size
    if (batch.trace_id, batch.span_id) != (trace.trace_id, stage.span_id):
        span.links.add(trace_id=bytes.fromhex(batch.trace_id), span_id=bytes.fromhex(batch.span_id))
    _say_error(span, batch.error_type)


def _say_error(span: Any, error_type: str) -> None:
    if error_type:
        _say(span.attributes, "error.type", error_type)
        if span.kind != Span.SPAN_KIND_SERVER or error_type in _SERVER_ERRORS:
            span.status.code = Status.STATUS_CODE_ERROR


def _version() -> str:
    try:
        return importlib.metadata.version("matting-gateway")
    except importlib.metadata.PackageNotFoundError:  # run from its source, never installed
        return "unknown"


def _say(attributes: Any, name: str, value: str) -> None:
    attributes.add(key=name).value.string_value = value
