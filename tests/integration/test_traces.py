# SPDX-License-Identifier: Apache-2.0
"""Traces over real sockets: from a caller by the gateway to Triton and to a collector, whatever any of them does."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from matting.v1 import matting_service_pb2 as pb
from matting_gateway.reloading.client_tls import ClientTlsSettings
from matting_gateway.tracing.settings import TracingSettings
from prometheus_client import Metric
from prometheus_client.openmetrics.exposition import generate_latest
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from testkit.certificates import Authority
from testkit.fake_triton import FakeModel, FakeTriton, echo_config, uint8
from testkit.gateway import RunningGateway, running_gateway
from testkit.program import running_service
from testkit.tenants import bearer, table
from tritonclient.grpc import model_config_pb2, service_pb2, service_pb2_grpc

pytest.importorskip("opentelemetry.proto", reason="pip install 'matting-gateway[otel]'")

from opentelemetry.proto.trace.v1.trace_pb2 import Span
from testkit.collector import FakeCollector, attributes_of

PHOTO_METHOD, TENSOR_METHOD = "matting.v1.MattingService/RemoveBackground", "inference.GRPCInferenceService/ModelInfer"
TRACE_ID, SPAN_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
ASKS = ("traceparent", f"00-{TRACE_ID}-{SPAN_ID}-01")
# A photo that nobody else has: its pixels are these bytes, many times.
CANARY = bytes(range(201, 249, 3))
GARBAGE = [
    "",
    "garbage",
    ASKS[1].upper(),
    f"00-{TRACE_ID}-{SPAN_ID}-01-and-more",
    f"00-{'0' * 32}-{SPAN_ID}-01",
    '00-{"event":"call"}-x-01',
    "00-" + "a" * 4000,
]


def alpha_config() -> model_config_pb2.ModelConfig:
    config = echo_config("u2net")
    del config.input[:], config.output[:]
    config.input.append(uint8("image", (8, 8, 3), "input"))
    config.output.append(uint8("alpha", (8, 8), "output"))
    return config


async def alpha(request: service_pb2.ModelInferRequest) -> service_pb2.ModelInferResponse:
    count, height, width, _ = request.inputs[0].shape
    response = service_pb2.ModelInferResponse(model_name="u2net", model_version="1")
    response.outputs.add(name="alpha", datatype="UINT8", shape=(count, height, width))
    response.raw_output_contents.append(request.raw_input_contents[0][::3])
    return response


def triton() -> FakeTriton:
    return FakeTriton(FakeModel(alpha_config(), alpha), FakeModel(echo_config()))


def photo(mime_type: str = "image/png") -> pb.RemoveBackgroundRequest:
    pixels = np.resize(np.frombuffer(CANARY, np.uint8), (16, 16, 3))
    image = pb.PixelImage(data=pixels.tobytes(), width_px=16, height_px=16, pixel_format=pb.PIXEL_FORMAT_RGB8)
    return pb.RemoveBackgroundRequest(
        pixels=image, outputs=[pb.OutputSpec(encoded=pb.ImageEncoding(mime_type=mime_type))]
    )


def tensor(row: bytes = b"abc", model: str = "echo", **parameters: str) -> service_pb2.ModelInferRequest:
    request = service_pb2.ModelInferRequest(model_name=model)
    request.inputs.add(name="x", datatype="UINT8", shape=[1, len(row)])
    request.raw_input_contents.append(row)
    for name, value in parameters.items():
        request.parameters[name].string_param = value
    return request


def tensors_of(gateway: RunningGateway) -> Any:
    return service_pb2_grpc.GRPCInferenceServiceStub(gateway.channel)


@asynccontextmanager
async def traced_gateway(
    collector: FakeCollector, server: FakeTriton, *, ratio: float = 1.0, asked_per_s: float = 100.0, **changes: Any
) -> AsyncIterator[RunningGateway]:
    tracing = TracingSettings(collector.address, ratio, asked_per_s)
    async with running_gateway(server.address, tracing=tracing, **changes) as gateway:
        yield gateway


def within(inner: Span, outer: Span) -> bool:
    begins, ends = outer.start_time_unix_nano, outer.end_time_unix_nano
    return begins <= inner.start_time_unix_nano <= inner.end_time_unix_nano <= ends


async def test_a_photo_is_one_trace_of_caller_stages_and_tritons_call() -> None:
    async with FakeCollector() as collector, triton() as server, traced_gateway(collector, server) as gateway:
        before_ns = time.time_ns()
        await gateway.stub.RemoveBackground(photo(), metadata=(ASKS,))
        (call,) = await collector.named(PHOTO_METHOD)
        assert (call.trace_id.hex(), call.parent_span_id.hex()) == (TRACE_ID, SPAN_ID)
        assert before_ns - 1_000_000 <= call.start_time_unix_nano <= time.time_ns()
        stages = collector.below(call)
        assert {*stages} == {"receive", "inspect", "decode", "queue", "inference", "render"}
        assert all(within(stage, call) for stage in stages.values())
        order = [stages[name].start_time_unix_nano for name in ("receive", "decode", "queue", "inference", "render")]
        assert order == sorted(order)
        assert server.traceparents == [f"00-{TRACE_ID}-{stages['inference'].span_id.hex()}-01"]


async def test_a_tensor_is_one_trace_of_stages_and_tritons_call() -> None:
    async with FakeCollector() as collector, triton() as server, traced_gateway(collector, server) as gateway:
        await tensors_of(gateway).ModelInfer(tensor(), metadata=(ASKS,))
        (call,) = await collector.named(TENSOR_METHOD)
        stages = collector.below(call)
        assert {*stages} == {"receive", "queue", "inference"}
        assert server.traceparents == [f"00-{TRACE_ID}-{stages['inference'].span_id.hex()}-01"]


def held_until(model: FakeModel) -> asyncio.Event:
    """Have a model answer once what is returned is set, and not before."""
    go_on, answer = asyncio.Event(), model.answer

    async def held(request: service_pb2.ModelInferRequest) -> service_pb2.ModelInferResponse:
        await go_on.wait()
        return await answer(request)

    model.answer = held
    return go_on


async def test_calls_of_one_batch_have_each_their_inference_and_link_to_the_one_that_triton_was_told_of() -> None:
    async with FakeCollector() as collector, triton() as server, traced_gateway(collector, server) as gateway:
        go_on = held_until(server.models["echo"])
        stub = tensors_of(gateway)
        calls = [stub.ModelInfer(tensor())]
        await server.wait_for_requests(1)
        calls += [stub.ModelInfer(tensor()) for _ in range(7)]
        await stub.ServerLive(service_pb2.ServerLiveRequest())  # they have come by then
        go_on.set()
        await asyncio.gather(*calls)
        spans = await collector.named("inference", 8)
        assert len({span.trace_id for span in spans}) == 8
        carriers = {(span.trace_id, span.span_id): span for span in spans if not span.links}
        batches = {key: [carrier] for key, carrier in carriers.items()}
        for span in spans:
            for link in span.links:
                batches[link.trace_id, link.span_id].append(span)
        told = [f"00-{trace_id.hex()}-{span_id.hex()}-01" for trace_id, span_id in carriers]
        assert sorted(told) == sorted(server.traceparents)
        assert max(map(len, batches.values())) > 1
        assert all(
            attributes_of(span)["matting.batch_size"] == len(batch) for batch in batches.values() for span in batch
        )


async def test_a_batch_that_fails_and_goes_elsewhere_is_two_inferences() -> None:
    async with FakeCollector() as collector, triton() as server, triton() as other:
        tracing = TracingSettings(collector.address)
        async with running_gateway(server.address, other.address, tracing=tracing) as gateway:

            async def silent(_request: service_pb2.ModelInferRequest) -> service_pb2.ModelInferResponse:
                return await asyncio.Future()

            server.models["echo"].answer = silent
            stub = tensors_of(gateway)
            calls = [stub.ModelInfer(tensor()) for _ in range(8)]
            await server.wait_for_requests(1)
            await server.stop()
            await asyncio.gather(*calls)
            await collector.named(TENSOR_METHOD, 8)
            spans = await collector.named("inference", 9)
            failed = [span for span in spans if "error.type" in attributes_of(span)]
            assert {attributes_of(span)["matting.backend"] for span in failed} == {server.address}
            assert {attributes_of(span)["error.type"] for span in failed} == {"UNAVAILABLE"}
            for span in failed:
                (again,) = [s for s in spans if s.parent_span_id == span.parent_span_id and s is not span]
                assert attributes_of(again)["matting.backend"] == other.address
                assert again.start_time_unix_nano >= span.end_time_unix_nano


async def test_a_batch_that_outlives_its_caller_is_below_the_call_all_the_same() -> None:
    async with FakeCollector() as collector, triton() as server, traced_gateway(collector, server) as gateway:
        go_on = held_until(server.models["echo"])
        given_up = tensors_of(gateway).ModelInfer(tensor())
        await server.wait_for_requests(1)
        given_up.cancel()
        (call,) = await collector.named(TENSOR_METHOD)
        assert attributes_of(call)["error.type"] == "CANCELLED"
        go_on.set()
        (inference,) = await collector.named("inference")
        assert inference.parent_span_id == call.span_id
        assert inference.end_time_unix_nano > call.end_time_unix_nano
        assert len({span.span_id for span in collector.spans}) == len(collector.spans)
        assert server.traceparents == [f"00-{call.trace_id.hex()}-{inference.span_id.hex()}-01"]


async def test_items_of_streams_are_spans_below_their_call() -> None:
    async with FakeCollector() as collector, triton() as server, traced_gateway(collector, server) as gateway:

        async def messages() -> AsyncIterator[pb.StreamRemoveBackgroundRequest]:
            yield pb.StreamRemoveBackgroundRequest(item_id="good", request=photo())
            yield pb.StreamRemoveBackgroundRequest(item_id="bad", request=pb.RemoveBackgroundRequest())

        stream = gateway.stub.StreamRemoveBackground(messages(), metadata=(ASKS,))
        assert len([answer async for answer in stream]) == 2
        (of_photos,) = await collector.named("matting.v1.MattingService/StreamRemoveBackground")
        items = [span for span in collector.spans if span.parent_span_id == of_photos.span_id]
        assert [span.name for span in items] == ["item", "item"]
        assert {attributes_of(span).get("error.type", "") for span in items} == {"", "INVALID_ARGUMENT"}
        (good,) = [span for span in items if not attributes_of(span)]
        assert {*collector.below(good)} == {"inspect", "decode", "queue", "inference", "render"}
        assert good.trace_id.hex() == TRACE_ID

        async def tensors() -> AsyncIterator[service_pb2.ModelInferRequest]:
            yield tensor()
            yield tensor(model="nobodys")

        assert len([answer async for answer in tensors_of(gateway).ModelStreamInfer(tensors())]) == 2
        (of_tensors,) = await collector.named("inference.GRPCInferenceService/ModelStreamInfer")
        items = [span for span in collector.spans if span.parent_span_id == of_tensors.span_id]
        assert sorted(str(attributes_of(span).get("error.type", "")) for span in items) == ["", "NOT_FOUND"]


async def test_a_request_that_is_passed_on_takes_its_trace_along() -> None:
    async with FakeCollector() as collector, triton() as server, traced_gateway(collector, server) as gateway:
        await tensors_of(gateway).ModelInfer(tensor(own="parameter"), metadata=(ASKS,))
        (span,) = await collector.named("inference")
        assert server.traceparents == [f"00-{TRACE_ID}-{span.span_id.hex()}-01"]
        await tensors_of(gateway).ModelConfig(service_pb2.ModelConfigRequest(name="echo"), metadata=(ASKS,))
        (asked,) = await collector.named("inference.GRPCInferenceService/ModelConfig")
        assert asked.trace_id.hex() == TRACE_ID


async def test_what_is_not_traced_tells_nobody_of_it() -> None:
    async with FakeCollector() as collector, triton() as server, traced_gateway(collector, server, ratio=0) as gateway:
        await tensors_of(gateway).ModelInfer(tensor())
        await tensors_of(gateway).ModelInfer(tensor(), metadata=(ASKS,))
        (call,) = await collector.named(TENSOR_METHOD)
        assert call.trace_id.hex() == TRACE_ID
        assert server.traceparents[0] == ""
        assert TRACE_ID in server.traceparents[1]


async def test_health_checks_have_no_trace() -> None:
    async with FakeCollector() as collector, triton() as server, traced_gateway(collector, server) as gateway:
        await tensors_of(gateway).ModelInfer(tensor())
        await collector.named(TENSOR_METHOD)
        assert not [span for span in collector.spans if span.name.startswith("grpc.health")]


async def test_the_log_line_has_the_trace_id_and_histograms_the_ids_made_here() -> None:
    async with FakeCollector() as collector, triton() as server, traced_gateway(collector, server) as gateway:
        await gateway.stub.RemoveBackground(photo(), metadata=(ASKS,))
        (asked,) = await collector.named(PHOTO_METHOD)
        text = exposition_of(gateway)
        assert TRACE_ID not in text
        assert asked.span_id.hex() in exemplars(text, "grpc_server_handling_seconds")
        await gateway.stub.RemoveBackground(photo())
        _, ours = await collector.named(PHOTO_METHOD, 2)
        text = exposition_of(gateway)
        for name in ("grpc_server_handling_seconds", "matting_stage_seconds", "matting_queue_wait_seconds"):
            assert ours.trace_id.hex() in exemplars(text, name)
        await asyncio.to_thread(gateway.gateway._logs.close)
        lines = [json.loads(line) for line in gateway.log.getvalue().splitlines()]
        ids = [line["trace_id"] for line in lines if line["event"] == "call" and "RemoveBackground" in line["method"]]
        assert ids == [TRACE_ID, ours.trace_id.hex()]


def exposition_of(gateway: RunningGateway) -> str:
    return generate_latest(gateway.registry).decode()  # type: ignore[no-untyped-call, no-any-return]


def exemplars(text: str, name: str) -> set[str]:
    """Return the ids that a histogram's exemplars have, as OpenMetrics has them."""
    read: Iterator[Metric] = text_string_to_metric_families(text)  # type: ignore[no-untyped-call]
    families = {family.name: family for family in read}
    found = [sample.exemplar for sample in families[name].samples if sample.exemplar]
    return {value for exemplar in found for value in exemplar.labels.values()}


