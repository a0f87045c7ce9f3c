# SPDX-License-Identifier: Apache-2.0
"""The tensor door as its callers see it: unmodified clients, streams, sequences, shared memory, neighbours."""

import asyncio
import os
import queue
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc
import numpy as np
import pytest
import pytest_asyncio
import tritonclient.grpc as triton_sync
import tritonclient.grpc.aio as triton_aio
from matting_triton.local import LocalTriton
from matting_triton.runtime import Runtime
from testkit.doors import DOOR_MODELS, ask, infer_request
from testkit.gateway import RunningGateway, running_gateway
from tritonclient.grpc import service_pb2 as pb

pytestmark = pytest.mark.triton


@pytest.fixture(scope="module")
def door_triton(triton_runtime: Runtime) -> Iterator[LocalTriton]:
    """Yield a Triton with a decoupled, a stateful and a refusing model."""
    with LocalTriton(triton_runtime, DOOR_MODELS, grace_s=0) as triton:
        yield triton


@pytest_asyncio.fixture
async def door(door_triton: LocalTriton) -> AsyncIterator[RunningGateway]:
    async with running_gateway(door_triton.grpc_address, default_model="picky") as gateway:
        yield gateway


@pytest_asyncio.fixture
async def shared_door(triton_server: LocalTriton) -> AsyncIterator[RunningGateway]:
    async with running_gateway(
        triton_server.grpc_address, default_model="nothing", client_shared_memory=True
    ) as gateway:
        yield gateway


def picky(*values: int, **changes: Any) -> pb.ModelInferRequest:
    return infer_request("picky", {"x": ("UINT8", (1, len(values)), bytes(values))}, **changes)


async def test_the_synchronous_client_works_unmodified(shared_door: RunningGateway) -> None:
    def call() -> Any:
        with triton_sync.InferenceServerClient(shared_door.address) as client:
            assert client.is_server_ready()
            assert client.is_model_ready("two")
            assert client.get_model_config("two").config.max_batch_size == 8
            tensors = [triton_sync.InferInput(name, [2, 4], "FP32") for name in ("left", "right")]
            tensors[0].set_data_from_numpy(np.full((2, 4), 5, np.float32))
            tensors[1].set_data_from_numpy(np.full((2, 4), 3, np.float32))
            result = client.infer("two", tensors, request_id="mine")
            assert result.get_response().id == "mine"
            return result.as_numpy("sum"), result.as_numpy("difference")

    total, difference = await asyncio.to_thread(call)
    assert np.array_equal(total, np.full((2, 4), 8))
    assert np.array_equal(difference, np.full((2, 4), 2))


async def test_the_asyncio_client_works_unmodified_and_callers_share_batches(shared_door: RunningGateway) -> None:
    async with triton_aio.InferenceServerClient(shared_door.address) as client:

        async def call(value: int) -> Any:
            tensor = triton_aio.InferInput("image", [1, 320, 320, 3], "UINT8")
            tensor.set_data_from_numpy(np.full((1, 320, 320, 3), value, np.uint8))
            return (await client.infer("nothing", [tensor])).as_numpy("alpha")

        answers = await asyncio.gather(*(call(value) for value in range(40)))
    for value, alpha in enumerate(answers):
        assert alpha.shape == (1, 320, 320)
        assert np.all(alpha == value)
    assert shared_door.metric("matting_images_total", model="nothing", outcome="ok", tenant="") == 40
    assert shared_door.metric("matting_batch_size_count", model="nothing") < 40
    endpoint = shared_door.gateway.pool.statistics().endpoints[0]
    assert endpoint.shared_memory.slab_count > 0
    assert endpoint.shared_memory.leased_count == 0


async def test_the_streaming_client_gets_its_answers_in_order(shared_door: RunningGateway) -> None:
    def call() -> list[int]:
        answers: queue.Queue[Any] = queue.Queue()
        with triton_sync.InferenceServerClient(shared_door.address) as client:
            client.start_stream(lambda result, error: answers.put((result, error)))
            for value in range(10):
                tensor = triton_sync.InferInput("values", [1 + value], "INT32")
                tensor.set_data_from_numpy(np.ones(1 + value, np.int32))
                client.async_stream_infer("single", [tensor], request_id=str(value))
            got = [answers.get(timeout=20) for _ in range(10)]
            client.stop_stream()
        assert [error for _, error in got] == [None] * 10
        assert [result.get_response().id for result, _ in got] == [str(value) for value in range(10)]
        return [int(result.as_numpy("total")[0]) for result, _ in got]

    assert await asyncio.to_thread(call) == list(range(1, 11))


