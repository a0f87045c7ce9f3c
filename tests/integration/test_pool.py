# SPDX-License-Identifier: Apache-2.0
"""The pool over real sockets, against Tritons that die, hang, change and lie."""

import asyncio
import itertools
from typing import Any

import grpc
import pytest
from matting_gateway.domain.job import BatchKey, EndpointState
from matting_gateway.errors import BackendContractError, BackendUnavailableError, ModelNotFoundError
from matting_gateway.telemetry.metrics import Metrics
from matting_gateway.triton.transport.addresses import Address, ConfiguredAddress
from matting_gateway.triton.transport.failures import BackendHungError, ModelFailedError
from prometheus_client import CollectorRegistry
from testkit.fake_triton import FakeModel, FakeTriton, echo, echo_config
from testkit.pools import PATIENCE_S, WatchedPool, batch_of, key_of, running_pool
from tritonclient.grpc import service_pb2

KEY = key_of("echo", ("x", "UINT8", (3,)))


def answers(key: BatchKey, *rows: bytes) -> Any:
    return batch_of(key, *((row,) for row in rows))


async def test_a_batch_comes_back_job_by_job_as_views() -> None:
    async with FakeTriton(FakeModel(echo_config())) as triton, running_pool(triton.address) as pool:
        await pool.wait_until(lambda: pool.can_serve("echo"))
        assert pool.endpoints(KEY) == (EndpointState(triton.address, True, 2, 1, 4),)
        result = await pool.run_batch(triton.address, answers(KEY, b"abc", b"def"), PATIENCE_S)
        assert [bytes(outputs[0].data) for outputs in result.outputs] == [b"abc", b"def"]
        assert {outputs[0].shape for outputs in result.outputs} == {(1, 3)}
        assert result.version == "1"
        assert triton.requests[0].inputs[0].shape == [2, 3]


async def test_a_dead_backend_is_unavailable_at_once_and_serves_again_by_itself() -> None:
    metrics = Metrics(CollectorRegistry())
    triton = FakeTriton(FakeModel(echo_config()))
    await triton.start()
    async with running_pool(triton.address, metrics=metrics) as pool:
        await pool.wait_until(lambda: pool.can_serve("echo"))
        up = {"backend": triton.address}
        assert metrics.registry.get_sample_value("matting_backend_up", up) == 1
        await triton.stop()
        await pool.wait_until(lambda: not pool.can_serve("echo"), 2)
        assert metrics.registry.get_sample_value("matting_backend_up", up) == 0
        assert not pool.endpoints(KEY)[0].healthy
        with pytest.raises(BackendUnavailableError):
            await pool.run_batch(triton.address, answers(KEY, b"abc"), PATIENCE_S)
        with pytest.raises(BackendUnavailableError):
            pool.model("echo")
        await triton.start()
        await pool.wait_until(lambda: pool.can_serve("echo"), 5)
        await pool.run_batch(triton.address, answers(KEY, b"abc"), PATIENCE_S)
        await triton.stop()
    assert metrics.registry.get_sample_value("matting_backend_up", up) is None


async def test_batches_in_flight_fail_when_their_backend_dies_and_may_go_elsewhere() -> None:
    async def never(_: object) -> Any:
        await asyncio.Event().wait()

    triton = FakeTriton(FakeModel(echo_config(), answer=never))
    await triton.start()
    async with running_pool(triton.address) as pool:
        await pool.wait_until(lambda: pool.can_serve("echo"))
        call = asyncio.create_task(pool.run_batch(triton.address, answers(KEY, b"abc"), PATIENCE_S))
        await triton.wait_for_requests(1)
        await triton.stop()
        with pytest.raises(BackendUnavailableError) as caught:
            await call
        assert caught.value.retry_elsewhere
        assert pool.statistics().endpoints[0].batches_in_flight == 0


async def test_a_backend_that_never_answers_is_hung_and_comes_back_by_probing() -> None:
    async def never(_: object) -> Any:
        await asyncio.Event().wait()

    async with FakeTriton(FakeModel(echo_config(), answer=never)) as triton, running_pool(triton.address) as pool:
        await pool.wait_until(lambda: pool.can_serve("echo"))
        with pytest.raises(BackendHungError):
            await pool.run_batch(triton.address, answers(KEY, b"abc"), 0.05)
        triton.models["echo"].answer = echo
        await pool.wait_until(lambda: pool.can_serve("echo"))
        await pool.run_batch(triton.address, answers(KEY, b"abc"), PATIENCE_S)