@pytest.mark.parametrize("header", GARBAGE)
async def test_a_trace_header_that_is_none_begins_a_trace_of_its_own(header: str) -> None:
    async with FakeCollector() as collector, triton() as server, traced_gateway(collector, server) as gateway:
        await tensors_of(gateway).ModelInfer(tensor(), metadata=(("traceparent", header),))
        (call,) = await collector.named(TENSOR_METHOD)
        assert call.parent_span_id == b""
        assert call.trace_id.hex() not in header
        assert header == "" or header not in gateway.log.getvalue()


async def test_a_stranger_has_no_say_in_what_is_traced(tmp_path: Path) -> None:
    path = tmp_path / "tenants.toml"
    path.write_text(table("known"))
    async with (
        FakeCollector() as collector,
        triton() as server,
        traced_gateway(collector, server, ratio=0, tenants_file=path) as gateway,
    ):
        codes = [
            await tensors_of(gateway).ModelInfer(tensor(), metadata=(ASKS, *bearer(token))).code()
            for token in (None, "token-nobodys", "token-known")
        ]
        assert codes == [grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.OK]
        (span,) = await collector.named(TENSOR_METHOD)
        assert attributes_of(span)["matting.tenant"] == "known"
        assert len([span for span in collector.spans if span.kind == Span.SPAN_KIND_SERVER]) == 1


