# SPDX-License-Identifier: Apache-2.0
"""Spans as OpenTelemetry has them, sent by OTLP over gRPC. Imported only where traces are asked for.

What repeats in spans is put together once, and ids and times are put beside it: of a call with four spans that takes a
tenth of the time that the SDK's span objects and their encoder take, and it is the gateway's processor time.
"""

import struct
from collections.abc import Callable, Sequence
from functools import lru_cache

import grpc
from google.protobuf.message import DecodeError
from grpc_h2.client.caller import UnaryCaller
from grpc_h2.client.status import CallError
from grpc_h2.client.target import Target
from open_inference.wire import varint
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status
from opentelemetry.sdk.resources import OTELResourceDetector, Resource

from matting_gateway.clock import Clock
from matting_gateway.reloading.client_tls import ClientIdentity
from matting_gateway.telemetry.log_lines import CallRecord
from matting_gateway.traces import INFERENCE, Trace
from matting_gateway.tracing.exporter import CollectorError
from matting_gateway.version import own_version

_EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
_CONNECT_TIMEOUT_S = 5.0
_MAX_MESSAGE_BYTES = 64 << 20
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
# Of a call's log line, what its span says too, in that order after method and code; and the request's id.
_FROM_THE_LINE = ("reason", "tenant", "model", "size_bucket", "peer")
_REPEATED_COUNT = 2 + len(_FROM_THE_LINE)
# Everything that a span can say.
SPAN_ATTRIBUTES = frozenset(
    {
        *("rpc.system", "rpc.service", "rpc.method", "rpc.grpc.status_code", "error.type"),
        *(f"matting.{name}" for name in _FROM_THE_LINE),
        *("matting.request_id", "matting.backend", "matting.batch_size"),
    }
)
# Whether the span above is another process's: known, and so or not (opentelemetry.proto.trace.v1.SpanFlags).
_SAMPLED, _PARENT_KNOWN, _PARENT_IS_REMOTE = 0x01, 0x100, 0x200
_MAX_ID = (1 << 64) - 1
# Tags of fields of OTLP's messages: of ExportTraceServiceRequest, ResourceSpans, ScopeSpans, and Span.
_RESOURCE_SPANS, _SCOPE_SPANS, _SPANS = b"\x0a", b"\x12", b"\x12"
_TRACE_ID, _SPAN_ID, _ABOVE, _BEGAN, _ENDED = b"\x0a\x10", b"\x12\x08", b"\x22\x08", b"\x39", b"\x41"
# Of a Link with both its ids, and how long it is; of an attribute.
_LINK = b"\x6a\x1c"
_ATTRIBUTES, _REQUEST_ID = b"\x4a", KeyValue(key="matting.request_id").SerializeToString()
_IDS_AND_TIMES, _ID_AND_TIMES = struct.Struct("<2s16s2s8s1sQ1sQ"), struct.Struct("<Q1sQ1sQ")
# Of a span that is below another: three ids and two times, with their tags.
_BELOW_BYTES = 10 + 18 + 2 + _ID_AND_TIMES.size


