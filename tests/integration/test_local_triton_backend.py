# SPDX-License-Identifier: Apache-2.0
"""The Python-based backend named `onnxruntime` serves ONNX files with both engines, on a real Triton."""

import asyncio
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import numpy as np
import numpy.typing as npt
import pytest
import tritonclient.grpc as triton_client
from matting_gateway.triton.discovery.contract import read_contract
from matting_gateway.triton.pool.scrubbing import Scrubber
from matting_triton.local import LocalTriton
from matting_triton.runtime import Runtime
from testkit.local_triton import QUICK_START, segments
from testkit.onnx_models import OPENVINO, expected_alpha, write_entry
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import InferenceServerException

pytestmark = pytest.mark.triton

_MERGING = "dynamic_batching { preferred_batch_size: [ 8 ] max_queue_delay_microseconds: 300000 }"
_WARM = """model_warmup [ { name: "two" batch_size: 2
  inputs { key: "image" value { data_type: TYPE_UINT8 dims: [ 8, 8, 3 ] zero_data: true } } } ]"""
_SIDE_BY_SIDE = OPENVINO.replace("{ key", '{ key: "PERFORMANCE_HINT" value: "THROUGHPUT" } parameters { key', 1)
_REFUSED = OPENVINO.replace("INFERENCE_PRECISION_HINT", "NO_SUCH_PROPERTY")
_UNKNOWN = OPENVINO.replace('"openvino"', '"abacus"')
_CANARY_SIDE_PX = 64
_TWO_INSTANCES = "instance_group [ { count: 2 kind: KIND_CPU } ]"


@pytest.fixture(scope="module")
def server(triton_runtime: Runtime, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalTriton]:
    repository = tmp_path_factory.mktemp("models")
    write_entry(repository, "openvino", more=OPENVINO + _WARM)
    write_entry(repository, "side_by_side", more=_SIDE_BY_SIDE + _WARM)
    write_entry(repository, "plain", more=_WARM)
    write_entry(repository, "merging", more=_MERGING, any_size=True)
    write_entry(repository, "canary", more=OPENVINO, side_px=_CANARY_SIDE_PX)
    write_entry(repository, "twins", more=OPENVINO + _TWO_INSTANCES, side_px=_CANARY_SIDE_PX)
    write_entry(repository, "refused", more=_REFUSED)
    write_entry(repository, "unknown", more=_UNKNOWN)
    write_entry(repository, "renamed")
    config = repository / "renamed" / "config.pbtxt"
    config.write_text(config.read_text().replace('"alpha"', '"matte"'))
    with LocalTriton(triton_runtime, repository, grace_s=0, extra_arguments=QUICK_START) as triton:
        yield triton


@pytest.fixture
def client(server: LocalTriton) -> Iterator[triton_client.InferenceServerClient]:
    with triton_client.InferenceServerClient(server.grpc_address) as client:
        yield client


def _photos(count: int, side_px: int = 8, seed: int = 3) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (count, side_px, side_px, 3), dtype=np.uint8)


def _infer(
    client: triton_client.InferenceServerClient, model: str, image: npt.NDArray[np.uint8], control: str = ""
) -> npt.NDArray[np.uint8]:
    tensor = triton_client.InferInput("image", list(image.shape), "UINT8")
    tensor.set_data_from_numpy(image)
    parameters = {"matting_control": control} if control else None
    alpha: npt.NDArray[np.uint8] = client.infer(model, [tensor], parameters=parameters).as_numpy("alpha")
    return alpha


@pytest.mark.parametrize("model", ["openvino", "side_by_side", "plain"])
@pytest.mark.parametrize("count", [1, 3, 8])
def test_both_engines_answer_batches_of_any_size(
    client: triton_client.InferenceServerClient, model: str, count: int
) -> None:
    image = _photos(count)
    np.testing.assert_array_equal(_infer(client, model, image), expected_alpha(image))


@pytest.mark.parametrize(
    ("model", "engine", "device"), [("openvino", "openvino", "CPU"), ("plain", "onnxruntime", "CPUExecutionProvider")]
)
def test_what_really_serves_can_be_asked(
    client: triton_client.InferenceServerClient, model: str, engine: str, device: str
) -> None:
    told = json.loads(_infer(client, model, np.zeros((2, 8, 8, 3), np.uint8), "describe").tobytes().rstrip(b"\0"))
    assert (told["engine"], told["device"], told["precision"]) == (engine, device, "f32")
    assert set(told) == {"engine", "device", "precision", "threads", "version"}


def test_requests_that_triton_merges_run_as_one_batch(client: triton_client.InferenceServerClient) -> None:
    before = client.get_inference_statistics("merging").model_stats[0].execution_count
    images = [_photos(2, seed=seed) for seed in range(4)]
    with ThreadPoolExecutor(4) as callers:
        answers = list(callers.map(lambda image: _infer(client, "merging", image), images))
    for image, answer in zip(images, answers, strict=True):
        np.testing.assert_array_equal(answer, expected_alpha(image))
    assert client.get_inference_statistics("merging").model_stats[0].execution_count - before < len(images)