async def test_a_call_that_is_refused_has_its_reason_in_its_span() -> None:
    async with FakeCollector() as collector, triton() as server, traced_gateway(collector, server) as gateway:
        with pytest.raises(grpc.RpcError):
            await gateway.stub.RemoveBackground(pb.RemoveBackgroundRequest())
        (call,) = await collector.named(PHOTO_METHOD)
        told = attributes_of(call)
        assert (told["rpc.grpc.status_code"], told["error.type"]) == (3, "INVALID_ARGUMENT")
        assert told["matting.reason"] == "OPTION_INVALID"


async def test_nothing_of_a_photo_is_in_any_span() -> None:
    async with FakeCollector() as collector, triton() as server, traced_gateway(collector, server) as gateway:
        for mime_type in ("image/png", "image/webp", "image/jpeg"):
            await gateway.stub.RemoveBackground(photo(mime_type))
        await tensors_of(gateway).ModelInfer(tensor(CANARY[:3]))
        damaged = pb.RemoveBackgroundRequest(encoded=pb.EncodedImage(content=b"\xff\xd8\xff" + CANARY * 100))
        with pytest.raises(grpc.RpcError):
            await gateway.stub.RemoveBackground(damaged)
        await collector.named(PHOTO_METHOD, 4)
        await collector.named(TENSOR_METHOD)
        said = b"".join(span.SerializeToString() for span in collector.spans)
        assert not any(CANARY[i : i + 3] in said for i in range(len(CANARY) - 2))


