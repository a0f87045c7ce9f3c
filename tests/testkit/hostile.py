# SPDX-License-Identifier: Apache-2.0
"""Attacks on a gateway on a loopback address, bounded in count and time, each in a niced process of its own.

`python -m testkit.hostile NAME ADDRESS COUNT SECONDS [TOKEN]` begins one, says so, and holds it. All of its bytes are
made before the first is sent.
"""

import asyncio
import gzip
import ipaddress
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

from grpc_h2.http2.wire import frames
from grpc_h2.http2.wire.header_blocks import write_fields
from matting.v1 import matting_service_pb2 as pb

from testkit.raw_http2 import RawCaller

MAX_COUNT = 4096
MAX_SECONDS = 120.0
PHOTO = b"/matting.v1.MattingService/RemoveBackground"
INFER = b"/inference.GRPCInferenceService/ModelInfer"
SMALL = (
    b"/matting.v1.MattingService/ListModels",
    b"/grpc.health.v1.Health/Check",
    b"/inference.GRPCInferenceService/ServerLive",
)
_SIDE_PX = 96
_CONNECTION_COUNT = 50
_CLAIM = b"\0" + (64 << 20).to_bytes(4, "big")
Fields = tuple[tuple[bytes, bytes], ...]


def framed(message: bytes, flag: int = 0) -> bytes:
    return bytes([flag]) + len(message).to_bytes(4, "big") + message


def photo() -> bytes:
    """Return a request for the alpha of 27 KB of pixels."""
    pixels = pb.PixelImage(
        data=bytes(_SIDE_PX * _SIDE_PX * 3), width_px=_SIDE_PX, height_px=_SIDE_PX, pixel_format=pb.PIXEL_FORMAT_RGB8
    )
    return pb.RemoveBackgroundRequest(pixels=pixels, outputs=[pb.OutputSpec(raw=pb.RawEncoding())]).SerializeToString()


def request(stream_id: int, method: bytes, body: bytes, extra: Fields, *, ends: bool) -> bytes:
    """Return the frames of a call, with a body or the beginning of one."""
    fields = (
        (b":method", b"POST"), (b":scheme", b"http"), (b":path", method), (b":authority", b"localhost"),
        (b"content-type", b"application/grpc"), (b"te", b"trailers"), *extra,
    )  # fmt: skip
    pieces = [frames.frame(frames.HEADERS, frames.END_HEADERS, stream_id, write_fields(fields))]
    size = frames.DEFAULT_FRAME_BYTES
    starts = range(0, len(body), size)
    for at in starts:
        last = ends and at == starts[-1]
        data = body[at : at + size]
        pieces.append(frames.frame(frames.DATA, frames.END_STREAM if last else 0, stream_id, data))
    return b"".join(pieces)


def requests(methods: Iterable[bytes], count: int, body: bytes, extra: Fields, *, ends: bool) -> list[bytes]:
    methods = tuple(methods)
    return [request(2 * i + 1, methods[i % len(methods)], body, extra, ends=ends) for i in range(count)]


@asynccontextmanager
async def connection(address: str, settings: dict[int, int] | None = None) -> AsyncIterator[RawCaller]:
    """Yield a connection whose answers are read and dropped."""
    async with RawCaller(address, settings) as caller:
        dropping = asyncio.ensure_future(drop(caller))
        try:
            yield caller
        finally:
            dropping.cancel()
            await asyncio.gather(dropping, return_exceptions=True)


async def drop(caller: RawCaller) -> None:
    with suppress(OSError):
        while await caller.some():
            pass


async def send_all(caller: RawCaller, calls: list[bytes]) -> None:
    with suppress(OSError):
        for call in calls:
            caller.send(call)
            await caller.drain()


async def infer_bomb(address: str, count: int, extra: Fields, begun: Callable[[], None]) -> None:
    """A kilobyte each that unpacks to half a million empty inputs."""
    body = framed(gzip.compress(b"\x2a\x00" * 500_000, 9), 1)
    calls = requests([INFER], count, body, (*extra, (b"grpc-encoding", b"gzip")), ends=True)
    await one_connection(address, calls, begun)


async def photo_bomb(address: str, count: int, extra: Fields, begun: Callable[[], None]) -> None:
    """32 KB each that unpack to 16 million empty outputs."""
    body = framed(gzip.compress(b"\x1a\x00" * 16_000_000, 9), 1)
    calls = requests([PHOTO], count, body, (*extra, (b"grpc-encoding", b"gzip")), ends=True)
    await one_connection(address, calls, begun)


async def claims(address: str, count: int, extra: Fields, begun: Callable[[], None]) -> None:
    """Five bytes each that say 64 MiB will follow, of methods with small requests."""
    await one_connection(address, requests(SMALL, count, _CLAIM, extra, ends=False), begun)