async def test_a_cancelled_batch_frees_everything() -> None:
    async def never(_: object) -> Any:
        await asyncio.Event().wait()

    async with FakeTriton(FakeModel(echo_config(), answer=never)) as triton, running_pool(triton.address) as pool:
        await pool.wait_until(lambda: pool.can_serve("echo"))
        call = asyncio.create_task(pool.run_batch(triton.address, answers(KEY, b"abc"), PATIENCE_S))
        await triton.wait_for_requests(1)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert pool.statistics().endpoints[0].batches_in_flight == 0
        assert pool.can_serve("echo")


@pytest.mark.parametrize("lie", ["datatype", "rows", "shape", "length", "missing", "typed", "count"])
async def test_an_answer_that_breaks_the_contract_is_internal_and_marks_the_backend(lie: str) -> None:
    async def lying(request: service_pb2.ModelInferRequest) -> service_pb2.ModelInferResponse:
        response = await echo(request)
        output = response.outputs[0]
        if lie == "datatype":
            output.datatype = "INT8"
        elif lie == "rows":
            output.shape[0] -= 1
            response.raw_output_contents[0] = response.raw_output_contents[0][:-3]
        elif lie == "shape":
            output.shape[1] = 2
        elif lie == "length":
            response.raw_output_contents[0] = b""
        elif lie == "missing":
            output.name = "z"
        elif lie == "typed":
            output.contents.uint_contents.append(1)
            del response.raw_output_contents[:]
        else:
            response.raw_output_contents.append(b"more")
        return response

    async with FakeTriton(FakeModel(echo_config(), answer=lying)) as triton, running_pool(triton.address) as pool:
        await pool.wait_until(lambda: pool.can_serve("echo"))
        with pytest.raises(BackendContractError) as caught:
            await pool.run_batch(triton.address, answers(KEY, b"abc", b"def"), PATIENCE_S)
        assert "abc" not in caught.value.message
        assert pool.statistics().endpoints[0].suspects == ("echo",)
        assert not pool.endpoints(KEY)[0].healthy
        triton.models["echo"].answer = echo
        await pool.wait_until(lambda: pool.can_serve("echo"))
        await pool.run_batch(triton.address, answers(KEY, b"abc"), PATIENCE_S)
        assert pool.statistics().endpoints[0].suspects == ()


async def test_a_job_that_the_model_refuses_fails_alone() -> None:
    async def picky(request: service_pb2.ModelInferRequest) -> service_pb2.ModelInferResponse:
        if b"bad" in request.raw_input_contents[0]:
            raise ValueError("bad is not good")
        return await echo(request)

    async with FakeTriton(FakeModel(echo_config(), answer=picky)) as triton, running_pool(triton.address) as pool:
        await pool.wait_until(lambda: pool.can_serve("echo"))
        result = await pool.run_batch(triton.address, answers(KEY, b"abc", b"bad", b"def"), PATIENCE_S)
        assert [[bytes(o.data) for o in outputs] for outputs in result.outputs] == [[b"abc"], [], [b"def"]]
        error = result.errors[1]
        assert isinstance(error, ModelFailedError)
        assert (error.backend_code, error.backend_text) == ("INVALID_ARGUMENT", "bad is not good")
        assert "bad" not in error.message
        with pytest.raises(ModelFailedError):
            await pool.run_batch(triton.address, answers(KEY, b"bad"), PATIENCE_S)
        assert pool.can_serve("echo")