class OtlpCollector:
    """Sends spans to one collector.

    Owns the connection, which is made anew when the credentials are. `identity` returns those in force; without it
    the way is in the clear. The resource that spans are of is this program, and what `OTEL_RESOURCE_ATTRIBUTES` and
    `OTEL_SERVICE_NAME` say of it.
    """

    def __init__(self, address: str, *, clock: Clock, identity: Callable[[], ClientIdentity] | None) -> None:
        self.address = address
        self._clock = clock
        self._identity = identity
        version = own_version()
        ours = Resource({"service.name": "matting-gateway", "service.version": version})
        of_resource = ResourceSpans()
        for name, value in ours.merge(OTELResourceDetector().detect()).attributes.items():
            of_resource.resource.attributes.add(key=name).value.string_value = str(value)
        self._resource = of_resource.SerializeToString()
        scope = InstrumentationScope(name="matting_gateway", version=version)
        self._scope = ScopeSpans(scope=scope).SerializeToString()
        self._caller: UnaryCaller | None = None
        self._caller_identity: ClientIdentity | None = None

    def __repr__(self) -> str:
        return f"<OtlpCollector {self.address}>"

    def written(self, traces: Sequence[Trace]) -> bytes:
        """Return the spans of traces as they are sent: each a field of ScopeSpans."""
        to_unix_ns = int(self._clock.wall() * 1e9) - int(self._clock.now() * 1e9)
        pieces: list[bytes] = []
        for trace in traces:
            _write(trace, to_unix_ns, pieces)
        return b"".join(pieces)

    async def send(self, pieces: Sequence[bytes], timeout_s: float) -> int:
        """Send what was written, and return how many spans of it were refused.

        Raises:
            CollectorError: None was taken.
        """
        # An ExportTraceServiceRequest, which has one ResourceSpans with one ScopeSpans.
        of_scope = _field(_SCOPE_SPANS, b"".join((self._scope, *pieces)))
        request = _field(_RESOURCE_SPANS, self._resource + of_scope)
        try:
            caller = await self._current_caller()
            answer = ExportTraceServiceResponse.FromString(bytes(await caller.call(request, timeout_s)))
        except CallError as exc:
            raise CollectorError(exc.code().name, passing=exc.code() in _PASSING) from exc
        except DecodeError as exc:
            raise CollectorError("INTERNAL", passing=False) from exc
        return answer.partial_success.rejected_spans

    async def close(self) -> None:
        """End what is being sent, and the connection. No more is sent."""
        if self._caller is not None:
            await self._caller.close()

    async def _current_caller(self) -> UnaryCaller:
        identity = self._identity() if self._identity is not None else None
        if self._caller is None or identity is not self._caller_identity:
            await self.close()
            self._caller_identity = identity
            self._caller = UnaryCaller(
                self.address,
                _EXPORT,
                max_message_bytes=_MAX_MESSAGE_BYTES,
                connect_timeout_s=_CONNECT_TIMEOUT_S,
                tls=identity.context if identity is not None else None,
                server_name=Target.parse(self.address).host or "localhost",
            )
        return self._caller


def _write(trace: Trace, to_unix_ns: int, pieces: list[bytes]) -> None:
    """Write the span of a call or an item, unless it has been written, and those of its stages."""
    trace_id, span_id = bytes.fromhex(trace.trace_id), bytes.fromhex(trace.span_id)
    if not trace.late:
        _write_own_span(trace, trace_id, span_id, to_unix_ns, pieces)
    # Of what is below it all but the times, and the own id, is the same.
    same = _ABOVE + span_id + _TRACE_ID + trace_id + _SPAN_ID
    number = int.from_bytes(span_id, "little")
    for name, since_s, until_s, stage_id, batch in trace.noted:
        number = number % _MAX_ID + 1
        own_id = int.from_bytes(bytes.fromhex(stage_id), "little") if stage_id else number
        began_ns, ended_ns = int(since_s * 1e9) + to_unix_ns, int(until_s * 1e9) + to_unix_ns
        id_and_times = _ID_AND_TIMES.pack(own_id, _BEGAN, began_ns, _ENDED, ended_ns)
        if batch is None:
            pieces += (_said_of_stage(name), same, id_and_times)
            continue
        link = b""
        if batch.span_id != stage_id:
            link = _LINK + _TRACE_ID + bytes.fromhex(batch.trace_id) + _SPAN_ID + bytes.fromhex(batch.span_id)
        said = _said_of_batch(batch.backend, batch.batch_size, batch.error_type, len(link))
        pieces += (said, same, id_and_times, link)