async def filled(address: str, count: int, extra: Fields, begun: Callable[[], None]) -> None:
    """As much of a small message as may be sent, and not its end."""
    body = (b"\0" + (64 << 10).to_bytes(4, "big") + bytes(64 << 10))[: frames.DEFAULT_WINDOW_BYTES]
    await one_connection(address, requests(SMALL, count, body, extra, ends=False), begun)


async def unread(address: str, count: int, extra: Fields, begun: Callable[[], None]) -> None:
    """Photos whose answers are not read: a stream's window is nothing, and there is no deadline."""
    calls = requests([PHOTO], count, framed(photo()), extra, ends=True)
    await one_connection(address, calls, begun, {frames.INITIAL_WINDOW_SIZE: 0})


async def zipped(address: str, count: int, extra: Fields, begun: Callable[[], None]) -> None:
    """65 KB each that unpack to 60 MiB, of methods with small requests and of the photo door."""
    body = framed(gzip.compress(bytes(60 << 20), 9), 1)[: frames.DEFAULT_WINDOW_BYTES]
    calls = requests([*SMALL, PHOTO], count, body, (*extra, (b"grpc-encoding", b"gzip")), ends=True)
    await one_connection(address, calls, begun)


async def slow(address: str, count: int, extra: Fields, begun: Callable[[], None]) -> None:
    """Bodies of which a byte comes each second, over 50 connections, of callers who promise nothing."""
    await _unfinished(address, count, extra, begun, claimed_bytes=100_000, sent_bytes=1)


async def stalled(address: str, count: int, extra: Fields, begun: Callable[[], None]) -> None:
    """Bodies as large as a photo, of which a window comes at once and then a byte each second."""
    await _unfinished(address, count, extra, begun, claimed_bytes=100_000, sent_bytes=65_000)


async def stalled_large(address: str, count: int, extra: Fields, begun: Callable[[], None]) -> None:
    """The same, which say that 60 MiB will follow."""
    await _unfinished(address, count, extra, begun, claimed_bytes=60 << 20, sent_bytes=65_000)


async def _unfinished(
    address: str, count: int, extra: Fields, begun: Callable[[], None], *, claimed_bytes: int, sent_bytes: int
) -> None:
    beginning = b"\0" + claimed_bytes.to_bytes(4, "big") + b"x" * sent_bytes
    each = -(-count // _CONNECTION_COUNT)
    calls = requests([PHOTO], each, beginning, extra, ends=False)
    drips = [frames.frame(frames.DATA, 0, 2 * i + 1, b"x") for i in range(each)]
    async with AsyncExitStack() as stack:
        callers = [await stack.enter_async_context(connection(address)) for _ in range(_CONNECTION_COUNT)]
        await asyncio.gather(*(send_all(caller, calls) for caller in callers))
        begun()
        while True:
            await asyncio.sleep(1)
            await asyncio.gather(*(send_all(caller, drips) for caller in callers))


async def one_connection(
    address: str, calls: list[bytes], begun: Callable[[], None], settings: dict[int, int] | None = None
) -> None:
    async with connection(address, settings) as caller:
        begun()
        await send_all(caller, calls)
        await asyncio.Event().wait()


ATTACKS: dict[str, Callable[[str, int, Fields, Callable[[], None]], Awaitable[None]]] = {
    attack.__name__: attack
    for attack in (infer_bomb, photo_bomb, claims, filled, unread, zipped, slow, stalled, stalled_large)
}


@asynccontextmanager
async def attacked(name: str, address: str, *, count: int, seconds: float = 60, token: str = "") -> AsyncIterator[None]:
    """Have a gateway attacked until the end of the block, or until the time is over; yields once it has begun."""
    if not ipaddress.ip_address(address.rpartition(":")[0].strip("[]")).is_loopback:
        raise ValueError("Only loopback addresses are attacked.")
    folder = str(Path(__file__).parents[1])
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "testkit.hostile", name, address, str(count), str(seconds), token,
        stdout=asyncio.subprocess.PIPE, env={**os.environ, "PYTHONPATH": folder},
    )  # fmt: skip
    try:
        if process.stdout is None or await process.stdout.readline() != b"begun\n":
            raise RuntimeError(f"the attack {name} did not begin")
        yield
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def _attack(name: str, address: str, count: int, seconds: float, token: str) -> None:
    def begun() -> None:
        sys.stdout.write("begun\n")
        sys.stdout.flush()

    extra = ((b"authorization", f"Bearer {token}".encode()),) if token else ()
    with suppress(TimeoutError):
        async with asyncio.timeout(min(seconds, MAX_SECONDS)):
            await ATTACKS[name](address, min(count, MAX_COUNT), extra, begun)


if __name__ == "__main__":
    os.nice(19)
    asyncio.run(_attack(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]), sys.argv[5]))
