# SPDX-License-Identifier: Apache-2.0
"""What is said of a call in OpenTelemetry's terms: a closed list, and nothing of a photo."""

import pytest
from matting_gateway.clock import SystemClock
from matting_gateway.telemetry.log_lines import CallRecord
from matting_gateway.traces import CallerContext, SentBatch, Trace

pytest.importorskip("opentelemetry.proto", reason="pip install 'matting-gateway[otel]'")

from matting_gateway.tracing.otlp import SPAN_ATTRIBUTES, OtlpCollector
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from testkit.collector import FakeCollector, attributes_of

RECORD = CallRecord(
    method="/matting.v1.MattingService/RemoveBackground",
    code="OK",
    reason="",
    tenant="shop",
    model="u2net",
    size_bucket="2-4MP",
    peer="10.1.2.0/24",
    request_id="order-7",
    duration_s=0.5,
)


async def exported(*traces: Trace) -> list[Span]:
    async with FakeCollector() as server:
        collector = OtlpCollector(server.address, clock=SystemClock(), identity=None)
        await collector.send([collector.written(traces)], 10.0)
        await collector.close()
        return server.spans


def ended(trace: Trace, error_type: str = "", record: CallRecord | None = RECORD) -> Trace:
    trace.end(1.0, 2.0, error_type=error_type, record=record)
    return trace


def trace() -> Trace:
    return Trace(lambda _: None)


async def test_a_call_is_a_servers_span_by_the_conventions_for_rpcs() -> None:
    (span,) = await exported(ended(trace()))
    assert (span.name, span.kind) == ("matting.v1.MattingService/RemoveBackground", Span.SPAN_KIND_SERVER)
    assert attributes_of(span) == {
        "rpc.system": "grpc",
        "rpc.service": "matting.v1.MattingService",
        "rpc.method": "RemoveBackground",
        "rpc.grpc.status_code": 0,
        "matting.tenant": "shop",
        "matting.model": "u2net",
        "matting.size_bucket": "2-4MP",
        "matting.peer": "10.1.2.0/24",
        "matting.request_id": "order-7",
    }
    assert span.end_time_unix_nano - span.start_time_unix_nano == 1_000_000_000


@pytest.mark.parametrize(
    ("code", "number", "status"),
    [
        ("INVALID_ARGUMENT", 3, Status.STATUS_CODE_UNSET),
        ("RESOURCE_EXHAUSTED", 8, Status.STATUS_CODE_UNSET),
        ("DEADLINE_EXCEEDED", 4, Status.STATUS_CODE_ERROR),
        ("INTERNAL", 13, Status.STATUS_CODE_ERROR),
    ],
)
async def test_a_failure_is_told_by_its_code_and_is_an_error_where_it_is_ours(
    code: str, number: int, status: int
) -> None:
    (span,) = await exported(ended(trace(), code, RECORD._replace(code=code, reason="WHY")))
    told = attributes_of(span)
    assert (told["rpc.grpc.status_code"], told["error.type"], told["matting.reason"]) == (number, code, "WHY")
    assert span.status.code == status


@pytest.mark.parametrize("length", [0, 1, 127, 128, 300])
@pytest.mark.parametrize("parent", [None, CallerContext("b" * 32, "c" * 16, sampled=True)])
async def test_a_span_is_whole_however_long_the_requests_id_is(length: int, parent: CallerContext | None) -> None:
    one = Trace(lambda _: None, parent)
    one.stage("receive", 1.0, 1.5)
    call, below = await exported(ended(one, record=RECORD._replace(request_id="r" * length)))
    assert attributes_of(call)["matting.request_id"] == "r" * length
    assert call.parent_span_id.hex() == ("c" * 16 if parent else "")
    assert below.parent_span_id == call.span_id


async def test_an_item_is_below_its_stream() -> None:
    stream = trace()
    item = stream.item()
    _, span = await exported(ended(stream), ended(item, record=None))
    assert (span.name, span.parent_span_id.hex()) == ("item", stream.span_id)
    assert not span.attributes


async def test_an_inference_is_a_call_of_ours_that_names_its_batch() -> None:
    one = trace()
    one.passed_on(1.0, 2.0, "a" * 16, SentBatch("triton:8001", 3, "", one.trace_id, "a" * 16))
    _, span = await exported(ended(one))
    assert span.kind == Span.SPAN_KIND_CLIENT
    assert attributes_of(span) == {
        "rpc.system": "grpc",
        "rpc.service": "inference.GRPCInferenceService",
        "rpc.method": "ModelInfer",
        "matting.backend": "triton:8001",
        "matting.batch_size": 3,
    }
    assert not span.links


async def test_a_batch_that_another_call_carries_is_linked_to() -> None:
    one = trace()
    one.passed_on(1.0, 2.0, "a" * 16, SentBatch("triton:8001", 3, "UNAVAILABLE", "b" * 32, "c" * 16))
    _, span = await exported(ended(one))
    (link,) = span.links
    assert (link.trace_id.hex(), link.span_id.hex()) == ("b" * 32, "c" * 16)
    assert span.status.code == Status.STATUS_CODE_ERROR


async def test_what_comes_after_the_end_is_below_the_span_that_was_sent_with_ids_of_its_own() -> None:
    handed: list[bytes] = []
    async with FakeCollector() as server:
        collector = OtlpCollector(server.address, clock=SystemClock(), identity=None)

        def write(trace: Trace) -> None:
            trace.written = True
            handed.append(collector.written([trace]))

        one = Trace(write)
        one.stage("receive", 1.0, 1.5)
        ended(one, "CANCELLED", RECORD._replace(code="CANCELLED"))
        one.inference(1.5, 2.0, 3.0, "a" * 16, SentBatch("triton:8001", 1, "", one.trace_id, "a" * 16))
        await collector.send(handed, 10.0)
        await collector.close()
    call, *below = server.spans
    assert [span.name for span in below] == ["receive", "queue", "inference"]
    assert {span.parent_span_id for span in below} == {call.span_id}
    assert len({span.span_id for span in server.spans}) == 4
    assert below[2].span_id.hex() == "a" * 16


async def test_what_spans_can_say_is_what_log_lines_can_and_the_conventions() -> None:
    conventions = {"rpc.system", "rpc.service", "rpc.method", "rpc.grpc.status_code", "error.type"}
    ours = {name.removeprefix("matting.") for name in SPAN_ATTRIBUTES - conventions}
    assert ours - {"backend", "batch_size"} <= {*CallRecord._fields}


async def test_the_operator_names_the_resource(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "cutouts")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "k8s.pod.name=gateway-0,deployment.environment.name=prod")
    async with FakeCollector() as server:
        collector = OtlpCollector(server.address, clock=SystemClock(), identity=None)
        await collector.send([collector.written([ended(trace())])], 10.0)
        await collector.close()
        assert server.resource["service.name"] == "cutouts"
        assert server.resource["k8s.pod.name"] == "gateway-0"
        assert server.resource["deployment.environment.name"] == "prod"
