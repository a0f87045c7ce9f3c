# SPDX-License-Identifier: Apache-2.0
"""Messages come out of a body as they were put in, however it is cut; nothing is kept that nobody reads."""

import asyncio
import itertools
import zlib

import grpc
import pytest
from grpc_h2.bodies.framing import PREFIX_BYTES
from grpc_h2.bodies.held_bytes import HeldBytes
from grpc_h2.bodies.inbox import BEGUN_BYTES, Inbox
from grpc_h2.bodies.messages import MessageFault, MessageRules, MessageTooLongError
from grpc_h2.bodies.recycled_memory import RecycledMemory
from grpc_h2.bodies.unadmitted import Unadmitted
from grpc_h2.bodies.unpacking import Unpacker
from grpc_h2.bodies.windows import Windows
from hypothesis import given, settings
from hypothesis import strategies as st

MOST_BYTES = 1 << 20
SMALL_BYTES = 1000


def framed(message: bytes, flag: int = 0) -> bytes:
    return bytes([flag]) + len(message).to_bytes(4, "big") + message


def packed(message: bytes, encoding: str) -> bytes:
    stream = zlib.compressobj(wbits=31 if encoding == "gzip" else 15)
    return stream.compress(message) + stream.flush()


class Box:
    """An inbox, and the leave to send that it gave."""

    def __init__(self, encoding: str = "identity", *, head_bytes: int = 0) -> None:
        self.leave: list[int] = []
        lend = RecycledMemory(later=lambda _seconds, _act: None).lend
        self.lost: list[str] = []
        self.refused: list[MessageFault] = []
        self.unadmitted = Unadmitted()
        self.windows = Windows(usual_bytes=65_535, now=lambda: 0.0, unadmitted=self.unadmitted)
        held = HeldBytes(self.windows, None, head_bytes, self.refused.append)
        self.inbox = Inbox(
            rules=MessageRules(MOST_BYTES, encoding, SMALL_BYTES),
            let_send=self.leave.append,
            lend=lend,
            lost=self.lost.append,
            held=held,
            unpack=Unpacker().unpack,
        )
        held.count_head()

    def bring(self, data: bytes) -> None:
        """Bring bytes as a connection does: in place where there is room."""
        while data:
            room = self.inbox.room()
            if room is None:
                self.inbox.feed(memoryview(data))
                return
            size = min(len(room), len(data))
            room[:size] = data[:size]
            self.inbox.wrote(size)
            data = data[size:]

    async def read_all(self, most_bytes: int | None = MOST_BYTES) -> list[bytes]:
        found = []
        while (message := await self.inbox.read(most_bytes)) is not None:
            found.append(bytes(message))
        return found


@pytest.mark.slow
@given(
    messages=st.lists(st.binary(max_size=300), max_size=6),
    cuts=st.lists(st.integers(0, 2000), max_size=10),
    flagged=st.booleans(),
    reads_first=st.booleans(),
    permitted=st.booleans(),
)
@settings(max_examples=60)
def test_messages_are_the_same_however_their_body_is_cut(
    messages: list[bytes], cuts: list[int], flagged: bool, reads_first: bool, permitted: bool
) -> None:
    parts = [framed(packed(message, "gzip"), 1) if flagged else framed(message) for message in messages]
    body = b"".join(parts)
    edges = [0, *sorted(min(cut, len(body)) for cut in cuts), len(body)]

    async def play() -> list[bytes]:
        box = Box("gzip")
        reading = asyncio.ensure_future(box.read_all(MOST_BYTES if permitted else None))
        for start, end in itertools.pairwise(edges):
            if reads_first:
                await asyncio.sleep(0)
            box.bring(body[start:end])
        box.inbox.ended()
        return await reading

    assert asyncio.run(play()) == messages


async def fault_of(data: bytes, *, encoding: str = "identity") -> MessageFault:
    box = Box(encoding)
    reading = asyncio.ensure_future(box.inbox.read(MOST_BYTES))
    await asyncio.sleep(0)
    box.bring(data)
    box.inbox.ended()
    with pytest.raises(MessageFault) as caught:
        await reading
    return caught.value


