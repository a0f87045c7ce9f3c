# SPDX-License-Identifier: Apache-2.0
"""Both clients on the real wire: what is sent, what comes back, what is tried again."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from matting.v1 import matting_service_pb2 as pb
from matting_client import (
    AsyncClient,
    Client,
    DrainingError,
    ImageUnreadableError,
    MattingError,
    MessageTooLargeError,
    ModelNotFoundError,
    NoAnswerInTimeError,
    OutputSpec,
    OverloadedError,
    Pixels,
    RetryPolicy,
    ServerUnreachableError,
)
from testkit.fake_gateway import OK, PNG, Failure, FakeGateway, Hold

DRAINING = Failure("DRAINING", grpc.StatusCode.UNAVAILABLE)
BUSY = Failure("OVERLOADED", grpc.StatusCode.RESOURCE_EXHAUSTED, retry_after_s=3.0)

# Calls a method of a client by name and returns its result, whichever client it is.
Call = Callable[..., Awaitable[Any]]
MakeCall = Callable[..., Call]


@pytest.fixture
def gateway() -> Iterator[FakeGateway]:
    with FakeGateway() as server:
        yield server


@pytest.fixture(params=["sync", "asyncio"])
def make_call(request: pytest.FixtureRequest) -> MakeCall:
    """Make a caller of one of the two clients; sleeps are noted in `waits` instead of slept."""

    def make(*addresses: str, waits: list[float] | None = None, **options: Any) -> Call:
        noted = [] if waits is None else waits

        async def sleep(seconds: float) -> None:
            noted.append(seconds)

        async def call(method: str, *arguments: Any, **named: Any) -> Any:
            if request.param == "asyncio":
                async with AsyncClient(*addresses, sleep=sleep, **options) as client:
                    return await getattr(client, method)(*arguments, **named)
            with Client(*addresses, sleep=noted.append, **options) as blocking:
                return await asyncio.to_thread(getattr(blocking, method), *arguments, **named)

        return call

    return make


async def test_an_answer_is_read_whole(gateway: FakeGateway, make_call: MakeCall) -> None:
    answer = await make_call(gateway.address)("remove_background", b"photo", [OutputSpec()], request_id="mine")
    assert (answer.output.content, answer.output.mime_type) == (PNG, "image/png")
    assert (answer.model, answer.version) == ("fake", "1")
    assert answer.subject.found
    assert answer.subject.box.width_px == 2
    assert answer.timings.total_s == 0.25
    assert answer.request_id == answer.receipt.call_id == "mine"
    assert answer.receipt.released
    assert answer.receipt.held_s == 0.005


async def test_a_call_carries_its_id_its_size_and_its_deadline(gateway: FakeGateway, make_call: MakeCall) -> None:
    await make_call(gateway.address, timeout_s=7.0)("remove_background", b"photo", model="u2net")
    (seen,) = gateway.calls
    assert seen.metadata["x-matting-request-bytes"] == str(seen.request.ByteSize())
    assert len(str(seen.metadata["x-request-id"])) == 32
    assert seen.timeout_s is not None
    # gRPC sends a time-out with few digits, rounded up.
    assert 5 < seen.timeout_s <= 7 * 1.01


async def test_no_deadline_is_possible(gateway: FakeGateway, make_call: MakeCall) -> None:
    await make_call(gateway.address, timeout_s=None)("remove_background", b"photo")
    (seen,) = gateway.calls
    assert seen.timeout_s is None or seen.timeout_s > 1e6


async def test_a_token_is_sent(gateway: FakeGateway, make_call: MakeCall) -> None:
    await make_call(gateway.address, token="mine")("remove_background", b"photo")
    assert gateway.calls[0].metadata["authorization"] == "Bearer mine"


async def test_a_file_and_raw_pixels_are_sent(gateway: FakeGateway, make_call: MakeCall, tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(b"content")
    call = make_call(gateway.address)
    await call("remove_background", path)
    await call("remove_background", Pixels(b"123", 1, 1, "rgb8"))
    assert gateway.calls[0].request.encoded.content == b"content"
    assert gateway.calls[1].request.pixels.pixel_format == pb.PIXEL_FORMAT_RGB8


async def test_what_may_be_retried_is_and_waits_as_the_server_asks(gateway: FakeGateway, make_call: MakeCall) -> None:
    waits: list[float] = []
    gateway.script(DRAINING, BUSY, OK)
    await make_call(gateway.address, waits=waits)("remove_background", b"photo", request_id="mine")
    assert [seen.metadata["x-request-id"] for seen in gateway.calls] == ["mine"] * 3
    assert 0 <= waits[0] <= 0.1
    assert 3.0 <= waits[1] <= 3.75


@pytest.mark.parametrize(
    ("failure", "error_class"),
    [
        (Failure("IMAGE_UNREADABLE", grpc.StatusCode.INVALID_ARGUMENT), ImageUnreadableError),
        (Failure("MODEL_NOT_FOUND", grpc.StatusCode.NOT_FOUND), ModelNotFoundError),
        (Failure("OVERLOADED", grpc.StatusCode.RESOURCE_EXHAUSTED), OverloadedError),
        (Failure("", grpc.StatusCode.RESOURCE_EXHAUSTED), MessageTooLargeError),
    ],
)
async def test_what_cannot_get_better_is_not_retried(
    gateway: FakeGateway, make_call: MakeCall, failure: Failure, error_class: type[MattingError]
) -> None:
    gateway.script(failure)
    with pytest.raises(error_class):
        await make_call(gateway.address)("remove_background", b"photo")
    assert len(gateway.calls) == 1


async def test_an_error_tells_all_that_the_server_told(gateway: FakeGateway, make_call: MakeCall) -> None:
    gateway.script(Failure("IMAGE_UNREADABLE", grpc.StatusCode.INVALID_ARGUMENT, "no image", field_path="encoded"))
    with pytest.raises(ImageUnreadableError, match="no image") as caught:
        await make_call(gateway.address)("remove_background", b"photo", request_id="mine")
    assert caught.value.details.field_path == "encoded"
    assert caught.value.request_id == "mine"
    assert caught.value.receipt is not None
    assert caught.value.receipt.released
    assert isinstance(caught.value.__cause__, grpc.RpcError)


async def test_attempts_end(gateway: FakeGateway, make_call: MakeCall) -> None:
    gateway.script(*[DRAINING] * 9)
    with pytest.raises(DrainingError):
        await make_call(gateway.address, retry=RetryPolicy(max_attempts=3))("remove_background", b"photo")
    assert len(gateway.calls) == 3


async def test_a_used_up_budget_ends_retries(gateway: FakeGateway, make_call: MakeCall) -> None:
    gateway.script(*[DRAINING] * 9)
    with pytest.raises(DrainingError):
        await make_call(gateway.address, retry=RetryPolicy(budget_tokens=1))("remove_background", b"photo")
    assert len(gateway.calls) == 2


async def test_the_servers_wait_is_not_begun_past_the_deadline(gateway: FakeGateway, make_call: MakeCall) -> None:
    gateway.script(BUSY)
    waits: list[float] = []
    with pytest.raises(OverloadedError) as caught:
        await make_call(gateway.address, waits=waits)("remove_background", b"photo", timeout_s=2.0)
    assert caught.value.retry_after_s == 3.0
    assert waits == []


async def test_a_silent_server_is_left_at_the_deadline(gateway: FakeGateway, make_call: MakeCall) -> None:
    gateway.script(Hold(threading.Event()))
    with pytest.raises(NoAnswerInTimeError):
        await make_call(gateway.address)("remove_background", b"photo", timeout_s=0.1)


async def test_nobody_listening_is_said_so(make_call: MakeCall) -> None:
    with pytest.raises(ServerUnreachableError):
        await make_call("127.0.0.1:1")("remove_background", b"photo")


@pytest.mark.parametrize("timeout_s", [0, -1.0, float("nan")])
async def test_a_time_limit_must_be_positive(gateway: FakeGateway, make_call: MakeCall, timeout_s: float) -> None:
    with pytest.raises(ValueError, match="positive"):
        await make_call(gateway.address)("remove_background", b"photo", timeout_s=timeout_s)


async def test_a_large_photo_fits_by_default(gateway: FakeGateway, make_call: MakeCall) -> None:
    await make_call(gateway.address)("remove_background", bytes(20 << 20))
    with pytest.raises(MessageTooLargeError):
        await make_call(gateway.address, max_message_bytes=1 << 20)("remove_background", bytes(2 << 20))


async def test_all_pages_of_models_are_listed(make_call: MakeCall) -> None:
    models = [pb.Model(name=name, versions=["2", "1"], max_batch_size=8) for name in "abcde"]
    with FakeGateway(models=models) as gateway:
        listed = await make_call(gateway.address)("list_models")
    assert [model.name for model in listed] == ["a", "b", "c", "d", "e"]
    assert listed[0].versions == ("2", "1")


async def test_the_data_policy_is_read(make_call: MakeCall) -> None:
    statement = pb.DataPolicyStatement(topic="storage.disk", statement="Nothing.", kept=True, values={"a": "b"})
    with FakeGateway(policy=pb.DataPolicy(version="1", revision="abc", statements=[statement])) as gateway:
        policy = await make_call(gateway.address)("data_policy")
    assert (policy.version, policy.revision, policy.statements[0].kept) == ("1", "abc", True)
    assert policy.statements[0].values == {"a": "b"}


async def test_a_cancelled_task_cancels_its_call(gateway: FakeGateway) -> None:
    held = threading.Event()
    gateway.script(Hold(held))
    async with AsyncClient(gateway.address) as client:
        task = asyncio.create_task(client.remove_background(b"photo"))
        await asyncio.to_thread(gateway.arrived.acquire)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.to_thread(held.wait, 5)


def test_one_client_serves_many_threads(gateway: FakeGateway) -> None:
    with Client(gateway.address) as client:
        threads = [threading.Thread(target=client.remove_background, args=(b"photo",)) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(gateway.calls) == 16
    assert client.statistics().retry_count == 0