async def test_a_collector_that_hangs_slows_nobody_and_what_it_does_not_take_is_counted() -> None:
    async with FakeCollector() as collector, triton() as server:
        collector.hangs = True
        async with traced_gateway(collector, server) as gateway:
            stub = tensors_of(gateway)
            await asyncio.gather(*(stub.ModelInfer(tensor()) for _ in range(50)))
            await collector.asked()
            for _ in range(45):
                await asyncio.gather(*(stub.ModelInfer(tensor(), timeout=20) for _ in range(100)))
            assert gateway.metric("matting_trace_spans_dropped_total", reason="queue_full") > 0
        assert gateway.metric("matting_trace_spans_sent_total") == 0


async def test_over_tls_the_collector_is_checked_and_knows_us(tmp_path: Path) -> None:
    authority, strangers = Authority("ours"), Authority("strangers")
    issued = authority.issue("collector", names=("127.0.0.1",))
    credentials = grpc.ssl_server_credentials(
        [(issued.key, issued.certificate)], authority.certificate, require_client_auth=True
    )
    certificate, key = authority.issue_client("gateway").write(tmp_path, "client")
    good, bad = tmp_path / "ca.crt", tmp_path / "other.crt"
    good.write_bytes(authority.certificate)
    bad.write_bytes(strangers.certificate)
    async with FakeCollector(credentials=credentials) as collector, triton() as server:
        for ca, taken in ((good, True), (bad, False)):
            tracing, tls = TracingSettings(collector.address), ClientTlsSettings(ca, certificate, key)
            async with running_gateway(server.address, tracing=tracing, otlp_tls=tls) as gateway:
                await tensors_of(gateway).ModelInfer(tensor())
            assert (gateway.metric("matting_trace_spans_sent_total") > 0) is taken
            assert (gateway.metric("matting_trace_spans_dropped_total", reason="unreachable") > 0) is not taken