@pytest.mark.parametrize(
    ("data", "encoding", "code"),
    [
        pytest.param(framed(b"abc")[:3], "identity", "INTERNAL", id="half a prefix"),
        pytest.param(framed(b"abc")[:-1], "identity", "INTERNAL", id="half a message"),
        pytest.param(framed(b"abc", 2), "identity", "INTERNAL", id="an unknown flag"),
        pytest.param(framed(b"abc", 1), "identity", "INTERNAL", id="compressed without saying how"),
        pytest.param(framed(b"abc", 1), "snappy", "UNIMPLEMENTED", id="compressed in another way"),
        pytest.param(framed(b"abc", 1), "gzip", "INTERNAL", id="no gzip"),
        pytest.param(framed(packed(b"a", "deflate"), 1), "gzip", "INTERNAL", id="deflate called gzip"),
        pytest.param(framed(packed(b"abc", "gzip")[:-4], 1), "gzip", "INTERNAL", id="truncated gzip"),
        pytest.param(framed(packed(b"abc", "gzip") + b"more", 1), "gzip", "INTERNAL", id="more after gzip"),
        pytest.param(framed(b"", 1), "gzip", "INTERNAL", id="compressed nothing"),
        pytest.param(framed(packed(bytes(MOST_BYTES + 1), "gzip"), 1), "gzip", "RESOURCE_EXHAUSTED", id="gzip bomb"),
        pytest.param(framed(packed(bytes(50 << 20), "deflate"), 1), "deflate", "RESOURCE_EXHAUSTED", id="deflate bomb"),
        pytest.param(
            b"\0" + (MOST_BYTES + 1).to_bytes(4, "big"), "identity", "RESOURCE_EXHAUSTED", id="too large a message"
        ),
    ],
)
async def test_a_body_that_is_no_sequence_of_messages_is_a_fault(data: bytes, encoding: str, code: str) -> None:
    assert (await fault_of(data, encoding=encoding)).code is grpc.StatusCode[code]


async def test_too_large_a_message_is_refused_by_its_prefix() -> None:
    box = Box()
    reading = asyncio.ensure_future(box.inbox.read(MOST_BYTES))
    await asyncio.sleep(0)
    box.leave.clear()
    box.bring(b"\0" + (1 << 30).to_bytes(4, "big"))
    with pytest.raises(MessageFault, match="larger than max") as caught:
        await reading
    assert caught.value.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert (box.inbox.room(), box.leave) == (None, [])  # nothing more of it is let come


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
async def test_of_the_largest_size_a_compressed_message_is_read(encoding: str) -> None:
    box = Box(encoding)
    box.bring(framed(packed(bytes(MOST_BYTES), encoding), 1) + framed(b"and a plain one"))
    box.inbox.ended()
    assert await box.read_all() == [bytes(MOST_BYTES), b"and a plain one"]


async def test_memory_for_a_message_is_taken_and_leave_given_only_once_somebody_reads() -> None:
    box = Box()
    box.bring(framed(bytes(100_000))[:1000])
    assert (box.inbox.room(), box.leave) == (None, [])
    reading = asyncio.ensure_future(box.inbox.read(MOST_BYTES))
    await asyncio.sleep(0)
    assert box.leave == [100_005 - 1000]
    box.bring(framed(bytes(100_000))[1000:])
    assert await reading == bytes(100_000)


async def test_many_small_messages_ask_for_leave_of_half_a_window_only() -> None:
    box = Box()
    for _ in range(3):
        reading = asyncio.ensure_future(box.inbox.read(MOST_BYTES))
        await asyncio.sleep(0)
        box.bring(framed(b""))
        await reading
    assert max(box.leave) < 40_000


async def test_after_the_end_nothing_is_kept_and_who_reads_is_told() -> None:
    box = Box()
    reading = asyncio.ensure_future(box.inbox.read(MOST_BYTES))
    await asyncio.sleep(0)
    box.bring(framed(bytes(1000))[:500])
    box.inbox.discard()
    assert await reading is None
    box.bring(bytes(10_000))
    assert box.inbox.room() is None
    assert (len(box.inbox._early), box.inbox._message, box.unadmitted.total_bytes) == (0, None, 0)
    assert await box.inbox.read(MOST_BYTES) is None


async def test_two_cannot_read_at_once_and_a_reader_may_give_up() -> None:
    box = Box()
    reading = asyncio.ensure_future(box.inbox.read(MOST_BYTES))
    await asyncio.sleep(0)
    with pytest.raises(RuntimeError):
        await box.inbox.read(MOST_BYTES)
    box.bring(framed(b"abc")[:6])
    reading.cancel()
    await asyncio.wait([reading])
    box.bring(b"bc")
    assert await box.inbox.read(MOST_BYTES) == b"abc"


@pytest.mark.parametrize("flag", [0, 1])
async def test_a_message_longer_than_its_reader_is_prepared_for_is_refused_before_it_comes(flag: int) -> None:
    box = Box("gzip")
    box.inbox.one_message = True
    reading = asyncio.ensure_future(box.inbox.read(1000))
    await asyncio.sleep(0)
    box.bring(framed(bytes(1001), flag)[: PREFIX_BYTES + 10])
    with pytest.raises(MessageTooLongError):
        await reading
    assert max(box.leave) <= PREFIX_BYTES + 1000


