# SPDX-License-Identifier: Apache-2.0
"""What answers mean that are not what gRPC's servers send: statuses of HTTP, resets, damage."""

import asyncio

import grpc
import pytest
from grpc_h2.client.status import CallError, answered_failure
from grpc_h2.http2.wire import frames
from grpc_h2.http2.wire.frames import frame
from grpc_h2.http2.wire.header_blocks import Fields
from testkit.grpc_servers import RawServer, caller_of
from testkit.http2_client import HEADERS, TRAILERS, block_frame
from testkit.listening import server_of

Code = grpc.StatusCode
OPEN = block_frame(1, HEADERS)
END = block_frame(1, TRAILERS, ends=True)
MESSAGE = frame(frames.DATA, 0, 1, b"\0\0\0\0\1z")


def http(status: bytes, *more: tuple[bytes, bytes]) -> bytes:
    return block_frame(1, ((b":status", status), *more), ends=True)


ANSWERS = {
    "no message": (OPEN + END, Code.INTERNAL),
    "two messages": (OPEN + MESSAGE + MESSAGE + END, Code.INTERNAL),
    "half a message": (OPEN + frame(frames.DATA, 0, 1, b"\0\0\0\0\5z") + END, Code.INTERNAL),
    "half a prefix": (OPEN + frame(frames.DATA, 0, 1, b"\0\0") + END, Code.INTERNAL),
    "a compressed message": (OPEN + frame(frames.DATA, 0, 1, b"\1\0\0\0\1z") + END, Code.INTERNAL),
    "the end on DATA": (OPEN + frame(frames.DATA, frames.END_STREAM, 1, b"\0\0\0\0\1z"), Code.UNKNOWN),
    "no grpc-status": (OPEN + MESSAGE + block_frame(1, ((b"x", b"0"),), ends=True), Code.UNKNOWN),
    "a status that is no number": (OPEN + block_frame(1, ((b"grpc-status", b"x"),), ends=True), Code.UNKNOWN),
    "a status that nobody knows": (OPEN + block_frame(1, ((b"grpc-status", b"99"),), ends=True), Code.UNKNOWN),
    "another kind of zero": (OPEN + MESSAGE + block_frame(1, ((b"grpc-status", b"00"),), ends=True), Code.UNKNOWN),
    "HTTP 400": (http(b"400"), Code.INTERNAL),
    "HTTP 401": (http(b"401"), Code.UNAUTHENTICATED),
    "HTTP 403": (http(b"403"), Code.PERMISSION_DENIED),
    "HTTP 404": (http(b"404"), Code.UNIMPLEMENTED),
    "HTTP 429": (http(b"429"), Code.UNAVAILABLE),
    "HTTP 502": (http(b"502"), Code.UNAVAILABLE),
    "HTTP 503": (http(b"503"), Code.UNAVAILABLE),
    "HTTP 504": (http(b"504"), Code.UNAVAILABLE),
    "HTTP 500": (http(b"500"), Code.UNKNOWN),
    "a page": (
        block_frame(1, ((b":status", b"502"), (b"content-type", b"text/html")))
        + frame(frames.DATA, frames.END_STREAM, 1, b"<html>" * 9),
        Code.UNAVAILABLE,
    ),
    "a page that says all is well": (
        block_frame(1, ((b":status", b"200"), (b"content-type", b"text/html"))) + MESSAGE + END,
        Code.UNKNOWN,
    ),
    "a status in spite of HTTP's": (http(b"503", (b"grpc-status", b"5")), Code.NOT_FOUND),
    "NO_ERROR": (frames.rst_stream(1, frames.NO_ERROR), Code.INTERNAL),
    "PROTOCOL_ERROR": (frames.rst_stream(1, frames.PROTOCOL_ERROR), Code.INTERNAL),
    "REFUSED_STREAM": (frames.rst_stream(1, frames.REFUSED_STREAM), Code.UNAVAILABLE),
    "CANCEL": (frames.rst_stream(1, frames.CANCEL), Code.CANCELLED),
    "ENHANCE_YOUR_CALM": (frames.rst_stream(1, frames.ENHANCE_YOUR_CALM), Code.RESOURCE_EXHAUSTED),
    "INADEQUATE_SECURITY": (frames.rst_stream(1, frames.INADEQUATE_SECURITY), Code.PERMISSION_DENIED),
    "GOAWAY": (frames.goaway(0, frames.NO_ERROR), Code.UNAVAILABLE),
    "no HTTP/2": (b"HTTP/1.1 400 Bad Request\r\n\r\n", Code.UNAVAILABLE),
    "a damaged block": (frame(frames.HEADERS, frames.END_HEADERS, 1, b"\xff" * 9), Code.UNAVAILABLE),
}


