# SPDX-License-Identifier: Apache-2.0
"""Traces with a real Triton that traces too, by OpenTelemetry: its spans are below the gateway's."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from matting.v1 import matting_service_pb2 as pb
from matting_gateway.tracing.settings import TracingSettings
from matting_triton.local import LocalTriton
from matting_triton.runtime import Runtime
from testkit.gateway import RunningGateway, running_gateway
from testkit.local_triton import QUICK_START, copy_models
from tritonclient.grpc import service_pb2, service_pb2_grpc

pytest.importorskip("opentelemetry.proto", reason="pip install 'matting-gateway[otel]'")

from opentelemetry.proto.trace.v1.trace_pb2 import Span
from testkit.collector import FakeCollector
from testkit.collector_http import http_door

pytestmark = pytest.mark.triton

ASKS = ("traceparent", "00-{}-b7ad6b7169203331-01")
# So rare that it begins no traces of its own: those that it is told of are not counted.
RARELY = 1_000_000_000
# Triton tries once to send a span, and leaves it at that.
TRIES, PATIENCE_S = 3, 15.0


def tracing_triton(runtime: Runtime, repository: Path, url: str) -> LocalTriton:
    settings = (
        "mode=opentelemetry",
        "level=TIMESTAMPS",
        f"rate={RARELY}",
        f"opentelemetry,url={url}",
        "opentelemetry,bsp_schedule_delay=100",
    )
    options = (f"--trace-config={setting}" for setting in settings)
    return LocalTriton(runtime, repository, grace_s=0, extra_arguments=(*QUICK_START, *options))


def photo() -> pb.RemoveBackgroundRequest:
    pixels = np.zeros((16, 16, 3), np.uint8).tobytes()
    return pb.RemoveBackgroundRequest(
        pixels=pb.PixelImage(data=pixels, width_px=16, height_px=16, pixel_format=pb.PIXEL_FORMAT_RGB8)
    )


def tensor(**parameters: str) -> service_pb2.ModelInferRequest:
    request = service_pb2.ModelInferRequest(model_name="nothing")
    request.inputs.add(name="image", datatype="UINT8", shape=[1, 320, 320, 3])
    request.raw_input_contents.append(bytes(320 * 320 * 3))
    for name, value in parameters.items():
        request.parameters[name].string_param = value
    return request


async def photo_alone(gateway: RunningGateway, asks: tuple[str, str]) -> None:
    await gateway.stub.RemoveBackground(photo(), metadata=(asks,))


async def photo_of_a_stream(gateway: RunningGateway, asks: tuple[str, str]) -> None:
    async def messages() -> AsyncIterator[pb.StreamRemoveBackgroundRequest]:
        yield pb.StreamRemoveBackgroundRequest(item_id="one", request=photo())

    (answer,) = [one async for one in gateway.stub.StreamRemoveBackground(messages(), metadata=(asks,))]
    assert answer.WhichOneof("result") == "response"


async def tensor_alone(gateway: RunningGateway, asks: tuple[str, str]) -> None:
    await service_pb2_grpc.GRPCInferenceServiceStub(gateway.channel).ModelInfer(tensor(), metadata=(asks,))


async def tensor_passed_on(gateway: RunningGateway, asks: tuple[str, str]) -> None:
    stub = service_pb2_grpc.GRPCInferenceServiceStub(gateway.channel)
    await stub.ModelInfer(tensor(own="parameter"), metadata=(asks,))


async def tensor_of_a_stream(gateway: RunningGateway, asks: tuple[str, str]) -> None:
    async def messages() -> AsyncIterator[service_pb2.ModelInferRequest]:
        yield tensor()

    stub = service_pb2_grpc.GRPCInferenceServiceStub(gateway.channel)
    (answer,) = [one async for one in stub.ModelStreamInfer(messages(), metadata=(asks,))]
    assert answer.error_message == ""


KINDS = (photo_alone, photo_of_a_stream, tensor_alone, tensor_passed_on, tensor_of_a_stream)


async def requests_in_each_trace(gateway: RunningGateway, collector: FakeCollector) -> dict[str, Span]:
    """Make each kind of call in a trace of its own, and return what Triton told of each, by the trace."""
    wanted = [f"{number:032x}" for number in range(1, len(KINDS) + 1)]
    found: dict[str, Span] = {}

    def all_found() -> bool:
        found.update({span.trace_id.hex(): span for span in collector.spans if span.name == "InferRequest"})
        return found.keys() >= set(wanted) and all(span.parent_span_id in told() for span in found.values())

    def told() -> set[bytes]:
        return {span.span_id for span in collector.spans}

    for _ in range(TRIES):
        for trace_id, call in zip(wanted, KINDS, strict=True):
            await call(gateway, (ASKS[0], ASKS[1].format(trace_id)))
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_S), collector.arrived:
                await collector.arrived.wait_for(all_found)
                return found
    raise AssertionError(f"Triton told of {sorted(found)} alone")


async def test_one_trace_has_the_caller_the_gateways_stages_and_what_triton_did(
    triton_runtime: Runtime, tmp_path: Path
) -> None:
    copy_models(["nothing"], tmp_path)
    async with FakeCollector() as collector, http_door(collector) as url:
        with tracing_triton(triton_runtime, tmp_path, url) as triton:
            tracing = TracingSettings(collector.address, sample_ratio=0.0)
            async with running_gateway(triton.grpc_address, default_model="nothing", tracing=tracing) as gateway:
                await tensor_alone(gateway, ("x-request-id", "not-traced"))
                requests = await requests_in_each_trace(gateway, collector)
                inferences = [span for span in collector.spans if span.name == "inference"]
    traced = {span.trace_id.hex() for span in collector.spans if span.name == "InferRequest"}
    assert traced == requests.keys()
    by_id = {span.span_id: span for span in collector.spans}
    for request in requests.values():
        inference = by_id[request.parent_span_id]
        assert inference in inferences
        assert inference.trace_id == request.trace_id
        assert "compute" in {span.name for span in collector.spans if span.trace_id == request.trace_id}
        names = list(above(inference.span_id, by_id))
        assert names[0] == "inference"
        assert names[-1].startswith(("matting.v1.MattingService/", "inference.GRPCInferenceService/"))


def above(span_id: bytes, by_id: dict[bytes, Span]) -> Iterator[str]:
    """Yield the names of a span and of those above it, up to the caller's own."""
    while (span := by_id.get(span_id)) is not None:
        yield span.name
        span_id = span.parent_span_id