def test_control_requests_in_a_merged_batch_leave_the_others_alone(client: triton_client.InferenceServerClient) -> None:
    image = _photos(2)
    with ThreadPoolExecutor(4) as callers:
        answers = list(
            callers.map(lambda control: _infer(client, "merging", image, control), ["", "describe", "scrub", ""])
        )
    np.testing.assert_array_equal(answers[0], expected_alpha(image))
    assert answers[1].tobytes().startswith(b'{"engine"')
    assert not answers[2].any()
    np.testing.assert_array_equal(answers[3], expected_alpha(image))


def test_an_unknown_control_is_an_error(client: triton_client.InferenceServerClient) -> None:
    with pytest.raises(InferenceServerException, match="'dance' is unknown"):
        _infer(client, "openvino", _photos(1), "dance")


def test_a_request_that_the_engine_refuses_fails_alone(client: triton_client.InferenceServerClient) -> None:
    """The graph takes 8 by 8 pixels only; the configuration lets other sizes through."""
    with pytest.raises(InferenceServerException, match="onnxruntime failed"):
        _infer(client, "merging", _photos(1, side_px=9))
    image = _photos(1)
    np.testing.assert_array_equal(_infer(client, "merging", image), expected_alpha(image))


def test_models_that_cannot_be_loaded_say_why(server: LocalTriton) -> None:
    failed = server.failed_models
    assert sorted(failed) == ["refused", "renamed", "unknown"]
    assert "NO_SUCH_PROPERTY" in failed["refused"]
    assert "no output matte; it has alpha" in failed["renamed"]
    assert "CPU accelerator abacus is not served here" in failed["unknown"]


def test_the_pools_of_the_backend_have_no_name_left(server: LocalTriton) -> None:
    assert segments(server.shm_prefix) == []


@pytest.mark.parametrize("model", ["openvino", "side_by_side"])
def test_a_model_serves_on_after_it_was_scrubbed(client: triton_client.InferenceServerClient, model: str) -> None:
    image = _photos(3)
    assert not _infer(client, model, np.zeros((8, 8, 8, 3), np.uint8), "scrub").any()
    np.testing.assert_array_equal(_infer(client, model, image), expected_alpha(image))


def test_nothing_of_a_batch_is_left_in_the_pool_after_scrubbing(
    server: LocalTriton, client: triton_client.InferenceServerClient
) -> None:
    image = _photos(5, _CANARY_SIDE_PX, seed=99)
    alpha = _infer(client, "canary", image)
    np.testing.assert_array_equal(alpha, expected_alpha(image))
    # Inputs are overwritten at once, an answer as soon as the next request says that it was read.
    pools = _read_pools(server)
    assert _rows_found(image, pools) == 0
    assert _rows_found(alpha, pools) > 0
    _infer(client, "canary", np.zeros((1, _CANARY_SIDE_PX, _CANARY_SIDE_PX, 3), np.uint8), "scrub")
    assert _rows_found(alpha, _read_pools(server)) == 0


async def test_every_instance_of_a_model_is_scrubbed(server: LocalTriton) -> None:
    """With the requests of the gateway; whoever is free gets the next one."""
    image = _photos(4, _CANARY_SIDE_PX, seed=5)
    async with grpc.aio.insecure_channel(server.grpc_address) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        answer = await stub.ModelConfig(service_pb2.ModelConfigRequest(name="twins"))
        contract = read_contract(server.grpc_address, ["1"], answer.config)
        request = service_pb2.ModelInferRequest(model_name="twins", raw_input_contents=[image.tobytes()])
        request.inputs.add(name="image", datatype="UINT8", shape=image.shape)
        alpha = expected_alpha(image)
        infer = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer", bytes, bytes)

        async def send(message: bytes, timeout_s: float) -> None:
            await infer(message, timeout=timeout_s)

        await asyncio.gather(*(stub.ModelInfer(request) for _ in range(20)))
        assert _rows_found(alpha, _read_pools(server)) > 0
        await Scrubber(send, lambda _: contract).scrub(contract)
    assert _rows_found(alpha, _read_pools(server)) == 0


def _read_pools(server: LocalTriton) -> bytes:
    """Return the contents of Triton's shared-memory pools, as mapped by the server."""
    found = []
    with Path(f"/proc/{server.pid}/mem").open("rb", buffering=0) as memory:
        for line in Path(f"/proc/{server.pid}/maps").read_text().splitlines():
            if server.shm_prefix in line:
                start, end = (int(text, 16) for text in line.split()[0].split("-"))
                memory.seek(start)
                found.append(memory.read(end - start))
    return b"".join(found)


def _rows_found(images: npt.NDArray[np.uint8], pool: bytes) -> int:
    """Count the rows of pixels that are in the pool as they are."""
    height = images.shape[1]
    return sum(row.tobytes() in pool for row in images.reshape(len(images) * height, -1))
