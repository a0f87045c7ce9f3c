# SPDX-License-Identifier: Apache-2.0
"""Compressed messages come out as they were put in, or not at all; none gets larger than anybody is prepared for."""

import asyncio
import threading
import zlib
from collections.abc import Callable

import grpc
import pytest
from grpc_h2.bodies.messages import MessageFault, MessageRules, MessageTooLongError
from grpc_h2.bodies.unpacking import HARMLESS_BYTES, MAX_RATIO, Unpacked, Unpacker, unpack
from hypothesis import given, settings
from hypothesis import strategies as st

RULES = MessageRules(64 << 20, "gzip")


def packed(message: bytes, level: int = 6) -> bytes:
    stream = zlib.compressobj(level, wbits=31)
    return stream.compress(message) + stream.flush()


def unpacked(data: bytes, most_bytes: int | None = None, stopped: Callable[[], bool] = lambda: False) -> object:
    return unpack(memoryview(data), RULES, most_bytes, stopped)


@pytest.mark.slow
@given(
    pieces=st.lists(st.tuples(st.binary(min_size=1, max_size=40), st.integers(1, 20_000)), max_size=6),
    level=st.sampled_from([0, 1, 9]),
)
@settings(max_examples=60)
def test_what_was_packed_comes_out(pieces: list[tuple[bytes, int]], level: int) -> None:
    message = b"".join(piece * count for piece, count in pieces)
    assert unpacked(packed(message, level)) == message


@pytest.mark.parametrize("size", [256 << 10, (256 << 10) - 1, (256 << 10) + 1, 1 << 20])
def test_a_message_that_ends_with_a_piece_is_whole(size: int) -> None:
    assert unpacked(packed(bytes(size))) == bytes(size)


@given(data=st.binary(min_size=1, max_size=300), cut=st.integers(1, 20))
@settings(max_examples=60)
def test_what_is_cut_off_or_followed_by_more_is_damaged(data: bytes, cut: int) -> None:
    message = packed(data)
    for damaged in (message[:-cut], message + bytes(cut)):
        fault = unpacked(damaged)
        assert isinstance(fault, MessageFault)
        assert fault.code is grpc.StatusCode.INTERNAL


def test_what_follows_in_another_piece_is_damage_too() -> None:
    message = packed(bytes(range(256)) * 256, 0)
    assert isinstance(unpacked(message + bytes(100_000)), MessageFault)


@pytest.mark.slow
def test_a_bomb_is_given_up_where_its_ratio_is_that_of_no_honest_message() -> None:
    asked = 0

    def count() -> bool:
        nonlocal asked
        asked += 1
        return False

    bomb = packed(bytes(64 << 20))
    fault = unpacked(bomb, stopped=count)
    assert isinstance(fault, MessageFault)
    assert fault.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "send it uncompressed" in fault.text
    assert asked * (256 << 10) <= max(HARMLESS_BYTES, MAX_RATIO * len(bomb)) + (512 << 10)


def test_a_small_message_may_be_packed_as_well_as_can_be() -> None:
    assert unpacked(packed(bytes(HARMLESS_BYTES))) == bytes(HARMLESS_BYTES)


def test_more_than_its_reader_is_prepared_for_is_too_long() -> None:
    assert isinstance(unpacked(packed(bytes(100_000)), 99_999), MessageTooLongError)
    assert unpacked(packed(bytes(100_000)), 100_000) == bytes(100_000)


async def test_nothing_is_told_of_what_was_stopped_and_its_thread_goes_on_to_the_next() -> None:
    entered, stopped = threading.Event(), threading.Event()
    told: list[Unpacked | None] = []
    unpacker = Unpacker()

    class Watched(MessageRules):
        def problem_of_size(self, length: int, most_bytes: int | None) -> None:
            entered.set()
            stopped.wait()

    stops = [
        unpacker.unpack(memoryview(packed(bytes(4 << 20))), Watched(64 << 20, "gzip"), None, told.append)
        for _ in range(3)
    ]
    await asyncio.to_thread(entered.wait)
    for stop in stops:
        stop()
    stopped.set()
    there: asyncio.Future[Unpacked | None] = asyncio.get_running_loop().create_future()
    unpacker.unpack(memoryview(packed(b"abc")), RULES, None, there.set_result)
    assert await there == bytearray(b"abc")
    assert told == []
    unpacker.shut_down()