async def test_models_and_versions_are_followed_without_a_failed_call() -> None:
    async with FakeTriton(FakeModel(echo_config())) as triton, running_pool(triton.address) as pool:
        await pool.wait_until(lambda: pool.can_serve("echo"))
        done = asyncio.Event()

        async def load() -> int:
            for count in itertools.count():
                if done.is_set():
                    return count
                await pool.run_batch(triton.address, answers(KEY, b"abc"), PATIENCE_S)
            return 0

        loading = asyncio.create_task(load())
        triton.models["echo"].versions = ["1", "2"]
        await pool.wait_until(lambda: pool.model("echo").versions == ("2", "1"))
        assert pool.model("echo").versions[0] == "2"
        triton.models["echo"].versions = ["2"]
        await pool.wait_until(lambda: pool.model("echo").versions == ("2",))
        done.set()
        assert await loading > 0
        with pytest.raises(ModelNotFoundError, match="no version '1'"):
            pool.model("echo", "1")
        triton.models["other"] = FakeModel(echo_config("other"))
        await pool.wait_until(lambda: pool.can_serve("other"))
        del triton.models["echo"]
        await pool.wait_until(lambda: not pool.can_serve("echo"))
        with pytest.raises(ModelNotFoundError):
            pool.model("echo")


async def test_models_may_differ_by_backend() -> None:
    async with (
        FakeTriton(FakeModel(echo_config())) as one,
        FakeTriton(FakeModel(echo_config(width=5))) as two,
        running_pool(one.address, two.address) as pool,
    ):
        await pool.wait_until(lambda: all(e.healthy for e in pool.statistics().endpoints))
        assert [state.endpoint for state in pool.endpoints(KEY)] == [one.address]
        wider = key_of("echo", ("x", "UINT8", (5,)))
        assert [state.endpoint for state in pool.endpoints(wider)] == [two.address]


async def test_an_address_where_something_else_answers_is_not_used() -> None:
    server = grpc.aio.server()
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with running_pool(f"127.0.0.1:{port}") as pool:
            await pool.wait_until(lambda: "Open Inference" in pool.statistics().endpoints[0].state)
            with pytest.raises(BackendUnavailableError):
                pool.model("echo")
    finally:
        await server.stop(None)


async def test_names_are_followed_as_their_addresses_change(monkeypatch: pytest.MonkeyPatch) -> None:
    async with FakeTriton(FakeModel(echo_config())) as one, FakeTriton(FakeModel(echo_config())) as two:
        places = [one.address]

        async def resolve(_: ConfiguredAddress) -> tuple[Address, ...]:
            return tuple(Address(place, place, "tritons") for place in places)

        monkeypatch.setattr(ConfiguredAddress, "resolve", resolve)
        async with running_pool("tritons:8001") as pool:
            await pool.wait_until(lambda: pool.can_serve("echo"))
            places.append(two.address)
            await pool.wait_until(lambda: len(pool.endpoints(KEY)) == 2 and all(s.healthy for s in pool.endpoints(KEY)))
            places.remove(one.address)
            await pool.wait_until(lambda: [s.endpoint for s in pool.endpoints(KEY)] == [two.address])
            with pytest.raises(BackendUnavailableError):
                await pool.run_batch(one.address, answers(KEY, b"abc"), PATIENCE_S)


async def test_a_name_that_cannot_be_looked_up_yet_is_looked_up_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async with FakeTriton(FakeModel(echo_config())) as triton:
        tries = 0

        async def resolve(_: ConfiguredAddress) -> tuple[Address, ...]:
            nonlocal tries
            tries += 1
            if tries == 1:
                raise OSError(-2, "Name or service not known")
            return (Address(triton.address, triton.address, "tritons"),)

        monkeypatch.setattr(ConfiguredAddress, "resolve", resolve)
        async with running_pool("tritons:8001") as pool:
            assert pool.endpoints(KEY) == ()
            await pool.wait_until(lambda: pool.can_serve("echo"))


async def test_a_triton_that_refuses_shared_memory_gets_messages() -> None:
    wide = 40_000
    async with FakeTriton(FakeModel(echo_config(width=wide))) as triton, running_pool(triton.address) as pool:
        await pool.wait_until(lambda: pool.can_serve("echo"))
        key = key_of("echo", ("x", "UINT8", (wide,)))
        result = await pool.run_batch(triton.address, answers(key, b"x" * wide), PATIENCE_S)
        assert bytes(result.outputs[0][0].data) == b"x" * wide
        assert list(triton.requests[0].raw_input_contents) == [b"x" * wide]
        assert "not allowed" in pool.statistics().endpoints[0].shared_memory.refusal


def test_a_wrong_address_is_refused_before_anything_starts() -> None:
    with pytest.raises(ValueError, match="HOST:PORT"):
        WatchedPool("nonsense")