async def stream(channel: grpc.aio.Channel, *requests: pb.ModelInferRequest) -> list[pb.ModelStreamInferResponse]:
    call = channel.stream_stream(
        "/inference.GRPCInferenceService/ModelStreamInfer",
        request_serializer=pb.ModelInferRequest.SerializeToString,
        response_deserializer=pb.ModelStreamInferResponse.FromString,
    )()
    for request in requests:
        await call.write(request)
    await call.done_writing()
    return [answer async for answer in call]


def repeat(count: int, **parameters: Any) -> pb.ModelInferRequest:
    raw = np.array([count], "<i4").tobytes()
    return infer_request("repeat", {"count": ("INT32", (1,), raw)}, request_id=f"r{count}", parameters=parameters)


async def test_a_request_larger_than_promised_is_refused(shared_door: RunningGateway) -> None:
    async with triton_aio.InferenceServerClient(shared_door.address) as client:
        tensor = triton_aio.InferInput("image", [1, 320, 320, 3], "UINT8")
        tensor.set_data_from_numpy(np.zeros((1, 320, 320, 3), np.uint8))
        with pytest.raises(triton_sync.InferenceServerException, match="promised"):
            await client.infer("nothing", [tensor], headers={"x-matting-request-bytes": "1000"})


async def test_decoupled_models_answer_through_the_stream_as_often_as_they_like(door: RunningGateway) -> None:
    answers = await stream(door.channel, repeat(3))
    raws = [answer.infer_response.raw_output_contents[0] for answer in answers]
    assert [int.from_bytes(raw, "little") for raw in raws] == [0, 1, 2]
    assert {answer.infer_response.id for answer in answers} == {"r3"}
    final = await stream(door.channel, repeat(0, triton_enable_empty_final_response=True))
    assert [a.infer_response.parameters["triton_final_response"].bool_param for a in final] == [True]


async def test_a_decoupled_model_is_refused_by_name_outside_a_stream(door: RunningGateway) -> None:
    told = await ask(door.channel, "ModelInfer", repeat(1))
    assert told.code == "UNIMPLEMENTED"
    assert "decoupled" in told.text


async def test_an_item_of_a_stream_fails_alone_and_is_told_why(door: RunningGateway) -> None:
    answers = await stream(door.channel, picky(1, request_id="a"), picky(13, request_id="b"), picky(2, request_id="c"))
    assert [answer.infer_response.id for answer in answers] == ["a", "b", "c"]
    assert [answer.error_message for answer in answers] == ["", "13 is unlucky", ""]
    (unknown,) = await stream(door.channel, infer_request("nope", {}))
    assert unknown.error_message == "Request for unknown model: 'nope' is not found"


async def test_sequences_keep_their_state_on_both_ways(door: RunningGateway) -> None:
    def add(value: int, sequence: int, *, start: bool = False, end: bool = False) -> pb.ModelInferRequest:
        raw = np.array([value], "<i4").tobytes()
        parameters = {"sequence_id": sequence, "sequence_start": start, "sequence_end": end}
        return infer_request("counter", {"value": ("INT32", (1, 1), raw)}, parameters=parameters)

    totals = []
    for request in (add(1, 5, start=True), add(2, 5), add(3, 5, end=True)):
        told = await ask(door.channel, "ModelInfer", request)
        totals.append(int.from_bytes(told.message.raw_output_contents[0], "little"))
    assert totals == [1, 3, 6]
    answers = await stream(door.channel, add(10, 6, start=True), add(20, 6, end=True))
    raws = [answer.infer_response.raw_output_contents[0] for answer in answers]
    assert [int.from_bytes(raw, "little") for raw in raws] == [10, 30]


async def test_a_parameter_of_the_models_own_reaches_it(door: RunningGateway) -> None:
    told = await ask(door.channel, "ModelInfer", picky(1, 2, parameters={"add": 5}))
    assert told.message.raw_output_contents[0] == bytes((6, 7))


async def test_a_row_that_the_model_refuses_does_no_harm_to_its_neighbours(door: RunningGateway) -> None:
    values = [1, 2, 13, 3, 4, 13, 5, 6] * 3
    told = await asyncio.gather(*(ask(door.channel, "ModelInfer", picky(value)) for value in values))
    for value, answer in zip(values, told, strict=True):
        if value == 13:
            assert (answer.code, answer.text) == ("INVALID_ARGUMENT", "13 is unlucky")
        else:
            assert answer.message.raw_output_contents[0] == bytes((value,))
    assert door.metric("matting_batch_size_sum", model="picky") > door.metric("matting_batch_size_count", model="picky")


