# SPDX-License-Identifier: Apache-2.0
"""A hostile caller: valid HTTP/2 frames, hostile messages and timing, from a seed.

Each connection plays short episodes until it is closed, by either side, and then opens anew. Run as a program in a
process of its own: `python -m testkit.wire_fuzz ADDRESS --seed N --frames N --seconds S` prints what it sent, as JSON.
"""

import argparse
import asyncio
import contextlib
import json
import random
import time
import zlib
from collections import Counter
from collections.abc import Callable

from grpc_h2.http2.wire import frames
from grpc_h2.http2.wire.header_blocks import write_fields
from matting.v1 import matting_service_pb2 as pb
from tritonclient.grpc import service_pb2

METHODS = (
    b"/matting.v1.MattingService/RemoveBackground",
    b"/matting.v1.MattingService/StreamRemoveBackground",
    b"/matting.v1.MattingService/ListModels",
    b"/matting.v1.MattingService/GetDataPolicy",
    b"/inference.GRPCInferenceService/ModelInfer",
    b"/inference.GRPCInferenceService/ModelStreamInfer",
    b"/inference.GRPCInferenceService/ServerLive",
    b"/inference.GRPCInferenceService/ModelMetadata",
    b"/inference.GRPCInferenceService/SystemSharedMemoryRegister",
    b"/grpc.health.v1.Health/Check",
    b"/grpc.health.v1.Health/Watch",
    b"/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    b"/no.such.Service/Method",
)
_KINDS = ("data", "headers", "priority", "reset", "settings", "push", "ping", "goaway", "window", "continuation")
_CONNECTION_COUNT = 8
_MOST_STREAMS = 100
_CLOSE_PATIENCE_S = 1.0
_CHUNK_BYTES = 16_000


def _packed(message: bytes, encoding: bytes) -> bytes:
    stream = zlib.compressobj(wbits=15 if encoding == b"deflate" else 31)
    return stream.compress(message) + stream.flush()


class Messages:
    """Hostile and honest messages, made once."""

    def __init__(self) -> None:
        photo = pb.RemoveBackgroundRequest(
            pixels=pb.PixelImage(data=bytes(32 * 32 * 3), width_px=32, height_px=32, pixel_format=pb.PIXEL_FORMAT_RGB8),
            outputs=[pb.OutputSpec(raw=pb.RawEncoding())],
        )
        tensor = service_pb2.ModelInferRequest(model_name="u2net", raw_input_contents=[bytes(3072)])
        tensor.inputs.add(name="image", datatype="UINT8", shape=[1, 32, 32, 3])
        half_a_million = b"\x2a\x00" * 500_000
        self.plain: tuple[bytes, ...] = (
            b"",
            photo.SerializeToString(),
            tensor.SerializeToString(),
            b"\x0a\x01a\x12" + bytes([0]),
            b"\x2a\x00" * 5_000,
            b"\x22\x00" * 5_000,
            b"\xf8\x3f\x01" * 5_000,
            b"\x43\x44" * 5_000,
            b"\x0a\x80\x80\x10" + b"a" * (256 << 10),
            b"\xff" * 40,
        )
        self.packed = {
            encoding: (
                _packed(half_a_million, encoding),
                _packed(b"\x22\x00" * (8 << 20), encoding),
                _packed(bytes(32 << 20), encoding),
                _packed(photo.SerializeToString(), encoding),
                _packed(b"abc", encoding)[:-3],
            )
            for encoding in (b"gzip", b"deflate")
        }


