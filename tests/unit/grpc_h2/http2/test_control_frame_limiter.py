# SPDX-License-Identifier: Apache-2.0
"""Frames that cost work and carry no call: some are borne, a flood ends the connection, time makes up for them."""

import pytest
from grpc_h2.http2.control_frame_limiter import ControlFrameLimiter
from grpc_h2.http2.limits import Http2Limits
from grpc_h2.http2.wire import frames
from grpc_h2.http2.wire.errors import ConnectionFault
from grpc_h2.http2.wire.frames import frame
from testkit.http2_pair import ServerSide, headers_frame

BURST = 50
LIMITS = Http2Limits(control_frame_burst=BURST, control_frames_per_s=10, max_streams=10)


def opened_and_reset() -> bytes:
    return b"".join(headers_frame(i) + frame(frames.RST_STREAM, 0, i, bytes(4)) for i in range(1, 2 * BURST + 3, 2))


def opened_and_reset_by_us() -> bytes:
    """CVE-2025-8671: the peer makes the server reset what it has opened."""
    return b"".join(headers_frame(i) + frames.window_update(i, 2**31 - 1) for i in range(1, 2 * BURST + 3, 2))


def refused() -> bytes:
    return b"".join(headers_frame(i) for i in range(1, 2 * (BURST + 10) + 3, 2))


FLOODS = {
    "rapid reset": opened_and_reset(),
    "resets that we are made to send": opened_and_reset_by_us(),
    "streams over the limit": refused(),
    "pings": frame(frames.PING, 0, 0, bytes(8)) * (BURST + 1),
    "answers to no ping": frame(frames.PING, frames.ACK, 0, bytes(8)) * (BURST + 1),
    "settings": frame(frames.SETTINGS, 0, 0) * (BURST + 1),
    "acknowledgements of no settings": frame(frames.SETTINGS, frames.ACK, 0) * (BURST + 1),
    "priorities": frame(frames.PRIORITY, 0, 1, bytes(5)) * (BURST + 1),
    "goaways": frames.goaway(0, 0) * (BURST + 1),
    "unknown frames": frame(0xFA, 0, 0) * (BURST + 1),
    "data of streams that have ended": headers_frame(1)
    + frame(frames.RST_STREAM, 0, 1, bytes(4))
    + frame(frames.DATA, 0, 1, b"x") * (BURST + 1),
    "malformed requests": b"".join(frame(frames.HEADERS, 5, i, b"\x82") for i in range(1, 2 * BURST + 3, 2)),
    "windows of nothing": b"".join(headers_frame(i) + frames.window_update(i, 0) for i in range(1, 2 * BURST + 3, 2)),
    "empty data": headers_frame(1) + frame(frames.DATA, 0, 1) * (BURST + 1),
    "data of nothing but padding": headers_frame(1) + frame(frames.DATA, frames.PADDED, 1, b"\1\0") * (BURST + 1),
    "trailers of streams that we have ended": headers_frame(1)
    + frames.window_update(1, 2**31 - 1)
    + headers_frame(1, ends=True) * BURST,
}


@pytest.mark.parametrize("data", FLOODS.values(), ids=FLOODS)
def test_a_flood_ends_the_connection_and_all_its_streams(data: bytes) -> None:
    server = ServerSide(LIMITS).greeted()
    fault = server.fault_of(data)
    assert fault is not None
    assert fault.code == frames.ENHANCE_YOUR_CALM
    assert server.connection.stream_count == 0
    assert all(len(sink.lost_texts) == 1 for sink in server.sinks.values())


@pytest.mark.parametrize("data", FLOODS.values(), ids=FLOODS)
def test_the_same_spread_over_time_is_borne(data: bytes) -> None:
    server = ServerSide(LIMITS).greeted()
    for at in range(0, len(data), 100):
        server.now_s += 60
        assert server.fault_of(data[at : at + 100]) is None


def test_calls_that_are_answered_spend_no_patience() -> None:
    server = ServerSide(LIMITS).greeted()
    for stream_id in range(1, 20 * BURST, 2):
        assert server.fault_of(headers_frame(stream_id) + frame(frames.DATA, frames.END_STREAM, stream_id)) is None
        server.answer(stream_id, b"done")
        assert server.fault_of(frames.window_update(0, 4)) is None


@pytest.mark.parametrize(
    "data",
    [
        frame(frames.PING, 0, 0, bytes(8)),
        frame(frames.SETTINGS, 0, 0),
        headers_frame(1) + frame(frames.DATA, frames.PADDED, 1, b"\0x"),
    ],
    ids=["pings", "settings", "padding"],
)
def test_who_does_not_read_answers_to_control_frames_is_cut_off(data: bytes) -> None:
    server = ServerSide(Http2Limits(control_frame_burst=1 << 20)).greeted()
    server.connection.pause()
    head, again = (data[:-11], data[-11:]) if len(data) > 20 else (b"", data)
    assert server.fault_of(head) is None
    fault = server.fault_of(again * 10_000)
    assert fault is not None
    assert fault.code == frames.ENHANCE_YOUR_CALM
    assert len(server.sent()) < 100 << 10


def test_who_reads_in_the_end_is_not_cut_off() -> None:
    server = ServerSide(Http2Limits(control_frame_burst=1 << 20)).greeted()
    for _ in range(20):
        server.connection.pause()
        assert server.fault_of(frame(frames.PING, 0, 0, bytes(8)) * 1000) is None
        server.connection.resume()


def test_thousands_of_settings_in_one_frame_are_applied_once() -> None:
    server = ServerSide().greeted(headers_frame(1))
    sizes = b"".join(frames.settings({frames.INITIAL_WINDOW_SIZE: size})[9:] for size in range(2700))
    resized: list[int] = []
    resize = server.connection._sending.resize_windows

    def counting(window_bytes: int, streams: tuple[object, ...]) -> None:
        resized.append(window_bytes)
        resize(window_bytes, streams)  # type: ignore[arg-type]

    server.connection._sending.resize_windows = counting  # type: ignore[assignment,method-assign]
    assert server.fault_of(frame(frames.SETTINGS, 0, 0, sizes)) is None
    assert resized == [2699]


def test_patience_comes_back_with_time_and_never_exceeds_the_burst() -> None:
    now_s = 0.0
    patience = ControlFrameLimiter(burst=3, per_s=2, now=lambda: now_s)
    for _ in range(3):
        patience.spend()
    with pytest.raises(ConnectionFault):
        patience.spend()
    now_s = 0.5
    patience.spend()
    with pytest.raises(ConnectionFault):
        patience.spend()
    now_s = 1000.0
    for _ in range(3):
        patience.spend()
    with pytest.raises(ConnectionFault):
        patience.spend()