async def test_the_program_serves_through_a_collector_that_comes_goes_and_comes_back() -> None:
    async with FakeCollector() as collector, triton() as server:
        await collector.stop()
        arguments = ("--triton", server.address, "--otlp-endpoint", collector.address)
        async with running_service(*arguments) as service:
            policy = await service.stub.GetDataPolicy(pb.GetDataPolicyRequest())
            (traces,) = [s for s in policy.policy.statements if s.topic == "use.traces"]
            assert dict(traces.values) == {collector.address: "loopback"}
            await service.stub.RemoveBackground(photo())
            assert (await service.events_named("collector_down"))[0]["detail"] == "UNAVAILABLE"
            await collector.start()
            await service.events_named("collector_up")
            (first,) = await collector.named(PHOTO_METHOD)
            await collector.stop()
            for _ in range(3):
                await service.stub.RemoveBackground(photo())
            await collector.start()
            await service.stub.RemoveBackground(photo(), metadata=(ASKS,))
            spans = await collector.named(PHOTO_METHOD, 5)
            assert len({span.trace_id for span in spans}) == 5
            assert spans[-1].trace_id.hex() == TRACE_ID
            assert await service.metric("matting_trace_spans_dropped_total", reason="queue_full") == 0
            await service.stub.RemoveBackground(photo())
            assert await service.stop() == 0
        await collector.named(PHOTO_METHOD, 6)  # what waited at the end was sent
        assert first.trace_id != spans[-1].trace_id