async def test_a_compressed_message_that_unfolds_to_more_than_its_reader_is_prepared_for_is_refused() -> None:
    box = Box("gzip")
    box.bring(framed(packed(bytes(100_000), "gzip"), 1))
    with pytest.raises(MessageTooLongError):
        await box.inbox.read(1000)


async def test_over_every_limit_is_too_large_and_not_merely_too_long() -> None:
    box = Box()
    box.bring(framed(b"")[:1] + (MOST_BYTES + 1).to_bytes(4, "big"))
    with pytest.raises(MessageFault, match="larger than max"):
        await box.inbox.read(1000)


async def test_without_a_permit_no_more_memory_is_taken_than_has_come_whatever_a_prefix_says() -> None:
    box = Box()
    reading = asyncio.ensure_future(box.inbox.read())
    await asyncio.sleep(0)
    box.bring(framed(bytes(SMALL_BYTES))[:10])
    assert (box.inbox.room(), box.inbox._message, box.unadmitted.total_bytes) == (None, None, 10)
    box.bring(framed(bytes(SMALL_BYTES))[10:])
    assert await reading == bytes(SMALL_BYTES)


@pytest.mark.parametrize("flag", [0, 1])
async def test_without_a_permit_a_larger_message_than_a_small_one_is_refused_by_its_prefix(flag: int) -> None:
    box = Box("gzip")
    box.bring(framed(bytes(SMALL_BYTES + 1), flag)[:5])
    with pytest.raises(MessageFault, match=f"{SMALL_BYTES + 1} vs. {SMALL_BYTES}"):
        await box.inbox.read()


async def test_without_a_permit_a_message_must_not_unfold_to_more_than_a_small_one() -> None:
    box = Box("gzip")
    box.bring(framed(packed(bytes(SMALL_BYTES + 1), "gzip"), 1))
    with pytest.raises(MessageFault, match=f"vs. {SMALL_BYTES}"):
        await box.inbox.read()


async def test_a_message_that_was_read_without_a_permit_counts_until_its_call_ends_or_reads_the_next() -> None:
    box = Box()
    box.bring(framed(b"abc"))
    await box.inbox.read()
    assert box.unadmitted.total_bytes == 3
    box.inbox.discard()
    assert box.unadmitted.total_bytes == 0


async def test_unusual_metadata_count_until_there_is_a_permit() -> None:
    box = Box(head_bytes=5000)
    assert box.unadmitted.total_bytes == 5000
    box.bring(framed(b"abc"))
    await box.inbox.read(MOST_BYTES)
    assert box.unadmitted.total_bytes == 0


async def test_bytes_of_a_call_that_is_refused_before_it_is_read_are_counted_also_those_that_come_later() -> None:
    box, refused = Box(), list[int]()
    box.windows.refused = refused.append
    box.bring(bytes(100))
    box.inbox.discard(refused=True)
    box.bring(bytes(20))
    assert sum(refused) == 120


@pytest.mark.parametrize(
    ("data", "begun"),
    [
        pytest.param(b"", False, id="nothing"),
        pytest.param(framed(b"abc")[:-1], False, id="a little"),
        pytest.param(framed(b"abc"), True, id="all of it"),
        pytest.param(framed(bytes(100_000))[:BEGUN_BYTES], True, id="much"),
        pytest.param(b"\0" + (MOST_BYTES + 1).to_bytes(4, "big"), True, id="one that is too large anyway"),
    ],
)
def test_a_message_has_begun_once_it_is_whole_or_much_of_it_has_come(data: bytes, begun: bool) -> None:
    box, told = Box(), list[str]()
    box.inbox.when_begun(lambda: told.append("begun"))
    for at in range(0, len(data), 9_000):
        box.bring(data[at : at + 9_000])
    assert (box.inbox.begun, told) == (begun, ["begun"] * begun)
    assert box.inbox.arrived_bytes == len(data)


@pytest.mark.parametrize("end", ["ended", "discard"])
def test_who_waits_for_a_beginning_is_told_of_the_end_too(end: str) -> None:
    box, told = Box(), list[str]()
    box.inbox.when_begun(lambda: told.append("begun"))
    getattr(box.inbox, end)()
    assert told == ["begun"]


async def test_what_has_arrived_is_told_of_a_message_that_is_being_received_too() -> None:
    box = Box()
    reading = asyncio.ensure_future(box.inbox.read(MOST_BYTES))
    await asyncio.sleep(0)
    box.bring(framed(bytes(100_000))[:50_005])
    assert box.inbox.arrived_bytes == 50_000
    reading.cancel()
    await asyncio.wait([reading])


async def test_the_peer_is_let_send_as_much_as_a_beginning_takes() -> None:
    """Of the window before may be left less than that."""
    box = Box()
    box.inbox.when_begun(lambda: None)
    assert box.leave == [BEGUN_BYTES]