async def test_statistics_add_up(door: RunningGateway) -> None:
    for rows in (1, 3):
        request = infer_request("picky", {"x": ("UINT8", (rows, 2), bytes(2 * rows))})
        assert (await ask(door.channel, "ModelInfer", request)).code == "OK"
    await ask(door.channel, "ModelInfer", picky(13))
    told = await ask(door.channel, "ModelStatistics", pb.ModelStatisticsRequest(name="picky"))
    (statistics,) = told.message.model_stats
    assert (statistics.inference_count, statistics.execution_count) == (4, 2)
    sums = statistics.inference_stats
    assert sums.success.count == sums.queue.count == sums.compute_infer.count == 2
    assert sums.fail.count == 1
    assert sums.success.ns == pytest.approx(
        sums.queue.ns + sums.compute_input.ns + sums.compute_infer.ns + sums.compute_output.ns, abs=10
    )
    assert {batch.batch_size: batch.compute_infer.count for batch in statistics.batch_stats} == {1: 1, 3: 1}
    assert statistics.last_inference > 0


async def test_a_caller_that_leaves_frees_its_place(door: RunningGateway) -> None:
    calls = [asyncio.create_task(ask(door.channel, "ModelInfer", picky(1))) for _ in range(20)]
    assert (await calls[0]).code == "OK"
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    assert (await ask(door.channel, "ModelInfer", picky(1))).code == "OK"
    assert door.metric("matting_resident_bytes") == 0
    assert door.metric("matting_queue_depth") == 0


async def test_random_bytes_are_refused_and_the_service_goes_on(door: RunningGateway) -> None:
    infer = door.channel.unary_unary("/inference.GRPCInferenceService/ModelInfer", bytes, bytes)
    for message in (b"", b"\xff" * 40, b"\x3a\xff\xff\xff\xff\x07", os.urandom(100), picky(1).SerializeToString()[:-1]):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await infer(message)
        assert caught.value.code() in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND)
    assert (await ask(door.channel, "ModelInfer", picky(1))).code == "OK"


async def test_the_callers_shared_memory_serves_in_and_out(shared_door: RunningGateway) -> None:
    name = f"door-test-{os.getpid()}"
    path = f"/dev/shm/{name}"
    row = bytes(range(8))
    with open(path, "wb") as segment:  # noqa: ASYNC230 - a few bytes of memory
        segment.write(row + bytes(8))
    try:
        register = pb.SystemSharedMemoryRegisterRequest(name="r", key=f"/{name}", byte_size=16)
        assert (await ask(shared_door.channel, "SystemSharedMemoryRegister", register)).code == "OK"
        again = await ask(shared_door.channel, "SystemSharedMemoryRegister", register)
        assert again.text == "shared memory region 'r' already in manager"
        status = await ask(shared_door.channel, "SystemSharedMemoryStatus", pb.SystemSharedMemoryStatusRequest())
        assert status.message.regions["r"].byte_size == 16

        def request(offset: int, out_bytes: int, region: str = "r") -> pb.ModelInferRequest:
            message = pb.ModelInferRequest(model_name="delay")
            message.inputs.add(name="row", datatype="UINT8", shape=[1, 8])
            message.outputs.add(name="inverted")
            for tensor, place in ((message.inputs[0], (offset, 8)), (message.outputs[0], (8, out_bytes))):
                tensor.parameters["shared_memory_region"].string_param = region
                tensor.parameters["shared_memory_offset"].int64_param = place[0]
                tensor.parameters["shared_memory_byte_size"].int64_param = place[1]
            return message

        told = await ask(shared_door.channel, "ModelInfer", request(0, 8))
        assert list(told.message.raw_output_contents) == [b""]
        with open(path, "rb") as written:  # noqa: ASYNC230
            assert written.read()[8:] == bytes(255 - value for value in row)
        for bad, text in (
            (request(0, 8, "nah"), "Unable to find shared memory region: 'nah'"),
            (request(12, 8), "Invalid offset + byte size for shared memory region: 'r'"),
            (request(-1, 8), "Invalid offset for shared memory region: 'r'"),
            (request(0, 7), "should be at least 8 bytes"),
        ):
            told = await ask(shared_door.channel, "ModelInfer", bad)
            assert told.code == "INVALID_ARGUMENT"
            assert text in told.text
        os.truncate(path, 4)
        shortened = await ask(shared_door.channel, "ModelInfer", request(0, 8))
        assert shortened.code == "INVALID_ARGUMENT"
        unregister = pb.SystemSharedMemoryUnregisterRequest(name="r")
        assert (await ask(shared_door.channel, "SystemSharedMemoryUnregister", unregister)).code == "OK"
        assert "Unable to find" in (await ask(shared_door.channel, "ModelInfer", request(0, 8))).text
        forbidden = pb.SystemSharedMemoryRegisterRequest(name="t", key="/triton_python_backend_x", byte_size=8)
        assert (await ask(shared_door.channel, "SystemSharedMemoryRegister", forbidden)).code == "PERMISSION_DENIED"
    finally:
        os.unlink(path)
