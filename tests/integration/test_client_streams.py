# SPDX-License-Identifier: Apache-2.0
"""Many photos over one call, by both clients."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import grpc
import pytest
from matting_client import (
    AsyncClient,
    CallCancelledError,
    Client,
    DrainingError,
    ImageUnreadableError,
    StreamItem,
)
from testkit.fake_gateway import OK, Failure, FakeGateway, Hold

HELD = Hold(threading.Event())
BROKEN_PHOTO = Failure("IMAGE_UNREADABLE", grpc.StatusCode.INVALID_ARGUMENT)
DRAINING = Failure("DRAINING", grpc.StatusCode.UNAVAILABLE)


@pytest.fixture
def gateway() -> Iterator[FakeGateway]:
    with FakeGateway() as server:
        yield server


def items(count: int) -> list[StreamItem]:
    return [StreamItem(f"item {number}", b"photo") for number in range(count)]


def test_every_item_is_answered(gateway: FakeGateway) -> None:
    with Client(gateway.address) as client:
        answers = {answer.item_id: answer.unwrap() for answer in client.stream(items(20), max_in_flight=3)}
    assert sorted(answers) == sorted(item.item_id for item in items(20))


async def test_every_item_is_answered_async(gateway: FakeGateway) -> None:
    async with AsyncClient(gateway.address) as client, client.stream(items(20), max_in_flight=3) as stream:
        answered = [answer.item_id async for answer in stream]
    assert sorted(answered) == sorted(item.item_id for item in items(20))


async def test_photos_may_be_files(gateway: FakeGateway, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"content")
    item = StreamItem("a", tmp_path / "a.jpg")
    async with AsyncClient(gateway.address) as client, client.stream([item]) as stream:
        assert [answer.item_id async for answer in stream] == ["a"]
    assert gateway.calls[0].request.encoded.content == b"content"
    gone = StreamItem("b", tmp_path / "gone.jpg")
    async with AsyncClient(gateway.address) as client, client.stream([gone]) as stream:
        with pytest.raises(FileNotFoundError):
            await anext(stream)
    with Client(gateway.address) as blocking, pytest.raises(FileNotFoundError):
        blocking.stream([gone])


async def test_items_may_come_as_they_are_found(gateway: FakeGateway) -> None:
    async def found() -> AsyncIterator[StreamItem]:
        for item in items(5):
            yield item

    async with AsyncClient(gateway.address) as client, client.stream(found()) as stream:
        assert len([answer async for answer in stream]) == 5


def test_a_bad_item_answers_with_its_error_and_the_stream_goes_on(gateway: FakeGateway) -> None:
    gateway.script(OK, BROKEN_PHOTO, OK)
    with Client(gateway.address) as client:
        answers = list(client.stream(items(3), max_in_flight=1))
    assert [type(answer.error) for answer in answers] == [type(None), ImageUnreadableError, type(None)]
    with pytest.raises(ImageUnreadableError):
        answers[1].unwrap()


def test_never_more_is_in_flight_than_allowed(gateway: FakeGateway) -> None:
    taken: list[str] = []

    def watched() -> Iterator[StreamItem]:
        for item in items(6):
            taken.append(item.item_id)
            yield item

    gateway.script(HELD, HELD)
    with Client(gateway.address) as client, client.stream(watched(), max_in_flight=2) as stream:
        gateway.arrived.acquire()
        stream.cancel("item 0")
        assert next(stream).item_id == "item 0"
        assert taken == ["item 0", "item 1"]


async def test_never_more_is_in_flight_than_allowed_async(gateway: FakeGateway) -> None:
    taken: list[str] = []

    def watched() -> Iterator[StreamItem]:
        for item in items(6):
            taken.append(item.item_id)
            yield item

    gateway.script(HELD, HELD)
    async with AsyncClient(gateway.address) as client, client.stream(watched(), max_in_flight=2) as stream:
        for _ in range(2):
            await asyncio.to_thread(gateway.arrived.acquire)
        assert taken == ["item 0", "item 1"]
        assert len(gateway.calls) == 2
        await stream.cancel("item 0")
        assert (await anext(stream)).item_id == "item 0"


async def test_a_cancelled_item_answers_so(gateway: FakeGateway) -> None:
    gateway.script(HELD)
    async with AsyncClient(gateway.address) as client, client.stream(items(1)) as stream:
        await asyncio.to_thread(gateway.arrived.acquire)
        await stream.cancel("item 0")
        answer = await anext(stream)
    assert isinstance(answer.error, CallCancelledError)
    assert gateway.cancelled_items == ["item 0"]


async def test_all_items_may_be_cancelled_at_once(gateway: FakeGateway) -> None:
    gateway.script(*[HELD] * 8)
    async with AsyncClient(gateway.address) as client, client.stream(items(8), max_in_flight=8) as stream:
        for _ in range(8):
            await asyncio.to_thread(gateway.arrived.acquire)
        await asyncio.gather(*(stream.cancel(item.item_id) for item in items(8)))
        answers = [answer async for answer in stream]
    assert {type(answer.error) for answer in answers} == {CallCancelledError}
    assert len(answers) == 8


async def test_cancelling_what_is_over_is_no_error(gateway: FakeGateway) -> None:
    gateway.script(OK, DRAINING)
    async with AsyncClient(gateway.address) as client, client.stream(items(3), max_in_flight=1) as stream:
        await anext(stream)
        await stream.cancel("item 0")
        with pytest.raises(DrainingError):
            await anext(stream)
        await stream.cancel("item 1")
    assert gateway.cancelled_items == []


def test_a_time_to_live_is_sent_and_a_photo_has_its_options(gateway: FakeGateway) -> None:
    item = StreamItem("a", b"photo", model="u2net", priority="low", time_to_live_s=1.5)
    with Client(gateway.address) as client:
        list(client.stream([item]))
    assert gateway.times_to_live_s == [1.5]
    assert gateway.calls[0].request.model.name == "u2net"


def test_a_stream_that_breaks_names_what_is_unanswered(gateway: FakeGateway) -> None:
    gateway.script(OK, DRAINING)
    with Client(gateway.address) as client:
        stream = client.stream(items(3), max_in_flight=1)
        next(stream)
        with pytest.raises(DrainingError) as caught:
            next(stream)
    assert caught.value.details.unanswered_item_ids == ("item 1",)


async def test_a_stream_that_breaks_names_what_is_unanswered_async(gateway: FakeGateway) -> None:
    gateway.script(OK, DRAINING)
    async with AsyncClient(gateway.address) as client, client.stream(items(3), max_in_flight=1) as stream:
        await anext(stream)
        with pytest.raises(DrainingError) as caught:
            await anext(stream)
    assert caught.value.details.unanswered_item_ids == ("item 1",)


def test_an_id_used_twice_is_refused(gateway: FakeGateway) -> None:
    gateway.script(HELD)
    with Client(gateway.address) as client, pytest.raises(ValueError, match="item_id 'a'"):
        list(client.stream([StreamItem("a", b"1"), StreamItem("a", b"2")]))


async def test_an_error_of_the_items_is_raised_as_it_is(gateway: FakeGateway) -> None:
    async def found() -> AsyncIterator[StreamItem]:
        yield StreamItem("a", b"photo")
        raise LookupError("no more photos to be found")

    gateway.script(HELD)
    async with AsyncClient(gateway.address) as client, client.stream(found()) as stream:
        with pytest.raises(LookupError, match="no more photos"):
            async for _ in stream:
                pass


async def test_leaving_a_stream_ends_its_call(gateway: FakeGateway) -> None:
    gateway.script(HELD)
    async with AsyncClient(gateway.address) as client:
        async with client.stream(items(1)):
            await asyncio.to_thread(gateway.arrived.acquire)
        assert await asyncio.to_thread(gateway.ended_streams.acquire, timeout=5)


def test_no_room_for_any_item_is_refused(gateway: FakeGateway) -> None:
    with Client(gateway.address) as client, pytest.raises(ValueError, match="at least 1"):
        client.stream(items(1), max_in_flight=0)
