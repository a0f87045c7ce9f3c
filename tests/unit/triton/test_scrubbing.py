# SPDX-License-Identifier: Apache-2.0
"""When a backend is asked to overwrite what it keeps: as soon as a model rests, and never while it works."""

import asyncio

import pytest
from matting_gateway.domain.model import ModelContract
from matting_gateway.errors import BackendUnavailableError
from matting_gateway.triton.discovery.contract import read_contract
from matting_gateway.triton.pool.scrubbing import Scrubber, scrub_request
from testkit.fake_triton import echo_config
from tritonclient.grpc import service_pb2

REST_S = 0.02


class Backend:
    """Takes scrub requests and remembers them; `arrived` tells of each."""

    def __init__(self, *, away: bool = False) -> None:
        self.requests: list[service_pb2.ModelInferRequest] = []
        self.arrived = asyncio.Event()
        self._away = away

    async def send(self, request: bytes, timeout_s: float) -> None:
        assert timeout_s > 0
        self.requests.append(service_pb2.ModelInferRequest.FromString(request))
        self.arrived.set()
        if self._away:
            raise BackendUnavailableError("gone")


def contract(model: str = "echo") -> ModelContract | None:
    return None if model == "gone" else read_contract("a:1", ["1"], echo_config(width=16))


async def test_a_model_that_rests_is_scrubbed_once() -> None:
    backend = Backend()
    scrubber = Scrubber(backend.send, contract, rest_s=REST_S)
    for _ in range(3):
        with scrubber.using("echo"):
            pass
    async with asyncio.timeout(5):
        await backend.arrived.wait()
    await scrubber.close()
    assert scrubber.scrub_count == 1
    assert {request.parameters["matting_control"].string_param for request in backend.requests} == {"scrub"}
    assert not any(any(content) for request in backend.requests for content in request.raw_input_contents)


async def test_a_model_with_a_batch_in_flight_is_left_alone_until_that_has_ended() -> None:
    backend = Backend()
    scrubber = Scrubber(backend.send, contract, rest_s=0)
    with scrubber.using("echo"):
        with scrubber.using("echo"):
            pass
        scrubber.used("echo")
        rested = asyncio.Event()
        asyncio.get_running_loop().call_later(0, rested.set)  # after the scrubber's own timers, which are as long
        await rested.wait()
        assert not backend.requests
    async with asyncio.timeout(5):
        await backend.arrived.wait()
    await scrubber.close()


async def test_a_busy_model_does_not_keep_another_from_being_scrubbed() -> None:
    backend = Backend()
    scrubber = Scrubber(backend.send, contract, rest_s=REST_S)
    with scrubber.using("busy"):
        with scrubber.using("echo"):
            pass
        async with asyncio.timeout(5):
            await backend.arrived.wait()
    await scrubber.close()


async def test_a_backend_that_went_away_is_no_error() -> None:
    backend = Backend(away=True)
    scrubber = Scrubber(backend.send, contract, rest_s=0)
    scrubber.used("gone")
    scrubber.used("echo")
    async with asyncio.timeout(5):
        await backend.arrived.wait()
    await scrubber.close()
    assert scrubber.scrub_count == 1


@pytest.mark.parametrize("fewer_rows", [0, 1])
def test_a_scrub_is_as_large_as_a_request_can_be(fewer_rows: int) -> None:
    known = contract()
    assert known is not None
    request = scrub_request(known, fewer_rows=fewer_rows)
    assert request is not None
    (tensor,) = service_pb2.ModelInferRequest.FromString(request).inputs
    assert list(tensor.shape) == [known.max_batch_size - fewer_rows, 16]