def _write_own_span(trace: Trace, trace_id: bytes, span_id: bytes, to_unix_ns: int, pieces: list[bytes]) -> None:
    record = trace.record
    above = _ABOVE + bytes.fromhex(trace.parent_span_id) if trace.parent_span_id else b""
    began_ns, ended_ns = int(trace.since_s * 1e9) + to_unix_ns, int(trace.until_s * 1e9) + to_unix_ns
    own = _IDS_AND_TIMES.pack(_TRACE_ID, trace_id, _SPAN_ID, span_id, _BEGAN, began_ns, _ENDED, ended_ns)
    if not isinstance(record, CallRecord):
        pieces += (_said_of_item(len(above), trace.error_type), own, above)
        return
    request_id = record.request_id.encode()
    said = _said_of_call(len(above), trace.error_type, record[:_REPEATED_COUNT], len(request_id))
    pieces += (said, request_id, own, above)


def _field(tag: bytes, content: bytes) -> bytes:
    """Return a field with its length before it (protobuf.dev/programming-guides/encoding)."""
    return tag + varint(len(content)) + content


# What is said of many spans is put together once: the head of the field that a span is, and of that all that repeats.


@lru_cache(maxsize=1024)
def _said_of_call(above_bytes: int, error_type: str, of_the_line: tuple[str, ...], request_id_bytes: int) -> bytes:
    """Return it up to the text of the request's id, the one attribute that no other span has."""
    method, code, *rest = of_the_line
    _, service, name = method.split("/", 2)
    flags = _SAMPLED | _PARENT_KNOWN | (_PARENT_IS_REMOTE if above_bytes else 0)
    span = Span(name=method[1:], kind=Span.SPAN_KIND_SERVER, flags=flags)
    _say_rpc(span, service, name)
    span.attributes.add(key="rpc.grpc.status_code").value.int_value = _CODES[code]
    for field, value in zip(_FROM_THE_LINE, rest, strict=True):
        _say(span, f"matting.{field}", value)
    said = _with_error(span, error_type, ours=error_type in _SERVER_ERRORS)
    # A KeyValue, whose AnyValue is a text.
    text = _REQUEST_ID + _field(b"\x12", _field(b"\x0a", bytes(request_id_bytes)))
    said += _field(_ATTRIBUTES, text)[: -request_id_bytes or None]
    return _with_head(said, request_id_bytes + _IDS_AND_TIMES.size + above_bytes)


@lru_cache(maxsize=64)
def _said_of_item(above_bytes: int, error_type: str) -> bytes:
    span = Span(name="item", kind=Span.SPAN_KIND_INTERNAL, flags=_SAMPLED | _PARENT_KNOWN)
    return _with_head(_with_error(span, error_type), _IDS_AND_TIMES.size + above_bytes)


@lru_cache(maxsize=64)
def _said_of_stage(name: str) -> bytes:
    span = Span(name=name, kind=Span.SPAN_KIND_INTERNAL, flags=_SAMPLED | _PARENT_KNOWN)
    return _with_head(span.SerializeToString(), _BELOW_BYTES)


@lru_cache(maxsize=1024)
def _said_of_batch(backend: str, batch_size: int, error_type: str, link_bytes: int) -> bytes:
    span = Span(name=INFERENCE, kind=Span.SPAN_KIND_CLIENT, flags=_SAMPLED | _PARENT_KNOWN)
    _say_rpc(span, "inference.GRPCInferenceService", "ModelInfer")
    _say(span, "matting.backend", backend)
    span.attributes.add(key="matting.batch_size").value.int_value = batch_size
    return _with_head(_with_error(span, error_type), _BELOW_BYTES + link_bytes)


def _with_head(said: bytes, more_bytes: int) -> bytes:
    return _SPANS + varint(len(said) + more_bytes) + said


def _with_error(span: Span, error_type: str, *, ours: bool = True) -> bytes:
    _say(span, "error.type", error_type)
    if error_type and ours:
        span.status.code = Status.STATUS_CODE_ERROR
    return span.SerializeToString()


def _say_rpc(span: Span, service: str, method: str) -> None:
    for name, value in (("rpc.system", "grpc"), ("rpc.service", service), ("rpc.method", method)):
        _say(span, name, value)


def _say(span: Span, name: str, value: str) -> None:
    if value:
        span.attributes.add(key=name).value.string_value = value