@pytest.mark.parametrize(("answer", "code"), ANSWERS.values(), ids=ANSWERS)
async def test_an_answer_that_is_no_success_is_an_error_with_the_code_that_it_means(answer: bytes, code: Code) -> None:
    raw = RawServer(answer)
    async with raw.listening() as target, caller_of(target) as caller:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await caller.call(b"x", 20)
    assert caught.value.code() is code


def page(status: bytes, *more: tuple[bytes, bytes]) -> bytes:
    """Return an answer that is a page of HTML."""
    return block_frame(1, ((b":status", status), *more)) + frame(
        frames.DATA, frames.END_STREAM, 1, b"<!DOCTYPE html><p>" + b"secret" * 9
    )


HTML = (b"content-type", b"text/html; charset=utf-8")
FOUND = {
    "a page": (page(b"200", HTML), "the answer is text/html instead of gRPC"),
    "a page with an error": (page(b"403", HTML), "the answer is text/html with HTTP status 403 instead of gRPC"),
    "a page of no type": (page(b"200"), "the answer is of an unknown type instead of gRPC"),
    "a type that is none": (
        page(b"200", (b"content-type", b"secret words")),
        "the answer is of an unknown type instead of gRPC",
    ),
}


@pytest.mark.parametrize(("answer", "told"), FOUND.values(), ids=FOUND)
async def test_what_is_found_instead_of_grpc_is_told_without_any_of_its_content(answer: bytes, told: str) -> None:
    raw = RawServer(answer)
    async with raw.listening() as target, caller_of(target) as caller:
        with pytest.raises(CallError) as caught:
            await caller.call(b"x", 20)
    assert caught.value.details() == told
    assert caught.value.unreachable


@pytest.mark.parametrize(
    ("first", "spoken"), [(b"HTTP/1.1 200 OK\r\n\r\n<html>", "HTTP/1.1"), (b"\x15\x03\x03\x00\x02\x02\x46\r\n", "TLS")]
)
async def test_a_server_that_speaks_something_else_from_the_start_is_unreachable(first: bytes, spoken: str) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(first)
        await reader.read()

    async with server_of(serve) as address, caller_of(address) as caller:
        with pytest.raises(CallError) as caught:
            await caller.call(b"x", 20)
    assert caught.value.code() is Code.UNAVAILABLE
    assert caught.value.details() == f"the peer speaks {spoken}"
    assert caught.value.unreachable


async def test_an_answer_padded_and_after_an_interim_one_is_a_success() -> None:
    padded = frame(frames.DATA, frames.PADDED, 1, b"\3\0\0\0\0\1z\0\0\0")
    raw = RawServer(block_frame(1, ((b":status", b"103"),)) + OPEN + padded + END)
    async with raw.listening() as target, caller_of(target) as caller:
        assert await caller.call(b"x", 20) == b"z"


TOLD: dict[str, tuple[Fields, bool]] = {
    "its status": (((b":status", b"200"), (b"grpc-status", b"3")), True),
    "no status": (((b":status", b"200"),), False),
    "a status of HTTP": (((b":status", b"503"),), False),
}


@pytest.mark.parametrize(("fields", "answered"), TOLD.values(), ids=TOLD)
def test_only_a_grpc_status_is_the_servers_own_word(fields: Fields, answered: bool) -> None:
    failure = answered_failure(fields, fields)
    assert failure is not None
    assert failure.answered is answered


@pytest.mark.parametrize(
    ("sent", "meant"),
    [(b"a%20b", "a b"), (b"%C3%A4", "ä"), (b"100%", "100%"), (b"%zz", "%zz"), (b"%ff", "\N{REPLACEMENT CHARACTER}")],
)
def test_a_message_is_decoded_as_far_as_it_can_be(sent: bytes, meant: str) -> None:
    failure = answered_failure(HEADERS, ((b"grpc-status", b"3"), (b"grpc-message", sent)))
    assert failure is not None
    assert failure.text == meant