class Caller:
    """One connection at a time. Owns it and its streams' numbers; counts what it sends in `sent`, by kind."""

    def __init__(self, address: str, rng: random.Random, messages: Messages, sent: Counter[str]) -> None:
        self._host, _, port = address.rpartition(":")
        self._port = int(port)
        self._rng = rng
        self._messages = messages
        self._sent = sent
        self._stream_id = 1
        self._open: list[int] = []
        self._moves: tuple[tuple[int, Callable[[], bytes]], ...] = (
            (8, self._call),
            (4, self._slow_call),
            (1, self._flood),
            (6, self._more_body),
            (3, self._end),
            (3, self._reset),
            (3, self._control),
            (2, self._window),
            (1, self._odd_headers),
            (1, self._cut_short),
        )

    @property
    def frame_count(self) -> int:
        return self._sent.total() - self._sent["connection"]

    async def play(self) -> None:
        """Open a connection and play until it is closed."""
        self._sent["connection"] += 1
        self._stream_id, self._open = 1, []
        reader, writer = await asyncio.open_connection(self._host, self._port)
        draining = asyncio.ensure_future(self._drain(reader, reads=self._rng.random() < 0.8))
        try:
            window = self._rng.choice((0, 1, 100, 65_535, frames.MAX_WINDOW_BYTES))
            writer.write(frames.PREFACE + frames.settings({frames.INITIAL_WINDOW_SIZE: window}))
            weights = [weight for weight, _ in self._moves]
            for _ in range(self._rng.choice((3, 30, 300))):
                if draining.done() or writer.is_closing():
                    break
                (_, move), *_ = self._rng.choices(self._moves, weights)
                writer.write(move())
                with contextlib.suppress(TimeoutError):  # who does not read us is left
                    async with asyncio.timeout(_CLOSE_PATIENCE_S):
                        await writer.drain()
                if self._rng.random() < 0.2:
                    await asyncio.sleep(self._rng.choice((0.0, 0.001, 0.01, 0.1)))
        finally:
            self._close(writer)
            draining.cancel()
            await asyncio.gather(draining, return_exceptions=True)

    def _close(self, writer: asyncio.StreamWriter) -> None:
        if self._rng.random() < 0.5:
            writer.transport.abort()
        else:
            writer.close()

    async def _drain(self, reader: asyncio.StreamReader, *, reads: bool) -> None:
        if not reads:
            await asyncio.get_running_loop().create_future()
        while await reader.read(1 << 16):
            pass

    # --- moves: each returns the bytes to send ----------------------------------------------

    def _frame(self, kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
        self._sent[_KINDS[kind]] += 1
        return frames.frame(kind, flags, stream_id, payload)

    def _headers(self, *extra: tuple[bytes, bytes], ends: bool = False) -> bytes:
        if len(self._open) >= _MOST_STREAMS:
            self._open.clear()
        stream_id, self._stream_id = self._stream_id, self._stream_id + 2
        self._open.append(stream_id)
        fields = {
            b":method": b"POST",
            b":scheme": b"http",
            b":path": self._rng.choice(METHODS),
            b":authority": b"localhost",
            b"content-type": b"application/grpc",
            b"te": b"trailers",
        } | dict(extra)
        flags = frames.END_HEADERS | (frames.END_STREAM if ends else 0)
        return self._frame(frames.HEADERS, flags, stream_id, write_fields(fields.items()))

    def _body(self, flag: int, message: bytes, *, claimed: int | None = None, ends: bool = True) -> bytes:
        length = len(message) if claimed is None else claimed
        body = bytes([flag]) + length.to_bytes(4, "big") + message
        stream_id = self._open[-1]
        parts = [body[at : at + _CHUNK_BYTES] for at in range(0, len(body), _CHUNK_BYTES)]
        parts[4:] = []  # what the first window takes: nobody waits for leave
        return b"".join(
            self._frame(frames.DATA, frames.END_STREAM if ends and part is parts[-1] else 0, stream_id, part)
            for part in parts
        )

    def _timeout(self) -> tuple[tuple[bytes, bytes], ...]:
        return self._rng.choice(((), ((b"grpc-timeout", b"2S"),), ((b"grpc-timeout", b"1m"),)))

    def _call(self) -> bytes:
        """A call with its message, honest or not."""
        if self._rng.random() < 0.4:
            encoding = self._rng.choice((b"gzip", b"deflate"))
            message = self._rng.choice(self._messages.packed[encoding])
            return self._headers((b"grpc-encoding", encoding), *self._timeout()) + self._body(1, message)
        promise = self._rng.choice(((), ((b"x-matting-request-bytes", b"5000"), (b"x-matting-pixels", b"1024"))))
        message = self._rng.choice(self._messages.plain)
        return self._headers(*promise, *self._timeout()) + self._body(self._rng.choice((0, 0, 0, 1, 7)), message)

    def _slow_call(self) -> bytes:
        """A call of which only the beginning comes, and which claims to be huge."""
        claimed = self._rng.choice((1, 60_000, 1 << 20, 64 << 20, 2**32 - 1))
        return self._headers(*self._timeout()) + self._body(0, b"x", claimed=claimed, ends=False)

    def _flood(self) -> bytes:
        """Many streams that claim to be huge."""
        return b"".join(self._headers() + self._body(0, b"", claimed=64 << 20, ends=False) for _ in range(50))

    def _more_body(self) -> bytes:
        if not self._open:
            return self._call()
        return self._frame(
            frames.DATA, 0, self._rng.choice(self._open), self._rng.randbytes(self._rng.choice((0, 1, 99)))
        )

    def _end(self) -> bytes:
        if not self._open:
            return b""
        stream_id = self._open.pop(self._rng.randrange(len(self._open)))
        return self._frame(frames.DATA, frames.END_STREAM, stream_id)

    def _reset(self) -> bytes:
        if not self._open:
            return b""
        stream_id = self._open.pop(self._rng.randrange(len(self._open)))
        return self._frame(frames.RST_STREAM, 0, stream_id, frames.CANCEL.to_bytes(4, "big"))

    def _control(self) -> bytes:
        kind = self._rng.randrange(4)
        if kind == 0:
            return b"".join(self._frame(frames.PING, 0, 0, bytes(8)) for _ in range(self._rng.choice((1, 20, 300))))
        if kind == 1:
            return self._frame(frames.SETTINGS, 0, 0, b"\x00\x04" + self._rng.choice((0, 65_535)).to_bytes(4, "big"))
        if kind == 2:
            return self._frame(frames.PRIORITY, 0, self._rng.choice((1, 3, 99)), b"\x00\x00\x00\x00\x10")
        return self._frame(frames.SETTINGS, frames.ACK, 0)

    def _window(self) -> bytes:
        stream_id = self._rng.choice((0, *self._open[-3:]))
        return self._frame(frames.WINDOW_UPDATE, 0, stream_id, self._rng.choice((1, 100, 65_535)).to_bytes(4, "big"))

    def _odd_headers(self) -> bytes:
        """A call whose headers are long, lie, or come in many pieces."""
        kind = self._rng.randrange(4)
        if kind == 0:
            return self._headers((b"content-length", self._rng.choice((b"0", b"7", b"99999999999"))))
        if kind == 1:
            return self._headers((b"x-long", b"v" * self._rng.choice((1_000, 10_000, 16_000))))
        if kind == 2:
            return self._headers((b"authorization", b"Bearer " + b"t" * 500), (b"x-request-id", b"r" * 500), ends=True)
        block = write_fields([(b":method", b"POST"), (b":scheme", b"http"), (b":path", METHODS[2])])
        stream_id, self._stream_id = self._stream_id, self._stream_id + 2
        return self._frame(frames.HEADERS, 0, stream_id, block) + b"".join(
            self._frame(frames.CONTINUATION, frames.END_HEADERS if last else 0, stream_id)
            for last in (False, False, True)
        )

    def _cut_short(self) -> bytes:
        """A frame that the connection ends in, as often as not."""
        return self._frame(frames.DATA, 0, self._open[-1] if self._open else 1, bytes(200))[
            : self._rng.randrange(1, 200)
        ]


async def attack(address: str, *, seed: int, most_frames: int, seconds: float) -> Counter[str]:
    """Attack with several connections at once; return how much was sent, by kind."""
    sent: Counter[str] = Counter()
    messages = Messages()
    ends_s = time.monotonic() + seconds

    async def go_on(number: int) -> None:
        caller = Caller(address, random.Random(f"{seed} {number}"), messages, sent)
        while time.monotonic() < ends_s and caller.frame_count < most_frames:
            with contextlib.suppress(OSError):  # closed by the other side
                await caller.play()

    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds + _CLOSE_PATIENCE_S):
            await asyncio.gather(*(go_on(number) for number in range(_CONNECTION_COUNT)))
    return sent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("address")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--frames", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    given = parser.parse_args()
    sent = asyncio.run(attack(given.address, seed=given.seed, most_frames=given.frames, seconds=given.seconds))
    print(json.dumps(sent))  # noqa: T201 - a program


if __name__ == "__main__":
    main()
