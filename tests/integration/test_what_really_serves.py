# SPDX-License-Identifier: Apache-2.0
"""What really serves a model is read back from a real Triton: in ListModels, in a metric, and in health."""

from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from matting.v1 import matting_service_pb2 as pb
from matting_triton.local import LocalTriton
from matting_triton.runtime import Runtime
from testkit.fake_triton import FakeModel, FakeTriton, uint8
from testkit.local_triton import QUICK_START
from testkit.onnx_models import OPENVINO, write_entry
from testkit.pools import running_pool
from testkit.program import Service, running_service
from tritonclient.grpc import model_config_pb2, service_pb2

_GPU = 'optimization { execution_accelerators { gpu_execution_accelerator : [ { name: "tensorrt" } ] } }\n'
_SERVING, _NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.fixture
async def service(triton_runtime: Runtime, tmp_path: Path) -> AsyncIterator[Service]:
    """The program before a Triton with an entry for the CPU, and one that asks for a GPU and is put on the CPU."""
    write_entry(tmp_path, "on-cpu", more=OPENVINO, side_px=32)
    write_entry(tmp_path, "gpu-wanted", more=_GPU, side_px=32)
    with LocalTriton(triton_runtime, tmp_path, grace_s=0, extra_arguments=QUICK_START) as triton:
        arguments = ("--triton", triton.grpc_address, "--default-model", "on-cpu")
        async with running_service(*arguments) as service:
            yield service


async def _health(channel: grpc.aio.Channel, name: str) -> int:
    stub = health_pb2_grpc.HealthStub(channel)
    answer = await stub.Check(health_pb2.HealthCheckRequest(service=name))
    return int(answer.status)


@pytest.mark.triton
async def test_what_serves_a_model_is_told_and_a_gpu_that_is_not_used_is_not_healthy(service: Service) -> None:
    models = {model.name: model for model in (await service.stub.ListModels(pb.ListModelsRequest())).models}
    (on_cpu,), (gpu_wanted,) = models["on-cpu"].instances, models["gpu-wanted"].instances
    assert (on_cpu.engine, on_cpu.device, on_cpu.precision) == ("openvino", "cpu", "f32")
    assert (gpu_wanted.engine, gpu_wanted.device, gpu_wanted.precision) == ("onnxruntime", "cpu", "f32")

    told = {
        labels["model"]: (labels["engine"], labels["device"], labels["precision"], value)
        for (name, pairs), value in (await service.metrics()).items()
        if name == "matting_model_instances" and (labels := dict(pairs))
    }
    assert told == {"on-cpu": ("openvino", "cpu", "f32", 1.0), "gpu-wanted": ("onnxruntime", "cpu", "f32", 1.0)}

    assert await _health(service.channel, "") == _SERVING
    assert await _health(service.channel, "model/on-cpu") == _SERVING
    assert await _health(service.channel, "model/gpu-wanted") == _NOT_SERVING
    lines = await service.events_named("gpu_unused")
    assert [line["model"] for line in lines] == ["gpu-wanted"]
    assert "asks for a GPU" in lines[0]["detail"]


@pytest.mark.triton
async def test_the_gateway_is_not_healthy_while_its_default_model_leaves_its_gpu_unused(
    triton_runtime: Runtime, tmp_path: Path
) -> None:
    write_entry(tmp_path, "gpu-wanted", more=_GPU, side_px=32)
    with LocalTriton(triton_runtime, tmp_path, grace_s=0, extra_arguments=QUICK_START) as triton:
        arguments = ("--triton", triton.grpc_address, "--default-model", "gpu-wanted")
        async with running_service(*arguments, serving=False) as service:
            watch = health_pb2_grpc.HealthStub(service.channel).Watch(
                health_pb2.HealthCheckRequest(service="model/gpu-wanted"), timeout=30
            )
            async for answer in watch:  # until the model is known
                if answer.status == _NOT_SERVING:
                    break
            assert await _health(service.channel, "") == _NOT_SERVING


def _matting_config(kind: int) -> model_config_pb2.ModelConfig:
    return model_config_pb2.ModelConfig(
        name="matting",
        backend="onnxruntime",
        max_batch_size=4,
        input=[uint8("image", (16, 16, 3), "input")],
        output=[uint8("alpha", (16, 16), "output")],
        instance_group=[model_config_pb2.ModelInstanceGroup(count=1, kind=kind, gpus=[0])],
    )


@pytest.mark.parametrize(
    ("answer", "device", "unused"),
    [
        (b'{"engine": "onnxruntime", "device": "CPUExecutionProvider", "precision": "f32"}', "cpu", True),
        (b'{"engine": "onnxruntime", "device": "CUDAExecutionProvider", "precision": "f32"}', "gpu:0", False),
        (b'{"engine": "x\\n{}", "device": "CPU", "precision": "f32"}', "gpu:0", False),
        (b'{"engine": 1', "gpu:0", False),
        (b"", "gpu:0", False),
    ],
)
async def test_a_description_is_believed_only_if_it_is_one(answer: bytes, device: str, unused: bool) -> None:
    async def describe(request: service_pb2.ModelInferRequest) -> service_pb2.ModelInferResponse:
        response = service_pb2.ModelInferResponse(model_name=request.model_name, model_version="1")
        response.outputs.add(name="alpha", datatype="UINT8", shape=(1, 16, 16))
        response.raw_output_contents.append(answer.ljust(256, b"\0"))
        return response

    model = FakeModel(_matting_config(model_config_pb2.ModelInstanceGroup.KIND_GPU), describe)
    async with FakeTriton(model) as triton, running_pool(triton.address) as pool:
        await pool.wait_until(lambda: pool.can_serve("matting"))
        (instance,) = pool.model("matting").instances
        assert instance.device == device
        (view,) = pool.views()
        assert view.on_cpu_instead == ({"matting"} if unused else set())
